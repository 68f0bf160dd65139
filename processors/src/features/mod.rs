//! Step `features`, by product: what is known of its market, in figures.
//!
//! ```text
//!  offers ─────▶ market: offers that stand ───────────────┐
//!      └───────▶ past: own offers, Buy Box, day by day ───┼─▶ figures ─▶ a vector, if one changed or the offer did
//!  order lines ▶ demand: units per completed day ─────────┤
//!  stock, catalog entry ──────────────────────────────────┘
//! ```
//!
//! The moment of the figures is the product's latest event time, however old the event that changed them is. Windows of
//! days are completed days in UTC: at the turn of each a timer gives what time alone has changed. An offer whose price
//! `validate` found to jump counts only once it is confirmed. An entry that is not active is none.

mod config;
mod demand;
mod figures;
mod history;
mod market;
mod past;
mod series;
mod stored;
#[cfg(test)]
mod tests;

use skuflow_schemas::{
    Change, Currency, Day, Envelope, Event, EventId, Family, Features as Figures, Text, Timestamp, Vector,
};

pub use config::Config;
pub use market::Market;

use crate::dedup::Fnv;
use crate::{Context, Input, Output, Processor, Stated, Timer};
use figures::figures;

/// What the step takes.
pub const TAKES: &[Family] = &[Family::Offer, Family::Sale, Family::Inventory, Family::Catalog];
/// What it gives.
pub const GIVES: &[Family] = &[Family::Features, Family::Catalog];

/// The step.
pub struct Features {
    /// Microseconds for which an observation stands.
    active: i64,
}

impl Features {
    /// A step with these settings.
    pub fn new(config: Config) -> Self {
        Self { active: config.active_within.micros().max(1) }
    }

    /// Takes the time and the names of an observation of `product`.
    fn meet(&self, market: &mut Market, product: &Text, envelope: &Envelope, context: &mut Context<'_>) {
        name(market, product, envelope);
        market.advance(envelope.observed_at, self.active, context.rows);
    }

    fn hear(&self, input: Input, market: &mut Market, context: &mut Context<'_>) -> Option<Cause> {
        let mut change = None;
        let envelope = match &input {
            Input::Event { event: Event::Offer(offer), .. } => {
                let track = offer.track.as_ref()?;
                self.meet(market, &track.product, &offer.envelope, context);
                change = market.hear_offer(offer, track, self.active, context.rows);
                &offer.envelope
            }
            Input::Event { event: Event::Sale(sale), .. } => {
                self.meet(market, &sale.track.as_ref()?.product, &sale.envelope, context);
                let today = market.now.unwrap_or(sale.envelope.observed_at).day();
                market.demand.hear(sale, today, context.rows);
                &sale.envelope
            }
            Input::Event { event: Event::Inventory(inventory), .. } => {
                self.meet(market, &inventory.track.as_ref()?.product, &inventory.envelope, context);
                market.hear_stock(inventory);
                &inventory.envelope
            }
            Input::Event { event: Event::Catalog(entry), .. } => {
                name(market, &entry.product, &entry.envelope);
                market.hear_entry(entry, self.active, context.rows);
                &entry.envelope
            }
            _ => return None,
        };
        let (id, at) = (envelope.event_id, envelope.observed_at);
        if let Input::Event { event: Event::Catalog(_), .. } = input {
            context.forward(input);
        }
        Some(Cause { id: Some(id), at, change })
    }

    /// Gives the figures, if one of them changed or the offer did; and sets the timer.
    fn give(&self, cause: Cause, market: &mut Market, context: &mut Context<'_>) {
        let now = market.now.unwrap_or(cause.at);
        set_timer(market, now, context);
        let vector = figures(market, now, self.active);
        let hash = hash(&vector, market.currency);
        let is_change = cause.change.as_ref().is_some_and(says_something);
        if market.given == Some(hash) && !is_change {
            return;
        }
        market.given = Some(hash);
        let (values, reasons) = vector.split();
        let envelope = Envelope {
            customer: market.customer.clone(),
            source: "skuflow".into(),
            observed_at: now,
            ingested_at: market.taken_at,
            cause_id: cause.id,
            ..Envelope::default()
        };
        let currency = market.currency.map(|currency| currency.as_str().into());
        let product = market.product.clone();
        let figures = Figures { envelope, product, currency, values, reasons, change: cause.change };
        let mut event = Event::Features(Box::new(figures));
        let id = event.compute_id();
        if let Some(envelope) = event.envelope_mut() {
            envelope.event_id = id;
        }
        context.forward(Output::made(event));
    }
}

/// Why figures are given.
struct Cause {
    /// The event; none where it is time.
    id: Option<EventId>,
    /// Its time; it is the moment of figures of which nothing was observed yet.
    at: Timestamp,
    change: Option<Change>,
}

impl Processor for Features {
    type State = Market;

    fn name(&self) -> &'static str {
        "features"
    }

    fn apply(&self, input: Input, state: &mut Stated<Market>, context: &mut Context<'_>) {
        if let Input::Tombstone { family: Family::Catalog, .. } = &input {
            state.end_entry();
            if !state.changes_with_time() && state.wake_at.is_none() {
                **state = Market::default();
            }
            return context.forward(input);
        }
        if let Some(cause) = self.hear(input, state, context) {
            self.give(cause, state, context);
        }
    }

    fn wake(&self, timer: &Timer, state: &mut Stated<Market>, context: &mut Context<'_>) {
        state.wake_at = None;
        state.advance(timer.due, self.active, context.rows);
        self.give(Cause { id: None, at: timer.due, change: None }, state, context);
    }
}

fn name(market: &mut Market, product: &Text, envelope: &Envelope) {
    if market.product.is_empty() {
        (market.customer, market.product) = (envelope.customer.clone(), product.clone());
    }
    market.taken_at = market.taken_at.max(envelope.ingested_at);
}

/// Sets a timer for the next turn of the day, unless one is set or time changes nothing.
fn set_timer(market: &mut Market, now: Timestamp, context: &mut Context<'_>) {
    if market.wake_at.is_none() && market.now.is_some() && market.changes_with_time() {
        let due = Day(now.day().0.saturating_add(1)).start();
        if due > now {
            market.wake_at = Some(due);
            context.outbox.wake_at(due);
        }
    }
}

/// Whether an offer is another than before.
fn says_something(change: &Change) -> bool {
    change.entered
        || change.price != change.previous_price
        || change.availability != change.previous_availability
        || change.buy_box != change.previous_buy_box
}

fn hash(vector: &Vector, currency: Option<Currency>) -> u64 {
    let (values, reasons) = vector.split();
    let mut hash = Fnv::new(6);
    hash.text(currency.map(|currency| currency.as_str().into()).as_ref());
    values.in_order().iter().for_each(|value| hash.number(value.map(|value| value.to_bits().cast_signed())));
    reasons.in_order().iter().for_each(|reason| hash.word(*reason as u64));
    hash.finish()
}
