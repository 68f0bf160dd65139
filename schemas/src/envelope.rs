//! What every event says about itself.

use serde::{Deserialize, Serialize};

use crate::{EventId, Text, Timestamp};

/// The `source_version` of what a change feed says: it holds until the source says otherwise.
pub const CHANGE: &str = "change";

/// The fields that every event carries, first in every schema.
///
/// `event_id` and `ingested_at` come first, so that the bytes behind them are the observation itself, see
/// [`crate::body_hash`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Identity of the observation, equal for every re-delivery of it.
    pub event_id: EventId,
    /// When a connector took it in.
    pub ingested_at: Timestamp,
    /// Whose data it is: `[a-z0-9-]{1,64}`.
    pub customer: Text,
    /// The system that said it.
    pub source: Text,
    /// The market it speaks of, in the source's own words.
    pub marketplace: Text,
    /// Event time: when it was so.
    pub observed_at: Timestamp,
    /// The vendor's own id of the event, where there is one; part of the dedup tuple then.
    #[serde(default)]
    pub source_event_id: Option<Text>,
    /// Version of the source's format or API; [`CHANGE`] where the source says what changes, not what is seen.
    #[serde(default)]
    pub source_version: Option<Text>,
    /// Id of the event this one was made from, on copies and derived events.
    #[serde(default)]
    pub cause_id: Option<EventId>,
}

impl Envelope {
    /// Whether the event holds until the source says otherwise.
    pub fn is_change(&self) -> bool {
        self.source_version.as_deref() == Some(CHANGE)
    }
}
