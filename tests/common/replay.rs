//! Dead letters that are sent again by a command that is killed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skuflow::records;
use skuflow_runtime::broker::{Broker, Commit, OwnedRecord, Record};
use skuflow_schemas::ATTEMPT_HEADER;

use super::Project;

const TOPIC: &str = "raw.offers.v1";
const LETTERS: u64 = 1_500;
const PER_SECOND: &str = "100";
const KILLS_MIN: u32 = 3;
const KILLS_MAX: u32 = 12;
const OURS: &[&str] = &["--filter", "code == 'not-framed'"];

/// The sample on some broker.
pub struct Replay<'a> {
    pub project: &'a Project,
    /// Gives the broker while nobody runs the project.
    pub open: &'a dyn Fn() -> Box<dyn Broker>,
    /// What the names of its topics begin with.
    pub prefix: &'a str,
}

impl Replay<'_> {
    /// Each dead letter goes again once, whenever the command is killed; what comes back too often stays.
    pub fn loses_and_repeats_nothing(&self, seed: u64) {
        self.project.run_once();
        let keys: Vec<String> = (0..LETTERS).map(|number| format!("key-{number}")).collect();
        self.put(&keys, ("trace", "00"));
        self.put(&["often".to_owned()], (ATTEMPT_HEADER, "5"));
        self.project.run_once();
        let mut random = seed;
        let mut left = LETTERS;
        for kill in 1..=KILLS_MAX {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Longer each time: on a busy machine it takes a while to begin.
            self.is_killed_after(Duration::from_millis(u64::from(kill) * 1_000 + (random >> 54)));
            left = self.would_go(OURS[1]);
            if kill >= KILLS_MIN && left < LETTERS {
                break;
            }
        }
        assert!(left > 0 && left < LETTERS, "seed {seed}: {left} are left, it was killed in the middle");
        assert!(self.would_go("code == 'not-framed' && key == 'key-7'") <= 1);
        let outcomes = json!([
            { "topic": format!("dlq.{}{TOPIC}", self.prefix), "outcome": "replayed", "count": left },
            { "topic": format!("dlq.{}{TOPIC}", self.prefix), "outcome": "tried 5 times already", "count": 1 },
        ]);
        assert_eq!(self.replay(OURS), outcomes, "seed {seed}");
        assert_eq!(self.would_go(OURS[1]), 0, "seed {seed}: each goes once");
        self.is_there_twice(&keys, seed);
        self.project.run_once();
        let shown = self.project.command(&["dlq", "show", TOPIC, "--filter", "key == 'key-7' && attempt == 2"]);
        assert_eq!(String::from_utf8_lossy(&shown.stdout).lines().count(), 1, "it came back");
    }

    /// As it came, and once more.
    fn is_there_twice(&self, keys: &[String], seed: u64) {
        let found = self.of_keys();
        let record = |key: &str, attempt: Option<&str>| {
            let headers = [Some(("trace", "00")), attempt.map(|count| (ATTEMPT_HEADER, count))].into_iter().flatten();
            let headers = headers.map(|(name, value)| (name.to_owned(), value.into())).collect();
            OwnedRecord { key: Some(key.into()), value: Some(value(key).into()), headers }
        };
        for key in keys {
            assert_eq!(found[key], [record(key, None), record(key, Some("1"))], "seed {seed}");
        }
    }

    fn is_killed_after(&self, time: Duration) {
        let mut running = self.project.start(&["dlq", "replay", TOPIC, "--rate", PER_SECOND, OURS[0], OURS[1]]);
        let until = Instant::now() + time;
        while Instant::now() < until && running.ended().is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn replay(&self, arguments: &[&str]) -> Value {
        self.project.json(&[&["dlq", "replay", TOPIC, "--format", "json"], arguments].concat())
    }

    /// How many would be sent again.
    fn would_go(&self, filter: &str) -> u64 {
        let rows = self.replay(&["--dry-run", "--filter", filter]);
        let row = rows.as_array().expect("rows").iter().find(|row| row["outcome"] == "would be replayed");
        row.and_then(|row| row["count"].as_u64()).unwrap_or(0)
    }

    fn put(&self, keys: &[String], (name, header): (&str, &str)) {
        let broker = (self.open)();
        let mut producer = broker.producer("test").expect("open");
        for key in keys {
            let (value, headers) = (value(key), [(name, header.as_bytes())]);
            let record = Record { key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &headers };
            producer.send(&format!("{}{TOPIC}", self.prefix).into(), None, &record).expect("there");
        }
        producer.commit(Commit::default()).expect("written");
        producer.settle().expect("it shows");
    }

    fn of_keys(&self) -> BTreeMap<String, Vec<OwnedRecord>> {
        let broker = (self.open)();
        let topics = broker.topics().expect("open");
        let topic = topics.iter().find(|topic| topic.name.strip_prefix(self.prefix) == Some(TOPIC)).expect("there");
        let mut found: BTreeMap<String, Vec<OwnedRecord>> = BTreeMap::new();
        let read = records::each(broker.as_ref(), topic, None, &mut |_, record| {
            found.entry(record.key_text().to_owned()).or_default().push(record.to_owned());
            ControlFlow::Continue(())
        });
        read.expect("readable");
        found
    }
}

/// What is no event.
fn value(key: &str) -> String {
    format!("no event: {key}")
}
