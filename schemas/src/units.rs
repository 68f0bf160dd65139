//! Durations and sizes as people write them in a config: always with a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a quantity could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No number in front.
    #[error("`{0}` does not start with a whole number; write it like {1}")]
    Number(String, &'static str),
    /// A number without a unit, or with one that is not known.
    #[error("`{text}` needs one of the units {units}; write it like {example}")]
    Unit {
        /// What was written.
        text: String,
        /// The units that are known.
        units: &'static str,
        /// A correct value.
        example: &'static str,
    },
    /// More than fits.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

const SPAN_UNITS: &[(&str, u64)] =
    &[("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
const SIZE_UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A length of time, written `100ms`, `30s`, `5m`, `12h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    micros: i64,
}

impl Span {
    /// A span of whole milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self { micros: millis * 1_000 }
    }

    /// A span of whole days.
    pub const fn from_days(days: i64) -> Self {
        Self { micros: days * 86_400_000_000 }
    }

    /// The span in microseconds.
    pub const fn micros(self) -> i64 {
        self.micros
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.micros.unsigned_abs())
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let micros = quantity(text, SPAN_UNITS, "ms, s, m, h, d", "\"100ms\" or \"7d\"")?;
        Ok(Self { micros: i64::try_from(micros).map_err(|_| UnitError::TooLarge(text.into()))? })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self.micros.unsigned_abs(), SPAN_UNITS, f)
    }
}

/// A number of bytes, written `512B`, `64KiB`, `64MiB` or `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        quantity(text, SIZE_UNITS, "B, KiB, MiB, GiB, TiB", "\"64MiB\"").map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self.0, SIZE_UNITS, f)
    }
}

fn quantity(text: &str, units: &[(&str, u64)], names: &'static str, example: &'static str) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::Number(text.into(), example));
    }
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge(text.into()))?;
    let unit = unit.trim_start();
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or(UnitError::Unit {
        text: text.into(),
        units: names,
        example,
    })?;
    number.checked_mul(factor).ok_or_else(|| UnitError::TooLarge(text.into()))
}

fn display(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (name, factor) =
        units.iter().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor)).unwrap_or(&units[0]);
    write!(f, "{}{name}", value / factor)
}

macro_rules! text_serde {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
text_serde!(Span, ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_the_largest_whole_unit() {
        assert_eq!("7d".parse(), Ok(Span::from_days(7)));
        assert_eq!("90s".parse::<Span>().expect("valid").to_string(), "90s");
        assert_eq!("64 MiB".parse(), Ok(ByteSize(64 << 20)));
        assert_eq!(ByteSize(1536).to_string(), "1536B");
    }

    #[test]
    fn a_missing_or_wrong_unit_names_the_known_ones() {
        let error = "64MB".parse::<ByteSize>().expect_err("MB is ambiguous");
        assert!(error.to_string().contains("B, KiB, MiB"), "{error}");
        assert!("7".parse::<Span>().is_err() && "d".parse::<Span>().is_err());
        assert!("99999999999999d".parse::<Span>().is_err());
    }
}
