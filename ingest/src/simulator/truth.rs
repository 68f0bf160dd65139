//! The truth: every crossing of a rule in the clean series, judged in batch, in whole numbers, without any record or step.
//!
//! What a rule says, as judged here:
//! - A **reading** is what a rule sees at a moment; it **holds** or not. A crossing is a reading that holds behind one (of the
//!   same product, rule and seller) that does not, or behind none. Rules about a move (a price falls, a box is lost, goods run
//!   out, somebody is new) are read at each offer, and each move is a crossing of its own.
//! - A crossing within 24 hours behind the last one of the same product, rule and seller that was not silenced is `silenced`:
//!   an alert of it is due only if it is worse.
//! - Landed price = price + shipping, shipping that is not said being free. Competitors count while their listing is in the
//!   catalog. Days are UTC. Our own price is the landed price of our offer while it can be had; without one nothing holds.
//! - `rank-drop`: against the last rank of 7 days ago or, in the first days, of the earliest day before today. `rating-drop`:
//!   against the highest daily last value of the 7 days before today. `stock-out-soon`: units sold, without returns, in the
//!   last 7 completed days, over those of them in which we had the goods; read at each count and at midnight. `demand-…`: read
//!   at midnight; days count from the first sale on, returns do not. `price-war`: each competitor counts who lowered the price
//!   in one move by more than 1 % less than 24 hours ago.

use std::collections::{BTreeMap, HashMap};

use skuflow_schemas::{BuyBox, Text, Timestamp};

use super::cast::listing_of;
use super::config::Settings;
use super::incidents::{Incident, Rule};
use super::observation::{DAY, Fact, OWN, Observation, Offered, Seat, Standing, Terms};
use super::product::{Happened, Product};
use super::records::seller_name;

/// How long a rule is silent behind a crossing.
const COOLDOWN: i64 = DAY;

/// A rule came true.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossing {
    /// Which.
    pub rule: Rule,
    /// For which product.
    pub product: Text,
    /// For which seller, where the rule is about sellers.
    pub seller: Option<Text>,
    /// When, in event time: that of the observation that made it true, or midnight for what is judged by the day.
    pub at: Timestamp,
    /// How far it went, in the rule's own measure: percent, competitors, stars, days, or for `margin-low` a share of 1.
    pub value: Option<f64>,
    /// Whether an incident was planted there; else it came about by itself.
    pub planted: bool,
    /// Whether the one before it was less than 24 hours ago.
    pub silenced: bool,
}

/// What a rule sees at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) rule: Rule,
    pub(super) seat: Option<Seat>,
    pub(super) at: i64,
    pub(super) holds: bool,
    pub(super) value: Option<f64>,
}

/// Every crossing of a rule, by time.
pub fn truth(settings: &Settings) -> Vec<Crossing> {
    let Some(start) = settings.first_instant() else { return Vec::new() };
    let mut crossings = Vec::new();
    for number in 0..settings.products {
        let (product, happened) = history(settings, number);
        let readings = readings(settings, &happened.observations);
        let edges = edges(&readings, &happened.incidents);
        crossings.extend(edges.into_iter().map(|(reading, planted, silenced)| Crossing {
            rule: reading.rule,
            product: product.cast.product.clone(),
            seller: reading.seat.map(|seat| seller_name(&product.cast, seat)),
            at: start.plus_micros(reading.at),
            value: reading.value,
            planted,
            silenced,
        }));
    }
    crossings.sort_by(|a, b| (a.at, &a.product, a.rule).cmp(&(b.at, &b.product, b.rule)));
    crossings
}

/// All that happens to a product, by time.
pub(super) fn history(settings: &Settings, number: u32) -> (Product, Happened) {
    let (mut product, mut happened) = (Product::new(settings, number), Happened::default());
    for hour in 0..settings.hours() {
        product.hour(settings, hour, &mut happened);
    }
    happened.observations.sort_by_key(|observation| observation.at);
    (product, happened)
}

