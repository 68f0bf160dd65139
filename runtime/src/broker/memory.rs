//! A broker in memory with the semantics of the others, and faults on demand. For tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use skuflow_schemas::Timestamp;

use super::local::LocalConsumer;
use super::{
    BatchBuilder, Broker, BrokerError, Commit, Consumer, Generation, Member, Offset, Positions, Producer, Reader,
    Record, RecordBatch, StateReader, TopicInfo, TopicPartition, TxnError, partition_of,
};

/// What goes wrong at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was committed; try again.
    Retry,
    /// Nothing was committed; abort.
    Abort,
    /// Nothing was committed, and somebody else took over.
    Fenced,
    /// It was committed, but the answer is lost.
    UnknownCommitted,
    /// It was not committed, and the answer is lost.
    UnknownLost,
}

/// Decides at every commit, by its number from 0, what goes wrong.
pub type FaultPlan = Box<dyn FnMut(u64) -> Option<Fault> + Send>;

/// A broker in memory; clones share it.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Mutex<Cluster>,
    changed: Condvar,
}

#[derive(Default)]
struct Cluster {
    id: String,
    topics: HashMap<Arc<str>, Topic>,
    positions: BTreeMap<String, Positions>,
    /// Epoch of each transactional id, and generation of each (group, member).
    epochs: HashMap<String, u64>,
    generations: HashMap<(Arc<str>, Arc<str>), u64>,
    state: BTreeMap<(Arc<str>, Vec<u8>), Vec<u8>>,
    version: u64,
    commits: u64,
    faults: Option<FaultPlan>,
    has_markers: bool,
}

struct Topic {
    id: String,
    partitions: Vec<Partition>,
}

#[derive(Default)]
struct Partition {
    first: Offset,
    next: Offset,
    batches: Vec<RecordBatch>,
}

impl Memory {
    /// An empty cluster called `id`.
    pub fn new(id: &str) -> Self {
        let cluster = Cluster { id: id.into(), ..Cluster::default() };
        Self { shared: Arc::new(Shared { cluster: Mutex::new(cluster), changed: Condvar::new() }) }
    }

    /// One whose transactions end with an offset that holds no record, as on Kafka.
    #[must_use]
    pub fn with_markers(self) -> Self {
        self.lock().has_markers = true;
        self
    }

    /// Lets `plan` decide what goes wrong from now on.
    pub fn set_faults(&self, plan: Option<FaultPlan>) {
        self.lock().faults = plan;
    }

    /// Every pair of every owner's committed state, in order.
    pub fn all_state(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let cluster = self.lock();
        cluster.state.iter().map(|((owner, key), value)| (owner.to_string(), key.clone(), value.clone())).collect()
    }

    /// Drops what is before `offset`, as retention does.
    pub fn drop_before(&self, of: &TopicPartition, offset: Offset) -> Result<(), BrokerError> {
        let mut cluster = self.lock();
        let partition = cluster.partition_mut(of)?;
        partition.batches.retain(|batch| batch.next_offset() > offset);
        partition.first = offset;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.shared.cluster.lock().expect("no user of the cluster panics while it holds it")
    }
}

impl Cluster {
    fn partition(&self, of: &TopicPartition) -> Result<&Partition, BrokerError> {
        let topic = self.topics.get(&of.topic);
        topic.and_then(|topic| topic.partitions.get(of.partition as usize)).ok_or_else(|| unknown(of))
    }

    fn partition_mut(&mut self, of: &TopicPartition) -> Result<&mut Partition, BrokerError> {
        let topic = self.topics.get_mut(&of.topic);
        topic.and_then(|topic| topic.partitions.get_mut(of.partition as usize)).ok_or_else(|| unknown(of))
    }

    /// Checks that the commit continues what is committed, by the current member.
    fn check(&self, commit: &Commit<'_>) -> Result<(), TxnError> {
        let Some((generation, consumed)) = &commit.consumed else { return Ok(()) };
        let slot = (generation.group.clone(), generation.member.clone());
        if self.generations.get(&slot) != Some(&generation.number) {
            return Err(TxnError::Fenced(format!("generation {} of {} is over", generation.number, generation.member)));
        }
        let committed = self.positions.get(generation.group.as_ref());
        for step in *consumed {
            let stored = committed.and_then(|positions| positions.get(&step.of)).copied();
            if stored != step.from {
                return Err(TxnError::Fenced(format!(
                    "{} is at {stored:?}, the work began at {:?}",
                    step.of, step.from
                )));
            }
        }
        Ok(())
    }

