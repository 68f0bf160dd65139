//! The figures as their formulas say them, from the list of all that happened, each time from the beginning.

use std::collections::{BTreeMap, BTreeSet};

use skuflow_schemas::{
    Availability, BuyBox, Catalog, Currency, Event, Feature, Offer, Reason, Role, Sale, SaleStatus, Timestamp, Vector,
};

use super::{Happened, SLOT};

const DAY: i64 = 86_400_000_000;
/// Figures that nothing is known for.
pub(super) const NOT_MADE: [&str; 7] = [
    "demand_search_volume",
    "demand_conversion_rate",
    "market_sentiment_score",
    "external_weather_temp",
    "external_holiday_proximity",
    "external_cpi",
    "external_social_mentions",
];

/// Listing and seller.
type Who = (String, String);

fn who(offer: &Offer) -> Who {
    (offer.native_id.to_string(), offer.seller.as_deref().unwrap_or("").to_owned())
}

/// A seller without a name is the listing's own.
fn seller(who: &Who) -> String {
    if who.1.is_empty() { format!("/{}", who.0) } else { who.1.clone() }
}

/// Whether what was said of an offer so long ago still holds.
fn holds(offer: &Offer, micros: i64, active: i64) -> bool {
    offer.envelope.source_version.is_some() || micros < active
}

fn landed(offer: &Offer) -> Option<(f64, Currency)> {
    let price = offer.price?;
    let shipping = offer.shipping.map_or(0, |shipping| shipping.minor);
    Some(((price.minor + shipping) as f64 / 100.0, price.currency))
}

fn stars(offer: &Offer) -> Option<f64> {
    Some(offer.rating? / offer.rating_best.unwrap_or(5.0) * 5.0)
}

fn best_rank(offer: &Offer) -> Option<f64> {
    offer.ranks.iter().map(|rank| rank.rank as f64).reduce(f64::min)
}

fn offered(offer: &Offer) -> bool {
    offer.availability != Availability::OutOfStock && offer.availability != Availability::Discontinued
}

/// What had been said, of offers that were not taken back, when the last of `happened` had.
#[derive(Clone, Default)]
struct Story {
    now: i64,
    /// Of each offer what was said of it since it was last taken back or changed sides, as (when, what), in any order.
    said: BTreeMap<Who, Vec<(i64, Offer)>>,
    /// Own offers over time; `None` is when one was no more.
    own: BTreeMap<Who, Vec<(i64, Option<Offer>)>>,
    /// When own offers were no more.
    gone: BTreeMap<Who, Vec<i64>>,
    /// When a competitor held the Buy Box; `false` when that one was no more.
    wins: BTreeMap<i64, Option<Offer>>,
    entry: Option<Catalog>,
    in_catalog_since: Option<i64>,
    market_since: Option<i64>,
    currency: Option<Currency>,
    /// How often prices changed their currency.
    currencies: usize,
    seen: BTreeMap<String, i64>,
    entered: BTreeMap<String, i64>,
    lowered: BTreeMap<String, i64>,
}

fn role(offer: &Offer) -> Role {
    offer.track.as_ref().expect("a copy").role
}

impl Story {
    /// The offer that stands.
    fn standing(&self, who: &Who, active: i64) -> Option<&(i64, Offer)> {
        // max_by_key gives the last of equals: the one heard last.
        let said = self.said.get(who)?.iter();
        said.filter(|(at, offer)| holds(offer, self.now - at, active)).max_by_key(|(at, _)| *at)
    }

    fn all_standing(&self, active: i64) -> Vec<(&Who, &Offer)> {
        self.said.keys().filter_map(|who| Some((who, &self.standing(who, active)?.1))).collect()
    }

    fn happen(&mut self, happened: &Happened, active: i64) {
        match happened {
            Happened::Woken(due) => self.now = self.now.max(due.micros()),
            Happened::Ended => (self.entry, self.in_catalog_since, self.market_since) = (None, None, None),
            Happened::Said(Event::Catalog(entry)) => self.catalog(entry, active),
            Happened::Said(event) => {
                self.now = self.now.max(event.observed_at().micros());
                if let Event::Offer(offer) = event {
                    self.offer(offer, active);
                }
            }
        }
    }

