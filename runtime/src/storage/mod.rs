//! The storage engine of the embedded broker: one directory, one process, atomic fsynced transactions.
//!
//! ```text
//!   commit ──▶ journal/*.wal      one write + one fdatasync for all waiting transactions: durable
//!                 │ then, without fsync
//!                 ├─▶ topics/<n>/<partition>/<base offset>.log    visible to readers
//!                 └─▶ dirty map of key-value pairs
//!                        │ checkpoint, in the background
//!                        └─▶ fdatasync segments ▸ state-*.log (pairs, lengths, sequence) ▸ drop covered journal files
//! ```
//!
//! `open` is the only recovery: take the last checkpoint, replay the journal. Any IO error poisons the engine; its owner
//! opens it anew and looks at what was committed. Knows partitions of opaque batches and key-value pairs, nothing else.

mod engine;
mod identity;
mod journal;
mod limits;
mod lock;
mod pairs;
mod segments;
mod state;

pub use engine::{Engine, EngineReader, Options};
pub use identity::TopicMeta;
pub use limits::*;
pub use lock::DirectoryLock;
pub use segments::StoredBatch;
pub(crate) use state::StateMap;
pub use state::state_bytes;

/// A (topic, partition) of this directory; stable across reopening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionIndex(pub u32);

/// What one transaction writes; all of it, or nothing.
#[derive(Debug, Default)]
pub struct Txn {
    /// Batches for partitions.
    pub appends: Vec<Append>,
    /// Pairs to write or delete.
    pub puts: Vec<Put>,
    /// What must be stored for the transaction to go ahead.
    pub expect: Vec<Expect>,
    /// When, in microseconds; stored with the batches. The engine reads no clock.
    pub now_micros: i64,
}

/// A batch for a partition.
#[derive(Debug)]
pub struct Append {
    /// Which partition.
    pub partition: PartitionIndex,
    /// Records in it.
    pub records: u32,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A pair to write.
#[derive(Debug)]
pub struct Put {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// A guard: the stored value must equal `value`. Judged in commit order, together with the write.
#[derive(Debug)]
pub struct Expect {
    /// Which key.
    pub key: Vec<u8>,
    /// What must be stored; `None` = nothing.
    pub value: Option<Vec<u8>>,
}

/// An engine call that failed, by remedy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process owns the directory.
    #[error("{path} is in use by process {pid}; stop it, or use another data_dir")]
    Locked {
        /// The directory.
        path: String,
        /// Who holds it, as far as known.
        pid: String,
    },
    /// What is stored is not what was acknowledged. Nothing was changed.
    #[error("{0}")]
    Damaged(String),
    /// It could not be opened now (disk full, no descriptors); nothing was changed.
    #[error("{0}")]
    Retry(String),
    /// The engine hit an IO error and is closed; open it anew and look at what is committed.
    #[error("{0}")]
    Unknown(String),
    /// An expectation does not hold; nothing was written.
    #[error("the stored value of {key} is not what the transaction began from")]
    Conflict {
        /// The key, as text.
        key: String,
    },
    /// The offset is not in the log.
    #[error("offset {wanted} is not in {first}..{next}")]
    OutOfRange {
        /// Asked for.
        wanted: u64,
        /// First there is.
        first: u64,
        /// Next to be written.
        next: u64,
    },
    /// It will not get better by itself.
    #[error("{0}")]
    Fatal(String),
}

/// An IO error with what was being done.
fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> String {
    format!("{doing} {}: {error}", path.display())
}
