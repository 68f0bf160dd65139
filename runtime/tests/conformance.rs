//! One suite that every broker passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::kafka::{Kafka, Settings};
use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{
    Broker, BrokerError, Commit, Consumed, Consumer, Member, Polled, Producer, Record, StateChange, TopicPartition,
    TxnError,
};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::storage::Options;
use skuflow_runtime::testing::kafka::kafka;

/// What a check works with: a broker, and names that nobody else has there.
struct World<'a> {
    broker: &'a dyn Broker,
    /// Has two partitions and nothing in them.
    topic: Arc<str>,
    group: String,
    /// A transactional id.
    producer: String,
    /// Owner of the state of the group's partition 0.
    owner: Arc<str>,
}

impl<'a> World<'a> {
    fn new(broker: &'a dyn Broker) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let topic: Arc<str> = format!("t{number}").into();
        broker.ensure_topic(&topic, 2).expect("new");
        let group = format!("g{number}");
        Self { broker, topic, owner: format!("task:{group}/0").into(), group, producer: format!("p{number}") }
    }

    fn join(&self, member: &Member) -> Box<dyn Consumer> {
        self.broker.join(&self.group, std::slice::from_ref(&self.topic), member).expect("joins")
    }

    /// A member that has been given its partitions.
    fn joined(&self, member: &Member) -> Box<dyn Consumer> {
        let mut consumer = self.join(member);
        assert_eq!(assigned(consumer.as_mut()), [0, 1]);
        consumer
    }
}

