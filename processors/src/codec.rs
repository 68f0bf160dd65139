//! How states are stored: flat, field by field, without names or types, and short.
//!
//! Much of a state is like what stands before it: so a time is stored as the difference to the time before, in the largest
//! unit that gives it exactly, an amount without the zeros at its end, and money without the unit that it shares.
//!
//! What is read is what was written, or an error: no bytes make a reader panic, or allocate more than a state of their
//! length can hold.

use skuflow_schemas::{Availability, BuyBox, Currency, Day, Money, Role, Text, Timestamp};

use crate::State;

/// Why bytes are no state.
pub type Damage = &'static str;

const CUT_OFF: Damage = "the bytes end within the state";
const TOO_LARGE: Damage = "a number is too large";
const NO_SUCH: Damage = "a choice that there is not";

/// Bytes of a name, see [`crate::dedup::Fnv::name`].
const NAME_BYTES: usize = 6;
/// Units of times larger than a microsecond.
const MILLISECOND: i64 = 1_000;
const SECOND: i64 = 1_000_000;
/// Units of amounts larger than a millionth.
const BASIS_POINT: i64 = 100;
const CENT: i64 = 10_000;
/// The tag of an amount that is none, or is no amount: which of both is its number.
const OTHER: u8 = 3;
const NONE: u64 = 0;
const FLOAT: u64 = 1;
/// Floats below it hold every integer.
const WHOLE_MAX: i64 = 1 << 53;
const MILLION: f64 = 1e6;

/// Appends `state`.
pub fn encode<S: State>(state: &S, into: &mut Vec<u8>) {
    state.write(&mut Writer { into, time: Timestamp::default(), unit: None });
}

/// Reads what [`encode`] appended.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode<S: State>(bytes: &[u8]) -> Result<S, Damage> {
    let mut from = Reader { rest: bytes, time: Timestamp::default(), unit: None };
    let state = S::read(&mut from)?;
    if from.rest.is_empty() { Ok(state) } else { Err("bytes are left behind the state") }
}

/// Writes the parts of a state.
pub struct Writer<'a> {
    into: &'a mut Vec<u8>,
    /// The time before.
    time: Timestamp,
    /// Currency and exponent of the money before.
    unit: Option<(Currency, u8)>,
}

impl Writer<'_> {
    /// A number, the shorter the smaller.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.into.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.into.push(number as u8);
    }

    /// A number that may be negative.
    pub fn signed(&mut self, number: i64) {
        self.number(zigzag(number));
    }

    /// A number with two bits beside it.
    pub fn tagged(&mut self, number: u64, tag: u8) {
        let first = (number as u8 & 0x1f) << 2 | tag;
        if number < 0x20 {
            return self.into.push(first);
        }
        self.into.push(first | 0x80);
        self.number(number >> 5);
    }

    /// All 64 bits.
    pub fn word(&mut self, word: u64) {
        self.into.extend_from_slice(&word.to_le_bytes());
    }

    /// A name: 48 bits.
    pub fn name(&mut self, name: u64) {
        debug_assert!(name >> (8 * NAME_BYTES) == 0, "{name:x} is no name");
        self.into.extend_from_slice(&name.to_le_bytes()[..NAME_BYTES]);
    }

    /// A text, or none.
    pub fn text(&mut self, text: Option<&Text>) {
        let Some(text) = text else { return self.number(0) };
        self.number(text.len() as u64 + 1);
        self.into.extend_from_slice(text.as_bytes());
    }

    /// A time.
    pub fn time(&mut self, time: Timestamp) {
        let since = time.micros().wrapping_sub(std::mem::replace(&mut self.time, time).micros());
        self.scaled::<MILLISECOND, SECOND>(since);
    }

    /// A day, or none.
    pub fn day(&mut self, day: Option<Day>) {
        self.number(day.map_or(0, |day| zigzag(day.0.into()) + 1));
    }

    /// A number of millionths, or none.
    pub fn amount(&mut self, millionths: Option<i64>) {
        let Some(millionths) = millionths else { return self.tagged(NONE, OTHER) };
        self.scaled::<BASIS_POINT, CENT>(millionths);
    }

    /// A number, in the largest unit that gives it exactly: its tag is 0 for one, 1 for `UNIT` and 2 for `LARGER`.
    fn scaled<const UNIT: i64, const LARGER: i64>(&mut self, number: i64) {
        let (number, unit) = match number {
            _ if number % LARGER == 0 => (number / LARGER, 2),
            _ if number % UNIT == 0 => (number / UNIT, 1),
            _ => (number, 0),
        };
        self.tagged(zigzag(number), unit);
    }

    /// A figure, or none; as an amount, where it is one to the last bit.
    pub fn figure(&mut self, figure: Option<f64>) {
        let Some(figure) = figure else { return self.tagged(NONE, OTHER) };
        let millionths = (figure * MILLION + 0.5_f64.copysign(figure)) as i64;
        let is_amount = millionths.unsigned_abs() < WHOLE_MAX.unsigned_abs()
            && (millionths as f64 / MILLION).to_bits() == figure.to_bits();
        if is_amount {
            return self.amount(Some(millionths));
        }
        self.tagged(FLOAT, OTHER);
        self.word(figure.to_bits());
    }

    /// Money.
    pub fn money(&mut self, money: &Money) {
        let unit = Some((money.currency, money.exponent));
        let is_other = std::mem::replace(&mut self.unit, unit) != unit;
        self.tagged(zigzag(money.minor), u8::from(is_other));
        if is_other {
            self.currency(money.currency);
            self.into.push(money.exponent);
        }
    }

    /// A currency.
    pub fn currency(&mut self, currency: Currency) {
        self.into.extend_from_slice(currency.as_str().as_bytes());
    }
}

