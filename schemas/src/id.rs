//! Who is who: event ids, record keys, listing ids, customers.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{CUSTOMER_BYTES_MAX, Family};

/// Short text; up to 24 bytes are kept inline, without an allocation.
pub type Text = compact_str::CompactString;

/// The identity of one observation: equal for every re-delivery and re-fetch of it.
///
/// The first 16 bytes of SHA-256 over the length-prefixed (family, customer, dedup tuple). Wire and text: 32 lower-case
/// hex digits; in binary state: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// Computes the id of an event of `family` for `customer` from its dedup tuple.
    ///
    /// Every part is preceded by its length (4 bytes, little endian), so ("ab", "c") and ("a", "bc") differ.
    pub fn of(family: Family, customer: &str, tuple: &[&[u8]]) -> Self {
        let mut joined = Vec::with_capacity(256); // one long update takes half the time of a dozen short ones
        let mut part = |bytes: &[u8]| {
            joined.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            joined.extend_from_slice(bytes);
        };
        part(family.name().as_bytes());
        part(customer.as_bytes());
        for bytes in tuple {
            part(bytes);
        }
        let digest = Sha256::digest(&joined);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The id as hex digits.
    pub fn hex(&self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(&self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

/// Text that is no event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id has 32 hex digits")]
pub struct IdParseError;

impl FromStr for EventId {
    type Err = IdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes())
    }
}

impl EventId {
    /// Reads 32 lower-case hex digits.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, IdParseError> {
        if bytes.len() != 32 {
            return Err(IdParseError);
        }
        let mut id = [0; 16];
        let mut seen = 0;
        for (byte, pair) in id.iter_mut().zip(bytes.chunks_exact(2)) {
            let (high, low) = (DIGIT[usize::from(pair[0])], DIGIT[usize::from(pair[1])]);
            *byte = high << 4 | (low & 15);
            seen |= high | low;
        }
        if seen < 16 { Ok(Self(id)) } else { Err(IdParseError) }
    }
}

/// The value of a hex digit in lower case; anything above 15 is none.
const DIGIT: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 16]>::deserialize(deserializer).map(Self);
        }
        struct Hex;
        impl serde::de::Visitor<'_> for Hex {
            type Value = EventId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 hex digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EventId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex).map_err(D::Error::custom)
    }
}

/// SHA-256 of `bytes`, as bytes and as hex digits.
pub fn sha256(bytes: &[u8]) -> ([u8; 32], Text) {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let text = digest.iter().fold(Text::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    });
    (digest, text)
}

/// A record's key: `<customer>/<listing>` up to `route`, `<customer>/<product>` after.
///
/// Rows of a table that has several rows per listing append `|<row>`; the part before the bar is what decides the
/// partition, so the table stays co-partitioned with the events it is joined to. Parts are percent-encoded, so `/` and
/// `|` never occur inside one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Text);

impl Key {
    /// The key of everything `customer` knows about one listing or product; `entity` is already percent-encoded.
    pub fn new(customer: &str, entity: &str) -> Self {
        Self([customer, "/", entity].concat().into())
    }

    /// The key of one product.
    pub fn of_product(customer: &str, product: &str) -> Self {
        let mut key = String::new();
        write_product_key(customer, product, &mut key);
        Self(key.into())
    }

