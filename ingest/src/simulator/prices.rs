//! How prices move, and what is planted among them.

use super::cast::{Strategy, listing_of};
use super::incidents::{Incident, Rule};
use super::observation::{DAY, HOUR, OWN, Seat};
use super::product::{NEVER, Product, War};
use super::random::Random;

/// A part of `amount`, in basis points.
fn part(amount: i64, basis_points: i64) -> i64 {
    amount * basis_points / 10_000
}

impl Product {
    /// The lowest landed price of competitors but `seat` that can be had.
    pub(super) fn cheapest_but(&self, seat: Seat, hour: i64) -> Option<i64> {
        let others = (1..self.places.len()).filter(|other| *other != seat && self.is_available(*other, hour));
        others.map(|other| self.places[other].landed).min()
    }

    fn set_price(&mut self, seat: Seat, hour: i64, landed: i64) {
        let usual = if seat == OWN { 0 } else { self.cast.rival(seat).usual };
        let place = &mut self.places[seat];
        let least = if place.fell { place.landed * 965 / 1_000 } else { 0 };
        let landed = landed.max(usual * 6 / 10).max(least);
        if landed != place.landed {
            place.fell = landed * 100 < place.landed * 95;
            (place.landed, place.moved) = (landed, hour);
        }
    }

    /// What a seat does this hour.
    pub(super) fn move_price(&mut self, seat: Seat, hour: i64, random: &mut Random) {
        if seat == OWN {
            return self.move_own(hour, random);
        }
        let place = &mut self.places[seat];
        if hour <= place.away_until || hour < place.out_until || place.moved == hour {
            return;
        }
        if let Some((_, landed)) = place.back.take_if(|(due, _)| *due <= hour) {
            place.list = None;
            return self.set_price(seat, hour, landed);
        }
        match random.below(1_440) {
            0 | 1 => self.places[seat].out_until = hour + random.between(6, 72),
            2..10 if self.places[seat].back.is_none() => self.shock(seat, hour, random),
            10..30 if self.places[seat].back.is_none() => self.reprice(seat, hour, random),
            _ => {}
        }
    }

    /// A move of a size around what makes an alert, up or down.
    fn shock(&mut self, seat: Seat, hour: i64, random: &mut Random) {
        let size = if random.one_in(2) { random.around(500) } else { random.around(100) };
        let (landed, usual) = (self.places[seat].landed, self.cast.rival(seat).usual);
        let down = landed > usual * 8 / 10 && (landed > usual * 12 / 10 || random.one_in(2));
        self.set_price(seat, hour, landed + part(landed, if down { -size } else { size }));
    }

    fn reprice(&mut self, seat: Seat, hour: i64, random: &mut Random) {
        let rival = self.cast.rival(seat);
        let (landed, usual) = (self.places[seat].landed, rival.usual);
        let own = self.is_available(OWN, hour).then(|| self.places[OWN].landed);
        let cheapest = self.cheapest_but(seat, hour).into_iter().chain(own).min().unwrap_or(usual);
        let target = match rival.strategy {
            Strategy::Undercut if cheapest < usual * 82 / 100 => usual * random.between(98, 106) / 100,
            Strategy::Undercut if landed < cheapest => landed,
            Strategy::Undercut => cheapest - part(cheapest, random.between(10, 140)),
            Strategy::Follow => landed.midpoint(cheapest.max(usual * 85 / 100) * 103 / 100),
            Strategy::Wander => {
                let wandered = landed + part(landed, random.between(-300, 300));
                wandered + (usual - wandered) / 6
            }
            Strategy::Promote if random.one_in(4) => {
                let place = &mut self.places[seat];
                place.list = Some(landed - rival.shipping.unwrap_or_default());
                place.back = Some((hour + random.between(24, 96), landed));
                landed - part(landed, random.between(600, 2_000))
            }
            Strategy::Promote => usual + part(usual, random.between(-100, 100)),
        };
        if (target - landed).abs() * 400 > landed {
            self.set_price(seat, hour, target);
        }
    }

    /// Ours follows the cheapest on our own listing, within floor and ceiling.
    fn move_own(&mut self, hour: i64, random: &mut Random) {
        self.places[OWN].out_until = if self.demand.stock > 0 { 0 } else { NEVER };
        if hour < self.own_held_until {
            return;
        }
        let back = hour == self.own_held_until && hour > 0;
        if !back && !random.one_in(36) {
            return;
        }
        let rivals = (1..self.places.len()).filter(|seat| listing_of(*seat) == 0);
        let cheapest = rivals.filter(|seat| self.is_available(*seat, hour)).map(|seat| self.places[seat].landed).min();
        let target = match cheapest {
            Some(cheapest) if !back => cheapest - part(cheapest, random.between(-100, 100)),
            _ => self.cast.usual,
        };
        let target = target.min(self.cast.usual * 11 / 10).clamp(self.terms.floor, self.terms.ceiling);
        let landed = self.places[OWN].landed;
        let allowed = self.terms.floor..=self.terms.ceiling;
        if back || !allowed.contains(&landed) || (target - landed).abs() * 300 > landed {
            self.set_price(OWN, hour, target);
        }
        self.places[OWN].fell = false;
    }