/// Readings that hold behind one that does not; whether they were planted, and whether they come too soon.
fn edges(readings: &[Reading], incidents: &[Incident]) -> Vec<(Reading, bool, bool)> {
    let mut held: HashMap<(Rule, Option<Seat>), bool> = HashMap::new();
    let mut fired: HashMap<(Rule, Option<Seat>), i64> = HashMap::new();
    let mut edges = Vec::new();
    for reading in readings {
        let key = (reading.rule, reading.seat);
        let before = held.insert(key, reading.holds && !reading.rule.is_move()).unwrap_or(false);
        if before || !reading.holds {
            continue;
        }
        let silenced = fired.get(&key).is_some_and(|last| reading.at - last < COOLDOWN);
        if !silenced {
            fired.insert(key, reading.at);
        }
        let planted = incidents.iter().any(|incident| {
            let same = incident.rule == reading.rule && (reading.seat.is_none() || incident.seat == reading.seat);
            same && (incident.from..incident.until).contains(&reading.at)
        });
        edges.push((*reading, planted, silenced));
    }
    edges
}

/// What every rule sees, by time.
pub(super) fn readings(settings: &Settings, series: &[Observation]) -> Vec<Reading> {
    let mut readings = rivals(series);
    readings.extend(own(series));
    readings.extend(standing(series));
    let units = daily_units(settings, series);
    readings.extend(stock(&units, series));
    readings.extend(demand(&units));
    readings.sort_by_key(|reading| reading.at);
    readings
}

