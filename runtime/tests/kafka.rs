//! What is Kafka's alone: the log behind what is committed, and what happens to it from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use skuflow_runtime::broker::kafka::{Kafka, Settings, block_on};
use skuflow_runtime::broker::{
    Broker, BrokerError, Commit, Consumed, Consumer, Member, Polled, Producer, Record, StateChange, TopicPartition,
    TxnError,
};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::kafka::{Kafka as Server, kafka};

const PATIENCE: Duration = Duration::from_mins(1);

/// A broker, a topic of one partition that nobody else has, and the folder of its states.
struct World {
    server: &'static Server,
    broker: Kafka,
    topic: Arc<str>,
    of: TopicPartition,
    group: String,
    states: tempfile::TempDir,
}

impl World {
    fn new(name: &str) -> Option<Self> {
        Self::with(name, |_| {})
    }

    fn with(name: &str, change: impl Fn(&mut Settings)) -> Option<Self> {
        let server = kafka()?;
        let states = tempfile::tempdir().expect("a temporary directory");
        let mut settings = Settings::new(&server.bootstrap_servers(), "test", states.path().into());
        change(&mut settings);
        let broker = Kafka::connect(settings, Clock::System).expect("it runs");
        let topic: Arc<str> = name.into();
        broker.ensure_topic(&topic, 1).expect("new");
        Some(Self { server, broker, of: TopicPartition::new(name, 0), topic, group: format!("g-{name}"), states })
    }

    fn producer(&self, id: &str) -> Box<dyn Producer> {
        self.broker.producer(&format!("{}-{id}", self.topic)).expect("open")
    }

    fn send(&self, producer: &mut dyn Producer, value: &str) {
        let record = Record { key: Some(b"k"), value: Some(value.as_bytes()), headers: &[] };
        producer.send(&self.topic, Some(0), &record).expect("the topic exists");
    }

    /// The offset and value of every committed record.
    fn committed(&self) -> Vec<(u64, String)> {
        let (mut from, next) = self.broker.offsets(&self.of).expect("exists");
        let mut reader = self.broker.reader().expect("open");
        let mut read = Vec::new();
        while from < next {
            for batch in reader.fetch(&self.of, from, 1 << 20).expect("in range") {
                let records = batch.from(from).map(|record| {
                    (record.offset, String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned())
                });
                read.extend(records);
                from = batch.next_offset();
            }
        }
        read
    }

    fn joined(&self, id: &str) -> Box<dyn Consumer> {
        let member = Member { id: format!("{}-{id}", self.topic), index: 0, count: 1 };
        let mut consumer = self.broker.join(&self.group, std::slice::from_ref(&self.topic), &member).expect("joins");
        until("it is assigned", || {
            let polled = consumer.poll(Duration::from_millis(100)).expect("open");
            polled.iter().any(|polled| matches!(polled, Polled::Assigned { .. }))
        });
        consumer
    }

    fn step(&self, from: Option<u64>, to: u64) -> [Consumed; 1] {
        [Consumed { of: self.of.clone(), from, to }]
    }

    fn owner(&self) -> Arc<str> {
        format!("task:{}/0", self.group).into()
    }

