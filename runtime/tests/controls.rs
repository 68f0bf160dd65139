//! What the oracle watches for (`tests/common/oracle`), broken on purpose, each at the one point that makes it show every time;
//! and the same unbroken.
//!
//! | point | what the oracle says then |
//! |---|---|
//! | no transaction, killed between flush and positions | an id is accepted twice; features are not what their inputs make |
//! | positions without generation, by a zombie | the same, and another order per key |
//! | a restore to the end of what is committed at present | ids are accepted that are duplicates: their state is lost |

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use skuflow_runtime::broker::kafka::{Fail, Kafka, Settings};
use skuflow_runtime::broker::{
    Broker, Commit, Consumed, Consumer, Member, Pair, Polled, Producer, Record, StateChange, TopicPartition, TxnError,
};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::kafka::{Kafka as Server, kafka};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);
/// The shortest session that a cluster allows.
const SESSION: Duration = Duration::from_secs(6);

/// A topic of one partition and a group that nobody else has.
struct World {
    server: &'static Server,
    topic: Arc<str>,
    group: String,
}

/// One process, as far as the cluster can tell.
struct Process {
    broker: Kafka,
    producer: Box<dyn Producer>,
    consumer: Box<dyn Consumer>,
    _states: TempDir,
}

impl World {
    fn new(name: &str) -> Option<Self> {
        let world = Self { server: kafka()?, topic: name.into(), group: format!("g-{name}") };
        world.connect(None).0.ensure_topic(name, 1).expect("new");
        Some(world)
    }

    fn connect(&self, fail: Option<Fail>) -> (Kafka, TempDir) {
        let states = tempfile::tempdir().expect("a temporary directory");
        let mut settings = Settings::new(&self.server.bootstrap_servers(), "test", states.path().into());
        settings.session_timeout = SESSION;
        settings.transaction_timeout = PATIENCE;
        // How long the others wait for one who does not poll.
        settings.properties.insert("max.poll.interval.ms".into(), SESSION.as_millis().to_string());
        settings.fail = fail;
        (Kafka::connect(settings, Clock::System).expect("it runs"), states)
    }

    /// A member that has the partition.
    fn process(&self, id: &str, fail: Option<Fail>) -> Process {
        let (broker, states) = self.connect(fail);
        let id = format!("{}-{id}", self.topic);
        let producer = broker.producer(&id).expect("open");
        let member = Member { id, index: 0, count: 1 };
        let mut consumer = broker.join(&self.group, std::slice::from_ref(&self.topic), &member).expect("joins");
        until("it has the partition", || {
            let polled = consumer.poll(Duration::from_millis(100)).expect("open");
            polled.iter().any(|polled| matches!(polled, Polled::Assigned { partitions, .. } if *partitions == [0]))
        });
        Process { broker, producer, consumer, _states: states }
    }

    /// Sends the effect of the record at `offset`.
    fn work(&self, process: &mut Process, offset: u64) {
        let effect = format!("effect of {offset}");
        let record = Record { key: Some(b"k"), value: Some(effect.as_bytes()), headers: &[] };
        process.producer.send(&self.topic, Some(0), &record).expect("the topic exists");
    }

    /// Commits the step over the record at `offset`.
    fn commit(&self, process: &mut Process, offset: u64) -> Result<(), TxnError> {
        let of = TopicPartition::new(self.topic.clone(), 0);
        let step = [Consumed { of, from: (offset > 0).then_some(offset), to: offset + 1 }];
        let generation = process.consumer.generation();
        process.producer.commit(Commit { consumed: Some((&generation, &step)), state: Vec::new() })
    }

    /// What readers see. Each record has one effect, or something is wrong.
    fn effects(&self) -> Vec<String> {
        let (broker, _states) = self.connect(None);
        let of = TopicPartition::new(self.topic.clone(), 0);
        let mut reader = broker.reader().expect("open");
        let (mut from, mut effects) = (0, Vec::new());
        while from < self.high_watermark(&self.topic) {
            for batch in reader.fetch(&of, from, 1 << 20).expect("in range") {
                let values = batch.from(from).filter_map(|record| record.value);
                effects.extend(values.map(|value| String::from_utf8_lossy(value).into_owned()));
                from = batch.next_offset();
            }
        }
        effects
    }

