//! What a sink is: a store that keeps our position next to our rows.

use std::collections::BTreeMap;
use std::future::Future;

use skuflow_runtime::broker::{Broker, BrokerError, Offset, OwnedRecord, TopicInfo, TopicPartition};
use skuflow_schemas::{DeadLetter, Envelope, Event, Text, Timestamp};

use crate::letters::Refusal;

/// A store that lands batches effectively once. Each sink has a thread of its own, so its futures stay on it.
pub trait Sink {
    /// Stored next offsets; partitions without one are left out.
    ///
    /// # Errors
    /// `Fatal` where what is stored belongs to another cluster or topic.
    fn positions(
        &mut self,
        identity: &Identity,
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, Offset>, SinkError>>;

    /// Lands rows and positions together: start = stored lands, end <= stored is a no-op, anything else is `Fenced`.
    ///
    /// # Idempotence
    /// Landing the same batch again changes nothing.
    fn land(&mut self, batch: &Batch) -> impl Future<Output = Result<Landed, SinkError>>;
}

/// Which log the positions belong to.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The cluster or data directory.
    pub cluster_id: String,
    /// Topics by name: their ids.
    pub topic_ids: BTreeMap<String, String>,
}

impl Identity {
    /// The log of a broker that has these topics.
    ///
    /// # Errors
    /// As of [`Broker::cluster_id`].
    pub(crate) fn of(broker: &dyn Broker, topics: &[TopicInfo]) -> Result<Self, BrokerError> {
        let topic_ids = topics.iter().map(|topic| (topic.name.to_string(), topic.id.clone())).collect();
        Ok(Self { cluster_id: broker.cluster_id()?, topic_ids })
    }
}

/// Records of some partitions, to be landed together.
#[derive(Debug, Default)]
pub struct Batch {
    /// By partition. What a landing comes to does not depend on the order between partitions.
    pub parts: BTreeMap<TopicPartition, Part>,
}

/// What a batch has of one partition.
#[derive(Debug)]
pub struct Part {
    /// From where to where.
    pub range: Range,
    /// Its records, in order.
    pub records: Vec<Incoming>,
}

impl Batch {
    /// All records, partition by partition.
    pub fn records(&self) -> impl Iterator<Item = &Incoming> {
        self.parts.values().flat_map(|part| &part.records)
    }
}

/// Offsets `from..to` of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First offset; what the store must have as its position. `None` where it has none.
    pub from: Option<Offset>,
    /// Behind the last.
    pub to: Offset,
}

/// A record to land.
#[derive(Debug)]
pub enum Incoming {
    /// An event, and its offset.
    Event(Event, Offset),
    /// The key of a row of a table that has ended (a tombstone).
    Ended(Text),
    /// A dead letter, and when it was written.
    DeadLetter(Box<DeadLetter>, Timestamp),
    /// A record as it came.
    Raw(Box<RawRecord>),
}

/// A record as its topic holds it.
#[derive(Debug)]
pub struct RawRecord {
    /// Where it is.
    pub offset: Offset,
    /// When the broker took it in.
    pub appended_at: Timestamp,
    /// Key, value and headers.
    pub record: OwnedRecord,
    /// What its event says of itself; nothing where the value is none that can be read.
    pub envelope: Option<Envelope>,
}

/// What a call landed. Empty where the batch had landed before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landed {
    /// Records that have their effect by this call.
    pub records: u64,
    /// Rows written, by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Files written, where rows are in files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A landing that failed, by remedy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// It may work later: disk full, locked, away. Nothing was landed.
    #[error("{0}")]
    Retry(String),
    /// It took longer than it may: a smaller batch may land. As of `Retry`, the stored positions say whether it has.
    #[error("{0}")]
    TooLong(String),
    /// Somebody else lands here: read the positions again.
    #[error("fenced: {0}")]
    Fenced(String),
    /// These records are not taken, whatever is tried: the batch would land without them. Nothing was landed.
    #[error("{} records are refused, the first: {}", .0.len(), .0.first().map_or("", |first| first.reason.as_str()))]
    Refused(Vec<Refusal>),
    /// It will not get better by itself.
    #[error("{0}")]
    Fatal(String),
}