    /// Whether a seller is in the market.
    fn is_present(&self, name: &str, active: i64) -> bool {
        self.seen.get(name).is_some_and(|at| self.now - at < 30 * DAY)
            || self.all_standing(active).iter().any(|(who, _)| seller(who) == name)
    }

    fn catalog(&mut self, entry: &Catalog, active: i64) {
        if !entry.active {
            (self.entry, self.in_catalog_since, self.market_since) = (None, None, None);
            return;
        }
        let since = *self.in_catalog_since.get_or_insert(entry.envelope.observed_at.micros());
        if self.seen.keys().any(|name| self.is_present(name, active)) {
            self.market_since.get_or_insert(since.max(self.now));
        }
        self.entry = Some(entry.clone());
        let stated = entry.currency.as_ref().map(|code| Currency::parse(code).expect("three letters"));
        if stated.is_some() && stated != self.currency {
            self.currency = stated;
            self.currencies += 1;
        }
    }

    fn leave(&mut self, who: &Who, at: i64, offer: &Offer) {
        if role(offer) == Role::Own {
            put(self.own.entry(who.clone()).or_default(), self.now, None);
            self.gone.entry(who.clone()).or_default().push(self.now);
        } else if offer.buy_box == BuyBox::Won
            && self.wins.last_key_value().is_some_and(|(last, held)| *last == at && held.is_some())
        {
            self.wins.insert(self.now, None);
        }
    }

    fn offer(&mut self, offer: &Offer, active: i64) {
        let (who, at) = (who(offer), offer.envelope.observed_at.micros());
        let stood = self.standing(&who, active).cloned();
        if offer.track.as_ref().expect("a copy").retracted {
            if let Some((at, offer)) = stood {
                self.leave(&who, at, &offer);
                self.said.remove(&who);
                if offer.envelope.source_version.is_some() {
                    self.seen.insert(seller(&who), self.now);
                }
                if self.all_standing(active).iter().all(|(other, _)| seller(other) != seller(&who)) {
                    self.entered.remove(&seller(&who));
                    self.lowered.remove(&seller(&who));
                }
            }
            return;
        }
        if !offer.suspect.is_empty() {
            return;
        }
        if role(offer) == Role::Own && self.currency.is_none() {
            self.currency = landed(offer).map(|(_, currency)| currency);
        }
        self.seller(&seller(&who), at, active);
        if role(offer) == Role::Own {
            let past = self.own.entry(who.clone()).or_default();
            let gone = past.iter().max_by_key(|(at, _)| *at).filter(|(_, said)| said.is_none()).map(|(at, _)| *at);
            put(past, at.max(gone.unwrap_or(at)), Some(offer.clone()));
        } else if offer.buy_box == BuyBox::Won {
            self.wins.insert(at, Some(offer.clone()));
        }
        if let Some((before, previous)) = stood.filter(|(before, _)| *before <= at) {
            if role(&previous) != role(offer) {
                self.leave(&who, before, &previous);
                self.said.remove(&who);
            } else if role(offer) == Role::Competitor
                && let (Some((now, currency)), Some((then, other))) = (landed(offer), landed(&previous))
                && currency == other
                && (now * 100.0).round() * 100.0 < (then * 100.0).round() * 99.0
            {
                let lowered = self.lowered.entry(seller(&who)).or_insert(at);
                *lowered = at.max(*lowered);
            }
        }
        self.said.entry(who).or_default().push((at, offer.clone()));
    }