/// Reads the parts of a state, in the order in which they were written.
pub struct Reader<'a> {
    rest: &'a [u8],
    time: Timestamp,
    unit: Option<(Currency, u8)>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], Damage> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        self.array().map(|[byte]| byte)
    }

    /// See [`Writer::number`].
    pub fn number(&mut self) -> Result<u64, Damage> {
        let first = self.byte()?;
        let mut number = u64::from(first & 0x7f);
        if first & 0x80 == 0 {
            return Ok(number);
        }
        for shift in (7..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(TOO_LARGE);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(TOO_LARGE)
    }

    /// See [`Writer::signed`].
    pub fn signed(&mut self) -> Result<i64, Damage> {
        self.number().map(unzigzag)
    }

    /// See [`Writer::tagged`].
    pub fn tagged(&mut self) -> Result<(u64, u8), Damage> {
        let first = self.byte()?;
        let (low, tag) = (u64::from(first >> 2 & 0x1f), first & 3);
        if first & 0x80 == 0 {
            return Ok((low, tag));
        }
        let high = self.number()?;
        if high << 5 >> 5 == high { Ok((high << 5 | low, tag)) } else { Err(TOO_LARGE) }
    }

    /// See [`Writer::word`].
    pub fn word(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    /// See [`Writer::name`].
    pub fn name(&mut self) -> Result<u64, Damage> {
        let (low, high) = (u32::from_le_bytes(self.array()?), u16::from_le_bytes(self.array()?));
        Ok(u64::from(high) << u32::BITS | u64::from(low))
    }

    /// See [`Writer::text`].
    pub fn text(&mut self) -> Result<Option<Text>, Damage> {
        let Some(length) = self.number()?.checked_sub(1) else { return Ok(None) };
        let bytes = self.take(usize::try_from(length).map_err(|_| CUT_OFF)?)?;
        Text::from_utf8(bytes).map(Some).map_err(|_| "a text is not UTF-8")
    }

    /// See [`Writer::time`].
    pub fn time(&mut self) -> Result<Timestamp, Damage> {
        let (since, unit) = self.tagged()?;
        let since = scaled::<MILLISECOND, SECOND>(since, unit)?;
        self.time = Timestamp::from_micros(self.time.micros().wrapping_add(since));
        Ok(self.time)
    }

    /// See [`Writer::day`].
    pub fn day(&mut self) -> Result<Option<Day>, Damage> {
        let Some(day) = self.number()?.checked_sub(1) else { return Ok(None) };
        i32::try_from(unzigzag(day)).map(|day| Some(Day(day))).map_err(|_| TOO_LARGE)
    }

    /// See [`Writer::amount`].
    pub fn amount(&mut self) -> Result<Option<i64>, Damage> {
        match self.tagged()? {
            (NONE, OTHER) => Ok(None),
            (number, unit) => scaled::<BASIS_POINT, CENT>(number, unit).map(Some),
        }
    }

    /// See [`Writer::figure`].
    pub fn figure(&mut self) -> Result<Option<f64>, Damage> {
        match self.tagged()? {
            (NONE, OTHER) => Ok(None),
            (FLOAT, OTHER) => self.word().map(|bits| Some(f64::from_bits(bits))),
            (number, unit) => {
                scaled::<BASIS_POINT, CENT>(number, unit).map(|millionths| Some(millionths as f64 / MILLION))
            }
        }
    }

    /// See [`Writer::money`].
    pub fn money(&mut self) -> Result<Money, Damage> {
        let (minor, is_other) = self.tagged()?;
        if is_other != 0 {
            self.unit = Some((self.currency()?, self.byte()?));
        }
        let (currency, exponent) = self.unit.ok_or("money without a unit")?;
        Ok(Money { minor: unzigzag(minor), currency, exponent })
    }

    /// See [`Writer::currency`].
    pub fn currency(&mut self) -> Result<Currency, Damage> {
        let letters: [u8; 3] = self.array()?;
        let code = std::str::from_utf8(&letters).ok().and_then(|letters| Currency::parse(letters).ok());
        code.ok_or("a currency is not three letters")
    }

    /// As many items as a number says; `item` is given those before.
    pub fn list<T>(&mut self, item: impl Fn(&mut Self, &[T]) -> Result<T, Damage>) -> Result<Vec<T>, Damage> {
        let count = usize::try_from(self.number()?).map_err(|_| CUT_OFF)?;
        if count > self.rest.len() {
            return Err(CUT_OFF); // none takes less than a byte
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self, &items)?);
        }
        Ok(items)
    }
}

