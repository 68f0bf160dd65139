//! The broker seam: topics, groups, transactions. One conformance suite that every implementation passes.
//!
//! A transaction is `send` … `commit`, or `abort`. What it sent, what it consumed and what it changed in state becomes
//! visible and durable together, or not at all.

pub mod embedded;
pub mod kafka;
mod local;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use record::{BatchBuilder, Header, OwnedRecord, Record, RecordBatch, RecordView};

/// Position in a partition: the offset of the next record, never of the last one.
pub type Offset = u64;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// What a broker knows of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity; a topic that was dropped and made anew has another one.
    pub id: String,
    /// How many partitions it has; fixed when it was made.
    pub partitions: u32,
}

/// The log of a cluster, or of a data directory.
pub trait Broker: Send + Sync {
    /// Identity of the cluster or data directory, fixed when it was made. Stored positions are keyed by it.
    fn cluster_id(&self) -> Result<String, BrokerError>;

    /// All topics, in no order.
    fn topics(&self) -> Result<Vec<TopicInfo>, BrokerError>;

    /// Makes the topic unless it exists. Idempotent.
    ///
    /// # Errors
    /// `Fatal` where it exists with another number of partitions.
    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError>;

    /// First and next offset of a partition; what is before the first was dropped by retention.
    fn offsets(&self, of: &TopicPartition) -> Result<(Offset, Offset), BrokerError>;

    /// A reader of committed records, outside any group.
    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError>;

    /// A transactional producer. A producer with the same `transactional_id` that was opened before is fenced, and what it
    /// left unfinished is aborted.
    fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, BrokerError>;

    /// Joins `group`, which reads `topics`, as `member`; partitions come as [`Polled::Assigned`].
    fn join(&self, group: &str, topics: &[Arc<str>], member: &Member) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Committed positions of `group`.
    fn committed(&self, group: &str) -> Result<Positions, BrokerError>;

    /// Stores positions of a group outside a transaction: for sinks, which keep the true position beside their rows and
    /// say it here so that retention keeps what they have not read.
    fn note_positions(&self, group: &str, positions: &Positions) -> Result<(), BrokerError>;

    /// Forgets the positions of a group that nobody runs any more, so that retention need not wait for it.
    fn forget_positions(&self, group: &str) -> Result<(), BrokerError>;

    /// Committed state of `owner` (a task or a connector).
    fn state(&self, owner: &str) -> Result<Box<dyn StateReader>, BrokerError> {
        self.restore(owner, &mut || true)
    }

    /// Committed state of `owner`, which may take long to get: `goes_on` is asked again and again meanwhile.
    ///
    /// # Errors
    /// `Retry` where `goes_on` says no.
    fn restore(&self, owner: &str, goes_on: &mut dyn FnMut() -> bool) -> Result<Box<dyn StateReader>, BrokerError>;

    /// Waits until something was committed since `seen`, or `timeout`; returns what to give as `seen` next.
    fn wait(&self, seen: u64, timeout: Duration) -> u64;
}

/// Next offsets per partition.
pub type Positions = BTreeMap<TopicPartition, Offset>;

/// Which of the group's members a consumer is. Assignment in a process is static: member `index` of `count` takes the
/// partitions p with p mod count = index; a broker with processes of its own decides between those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stable name, `<name>-<stage>-<worker>-<thread>`.
    pub id: String,
    /// Its number within this process.
    pub index: u32,
    /// Members in this process.
    pub count: u32,
}

/// Reads committed records from any position.
pub trait Reader: Send {
    /// Says from where on a partition will be fetched, so that all of them may be on their way before the first is asked for.
    fn begin(&mut self, _of: &TopicPartition, _from: Offset) -> Result<(), BrokerError> {
        Ok(())
    }

    /// Committed records of a partition from `from` on, at most `bytes_max` (one larger record comes alone); empty at the
    /// end. The first batch may begin before `from`: use [`RecordBatch::from`]. Each other begins where the one before ends,
    /// and the last one at the end of the partition ends there too, whatever the last offsets hold.
    ///
    /// # Errors
    /// [`BrokerError::OutOfRange`] where `from` is before the first offset or behind the next one.
    fn fetch(&mut self, of: &TopicPartition, from: Offset, bytes_max: usize) -> Result<Vec<RecordBatch>, BrokerError>;
}

/// A member of a consumer group.
pub trait Consumer: Send {
    /// What happened: at once if something did, else after at most `timeout`.
    fn poll(&mut self, timeout: Duration) -> Result<Vec<Polled>, BrokerError>;

    /// Keeps the membership alive during other work; `false` where the group has decided something that the work is to be
    /// left for. The next poll says what.
    fn attend(&mut self) -> Result<bool, BrokerError> {
        Ok(true)
    }

    /// Leaves the group for good: its partitions go to others at once. Who only goes away, or is killed, is waited for.
    fn leave(&mut self) -> Result<(), BrokerError> {
        Ok(())
    }

    /// Stops (`true`) or goes on fetching one partition; what was polled stays polled. Back-pressure of a task.
    fn pause(&mut self, of: &TopicPartition, paused: bool);

    /// Goes back (or forth) to `offset`: after an abort, the next poll gives records from there.
    fn seek(&mut self, of: &TopicPartition, offset: Offset);