/// Runs `check` on each kind of broker.
fn on_each(check: impl Fn(&World<'_>)) {
    check(&World::new(&Memory::new("memory")));
    check(&World::new(&Memory::new("memory").with_markers()));
    let dir = tempfile::tempdir().expect("a temporary directory");
    check(&World::new(&Embedded::open(dir.path(), Options::default(), Clock::System).expect("new")));
    on_kafka(check);
}

fn on_kafka(check: impl Fn(&World<'_>)) {
    let Some(server) = kafka() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let settings = Settings::new(&server.bootstrap_servers(), "test", dir.path().into());
    check(&World::new(&Kafka::connect(settings, Clock::System).expect("it runs")));
}

/// Polls until `done` says of what came that it is enough.
fn poll_until(consumer: &mut dyn Consumer, mut done: impl FnMut(Polled) -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        assert!(Instant::now() < until, "it does not come");
        let polled = consumer.poll(Duration::from_millis(100)).expect("open");
        if polled.into_iter().map(&mut done).filter(|is_done| *is_done).count() > 0 {
            return;
        }
    }
}

fn assigned(consumer: &mut dyn Consumer) -> Vec<u32> {
    let mut assigned = Vec::new();
    poll_until(consumer, |polled| match polled {
        Polled::Assigned { partitions, .. } => {
            assigned = partitions;
            true
        }
        other => panic!("{other:?}"),
    });
    assigned
}

fn send(producer: &mut dyn Producer, topic: &Arc<str>, partition: u32, value: &str) {
    let record = Record { key: Some(b"k"), value: Some(value.as_bytes()), headers: &[("h", b"1")] };
    producer.send(topic, Some(partition), &record).expect("the topic exists");
}

fn values(broker: &dyn Broker, topic: &Arc<str>, partition: u32) -> Vec<String> {
    let of = TopicPartition::new(topic.clone(), partition);
    let (mut from, next) = broker.offsets(&of).expect("exists");
    let mut reader = broker.reader().expect("open");
    let mut values = Vec::new();
    while from < next {
        for batch in reader.fetch(&of, from, 64).expect("in range") {
            let read =
                batch.from(from).map(|record| String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
            values.extend(read);
            from = batch.next_offset();
        }
    }
    values
}

fn member(id: &str) -> Member {
    Member { id: id.into(), index: 0, count: 1 }
}

fn step(topic: &Arc<str>, from: Option<u64>, to: u64) -> Consumed {
    Consumed { of: TopicPartition::new(topic.clone(), 0), from, to }
}

#[test]
fn a_transaction_shows_whole_or_not_at_all() {
    on_each(|World { broker, topic, producer, .. }| {
        let mut producer = broker.producer(producer).expect("open");
        send(producer.as_mut(), topic, 0, "a");
        send(producer.as_mut(), topic, 1, "b");
        assert!(values(*broker, topic, 0).is_empty(), "nothing shows before the commit");
        producer.commit(Commit::default()).expect("commits");
        producer.settle().expect("shows");
        assert_eq!((values(*broker, topic, 0), values(*broker, topic, 1)), (vec!["a".into()], vec!["b".into()]));
        send(producer.as_mut(), topic, 0, "void");
        producer.abort();
        producer.commit(Commit::default()).expect("an empty one is fine");
        assert_eq!(values(*broker, topic, 0), ["a"], "what was aborted never shows");
        send(producer.as_mut(), topic, 0, "b");
        producer.commit(Commit::default()).expect("commits");
        producer.settle().expect("shows");
        assert_eq!(values(*broker, topic, 0), ["a", "b"], "an abort leaves the producer of use");
    });
}

#[test]
fn positions_state_and_records_commit_together() {
    on_each(|world @ World { broker, topic, group, owner, .. }| {
        let mut producer = broker.producer(&world.producer).expect("open");
        let consumer = world.joined(&member("m"));
        let change = StateChange { owner: owner.clone(), key: b"k".to_vec(), value: Some(b"v".to_vec()) };
        let (generation, consumed) = (consumer.generation(), [step(topic, None, 3)]);
        producer.commit(Commit { consumed: Some((&generation, &consumed)), state: vec![change] }).expect("commits");
        let of = TopicPartition::new(topic.clone(), 0);
        assert_eq!(broker.committed(group).expect("open").get(&of), Some(&3));
        let state = broker.state(owner).expect("open");
        assert_eq!(state.get(b"k").expect("open").as_deref(), Some(b"v".as_slice()));
        assert_eq!(state.scan(b"").expect("open"), [(b"k".to_vec(), b"v".to_vec())]);
        let other = broker.state(&owner.replace("/0", "/1")).expect("open");
        assert!(other.scan(b"").expect("open").is_empty(), "owners are apart");
    });
}

#[test]
fn a_step_that_does_not_continue_the_committed_one_is_fenced() {
    on_each(|world @ World { broker, topic, .. }| {
        let mut producer = broker.producer(&world.producer).expect("open");
        let consumer = world.joined(&member("m"));
        let generation = consumer.generation();
        let mut commit = |from, to| {
            send(producer.as_mut(), topic, 1, "x");
            let result =
                producer.commit(Commit { consumed: Some((&generation, &[step(topic, from, to)])), state: Vec::new() });
            producer.abort();
            result
        };
        commit(None, 5).expect("the first");
        assert!(matches!(commit(None, 5), Err(TxnError::Fenced(_))), "a repeat");
        assert!(matches!(commit(Some(4), 6), Err(TxnError::Fenced(_))), "an overlap");
        assert!(matches!(commit(Some(6), 7), Err(TxnError::Fenced(_))), "a gap");
        commit(Some(5), 6).expect("the next");
        assert_eq!(values(*broker, topic, 1).len(), 2, "fenced transactions left nothing");
    });
}

#[test]
fn a_newer_producer_and_a_newer_member_fence_the_older() {
    on_each(|world @ World { broker, topic, producer, .. }| {
        let mut old = broker.producer(producer).expect("open");
        send(old.as_mut(), topic, 0, "zombie");
        let mut new = broker.producer(producer).expect("open");
        let fenced = old.commit(Commit::default());
        assert!(matches!(fenced, Err(TxnError::Fenced(_))), "{fenced:?}");
        let zombie = world.joined(&member("m"));
        let current = world.joined(&member("m"));
        let consumed = [step(topic, None, 1)];
        let mut commit = |consumer: &dyn Consumer| {
            new.commit(Commit { consumed: Some((&consumer.generation(), &consumed)), state: Vec::new() })
        };
        let fenced = commit(zombie.as_ref());
        assert!(matches!(fenced, Err(TxnError::Fenced(_))), "{fenced:?}");
        commit(current.as_ref()).expect("the current member");
        assert!(values(*broker, topic, 0).is_empty());
    });
}

#[test]
fn a_consumer_begins_at_the_committed_position_and_says_where_the_end_is() {
    on_each(|world @ World { broker, topic, .. }| {
        let mut producer = broker.producer(&world.producer).expect("open");
        for value in ["a", "b", "c"] {
            send(producer.as_mut(), topic, 0, value);
        }
        producer.commit(Commit::default()).expect("commits");
        let of = TopicPartition::new(topic.clone(), 0);
        broker.note_positions(&world.group, &[(of.clone(), 1)].into()).expect("open");
        let mut consumer = world.joined(&member("m"));
        let (mut read, mut ends, mut position) = (Vec::new(), 0, 1);
        poll_until(consumer.as_mut(), |polled| {
            match polled {
                Polled::Records { from, batch, of } => {
                    assert_eq!((of.partition, from), (0, position), "each begins where the one before ended");
                    position = batch.next_offset();
                    read.extend(batch.from(from).map(|record| record.value.map(<[u8]>::to_vec)));
                }
                Polled::End(_) => ends += 1,
                other => panic!("{other:?}"),
            }
            ends == 2
        });
        assert_eq!(read, [Some(b"b".to_vec()), Some(b"c".to_vec())]);
        assert_eq!(position, broker.offsets(&of).expect("open").1, "the end is a position like any other");
        consumer.seek(&of, 2);
        poll_until(consumer.as_mut(), |polled| match polled {
            Polled::Records { from, batch, .. } => {
                let again: Vec<_> = batch.from(from).map(|record| record.value.map(<[u8]>::to_vec)).collect();
                assert_eq!((from, again), (2, vec![Some(b"c".to_vec())]));
                true
            }
            _ => false,
        });
    });
}

#[test]
fn members_share_partitions_and_topics_keep_their_count() {
    on_each(|world @ World { broker, topic, .. }| {
        let half = |id: &str, index| Member { id: id.into(), index, count: 2 };
        let mut members = [half("a", 0), half("b", 1)].map(|half| world.join(&half));
        let mut shares: [Vec<u32>; 2] = Default::default();
        let until = Instant::now() + Duration::from_mins(1);
        while shares != [[0], [1]] {
            assert!(Instant::now() < until, "{shares:?}");
            for (share, member) in shares.iter_mut().zip(&mut members) {
                for polled in member.poll(Duration::from_millis(10)).expect("open") {
                    match polled {
                        Polled::Assigned { partitions, .. } => *share = partitions,
                        Polled::Revoked(_) | Polled::Lost(_) => share.clear(),
                        Polled::Records { .. } => panic!("nothing is in the topic"),
                        Polled::End(_) => {}
                    }
                }
            }
        }
        assert!(broker.ensure_topic(topic, 3).is_err());
        let other: Arc<str> = format!("{topic}-other").into();
        broker.ensure_topic(&other, 3).expect("new");
        let joined = broker.join(&world.group, &[topic.clone(), other], &half("b", 1));
        assert!(joined.is_err(), "not co-partitioned");
        let gone = TopicPartition::new(topic.clone(), 9);
        assert!(broker.offsets(&gone).is_err());
    });
}

#[test]
fn positions_alone_make_a_transaction() {
    on_each(|world @ World { broker, topic, group, owner, .. }| {
        let mut producer = broker.producer(&world.producer).expect("open");
        let consumer = world.joined(&member("m"));
        let generation = consumer.generation();
        let of = TopicPartition::new(topic.clone(), 0);
        let position = || broker.committed(group).expect("open").get(&of).copied();
        for (from, to) in [(None, 1), (Some(1), 4)] {
            let consumed = [step(topic, from, to)];
            producer.commit(Commit { consumed: Some((&generation, &consumed)), state: Vec::new() }).expect("commits");
            assert_eq!(position(), Some(to));
        }
        producer.abort();
        assert_eq!(position(), Some(4), "an abort moves none");
        producer.settle().expect("shows");
        assert!(values(*broker, topic, 0).is_empty() && values(*broker, topic, 1).is_empty());
        assert!(broker.state(owner).expect("open").scan(b"").expect("open").is_empty());
    });
}

#[test]
fn state_is_what_committed_transactions_made_of_it() {
    on_each(|world @ World { broker, topic, owner, .. }| {
        let mut producer = broker.producer(&world.producer).expect("open");
        let consumer = world.joined(&member("m"));
        let generation = consumer.generation();
        let mut commit = |from, to, changes: &[(&str, Option<&str>)]| {
            let state = changes.iter().map(|(key, value)| StateChange {
                owner: owner.clone(),
                key: key.as_bytes().to_vec(),
                value: value.map(|value| value.as_bytes().to_vec()),
            });
            let consumed = [step(topic, from, to)];
            producer.commit(Commit { consumed: Some((&generation, &consumed)), state: state.collect() })
        };
        commit(None, 1, &[("a/1", Some("old")), ("a/1", Some("new")), ("b", Some("x")), ("a/2", Some("y"))])
            .expect("commits");
        let fenced = commit(None, 1, &[("a/1", Some("zombie")), ("c", Some("zombie"))]);
        assert!(matches!(fenced, Err(TxnError::Fenced(_))), "{fenced:?}");
        commit(Some(1), 2, &[("b", None), ("d", None)]).expect("commits");
        let state = broker.state(owner).expect("open");
        let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(state.scan(b"").expect("open"), [pair("a/1", "new"), pair("a/2", "y")]);
        assert_eq!(state.scan(b"a/2").expect("open"), [pair("a/2", "y")]);
        assert_eq!(state.get(b"b").expect("open"), None);
    });
}

/// As when the topic that a position belongs to was made anew, or its end was lost.
#[test]
fn a_position_behind_the_end_is_refused() {
    on_each(|World { broker, topic, producer, .. }| {
        let mut producer = broker.producer(producer).expect("open");
        send(producer.as_mut(), topic, 0, "a");
        producer.commit(Commit::default()).expect("commits");
        producer.settle().expect("shows");
        let of = TopicPartition::new(topic.clone(), 0);
        let (first, next) = broker.offsets(&of).expect("exists");
        let mut reader = broker.reader().expect("open");
        assert!(reader.fetch(&of, next, 64).expect("the end").is_empty());
        let fetched = reader.fetch(&of, next + 1, 64);
        let is_refused = matches!(
            &fetched,
            Err(BrokerError::OutOfRange { of: named, wanted, first: from, next: to })
                if (named, *wanted, *from, *to) == (&of, next + 1, first, next)
        );
        assert!(is_refused, "{fetched:?}");
    });
}

/// The embedded broker alone: everything is there after reopening, under the same identity.
#[test]
fn the_embedded_broker_comes_back_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let topic: Arc<str> = "t".into();
    let open = || Embedded::open(dir.path(), Options::default(), Clock::System).expect("opens");
    let broker = open();
    let (cluster, info) = (broker.cluster_id().expect("open"), broker.ensure_topic(&topic, 2).expect("new"));
    let mut producer = broker.producer("p").expect("open");
    send(producer.as_mut(), &topic, 0, "a");
    producer.commit(Commit::default()).expect("commits");
    drop((producer, broker));
    let broker = open();
    assert_eq!((broker.cluster_id().expect("open"), broker.ensure_topic(&topic, 2).expect("there")), (cluster, info));
    assert_eq!(values(&broker, &topic, 0), ["a"]);
}
