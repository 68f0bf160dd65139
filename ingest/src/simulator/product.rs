//! A product's market, hour by hour: what really happens, before any record is made of it.
//!
//! ```text
//!   an hour:  :00 catalog · :01 our own offer is looked at · :05-:45 everybody's moves and looks, a seat every 4 minutes
//!             :10-:55 sales · :50-:54 the Buy Box is passed on · :56 stock
//! ```
//! Nobody's offer is observed twice within 3 minutes but at the Buy Box, so noise has room to stand between.

use skuflow_schemas::BuyBox;

use super::cast::{ADDED, Cast, DROPPED, SEAT_ADDED, listing_of};
use super::config::Settings;
use super::demand::Demand;
use super::incidents::{Incident, Rule, planned};
use super::observation::{DAY, Fact, HOUR, MINUTE, OWN, Observation, Offered, Seat, Standing, Terms};
use super::random::{Purpose, Random};

/// What happened, and what of it was planted.
#[derive(Default)]
pub(super) struct Happened {
    pub(super) observations: Vec<Observation>,
    pub(super) incidents: Vec<Incident>,
}

/// A product's market between two hours.
pub(super) struct Product {
    pub(super) number: u32,
    pub(super) cast: Cast,
    pub(super) terms: Terms,
    pub(super) places: Vec<Place>,
    /// Who holds the Buy Box of our own listing.
    pub(super) holder: Option<Seat>,
    pub(super) demand: Demand,
    /// Until which hour our own price stays as it was planted.
    pub(super) own_held_until: i64,
    pub(super) war: Option<War>,
    /// A cost that comes back, and in which hour.
    pub(super) cost_back: Option<(i64, i64)>,
    /// What is to be planted today, and in which hour.
    incident: Option<(Rule, i64)>,
    /// Changes of the terms to come, the next one last.
    changes: Vec<(i64, TermsChange)>,
    /// Whether the catalog has something to say.
    pub(super) terms_changed: bool,
    standing: Standing,
    /// Of the last 8 days, by day modulo 8.
    ranks: [i64; 8],
    ratings: [i64; 8],
}

/// A seat's offer between two hours.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) landed: i64,
    pub(super) list: Option<i64>,
    /// From which hour on the seller is there.
    pub(super) away_until: i64,
    /// From which hour on the goods are there.
    pub(super) out_until: i64,
    /// When a promotion ends, and the price behind it.
    pub(super) back: Option<(i64, i64)>,
    /// Whether the last change was a fall of more than 5 %: the next is none then, so that each is a crossing of its own.
    pub(super) fell: bool,
    /// The last hour in which the price was set.
    pub(super) moved: i64,
    said: Option<Offered>,
}

/// Competitors who lower their prices one after the other.
#[derive(Clone, Debug)]
pub(super) struct War {
    pub(super) seats: Vec<Seat>,
    pub(super) since: i64,
    /// Hours from one to the next.
    pub(super) step: i64,
}

/// How the terms change in mid run.
#[derive(Clone, Copy, Debug)]
enum TermsChange {
    Add,
    Drop,
    Limits { floor: i64, ceiling: i64 },
}

/// Never.
pub(super) const NEVER: i64 = i64::MAX;

impl Product {
    pub(super) fn new(settings: &Settings, number: u32) -> Self {
        let cast = Cast::new(settings, number);
        let changes = terms_changes(settings, &cast, &mut Random::of(settings.seed, Purpose::Terms, number, 0));
        let mut random = Random::of(settings.seed, Purpose::Begin, number, 0);
        let added = changes.iter().find(|(_, change)| matches!(change, TermsChange::Add));
        let added = added.map_or(NEVER, |(hour, _)| hour + 1);
        let places = (0..cast.seats()).map(|seat| Place::new(&cast, seat, added, &mut random)).collect();
        let terms = Terms { cost: cast.cost, floor: cast.floor, ceiling: cast.ceiling, listings: 1 << ADDED ^ 0b1111 };
        let mut product = Self {
            number,
            terms,
            places,
            holder: None,
            demand: Demand::new(cast.demand, &mut random),
            own_held_until: 0,
            war: None,
            cost_back: None,
            incident: None,
            changes,
            terms_changed: true,
            standing: Standing { rank: cast.rank, rating: cast.rating, reviews: random.between(20, 2_000) },
            ranks: [cast.rank; 8],
            ratings: [cast.rating; 8],
            cast,
        };
        product.holder = product.cheapest_on_own_listing(0);
        product
    }

