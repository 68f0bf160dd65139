//! Money in minor units, decoded from the source's own text and never through a float.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::MONEY_EXPONENT_MAX;

/// An ISO 4217 currency code, or at least three upper-case letters that claim to be one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads a three-letter code; lower case is folded.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] where it is not three ASCII letters. Symbols are ambiguous and never guessed.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        Self::from_bytes(text.trim().as_bytes()).ok_or_else(|| MoneyError::Currency(text.into()))
    }

    /// As [`Self::parse`], of exactly three bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let letters: [u8; 3] = bytes.try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The code, as bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three ASCII letters")
    }

    /// Decimals of the minor unit by ISO 4217; `None` for a code that the standard does not list.
    pub fn exponent(&self) -> Option<u8> {
        // The two that make up nearly all input; the crate's table is a linear search over 180 codes.
        if matches!(&self.0, b"EUR" | b"USD" | b"GBP") {
            return Some(2);
        }
        let currency = iso_currency::Currency::from_code(self.as_str())?;
        Some(currency.exponent().map_or(0, |digits| digits as u8))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Code;
        impl serde::de::Visitor<'_> for Code {
            type Value = Currency;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a three-letter currency code")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Currency, E> {
                Currency::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Code)
    }
}

/// An amount: `minor` × 10^-`exponent` of `currency`. The exponent is the larger of ISO 4217's and the source's decimals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// The amount in units of 10^-`exponent`.
    pub minor: i64,
    /// In which currency.
    pub currency: Currency,
    /// Decimals of `minor`, at most 6.
    pub exponent: u8,
}

/// Why an amount could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// No three-letter code.
    #[error("`{0}` is not a three-letter ISO 4217 currency code")]
    Currency(String),
    /// Not a plain decimal number.
    #[error("`{0}` is not a decimal number with `{1}` as decimal separator")]
    Number(String, char),
    /// More decimals than are kept.
    #[error("`{0}` has more than {max} decimals", max = MONEY_EXPONENT_MAX)]
    Decimals(String),
    /// Beyond 64 bits of minor units.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

impl Money {
    /// Reads a decimal number as people write it: optional sign, digits, one `decimal` separator. The other of `.` and
    /// `,`, a space or an apostrophe may group thousands, in groups of three only.
    ///
    /// # Errors
    /// See [`MoneyError`]; nothing is rounded and nothing guessed.
    pub fn parse(text: &str, decimal: char, currency: Currency) -> Result<Self, MoneyError> {
        let (digits, decimals) = parse_decimal(text, decimal)?;
        let exponent = currency.exponent().unwrap_or(0).max(decimals);
        let scale = 10_i64.pow(u32::from(exponent - decimals));
        let minor = digits.checked_mul(scale).ok_or_else(|| MoneyError::TooLarge(text.into()))?;
        Ok(Self { minor, currency, exponent })
    }

    /// The amount in units of 10^-6, the scale in which amounts of unlike exponents are compared.
    pub fn micros(&self) -> i128 {
        const SCALE: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
        const _: () = assert!(SCALE.len() == MONEY_EXPONENT_MAX as usize + 1);
        i128::from(self.minor) * i128::from(SCALE[usize::from(self.exponent.min(MONEY_EXPONENT_MAX))])
    }

    /// The sum of two amounts of one currency; `None` for unlike currencies or beyond 64 bits.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        let exponent = self.exponent.max(other.exponent);
        let scaled = |money: &Self| money.minor.checked_mul(10_i64.checked_pow(u32::from(exponent - money.exponent))?);
        Some(Self { minor: scaled(self)?.checked_add(scaled(other)?)?, currency: self.currency, exponent })
    }
}

