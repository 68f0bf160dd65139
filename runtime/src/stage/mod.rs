//! Stages: what Kafka Streams calls a sub-topology. One consumer group, one key, a chain of steps.
//!
//! ```text
//!   worker thread: poll ▸ tasks take turns ▸ every commit interval: offsets + outputs + dead letters + state
//!     └ task = (stage, partition): inputs merged by event time ▸ check ▸ chain of steps ▸ outbox
//!         └ step: processor + store (decoded states over committed bytes)
//! ```

mod chain;
mod control;
mod counts;
mod inputs;
mod letters;
mod seen;
mod store;
mod task;
mod timers;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use skuflow_schemas::Family;

pub use chain::{Step, step};
pub use control::{Committed, Control, Held, Seat, Tally};
pub use letters::{next_attempt, send_dead_letter};
pub use store::KeyState;
pub use worker::{StageError, Worker, back_off};

use crate::limits::{CACHE_BYTES_DEFAULT, TXN_RECORDS_MAX};

/// A stage, ready to run.
pub struct StageSpec {
    /// Its name in the config.
    pub name: String,
    /// Its consumer group, `<pipeline>-<stage>`; names its state too.
    pub group: String,
    /// What it reads; all with equal partition counts.
    pub inputs: Vec<InputSpec>,
    /// Its steps, first to last.
    pub steps: Vec<Arc<dyn Step>>,
    /// What it publishes: name in the catalogue, and name on the broker. Events of other topics end in the stage.
    pub outputs: Vec<(String, Arc<str>)>,
    /// Where counts go.
    pub quality_topic: Arc<str>,
    /// Its settings.
    pub settings: StageSettings,
}

impl StageSpec {
    fn output(&self, logical: &str) -> Option<&Arc<str>> {
        self.outputs.iter().find(|(name, _)| name == logical).map(|(_, topic)| topic)
    }
}

/// One input of a stage.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// Name of the topic on the broker.
    pub topic: Arc<str>,
    /// What its records are.
    pub family: Family,
}

/// Settings of a stage.
#[derive(Clone, Debug)]
pub struct StageSettings {
    /// Time between commits. More: fewer, larger transactions; less: fresher outputs.
    pub commit_interval: Duration,
    /// Records that one transaction consumes at most, per worker.
    pub transaction_records: usize,
    /// Bytes of decoded state that one task keeps in memory, roughly.
    pub cache_bytes: usize,
    /// How long an empty input is waited for before the others go on without it.
    pub idle_max: Duration,
}

impl Default for StageSettings {
    fn default() -> Self {
        Self {
            commit_interval: Duration::from_millis(100),
            transaction_records: TXN_RECORDS_MAX,
            cache_bytes: CACHE_BYTES_DEFAULT,
            idle_max: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests;
