//! Step `route`, by listing: passes each event on, with one copy per product that tracks the listing.
//!
//! A listing that nobody tracks stands for itself: its copy goes to a product with the listing's own id. When the
//! catalog changes, the last offers are sent again to who tracks the listing now, and taken back from who no longer does.

mod copies;

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Day, Event, Family, Key, Listing, Offer, Outcome, Role, Text, Timestamp};

use crate::codec::{Choice, Damage, Reader, Writer};
use crate::dedup::who;
use crate::{
    Context, GRACE_DAYS, Input, Output, PRODUCTS_PER_LISTING_MAX, Processor, Rows, SELLERS_PER_LISTING_MAX, State,
    Stated, WINDOW_DAYS,
};
use copies::{copy_for, resend, standing_alone};

/// What the step takes.
pub const TAKES: &[Family] = &[Family::Offer, Family::Sale, Family::Inventory, Family::Listing];
/// What it gives.
pub const GIVES: &[Family] = &[Family::Offer, Family::Sale, Family::Inventory];

/// Settings of the step: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The step.
#[derive(Default)]
pub struct Route {}

impl Route {
    /// A step with these settings.
    pub fn new(_config: Config) -> Self {
        Self {}
    }
}

/// What is known of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracked {
    /// Products that track it, in the order they came.
    products: Vec<Tracking>,
    /// Who has a last offer; the offer itself, as it travels, is the row of that name.
    last: Vec<LastOffer>,
    /// Latest day of any event.
    newest: Option<Day>,
    /// Changes of `products` so far: tells apart what is sent again for each.
    changes: u64,
}

/// A product that tracks the listing.
#[derive(Clone, Debug, PartialEq)]
struct Tracking {
    product: Text,
    role: Role,
    /// Whose offers have that role; those of others on an own listing compete.
    seller: Option<Text>,
}

impl Tracking {
    /// What an event of the listing is to the product.
    fn role_of(&self, event: &Event) -> Role {
        match (event, &self.seller) {
            (Event::Offer(offer), Some(seller)) if self.role == Role::Own && offer.seller.as_ref() != Some(seller) => {
                Role::Competitor
            }
            _ => self.role,
        }
    }
}

/// A seller's last offer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct LastOffer {
    who: u64,
    observed_at: Timestamp,
}

impl State for Tracked {
    const VERSION: u8 = 4;

    fn write(&self, into: &mut Writer<'_>) {
        into.number(self.products.len() as u64);
        for tracking in &self.products {
            into.text(Some(&tracking.product));
            into.number(tracking.role.number());
            into.text(tracking.seller.as_ref());
        }
        into.number(self.last.len() as u64);
        for last in &self.last {
            into.name(last.who);
            into.time(last.observed_at);
        }
        into.day(self.newest);
        into.number(self.changes);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let products = from.list(|from, _| {
            let product = from.text()?.unwrap_or_default();
            Ok(Tracking { product, role: Role::of(from.number()?)?, seller: from.text()? })
        })?;
        let last = from.list(|from, _| Ok(LastOffer { who: from.name()?, observed_at: from.time()? }))?;
        Ok(Self { products, last, newest: from.day()?, changes: from.number()? })
    }

    fn heap_bytes(&self) -> usize {
        self.products.capacity() * size_of::<Tracking>() + self.last.capacity() * size_of::<LastOffer>()
    }
}

impl Processor for Route {
    type State = Tracked;

    fn name(&self) -> &'static str {
        "route"
    }

    fn apply(&self, input: Input, state: &mut Stated<Tracked>, context: &mut Context<'_>) {
        match input {
            Input::Event { event: Event::Listing(row), .. } => track(&row, state, context),
            Input::Tombstone { family: Family::Listing, key } => {
                if let Some(product) = Key::row_of(key.as_str()) {
                    untrack(&product, state, context);
                }
            }
            Input::Event {
                event: event @ (Event::Offer(_) | Event::Sale(_) | Event::Inventory(_)),
                body,
                as_read,
                again,
            } => {
                if !again {
                    judge(&event, state, context);
                }
                if let Event::Offer(offer) = &event
                    && let Some(who) = remember(offer, state, context.rows)
                {
                    context.keep(who, &event, as_read);
                }
                send_copies(&event, state, context);
                context.forward(Output::Event { event, body, as_read, again });
            }
            other => context.forward(other),
        }
    }
}

