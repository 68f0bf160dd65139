//! All products' observations in the order in which they come in.
//!
//! Time is cut into hours. Each product makes its observations hour by hour, noise gives them the hour in which they come
//! in, and an hour that is complete is sorted. The position is a count of records: to find it again, the hours before it are
//! made anew, but not sorted, and no event is built of them (a seventh of a microsecond a record).

use std::collections::VecDeque;

use super::config::Settings;
use super::noise::{DELAY_MAX, Item, deliver};
use super::observation::HOUR;
use super::product::{Happened, Product};

/// Records in order, from a position on.
pub(super) struct Feed {
    settings: Settings,
    products: Vec<Product>,
    /// The hour that is made next.
    hour: i64,
    /// What comes in from `hour` on, by hour.
    coming: VecDeque<Vec<Item>>,
    /// What comes in within the hour before, in order, and how much of it is taken.
    current: Vec<Item>,
    taken: usize,
    position: u64,
    happened: Happened,
}

impl Feed {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            products: (0..settings.products).map(|number| Product::new(settings, number)).collect(),
            hour: 0,
            coming: VecDeque::new(),
            current: Vec::new(),
            taken: 0,
            position: 0,
            happened: Happened::default(),
        }
    }

    /// How many records are before the next one.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How much of the market's time has gone by, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        (self.hour as f64 / self.settings.hours() as f64).min(1.0)
    }

    /// Goes to `position`, or to the end if there are fewer records.
    pub(super) fn seek(&mut self, position: u64) {
        if position < self.position {
            *self = Self::new(&self.settings);
        }
        while self.position < position {
            let left = (self.current.len() - self.taken) as u64;
            let step = left.min(position - self.position);
            (self.taken, self.position) = (self.taken + step as usize, self.position + step);
            if self.position < position {
                let wanted = position - self.position;
                if !self.pass_hour(wanted) {
                    return;
                }
            }
        }
    }

    /// Makes the next hour, and sorts it unless it has no more than `skipped` records; false where there is none.
    fn pass_hour(&mut self, skipped: u64) -> bool {
        if self.hour * HOUR > self.settings.hours() * HOUR + DELAY_MAX + HOUR {
            return false;
        }
        if self.hour < self.settings.hours() {
            for product in &mut self.products {
                product.hour(&self.settings, self.hour, &mut self.happened);
            }
        }
        self.happened.incidents.clear();
        for observation in self.happened.observations.drain(..) {
            deliver(&self.settings, observation, |item| {
                let ahead = (item.delivered / HOUR - self.hour) as usize;
                if self.coming.len() <= ahead {
                    self.coming.resize_with(ahead + 1, Vec::new);
                }
                self.coming[ahead].push(item);
            });
        }
        self.current.clear();
        self.current.append(&mut self.coming.pop_front().unwrap_or_default());
        if self.current.len() as u64 > skipped {
            // Stable: what comes in at the same moment keeps the order in which it was made.
            self.current.sort_by_key(|item| item.delivered);
        }
        (self.taken, self.hour) = (0, self.hour + 1);
        true
    }
}

impl Iterator for Feed {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while self.taken == self.current.len() {
            if !self.pass_hour(0) {
                return None;
            }
        }
        (self.taken, self.position) = (self.taken + 1, self.position + 1);
        Some(self.current[self.taken - 1])
    }
}