/// A part in percent.
fn percent(part: i64, whole: i64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// Competitors: falls, wars, stock-outs, newcomers.
fn rivals(series: &[Observation]) -> Vec<Reading> {
    let mut readings = Vec::new();
    let mut terms = None;
    let mut last: HashMap<Seat, (i64, Offered)> = HashMap::new();
    let mut lowered: HashMap<Seat, i64> = HashMap::new();
    for observation in series {
        let at = observation.at;
        let offered = match observation.fact {
            Fact::Catalog(new) => {
                terms = Some(new);
                lowered.retain(|seat, _| new.has(listing_of(*seat)));
                continue;
            }
            Fact::Offer(offered) if offered.seat != OWN => offered,
            _ => continue,
        };
        if !terms.is_some_and(|terms: Terms| terms.has(listing_of(offered.seat))) {
            continue;
        }
        let seat = Some(offered.seat);
        let before = last.insert(offered.seat, (at, offered));
        let mut read = |rule, seat, holds, value| readings.push(Reading { rule, seat, at, holds, value });
        let is_new = at >= DAY && before.is_none_or(|(then, _)| at - then > 30 * DAY);
        read(Rule::NewCompetitor, seat, is_new, None);
        let Some((_, before)) = before else { continue };
        read(Rule::CompetitorOutOfStock, seat, before.available && !offered.available, None);
        let (old, new) = (before.landed, offered.landed);
        read(Rule::CompetitorPriceDrop, seat, new * 100 < old * 95, Some(percent(old - new, old)));
        let mut war = |lowered: &HashMap<Seat, i64>| {
            let count = lowered.values().filter(|then| at - **then < DAY).count();
            read(Rule::PriceWar, None, count >= 3, Some(count as f64));
        };
        war(&lowered);
        if new * 100 < old * 99 {
            lowered.insert(offered.seat, at);
            war(&lowered);
        }
    }
    readings
}

/// Our own price and the Buy Box.
fn own(series: &[Observation]) -> Vec<Reading> {
    let mut readings = Vec::new();
    let (mut terms, mut offer): (Option<Terms>, Option<Offered>) = (None, None);
    for observation in series {
        let at = observation.at;
        let mut read = |rule, holds, value| readings.push(Reading { rule, seat: None, at, holds, value });
        match observation.fact {
            Fact::Catalog(new) => terms = Some(new),
            Fact::Offer(new) if new.seat == OWN => {
                let before = offer.replace(new).map(|offer| offer.buy_box);
                read(Rule::BuyBoxLost, before == Some(BuyBox::Won) && new.buy_box == BuyBox::Lost, None);
            }
            _ => continue,
        }
        let (Some(terms), Some(offer)) = (terms, offer) else { continue };
        let (price, there) = (offer.landed, offer.available);
        read(Rule::OwnPriceBelowFloor, there && price < terms.floor, Some(percent(terms.floor - price, terms.floor)));
        let above = percent(price - terms.ceiling, terms.ceiling);
        read(Rule::OwnPriceAboveCeiling, there && price > terms.ceiling, Some(above));
        let margin = price - terms.cost;
        read(Rule::MarginLow, there && margin * 10 < price, Some(percent(margin, price) / 100.0));
    }
    readings
}

/// Rank and rating of our own listing, by daily last values.
fn standing(series: &[Observation]) -> Vec<Reading> {
    let mut readings = Vec::new();
    let mut days: BTreeMap<i64, Standing> = BTreeMap::new();
    for observation in series {
        let (at, day) = (observation.at, observation.at / DAY);
        let Fact::Offer(Offered { standing: Some(now), .. }) = observation.fact else { continue };
        let mut read = |rule, holds, value| readings.push(Reading { rule, seat: None, at, holds, value: Some(value) });
        if let Some((_, then)) = days.range(day - 7..day).next() {
            let (now, then) = (now.rank, then.rank);
            read(Rule::RankDrop, now * 100 > then * 120, percent(now - then, then));
        }
        if let Some(best) = days.range(day - 7..day).map(|(_, standing)| standing.rating).max() {
            let fall = best - now.rating;
            read(Rule::RatingDrop, fall > 30, fall as f64 / 100.0);
        }
        days.insert(day, now);
    }
    readings
}

/// Units sold by day, without returns.
fn daily_units(settings: &Settings, series: &[Observation]) -> Vec<i64> {
    let mut units = vec![0; settings.days as usize];
    for observation in series {
        if let Fact::Sale(sold) = observation.fact {
            units[(observation.at / DAY) as usize] += sold.units.max(0);
        }
    }
    units
}

/// How long our stock lasts, at each count and at each midnight.
fn stock(units: &[i64], series: &[Observation]) -> Vec<Reading> {
    let days_there = days_there(units.len(), series);
    let counts = series.iter().filter_map(|observation| match observation.fact {
        Fact::Stock(stock) => Some((observation.at, Some(stock))),
        _ => None,
    });
    let midnights = (1..units.len() as i64).map(|day| (day * DAY, None));
    let mut moments: Vec<(i64, Option<i64>)> = counts.chain(midnights).collect();
    moments.sort_by_key(|(at, _)| *at);
    let mut stock = None;
    let mut readings = Vec::new();
    for (at, counted) in moments {
        stock = counted.or(stock);
        let today = (at / DAY) as usize;
        let window = today.saturating_sub(7)..today;
        let sold: i64 = units[window.clone()].iter().sum();
        let days = days_there[window].iter().filter(|there| **there).count().max(1) as i64;
        let Some(stock) = stock else { continue };
        let value = (sold > 0).then(|| (stock * days) as f64 / sold as f64);
        readings.push(Reading { rule: Rule::StockOutSoon, seat: None, at, holds: stock * days < 7 * sold, value });
    }
    readings
}

/// On which days our offer could be had, for a moment at least.
fn days_there(days: usize, series: &[Observation]) -> Vec<bool> {
    let mut there = vec![false; days];
    let (mut available, mut day) = (false, 0);
    for observation in series {
        let Fact::Offer(Offered { seat: OWN, available: now, .. }) = observation.fact else { continue };
        let today = (observation.at / DAY) as usize;
        if available {
            there[day..=today].fill(true);
        }
        there[today] |= now;
        (available, day) = (now, today);
    }
    if available {
        there[day..].fill(true);
    }
    there
}

/// Each completed day against the 28 before it.
fn demand(units: &[i64]) -> Vec<Reading> {
    let Some(first) = units.iter().position(|units| *units > 0) else { return Vec::new() };
    let mut readings = Vec::new();
    for day in first + 14..units.len().saturating_sub(1) {
        let before = &units[first.max(day.saturating_sub(28))..day];
        let (sold, days, now) = (before.iter().sum::<i64>(), before.len() as i64, units[day]);
        let at = (day as i64 + 1) * DAY;
        let change = percent(now * days - sold, sold.max(1));
        let enough = sold >= days;
        let mut read = |rule, holds, value| readings.push(Reading { rule, seat: None, at, holds, value: Some(value) });
        read(Rule::DemandSpike, enough && now * days * 100 > sold * 150, change);
        read(Rule::DemandDrop, enough && now * days * 100 < sold * 70, -change);
    }
    readings
}

#[cfg(test)]
mod tests;
