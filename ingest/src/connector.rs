//! What a connector is: one upstream system. It knows files or HTTP, and nothing of brokers.

use std::collections::BTreeMap;

use skuflow_schemas::{DeadLetter, Event, Text};

/// How far a source is read: small entries by name, of which each page changes a few. Empty: nothing is read.
pub type Cursor = BTreeMap<String, Vec<u8>>;

/// One upstream system.
pub trait Connector: Send {
    /// What comes behind `cursor`. The same cursor gives the same page as long as the source stands still; an event that is fetched again has the same id.
    ///
    /// # Errors
    /// By remedy, see [`ConnectorError`].
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError>;
}

/// What a poll gives.
#[derive(Debug)]
pub enum Poll {
    /// Records, and how far the source is read with them.
    Page(Page),
    /// Nothing new at present.
    Idle,
    /// Nothing more in this run.
    Done,
}

/// Records that are published together with how far the source is read with them.
#[derive(Debug, Default)]
pub struct Page {
    /// The records, in the source's order.
    pub records: Vec<Mapped>,
    /// Entries of the cursor that are others behind them, at least one; `None` forgets an entry.
    pub changes: BTreeMap<String, Option<Vec<u8>>>,
}

/// A record of the source.
#[derive(Debug)]
pub enum Mapped {
    /// An event; who publishes it sets `ingested_at` and, as the last, its id.
    Event(Event),
    /// A record of which no event could be made.
    Rejected(Box<RejectedRow>),
}

/// A record of which no event could be made.
#[derive(Debug)]
pub struct RejectedRow {
    /// Why, and where it stood.
    pub letter: DeadLetter,
    /// Its beginning, as it was.
    pub excerpt: Vec<u8>,
    /// The source it speaks of, where the mapping says so without reading it.
    pub source: Text,
    /// Whose it is, likewise.
    pub customer: Text,
}

/// A poll that failed, by remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// It may work later.
    #[error("{0}")]
    Retry(String),
    /// It will not get better by itself.
    #[error("{0}")]
    Fatal(String),
}
