//! Settings of `dedup`.

use serde::{Deserialize, Serialize};
use skuflow_schemas::Span;

/// Settings of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long an id is remembered after it was taken in, in whole days of `ingested_at`. More costs about 30 bytes of
    /// memory per id; less lets repeats through that come later.
    pub window: Span,
    /// Event time after which an observation passes although nothing changed. More: fewer records; less: a finer history.
    pub heartbeat: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: Span::from_days(7), heartbeat: Span::from_days(1) }
    }
}
