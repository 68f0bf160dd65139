//! Step `alerts`, by product: rules over its figures, and an alert when one comes true.
//!
//! ```text
//!  features ─▶ which figures changed? ─▶ the rules that name one ─▶ edge, cooldown ─▶ alert
//!  catalog  ─▶ kept ───────────────────▶ those that name it ──────┘
//! ```
//!
//! Everything is passed on; alerts come behind what gave them. A vector that is older than the last is passed on, and
//! that is all.

mod config;
mod expression;
mod message;
mod names;
mod rule;
mod state;
#[cfg(test)]
mod tests;

use skuflow_schemas::{Alert, Catalog, Envelope, Event, EventId, FEATURES, Family, Features, Text, Timestamp};

pub use config::{CaseConfig, File, Given, Level, Per, RuleConfig, Worse};
pub use expression::Fault;
pub use rule::{Mistake, Rule, Tried};
pub use state::Watched;

use crate::{Context, Input, Output, Processor, Stated};
use names::{Entry, Figures, Inputs, figures};
use state::ask;

/// What the step takes.
pub const TAKES: &[Family] = &[Family::Features, Family::Catalog];
/// What it gives.
pub const GIVES: &[Family] = &[Family::Features, Family::Catalog, Family::Alert];
/// Who says what alerts say.
const SOURCE: &str = "skuflow";

/// The rules that come with skuflow.
pub const MARKET: &str = include_str!("../../../rules/market.toml");

/// Rules, each with another id.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// The figures that they name, as a set.
    which: u64,
}

impl Rules {
    /// These rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        let which = rules.iter().map(Rule::figures).fold(0, |set, figures| set | figures);
        Self { rules, which }
    }

    /// Those that come with skuflow.
    #[cfg(any(test, feature = "testing"))]
    pub fn market() -> Self {
        let file: File = toml::from_str(MARKET).expect("they are tested");
        Self::new(file.rule.iter().map(|rule| Rule::compile(rule).expect("they are tested")).collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The figures that were kept of the last vector.
    fn recall(&self, state: &Watched) -> Figures {
        let mut figures = [None; FEATURES.len()];
        if state.which == self.which {
            let places = (0..FEATURES.len()).filter(|at| self.which >> at & 1 == 1);
            places.zip(&state.figures).for_each(|(at, figure)| figures[at] = *figure);
        }
        figures
    }

    /// Keeps them.
    fn remember(&self, now: &Figures, state: &mut Watched) {
        state.which = self.which;
        state.figures.clear();
        state.figures.extend((0..FEATURES.len()).filter(|at| self.which >> at & 1 == 1).map(|at| now[at]));
    }
}

/// The step.
pub struct Alerts {
    rules: std::sync::Arc<Rules>,
}

impl Alerts {
    /// A step with these rules.
    pub fn new(rules: std::sync::Arc<Rules>) -> Self {
        Self { rules }
    }
}

/// What gives alerts.
struct Cause<'a> {
    envelope: &'a Envelope,
    product: &'a Text,
    id: EventId,
    at: Timestamp,
    figures_changed: u64,
    entry_changed: bool,
}

impl Processor for Alerts {
    type State = Watched;

    fn name(&self) -> &'static str {
        "alerts"
    }

    fn apply(&self, input: Input, state: &mut Stated<Watched>, context: &mut Context<'_>) {
        let alerts = match &input {
            Input::Event { event: Event::Features(vector), .. } => self.vector(vector, state),
            Input::Event { event: Event::Catalog(entry), .. } if entry.active => self.entry(entry, state),
            Input::Event { event: Event::Catalog(_), .. } | Input::Tombstone { family: Family::Catalog, .. } => {
                if **state != Watched::default() {
                    **state = Watched::default(); // a product that is taken out is nobody's matter
                }
                Vec::new()
            }
            _ => Vec::new(),
        };
        context.forward(input);
        for alert in alerts {
            context.forward(Output::made(alert));
        }
    }
}