/// Counts an event, with what is to be said of it.
fn judge(event: &Event, state: &mut Stated<Tracked>, context: &mut Context<'_>) {
    judge_lateness(event, state, context);
    context.count(event, Outcome::Accepted, "");
    for rule in marks(event) {
        context.count(event, Outcome::Suspect, rule);
    }
}

/// A record is late only for windows that its key has dropped already; it passes all the same.
fn judge_lateness(event: &Event, state: &mut Stated<Tracked>, context: &mut Context<'_>) {
    let day = event.observed_at().day();
    match state.newest {
        Some(newest) if day.0 < newest.0 - (WINDOW_DAYS + GRACE_DAYS) => {
            context.count(event, Outcome::Late, "");
            context.outbox.late(event);
        }
        Some(newest) if day <= newest => {}
        _ => state.newest = Some(day),
    }
}

/// The rules that found an event suspect.
fn marks(event: &Event) -> &[Text] {
    match event {
        Event::Offer(offer) => &offer.suspect,
        Event::Sale(sale) => &sale.suspect,
        Event::Inventory(inventory) => &inventory.suspect,
        _ => &[],
    }
}

/// Sales and stock concern only who owns the listing.
fn concerns(event: &Event, role: Role) -> bool {
    matches!(event, Event::Offer(_)) || role == Role::Own
}

fn send_copies(event: &Event, state: &Tracked, context: &mut Context<'_>) {
    if state.products.is_empty() {
        return context.forward(Output::made(standing_alone(event, false, None)));
    }
    for tracking in state.products.iter().filter(|tracking| concerns(event, tracking.role)) {
        context.forward(Output::made(copy_for(event, &tracking.product, tracking.role_of(event))));
    }
}

/// Notes the offer as its seller's last, unless a later one is known; gives its row. The least recently observed gives way.
fn remember(offer: &Offer, state: &mut Stated<Tracked>, rows: &mut dyn Rows) -> Option<u64> {
    let last = LastOffer { who: who(offer), observed_at: offer.envelope.observed_at };
    match state.last.iter().position(|known| known.who == last.who) {
        Some(at) if state.last[at].observed_at > last.observed_at => return None,
        Some(at) => state.last[at] = last,
        None => {
            if state.last.len() == SELLERS_PER_LISTING_MAX {
                let oldest = (0..state.last.len()).min_by_key(|at| state.last[*at].observed_at).unwrap_or(0);
                rows.remove(state.last.remove(oldest).who);
            }
            state.last.push(last);
        }
    }
    Some(last.who)
}

fn track(row: &Listing, state: &mut Stated<Tracked>, context: &mut Context<'_>) {
    let tracking = Tracking { product: row.product.clone(), role: row.role, seller: row.listing.seller.clone() };
    match state.products.iter().position(|known| known.product == row.product) {
        Some(at) if state.products[at] == tracking => return,
        Some(at) => state.products[at] = tracking.clone(),
        None => {
            if state.products.is_empty() {
                state.changes += 1;
                send_alone(state, true, context);
            }
            if state.products.len() == PRODUCTS_PER_LISTING_MAX {
                let first = state.products[0].product.clone();
                untrack(&first, state, context);
            }
            state.products.push(tracking.clone());
        }
    }
    state.changes += 1;
    send_again(state, &tracking, false, context);
}

fn untrack(product: &Text, state: &mut Stated<Tracked>, context: &mut Context<'_>) {
    let Some(at) = state.products.iter().position(|known| known.product == product) else { return };
    let tracking = state.products.remove(at);
    state.changes += 1;
    send_again(state, &tracking, true, context);
    if state.products.is_empty() {
        send_alone(state, false, context);
    }
}

/// Sends the last offers to a product once more, or takes them back.
fn send_again(state: &Tracked, tracking: &Tracking, retracted: bool, context: &mut Context<'_>) {
    for event in last_offers(state, context) {
        let event = resend(&event, &tracking.product, tracking.role_of(&event), retracted, state.changes);
        context.forward(Output::made(event));
    }
}

/// Lets the listing stand for itself again, or no longer.
fn send_alone(state: &Tracked, retracted: bool, context: &mut Context<'_>) {
    for event in last_offers(state, context) {
        let event = standing_alone(&event, retracted, Some(state.changes));
        context.forward(Output::made(event));
    }
}

/// The last offers, in the order in which their sellers came.
fn last_offers(state: &Tracked, context: &mut Context<'_>) -> Vec<Event> {
    state.last.iter().filter_map(|last| context.kept(last.who)).collect()
}
