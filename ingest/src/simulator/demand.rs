//! What customers buy of a product, and what is left of it.

use super::incidents::Rule;
use super::observation::{Fact, HOUR, MINUTE, OWN, Sold};
use super::product::{Happened, Product};
use super::random::Random;

/// First hour of a day in which the shop sells, and the one behind the last.
const OPEN: std::ops::Range<i64> = 6..21;
/// How weekdays differ.
const WEEKDAY: [f64; 7] = [1.0, 0.97, 0.96, 1.0, 1.02, 1.04, 1.01];
/// Units of an order line on average.
const UNITS_OF_LINE: f64 = 1.2;
const DAYS: usize = 28;

/// Sales and stock between two hours.
pub(super) struct Demand {
    pub(super) stock: i64,
    usual: f64,
    /// Units of the last 28 days, by day modulo 28.
    sold: [i64; DAYS],
    /// The first day with a sale.
    first: Option<i64>,
    today: i64,
    /// Units that are to be sold today, where that is planted.
    aim: Option<i64>,
    /// Of how many days the stock is when goods are ordered.
    order_below: i64,
    /// Goods on their way: when they arrive, and how many.
    ordered: Option<(i64, i64)>,
    /// The last count.
    counted: Option<i64>,
    /// Whether it is to be counted this hour in any case.
    pub(super) count_now: bool,
}

impl Demand {
    pub(super) fn new(usual: f64, random: &mut Random) -> Self {
        Self {
            stock: (usual * 25.0) as i64 + random.between(5, 100),
            usual,
            sold: [0; DAYS],
            first: None,
            today: 0,
            aim: None,
            order_below: 8,
            ordered: None,
            counted: None,
            count_now: false,
        }
    }

    /// Closes the books of the day before `day`.
    pub(super) fn begin_day(&mut self, day: i64) {
        if day > 0 {
            self.sold[(day - 1) as usize % DAYS] = self.today;
            self.first = self.first.or((self.today > 0).then_some(day - 1));
        }
        (self.today, self.aim) = (0, None);
    }

    /// Units of the last `days` completed days before `day`, and of how many days that is.
    fn before(&self, day: i64, days: i64) -> (i64, i64) {
        let from = self.first.unwrap_or(day).max(day - days);
        ((from..day).map(|day| self.sold[day as usize % DAYS]).sum(), day - from)
    }

    /// Sets what is to be sold today, around what makes an alert; false where there is too little to compare it to.
    pub(super) fn aim(&mut self, rule: Rule, day: i64, random: &mut Random) -> bool {
        let (sold, days) = self.before(day, DAYS as i64);
        if days < 14 || sold < 2 * days {
            return false;
        }
        let permille = match rule {
            Rule::DemandSpike => 1_000 + random.around(500),
            _ => (1_000 - random.around(300)).max(0),
        };
        let aim = sold * permille / (1_000 * days);
        if self.stock < 2 * aim {
            (self.stock, self.count_now) = (self.stock + 3 * aim, true);
        }
        self.aim = Some(aim);
        true
    }

    /// Loses stock, to about so much as makes an alert; false where there is not so much, or nothing was sold.
    pub(super) fn write_off(&mut self, day: i64, random: &mut Random) -> bool {
        let (sold, days) = self.before(day, 7);
        let left = sold * random.around(70) / (10 * days.max(1));
        if left == 0 || left >= self.stock {
            return false;
        }
        (self.stock, self.count_now, self.ordered) = (left, true, None);
        true
    }

    /// Orders goods and takes in what arrives; true in hours in which stock is counted.
    pub(super) fn restock(&mut self, hour: i64, random: &mut Random) -> bool {
        let (sold, days) = self.before(hour / 24, 7);
        let daily = if days == 0 { self.usual as i64 } else { sold / days }.max(1);
        if let Some((_, units)) = self.ordered.take_if(|(due, _)| *due <= hour) {
            (self.stock, self.count_now) = (self.stock + units, true);
        }
        if self.ordered.is_none() && self.stock < daily * self.order_below {
            self.ordered = Some((hour + random.between(6, 60), daily * random.between(2, 12)));
            self.order_below = random.between(6, 9);
        }
        if self.stock * 2 < daily {
            (self.stock, self.count_now) = (self.stock + daily * 15, true); // express, so that we are hardly ever out
        }
        std::mem::take(&mut self.count_now) || hour % 6 == 5
    }

    /// Counts the stock; whether it is another than at the last count.
    pub(super) fn count(&mut self) -> bool {
        self.counted.replace(self.stock) != Some(self.stock)
    }

    /// Units of this hour's order lines.
    fn lines(&self, of_day: i64, mean: f64, random: &mut Random) -> Vec<i64> {
        if let Some(aim) = self.aim {
            let (left, hours) = (aim - self.today, OPEN.end - of_day);
            let units = (left + random.below(hours)) / hours;
            return vec![1; units.clamp(0, left.max(0)) as usize];
        }
        let lines = random.poisson(mean / (OPEN.end - OPEN.start) as f64 / UNITS_OF_LINE);
        let mut units = |_| match random.below(20) {
            0 => 3,
            1 | 2 => 2,
            _ => 1,
        };
        (0..lines).map(&mut units).collect()
    }
}

impl Product {
    /// Sells what is asked for this hour: more where we are cheap and hold the Buy Box.
    pub(super) fn sell(&mut self, hour: i64, random: &mut Random, out: &mut Happened) {
        let (day, of_day) = (hour / 24, hour % 24);
        if !OPEN.contains(&of_day) || !self.is_available(OWN, hour) {
            return;
        }
        let price = self.places[OWN].landed;
        let cheapest = self.cheapest_but(OWN, hour).unwrap_or(price);
        let ratio = (cheapest as f64 / price as f64).clamp(0.85, 1.15);
        let favour = if self.holder == Some(OWN) { 1.02 } else { 0.95 };
        let mean = self.demand.usual * WEEKDAY[day as usize % 7] * ratio * ratio * favour;
        let mut lines = self.demand.lines(of_day, mean, random);
        for units in &mut lines {
            *units = (*units).min(self.demand.stock);
            self.demand.stock -= *units;
            self.demand.today += *units;
        }
        if random.one_in(60) {
            lines.push(-1);
        }
        for (number, units) in (0..).zip(lines).filter(|(_, units)| *units != 0) {
            let at = hour * HOUR + 10 * MINUTE + random.below(45 * MINUTE);
            self.observe(at, Fact::Sale(Sold { number, units, price }), true, out);
        }
    }
}
