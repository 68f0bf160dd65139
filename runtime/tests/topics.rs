//! Topics on a real Kafka: those that cannot be used are refused with what mends them, and compaction loses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use skuflow_runtime::broker::kafka::{Kafka, Needs, Settings, block_on};
use skuflow_runtime::broker::{Broker, BrokerError, Commit, StateChange, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::kafka::{Kafka as Server, kafka};

fn connect(server: &Server, states: &tempfile::TempDir) -> Kafka {
    let settings = Settings {
        transaction_timeout: Duration::from_mins(1), // a busy machine takes its time
        ..Settings::new(&server.bootstrap_servers(), "shop", states.path().into())
    };
    Kafka::connect(settings, Clock::System).expect("it runs")
}

fn admin(server: &Server) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", server.bootstrap_servers()).create().expect("settings")
}

/// Gives a topic these settings, and no others.
fn alter(server: &Server, topic: &str, settings: &[(&str, &str)]) {
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let config = settings.iter().fold(config, |config, (setting, value)| config.set(setting, value));
    let altered = block_on(admin(server).alter_configs([&config], &AdminOptions::new())).expect("an answer");
    altered[0].as_ref().expect("altered");
}

/// A topic's name, partitions and settings.
type Made<'a> = (&'a str, i32, &'a [(&'a str, &'a str)]);

fn make(server: &Server, topics: &[Made<'_>]) {
    let admin = admin(server);
    for (name, partitions, settings) in topics {
        let topic = NewTopic::new(name, *partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (setting, value)| topic.set(setting, value));
        let made = block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("an answer");
        made[0].as_ref().expect("made");
    }
}

fn needs(prefix: &str) -> Needs {
    let topic = |name: &str| format!("{prefix}.{name}").into();
    Needs {
        topics: vec![
            topic("raw.offers.v1"),
            topic("listings.v1"),
            topic("offers.v1"),
            format!("dlq.{prefix}.raw.offers.v1").into(),
        ],
        partitions: 4,
        groups: vec![format!("{prefix}-clean")],
        owners: vec![format!("connector:{prefix}").into()],
    }
}

#[test]
fn what_is_made_can_be_used() {
    let Some(server) = kafka() else { return };
    let states = tempfile::tempdir().expect("a temporary directory");
    let broker = connect(server, &states);
    let none = broker.examine_topics(&needs("made")).expect("an answer");
    assert!(none.iter().all(|(_, outcome)| *outcome == Ok(false)), "{none:?}");
    assert_eq!(broker.ensure_topics(&needs("made")).expect("an answer"), [] as [String; 0]);
    let all = broker.examine_topics(&needs("made")).expect("an answer");
    assert!(all.iter().all(|(_, outcome)| *outcome == Ok(true)), "{all:?}");
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names[4..], ["changelog.made-clean", "changelog.shop.connector.made"]);
}

/// The commands in what is said are run as they stand, and that was all.
#[test]
fn topics_that_cannot_be_used_are_refused_together_with_what_mends_them() {
    let Some(server) = kafka() else { return };
    let states = tempfile::tempdir().expect("a temporary directory");
    let broker = connect(server, &states);
    make(
        server,
        &[
            ("bad.raw.offers.v1", 4, &[("max.message.bytes", "12000000"), ("message.timestamp.type", "LogAppendTime")]),
            ("dlq.bad.raw.offers.v1", 4, &[("max.message.bytes", "12000000"), ("min.insync.replicas", "2")]),
            ("bad.listings.v1", 2, &[]),
            ("bad.offers.v1", 4, &[("cleanup.policy", "compact"), ("unclean.leader.election.enable", "true")]),
            ("changelog.bad-clean", 4, &[("cleanup.policy", "compact,delete")]),
            ("changelog.shop.connector.bad", 1, &[("cleanup.policy", "compact"), ("delete.retention.ms", "1000")]),
        ],
    );
    let refused = broker.ensure_topics(&needs("bad")).expect("an answer");
    let named: Vec<&str> = refused.iter().filter_map(|reason| reason.split(' ').nth(1)).collect();
    assert_eq!(
        named,
        [
            "bad.listings.v1",
            "bad.offers.v1",
            "dlq.bad.raw.offers.v1",
            "changelog.bad-clean",
            "changelog.shop.connector.bad"
        ]
    );
    for (at, said) in [
        (0, "it has 2 partitions, not 4"),
        (0, "cleanup.policy is delete and must be compact"),
        (1, "unclean.leader.election.enable is true and must be false"),
        (2, "max.message.bytes is 12000000 and must be 12065536 at least"),
        (2, "min.insync.replicas is 2 and must be 1"),
        (3, "cleanup.policy is compact,delete and must be compact"),
        (4, "delete.retention.ms is 1000 and must be 604800000 at least"),
    ] {
        assert!(refused[at].contains(said), "{said}: {}", refused[at]);
    }
    let alone = broker.ensure_topic("bad.offers.v1", 4).err();
    assert!(matches!(&alone, Some(BrokerError::Fatal(reason)) if *reason == refused[1]), "{alone:?}");
    let examined = broker.examine_topics(&needs("bad")).expect("an answer");
    let objections: Vec<String> = examined.into_iter().filter_map(|(_, outcome)| outcome.err()).collect();
    assert_eq!(objections, refused, "a look says the same");
    for command in refused.iter().flat_map(|reason| reason.split("run: ").skip(1)) {
        server.run(command.split(';').next().unwrap_or_default());
    }
    assert_eq!(broker.ensure_topics(&needs("bad")).expect("an answer"), [] as [String; 0]);
}