    fn apply(&mut self, sent: &mut BTreeMap<TopicPartition, BatchBuilder>, commit: Commit<'_>) {
        let gap = u64::from(self.has_markers);
        for (of, builder) in sent.iter_mut().filter(|(_, builder)| !builder.is_empty()) {
            let (records, bytes) = builder.take();
            let partition = self.partition_mut(of).expect("checked when sent");
            let base_offset = partition.next;
            partition.next += u64::from(records) + gap;
            let appended_at = Timestamp::default();
            partition.batches.push(RecordBatch { base_offset, records, gap, appended_at, bytes: bytes.into() });
        }
        if let Some((generation, consumed)) = commit.consumed {
            let positions = self.positions.entry(generation.group.to_string()).or_default();
            positions.extend(consumed.iter().map(|step| (step.of.clone(), step.to)));
        }
        for change in commit.state {
            match change.value {
                Some(value) => self.state.insert((change.owner, change.key), value),
                None => self.state.remove(&(change.owner, change.key)),
            };
        }
        self.version += 1;
    }
}

fn unknown(of: &TopicPartition) -> BrokerError {
    BrokerError::Fatal(format!("there is no {of}"))
}

impl Broker for Memory {
    fn cluster_id(&self) -> Result<String, BrokerError> {
        Ok(self.lock().id.clone())
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, BrokerError> {
        let cluster = self.lock();
        Ok(cluster.topics.iter().map(|(name, topic)| info(name, topic)).collect())
    }

    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        let mut cluster = self.lock();
        let id = format!("{}-{}", cluster.id, cluster.topics.len());
        let name: Arc<str> = name.into();
        let topic = cluster
            .topics
            .entry(name.clone())
            .or_insert_with(|| Topic { id, partitions: (0..partitions).map(|_| Partition::default()).collect() });
        if topic.partitions.len() != partitions as usize {
            let has = topic.partitions.len();
            return Err(BrokerError::Fatal(format!("topic {name} has {has} partitions, not {partitions}")));
        }
        Ok(info(&name, topic))
    }

    fn offsets(&self, of: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        let cluster = self.lock();
        cluster.partition(of).map(|partition| (partition.first, partition.next))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        Ok(Box::new(self.clone()))
    }

    fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, BrokerError> {
        let mut cluster = self.lock();
        let epoch = cluster.epochs.entry(transactional_id.into()).or_default();
        *epoch += 1;
        let epoch = *epoch;
        drop(cluster);
        let id = transactional_id.to_owned();
        Ok(Box::new(MemoryProducer { broker: self.clone(), id, epoch, sent: BTreeMap::new(), bytes: 0 }))
    }

    fn join(&self, group: &str, topics: &[Arc<str>], member: &Member) -> Result<Box<dyn Consumer>, BrokerError> {
        let slot: (Arc<str>, Arc<str>) = (group.into(), member.id.as_str().into());
        let mut cluster = self.lock();
        let number = cluster.generations.entry(slot.clone()).or_default();
        *number += 1;
        let generation = Generation { group: slot.0, member: slot.1, number: *number };
        drop(cluster);
        Ok(Box::new(LocalConsumer::join(self.clone(), generation, topics, member)?))
    }

    fn committed(&self, group: &str) -> Result<Positions, BrokerError> {
        Ok(self.lock().positions.get(group).cloned().unwrap_or_default())
    }

    fn note_positions(&self, group: &str, positions: &Positions) -> Result<(), BrokerError> {
        self.lock().positions.entry(group.into()).or_default().extend(positions.clone());
        Ok(())
    }

    fn forget_positions(&self, group: &str) -> Result<(), BrokerError> {
        self.lock().positions.remove(group);
        Ok(())
    }

