//! What stage `compete` has published, against what its steps make of what it has read.
//!
//! The recomputation knows no task, store, timer table, transaction or thread, and nothing of how the run went: it folds the
//! steps over the committed records of the stage's inputs, partition by partition, and compares bytes.
//!
//! It takes them in the order in which a run with `--once` must have taken them, however often that was killed. A task takes
//! nothing while one of its inputs is empty that may still get records (how `--once` ends: until its writers are done). So
//! what it takes next is always the head that is first in event time, of equals that of the input named first; a function of
//! the logs alone. A record without a time follows the one before it. Timers and days turn by the time of the same records.
//! Position, state and output are committed together, so a run that is killed goes on at the same place of that order.
//! How the partitions take turns is left to chance, and reaches no other partition: outputs have the keys of their inputs.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;

use skuflow::records;
use skuflow_processors::driver::{Message, Scenario};
use skuflow_runtime::broker::{Broker, OwnedRecord, TopicInfo};
use skuflow_schemas::{Decoder, Event, Timestamp};

use super::topics::{open, parting};

/// What the stage reads in the project of the demo, in this order.
pub const INPUTS: [&str; 4] = ["product-offers.v1", "product-sales.v1", "product-inventory.v1", "catalog.v1"];
/// What it publishes.
const OUTPUTS: [&str; 2] = ["features.v1", "alerts.v1"];

/// The log of one partition of one output.
pub struct Output {
    pub topic: &'static str,
    pub partition: u32,
    /// What is committed.
    pub found: Vec<OwnedRecord>,
    /// What should be.
    pub recomputed: Vec<OwnedRecord>,
}

/// Shows `visit` every partition of the outputs of a stage that reads `inputs`, those that there are, in this order; the names
/// of all topics begin with `prefix`.
pub fn each(broker: &dyn Broker, prefix: &str, inputs: &[&str], visit: &mut dyn FnMut(&Output)) {
    let topics = broker.topics().expect("open");
    let topic = |name: &str| topics.iter().find(|topic| topic.name.strip_prefix(prefix) == Some(name));
    let read = |name: &str, partition| topic(name).map_or(Vec::new(), |topic| read(broker, topic, partition));
    for partition in 0..topic(inputs[0]).expect("every stage of this kind reads it").partitions {
        let recomputed = recompute(inputs.iter().map(|name| timed(name, &read(name, partition))).collect());
        for name in OUTPUTS {
            visit(&Output {
                topic: name,
                partition,
                found: read(name, partition),
                recomputed: recomputed.iter().filter(|message| message.topic == name).map(record).collect(),
            });
        }
    }
}

/// Where what was published is not what was recomputed; nothing where it is, and how many records were compared.
pub fn differences(data_dir: &Path) -> (Vec<String>, usize) {
    differences_of(&open(data_dir), "")
}

/// The same of a broker, in topics whose names begin with `prefix`.
pub fn differences_of(broker: &dyn Broker, prefix: &str) -> (Vec<String>, usize) {
    let (mut differences, mut compared) = (Vec::new(), 0);
    each(broker, prefix, &INPUTS, &mut |output| {
        differences.extend(output.difference());
        compared += output.found.len();
    });
    (differences, compared)
}

impl Output {
    /// The first record that is not the same.
    pub fn difference(&self) -> Option<String> {
        let Self { topic, partition, found, recomputed } = self;
        let at = parting(found, recomputed)?;
        let shown = |records: &[OwnedRecord]| {
            let event = |record: &OwnedRecord| Decoder.decode(record.value.as_deref().unwrap_or_default());
            records.get(at).map_or("nothing".into(), |record| format!("{:?}", event(record)))
        };
        let sizes = format!("{} records for {}", found.len(), recomputed.len());
        Some(format!("{topic}/{partition}: {sizes}; number {at} is {}, not {}", shown(found), shown(recomputed)))
    }
}

fn read(broker: &dyn Broker, topic: &TopicInfo, partition: u32) -> Vec<OwnedRecord> {
    let mut found = Vec::new();
    let read = records::each(broker, topic, None, &mut |of, record| {
        if of.partition == partition {
            found.push(record.to_owned());
        }
        ControlFlow::Continue(())
    });
    read.expect("readable");
    found
}

fn recompute(inputs: Vec<VecDeque<(Timestamp, Message)>>) -> Vec<Message> {
    let whole =
        Scenario { name: "recomputed".into(), stage: "alerts", inputs: merged(inputs), expected: String::new() };
    whole.run()
}

/// Each record with its time; one that has none has that of the one before it.
fn timed(topic: &str, records: &[OwnedRecord]) -> VecDeque<(Timestamp, Message)> {
    let mut time = Timestamp::MIN;
    let place = |record: &OwnedRecord| {
        if let Some(value) = &record.value {
            time = Decoder.decode(value).expect("only what is clean gets here").observed_at();
        }
        let key = String::from_utf8(record.key.clone().unwrap_or_default()).expect("keys are text");
        (time, Message { topic: topic.into(), key, value: record.value.clone(), refused: None })
    };
    records.iter().map(place).collect()
}

/// Always the first in time, of equals that of the first input.
fn merged(mut inputs: Vec<VecDeque<(Timestamp, Message)>>) -> Vec<Message> {
    let mut merged = Vec::new();
    loop {
        let waiting = inputs.iter_mut().filter(|input| !input.is_empty());
        let first = waiting.min_by_key(|input| input.front().map(|(time, _)| *time));
        let Some((_, message)) = first.and_then(VecDeque::pop_front) else { return merged };
        merged.push(message);
    }
}

/// As it should stand in the log.
fn record(message: &Message) -> OwnedRecord {
    let headers = match Decoder.decode(message.value.as_deref().unwrap_or_default()) {
        Ok(Event::Alert(alert)) => alert.headers(),
        _ => Vec::new(),
    };
    OwnedRecord {
        key: Some(message.key.clone().into_bytes()),
        value: message.value.clone(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}