    /// Where the log ends, open transactions included.
    fn high_watermark(&self) -> i64 {
        let client: BaseConsumer = self.client().set("isolation.level", "read_uncommitted").create().expect("settings");
        client.fetch_watermarks(&self.topic, 0, PATIENCE).expect("exists").1
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.server.bootstrap_servers());
        config
    }

    /// As retention does.
    fn delete_before(&self, offset: u64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&self.topic, 0, KafkaOffset::Offset(offset as i64)).expect("an offset");
        block_on(self.admin().delete_records(&before, &AdminOptions::new())).expect("deleted");
        until("the log begins later", || self.broker.offsets(&self.of).expect("exists").0 == offset);
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("settings")
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// As docs/kafka.md says of dead letters.
#[test]
fn a_header_has_the_bytes_it_came_with_and_null_is_none() {
    let Some(world) = World::new("headers") else { return };
    let producer: BaseProducer = world.client().create().expect("settings");
    let values = [Some(&b"1"[..]), Some(&[0, 255]), None, Some(b"")];
    let headers = values.iter().fold(OwnedHeaders::new(), |all, value| all.insert(Header { key: "h", value: *value }));
    producer.send(BaseRecord::<[u8], [u8]>::to(&world.topic).payload(b"v").headers(headers)).expect("queued");
    producer.flush(PATIENCE).expect("taken");
    let mut reader = world.broker.reader().expect("open");
    let batches = reader.fetch(&world.of, 0, 1 << 20).expect("in range");
    let records: Vec<_> = batches.iter().flat_map(|batch| batch.iter().map(|record| record.to_owned())).collect();
    let [record] = &records[..] else { panic!("{records:?}") };
    let read: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    assert_eq!(read, [("h", &b"1"[..]), ("h", &[0, 255]), ("h", b""), ("h", b"")]);
}

/// Transactions are on: what was aborted is in the log, and nobody sees it.
#[test]
fn what_was_aborted_is_in_the_log_and_never_seen() {
    let Some(world) = World::new("aborted") else { return };
    let mut producer = world.producer("p");
    world.send(producer.as_mut(), "a");
    producer.commit(Commit::default()).expect("commits");
    world.send(producer.as_mut(), "void");
    producer.abort();
    world.send(producer.as_mut(), "b");
    producer.commit(Commit::default()).expect("commits");
    // a, its marker, void, its marker, b, its marker
    assert_eq!(world.committed(), [(0, "a".into()), (4, "b".into())]);
    assert_eq!(world.broker.offsets(&world.of).expect("exists"), (0, 6), "the end is behind the last marker");
}

#[test]
fn an_open_transaction_holds_back_what_was_committed_after_it_began() {
    let Some(world) = World::new("pinned") else { return };
    let mut first = world.producer("first");
    let mut second = world.producer("second");
    world.send(first.as_mut(), "void");
    until("the open transaction is in the log", || world.high_watermark() == 1);
    world.send(second.as_mut(), "b");
    second.commit(Commit::default()).expect("commits");
    assert_eq!(world.broker.offsets(&world.of).expect("exists"), (0, 0));
    assert!(world.committed().is_empty());
    first.abort();
    until("it shows", || world.committed() == [(1, "b".into())]);
}

