//! Step `dedup`: each observation once, and of observations that change nothing one per heartbeat.

mod config;
mod signature;

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Event, Family, Outcome, Timestamp};

pub use config::Config;

use crate::{Context, Input, Processor, SELLERS_PER_LISTING_MAX, Seen, State, Stated};
pub(crate) use signature::who;
use signature::{Signature, signature};

/// What the step takes and gives.
pub const FAMILIES: &[Family] = &[Family::Offer, Family::Sale, Family::Inventory, Family::Catalog, Family::Listing];

/// The step.
pub struct Dedup {
    config: Config,
    window_days: u16,
}

impl Dedup {
    /// A step with these settings.
    pub fn new(config: Config) -> Self {
        let days = config.window.micros().div_euclid(86_400_000_000).max(1);
        Self { window_days: u16::try_from(days).unwrap_or(u16::MAX), config }
    }
}

/// What was last let through, per seller (or location) of a listing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastPassed {
    /// The least recently passed first.
    passed: Vec<Passed>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Passed {
    /// Hash of who says it: family, seller, condition, vantage; or location.
    who: u64,
    /// Hash of what it says.
    what: u64,
    at: Timestamp,
}

impl State for LastPassed {
    const VERSION: u8 = 2;

    fn heap_bytes(&self) -> usize {
        self.passed.capacity() * size_of::<Passed>()
    }
}

impl LastPassed {
    /// Whether `said` at `at` says again what was last passed, within `heartbeat` of it.
    fn says_again(&self, said: &Signature, at: Timestamp, heartbeat: i64) -> bool {
        let last = self.passed.iter().find(|passed| passed.who == said.who);
        last.is_some_and(|last| last.what == said.what && (0..heartbeat).contains(&at.micros_since(last.at)))
    }

    fn remember(&mut self, said: &Signature, at: Timestamp) {
        if let Some(index) = self.passed.iter().position(|passed| passed.who == said.who) {
            if at < self.passed[index].at {
                return; // an older one passes, and does not become the last
            }
            self.passed.remove(index);
        } else if self.passed.len() == SELLERS_PER_LISTING_MAX {
            self.passed.remove(0);
        }
        self.passed.push(Passed { who: said.who, what: said.what, at });
    }
}

impl Processor for Dedup {
    type State = LastPassed;

    fn name(&self) -> &'static str {
        "dedup"
    }

    fn apply(&self, input: Input, state: &mut Stated<LastPassed>, context: &mut Context<'_>) {
        let (event, body) = match &input {
            // Rows of a table are the last word on their key, not observations.
            Input::Tombstone { .. } => return context.forward(input),
            Input::Event { event: Event::Listing(_) | Event::Quality(_), .. } => return context.forward(input),
            Input::Event { event, body, .. } => (event, *body),
        };
        let Some(envelope) = event.envelope() else { return context.forward(input) };
        match context.seen.insert(envelope.ingested_at.day(), self.window_days, envelope.event_id, body) {
            Seen::New => {}
            Seen::Same => return context.count(event, Outcome::Duplicate, ""),
            Seen::Different => return context.count(event, Outcome::Conflicting, ""),
        }
        if let Some(said) = signature(event) {
            if state.says_again(&said, envelope.observed_at, self.config.heartbeat.micros()) {
                return context.count(event, Outcome::Unchanged, "");
            }
            state.remember(&said, envelope.observed_at);
        }
        context.forward(input);
    }
}
