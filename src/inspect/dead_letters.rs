//! Dead letters: list, show, replay.
//!
//! A replayed letter is noted in the transaction that sends it again, so each goes once however often `replay` is asked
//! or killed. It stays in its topic.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use cel::{Context, Program};
use serde_json::{Value, json};
use skuflow_ingest::file::Mapping;
use skuflow_runtime::broker::{
    Broker, Commit, Header, OwnedRecord, Producer, Record, StateChange, TopicInfo, TopicPartition, TxnError,
};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::limits::{REPLAY_ATTEMPTS_MAX, TXN_BYTES_MAX};
use skuflow_schemas::{ATTEMPT_HEADER, DEAD_LETTER_PREFIX, DeadLetter, Encoder, HEADER_PREFIX, Origin};

use super::InspectError;
use super::tap::find;
use crate::config::{ConnectorConfig, Loaded};
use crate::names::Names;
use crate::records;

/// Letters that are sent again in one transaction.
const REPLAY_BATCH: usize = 1_000;
/// What became of a letter that was sent again.
pub(crate) const REPLAYED: &str = "replayed";
const WOULD_BE_REPLAYED: &str = "would be replayed";

struct Letter {
    of: TopicPartition,
    offset: u64,
    letter: DeadLetter,
    record: OwnedRecord,
}

/// Letters by topic and reason.
pub(super) fn list(broker: &dyn Broker, loaded: &Loaded) -> Result<Vec<Value>, InspectError> {
    let mut sums: BTreeMap<(String, String), (u64, u64, String)> = BTreeMap::new();
    let topics = Names(&loaded.config).own(broker.topics()?);
    for topic in topics.iter().filter(|topic| topic.name.starts_with(DEAD_LETTER_PREFIX)) {
        let done = Done::of(broker, topic)?;
        each(broker, topic, &mut |letter| {
            let key = (topic.name.to_string(), letter.letter.code.to_string());
            let sum = sums.entry(key).or_default();
            sum.0 += 1;
            sum.1 += u64::from(done.contains(&letter));
            sum.2 = letter.letter.message;
            Ok(true)
        })?;
    }
    let rows = sums.into_iter().map(|((topic, code), (count, replayed, message))| {
        json!({ "topic": topic, "code": code, "count": count, "replayed": replayed, "last": message })
    });
    Ok(rows.collect())
}

/// Letters of one topic, whole.
pub(super) fn show(
    broker: &dyn Broker,
    loaded: &Loaded,
    topic: &str,
    filter: Option<&str>,
    limit: usize,
) -> Result<Vec<Value>, InspectError> {
    let topic = find_letters(broker, loaded, topic)?;
    let filter = Filter::new(filter)?;
    let done = Done::of(broker, &topic)?;
    let mut rows = Vec::new();
    each(broker, &topic, &mut |letter| {
        if filter.matches(&letter)? {
            let replayed = done.contains(&letter);
            let mut row = described(&letter);
            row["replayed"] = replayed.into();
            row["value"] = String::from_utf8_lossy(letter.record.value.as_deref().unwrap_or_default()).into();
            rows.push(row);
        }
        Ok(rows.len() < limit)
    })?;
    Ok(rows)
}

/// Sends letters again that match and were not sent again before, `limit` of them at most.
pub(super) fn replay(
    broker: &dyn Broker,
    loaded: &Loaded,
    topic: &str,
    filter: Option<&str>,
    dry_run: bool,
    limit: usize,
) -> Result<Vec<Value>, InspectError> {
    let from = find_letters(broker, loaded, topic)?;
    let topic = from.name.as_ref();
    let filter = Filter::new(filter)?;
    let way = Way::of(topic, loaded)?;
    // First the producer: whoever else replays this topic commits nothing more, and what is noted stays so.
    let mut producer = if dry_run { None } else { Some(broker.producer(&format!("replay-{topic}"))?) };
    let mut done = Done::of(broker, &from)?;
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let (mut state, mut sent) = (Vec::new(), 0);
    each(broker, &from, &mut |letter| {
        if done.contains(&letter) || !filter.matches(&letter)? {
            return Ok(true);
        }
        let outcome = match (way.again(&letter), &mut producer) {
            (Ok(again), Some(producer)) => {
                again.send(producer.as_mut())?;
                state.push(done.note(&letter));
                if state.len() >= REPLAY_BATCH || producer.pending_bytes() >= TXN_BYTES_MAX {
                    producer.commit(Commit { consumed: None, state: std::mem::take(&mut state) })?;
                }
                sent += 1;
                REPLAYED.into()
            }
            (Ok(_), None) => WOULD_BE_REPLAYED.into(),
            (Err(reason), _) => reason,
        };
        *outcomes.entry(outcome).or_default() += 1;
        Ok(sent < limit)
    })?;
    if let Some(mut producer) = producer {
        producer.commit(Commit { consumed: None, state })?;
    }
    let rows =
        outcomes.into_iter().map(|(outcome, count)| json!({ "topic": topic, "outcome": outcome, "count": count }));
    Ok(rows.collect())
}

