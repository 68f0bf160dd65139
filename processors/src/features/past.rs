//! What of the past is kept in memory, and where the rest is: two rows, `history` and, behind it, a log of what was heard
//! since that was last written.
//!
//! ```text
//!  heard ─▶ log row, appended to
//!              │ a day turned, it was about a completed day, the log is full
//!              └─▶ history row + log ─▶ completed days made again ─▶ history row; the windows' figures
//! ```

use skuflow_schemas::{Currency, Day};

use super::history::{Heard, History, Lived};
use super::market::MILLION;
use super::stored::read_rating;
use crate::codec::{Damage, Reader, Writer};
use crate::{HEARD_BYTES_MAX, LINE_ROWS_PER_PRODUCT, Rows};

const HISTORY: u64 = LINE_ROWS_PER_PRODUCT;
const LOG: u64 = LINE_ROWS_PER_PRODUCT + 1;
/// Decimals of what logarithms give, so that all machines give the same.
const LOG_DECIMALS: f64 = 1e9;

/// Figures of windows that end with the last completed day; none where too little is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Past {
    /// Whether anything is known of the past.
    pub(super) is_known: bool,
    pub(super) price_avg_7d: Option<f64>,
    pub(super) price_avg_30d: Option<f64>,
    pub(super) volatility_7d: Option<f64>,
    pub(super) volatility_30d: Option<f64>,
    /// The highest rating at the end of a day, in millionths of a star of 5.
    pub(super) rating_max_7d: Option<u32>,
    /// The first sales rank at the end of a day.
    pub(super) rank_first_7d: Option<i64>,
    pub(super) buy_box_lost_30d: Option<f64>,
    /// Microseconds of each of the last days, the last first, in which own offers stood and none could be had.
    away_micros: [i64; 7],
}

/// The completed days that are to be made again.
pub(super) struct Again {
    /// The first of them.
    pub(super) from: Day,
    /// The day after the last of them.
    pub(super) today: Day,
    /// In which prices are compared.
    pub(super) currency: Option<Currency>,
    /// Microseconds for which an observation stands.
    pub(super) active: i64,
}

impl Past {
    pub(super) fn write(&self, into: &mut Writer<'_>) {
        into.number(self.is_known.into());
        let Self { price_avg_7d, price_avg_30d, volatility_7d, volatility_30d, buy_box_lost_30d, .. } = *self;
        for figure in [price_avg_7d, price_avg_30d, volatility_7d, volatility_30d, buy_box_lost_30d] {
            into.figure(figure);
        }
        into.amount(self.rating_max_7d.map(i64::from));
        into.amount(self.rank_first_7d);
        self.away_micros.iter().for_each(|micros| into.amount(Some(*micros)));
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let mut past = Self {
            is_known: from.number()? != 0,
            price_avg_7d: from.figure()?,
            price_avg_30d: from.figure()?,
            volatility_7d: from.figure()?,
            volatility_30d: from.figure()?,
            buy_box_lost_30d: from.figure()?,
            rating_max_7d: read_rating(from.amount()?)?,
            rank_first_7d: from.amount()?,
            away_micros: [0; 7],
        };
        for micros in &mut past.away_micros {
            *micros = from.amount()?.unwrap_or_default();
        }
        Ok(past)
    }

    /// Notes what was heard. Completed days that it is about are not made again by that.
    pub(super) fn hear(&mut self, heard: &Heard, rows: &mut dyn Rows) {
        self.is_known = true;
        let log = rows.edit(LOG);
        *log = postcard::to_extend(heard, std::mem::take(log)).expect("plain data");
        if log.len() > HEARD_BYTES_MAX {
            let history = read(rows);
            write(&history, rows);
        }
    }

    /// Makes completed days again from what was heard, and forgets what no window reaches.
    pub(super) fn relive(&mut self, again: &Again, rows: &mut dyn Rows) {
        self.change(again.today, rows, |history| {
            history.relive(again.from, again.today, again.currency, again.active);
            history.prune(again.today, again.active);
        });
    }

