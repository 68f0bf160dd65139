//! Step `validate`: schema-valid is not sane. Each rule has an id and either rejects or marks suspect.

mod config;
mod rules;

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Event, Family, Money, Outcome, Text, Timestamp};

pub use config::{Action, Config};
pub use rules::RULES;

use crate::{Context, Input, Processor, Reject, SELLERS_PER_LISTING_MAX, State, Stated};

/// What the step takes, and gives unchanged but for marks.
pub const FAMILIES: &[Family] = &[Family::Offer, Family::Sale, Family::Inventory, Family::Catalog, Family::Listing];

/// The step.
pub struct Validate {
    config: Config,
}

impl Validate {
    /// A step with these settings.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Ids and messages of the rules that object to `event`, with what is to be done.
    fn objections<'a>(
        &'a self,
        event: &'a Event,
        state: &'a Prices,
    ) -> impl Iterator<Item = (&'static str, String, Action)> + 'a {
        RULES.iter().filter_map(move |rule| {
            let action = self.config.action(rule);
            if action == Action::Off {
                return None;
            }
            let message = (rule.objects)(event, state, &self.config)?;
            Some((rule.id, message, action))
        })
    }
}

/// The last good price per seller of a listing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// The least recently changed first.
    last_good: Vec<LastGood>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LastGood {
    seller: Option<Text>,
    price: Money,
    observed_at: Timestamp,
}

impl State for Prices {
    const VERSION: u8 = 1;

    fn heap_bytes(&self) -> usize {
        self.last_good.capacity() * size_of::<LastGood>()
    }
}

impl Prices {
    /// The last price of `seller` that no rule objected to.
    fn of(&self, seller: Option<&Text>) -> Option<&Money> {
        self.find(seller).map(|at| &self.last_good[at].price)
    }

    fn find(&self, seller: Option<&Text>) -> Option<usize> {
        self.last_good.iter().position(|last| last.seller.as_ref() == seller)
    }

    /// Keeps a price, unless a later one is known: what is delivered again, or late, is not the last.
    fn remember(state: &mut Stated<Self>, seller: Option<&Text>, price: Money, observed_at: Timestamp) {
        if let Some(at) = state.find(seller) {
            if state.last_good[at].observed_at >= observed_at {
                return;
            }
            state.last_good.remove(at);
        } else if state.last_good.len() == SELLERS_PER_LISTING_MAX {
            state.last_good.remove(0);
        }
        state.last_good.push(LastGood { seller: seller.cloned(), price, observed_at });
    }
}

impl Processor for Validate {
    type State = Prices;

    fn name(&self) -> &'static str {
        "validate"
    }

    fn check(&self, input: &Input, state: &Prices) -> Result<(), Reject> {
        let Some(event) = input.event() else { return Ok(()) };
        let rejecting = self.objections(event, state).find(|(.., action)| *action == Action::Reject);
        rejecting.map_or(Ok(()), |(rule, message, _)| Err(Reject { rule, message }))
    }

    fn apply(&self, input: Input, state: &mut Stated<Prices>, context: &mut Context<'_>) {
        let Input::Event { mut event, body } = input else { return context.forward(input) };
        let suspect: Vec<&'static str> = self.objections(&event, state).map(|(rule, ..)| rule).collect();
        for rule in &suspect {
            context.count(&event, Outcome::Suspect, rule);
        }
        if let Event::Offer(offer) = &event
            && let (Some(price), true) = (offer.price, suspect.is_empty())
        {
            Prices::remember(state, offer.seller.as_ref(), price, offer.envelope.observed_at);
        }
        mark(&mut event, &suspect);
        context.forward(Input::Event { event, body });
    }
}

fn mark(event: &mut Event, rules: &[&'static str]) {
    let marks = match event {
        Event::Offer(offer) => &mut offer.suspect,
        Event::Sale(sale) => &mut sale.suspect,
        Event::Inventory(inventory) => &mut inventory.suspect,
        Event::Catalog(_) | Event::Listing(_) | Event::Quality(_) => return,
    };
    marks.extend(rules.iter().map(|rule| Text::from(*rule)));
}