    fn seller(&mut self, seller: &str, at: i64, active: i64) {
        if let (None, Some(since)) = (self.market_since, self.in_catalog_since) {
            self.market_since = Some(since.max(self.now));
        }
        let (last, is_present) = (self.seen.get(seller).copied(), self.is_present(seller, active));
        self.seen.insert(seller.to_owned(), last.map_or(at, |last| last.max(at)));
        if !is_present {
            match self.market_since.filter(|since| at - since >= DAY) {
                Some(_) => self.entered.insert(seller.to_owned(), at),
                None => self.entered.remove(seller),
            };
        }
    }
}

fn put<T>(past: &mut Vec<(i64, T)>, at: i64, said: T) {
    past.retain(|(moment, _)| *moment != at);
    past.push((at, said));
}

/// A completed day.
#[derive(Clone, Default)]
struct Past {
    price_sum: f64,
    price_slots: f64,
    price_last: Option<f64>,
    away_slots: f64,
    box_lost: f64,
    box_known: f64,
    rating: Option<f64>,
    rank: Option<f64>,
}

impl Story {
    /// What stood of the own offers at `moment`.
    fn own_at(&self, moment: i64, active: i64) -> Vec<(i64, &Offer)> {
        let last =
            |past: &'_ [(i64, Option<Offer>)]| past.iter().filter(|(at, _)| *at <= moment).map(|(at, _)| *at).max();
        let standing = self.own.values().filter_map(|past| {
            let at = last(past)?;
            let (_, said) = past.iter().find(|(moment, _)| *moment == at)?;
            said.as_ref().filter(|offer| holds(offer, moment - at, active)).map(|offer| (at, offer))
        });
        standing.collect()
    }

    /// What was last said of each own listing at `moment`.
    fn own_said(&self, moment: i64, active: i64, what: fn(&Offer) -> Option<f64>) -> Vec<f64> {
        let mut last: BTreeMap<&str, (i64, f64)> = BTreeMap::new();
        for (who, past) in &self.own {
            let gone = self.gone.get(who).and_then(|gone| gone.iter().filter(|at| **at <= moment).max());
            for (at, said) in past.iter().filter(|(at, _)| *at <= moment) {
                let said = said.as_ref().filter(|offer| holds(offer, moment - at, active));
                let Some(value) = said.and_then(what).filter(|_| gone.is_none_or(|gone| at >= gone)) else {
                    continue;
                };
                let known = last.entry(&who.0).or_insert((*at, value));
                if *at > known.0 || *at == known.0 && value > known.1 {
                    *known = (*at, value);
                }
            }
        }
        last.into_values().map(|(_, value)| value).collect()
    }