    /// Lets one hour pass: the hours come one after the other, from 0 on.
    pub(super) fn hour(&mut self, settings: &Settings, hour: i64, out: &mut Happened) {
        let mut random = Random::of(settings.seed, Purpose::Latent, self.number, hour);
        let (start, of_day) = (hour * HOUR, hour % 24);
        let look_every = i64::from(24 / settings.looks_per_day);
        if of_day == 0 {
            self.begin_day(settings, hour / 24, &mut random, out);
        }
        if let Some((rule, _)) = self.incident.take_if(|(_, planted)| *planted == of_day) {
            out.incidents.extend(self.plant(rule, hour, &mut random));
        }
        self.wage_war(hour, &mut random);
        self.change_terms(hour);
        if std::mem::take(&mut self.terms_changed) {
            self.observe(start + random.below(MINUTE), Fact::Catalog(self.terms), true, out);
        }
        if of_day % look_every == 0 {
            self.say(OWN, hour, start + MINUTE + random.below(MINUTE), true, out);
        }
        for seat in 0..self.places.len() {
            self.move_price(seat, hour, &mut random);
            let place = &self.places[seat];
            if hour >= place.away_until {
                let looked_at = seat != OWN && (of_day + seat as i64) % look_every == 0;
                let at = start + (5 + 4 * seat as i64) * MINUTE + random.below(MINUTE);
                self.say(seat, hour, at, looked_at || hour == place.away_until, out);
            }
        }
        self.pass_on_buy_box(hour, start, &mut random, out);
        self.sell(hour, &mut random, out);
        if self.demand.restock(hour, &mut random) {
            let at = start + 56 * MINUTE + random.below(MINUTE);
            let news = self.demand.count();
            self.observe(at, Fact::Stock(self.demand.stock), news, out);
        }
    }

    pub(super) fn observe(&self, at: i64, fact: Fact, news: bool, out: &mut Happened) {
        out.observations.push(Observation { at, product: self.number, news, fact });
    }

    /// Observes a seat's offer, where it says something new or is looked at anyway.
    fn say(&mut self, seat: Seat, hour: i64, at: i64, looked_at: bool, out: &mut Happened) {
        let place = &self.places[seat];
        let available = self.is_available(seat, hour);
        let buy_box = match self.holder {
            _ if listing_of(seat) != 0 => BuyBox::Unknown,
            _ if !available => BuyBox::None,
            Some(holder) if holder == seat => BuyBox::Won,
            _ => BuyBox::Lost,
        };
        let standing = (seat == OWN).then_some(self.standing);
        let offered = Offered { seat, landed: place.landed, list: place.list, available, buy_box, standing };
        let news = place.said != Some(offered);
        if news || looked_at {
            self.places[seat].said = Some(offered);
            self.observe(at, Fact::Offer(offered), news, out);
        }
    }

    pub(super) fn is_available(&self, seat: Seat, hour: i64) -> bool {
        hour >= self.places[seat].away_until.max(self.places[seat].out_until)
    }

    fn cheapest_on_own_listing(&self, hour: i64) -> Option<Seat> {
        let seats = (0..self.places.len()).filter(|seat| listing_of(*seat) == 0);
        seats.filter(|seat| self.is_available(*seat, hour)).min_by_key(|seat| self.places[*seat].landed)
    }

    /// The cheapest offer that can be had wins; of equal ones, the one that holds it keeps it.
    fn pass_on_buy_box(&mut self, hour: i64, start: i64, random: &mut Random, out: &mut Happened) {
        let Some(cheapest) = self.cheapest_on_own_listing(hour) else {
            self.holder = None;
            return;
        };
        let kept = self.holder.filter(|seat| self.is_available(*seat, hour));
        if kept.is_some_and(|seat| self.places[seat].landed == self.places[cheapest].landed) {
            return;
        }
        let before = self.holder.replace(cheapest);
        for seat in before.into_iter().chain([cheapest]) {
            if hour >= self.places[seat].away_until {
                let at = start + 50 * MINUTE + seat as i64 * (MINUTE / 4) + random.below(MINUTE / 4);
                self.say(seat, hour, at, false, out);
            }
        }
    }