    fn restore(&self, owner: &str, _: &mut dyn FnMut() -> bool) -> Result<Box<dyn StateReader>, BrokerError> {
        Ok(Box::new(MemoryState { broker: self.clone(), owner: owner.into() }))
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let cluster = self.lock();
        if cluster.version != seen || timeout.is_zero() {
            return cluster.version;
        }
        let waited = self.shared.changed.wait_timeout(cluster, timeout);
        waited.map_or(seen, |(cluster, _)| cluster.version)
    }
}

fn info(name: &Arc<str>, topic: &Topic) -> TopicInfo {
    TopicInfo { name: name.clone(), id: topic.id.clone(), partitions: topic.partitions.len() as u32 }
}

impl Reader for Memory {
    fn fetch(&mut self, of: &TopicPartition, from: Offset, bytes_max: usize) -> Result<Vec<RecordBatch>, BrokerError> {
        let cluster = self.lock();
        let partition = cluster.partition(of)?;
        if from < partition.first || from > partition.next {
            let (first, next) = (partition.first, partition.next);
            return Err(BrokerError::OutOfRange { of: of.clone(), wanted: from, first, next });
        }
        let start = partition.batches.partition_point(|batch| batch.next_offset() <= from);
        let mut bytes = 0;
        let fits = partition.batches[start..].iter().take_while(|batch| {
            let first = bytes == 0;
            bytes += batch.bytes.len();
            first || bytes <= bytes_max
        });
        Ok(fits.cloned().collect())
    }
}

struct MemoryState {
    broker: Memory,
    owner: Arc<str>,
}

impl StateReader for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BrokerError> {
        Ok(self.broker.lock().state.get(&(self.owner.clone(), key.to_vec())).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, BrokerError> {
        let cluster = self.broker.lock();
        let from = (self.owner.clone(), prefix.to_vec());
        let owned =
            cluster.state.range(from..).take_while(|((owner, key), _)| *owner == self.owner && key.starts_with(prefix));
        Ok(owned.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

struct MemoryProducer {
    broker: Memory,
    id: String,
    epoch: u64,
    sent: BTreeMap<TopicPartition, BatchBuilder>,
    bytes: usize,
}

impl Producer for MemoryProducer {
    fn send(&mut self, topic: &Arc<str>, partition: Option<u32>, record: &Record<'_>) -> Result<(), TxnError> {
        let cluster = self.broker.lock();
        let partitions = cluster.topics.get(topic).map(|topic| topic.partitions.len() as u32);
        drop(cluster);
        let partitions = partitions.ok_or_else(|| TxnError::Fatal(format!("there is no topic {topic}")))?;
        let key = record.key.unwrap_or_default();
        let partition = partition.unwrap_or_else(|| partition_of(key, partitions));
        let builder = self.sent.entry(TopicPartition::new(topic.clone(), partition)).or_default();
        let before = builder.len();
        builder.push(record);
        self.bytes += builder.len() - before;
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.bytes
    }

    fn pending_records(&self) -> u64 {
        self.sent.values().map(|builder| u64::from(builder.records())).sum()
    }

    fn commit(&mut self, commit: Commit<'_>) -> Result<(), TxnError> {
        let mut cluster = self.broker.lock();
        if cluster.epochs.get(&self.id) != Some(&self.epoch) {
            return Err(TxnError::Fenced(format!("another producer is {}", self.id)));
        }
        cluster.check(&commit)?;
        let number = cluster.commits;
        cluster.commits += 1;
        let fault = cluster.faults.as_mut().and_then(|plan| plan(number));
        let fails = |text: &str| format!("fault at commit {number}: {text}");
        match fault {
            Some(Fault::Retry) => return Err(TxnError::Retry(fails("try again"))),
            Some(Fault::Abort) => return Err(TxnError::Abort(fails("abort"))),
            Some(Fault::Fenced) => return Err(TxnError::Fenced(fails("taken over"))),
            Some(Fault::UnknownLost) => return Err(TxnError::Unknown(fails("lost"))),
            Some(Fault::UnknownCommitted) | None => {}
        }
        cluster.apply(&mut self.sent, commit);
        drop(cluster);
        self.bytes = 0;
        self.broker.shared.changed.notify_all();
        match fault {
            Some(_) => Err(TxnError::Unknown(fails("answer lost"))),
            None => Ok(()),
        }
    }

    fn abort(&mut self) {
        self.sent.values_mut().for_each(BatchBuilder::clear);
        self.bytes = 0;
    }
}
