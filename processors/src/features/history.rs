//! The past of the own offers and of the Buy Box, day by day.
//!
//! ```text
//!  heard ─▶ what was said, kept for the days of grace ──▶ days of grace: made again from it, whatever came late
//!                                                  └────▶ days before: as they were when their grace ended
//! ```

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Currency, Day, Timestamp};

use super::series::Series;
use crate::{GRACE_DAYS, OWN_OFFERS_PER_PRODUCT_MAX, WINDOW_DAYS};

/// What an own offer says that has a past.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Landed price, in millionths.
    pub(super) landed: Option<i64>,
    pub(super) currency: Option<Currency>,
    pub(super) can_be_had: bool,
    pub(super) holds_box: bool,
}

/// The past of an own offer; `None` is the moment at which it was taken back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Own {
    offer: OwnOffer,
    /// What is said of it holds until the source says otherwise.
    is_change: bool,
    asked: Series<Option<Asked>>,
    /// In millionths of a star of 5.
    rated: Series<Option<u32>>,
    ranked: Series<Option<i64>>,
}

/// Which own offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct OwnOffer {
    pub(super) listing: u64,
    pub(super) who: u64,
}

impl Own {
    /// Microseconds for which a statement stands, where an observation does for `active`.
    fn stands_for(&self, active: i64) -> i64 {
        if self.is_change { i64::MAX } else { active }
    }
}

/// What has a past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Heard {
    /// An observation of an own offer.
    Asked { offer: OwnOffer, at: Timestamp, is_change: bool, asked: Asked, rating: Option<u32>, rank: Option<i64> },
    /// The own offer is none any more.
    TakenBack { offer: OwnOffer, at: Timestamp },
    /// A competitor was said to hold the Buy Box.
    CompetitorWon { at: Timestamp, is_change: bool },
    /// The competitor that was said to hold it at `won` is none any more.
    CompetitorLeft { won: Timestamp, at: Timestamp },
}

/// One completed day, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lived {
    pub(super) day: i32,
    /// Own price times the microseconds for which it was asked.
    pub(super) price_sum: i128,
    /// Microseconds in which there was one.
    pub(super) price_micros: i64,
    /// The last own price of the day.
    pub(super) price_last: Option<i64>,
    /// Microseconds in which own offers stood, and none could be had.
    pub(super) away_micros: i64,
    /// Microseconds in which a competitor held the Buy Box.
    pub(super) box_lost_micros: i64,
    /// Microseconds in which it is known who held it.
    pub(super) box_known_micros: i64,
    /// Own rating at the end of the day.
    pub(super) rating: Option<u32>,
    /// Own sales rank at the end of the day.
    pub(super) rank: Option<i64>,
}

/// A competitor holds the Buy Box.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Won {
    /// It does until the source says otherwise.
    is_change: bool,
}

/// The past of a product.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    own: Vec<Own>,
    /// When a competitor was said to hold the Buy Box; `None` where it was taken back.
    wins: Series<Option<Won>>,
    /// The completed days of the window of which anything is known, in order.
    days: Vec<Lived>,
}

impl History {
    /// Takes what was heard.
    pub(super) fn hear(&mut self, heard: &Heard) {
        match *heard {
            Heard::Asked { offer, at, is_change, asked, rating, rank } => {
                let own = self.own_mut(offer);
                own.is_change = is_change;
                // What was taken back and comes again stands from then on, not from when it was observed.
                let at = match own.asked.last() {
                    Some((taken_back, None)) => at.max(*taken_back),
                    _ => at,
                };
                own.asked.put(at, Some(asked));
                if rating.is_some() {
                    own.rated.put(at, rating);
                }
                if rank.is_some() {
                    own.ranked.put(at, rank);
                }
            }
            Heard::TakenBack { offer, at } => {
                if let Some(own) = self.own.iter_mut().find(|own| own.offer == offer) {
                    own.asked.put(at, None);
                    own.rated.put(at, None);
                    own.ranked.put(at, None);
                }
            }
            Heard::CompetitorWon { at, is_change } => self.wins.put(at, Some(Won { is_change })),
            Heard::CompetitorLeft { won, at } => {
                if self.wins.last().is_some_and(|(last, held)| *last == won && held.is_some()) {
                    self.wins.put(at, None);
                }
            }
        }
    }

    fn own_mut(&mut self, offer: OwnOffer) -> &mut Own {
        let found = self.own.iter().position(|own| own.offer == offer);
        let at = found.unwrap_or_else(|| {
            if self.own.len() == OWN_OFFERS_PER_PRODUCT_MAX {
                let last = |at: &usize| self.own[*at].asked.last().map(|(moment, _)| *moment);
                let oldest = (0..self.own.len()).min_by_key(last).unwrap_or(0);
                self.own.remove(oldest);
            }
            self.own.push(Own { offer, ..Own::default() });
            self.own.len() - 1
        });
        &mut self.own[at]
    }

    /// Makes the days from `from` up to `today` again from what was said.
    pub(super) fn relive(&mut self, from: Day, today: Day, currency: Option<Currency>, active: i64) {
        let first = from.0.max(today.0.saturating_sub(WINDOW_DAYS));
        self.days.retain(|lived| lived.day < first);
        if self.own.is_empty() && self.wins.is_empty() {
            return;
        }
        let days = (first..today.0).map(|day| self.live(Day(day), currency, active));
        let days: Vec<_> = days.filter(|lived| *lived != Lived { day: lived.day, ..Lived::default() }).collect();
        self.days.extend(days);
    }

