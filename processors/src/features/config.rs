//! Settings of `features`.

use serde::{Deserialize, Serialize};
use skuflow_schemas::Span;

/// Settings of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Event time for which an observation of an offer stands. More: offers that ended unseen count longer; less: offers
    /// that are looked at less often fall out between two looks. At least the time between two looks, and the heartbeat
    /// of `dedup`.
    pub active_within: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { active_within: Span::from_days(30) }
    }
}