/// Reads a decimal number as (digits without the separator, count of decimals).
fn parse_decimal(text: &str, decimal: char) -> Result<(i64, u8), MoneyError> {
    let bad = || MoneyError::Number(text.into(), decimal);
    let trimmed = text.trim();
    let (negative, unsigned) = match trimmed.strip_prefix(['-', '+']) {
        Some(rest) => (trimmed.starts_with('-'), rest),
        None => (false, trimmed),
    };
    let (whole, fraction) = match unsigned.split_once(decimal) {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(bad()),
        None => (unsigned, ""),
    };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > usize::from(MONEY_EXPONENT_MAX) {
        return Err(MoneyError::Decimals(text.into()));
    }
    let mut digits: i64 = 0;
    let mut push = |byte: u8| {
        digits = digits.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?; // negative: i64::MIN has no positive twin
        Some(())
    };
    for byte in ungrouped(whole, decimal).ok_or_else(bad)?.bytes().chain(fraction.bytes()) {
        push(byte).ok_or_else(|| MoneyError::TooLarge(text.into()))?;
    }
    let digits = if negative { Some(digits) } else { digits.checked_neg() };
    Ok((digits.ok_or_else(|| MoneyError::TooLarge(text.into()))?, fraction.len() as u8))
}

/// The digits of a whole number without thousands separators; `None` where it is none or is grouped oddly.
fn ungrouped(whole: &str, decimal: char) -> Option<std::borrow::Cow<'_, str>> {
    if !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(whole.into());
    }
    let separator = whole.chars().find(|c| !c.is_ascii_digit())?;
    let grouping = matches!(separator, '.' | ',' | ' ' | '\'' | '\u{a0}' | '\u{202f}') && separator != decimal;
    let groups: Vec<&str> = whole.split(separator).collect();
    let digits = |group: &&str| group.bytes().all(|byte| byte.is_ascii_digit());
    let sized = matches!(groups[0].len(), 1..=3) && groups[1..].iter().all(|group| group.len() == 3);
    (grouping && sized && groups.iter().all(digits)).then(|| groups.concat().into())
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(scale) = 10_u64.checked_pow(u32::from(self.exponent)) else {
            return write!(f, "{}e-{} {}", self.minor, self.exponent, self.currency.as_str());
        };
        let amount = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        write!(f, "{sign}{}", amount / scale)?;
        if self.exponent > 0 {
            write!(f, ".{:0width$}", amount % scale, width = usize::from(self.exponent))?;
        }
        write!(f, " {}", self.currency.as_str())
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, decimal: char, code: &str) -> String {
        let currency = Currency::parse(code).expect("three letters");
        match Money::parse(text, decimal, currency) {
            Ok(money) => money.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn keeps_the_larger_of_both_exponents() {
        assert_eq!(read("2.1", '.', "GBP"), "2.10 GBP");
        assert_eq!(read("0.001", '.', "GBP"), "0.001 GBP");
        assert_eq!(read("1500", '.', "JPY"), "1500 JPY");
        assert_eq!(read("-11062.06", '.', "gbp"), "-11062.06 GBP");
        assert_eq!(read("1.234567", '.', "EUR"), "1.234567 EUR");
        assert_eq!(read("2.5500000000", '.', "EUR"), "2.55 EUR");
    }

    #[test]
    fn grouping_is_of_three_and_never_the_decimal_separator() {
        assert_eq!(read("1.234,56", ',', "EUR"), "1234.56 EUR");
        assert_eq!(read("1 234 567,8", ',', "EUR"), "1234567.80 EUR");
        assert_eq!(read("1'234.5", '.', "CHF"), "1234.50 CHF");
        for (text, decimal) in
            [("2,55", '.'), ("1,23,456.0", '.'), ("1.2.3", '.'), ("", '.'), ("-", '.'), ("1e3", '.'), ("5.", '.')]
        {
            assert!(read(text, decimal, "EUR").starts_with("error"), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_would_have_to_round() {
        assert!(read("0.0000001", '.', "EUR").contains("more than 6 decimals"));
        assert!(read("92233720368547758.08", '.', "EUR").contains("too large"));
        assert_eq!(read("-92233720368547758.08", '.', "EUR"), "-92233720368547758.08 EUR");
        assert!(Currency::parse("€").is_err() && Currency::parse("EURO").is_err());
    }

    #[test]
    fn sums_scale_to_the_finer_amount() {
        let eur = Currency::parse("EUR").expect("valid");
        let a = Money::parse("1.5", '.', eur).expect("valid");
        let b = Money::parse("0.001", '.', eur).expect("valid");
        assert_eq!(a.plus(&b).map(|sum| sum.to_string()).as_deref(), Some("1.501 EUR"));
        assert_eq!(a.plus(&Money { currency: Currency::parse("USD").expect("valid"), ..b }), None);
    }
}