    fn past(&self, day: i64, active: i64) -> Past {
        let mut past = Past::default();
        for moment in (0..DAY / SLOT).map(|slot| day * DAY + slot * SLOT) {
            let own = self.own_at(moment, active);
            let had: Vec<_> = own.iter().filter(|(_, offer)| offered(offer)).collect();
            if had.is_empty() && !own.is_empty() {
                past.away_slots += 1.0;
            }
            let prices =
                had.iter().filter_map(|(_, offer)| landed(offer)).filter(|price| Some(price.1) == self.currency);
            if let Some(price) = prices.map(|(price, _)| price).reduce(f64::min) {
                past.price_sum += price;
                past.price_slots += 1.0;
                past.price_last = Some(price);
            }
            let ours = own.iter().filter(|(_, offer)| offer.buy_box == BuyBox::Won).map(|(at, _)| *at).max();
            let theirs = self.wins.range(..=moment).next_back();
            let theirs =
                theirs.filter(|(at, held)| held.as_ref().is_some_and(|offer| holds(offer, moment - *at, active)));
            let theirs = theirs.map(|(at, _)| *at);
            past.box_known += f64::from(u8::from(ours.is_some() || theirs.is_some()));
            past.box_lost += f64::from(u8::from(theirs > ours));
        }
        let last = (day + 1) * DAY - 1;
        past.rating = mean(&self.own_said(last, active, stars));
        past.rank = self.own_said(last, active, best_rank).into_iter().reduce(f64::min);
        past
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The completed days of the window: each as it was known when 7 days had passed since.
fn window(happened: &[Happened], today: i64, active: i64, end: &Story) -> BTreeMap<i64, Past> {
    let mut pasts = BTreeMap::new();
    let mut story = Story::default();
    let mut done = i64::MIN;
    for happened in happened {
        let before = story.clone();
        story.happen(happened, active);
        let ended = story.now / DAY - 8; // the last day whose grace is over
        for day in (done + 1).max(today - 30)..=ended {
            let mut past = before.past(day, active);
            if before.currencies != end.currencies {
                (past.price_sum, past.price_slots, past.price_last) = (0.0, 0.0, None);
            }
            pasts.insert(day, past);
        }
        done = done.max(ended);
    }
    for day in (done + 1).max(today - 30)..today {
        pasts.insert(day, end.past(day, active));
    }
    pasts
}

/// Units sold and returned by day of the first word on their line, and the first day with a sale.
struct Sold {
    units: BTreeMap<i64, f64>,
    returned: BTreeMap<i64, f64>,
    first: Option<i64>,
}

fn sold(happened: &[Happened]) -> Sold {
    let at = |sale: &Sale| sale.envelope.observed_at.micros();
    let mut now = 0;
    let mut firsts = Vec::new();
    let mut words: BTreeMap<&str, Vec<&Sale>> = BTreeMap::new();
    for happened in happened {
        match happened {
            Happened::Said(Event::Catalog(_)) | Happened::Ended => {}
            Happened::Said(event) => now = now.max(event.observed_at().micros()),
            Happened::Woken(due) => now = now.max(due.micros()),
        }
        if let Happened::Said(Event::Sale(sale)) = happened {
            let words = words.entry(sale.order_id.as_str()).or_default();
            // A line of more than 37 days before is forgotten.
            if words.iter().any(|sale| at(sale) / DAY < now / DAY - 37) {
                words.clear();
            }
            words.push(sale);
            firsts.push(sale);
        }
    }
    let count = |sale: &Sale| match (sale.status, sale.units) {
        (SaleStatus::Cancelled, _) => (0.0, 0.0),
        (_, units) if units < 0 => (0.0, -units as f64),
        (SaleStatus::Returned, units) => (units as f64, units as f64),
        (_, units) => (units as f64, 0.0),
    };
    let mut sold = Sold { units: BTreeMap::new(), returned: BTreeMap::new(), first: None };
    for words in words.values() {
        let day = words.iter().map(|sale| at(sale)).min().expect("has one") / DAY;
        let last = words.iter().max_by_key(|sale| at(sale)).expect("has one");
        *sold.units.entry(day).or_default() += count(last).0;
        *sold.returned.entry(day).or_default() += count(last).1;
    }
    sold.first = firsts.iter().filter(|sale| count(sale).0 > 0.0).map(|sale| at(sale) / DAY).min();
    sold
}

fn stock(happened: &[Happened], entry: Option<&Catalog>) -> Feature {
    let mut last: BTreeMap<(&str, &str), (Timestamp, i64)> = BTreeMap::new();
    for happened in happened {
        if let Happened::Said(Event::Inventory(said)) = happened {
            let at = said.envelope.observed_at;
            let place = (said.native_id.as_str(), said.location.as_str());
            if last.get(&place).is_none_or(|(before, _)| *before <= at) {
                last.insert(place, (at, said.quantity));
            }
        }
    }
    let own = |listing: &str| entry.is_none_or(|entry| entry.own.iter().any(|own| own.native_id == listing));
    let levels: Vec<i64> = last.into_iter().filter(|((of, _), _)| own(of)).map(|(_, (_, level))| level).collect();
    if levels.is_empty() { Err(Reason::NotObserved) } else { Ok(levels.iter().sum::<i64>() as f64) }
}

fn ratio(one: Feature, other: Feature, of: fn(f64, f64) -> f64) -> Feature {
    Ok(of(one?, other?))
}

fn volatility(pasts: &BTreeMap<i64, Past>, from: i64) -> Feature {
    let lasts: Vec<f64> = pasts.range(from..).filter_map(|(_, past)| past.price_last).collect();
    if lasts.len() < 3 {
        return Err(Reason::TooShort);
    }
    let changes: Vec<f64> = lasts.windows(2).map(|pair| (pair[1] / pair[0]).ln()).collect();
    let center = mean(&changes).expect("has two");
    Ok((changes.iter().map(|change| (change - center).powi(2)).sum::<f64>() / (changes.len() as f64 - 1.0)).sqrt())
}

fn price_mean(pasts: &BTreeMap<i64, Past>, from: i64) -> Feature {
    let slots: f64 = pasts.range(from..).map(|(_, past)| past.price_slots).sum();
    let sum: f64 = pasts.range(from..).map(|(_, past)| past.price_sum).sum();
    if slots == 0.0 { Err(Reason::TooShort) } else { Ok(sum / slots) }
}

/// The price of the lowest of `offers`, or why there is none.
fn prices(offers: &[&Offer], currency: Option<Currency>, nobody: Reason) -> Result<Vec<f64>, Reason> {
    let all: Vec<_> = offers.iter().filter_map(|offer| landed(offer)).collect();
    let mut same: Vec<f64> = all.iter().filter(|price| Some(price.1) == currency).map(|price| price.0).collect();
    same.sort_by(f64::total_cmp);
    match (same.is_empty(), offers.is_empty()) {
        (false, _) => Ok(same),
        (_, true) => Err(nobody),
        _ if currency.is_some() && !all.is_empty() => Err(Reason::OtherCurrency),
        _ => Err(Reason::NotStated),
    }
}

/// Of each listing of `role` what was last said, of offers that stand.
fn last_said(story: &Story, role_of: Role, active: i64, what: fn(&Offer) -> Option<f64>) -> Vec<f64> {
    let mut last: BTreeMap<&str, (i64, f64)> = BTreeMap::new();
    for (who, standing) in story.all_standing(active) {
        if role(standing) != role_of {
            continue;
        }
        // Of one offer and one moment the word heard last counts, of several offers the larger.
        let words = story.said[who].iter().filter(|(at, offer)| holds(offer, story.now - at, active));
        let words = words.filter_map(|(at, offer)| Some((*at, what(offer)?)));
        let Some((at, value)) = words.max_by_key(|(at, _)| *at) else { continue };
        let known = last.entry(&who.0).or_insert((at, value));
        if at > known.0 || at == known.0 && value > known.1 {
            *known = (at, value);
        }
    }
    last.into_values().map(|(_, value)| value).collect()
}

/// Those that can be had.
fn had<'a>(offers: &[&'a Offer]) -> Vec<&'a Offer> {
    offers.iter().copied().filter(|offer| offered(offer)).collect()
}

