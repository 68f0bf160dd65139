//! Commands that look at, or mend, what the broker holds. The same code answers over the control socket of a `run` and
//! on a directory that nobody runs.

mod connect;
mod dead_letters;
mod plan;
mod positions;
mod tap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skuflow_runtime::broker::{Broker, BrokerError, TxnError};

pub use connect::{connect, tables};
pub(crate) use dead_letters::REPLAYED;
pub use plan::{Plan, plan};
pub(crate) use positions::places;

use crate::config::Loaded;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented as commands")]
pub enum Request {
    Topics,
    Offsets,
    DropOffsets { group: String },
    Freshness,
    Tap { topic: String, limit: usize },
    DeadLetters,
    ShowDeadLetters { topic: String, filter: Option<String>, limit: usize },
    ReplayDeadLetters { topic: String, filter: Option<String>, dry_run: bool, limit: Option<usize> },
}

/// The answer: rows of a table, as objects with equal fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Rows.
    Rows(Vec<Value>),
    /// Why there are none.
    Failed(Remedy, String),
}

/// What to do about a request that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// Ask for something else.
    Ask,
    /// Wait until the run has ended.
    Wait,
    /// See to the disk.
    Disk,
    /// See to what is stored.
    Data,
}

/// Why a request cannot be answered.
#[derive(Debug, thiserror::Error)]
enum InspectError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Txn(#[from] TxnError),
    #[error("{0}")]
    Usage(String),
}

/// Answers a request.
pub fn answer(request: &Request, broker: &dyn Broker, loaded: &Loaded) -> Answer {
    let rows = match request {
        Request::Topics => tap::topics(broker, loaded),
        Request::Offsets => positions::offsets(broker, loaded),
        Request::DropOffsets { group } => positions::drop_group(broker, loaded, group),
        Request::Freshness => positions::freshness(broker, loaded),
        Request::Tap { topic, limit } => tap::tap(broker, loaded, topic, *limit),
        Request::DeadLetters => dead_letters::list(broker, loaded),
        Request::ShowDeadLetters { topic, filter, limit } => {
            dead_letters::show(broker, loaded, topic, filter.as_deref(), *limit)
        }
        Request::ReplayDeadLetters { topic, filter, dry_run, limit } => {
            let limit = limit.unwrap_or(usize::MAX);
            dead_letters::replay(broker, loaded, topic, filter.as_deref(), *dry_run, limit)
        }
    };
    rows.map_or_else(|error| Answer::Failed(error.remedy(), error.to_string()), Answer::Rows)
}

impl InspectError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Usage(_) => Remedy::Ask,
            Self::Broker(BrokerError::Retry(_) | BrokerError::Reopen(_))
            | Self::Txn(TxnError::Retry(_) | TxnError::Abort(_) | TxnError::Unknown(_)) => Remedy::Disk,
            Self::Broker(_) | Self::Txn(_) => Remedy::Data,
        }
    }
}