    /// Prices of before `today` are in another currency than those from now on.
    pub(super) fn forget_prices(&mut self, today: Day, rows: &mut dyn Rows) {
        self.change(today, rows, History::forget_prices);
    }

    fn change(&mut self, today: Day, rows: &mut dyn Rows, change: impl FnOnce(&mut History)) {
        if !self.is_known {
            return;
        }
        let mut history = read(rows);
        change(&mut history);
        *self = Self::of(&history, today);
        if self.is_known {
            write(&history, rows);
        } else {
            rows.remove(HISTORY);
            rows.remove(LOG);
        }
    }

    /// The figures of `history` on `today`.
    fn of(history: &History, today: Day) -> Self {
        let days = |days| history.last_days(today, days);
        let mut away_micros = [0; 7];
        for lived in days(7) {
            away_micros[(today.0 - 1 - lived.day) as usize] = lived.away_micros;
        }
        Self {
            is_known: !history.is_empty(),
            price_avg_7d: price_mean(days(7)),
            price_avg_30d: price_mean(days(30)),
            volatility_7d: volatility(days(7)),
            volatility_30d: volatility(days(30)),
            rating_max_7d: days(7).filter_map(|lived| lived.rating).max(),
            rank_first_7d: days(7).find_map(|lived| lived.rank),
            buy_box_lost_30d: buy_box_lost(days(30)),
            away_micros,
        }
    }

    /// Microseconds of the last `days` completed days, seven at most, in which own offers stood and none could be had.
    pub(super) fn away_micros(&self, days: i32) -> i64 {
        self.away_micros.iter().take(usize::try_from(days).unwrap_or(0)).sum()
    }
}

fn price_mean<'a>(lived: impl Iterator<Item = &'a Lived>) -> Option<f64> {
    let (sum, micros) =
        lived.fold((0_i128, 0_i64), |(sum, micros), lived| (sum + lived.price_sum, micros + lived.price_micros));
    (micros > 0).then(|| sum as f64 / micros as f64 / MILLION)
}

/// The sample's standard deviation of log changes.
fn volatility<'a>(lived: impl Iterator<Item = &'a Lived>) -> Option<f64> {
    let prices = lived.filter_map(|lived| lived.price_last).filter(|price| *price > 0);
    let logs: Vec<f64> = prices.map(|price| (price as f64).ln()).collect();
    if logs.len() < 3 {
        return None;
    }
    let changes: Vec<f64> = logs.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = changes.iter().sum::<f64>() / changes.len() as f64;
    let squares: f64 = changes.iter().map(|change| (change - mean) * (change - mean)).sum();
    Some(round_log((squares / (changes.len() - 1) as f64).sqrt()))
}

fn buy_box_lost<'a>(lived: impl Iterator<Item = &'a Lived>) -> Option<f64> {
    let (lost, known) = lived
        .fold((0_i64, 0_i64), |(lost, known), lived| (lost + lived.box_lost_micros, known + lived.box_known_micros));
    (known > 0).then(|| lost as f64 / known as f64)
}

/// Rounds what a logarithm went into.
pub(super) fn round_log(value: f64) -> f64 {
    (value * LOG_DECIMALS).round() / LOG_DECIMALS
}

/// The history with what was heard since.
fn read(rows: &mut dyn Rows) -> History {
    const OURS: &str = "written by this step; its encoding never changes";
    let mut history: History =
        rows.get(HISTORY).map_or_else(History::default, |bytes| postcard::from_bytes(&bytes).expect(OURS));
    let log = rows.get(LOG).unwrap_or_default();
    let mut rest = log.as_slice();
    while !rest.is_empty() {
        let heard;
        (heard, rest) = postcard::take_from_bytes(rest).expect(OURS);
        history.hear(&heard);
    }
    history
}

fn write(history: &History, rows: &mut dyn Rows) {
    let row = rows.put(HISTORY);
    *row = postcard::to_extend(history, std::mem::take(row)).expect("plain data");
    rows.remove(LOG);
}