    /// What a commit of this member's work must show: group, member, generation.
    fn generation(&self) -> Generation;
}

/// Proof of membership that a commit carries; a commit of an older generation is fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The group.
    pub group: Arc<str>,
    /// The member.
    pub member: Arc<str>,
    /// Counts assignments of the group.
    pub number: u64,
}

/// What a poll may give.
#[derive(Debug)]
pub enum Polled {
    /// These partitions are ours now. Records come from the committed positions on.
    Assigned {
        /// Their numbers, in every topic of the group.
        partitions: Vec<u32>,
        /// Their committed positions, where there are any.
        committed: Positions,
    },
    /// These are to be given up: commit what is done, then drop the tasks.
    Revoked(Vec<u32>),
    /// These are gone already: drop the tasks, commit nothing.
    Lost(Vec<u32>),
    /// Records of one partition, in order; each batch begins where the one before ends.
    Records {
        /// Whose.
        of: TopicPartition,
        /// Offset of the first record that was not polled before.
        from: Offset,
        /// The batch that holds it.
        batch: RecordBatch,
    },
    /// A partition is read to its current end.
    End(TopicPartition),
}

/// Writes records, positions and state in transactions; used by one thread.
pub trait Producer: Send {
    /// Adds a record to the open transaction, opening one if there is none. A topic's partition comes from
    /// [`partition_of`] unless `partition` says one.
    fn send(&mut self, topic: &Arc<str>, partition: Option<u32>, record: &Record<'_>) -> Result<(), TxnError>;

    /// Bytes sent in the open transaction.
    fn pending_bytes(&self) -> usize;

    /// Records sent in the open transaction; asked once per commit.
    fn pending_records(&self) -> u64;

    /// Commits what was sent together with `commit`. On return it is durable, and soon visible to every reader, see
    /// [`Self::settle`].
    ///
    /// # Errors
    /// By remedy, see [`TxnError`]. After any error but `Retry` the transaction is over for this producer.
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), TxnError>;

    /// Waits until what it committed is visible to every reader. To be asked before others are told that there is no more: a
    /// cluster shows a commit some milliseconds after it is acknowledged.
    fn settle(&mut self) -> Result<(), TxnError> {
        Ok(())
    }

    /// Drops the open transaction; a no-op without one.
    fn abort(&mut self);
}

/// What a transaction commits besides the records it sent.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    /// Positions a group moves: who, and for each partition from where to where.
    pub consumed: Option<(&'a Generation, &'a [Consumed])>,
    /// Changes of state.
    pub state: Vec<StateChange>,
}

/// A group's step through one partition. The broker refuses (`Fenced`) a step that does not start at the committed
/// position: nothing is ever skipped or processed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// The partition.
    pub of: TopicPartition,
    /// The committed position the work started from; `None` where none was committed.
    pub from: Option<Offset>,
    /// The next offset.
    pub to: Offset,
}

/// One change of an owner's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The task or connector.
    pub owner: Arc<str>,
    /// Key within the owner's state.
    pub key: Vec<u8>,
    /// New value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Reads an owner's committed state.
pub trait StateReader: Send {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BrokerError>;
    /// All pairs whose key starts with `prefix`, in key order.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, BrokerError>;
}

/// A broker call that failed, by remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// Nothing was done; the same call may succeed later (disk full, broker away).
    #[error("{0}")]
    Retry(String),
    /// The position is not in the log: records were dropped, or the topic is another one.
    #[error("offset {wanted} of {of} is not in the log, which holds {first}..{next}")]
    OutOfRange {
        /// The partition.
        of: TopicPartition,
        /// The offset asked for.
        wanted: Offset,
        /// First offset there is.
        first: Offset,
        /// Next offset to be written.
        next: Offset,
    },
    /// The broker was reopened: drop everything that came from it, and start anew from what is committed.
    #[error("the connection to the broker was lost: {0}")]
    Reopen(String),
    /// Stop: it will not get better by itself.
    #[error("{0}")]
    Fatal(String),
}

/// A transaction that failed, by remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TxnError {
    /// Nothing was committed and the transaction still stands: try again.
    #[error("{0}")]
    Retry(String),
    /// Nothing was committed: abort, go back to the committed positions, do the work again.
    #[error("{0}")]
    Abort(String),
    /// Somebody else does this work now: drop the tasks, join again.
    #[error("fenced: {0}")]
    Fenced(String),
    /// Nobody knows whether it was committed: reopen, read what is committed, rebuild the tasks.
    #[error("the outcome of a commit is not known: {0}")]
    Unknown(String),
    /// Stop: it will not get better by itself.
    #[error("{0}")]
    Fatal(String),
}

/// The partition of a key: murmur2 of its entity part, as Java clients compute it, modulo the partitions.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let entity = key.split(|byte| *byte == b'|').next().unwrap_or_default(); // as `Key::entity`
    (murmur2(entity) & 0x7fff_ffff) % partitions.max(1)
}

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`), seed 0x9747b28c.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().expect("four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `org.apache.kafka.common.utils.UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_agrees_with_java() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn the_row_of_a_table_goes_where_its_listing_goes() {
        assert_eq!(partition_of(b"demo/shop:de:1|P1", 7), partition_of(b"demo/shop:de:1", 7));
    }
}