#[test]
fn a_transaction_that_times_out_leaves_nothing() {
    let Some(world) = World::with("timed-out", |settings| settings.transaction_timeout = Duration::from_secs(1)) else {
        return;
    };
    let mut producer = world.producer("p");
    world.send(producer.as_mut(), "void");
    until("the transaction is in the log", || world.high_watermark() == 1);
    until("the cluster aborts it", || world.high_watermark() == 2);
    let outcome = producer.commit(Commit::default());
    assert!(matches!(outcome, Err(TxnError::Abort(_) | TxnError::Fenced(_) | TxnError::Unknown(_))), "{outcome:?}");
    drop(producer);
    let mut producer = world.producer("p");
    world.send(producer.as_mut(), "b");
    producer.commit(Commit::default()).expect("commits");
    let committed = world.committed();
    assert_eq!(committed.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn work_of_an_earlier_generation_is_fenced() {
    let Some(world) = World::new("generations") else { return };
    let mut producer = world.producer("p");
    let mut first = world.joined("first");
    let earlier = first.generation();
    let member = Member { id: "generations-second".into(), index: 1, count: 2 };
    let mut second = world.broker.join(&world.group, std::slice::from_ref(&world.topic), &member).expect("joins");
    let (mut revoked, mut assigned) = (false, [false, false]);
    until("both are assigned", || {
        for (at, consumer) in [&mut first, &mut second].into_iter().enumerate() {
            for polled in consumer.poll(Duration::from_millis(50)).expect("open") {
                revoked |= at == 0 && matches!(polled, Polled::Revoked(_));
                assigned[at] |= (at == 1 || revoked) && matches!(polled, Polled::Assigned { .. });
            }
        }
        assigned == [true, true]
    });
    let step = world.step(None, 1);
    world.send(producer.as_mut(), "zombie");
    let outcome = producer.commit(Commit { consumed: Some((&earlier, &step)), state: Vec::new() });
    assert!(matches!(outcome, Err(TxnError::Fenced(_))), "{outcome:?}");
    assert!(first.generation().number > earlier.number);
    producer
        .commit(Commit { consumed: Some((&first.generation(), &step)), state: Vec::new() })
        .expect("positions alone make a transaction");
    assert!(world.committed().is_empty());
    assert_eq!(world.broker.committed(&world.group).expect("open").get(&world.of), Some(&1));
}

/// The session is longer than the test's patience: only what is said hands the partition over.
#[test]
fn a_member_that_leaves_is_not_waited_for() {
    let Some(world) = World::with("leaving", |settings| settings.session_timeout = Duration::from_mins(5)) else {
        return;
    };
    let mut first = world.joined("first");
    assert!(first.attend().expect("open"), "nothing is decided");
    let member = Member { id: "leaving-second".into(), index: 1, count: 2 };
    let mut second = world.broker.join(&world.group, std::slice::from_ref(&world.topic), &member).expect("joins");
    until("the first is to leave other work for a decision", || {
        assert!(second.poll(Duration::from_millis(20)).expect("open").is_empty());
        !first.attend().expect("open")
    });
    assert!(matches!(first.poll(Duration::ZERO).expect("open")[..], [Polled::Revoked(_)]));
    first.leave().expect("goes");
    drop(first);
    until("the second has what the first had", || {
        let polled = second.poll(Duration::from_millis(20)).expect("open");
        polled.iter().any(|polled| matches!(polled, Polled::Assigned { partitions, .. } if *partitions == [0]))
    });
}

/// Whatever it does at the time, else the two would fence each other for ever.
#[test]
fn a_member_whose_id_another_process_has_hears_of_it() {
    let Some(world) = World::new("same-id") else { return };
    let mut first = world.joined("m");
    let mut second = world.joined("m");
    let is_fenced = |outcome: Result<(), BrokerError>| match outcome {
        Ok(()) => false,
        Err(BrokerError::Fatal(reason)) => reason.contains("another process has the same worker id"),
        Err(error) => panic!("{error}"),
    };
    until("it is told while it does other work", || is_fenced(first.attend().map(drop)));
    assert!(is_fenced(first.poll(Duration::ZERO).map(drop)), "and when it polls");
    assert!(is_fenced(first.leave()), "and when it leaves");
    assert!(second.attend().expect("it is the member"));
}

#[test]
fn state_without_its_positions_is_refused() {
    let Some(world) = World::new("expired") else { return };
    let mut producer = world.producer("p");
    world.send(producer.as_mut(), "a");
    producer.commit(Commit::default()).expect("commits");
    let mut consumer = world.joined("m");
    let step = world.step(None, 1);
    producer.commit(Commit { consumed: Some((&consumer.generation(), &step)), state: Vec::new() }).expect("commits");
    assert!(world.broker.state(&world.owner()).is_ok());
    consumer.leave().expect("goes");
    drop(consumer);
    until("the group is empty", || world.broker.forget_positions(&world.group).is_ok());
    let state = world.broker.state(&world.owner()).err();
    assert!(
        matches!(&state, Some(BrokerError::Fatal(reason)) if reason.contains("no position in any topic")),
        "{state:?}"
    );
}

/// A killed process leaves a store that is behind; what is missing comes from the changelog, once, up to its end.
#[test]
fn a_store_that_is_behind_or_gone_is_restored() {
    let Some(world) = World::new("restored") else { return };
    let mut producer = world.producer("p");
    let consumer = world.joined("m");
    let owner = world.owner();
    let change = |key: &str, value: Option<&str>| StateChange {
        owner: owner.clone(),
        key: key.into(),
        value: value.map(|value| value.as_bytes().to_vec()),
    };
    let generation = consumer.generation();
    let mut at = None;
    let mut commit = |producer: &mut dyn Producer, state: Vec<StateChange>| {
        let next = at.map_or(1, |at| at + 1);
        producer.commit(Commit { consumed: Some((&generation, &world.step(at, next))), state }).expect("commits");
        at = Some(next);
    };
    let state = |broker: &Kafka| broker.state(&owner).expect("restored").scan(b"").expect("open");
    let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    commit(producer.as_mut(), vec![change("a", Some("1")), change("b", Some("1"))]);
    assert_eq!(state(&world.broker), [pair("a", "1"), pair("b", "1")]);
    // Nobody has the store open: it does not hear of these.
    commit(producer.as_mut(), vec![change("a", Some("2")), change("b", None)]);
    assert_eq!(state(&world.broker), [pair("a", "2")], "behind");
    let open = world.broker.state(&owner).expect("restored");
    commit(producer.as_mut(), vec![change("c", Some("3"))]);
    assert_eq!(open.get(b"c").expect("open").as_deref(), Some(b"3".as_slice()), "an open store hears of a commit");
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let settings = Settings::new(&world.server.bootstrap_servers(), "test", elsewhere.path().into());
    let other = Kafka::connect(settings, Clock::System).expect("it runs");
    assert_eq!(state(&other), [pair("a", "2"), pair("c", "3")], "another machine");
    assert!(world.states.path().join("task-g-restored-0").exists());
}

/// The end of a restore is not the end of what is committed so far: the predecessor's last transaction is waited for.
#[test]
fn a_restore_waits_for_an_open_transaction() {
    let Some(world) = World::new("restore-open") else { return };
    let owner: Arc<str> = "connector:restore-open".into();
    let changelog = "changelog.test.connector.restore-open";
    let nothing = StateChange { owner, key: b"k".to_vec(), value: None };
    world.producer("first").commit(Commit { consumed: None, state: vec![nothing] }).expect("makes it");
    let mut open = world.producer("open");
    let record = Record { key: Some(b"k"), value: Some(b"v"), headers: &[] };
    open.send(&changelog.into(), Some(0), &record).expect("sent");
    let ahead: BaseConsumer = world.client().set("isolation.level", "read_uncommitted").create().expect("settings");
    until("it is in the log", || ahead.fetch_watermarks(changelog, 0, PATIENCE).expect("exists").1 == 3);
    let broker = world.broker.clone();
    let restoring = std::thread::spawn(move || broker.state("connector:restore-open").expect("restored").scan(b""));
    std::thread::park_timeout(Duration::from_millis(300)); // it may have come to its wait by then; if not, all the same
    open.commit(Commit::default()).expect("commits");
    let restored = restoring.join().expect("no panic").expect("open");
    assert_eq!(restored, [(b"k".to_vec(), b"v".to_vec())]);
}

#[test]
fn a_log_that_begins_behind_our_position_names_the_gap() {
    let Some(world) = World::new("log-start") else { return };
    let mut producer = world.producer("p");
    for value in ["a", "b", "c", "d"] {
        world.send(producer.as_mut(), value);
    }
    producer.commit(Commit::default()).expect("commits");
    world.broker.note_positions(&world.group, &[(world.of.clone(), 1)].into()).expect("noted");
    world.delete_before(3);
    let fetched = world.broker.reader().expect("open").fetch(&world.of, 1, 1 << 20);
    assert!(matches!(fetched, Err(BrokerError::OutOfRange { wanted: 1, first: 3, next: 5, .. })), "{fetched:?}");
    let member = Member { id: "log-start-m".into(), index: 0, count: 1 };
    let mut consumer = world.broker.join(&world.group, std::slice::from_ref(&world.topic), &member).expect("joins");
    until("the member refuses to pass over the gap", || match consumer.poll(Duration::from_millis(100)) {
        Ok(polled) => {
            assert!(polled.is_empty(), "{polled:?}");
            false
        }
        Err(BrokerError::OutOfRange { wanted: 1, first: 3, next: 5, .. }) => true,
        Err(error) => panic!("{error}"),
    });
}

/// A group's first position is where the log begins, which moves until there is one that is committed.
#[test]
fn a_log_that_begins_later_than_when_a_group_came_is_no_gap() {
    let Some(world) = World::new("log-moves") else { return };
    let mut producer = world.producer("p");
    for value in ["a", "b", "c", "d"] {
        world.send(producer.as_mut(), value);
    }
    producer.commit(Commit::default()).expect("commits");
    let mut consumer = world.joined("m");
    world.delete_before(3);
    consumer.seek(&world.of, 0); // what was fetched already is not what is there
    until("the member is to join again", || match consumer.poll(Duration::from_millis(100)) {
        Ok(polled) => {
            assert!(polled.is_empty(), "{polled:?}");
            false
        }
        Err(BrokerError::Retry(_)) => true,
        Err(error) => panic!("{error}"),
    });
    drop(consumer);
    let mut consumer = world.joined("m");
    until("it begins where the log does", || match &consumer.poll(Duration::from_millis(100)).expect("open")[..] {
        [] => false,
        [Polled::Records { from: 3, .. }, ..] => true,
        polled => panic!("{polled:?}"),
    });
}

#[test]
fn a_topic_that_was_made_anew_is_another_one() {
    let Some(world) = World::new("anew") else { return };
    let mut producer = world.producer("p");
    for value in ["a", "b"] {
        world.send(producer.as_mut(), value);
    }
    producer.commit(Commit::default()).expect("commits");
    let consumer = world.joined("m");
    let step = world.step(None, 2);
    producer.commit(Commit { consumed: Some((&consumer.generation(), &step)), state: Vec::new() }).expect("commits");
    drop(consumer);
    assert!(world.broker.state(&world.owner()).expect("as it was").scan(b"").expect("open").is_empty());
    let before = world.broker.ensure_topic(&world.topic, 1).expect("there");
    block_on(world.admin().delete_topics(&[&world.topic], &AdminOptions::new())).expect("deleted");
    let is_there = || world.broker.topics().expect("open").iter().any(|topic| topic.name == world.topic);
    until("it is gone", || !is_there());
    let after = world.broker.ensure_topic(&world.topic, 1).expect("new");
    assert_ne!(before.id, after.id);
    until("it is empty", || world.broker.offsets(&world.of).is_ok_and(|offsets| offsets == (0, 0)));
    let fetched = world.broker.reader().expect("open").fetch(&world.of, 2, 1 << 20);
    assert!(matches!(fetched, Err(BrokerError::OutOfRange { wanted: 2, first: 0, next: 0, .. })), "{fetched:?}");
    let state = world.broker.state(&world.owner()).err();
    assert!(matches!(&state, Some(BrokerError::Fatal(reason)) if reason.contains("made anew")), "{state:?}");
}

/// The coordinator goes away in the middle of a commit, which is repeated until there is an answer.
#[test]
fn a_commit_outlives_the_broker() {
    let Some(mut server) = Server::start_to_be_killed() else { return };
    let states = tempfile::tempdir().expect("a temporary directory");
    let settings = Settings {
        // A start takes a while on a busy machine.
        transaction_timeout: Duration::from_mins(1),
        session_timeout: Duration::from_mins(1),
        ..Settings::new(&server.bootstrap_servers(), "test", states.path().into())
    };
    let broker = Kafka::connect(settings, Clock::System).expect("it runs");
    let topic: Arc<str> = "outlives".into();
    broker.ensure_topic(&topic, 1).expect("new");
    let member = Member { id: "m".into(), index: 0, count: 1 };
    let mut consumer = broker.join("g", std::slice::from_ref(&topic), &member).expect("joins");
    until("it is assigned", || {
        let polled = consumer.poll(Duration::from_millis(100)).expect("open");
        polled.iter().any(|polled| matches!(polled, Polled::Assigned { .. }))
    });
    let mut producer = broker.producer("p").expect("open");
    let of = TopicPartition::new(topic.clone(), 0);
    let record = Record { key: Some(b"k"), value: Some(b"v"), headers: &[] };
    producer.send(&topic, Some(0), &record).expect("sent");
    let owner: Arc<str> = "task:g/0".into();
    let state = vec![StateChange { owner: owner.clone(), key: b"k".to_vec(), value: Some(b"v".to_vec()) }];
    let generation = consumer.generation();
    let consumed = [Consumed { of: of.clone(), from: None, to: 1 }];
    server.kill();
    let outcome = std::thread::scope(|scope| {
        let committing =
            scope.spawn(|| producer.commit(Commit { consumed: Some((&generation, &consumed)), state: state.clone() }));
        server.start_again();
        committing.join().expect("no panic")
    });
    let is_committed = match outcome {
        Ok(()) => Some(true),
        Err(TxnError::Unknown(_)) => None,
        Err(_) => Some(false),
    };
    drop((producer, consumer));
    let _the_next_producer_waits_for_the_outcome = broker.producer("p").expect("open");
    let position = broker.committed("g").expect("open").get(&of).copied();
    let restored = broker.state(&owner).expect("restored").get(b"k").expect("open");
    let (_, next) = broker.offsets(&of).expect("exists");
    let batches = broker.reader().expect("open").fetch(&of, 0, 1 << 20).expect("in range");
    let records: u32 = batches.iter().map(|batch| batch.records).sum();
    let all = (position, restored.as_deref(), records, next > 0) == (Some(1), Some(b"v".as_slice()), 1, true);
    let nothing = (position, restored.as_deref(), records) == (None, None, 0);
    let is_as_said = is_committed.map_or(all || nothing, |is_committed| if is_committed { all } else { nothing });
    assert!(is_as_said, "{is_committed:?}: {position:?} {restored:?} {records}");
}

#[test]
fn settings_that_the_guarantees_rest_on_are_refused() {
    let Some(server) = kafka() else { return };
    for name in ["isolation.level", "session.timeout.ms", "transaction.timeout.ms"] {
        let mut settings = Settings::new(&server.bootstrap_servers(), "test", "unused".into());
        settings.properties.insert(name.into(), "60000".into());
        let refused = Kafka::connect(settings, Clock::System).err();
        assert!(matches!(&refused, Some(BrokerError::Fatal(reason)) if reason.contains(name)), "{refused:?}");
    }
}

/// A cluster that allows less than it does by default says so, and waiting does not help.
#[test]
fn times_that_the_cluster_does_not_allow_are_refused() {
    let Some(world) = World::with("times", |settings| {
        settings.session_timeout = Duration::from_secs(1);
        settings.transaction_timeout = Duration::from_mins(16);
    }) else {
        return;
    };
    let refused = world.broker.producer("times").err();
    assert!(matches!(&refused, Some(BrokerError::Fatal(_))), "{refused:?}");
    let member = Member { id: "times-m".into(), index: 0, count: 1 };
    let mut consumer = world.broker.join(&world.group, std::slice::from_ref(&world.topic), &member).expect("joins");
    until("the member hears of it", || match consumer.poll(Duration::from_millis(100)) {
        Ok(polled) => {
            assert!(polled.is_empty(), "{polled:?}");
            false
        }
        Err(BrokerError::Fatal(reason)) => reason.contains("session timeout of 1s"),
        Err(error) => panic!("{error}"),
    });
}

/// The longest of both that a config allows, and that a cluster does by default.
#[test]
fn the_longest_times_are_taken() {
    let Some(world) = World::with("long-times", |settings| {
        settings.session_timeout = Duration::from_mins(30);
        settings.transaction_timeout = Duration::from_mins(15);
    }) else {
        return;
    };
    let mut producer = world.producer("p");
    let mut consumer = world.joined("m");
    let step = world.step(None, 1);
    producer.commit(Commit { consumed: Some((&consumer.generation(), &step)), state: Vec::new() }).expect("commits");
    consumer.leave().expect("goes");
}