/// See [`Writer::scaled`].
fn scaled<const UNIT: i64, const LARGER: i64>(number: u64, unit: u8) -> Result<i64, Damage> {
    let unit = match unit {
        0 => 1,
        1 => UNIT,
        2 => LARGER,
        _ => return Err(NO_SUCH),
    };
    unzigzag(number).checked_mul(unit).ok_or(TOO_LARGE)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Small numbers side by side; the last are best those that are seldom more than 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bits {
    bits: u64,
    next: u32,
}

impl Bits {
    /// Those that a number holds.
    pub fn of(bits: u64) -> Self {
        Self { bits, next: 0 }
    }

    /// With `bits` behind them, of which there are `width`.
    #[must_use]
    pub fn and(self, bits: u64, width: u32) -> Self {
        debug_assert!(bits >> width == 0 && self.next + width <= u64::BITS, "{bits} has more than {width} bits");
        Self { bits: self.bits | bits << self.next, next: self.next + width }
    }

    /// With whether something is so.
    #[must_use]
    pub fn flag(self, is_so: bool) -> Self {
        self.and(is_so.into(), 1)
    }

    /// The number that holds them.
    pub fn number(self) -> u64 {
        self.bits
    }

    /// Takes the first `width` of them.
    pub fn take(&mut self, width: u32) -> u64 {
        let taken = self.bits & ((1 << width) - 1);
        self.bits >>= width;
        taken
    }

    /// Takes whether something is so.
    pub fn is(&mut self) -> bool {
        self.take(1) == 1
    }
}

/// One of a few.
pub trait Choice: Copy {
    /// Its number.
    fn number(self) -> u64;
    /// The one with this number.
    fn of(number: u64) -> Result<Self, Damage>;
}

/// A choice by the order of what there is. The numbers are stored: what is added comes last.
macro_rules! choice {
    ($name:ident { $($variant:ident),+ }) => {
        impl Choice for $name {
            fn number(self) -> u64 {
                enum Place { $($variant),+ }
                match self { $(Self::$variant => Place::$variant as u64),+ }
            }

            fn of(number: u64) -> Result<Self, Damage> {
                const ORDER: &[$name] = &[$($name::$variant),+];
                ORDER.get(number as usize).copied().ok_or(NO_SUCH)
            }
        }
    };
}

choice!(Role { Unknown, Own, Competitor });
choice!(BuyBox { Unknown, Won, Lost, None });
choice!(Availability {
    Unknown,
    InStock,
    Limited,
    Low,
    Backorder,
    Preorder,
    MadeToOrder,
    InStoreOnly,
    OutOfStock,
    Discontinued
});

#[cfg(test)]
mod tests;