/// The records of a log: key, and whether there is a value.
fn log(broker: &Kafka, of: &TopicPartition) -> Vec<(Vec<u8>, bool)> {
    let (mut from, next) = broker.offsets(of).expect("exists");
    let mut reader = broker.reader().expect("open");
    let mut records = Vec::new();
    while from < next {
        for batch in reader.fetch(of, from, 1 << 20).expect("in range") {
            let each = batch.from(from).map(|record| (record.key.unwrap_or_default().to_vec(), record.value.is_some()));
            records.extend(each);
            from = batch.next_offset();
        }
    }
    records
}

/// Compaction takes records, tombstones and whole transactions out of the middle of a changelog; a state that is read from what
/// is left is the same, on a machine that has nothing of it and on one that is behind.
#[test]
fn a_state_is_restored_from_a_compacted_changelog() {
    const OWNER: &str = "connector:compacted";
    const CHANGELOG: &str = "changelog.shop.connector.compacted";
    const QUICK: &[(&str, &str)] = &[
        ("cleanup.policy", "compact"),
        ("max.message.bytes", "16777216"),
        ("message.timestamp.type", "LogAppendTime"),
        ("segment.ms", "10"),
        ("min.cleanable.dirty.ratio", "0.001"),
    ];
    const ROUNDS_MAX: u32 = 3_000;
    let Some(server) = kafka() else { return };
    let [states, behind, elsewhere] = [(); 3].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let broker = connect(server, &states);
    let of = TopicPartition::new(CHANGELOG, 0);
    let mut expected = BTreeMap::new();
    let mut producer = broker.producer("p").expect("open");
    let mut commit = |changes: &[(String, Option<String>)]| {
        let state = changes.iter().map(|(key, value)| StateChange {
            owner: OWNER.into(),
            key: key.clone().into_bytes(),
            value: value.clone().map(String::into_bytes),
        });
        producer.commit(Commit { consumed: None, state: state.collect() }).expect("commits");
        for (key, value) in changes {
            match value {
                Some(value) => expected.insert(key.clone().into_bytes(), value.clone().into_bytes()),
                None => expected.remove(key.as_bytes()),
            };
        }
        expected.clone()
    };
    let restored = |states| connect(server, states).state(OWNER).expect("restored").scan(b"").expect("open");
    commit(&[("kept".into(), Some("1".into())), ("deleted".into(), Some("1".into()))]);
    let before = commit(&[("deleted".into(), None)]);
    assert_eq!(restored(&behind), before.into_iter().collect::<Vec<_>>());
    alter(server, CHANGELOG, &[QUICK, &[("delete.retention.ms", "1")]].concat());
    let mut now = BTreeMap::new();
    let is_compacted = (0..ROUNDS_MAX).any(|round| {
        now = commit(&[(format!("key-{}", round % 5), Some(round.to_string())), (format!("key-{}", round % 7), None)]);
        std::thread::park_timeout(Duration::from_millis(10)); // segments are cut by time
        round % 50 == 49 && {
            let log = log(&broker, &of);
            log.iter().all(|(key, _)| key != b"deleted") && (log.len() as u32) < round
        }
    });
    assert!(is_compacted, "nothing was compacted in {ROUNDS_MAX} rounds");
    alter(server, CHANGELOG, &[QUICK, &[("delete.retention.ms", "604800000")]].concat());
    let now: Vec<_> = now.into_iter().collect();
    assert_eq!(restored(&elsewhere), now, "on a machine that has nothing");
    assert_eq!(restored(&behind), now, "on a machine that is behind");
}