    /// Forgets what no window of `today` reaches.
    pub(super) fn prune(&mut self, today: Day, active: i64) {
        self.days.retain(|lived| lived.day >= today.0.saturating_sub(WINDOW_DAYS));
        let from = Day(today.0.saturating_sub(GRACE_DAYS)).start();
        for own in &mut self.own {
            let active = own.stands_for(active);
            own.asked.prune(from, active);
            own.rated.prune(from, active);
            own.ranked.prune(from, active);
        }
        let is_over = |own: &Own| own.asked.last().is_none_or(|(at, said)| said.is_none() && *at <= from);
        self.own.retain(|own| !is_over(own));
        let holds_on = matches!(self.wins.at(from), Some((_, Some(Won { is_change: true }))));
        self.wins.prune(from, if holds_on { i64::MAX } else { active });
    }

    /// Prices of before are in another currency than those from now on.
    pub(super) fn forget_prices(&mut self) {
        for lived in &mut self.days {
            (lived.price_sum, lived.price_micros, lived.price_last) = (0, 0, None);
        }
    }

    /// The completed days from `today` - `days` on, in order.
    pub(super) fn last_days(&self, today: Day, days: i32) -> impl Iterator<Item = &Lived> + Clone {
        self.days.iter().filter(move |lived| (today.0.saturating_sub(days)..today.0).contains(&lived.day))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.wins.is_empty() && self.days.is_empty()
    }

    /// A day, from what was said: between two moments at which anything was, nothing changes.
    fn live(&self, day: Day, currency: Option<Currency>, active: i64) -> Lived {
        let (start, end) = (day.start(), Day(day.0.saturating_add(1)).start());
        let mut moments = vec![start, end];
        self.own.iter().for_each(|own| own.asked.turns(start, end, own.stands_for(active), &mut moments));
        self.wins.turns(start, end, active, &mut moments);
        moments.sort_unstable();
        moments.dedup();
        let mut lived = Lived { day: day.0, ..Lived::default() };
        for stretch in moments.windows(2) {
            let (from, micros) = (stretch[0], stretch[1].micros_since(stretch[0]));
            self.live_stretch(from, micros, currency, active, &mut lived);
        }
        let last = end.plus_micros(-1);
        lived.rating = mean(self.last_per_listing(last, active, |own| &own.rated));
        lived.rank = self.last_per_listing(last, active, |own| &own.ranked).into_iter().min();
        lived
    }

    fn live_stretch(&self, from: Timestamp, micros: i64, currency: Option<Currency>, active: i64, lived: &mut Lived) {
        let standing = self.own.iter().filter_map(|own| match own.asked.at(from)? {
            (at, Some(asked)) if from.micros_since(*at) < own.stands_for(active) => Some((*at, asked)),
            _ => None,
        });
        let mut offered = standing.clone().filter(|(_, asked)| asked.can_be_had).peekable();
        if offered.peek().is_none() && standing.clone().next().is_some() {
            lived.away_micros += micros;
        }
        let prices = offered.filter(|(_, asked)| asked.currency == currency).filter_map(|(_, asked)| asked.landed);
        if let Some(price) = prices.min() {
            lived.price_sum += i128::from(price) * i128::from(micros);
            lived.price_micros += micros;
            lived.price_last = Some(price);
        }
        let ours = standing.filter(|(_, asked)| asked.holds_box).map(|(at, _)| at).max();
        let theirs = self
            .wins
            .at(from)
            .filter(|(at, held)| held.is_some_and(|won| won.is_change || from.micros_since(*at) < active));
        let theirs = theirs.map(|(at, _)| *at);
        if ours.is_some() || theirs.is_some() {
            lived.box_known_micros += micros;
            lived.box_lost_micros += if theirs > ours { micros } else { 0 };
        }
    }

    /// What was last said of each own listing at `moment`.
    fn last_per_listing<T: Copy + Ord>(
        &self,
        moment: Timestamp,
        active: i64,
        said: impl Fn(&Own) -> &Series<Option<T>>,
    ) -> Vec<T> {
        let standing = self.own.iter().filter_map(|own| match said(own).at(moment)? {
            (at, Some(value)) if moment.micros_since(*at) < own.stands_for(active) => {
                Some((own.offer.listing, (*at, *value)))
            }
            _ => None,
        });
        latest_per_listing(standing)
    }
}

/// Of each listing what was said last; of two that were said at one moment the larger.
pub(super) fn latest_per_listing<T: Copy + Ord>(said: impl Iterator<Item = (u64, (Timestamp, T))>) -> Vec<T> {
    let mut said: Vec<_> = said.collect();
    said.sort_unstable();
    let last = |at: usize| said.get(at + 1).is_none_or(|next| next.0 != said[at].0);
    (0..said.len()).filter(|at| last(*at)).map(|at| said[at].1.1).collect()
}

/// The mean of ratings in millionths, rounded down.
pub(super) fn mean(ratings: Vec<u32>) -> Option<u32> {
    let sum: u64 = ratings.iter().copied().map(u64::from).sum();
    sum.checked_div(ratings.len() as u64).map(|mean| mean as u32)
}
