//! The way from the market to the records: what comes twice, wrong, late or out of order. A pure function of the settings
//! and the observation; no observation is lost, and none is changed.

use super::config::{Noise, Settings};
use super::observation::{DAY, Fact, HOUR, MINUTE, Observation};
use super::random::{Purpose, Random};

const SECOND: i64 = MINUTE / 60;
/// Longest delay of a change: less than lies between two changes of an offer, so none overtakes the next.
const CHANGE_DELAY_MAX: i64 = 170 * SECOND;
/// Longest delay there is.
pub(super) const DELAY_MAX: i64 = 12 * DAY + 6 * HOUR;

/// An observation on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Item {
    /// When it comes in, in microseconds since the market began.
    pub(super) delivered: i64,
    pub(super) observation: Observation,
    pub(super) form: Form,
}

/// What becomes of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Clean,
    /// Clean, and delivered more than a day after it was made.
    Late,
    Duplicate,
    Repeat,
    Dirty(Dirt),
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirt {
    NotPositive,
    Hundredfold,
    Currency,
    Future,
    EmptyId,
}

const DIRT: [Dirt; 5] = [Dirt::NotPositive, Dirt::Hundredfold, Dirt::Currency, Dirt::Future, Dirt::EmptyId];

/// Gives what comes in of an observation, the observation itself first.
pub(super) fn deliver(settings: &Settings, observation: Observation, mut give: impl FnMut(Item)) {
    let Noise { duplicates, repeats, dirty, late, reordered } = settings.noise;
    let number = if let Fact::Sale(sold) = observation.fact { sold.number } else { 0 };
    let seed = settings.seed.wrapping_add(number.cast_unsigned());
    let mut random = Random::of(seed, Purpose::Noise, observation.product, observation.at);
    let happens = |share: f64, random: &mut Random| random.fraction() < share;
    let is_offer = matches!(observation.fact, Fact::Offer(_));
    let says_nothing = is_offer && !observation.news;
    let mut item = Item { delivered: observation.at, observation, form: Form::Clean };
    if happens(reordered, &mut random) {
        item.delivered += match observation.fact {
            Fact::Catalog(_) => 0, // tables come before what is joined with them
            _ if says_nothing => random.below(6 * HOUR),
            Fact::Sale(_) => random.below(179 * MINUTE),
            _ => random.below(CHANGE_DELAY_MAX),
        };
    }
    if says_nothing && happens(late, &mut random) {
        (item.delivered, item.form) = (observation.at + random.between(DAY, 12 * DAY), Form::Late);
    }
    give(item);
    if happens(duplicates, &mut random) {
        give(Item { delivered: item.delivered + random.below(6 * HOUR), form: Form::Duplicate, ..item });
    }
    let mut again = |seconds: std::ops::Range<i64>, form: Form, random: &mut Random| {
        let at = observation.at + seconds.start * SECOND + random.below((seconds.end - seconds.start) * SECOND);
        give(Item { delivered: at, observation: Observation { at, news: false, ..observation }, form });
    };
    if is_offer && happens(repeats, &mut random) {
        again(60..110, Form::Repeat, &mut random);
    }
    if !matches!(observation.fact, Fact::Catalog(_)) && happens(dirty, &mut random) {
        // What is not an offer has no price of its own that could be told from a hundredfold one.
        let dirt = match DIRT[random.below(5) as usize] {
            Dirt::Hundredfold if !is_offer => Dirt::NotPositive,
            Dirt::Currency if matches!(observation.fact, Fact::Stock(_)) => Dirt::NotPositive,
            dirt => dirt,
        };
        again(120..170, Form::Dirty(dirt), &mut random);
    }
}
