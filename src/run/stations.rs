//! The stations of a run, as those see them who only look.

use std::sync::Arc;

use skuflow_ingest::Intake;
use skuflow_runtime::stage::Tally;
use skuflow_sinks::consume::Progress;

/// One station.
pub(super) struct Station {
    /// Like `stage:clean`.
    pub(super) name: String,
    /// Where it counts.
    pub(super) counts: Counts,
    /// The group under which it reads, and what; nothing for a connector.
    pub(super) group: String,
    pub(super) reads: Vec<String>,
    /// The topics that others read from it.
    pub(super) writes: Vec<String>,
}

/// Where a station counts what it has committed, and says how it does.
pub(super) enum Counts {
    Connector(Arc<Intake>),
    Stage(Arc<Tally>),
    Sink(Arc<Progress>),
}

impl Station {
    /// Why it is not ready, if it is not.
    pub(super) fn unready(&self) -> Option<String> {
        match &self.counts {
            Counts::Connector(intake) => intake.condition.unready(),
            Counts::Stage(tally) => tally.unready(),
            Counts::Sink(progress) => progress.condition.unready(),
        }
    }
}
