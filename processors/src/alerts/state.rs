//! What is remembered of a product, and how a condition becomes an alert.
//!
//! ```text
//!            true, and not within the cooldown: alert
//!   armed ───────────────────────────────────────────▶ holding ──┐ worse by the step than at the last alert: alert
//!     ▲      true, within the cooldown: silent            │  ▲────┘
//!     └───────────────────────────────────────────────────┘
//!        false or, where the rule has `clear`, that is true
//! ```
//!
//! Unknown is neither: it leaves things as they are. A rule about changes is armed again at once.

use skuflow_schemas::{Text, Timestamp};

use super::names::{Entry, Inputs};
use super::rule::Rule;
use crate::codec::{Bits, Damage, Reader, Writer};
use crate::{SELLERS_PER_LISTING_MAX, State};

/// What is remembered of a product.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// When the last vector was observed; none before the first.
    pub(super) at: Option<Timestamp>,
    /// Currency of its figures.
    pub(super) currency: Option<Text>,
    /// Which figures are kept: of other rules, none are known.
    pub(super) which: u64,
    /// Those of the last vector.
    pub(super) figures: Vec<Option<f64>>,
    pub(super) entry: Entry,
    pub(super) matters: Vec<Matter>,
}

/// A rule that gave an alert, and for whom. Once it is armed and its cooldown is over it is as if it had not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matter {
    /// Hash of the rule's id.
    rule: u64,
    seller: Option<Text>,
    is_armed: bool,
    /// When the last alert was.
    fired_at: Timestamp,
    /// The rule's value then.
    value: Option<f64>,
}

impl State for Watched {
    const VERSION: u8 = 2;

    fn write(&self, into: &mut Writer<'_>) {
        into.number(self.at.is_some().into());
        if let Some(at) = self.at {
            into.time(at);
        }
        into.text(self.currency.as_ref());
        into.word(self.which);
        into.number(self.figures.len() as u64);
        self.figures.iter().for_each(|figure| into.figure(*figure));
        self.entry.write(into);
        into.number(self.matters.len() as u64);
        let mut before = 0;
        for matter in &self.matters {
            let is_as_before = matter.rule == before;
            into.number(Bits::default().flag(matter.is_armed).flag(is_as_before).number());
            if !is_as_before {
                into.word(matter.rule);
            }
            into.text(matter.seller.as_ref());
            into.time(matter.fired_at);
            into.figure(matter.value);
            before = matter.rule;
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let at = if from.number()? == 0 { None } else { Some(from.time()?) };
        let (currency, which) = (from.text()?, from.word()?);
        let figures = from.list(|from, _| from.figure())?;
        let entry = Entry::read(from)?;
        let matters = from.list(|from, before: &[Matter]| {
            let mut bits = Bits::of(from.number()?);
            let (is_armed, is_as_before) = (bits.is(), bits.is());
            let rule = if is_as_before { before.last().map_or(0, |before| before.rule) } else { from.word()? };
            Ok(Matter { rule, seller: from.text()?, is_armed, fired_at: from.time()?, value: from.figure()? })
        })?;
        Ok(Self { at, currency, which, figures, entry, matters })
    }

    fn heap_bytes(&self) -> usize {
        self.figures.capacity() * size_of::<Option<f64>>() + self.matters.capacity() * size_of::<Matter>()
    }
}

/// An alert is due.
pub(super) struct Fired {
    pub(super) seller: Option<Text>,
    pub(super) value: Option<f64>,
}

/// Asks a rule, at `at`; `rules` are all there are.
pub(super) fn ask(
    rule: &Rule,
    inputs: &Inputs<'_>,
    at: Timestamp,
    matters: &mut Vec<Matter>,
    rules: &[Rule],
) -> Option<Fired> {
    let truth = rule.is_true(inputs);
    if truth != Some(true) && (rule.is_about_changes() || matters.is_empty()) {
        return None;
    }
    let seller = rule.seller(inputs);
    let known = matters.iter_mut().find(|matter| matter.rule == rule.hash && matter.seller == seller);
    if truth != Some(true) {
        if let Some(known) = known.filter(|known| !known.is_armed && rule.clears(truth, inputs)) {
            known.is_armed = true;
        }
        return None;
    }
    let value = rule.value(inputs);
    if let Some(known) = known {
        let is_edge = std::mem::replace(&mut known.is_armed, rule.is_about_changes());
        let is_rested = at.micros_since(known.fired_at) >= rule.cooldown_micros;
        if !(is_edge && is_rested || rule.is_worse(value, known.value)) {
            return None;
        }
        (known.fired_at, known.value) = (at, value);
    } else {
        make_room(matters, rule, at, rules);
        let is_armed = rule.is_about_changes();
        matters.push(Matter { rule: rule.hash, seller: seller.clone(), is_armed, fired_at: at, value });
    }
    Some(Fired { seller, value })
}

/// Drops what is over, and of a rule with too many sellers the one whose alert is the oldest.
fn make_room(matters: &mut Vec<Matter>, rule: &Rule, at: Timestamp, rules: &[Rule]) {
    matters.retain(|matter| {
        let of = rules.iter().find(|rule| rule.hash == matter.rule);
        of.is_some_and(|of| !matter.is_armed || at.micros_since(matter.fired_at) < of.cooldown_micros)
    });
    let of_rule = || matters.iter().enumerate().filter(|(_, matter)| matter.rule == rule.hash);
    if of_rule().count() >= SELLERS_PER_LISTING_MAX
        && let Some((oldest, _)) = of_rule().min_by_key(|(_, matter)| matter.fired_at)
    {
        matters.remove(oldest);
    }
}
