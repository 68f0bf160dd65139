//! Event time: microseconds UTC, and calendar days of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// An instant in microseconds since 1970-01-01T00:00:00Z.
///
/// Avro: `long` with `timestamp-micros`. Text: RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant there is: before every record.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant there is: after every record.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds after the epoch, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The UTC day this instant falls on.
    pub const fn day(self) -> Day {
        Day(self.0.div_euclid(MICROS_PER_DAY) as i32)
    }

    /// The start of the UTC hour this instant falls in; [`Self::MIN`] in the first, which has none.
    #[must_use]
    pub const fn hour(self) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(3600 * MICROS_PER_SECOND)))
    }

    /// This instant moved by `micros` microseconds (negative = earlier), saturating.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this instant, saturating.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

/// A calendar day in UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i32);

impl Day {
    /// The first instant of the day, saturating.
    pub const fn start(self) -> Timestamp {
        Timestamp((self.0 as i64).saturating_mul(MICROS_PER_DAY))
    }
}

/// A calendar day in a marketplace's own time zone, as sellers' books have it.
///
/// Avro: `int` with `date` (days since 1970-01-01). Text: `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BusinessDate(pub i32);

impl fmt::Display for BusinessDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date =
            jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(self.0.clamp(-7_000_000, 7_000_000)));
        match date {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

impl FromStr for BusinessDate {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("day ").and_then(|days| days.parse().ok()) {
            Some(days) => Ok(Self(days)),
            None => text.parse().map(|date: jiff::civil::Date| date.into()),
        }
    }
}

impl From<jiff::civil::Date> for BusinessDate {
    fn from(date: jiff::civil::Date) -> Self {
        let days = jiff::civil::date(1970, 1, 1).until(date).map_or(0, |span| span.get_days());
        Self(days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_hours_round_down_before_the_epoch_too() {
        let before = Timestamp::from_micros(-1);
        assert_eq!(before.day(), Day(-1));
        assert_eq!(before.hour(), Timestamp::from_micros(-3_600_000_000));
        assert_eq!(before.millis(), -1);
        assert_eq!(Day(-1).start().plus_micros(MICROS_PER_DAY), Day(0).start());
    }

    #[test]
    fn the_ends_of_time_are_instants_like_others() {
        for (end, day) in [(Timestamp::MIN, i32::MIN), (Timestamp::MAX, i32::MAX)] {
            assert!((end.hour() <= end) && (end.day().start().micros_since(end).abs() < MICROS_PER_DAY), "{end}");
            assert_eq!(Day(day).start(), end);
        }
        assert_eq!(Timestamp::MIN.hour(), Timestamp::MIN);
        assert!(Timestamp::MAX.micros_since(Timestamp::MAX.hour()) < 3600 * MICROS_PER_SECOND);
    }

    #[test]
    fn text_round_trips() {
        let text = "2010-12-01T08:26:00.000001Z";
        let instant: Timestamp = text.parse().expect("valid");
        assert_eq!(instant.to_string(), text);
        assert_eq!(BusinessDate::from(jiff::civil::date(2010, 12, 1)).to_string(), "2010-12-01");
        assert_eq!(BusinessDate(-1).to_string(), "1969-12-31");
    }
}
