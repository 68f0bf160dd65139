//! Family `quality`: what became of the records of one source, family and hour.

use serde::{Deserialize, Serialize};

use crate::{Text, Timestamp};

/// A count that a station adds in the transaction that caused it, so the sums are exact whatever is killed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Whose data.
    pub customer: Text,
    /// The source; empty where the record could not be read.
    pub source: Text,
    /// The family by name.
    pub family: Text,
    /// Start of the hour of event time (of arrival where the record could not be read).
    pub hour: Timestamp,
    /// What happened.
    #[serde(default)]
    pub outcome: Outcome,
    /// The rule that rejected or suspected; empty for other outcomes.
    #[serde(default)]
    pub rule: Text,
    /// How many records.
    pub count: i64,
    /// Latest event time among them.
    pub latest_observed_at: Timestamp,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Passed every step.
    Accepted,
    /// Accepted, and changed nothing: not passed on.
    Unchanged,
    /// Seen before.
    Duplicate,
    /// Seen before with another body; dropped like a duplicate, counted apart.
    Conflicting,
    /// Sent to the dead letters.
    Rejected,
    /// Accepted, marked by a rule; counted beside `accepted`.
    Suspect,
    /// Accepted, too late for the windows of its key; counted beside `accepted`.
    Late,
    /// Not known to this version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::Unchanged => "unchanged",
            Self::Duplicate => "duplicate",
            Self::Conflicting => "conflicting",
            Self::Rejected => "rejected",
            Self::Suspect => "suspect",
            Self::Late => "late",
        }
    }
}
