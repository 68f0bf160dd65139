//! Step `validate`: schema-valid is not sane. Each rule has an id and either rejects or marks suspect.

mod config;
mod rules;

use skuflow_schemas::{Event, Family, Money, Offer, Text, Timestamp};

pub use config::{Action, Config};
pub(crate) use rules::JUMP;
pub use rules::{RULES, Rule};

use crate::codec::{Damage, Reader, Writer};
use crate::dedup::who;
use crate::{Context, Input, Processor, REASON_BYTES_MAX, Reject, SELLERS_PER_LISTING_MAX, State, Stated};

/// What the step takes, and gives unchanged but for marks.
pub const FAMILIES: &[Family] = &[Family::Offer, Family::Sale, Family::Inventory, Family::Catalog, Family::Listing];

/// The step.
pub struct Validate {
    config: Config,
    rejecting: Vec<&'static Rule>,
    suspecting: Vec<&'static Rule>,
}

impl Validate {
    /// A step with these settings.
    pub fn new(config: Config) -> Self {
        let with = |action| RULES.iter().filter(|rule| config.action(rule) == action).collect();
        Self { rejecting: with(Action::Reject), suspecting: with(Action::Suspect), config }
    }
}

/// The last good price per seller of a listing, the condition of the goods, and the place they are seen from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    /// The least recently changed first.
    last_good: Vec<LastGood>,
}

#[derive(Clone, Debug, PartialEq)]
struct LastGood {
    who: u64,
    price: Money,
    observed_at: Timestamp,
    /// The last price that jumped since, and when it was observed.
    jumped: Option<Box<(Money, Timestamp)>>, // seldom there
}

impl LastGood {
    /// Whether a price that jumped is said once more, by a later observation: then it is the new price. The observation
    /// that jumped, delivered again, says nothing new.
    fn is_said_again(&self, price: &Money, observed_at: Timestamp) -> bool {
        self.jumped.as_ref().is_some_and(|jumped| jumped.0 == *price && jumped.1 < observed_at)
    }
}

impl State for Prices {
    const VERSION: u8 = 4;

    fn write(&self, into: &mut Writer<'_>) {
        into.number(self.last_good.len() as u64);
        for last in &self.last_good {
            into.name(last.who);
            into.time(last.observed_at);
            into.money(&last.price);
        }
        let jumped = self.last_good.iter().enumerate().filter_map(|(at, last)| Some((at, last.jumped.as_ref()?)));
        into.number(jumped.clone().count() as u64);
        for (at, jumped) in jumped {
            into.number(at as u64);
            into.money(&jumped.0);
            into.time(jumped.1);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let mut last_good = from.list(|from, _| {
            let (who, observed_at, price) = (from.name()?, from.time()?, from.money()?);
            Ok(LastGood { who, price, observed_at, jumped: None })
        })?;
        for (at, jumped) in from.list(|from, _| Ok((from.number()?, (from.money()?, from.time()?))))? {
            let last = last_good.get_mut(at as usize).ok_or("a price jumped of nobody")?;
            last.jumped = Some(Box::new(jumped));
        }
        Ok(Self { last_good })
    }

    fn heap_bytes(&self) -> usize {
        self.last_good.capacity() * size_of::<LastGood>()
    }
}

impl Prices {
    /// The last good price of who makes the offer.
    fn of(&self, offer: &Offer) -> Option<&LastGood> {
        self.find(who(offer)).map(|at| &self.last_good[at])
    }

    fn find(&self, who: u64) -> Option<usize> {
        self.last_good.iter().position(|last| last.who == who)
    }

    /// Keeps a price, unless a later one is known: what is delivered again, or late, is not the last.
    fn remember(state: &mut Stated<Self>, offer: &Offer, price: Money, jumped: bool) {
        let (who, observed_at) = (who(offer), offer.envelope.observed_at);
        let mut later_jump = None;
        if let Some(at) = state.find(who) {
            let known = &state.last_good[at];
            if known.observed_at >= observed_at {
                return;
            }
            later_jump = known.jumped.clone().filter(|jumped| jumped.1 >= observed_at);
            if jumped {
                if later_jump.is_none() {
                    state.last_good[at].jumped = Some(Box::new((price, observed_at)));
                }
                return;
            }
            state.last_good.remove(at);
        } else if state.last_good.len() == SELLERS_PER_LISTING_MAX {
            state.last_good.remove(0);
        }
        state.last_good.push(LastGood { who, price, observed_at, jumped: later_jump });
    }
}

impl Processor for Validate {
    type State = Prices;

    fn name(&self) -> &'static str {
        "validate"
    }

    fn check(&self, input: &Input, state: &Prices) -> Result<(), Reject> {
        let Some(event) = input.event() else { return Ok(()) };
        let objection = |rule: &&Rule| {
            let mut message = (rule.objects)(event, state, &self.config)?;
            message.truncate(message.floor_char_boundary(REASON_BYTES_MAX));
            Some(Reject { rule: rule.id, message })
        };
        self.rejecting.iter().find_map(objection).map_or(Ok(()), Err)
    }

    fn apply(&self, input: Input, state: &mut Stated<Prices>, context: &mut Context<'_>) {
        let Input::Event { mut event, body, as_read, again } = input else { return context.forward(input) };
        let objects = |rule: &&&Rule| (rule.objects)(&event, state, &self.config).is_some();
        let suspect: Vec<&'static str> = self.suspecting.iter().filter(objects).map(|rule| rule.id).collect();
        if let Event::Offer(offer) = &event
            && let Some(price) = offer.price
        {
            Prices::remember(state, offer, price, suspect.contains(&JUMP));
        }
        mark(&mut event, &suspect);
        context.forward(Input::Event { event, body, as_read: as_read && suspect.is_empty(), again });
    }
}

fn mark(event: &mut Event, rules: &[&'static str]) {
    let marks = match event {
        Event::Offer(offer) => &mut offer.suspect,
        Event::Sale(sale) => &mut sale.suspect,
        Event::Inventory(inventory) => &mut inventory.suspect,
        _ => return,
    };
    marks.extend(rules.iter().map(|rule| Text::from(*rule)));
}