impl Alerts {
    fn vector(&self, vector: &Features, state: &mut Stated<Watched>) -> Vec<Event> {
        let at = vector.envelope.observed_at;
        if state.at.is_some_and(|last| at < last) {
            return Vec::new();
        }
        let state = &mut **state;
        let (now, previous) = (figures(&vector.values, self.rules.which), self.rules.recall(state));
        let is_first = state.at.is_none() || state.which != self.rules.which;
        let cause = Cause {
            envelope: &vector.envelope,
            product: &vector.product,
            id: vector.envelope.cause_id.unwrap_or(vector.envelope.event_id),
            at,
            figures_changed: if is_first { u64::MAX } else { changed(&now, &previous) },
            entry_changed: is_first || state.currency != vector.currency, // its prices may be comparable now
        };
        state.at = Some(at);
        self.rules.remember(&now, state);
        if state.currency != vector.currency {
            state.currency.clone_from(&vector.currency);
        }
        let Watched { entry, matters, .. } = state;
        let currency = vector.currency.as_deref();
        let inputs = Inputs { now: &now, previous: &previous, entry, change: vector.change.as_ref(), currency };
        self.ask_all(&cause, &inputs, matters)
    }

    fn entry(&self, catalog: &Catalog, state: &mut Stated<Watched>) -> Vec<Event> {
        let entry = Entry::of(catalog);
        if entry == state.entry {
            return Vec::new();
        }
        let state = &mut **state;
        state.entry = entry;
        let Some(last) = state.at else { return Vec::new() };
        let now = self.rules.recall(state);
        let cause = Cause {
            envelope: &catalog.envelope,
            product: &catalog.product,
            id: catalog.envelope.event_id,
            at: catalog.envelope.observed_at.max(last),
            figures_changed: 0,
            entry_changed: true,
        };
        let Watched { entry, matters, currency, .. } = state;
        let inputs = Inputs { now: &now, previous: &now, entry, change: None, currency: currency.as_deref() };
        self.ask_all(&cause, &inputs, matters)
    }

    fn ask_all(&self, cause: &Cause<'_>, inputs: &Inputs<'_>, matters: &mut Vec<state::Matter>) -> Vec<Event> {
        let mut alerts = Vec::new();
        for rule in &self.rules.rules {
            if rule.is_asked(cause.figures_changed, cause.entry_changed, inputs.change.is_some())
                && let Some(fired) = ask(rule, inputs, cause.at, matters, &self.rules.rules)
            {
                alerts.push(alert(rule, cause, inputs, fired));
            }
        }
        alerts
    }
}

/// The figures that are not the same, as a set.
fn changed(now: &Figures, previous: &Figures) -> u64 {
    let pairs = now.iter().zip(previous).enumerate();
    pairs.fold(0, |set, (at, (now, previous))| if now == previous { set } else { set | 1 << at })
}

fn alert(rule: &Rule, cause: &Cause<'_>, inputs: &Inputs<'_>, fired: state::Fired) -> Event {
    let customer = &cause.envelope.customer;
    let envelope = Envelope {
        customer: customer.clone(),
        source: SOURCE.into(),
        observed_at: cause.at,
        ingested_at: cause.envelope.ingested_at,
        cause_id: Some(cause.id),
        ..Envelope::default()
    };
    let mut event = Event::Alert(Box::new(Alert {
        envelope,
        product: cause.product.clone(),
        rule: rule.id().clone(),
        severity: rule.severity(),
        message: rule.message(inputs, fired.value).into(),
        dedup_key: Alert::dedup_key(customer, rule.id(), cause.product, fired.seller.as_ref()),
        seller: fired.seller,
        value: fired.value,
        evidence: rule.evidence(inputs),
    }));
    let id = event.compute_id();
    if let Some(envelope) = event.envelope_mut() {
        envelope.event_id = id;
    }
    event
}
