//! The broker in one directory: partitions, positions, cursors and state in one engine, so a transaction is one atomic,
//! fsynced batch, there is no changelog, and nothing to restore.
//!
//! A write error closes the engine; the next call opens it anew, which settles what was committed. Until that succeeds
//! (a full disk has space again) calls answer `Retry`.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skuflow_schemas::Timestamp;

use super::local::LocalConsumer;
use super::{
    BatchBuilder, Broker, BrokerError, Commit, Consumer, Generation, Member, Offset, Positions, Producer, Reader,
    Record, RecordBatch, StateReader, TopicInfo, TopicPartition, TxnError, partition_of,
};
use crate::clock::Clock;
use crate::limits::{BACKOFF_MIN, RECORD_BYTES_MAX};
use crate::storage::{
    Append, DirectoryLock, Engine, EngineError, EngineReader, Expect, FRAME_BYTES_MAX, Options, PartitionIndex, Put,
    TopicMeta, Txn,
};

/// The embedded broker; clones share the directory.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    lock: DirectoryLock,
    options: Options,
    clock: Clock,
    slot: Mutex<Slot>,
    members: Mutex<std::collections::HashMap<String, u64>>,
}

/// What retention keeps.
pub struct Keep<'a> {
    /// What a topic keeps by age: everything appended since then; `None` keeps all.
    pub from: &'a dyn Fn(&str) -> Option<Timestamp>,
    /// Groups that are configured, and what they read: what one of them has not read stays.
    pub groups: &'a [(String, Vec<String>)],
}

/// The engine, or when to try opening it again.
struct Slot {
    engine: Option<Arc<Engine>>,
    /// Counts openings: what came from an earlier one is void.
    epoch: u64,
    not_before: Instant,
    reason: String,
}