    /// A competitor in the catalog who is there, has the goods and did not fall a moment ago.
    fn somebody(&self, hour: i64, random: &mut Random, suits: impl Fn(Seat) -> bool) -> Option<Seat> {
        let rivals = self.places.len() as i64 - 1;
        let first = random.below(rivals);
        let seats = (0..rivals).map(|step| 1 + ((first + step) % rivals) as Seat);
        seats.into_iter().find(|seat| {
            let place = &self.places[*seat];
            let listed = self.terms.has(listing_of(*seat));
            listed && self.is_available(*seat, hour - 1) && !place.fell && place.back.is_none() && suits(*seat)
        })
    }

    /// Plants an incident that begins this hour; `None` where there is nothing to plant it on.
    pub(super) fn plant(&mut self, rule: Rule, hour: i64, random: &mut Random) -> Option<Incident> {
        let from = hour * HOUR;
        let incident = |seat, until| Some(Incident { rule, seat, from, until });
        match rule {
            Rule::CompetitorPriceDrop => {
                let seat = self.somebody(hour, random, |_| true)?;
                let landed = self.places[seat].landed;
                self.set_price(seat, hour, landed - part(landed, random.around(500)));
                incident(Some(seat), from + HOUR)
            }
            Rule::PriceWar => {
                let until = self.begin_war(hour, random)?;
                incident(None, until)
            }
            Rule::CompetitorOutOfStock => {
                let seat = self.somebody(hour, random, |_| true)?;
                self.places[seat].out_until = hour + random.between(6, 72);
                incident(Some(seat), from + HOUR)
            }
            Rule::NewCompetitor => {
                let seat = self.cast.reserve();
                let unseen = self.places[seat].away_until == NEVER && self.terms.has(listing_of(seat));
                self.places[seat].away_until = if unseen { hour } else { return None };
                incident(Some(seat), from + HOUR)
            }
            Rule::OwnPriceBelowFloor | Rule::OwnPriceAboveCeiling => {
                let distance = random.between(-300, 800); // below zero: just inside
                let landed = match rule {
                    Rule::OwnPriceBelowFloor => self.terms.floor - part(self.terms.floor, distance),
                    _ => self.terms.ceiling + part(self.terms.ceiling, distance),
                };
                self.set_price(OWN, hour, landed);
                self.own_held_until = hour + random.between(5, 40);
                incident(None, from + HOUR)
            }
            Rule::BuyBoxLost => {
                let own = self.places[OWN].landed;
                let holds = self.holder == Some(OWN) && self.is_available(OWN, hour);
                let seat = self.somebody(hour, random, |seat| holds && listing_of(seat) == 0)?;
                self.set_price(seat, hour, own - part(own, random.between(20, 300)) - 1);
                self.own_held_until = self.own_held_until.max(hour + 2);
                incident(Some(seat), from + HOUR)
            }
            Rule::StockOutSoon => {
                self.demand.write_off(hour / 24, random).then_some(())?;
                incident(None, from + HOUR)
            }
            Rule::MarginLow => {
                self.cost_back = Some((hour + random.between(24, 80), self.cast.cost));
                self.terms.cost = part(self.places[OWN].landed, 10_000 - random.around(1_000));
                self.terms_changed = true;
                incident(None, from + DAY)
            }
            // Planted when their day begins.
            Rule::RankDrop | Rule::RatingDrop | Rule::DemandSpike | Rule::DemandDrop => None,
        }
    }

    /// Three or four competitors lower their prices, or just about, within a day, or just about; when it is over.
    fn begin_war(&mut self, hour: i64, random: &mut Random) -> Option<i64> {
        let mut seats: Vec<Seat> = Vec::new();
        for _ in 0..random.between(3, 4) {
            seats.extend(self.somebody(hour, random, |seat| !seats.contains(&seat)));
        }
        if seats.len() < 3 {
            return None;
        }
        let step = [0, 2, 5, 9, 11, 13][random.below(6) as usize];
        let until = (hour + step * seats.len() as i64 + 1) * HOUR;
        self.war = Some(War { seats, since: hour, step });
        Some(until)
    }

    /// The moves of a war that are due.
    pub(super) fn wage_war(&mut self, hour: i64, random: &mut Random) {
        let Some(war) = self.war.take() else { return };
        for (place, seat) in (0..).zip(&war.seats) {
            if war.since + place * war.step == hour && self.is_available(*seat, hour) {
                let size = if random.one_in(2) { random.between(80, 120) } else { random.between(105, 400) };
                let landed = self.places[*seat].landed;
                self.set_price(*seat, hour, landed - part(landed, size));
            }
        }
        let last = war.since + war.step * (war.seats.len() as i64 - 1);
        self.war = Some(war).filter(|_| hour < last);
    }
}
