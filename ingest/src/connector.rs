//! What a connector is: one upstream system. It knows files or HTTP, and nothing of brokers.

use std::collections::BTreeMap;
use std::sync::Arc;

use skuflow_schemas::{DeadLetter, Event, Origin, Text};

/// How far a source is read: small entries by name, of which each page changes a few. Empty: nothing is read.
pub type Cursor = BTreeMap<String, Vec<u8>>;

/// One upstream system.
pub trait Connector: Send {
    /// What comes behind `cursor`. The same cursor gives the same page as long as the source stands still; an event that is fetched again has the same id.
    ///
    /// # Errors
    /// By remedy, see [`ConnectorError`].
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError>;

    /// How much of the source is polled, from 0 to 1, where it says how much it has; shown as progress, and nothing else.
    fn share(&self) -> Option<f64> {
        None
    }
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
    /// An event, and where it stood; who publishes it sets `ingested_at` and, as the last, its id.
    Event(Event, Spot),
    /// A record of which no event could be made.
    Rejected(Box<RejectedRow>),
}

impl Mapped {
    /// Its bytes in the source, where that says where it stood.
    pub fn bytes(&self) -> u64 {
        let (start, end) = match self {
            Self::Event(_, spot) => (spot.byte_start, spot.byte_end),
            Self::Rejected(row) => {
                row.letter.origin.as_ref().map_or((0, 0), |origin| (origin.byte_start, origin.byte_end))
            }
        };
        end.saturating_sub(start)
    }
}

/// Where a record stood: cheap to keep beside each event.
#[derive(Clone, Debug, Default)]
pub struct Spot {
    /// The file, as the connector found it.
    pub file: Arc<str>,
    /// Number of the record in it.
    pub number: u64,
    /// The line it starts at, from 1.
    pub line: u64,
    /// Its first byte in the (decompressed) file.
    pub byte_start: u64,
    /// The byte behind its last one.
    pub byte_end: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Spot {
    /// For a dead letter; `columns` are the names in the header of a CSV file.
    pub fn origin(&self, columns: &[String]) -> Origin {
        Origin {
            file: Text::from(self.file.as_ref()),
            line: self.line,
            byte_start: self.byte_start,
            byte_end: self.byte_end,
            sha256: hex(&self.sha256).into(),
            columns: (!columns.is_empty()).then(|| serde_json::to_string(columns).expect("plain data")),
        }
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
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

/// Something in the settings of a connector that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where, as a path of field names.
    pub path: Vec<String>,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The name that was written, where it should be one of `known`.
    pub written: String,
    /// The names that could stand there.
    pub known: Vec<&'static str>,
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
