//! Step `dedup`: each observation once, and of observations that change nothing one per heartbeat.
//!
//! An observation that is heard late, from between the last that passed and one that changed nothing since, passes; and so
//! does the other then, behind it: it was a change, and is the last word again.

mod config;
mod signature;

use skuflow_schemas::{Event, Family, Outcome, Timestamp};

pub use config::Config;

use crate::codec::{Damage, Reader, Writer};
use crate::{Context, Input, Processor, Rows, SELLERS_PER_LISTING_MAX, Seen, State, Stated};
pub(crate) use signature::{Fnv, seller_name, who};
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

/// What was last let through, per seller (or location) of a listing. The last observation that said it again is the row of
/// that name, where there was one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastPassed {
    /// The least recently passed first.
    passed: Vec<Passed>,
}

#[derive(Clone, Debug, PartialEq)]
struct Passed {
    /// Hash of who says it: family, seller, condition, vantage; or location.
    who: u64,
    /// Hash of what it says.
    what: u64,
    /// When what passed was observed; the heartbeat counts from here.
    at: Timestamp,
    /// When it was last said: then, or later.
    said_at: Timestamp,
}

impl State for LastPassed {
    const VERSION: u8 = 3;

    fn write(&self, into: &mut Writer<'_>) {
        into.number(self.passed.len() as u64);
        for passed in &self.passed {
            into.name(passed.who);
            into.word(passed.what);
            into.time(passed.at);
            into.time(passed.said_at);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let passed = from.list(|from, _| {
            Ok(Passed { who: from.name()?, what: from.word()?, at: from.time()?, said_at: from.time()? })
        })?;
        Ok(Self { passed })
    }

    fn heap_bytes(&self) -> usize {
        self.passed.capacity() * size_of::<Passed>()
    }
}

impl LastPassed {
    /// Whether `said` at `at` says again what was last passed, within `heartbeat` of it.
    fn says_again(&self, said: &Signature, at: Timestamp, heartbeat: i64) -> bool {
        let last = self.find(said.who).map(|index| &self.passed[index]);
        last.is_some_and(|last| last.what == said.what && (0..heartbeat).contains(&at.micros_since(last.at)))
    }

    fn find(&self, who: u64) -> Option<usize> {
        self.passed.iter().position(|passed| passed.who == who)
    }

    /// Notes that what was last passed was said again; whether that was its latest time so far.
    fn said_again(state: &mut Stated<Self>, said: &Signature, at: Timestamp) -> bool {
        let later = state.find(said.who).filter(|index| state.passed[*index].said_at < at);
        later.inspect(|index| state.passed[*index].said_at = at).is_some()
    }

    /// Takes note of what passes.
    fn remember(&mut self, said: &Signature, at: Timestamp, rows: &mut dyn Rows) -> Passes {
        if let Some(index) = self.find(said.who) {
            let last = &mut self.passed[index];
            if at < last.at {
                return Passes::Alone; // an older one does not become the last
            }
            if at < last.said_at {
                last.at = last.said_at;
                return Passes::BeforeLast;
            }
            self.passed.remove(index);
        } else if self.passed.len() == SELLERS_PER_LISTING_MAX {
            rows.remove(self.passed.remove(0).who);
        }
        self.passed.push(Passed { who: said.who, what: said.what, at, said_at: at });
        Passes::Alone
    }
}

/// What passes.
enum Passes {
    /// The observation.
    Alone,
    /// The observation, and behind it the last one that had changed nothing.
    BeforeLast,
}

impl Processor for Dedup {
    type State = LastPassed;

    fn name(&self) -> &'static str {
        "dedup"
    }

    fn apply(&self, input: Input, state: &mut Stated<LastPassed>, context: &mut Context<'_>) {
        let (event, body, as_read) = match &input {
            // Rows of a table are the last word on their key, not observations.
            Input::Tombstone { .. } => return context.forward(input),
            Input::Event { event: Event::Listing(_) | Event::Quality(_), .. } => return context.forward(input),
            Input::Event { event, body, as_read, .. } => (event, *body, *as_read),
        };
        let Some(envelope) = event.envelope() else { return context.forward(input) };
        match context.seen.insert(envelope.ingested_at.day(), self.window_days, envelope.event_id, body) {
            Seen::New => {}
            Seen::Same => return context.count(event, Outcome::Duplicate, ""),
            Seen::Different => return context.count(event, Outcome::Conflicting, ""),
        }
        let Some(said) = signature(event) else { return context.forward(input) };
        let at = envelope.observed_at;
        if state.says_again(&said, at, self.config.heartbeat.micros()) {
            if LastPassed::said_again(state, &said, at) {
                context.keep(said.who, event, as_read);
            }
            return context.count(event, Outcome::Unchanged, "");
        }
        let passes = state.remember(&said, at, context.rows);
        context.forward(input);
        if let Passes::BeforeLast = passes
            && let Some(event) = context.kept(said.who)
        {
            context.forward(Input::Event { event, body: 0, as_read: false, again: true });
        }
    }
}
