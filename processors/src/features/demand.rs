//! Units sold and returned, by completed day.

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Day, Sale, SaleStatus, Timestamp};

use crate::codec::{Damage, Reader, Writer};
use crate::dedup::Fnv;
use crate::{GRACE_DAYS, LINE_ROWS_PER_PRODUCT, LINES_PER_ROW_MAX, Rows, UNITS_MAX, WINDOW_DAYS};

const _: () = assert!(LINE_ROWS_PER_PRODUCT == u64::BITS as u64, "one bit each");

/// What was sold of a product.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// The first day on which anything was ever sold.
    pub(super) first: Option<Day>,
    /// Days with order lines, in no order.
    days: Vec<Sold>,
    /// The rows that hold order lines, a bit each.
    rows: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sold {
    day: Day,
    units: i64,
    returned: i64,
}

/// An order line, as it was last said; it counts on the day it was first said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(with = "postcard::fixint::le")]
    id: u64,
    first_at: Timestamp,
    last_at: Timestamp,
    units: i64,
    returned: i64,
}

impl Demand {
    pub(super) fn write(&self, into: &mut Writer<'_>) {
        into.day(self.first);
        into.number(self.days.len() as u64);
        let mut before = 0;
        for sold in &self.days {
            into.signed(i64::from(sold.day.0) - before);
            into.signed(sold.units);
            into.signed(sold.returned);
            before = sold.day.0.into();
        }
        into.number(self.rows);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let first = from.day()?;
        let days = from.list(|from, before: &[Sold]| {
            let before = before.last().map_or(0, |before| i64::from(before.day.0));
            let day = before.checked_add(from.signed()?).and_then(|day| day.try_into().ok());
            let day = Day(day.ok_or("a day that there is not")?);
            Ok(Sold { day, units: from.signed()?, returned: from.signed()? })
        })?;
        Ok(Self { first, days, rows: from.number()? })
    }

    /// Takes an order line, or a later or earlier word on one. Lines are known for as long as days are; what is said of one
    /// later than that is a line of its own.
    pub(super) fn hear(&mut self, sale: &Sale, today: Day, rows: &mut dyn Rows) {
        let oldest = Day(today.0.saturating_sub(WINDOW_DAYS + GRACE_DAYS));
        let said = line(sale);
        if said.units > 0 {
            let day = said.first_at.day();
            self.first = Some(self.first.map_or(day, |first| first.min(day)));
        }
        let row = said.id % LINE_ROWS_PER_PRODUCT;
        let stored = if self.rows & 1 << row == 0 { None } else { rows.get(row) };
        let mut lines: Vec<Line> = stored.map_or_else(Vec::new, |bytes| {
            postcard::from_bytes(&bytes).expect("written by this step; its encoding never changes")
        });
        lines.retain(|line| line.first_at.day() >= oldest);
        let known = lines.iter().position(|line| line.id == said.id).map(|at| lines.remove(at));
        let now = known.map_or(said, |known| merge(known, said));
        if let Some(known) = known {
            self.add(&known, -1, oldest);
        }
        self.add(&now, 1, oldest);
        if lines.len() == LINES_PER_ROW_MAX {
            lines.remove(0);
        }
        lines.push(now);
        self.rows |= 1 << row;
        let buffer = rows.put(row);
        *buffer = postcard::to_extend(&lines, std::mem::take(buffer)).expect("order lines are plain data");
    }

    fn add(&mut self, line: &Line, sign: i64, oldest: Day) {
        let day = line.first_at.day();
        if day < oldest {
            return;
        }
        let at = self.days.iter().position(|sold| sold.day == day).unwrap_or_else(|| {
            self.days.push(Sold { day, ..Sold::default() });
            self.days.len() - 1
        });
        let sold = &mut self.days[at];
        sold.units = sold.units.saturating_add(sign * line.units);
        sold.returned = sold.returned.saturating_add(sign * line.returned);
    }

    /// Forgets what no window of `today` reaches.
    pub(super) fn prune(&mut self, today: Day, rows: &mut dyn Rows) {
        self.days.retain(|sold| sold.day.0 >= today.0.saturating_sub(WINDOW_DAYS + GRACE_DAYS));
        if self.days.is_empty() {
            (0..LINE_ROWS_PER_PRODUCT).filter(|row| self.rows & 1 << row != 0).for_each(|row| rows.remove(row));
            self.rows = 0;
        }
    }

    /// Units sold on the days of `days` before `today`: 1 is the last completed day.
    pub(super) fn units(&self, today: Day, days: std::ops::RangeInclusive<i32>) -> i64 {
        self.sum(today, days, |sold| sold.units)
    }

    /// Units returned on these days.
    pub(super) fn returned(&self, today: Day, days: std::ops::RangeInclusive<i32>) -> i64 {
        self.sum(today, days, |sold| sold.returned)
    }

    fn sum(&self, today: Day, days: std::ops::RangeInclusive<i32>, of: impl Fn(&Sold) -> i64) -> i64 {
        let within = self.days.iter().filter(|sold| days.contains(&today.0.saturating_sub(sold.day.0)));
        within.map(of).fold(0, i64::saturating_add)
    }

    /// Completed days since the first sale, that day included.
    pub(super) fn days_since_first(&self, today: Day) -> i32 {
        self.first.map_or(0, |first| today.0.saturating_sub(first.0).max(0))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.days.capacity() * size_of::<Sold>()
    }
}

/// A line in two words: the later one counts.
fn merge(known: Line, said: Line) -> Line {
    let last = if said.last_at >= known.last_at { said } else { known };
    Line { first_at: known.first_at.min(said.first_at), ..last }
}

/// The order line that is said.
fn line(sale: &Sale) -> Line {
    let mut id = Fnv::new(2);
    for part in [&sale.envelope.source, &sale.order_id, &sale.line_id] {
        id.text(Some(part));
    }
    let most = i64::try_from(UNITS_MAX).unwrap_or(i64::MAX);
    let (units, at) = (sale.units.clamp(-most, most), sale.envelope.observed_at);
    let (units, returned) = match sale.status {
        SaleStatus::Cancelled => (0, 0),
        _ if units < 0 => (0, -units),
        SaleStatus::Returned => (units, units),
        _ => (units, 0),
    };
    Line { id: id.finish(), first_at: at, last_at: at, units, returned }
}