    /// This key extended by the row of a table, see the type.
    #[must_use]
    pub fn row(&self, row: &str) -> Self {
        let mut key = String::from(self.0.as_str());
        key.push('|');
        percent_encode(row, &mut key);
        Self(key.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part that decides the partition and names the state: everything before the bar.
    pub fn entity(text: &str) -> &str {
        text.split_once('|').map_or(text, |(entity, _)| entity)
    }

    /// The row part behind the bar, decoded; of use only for a tombstone, which has no value to ask.
    pub fn row_of(text: &str) -> Option<Text> {
        text.split_once('|').map(|(_, row)| percent_decode(row))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a listing: `<source>:<marketplace>:<native id>`, parts percent-encoded; never parsed back.
pub fn listing_id(source: &str, marketplace: &str, native_id: &str) -> Text {
    let mut id = String::with_capacity(source.len() + marketplace.len() + native_id.len() + 2);
    write_listing_id(source, marketplace, native_id, &mut id);
    id.into()
}

fn write_listing_id(source: &str, marketplace: &str, native_id: &str, into: &mut String) {
    percent_encode(source, into);
    into.push(':');
    percent_encode(marketplace, into);
    into.push(':');
    percent_encode(native_id, into);
}

/// Appends the key of a listing, as [`Key::new`] has it.
pub(crate) fn write_listing_key(customer: &str, source: &str, marketplace: &str, native_id: &str, into: &mut String) {
    into.push_str(customer);
    into.push('/');
    write_listing_id(source, marketplace, native_id, into);
}

/// Appends the key of a product, as [`Key::of_product`] has it.
pub(crate) fn write_product_key(customer: &str, product: &str, into: &mut String) {
    into.push_str(customer);
    into.push('/');
    percent_encode(product, into);
}

fn is_plain(byte: u8) -> bool {
    const PLAIN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let letter = byte as u8;
            table[byte] = letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'.' | b'_' | b'~');
            byte += 1;
        }
        table
    };
    PLAIN[usize::from(byte)]
}

fn percent_encode(part: &str, into: &mut String) {
    let mut rest = part.as_bytes();
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
        push_plain(&rest[..at], into);
        into.extend(['%', digit(rest[at] >> 4), digit(rest[at] & 15)]);
        rest = &rest[at + 1..];
    }
    push_plain(rest, into);
}

fn push_plain(bytes: &[u8], into: &mut String) {
    into.push_str(std::str::from_utf8(bytes).expect("plain characters are ASCII"));
}

fn percent_decode(part: &str) -> Text {
    let bytes = part.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| part.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        decoded.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Text::from(String::from_utf8_lossy(&decoded))
}

/// A customer name that breaks the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("customer `{0}` must be 1 to 64 characters out of a-z, 0-9 and `-`")]
pub struct CustomerError(pub String);

/// Checks that `name` is a customer name: 1 to 64 characters out of `a-z`, `0-9` and `-`.
///
/// # Errors
/// The name itself, with the rule.
pub fn check_customer(name: &str) -> Result<(), CustomerError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > CUSTOMER_BYTES_MAX || !name.bytes().all(plain) {
        return Err(CustomerError(name.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_length_prefixed() {
        let id = |tuple: &[&[u8]]| EventId::of(Family::Offer, "demo", tuple);
        assert_ne!(id(&[b"ab", b"c"]), id(&[b"a", b"bc"]));
        assert_ne!(id(&[b"a"]), EventId::of(Family::Sale, "demo", &[b"a"]));
        assert_eq!(id(&[b"a"]).to_string().parse(), Ok(id(&[b"a"])));
    }

    /// The published definition, held against a value computed by another program.
    #[test]
    fn an_id_never_changes() {
        let id = EventId::of(Family::Sale, "demo", &[b"shop", b"1001", b"1"]);
        assert_eq!(id.to_string(), "204b38d11ce8c397bcd3333f3cc1b08e");
    }

    #[test]
    fn separators_inside_parts_are_encoded() {
        assert_eq!(listing_id("shop", "de", "A/1|x:y"), "shop:de:A%2F1%7Cx%3Ay");
        let key = Key::new("demo", &listing_id("shop", "de", "ä")).row("P|1");
        assert_eq!(key.as_str(), "demo/shop:de:%C3%A4|P%7C1");
        assert_eq!(Key::entity(key.as_str()), "demo/shop:de:%C3%A4");
        assert_eq!(Key::row_of(key.as_str()).as_deref(), Some("P|1"));
    }

    #[test]
    fn customers_are_plain() {
        assert!(check_customer("acme-1").is_ok());
        for bad in ["", "Acme", "a/b", &"x".repeat(65)] {
            assert!(check_customer(bad).is_err(), "{bad}");
        }
    }
}
