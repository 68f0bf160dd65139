//! One suite that every broker passes.

use std::sync::Arc;
use std::time::Duration;

use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{
    Broker, Commit, Consumed, Member, Polled, Producer, Record, StateChange, TopicPartition, TxnError,
};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::storage::Options;

/// Runs `check` on a new broker of each kind.
fn on_each(check: impl Fn(&dyn Broker, &Arc<str>)) {
    let topic: Arc<str> = "t".into();
    let memory = Memory::new("memory");
    memory.ensure_topic(&topic, 2).expect("new");
    check(&memory, &topic);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let embedded = Embedded::open(dir.path(), Options::default(), Clock::System).expect("new");
    embedded.ensure_topic(&topic, 2).expect("new");
    check(&embedded, &topic);
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
    on_each(|broker, topic| {
        let mut producer = broker.producer("p").expect("open");
        send(producer.as_mut(), topic, 0, "a");
        send(producer.as_mut(), topic, 1, "b");
        assert!(values(broker, topic, 0).is_empty(), "nothing shows before the commit");
        producer.commit(Commit::default()).expect("commits");
        assert_eq!((values(broker, topic, 0), values(broker, topic, 1)), (vec!["a".into()], vec!["b".into()]));
        send(producer.as_mut(), topic, 0, "void");
        producer.abort();
        producer.commit(Commit::default()).expect("an empty one is fine");
        assert_eq!(values(broker, topic, 0), ["a"], "what was aborted never shows");
    });
}

#[test]
fn positions_state_and_records_commit_together() {
    on_each(|broker, topic| {
        let mut producer = broker.producer("p").expect("open");
        let consumer = broker.join("g", std::slice::from_ref(topic), &member("m")).expect("joins");
        let change = StateChange { owner: "task".into(), key: b"k".to_vec(), value: Some(b"v".to_vec()) };
        let (generation, consumed) = (consumer.generation(), [step(topic, None, 3)]);
        producer.commit(Commit { consumed: Some((&generation, &consumed)), state: vec![change] }).expect("commits");
        let of = TopicPartition::new(topic.clone(), 0);
        assert_eq!(broker.committed("g").expect("open").get(&of), Some(&3));
        let state = broker.state("task").expect("open");
        assert_eq!(state.get(b"k").expect("open").as_deref(), Some(b"v".as_slice()));
        assert_eq!(state.scan(b"").expect("open"), [(b"k".to_vec(), b"v".to_vec())]);
        assert!(broker.state("task2").expect("open").scan(b"").expect("open").is_empty(), "owners are apart");
    });
}

#[test]
fn a_step_that_does_not_continue_the_committed_one_is_fenced() {
    on_each(|broker, topic| {
        let mut producer = broker.producer("p").expect("open");
        let consumer = broker.join("g", std::slice::from_ref(topic), &member("m")).expect("joins");
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
        assert_eq!(values(broker, topic, 1).len(), 2, "fenced transactions left nothing");
    });
}

#[test]
fn a_newer_producer_and_a_newer_member_fence_the_older() {
    on_each(|broker, topic| {
        let mut old = broker.producer("p").expect("open");
        send(old.as_mut(), topic, 0, "zombie");
        let mut new = broker.producer("p").expect("open");
        assert!(matches!(old.commit(Commit::default()), Err(TxnError::Fenced(_))));
        let zombie = broker.join("g", std::slice::from_ref(topic), &member("m")).expect("joins").generation();
        let current = broker.join("g", std::slice::from_ref(topic), &member("m")).expect("joins").generation();
        let consumed = [step(topic, None, 1)];
        let commit = |generation| Commit { consumed: Some((generation, &consumed)), state: Vec::new() };
        assert!(matches!(new.commit(commit(&zombie)), Err(TxnError::Fenced(_))));
        new.commit(commit(&current)).expect("the current member");
        assert!(values(broker, topic, 0).is_empty());
    });
}

#[test]
fn a_consumer_begins_at_the_committed_position_and_says_where_the_end_is() {
    on_each(|broker, topic| {
        let mut producer = broker.producer("p").expect("open");
        for value in ["a", "b", "c"] {
            send(producer.as_mut(), topic, 0, value);
        }
        producer.commit(Commit::default()).expect("commits");
        let of = TopicPartition::new(topic.clone(), 0);
        broker.note_positions("g", &[(of.clone(), 1)].into()).expect("open");
        let mut consumer = broker.join("g", std::slice::from_ref(topic), &member("m")).expect("joins");
        assert!(matches!(&consumer.poll(Duration::ZERO).expect("open")[..], [Polled::Assigned(all)] if all == &[0, 1]));
        let mut read = Vec::new();
        let mut ends = 0;
        for polled in consumer.poll(Duration::ZERO).expect("open") {
            match polled {
                Polled::Records { from, batch, .. } => {
                    read.extend(batch.from(from).map(|record| record.value.map(<[u8]>::to_vec)));
                }
                Polled::End(_) => ends += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read, [Some(b"b".to_vec()), Some(b"c".to_vec())]);
        assert_eq!(ends, 2, "both partitions are read to their ends");
        consumer.seek(&of, 2);
        assert!(matches!(&consumer.poll(Duration::ZERO).expect("open")[0], Polled::Records { from: 2, .. }));
    });
}

#[test]
fn members_share_partitions_and_topics_keep_their_count() {
    on_each(|broker, topic| {
        let half = Member { id: "b".into(), index: 1, count: 2 };
        let mut consumer = broker.join("g", std::slice::from_ref(topic), &half).expect("joins");
        assert!(matches!(&consumer.poll(Duration::ZERO).expect("open")[..], [Polled::Assigned(all)] if all == &[1]));
        assert!(broker.ensure_topic(topic, 3).is_err());
        broker.ensure_topic("other", 3).expect("new");
        assert!(broker.join("g", &[topic.clone(), "other".into()], &half).is_err(), "not co-partitioned");
        let gone = TopicPartition::new(topic.clone(), 9);
        assert!(broker.offsets(&gone).is_err());
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