/// The dead letters of a topic or connector, with or without their prefix.
fn find_letters(broker: &dyn Broker, loaded: &Loaded, origin: &str) -> Result<TopicInfo, InspectError> {
    let origin = origin.strip_prefix(DEAD_LETTER_PREFIX).unwrap_or(origin);
    find(broker, loaded, &format!("{DEAD_LETTER_PREFIX}{origin}"))
}

/// Calls `visit` for every letter of a topic until it says that it has enough.
fn each(
    broker: &dyn Broker,
    topic: &TopicInfo,
    visit: &mut dyn FnMut(Letter) -> Result<bool, InspectError>,
) -> Result<(), InspectError> {
    let mut failed = None;
    records::each(broker, topic, None, &mut |of, record| {
        let Some(letter) = DeadLetter::from_headers(record.headers()) else { return ControlFlow::Continue(()) };
        let letter = Letter { of: of.clone(), offset: record.offset, letter, record: record.to_owned() };
        match visit(letter) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// Which letters of a topic were sent again: by their place in it, and by its id, for a topic that is made anew has others
/// there.
struct Done {
    owner: Arc<str>,
    topic_id: Vec<u8>,
    keys: HashSet<Vec<u8>>,
}

impl Done {
    fn of(broker: &dyn Broker, topic: &TopicInfo) -> Result<Self, InspectError> {
        let owner: Arc<str> = format!("replay:{}", topic.name).into();
        let topic_id = topic.id.clone().into_bytes();
        let noted = broker.state(&owner)?.scan(b"")?.into_iter();
        let keys = noted.filter(|(_, of)| *of == topic_id).map(|(key, _)| key).collect();
        Ok(Self { owner, topic_id, keys })
    }

    /// A text: keys that begin with a zero are the broker's own, on Kafka.
    fn key(letter: &Letter) -> Vec<u8> {
        format!("{}/{}", letter.of.partition, letter.offset).into_bytes()
    }

    fn contains(&self, letter: &Letter) -> bool {
        self.keys.contains(&Self::key(letter))
    }

    fn note(&mut self, letter: &Letter) -> StateChange {
        let key = Self::key(letter);
        self.keys.insert(key.clone());
        StateChange { owner: self.owner.clone(), key, value: Some(self.topic_id.clone()) }
    }
}

/// A CEL expression over a letter.
struct Filter(Option<Program>);

impl Filter {
    fn new(source: Option<&str>) -> Result<Self, InspectError> {
        let compile =
            |source| Program::compile(source).map_err(|error| InspectError::Usage(format!("--filter: {error}")));
        source.map(compile).transpose().map(Self)
    }

    fn matches(&self, letter: &Letter) -> Result<bool, InspectError> {
        let Some(program) = &self.0 else { return Ok(true) };
        let failed = |reason: String| InspectError::Usage(format!("--filter: {reason}"));
        let mut context = Context::default();
        if let Value::Object(fields) = described(letter) {
            for (name, value) in fields {
                let value = match value {
                    Value::Number(number) => cel::Value::Int(number.as_i64().unwrap_or_default()),
                    other => cel::to_value(&other).map_err(|error| failed(error.to_string()))?,
                };
                context.add_variable_from_value(name, value);
            }
        }
        match program.execute(&context).map_err(|error| failed(error.to_string()))? {
            cel::Value::Bool(matches) => Ok(matches),
            other => Err(failed(format!("it gives {other:?}, not true or false"))),
        }
    }
}

/// What a filter sees, and `show` shows.
fn described(letter: &Letter) -> Value {
    let DeadLetter { topic, partition, offset, stage, code, message, attempt, origin, .. } = &letter.letter;
    let key = String::from_utf8_lossy(letter.record.key.as_deref().unwrap_or_default()).into_owned();
    json!({
        "topic": topic, "partition": partition, "offset": offset, "stage": stage.name(), "code": code,
        "message": message, "attempt": attempt, "key": key,
        "file": origin.as_ref().map(|origin| origin.file.as_str()).unwrap_or_default(),
        "line": origin.as_ref().map_or(0, |origin| origin.line),
    })
}

/// A record that goes again, and where to.
struct Again {
    topic: Arc<str>,
    record: OwnedRecord,
}

/// How a letter goes again.
enum Way {
    /// As it was, to the topic it came from.
    Verbatim(Arc<str>),
    /// Through the connector's present mapping.
    Mapping(Box<Remap>),
}

struct Remap {
    mapping: Mapping,
    topics: HashMap<skuflow_schemas::Family, Arc<str>>,
}

impl Remap {
    fn new(connector: &ConnectorConfig, loaded: &Loaded) -> Result<Self, InspectError> {
        let none = || InspectError::Usage(format!("connector {} has no mapping", connector.name));
        let file = connector.file.as_ref().ok_or_else(none)?;
        let mapping = Mapping::new(file, &connector.customer).map_err(InspectError::Usage)?;
        let names = Names(&loaded.config);
        let topics =
            connector.to.iter().filter_map(|name| Some((skuflow_schemas::topic(name)?.family, names.topic(name))));
        Ok(Self { mapping, topics: topics.collect() })
    }
}

impl Way {
    /// The way of the letters of `topic`.
    fn of(topic: &str, loaded: &Loaded) -> Result<Self, InspectError> {
        let origin = topic.strip_prefix(DEAD_LETTER_PREFIX).unwrap_or(topic);
        match loaded.config.connector.iter().find(|connector| connector.name == origin) {
            Some(connector) => Ok(Self::Mapping(Box::new(Remap::new(connector, loaded)?))),
            None => Ok(Self::Verbatim(origin.into())),
        }
    }

    /// The letter as it goes again, or why it cannot.
    fn again(&self, letter: &Letter) -> Result<Again, String> {
        if letter.letter.attempt > REPLAY_ATTEMPTS_MAX {
            return Err(format!("tried {REPLAY_ATTEMPTS_MAX} times already"));
        }
        match self {
            Self::Verbatim(topic) => {
                let OwnedRecord { key, value, headers } = letter.record.clone();
                let kept = headers.into_iter().filter(|(name, _)| !name.starts_with(HEADER_PREFIX));
                let headers = kept.chain([attempt_of(letter)]).collect();
                Ok(Again { topic: topic.clone(), record: OwnedRecord { key, value, headers } })
            }
            Self::Mapping(remap) => remap.again(letter),
        }
    }
}

impl Remap {
    fn again(&self, letter: &Letter) -> Result<Again, String> {
        let value = letter.record.value.as_deref().unwrap_or_default();
        let Some(Origin { sha256, columns, .. }) = &letter.letter.origin else {
            return Err("it does not say where it stood".into());
        };
        let whole = skuflow_schemas::sha256(value);
        if *sha256 != whole.1 {
            return Err("only its beginning was kept: mend the file and read it again".into());
        }
        let columns: Vec<String> =
            columns.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mapped = self.mapping.map(value, &columns, &whole.0[..16]);
        let mut event = mapped.map_err(|error| format!("still refused: {}", error.code))?;
        let id = event.compute_id();
        if let Some(envelope) = event.envelope_mut() {
            envelope.event_id = id;
            envelope.ingested_at = Clock::System.now();
        }
        let none = || format!("no topic takes events of family {}", event.family().name());
        let topic = self.topics.get(&event.family()).ok_or_else(none)?.clone();
        let mut value = Vec::new();
        Encoder.encode(&event, &mut value);
        let key = event.key().as_str().as_bytes().to_vec();
        Ok(Again {
            topic,
            record: OwnedRecord { key: Some(key), value: Some(value), headers: vec![attempt_of(letter)] },
        })
    }
}

/// How often the record was tried, for the stage that takes it next.
fn attempt_of(letter: &Letter) -> (String, Vec<u8>) {
    (ATTEMPT_HEADER.to_owned(), letter.letter.attempt.to_string().into_bytes())
}

impl Again {
    fn send(&self, producer: &mut dyn Producer) -> Result<(), TxnError> {
        let OwnedRecord { key, value, headers } = &self.record;
        let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        producer.send(&self.topic, None, &Record { key: key.as_deref(), value: value.as_deref(), headers: &headers })
    }
}