    /// What is new with the day: rank, rating, plans, sellers who leave.
    fn begin_day(&mut self, settings: &Settings, day: i64, random: &mut Random, out: &mut Happened) {
        self.demand.begin_day(day);
        self.incident = planned(settings, self.number, day);
        let rule = self.incident.map(|(rule, _)| rule);
        let (from, until) = (day * DAY, day * DAY + 2 * HOUR);
        self.standing.rank = self.rank_of(day, rule == Some(Rule::RankDrop), random);
        self.standing.rating = self.rating_of(day, rule == Some(Rule::RatingDrop), random);
        self.standing.reviews += random.poisson(self.cast.demand / 20.0);
        self.ranks[day as usize % 8] = self.standing.rank;
        self.ratings[day as usize % 8] = self.standing.rating;
        match rule {
            Some(rule @ (Rule::RankDrop | Rule::RatingDrop)) => {
                out.incidents.push(Incident { rule, seat: None, from, until });
            }
            Some(rule @ (Rule::DemandSpike | Rule::DemandDrop)) if self.demand.aim(rule, day, random) => {
                // The day is judged when it is over.
                out.incidents.push(Incident { rule, seat: None, from: from + DAY, until: until + DAY });
            }
            _ => {}
        }
        for seat in 1..self.places.len() {
            if random.one_in(400) && self.is_available(seat, day * 24) && self.holder != Some(seat) {
                let days = if random.one_in(2) { random.between(25, 28) } else { random.between(32, 35) };
                self.places[seat].away_until = (day + days) * 24; // around the 30 days that make a newcomer
            }
        }
    }

    fn rank_of(&self, day: i64, planted: bool, random: &mut Random) -> i64 {
        let (yesterday, week_ago) = (self.ranks[(day + 7) as usize % 8], self.ranks[(day + 1) as usize % 8]);
        if planted {
            return week_ago * (1_000 + random.around(200)) / 1_000;
        }
        if yesterday > self.cast.rank * 3 / 2 {
            return self.cast.rank * random.between(95, 105) / 100;
        }
        let wandered = yesterday * random.between(940, 1_060) / 1_000;
        (wandered + (self.cast.rank - wandered) / 12).max(100)
    }

    fn rating_of(&self, day: i64, planted: bool, random: &mut Random) -> i64 {
        let yesterday = self.ratings[(day + 7) as usize % 8];
        let best = self.ratings.iter().copied().max().unwrap_or(yesterday);
        let rating = match random.below(150) {
            _ if planted => best - random.around(30),
            0 => best - random.between(10, 45),
            ..50 => yesterday + random.between(-1, 1),
            _ => yesterday + (self.cast.rating - yesterday).clamp(0, 5),
        };
        rating.clamp(100, 490)
    }

    fn change_terms(&mut self, hour: i64) {
        if let Some((_, cost)) = self.cost_back.take_if(|(due, _)| *due == hour) {
            (self.terms.cost, self.terms_changed) = (cost, true);
        }
        while let Some((_, change)) = self.changes.pop_if(|(due, _)| *due == hour) {
            self.terms_changed = true;
            match change {
                TermsChange::Add => self.terms.listings |= 1 << ADDED,
                TermsChange::Drop => self.terms.listings &= !(1 << DROPPED),
                TermsChange::Limits { floor, ceiling } => (self.terms.floor, self.terms.ceiling) = (floor, ceiling),
            }
        }
    }
}

impl Place {
    fn new(cast: &Cast, seat: Seat, added: i64, random: &mut Random) -> Self {
        let away_until = match seat {
            SEAT_ADDED => added,
            _ if seat != OWN && seat == cast.reserve() => NEVER,
            4.. if random.one_in(3) => random.between(2, 45) * 24 + random.below(24),
            _ => 0,
        };
        let landed = if seat == OWN { cast.usual } else { cast.rival(seat).usual };
        Self { landed, list: None, away_until, out_until: 0, back: None, fell: false, moved: -1, said: None }
    }
}

/// All changes of a product's terms, the first one last.
fn terms_changes(settings: &Settings, cast: &Cast, random: &mut Random) -> Vec<(i64, TermsChange)> {
    let mut changes = Vec::new();
    if random.one_in(3) {
        changes.push((random.between(4, 40) * 24 + 9, TermsChange::Add));
    }
    if random.one_in(4) {
        changes.push((random.between(6, 40) * 24 + 10, TermsChange::Drop));
    }
    for block in 0..=i64::from(settings.days) / 20 {
        if random.one_in(2) {
            let floor = cast.usual * random.between(80, 102) / 100;
            let ceiling = (cast.usual * random.between(98, 130) / 100).max(floor * 11 / 10);
            changes.push(((block * 20 + random.between(2, 19)) * 24 + 11, TermsChange::Limits { floor, ceiling }));
        }
    }
    changes.sort_by_key(|(hour, _)| -hour);
    changes
}