impl Embedded {
    /// Takes the directory for this process and opens it, making it if there is none.
    ///
    /// # Errors
    /// `Locked` where another process has it, `Damaged` where acknowledged data is missing, `Retry` where it cannot be
    /// opened now.
    pub fn open(dir: &Path, options: Options, clock: Clock) -> Result<Self, EngineError> {
        let lock = DirectoryLock::acquire(dir)?;
        let engine = Engine::open(&lock, options.clone())?;
        let slot = Slot { engine: Some(Arc::new(engine)), epoch: 1, not_before: Instant::now(), reason: String::new() };
        let shared = Shared { lock, options, clock, slot: Mutex::new(slot), members: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The engine and its epoch, opened anew if it has closed.
    fn engine(&self) -> Result<(Arc<Engine>, u64), BrokerError> {
        let mut slot = self.shared.slot.lock().expect("no holder panics");
        if let Some(engine) = &slot.engine {
            match engine.poisoned() {
                None => return Ok((engine.clone(), slot.epoch)),
                Some(reason) => {
                    let reason = reason.to_owned();
                    slot.reason = reason;
                    slot.engine = None;
                    tracing::error!(reason = slot.reason, "the data directory could not be written; opening it anew");
                }
            }
        }
        if Instant::now() < slot.not_before {
            return Err(BrokerError::Retry(slot.reason.clone()));
        }
        match Engine::open(&self.shared.lock, self.shared.options.clone()) {
            Ok(engine) => {
                let engine = Arc::new(engine);
                slot.engine = Some(engine.clone());
                slot.epoch += 1;
                tracing::info!("the data directory is open again");
                Ok((engine, slot.epoch))
            }
            Err(error @ (EngineError::Retry(_) | EngineError::Unknown(_))) => {
                slot.not_before = Instant::now() + BACKOFF_MIN * 5;
                slot.reason = error.to_string();
                Err(BrokerError::Retry(slot.reason.clone()))
            }
            Err(error) => Err(BrokerError::Fatal(error.to_string())),
        }
    }

    /// Why the directory cannot be used now, if it cannot.
    pub fn trouble(&self) -> Option<String> {
        self.engine().err().map(|error| error.to_string())
    }

    /// Drops old segments: what every group has read, and what was appended before the time that `keep` says.
    pub fn retain(&self, keep: &Keep<'_>) -> Result<(), BrokerError> {
        let (engine, _) = self.engine()?;
        let mut read: std::collections::HashMap<TopicPartition, Offset> = std::collections::HashMap::new();
        for (group, topics) in keep.groups {
            let positions = self.committed(group)?;
            for topic in topics {
                let partitions = find(&engine, topic).map_or(0, |meta| meta.partitions);
                let all = (0..partitions).map(|number| TopicPartition::new(topic.as_str(), number));
                let unread = all.filter(|of| !positions.contains_key(of));
                read.extend(unread.map(|of| (of, 0)));
            }
        }
        for (key, value) in engine.scan_prefix(b"group/").map_err(broker_error)? {
            if let Some((_, of)) = parse_position_key(&key) {
                let position = decode_offset(&value);
                read.entry(of).and_modify(|least| *least = (*least).min(position)).or_insert(position);
            }
        }
        for topic in engine.topics().iter() {
            let Some(before) = (keep.from)(&topic.name) else { continue };
            for number in 0..topic.partitions {
                let of = TopicPartition::new(topic.name.as_str(), number);
                let index = topic.partition(number).expect("below the count");
                // What no group reads is dropped by time alone.
                let limit = read.get(&of).copied().unwrap_or(u64::MAX);
                engine.drop_expired(index, limit, before.micros()).map_err(broker_error)?;
            }
        }
        Ok(())
    }

    /// Bytes of all segments of a topic.
    pub fn topic_bytes(&self, topic: &str) -> Result<u64, BrokerError> {
        let (engine, _) = self.engine()?;
        let meta = find(&engine, topic)?;
        let partitions = (0..meta.partitions).filter_map(|number| meta.partition(number));
        partitions.map(|index| engine.partition_bytes(index).map_err(broker_error)).sum()
    }
}

fn find(engine: &Engine, topic: &str) -> Result<TopicMeta, BrokerError> {
    let found = engine.topics().iter().find(|meta| meta.name == topic).cloned();
    found.ok_or_else(|| BrokerError::Fatal(format!("there is no topic {topic}")))
}

fn index_of(engine: &Engine, of: &TopicPartition) -> Result<PartitionIndex, BrokerError> {
    let index = find(engine, &of.topic)?.partition(of.partition);
    index.ok_or_else(|| BrokerError::Fatal(format!("there is no {of}")))
}

impl Broker for Embedded {
    fn cluster_id(&self) -> Result<String, BrokerError> {
        Ok(self.engine()?.0.cluster_id())
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, BrokerError> {
        Ok(self.engine()?.0.topics().iter().map(info).collect())
    }

    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        let (engine, _) = self.engine()?;
        engine.create_topic(name, partitions).map(|meta| info(&meta)).map_err(broker_error)
    }

    fn offsets(&self, of: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        let (engine, _) = self.engine()?;
        engine.offsets(index_of(&engine, of)?).map_err(broker_error)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        let (engine, epoch) = self.engine()?;
        let indexes = indexes(&engine);
        Ok(Box::new(EmbeddedReader { broker: self.clone(), epoch, indexes, places: engine.reader() }))
    }

    fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, BrokerError> {
        let (engine, epoch) = self.engine()?;
        let slot = format!("producer/{transactional_id}");
        let topics = engine.topics().iter().map(OpenTopic::new).collect();
        let number = self.take_over(&slot);
        Ok(Box::new(EmbeddedProducer { broker: self.clone(), epoch, slot, number, topics, bytes: 0 }))
    }

    fn join(&self, group: &str, topics: &[Arc<str>], member: &Member) -> Result<Box<dyn Consumer>, BrokerError> {
        let number = self.take_over(&member_slot(group, &member.id));
        let generation = Generation { group: group.into(), member: member.id.as_str().into(), number };
        Ok(Box::new(LocalConsumer::join(self.clone(), generation, topics, member)?))
    }

    fn committed(&self, group: &str) -> Result<Positions, BrokerError> {
        let (engine, _) = self.engine()?;
        let prefix = format!("group/{group}/");
        let stored = engine.scan_prefix(prefix.as_bytes()).map_err(broker_error)?;
        let positions = stored.iter().filter_map(|(key, value)| {
            let (_, of) = parse_position_key(key)?;
            Some((of, decode_offset(value)))
        });
        Ok(positions.collect())
    }

    fn note_positions(&self, group: &str, positions: &Positions) -> Result<(), BrokerError> {
        let (engine, _) = self.engine()?;
        let puts = positions.iter().map(|(of, offset)| position_put(group, of, *offset)).collect();
        engine.commit(Txn { puts, ..Txn::default() }).map(drop).map_err(broker_error)
    }

    fn forget_positions(&self, group: &str) -> Result<(), BrokerError> {
        let (engine, _) = self.engine()?;
        let puts = self.committed(group)?.into_keys().map(|of| Put { key: position_key(group, &of), value: None });
        engine.commit(Txn { puts: puts.collect(), ..Txn::default() }).map(drop).map_err(broker_error)
    }

    fn restore(&self, owner: &str, _: &mut dyn FnMut() -> bool) -> Result<Box<dyn StateReader>, BrokerError> {
        let (_, epoch) = self.engine()?;
        Ok(Box::new(EmbeddedState { broker: self.clone(), epoch, prefix: state_key(owner, b"") }))
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        if let Ok((engine, _)) = self.engine() {
            engine.wait_for_change(seen, timeout)
        } else {
            std::thread::park_timeout(timeout.min(BACKOFF_MIN));
            seen
        }
    }
}

impl Embedded {
    /// The engine, if it is still the one that `epoch` belongs to.
    fn same_engine(&self, epoch: u64) -> Result<Arc<Engine>, BrokerError> {
        let (engine, current) = self.engine()?;
        if current == epoch {
            return Ok(engine);
        }
        Err(BrokerError::Reopen("the data directory was opened anew".into()))
    }

    /// Fences whoever has `slot`, and gives the number that its new owner must show.
    fn take_over(&self, slot: &str) -> u64 {
        let mut members = self.shared.members.lock().expect("no holder panics");
        let number = members.entry(slot.to_owned()).or_default();
        *number += 1;
        *number
    }

    fn owns(&self, slot: &str, number: u64) -> bool {
        self.shared.members.lock().expect("no holder panics").get(slot) == Some(&number)
    }
}

fn member_slot(group: &str, member: &str) -> String {
    format!("member/{group}/{member}")
}

fn info(meta: &TopicMeta) -> TopicInfo {
    TopicInfo { name: meta.name.as_str().into(), id: meta.id.clone(), partitions: meta.partitions }
}

fn indexes(engine: &Engine) -> std::collections::HashMap<TopicPartition, PartitionIndex> {
    let topics = engine.topics();
    let all = topics.iter().flat_map(|meta| {
        let name: Arc<str> = meta.name.as_str().into();
        (0..meta.partitions)
            .filter_map(move |number| Some((TopicPartition::new(name.clone(), number), meta.partition(number)?)))
    });
    all.collect()
}

// Keys of the engine's pairs: `group/<group>/<topic>/<partition>` and `state/<owner>\0<key>`. Names have no `/` or NUL.

fn position_key(group: &str, of: &TopicPartition) -> Vec<u8> {
    format!("group/{group}/{}/{}", of.topic, of.partition).into_bytes()
}

fn parse_position_key(key: &[u8]) -> Option<(String, TopicPartition)> {
    let mut parts = std::str::from_utf8(key).ok()?.split('/').skip(1);
    let (group, topic, partition) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    Some((group.to_owned(), TopicPartition::new(topic, partition)))
}

fn position_put(group: &str, of: &TopicPartition, offset: Offset) -> Put {
    Put { key: position_key(group, of), value: Some(offset.to_le_bytes().to_vec()) }
}

fn decode_offset(value: &[u8]) -> Offset {
    value.try_into().map_or(0, u64::from_le_bytes)
}

fn state_key(owner: &str, key: &[u8]) -> Vec<u8> {
    [b"state/", owner.as_bytes(), b"\0", key].concat()
}

fn broker_error(error: EngineError) -> BrokerError {
    match error {
        EngineError::Retry(reason) => BrokerError::Retry(reason),
        EngineError::Unknown(reason) => BrokerError::Reopen(reason),
        other => BrokerError::Fatal(other.to_string()),
    }
}

struct EmbeddedReader {
    broker: Embedded,
    epoch: u64,
    indexes: std::collections::HashMap<TopicPartition, PartitionIndex>,
    places: EngineReader,
}

impl Reader for EmbeddedReader {
    fn fetch(&mut self, of: &TopicPartition, from: Offset, bytes_max: usize) -> Result<Vec<RecordBatch>, BrokerError> {
        let engine = self.broker.same_engine(self.epoch)?;
        if !self.indexes.contains_key(of) {
            self.indexes = indexes(&engine); // a topic made since
        }
        let index = self.indexes.get(of).copied();
        let index = index.ok_or_else(|| BrokerError::Fatal(format!("there is no {of}")))?;
        let batches = self.places.read(&engine, index, from, bytes_max).map_err(|error| match error {
            EngineError::OutOfRange { wanted, first, next } => {
                BrokerError::OutOfRange { of: of.clone(), wanted, first, next }
            }
            other => broker_error(other),
        })?;
        let batches = batches.into_iter().map(|batch| RecordBatch {
            base_offset: batch.base_offset,
            records: batch.records,
            gap: 0,
            appended_at: Timestamp::from_micros(batch.time_micros),
            bytes: batch.payload,
        });
        Ok(batches.collect())
    }
}

struct EmbeddedState {
    broker: Embedded,
    epoch: u64,
    prefix: Vec<u8>,
}

impl StateReader for EmbeddedState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BrokerError> {
        let engine = self.broker.same_engine(self.epoch)?;
        engine.get(&[&self.prefix, key].concat()).map_err(broker_error)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, BrokerError> {
        let engine = self.broker.same_engine(self.epoch)?;
        let mut pairs = engine.scan_prefix(&[&self.prefix, prefix].concat()).map_err(broker_error)?;
        for (key, _) in &mut pairs {
            key.drain(..self.prefix.len());
        }
        Ok(pairs)
    }
}

/// A topic with a batch under construction per partition.
struct OpenTopic {
    name: Arc<str>,
    partitions: Vec<(PartitionIndex, BatchBuilder)>,
}

impl OpenTopic {
    fn new(meta: &TopicMeta) -> Self {
        let partitions = (0..meta.partitions).filter_map(|number| meta.partition(number));
        let partitions = partitions.map(|index| (index, BatchBuilder::default())).collect();
        Self { name: meta.name.as_str().into(), partitions }
    }
}

struct EmbeddedProducer {
    broker: Embedded,
    epoch: u64,
    slot: String,
    number: u64,
    topics: Vec<OpenTopic>,
    bytes: usize,
}

impl EmbeddedProducer {
    fn topic(&mut self, name: &Arc<str>) -> Result<usize, TxnError> {
        // A handful of topics, and callers hold on to their names: comparing pointers settles it most of the time.
        if let Some(at) = self.topics.iter().position(|topic| Arc::ptr_eq(&topic.name, name)) {
            return Ok(at);
        }
        if let Some(at) = self.topics.iter().position(|topic| topic.name == *name) {
            self.topics[at].name = name.clone();
            return Ok(at);
        }
        let engine = self.broker.same_engine(self.epoch).map_err(txn_error)?;
        let meta = find(&engine, name).map_err(txn_error)?;
        self.topics.push(OpenTopic::new(&meta));
        Ok(self.topics.len() - 1)
    }

    fn take_appends(&mut self) -> Vec<Append> {
        let open = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        let filled = open.filter(|(_, builder)| !builder.is_empty());
        let appends = filled.map(|(partition, builder)| {
            let (records, payload) = builder.take();
            Append { partition: *partition, records, payload }
        });
        appends.collect()
    }
}

impl Producer for EmbeddedProducer {
    fn send(&mut self, topic: &Arc<str>, partition: Option<u32>, record: &Record<'_>) -> Result<(), TxnError> {
        let at = self.topic(topic)?;
        let partitions = &mut self.topics[at].partitions;
        let key = record.key.unwrap_or_default();
        let partition = partition.unwrap_or_else(|| partition_of(key, partitions.len() as u32));
        let Some((_, builder)) = partitions.get_mut(partition as usize) else {
            return Err(TxnError::Fatal(format!("{topic} has no partition {partition}")));
        };
        let before = builder.len();
        builder.push(record);
        self.bytes += builder.len() - before;
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.bytes
    }

    fn pending_records(&self) -> u64 {
        let open = self.topics.iter().flat_map(|topic| &topic.partitions);
        open.map(|(_, builder)| u64::from(builder.records())).sum()
    }

    fn commit(&mut self, commit: Commit<'_>) -> Result<(), TxnError> {
        let engine = self.broker.same_engine(self.epoch).map_err(txn_error)?;
        let mut txn = Txn { now_micros: self.broker.shared.clock.now().micros(), ..Txn::default() };
        let mut owned = self.broker.owns(&self.slot, self.number);
        if let Some((generation, consumed)) = commit.consumed {
            owned &= self.broker.owns(&member_slot(&generation.group, &generation.member), generation.number);
            for step in consumed {
                let key = position_key(&generation.group, &step.of);
                let value = step.from.map(|from| from.to_le_bytes().to_vec());
                txn.expect.push(Expect { key, value });
                txn.puts.push(position_put(&generation.group, &step.of, step.to));
            }
        }
        if !owned {
            return Err(TxnError::Fenced(format!("another one is {}", self.slot)));
        }
        txn.appends = self.take_appends();
        self.bytes = 0;
        let puts = commit.state.into_iter();
        txn.puts.extend(puts.map(|change| Put { key: state_key(&change.owner, &change.key), value: change.value }));
        if txn.appends.is_empty() && txn.puts.is_empty() {
            return Ok(());
        }
        engine.commit(txn).map(drop).map_err(|error| match error {
            EngineError::Conflict { .. } => TxnError::Fenced(error.to_string()),
            EngineError::Unknown(reason) => TxnError::Unknown(reason),
            EngineError::Retry(reason) => TxnError::Abort(reason),
            other => TxnError::Fatal(other.to_string()),
        })
    }

    fn abort(&mut self) {
        for (_, builder) in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            builder.clear();
        }
        self.bytes = 0;
    }
}

/// Before a commit was tried, nothing can have been committed.
fn txn_error(error: BrokerError) -> TxnError {
    match error {
        BrokerError::Fatal(reason) => TxnError::Fatal(reason),
        other => TxnError::Unknown(other.to_string()),
    }
}

const _: () = assert!(RECORD_BYTES_MAX < FRAME_BYTES_MAX as usize, "a record fits a journal frame");