/// The figures after all that `happened`.
#[expect(clippy::too_many_lines, reason = "one figure after the other, as the table has them")]
pub(super) fn slow_figures(happened: &[Happened], active: i64) -> Vector {
    let mut story = Story::default();
    for happened in happened {
        story.happen(happened, active);
    }
    if story.now == 0 {
        // Nothing but entries: the moment of the last one; it is before any window.
        let entries = happened.iter().rev().find_map(|happened| match happened {
            Happened::Said(Event::Catalog(entry)) => Some(entry.envelope.observed_at.micros()),
            _ => None,
        });
        story.now = entries.unwrap_or(0);
    }
    let (now, today) = (story.now, story.now / DAY);
    let pasts = window(happened, today, active, &story);
    let entry = story.entry.as_ref();
    let catalog = entry.ok_or(Reason::NoCatalog);
    let standing = story.all_standing(active);
    let of_role = |wanted: Role| -> Vec<&Offer> {
        standing.iter().map(|(_, offer)| *offer).filter(|offer| role(offer) == wanted).collect()
    };
    let (own, rivals) = (of_role(Role::Own), of_role(Role::Competitor));
    let (own_had, rivals_had) = (had(&own), had(&rivals));

    let price = prices(&own_had, story.currency, Reason::NoOwnOffer).map(|prices| prices[0]);
    let unit_price = price.and_then(|lowest| {
        let cheapest =
            own_had.iter().filter(|offer| landed(offer) == story.currency.map(|currency| (lowest, currency)));
        let per_unit = cheapest
            .filter_map(|offer| Some(offer.price?.minor as f64 / 100.0 / (offer.pack.as_ref()?.quantity / 1000.0)));
        per_unit.reduce(f64::min).ok_or(Reason::NotStated)
    });
    let rating = mean(&last_said(&story, Role::Own, active, stars)).ok_or(Reason::NotObserved);
    let rank = last_said(&story, Role::Own, active, best_rank).into_iter().reduce(f64::min).ok_or(Reason::NotObserved);
    let highest = pasts.range(today - 7..).filter_map(|(_, past)| past.rating).reduce(f64::max);
    let rank_before = pasts.range(today - 7..).find_map(|(_, past)| past.rank);
    let boxes: Vec<_> = own.iter().map(|offer| offer.buy_box).filter(|said| *said != BuyBox::Unknown).collect();
    let sold = sold(happened);
    let units =
        |from: i64, to: i64| -> f64 { sold.units.range(today - from..=today - to).map(|(_, units)| units).sum() };
    let returned: f64 = sold.returned.range(today - 7..today).map(|(_, units)| units).sum();
    let age = sold.first.map_or(0, |first| (today - first).max(0));
    let days = age.min(7);
    let away: f64 = pasts.range(today - days..).map(|(_, past)| past.away_slots).sum::<f64>() / (DAY / SLOT) as f64;
    let velocity =
        if units(7, 1) == 0.0 { Err(Reason::NoSales) } else { Ok(units(7, 1) / (days as f64 - away).max(1.0)) };
    let level = stock(happened, entry);
    let rival_prices = catalog.and_then(|_| prices(&rivals_had, story.currency, Reason::NoCompetitor));
    let median = rival_prices.clone().map(|all| f64::midpoint(all[(all.len() - 1) / 2], all[all.len() / 2]));
    let minimum = rival_prices.map(|all| all[0]);
    let sellers: BTreeSet<String> = rivals_had.iter().map(|offer| seller(&who(offer))).collect();
    let lately =
        |when: &BTreeMap<String, i64>, micros: i64| when.values().filter(|at| now - **at < micros).count() as f64;
    let known: f64 = pasts.values().map(|past| past.box_known).sum();
    let lost: f64 = pasts.values().map(|past| past.box_lost).sum();
    let listed: Vec<_> =
        rivals.iter().filter_map(|offer| Some((offer.price?.minor, offer.list_price?.minor))).collect();
    let told: Vec<_> = rivals.iter().map(|o| o.availability).filter(|said| *said != Availability::Unknown).collect();
    let since_first = |needed: i64| match sold.first {
        None => Err(Reason::NoSales),
        Some(_) if age < needed => Err(Reason::TooShort),
        Some(_) if units(needed, 1) == 0.0 => Err(Reason::NoSales),
        Some(_) => Ok(()),
    };
    let index = ratio(price, median, |own, median| own / median);
    let scores = [
        index.map(|index| ((2.0 - index) * 50.0).clamp(0.0, 100.0)),
        rating.map(|rating| rating / 5.0 * 100.0),
        rank.map(|rank| (100.0 - 20.0 * rank.log10()).clamp(0.0, 100.0)),
    ];
    let nobody = Err(Reason::NoSource);
    Vector {
        product_price_current: price,
        product_unit_price: unit_price,
        product_price_avg_7d: price_mean(&pasts, today - 7),
        product_price_avg_30d: price_mean(&pasts, today - 30),
        product_price_volatility_7d: volatility(&pasts, today - 7),
        product_price_volatility: volatility(&pasts, today - 30),
        product_rating_avg: rating,
        product_rating_change_7d: rating.and_then(|now| Ok(now - highest.ok_or(Reason::TooShort)?)),
        product_review_count: last_said(&story, Role::Own, active, |offer| Some(offer.review_count? as f64))
            .into_iter()
            .reduce(f64::max)
            .ok_or(Reason::NotObserved),
        product_sales_rank: rank,
        product_rank_change_7d: rank.and_then(|now| Ok(now / rank_before.ok_or(Reason::TooShort)? - 1.0)),
        product_inventory_level: level,
        product_days_of_stock: ratio(level, velocity, |level, velocity| level / velocity),
        product_margin: catalog.and_then(|entry| {
            let cost = entry.cost.ok_or(Reason::NotStated)?;
            let price = price?;
            let same = Some(cost.currency) == story.currency;
            if same { Ok((price - cost.minor as f64 / 100.0) / price) } else { Err(Reason::OtherCurrency) }
        }),
        product_buybox_won: match boxes.as_slice() {
            [] => Err(Reason::NotObserved),
            said => Ok(if said.contains(&BuyBox::Won) { 1.0 } else { 0.0 }),
        },
        competitor_price_min: minimum,
        competitor_price_median: median,
        competitor_count_active: catalog.map(|_| sellers.len() as f64),
        competitor_price_drops_24h: catalog.map(|_| lately(&story.lowered, DAY)),
        competitor_buybox_share: catalog
            .and_then(|_| if known == 0.0 { Err(Reason::NotObserved) } else { Ok(lost / known) }),
        competitor_rating_avg: catalog
            .and_then(|_| mean(&last_said(&story, Role::Competitor, active, stars)).ok_or(Reason::NotObserved)),
        demand_units_1d: if age == 0 { Err(Reason::NoSales) } else { Ok(units(1, 1)) },
        demand_sales_velocity_7d: velocity,
        demand_returns_7d: if units(7, 1) + returned == 0.0 { Err(Reason::NoSales) } else { Ok(returned) },
        demand_mean_28d: match (sold.first, (age - 1).min(28)) {
            (None, _) => Err(Reason::NoSales),
            (_, days) if days < 14 => Err(Reason::TooShort),
            (_, days) => Ok(units(29, 2) / days as f64),
        },
        demand_search_volume: nobody,
        demand_conversion_rate: nobody,
        demand_seasonality_index: since_first(28)
            .map(|()| [1, 8, 15, 22].map(|day| units(day, day)).iter().sum::<f64>() / 4.0 / (units(28, 1) / 28.0)),
        demand_trend_30d: since_first(30).map(|()| (units(15, 1) - units(30, 16)) / units(30, 1)),
        market_sentiment_score: nobody,
        market_promotion_intensity: catalog.and_then(|_| match (rivals.len(), listed.len()) {
            (0, _) => Err(Reason::NoCompetitor),
            (_, 0) => Err(Reason::NotStated),
            (all, _) => Ok(listed.iter().filter(|(price, list)| price * 100 < list * 95).count() as f64 / all as f64),
        }),
        market_new_entrants_30d: catalog.map(|_| lately(&story.entered, 30 * DAY)),
        market_stockout_rate: catalog.and_then(|_| match (rivals.len(), told.len()) {
            (0, _) => Err(Reason::NoCompetitor),
            (_, 0) => Err(Reason::NotObserved),
            (_, all) => Ok(told.iter().filter(|said| **said == Availability::OutOfStock).count() as f64 / all as f64),
        }),
        external_weather_temp: nobody,
        external_holiday_proximity: nobody,
        external_cpi: nobody,
        external_social_mentions: nobody,
        price_gap: ratio(price, minimum, |own, minimum| own - minimum),
        price_index: index,
        score_price_competitiveness: scores[0],
        score_quality: scores[1],
        score_popularity: scores[2],
        score_overall: match scores.iter().flatten().copied().collect::<Vec<_>>().as_slice() {
            [] => scores[0],
            known => Ok(known.iter().sum::<f64>() / known.len() as f64),
        },
    }
}