    /// Where a log ends, open transactions included.
    fn high_watermark(&self, topic: &str) -> u64 {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.server.bootstrap_servers()).set("isolation.level", "read_uncommitted");
        let client: BaseConsumer = config.create().expect("settings");
        client.fetch_watermarks(topic, 0, PATIENCE).expect("exists").1 as u64
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A process that dies between the flush and the positions, and is begun again.
fn effects_of_a_death(name: &str, fail: Fail) -> Option<Vec<String>> {
    let world = World::new(name)?;
    let mut process = world.process("m", Some(fail));
    world.work(&mut process, 0);
    let outcome = world.commit(&mut process, 0);
    assert!(matches!(outcome, Err(TxnError::Unknown(_))), "{outcome:?}");
    drop(process);
    let mut again = world.process("m", None);
    assert!(again.broker.committed(&world.group).expect("open").is_empty(), "the record is not consumed");
    world.work(&mut again, 0);
    world.commit(&mut again, 0).expect("commits");
    again.producer.settle().expect("shows");
    Some(world.effects())
}

#[test]
fn without_transactions_a_death_doubles_an_effect() {
    let Some(effects) = effects_of_a_death("death", Fail::DiesBeforePositions) else { return };
    assert_eq!(effects, ["effect of 0"]);
    let effects = effects_of_a_death("death-without-transactions", Fail::DiesWithoutTransactions);
    assert_eq!(effects.expect("it is there"), ["effect of 0", "effect of 0"]);
}

/// What transactions cost is measured against this: everything is done and moves on, and no marker stands in the log.
#[test]
fn at_least_once_is_without_transactions_and_does_the_same_work() {
    let Some(world) = World::new("at-least-once") else { return };
    let fail = Some(Fail::AtLeastOnce);
    let mut process = world.process("m", fail);
    for offset in 0..3 {
        world.work(&mut process, offset);
        world.commit(&mut process, offset).expect("commits");
    }
    let of = TopicPartition::new(world.topic.clone(), 0);
    assert_eq!(process.broker.committed(&world.group).expect("open"), [(of, 3)].into());
    drop(process);
    let mut again = world.process("m", fail);
    let outcome = world.commit(&mut again, 2);
    assert!(matches!(outcome, Err(TxnError::Fenced(_))), "{outcome:?}");
    world.work(&mut again, 3);
    world.commit(&mut again, 3).expect("it goes on where it was");
    let effects = [0, 1, 2, 3].map(|offset| format!("effect of {offset}"));
    assert_eq!(world.effects(), effects);
    assert_eq!(world.high_watermark(&world.topic), effects.len() as u64);
}

/// A process that stands still behind its work, while another gets its partition and does the work, and goes on then.
fn effects_of_a_zombie(name: &str, fail: Option<Fail>) -> Option<(Result<(), TxnError>, Vec<String>)> {
    let world = World::new(name)?;
    let mut zombie = world.process("zombie", fail);
    world.work(&mut zombie, 0);
    world.commit(&mut zombie, 0).expect("it has the partition");
    world.work(&mut zombie, 1);
    let mut successor = world.process("successor", None);
    world.work(&mut successor, 1);
    world.commit(&mut successor, 1).expect("it has the partition");
    let outcome = world.commit(&mut zombie, 1);
    zombie.producer.abort();
    for process in [&mut zombie, &mut successor] {
        let _it_may_be_fenced = process.producer.settle();
    }
    Some((outcome, world.effects()))
}

#[test]
fn without_the_generation_a_zombie_doubles_an_effect() {
    let Some((outcome, effects)) = effects_of_a_zombie("zombie", None) else { return };
    assert!(matches!(outcome, Err(TxnError::Fenced(_))), "{outcome:?}");
    assert_eq!(effects, ["effect of 0", "effect of 1"]);
    let broken = effects_of_a_zombie("zombie-without-generation", Some(Fail::CommitsWithoutGeneration));
    let (outcome, effects) = broken.expect("it is there");
    outcome.expect("the cluster has no means to refuse it");
    assert_eq!(effects, ["effect of 0", "effect of 1", "effect of 1"]);
}

/// A store that is restored while the last transaction of the owner's predecessor is open, which commits then.
fn restored_beside_an_open_transaction(name: &str, fail: Option<Fail>) -> Option<Vec<Pair>> {
    let world = World::new(name)?;
    let owner = format!("connector:{name}");
    let changelog: Arc<str> = format!("changelog.test.connector.{name}").into();
    let (broker, _states) = world.connect(fail);
    let nothing = StateChange { owner: owner.as_str().into(), key: b"seen".to_vec(), value: None };
    let mut first = broker.producer(&format!("{name}-first")).expect("open");
    first.commit(Commit { consumed: None, state: vec![nothing] }).expect("makes the changelog");
    let mut predecessor = broker.producer(&format!("{name}-p")).expect("open");
    let record = Record { key: Some(b"seen"), value: Some(b"1"), headers: &[] };
    predecessor.send(&changelog, Some(0), &record).expect("sent");
    until("it is in the log", || world.high_watermark(&changelog) == 3);
    let restoring = std::thread::spawn(move || broker.state(&owner).expect("restored").scan(b"").expect("open"));
    if fail.is_some() {
        until("it does not wait", || restoring.is_finished());
    } else {
        std::thread::park_timeout(Duration::from_millis(300)); // it may have come to its wait by then; if not, all the same
    }
    predecessor.commit(Commit::default()).expect("commits");
    Some(restoring.join().expect("no panic"))
}

#[test]
fn a_restore_to_what_is_committed_at_present_loses_state() {
    let Some(state) = restored_beside_an_open_transaction("restore", None) else { return };
    assert_eq!(state, [(b"seen".to_vec(), b"1".to_vec())]);
    let lost = restored_beside_an_open_transaction("restore-to-lso", Some(Fail::RestoresToLastStable));
    assert_eq!(lost.expect("it is there"), []);
}
