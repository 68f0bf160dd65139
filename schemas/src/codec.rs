//! Avro in Confluent framing: `0x00`, a 4-byte big-endian schema id, the datum.
//!
//! The `.avsc` files are the source of truth and ship in the binary. Without a registry, ids come from [`RELEASED`]: an id,
//! once released, means that schema for ever.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_avro_fast::Schema;
use serde_avro_fast::de::DeserializerState;
use serde_avro_fast::de::read::SliceRead;

use crate::{Event, Family, RECORD_BYTES_MAX};
use wire::Wire;

mod frame;
pub(crate) mod wire;

pub use frame::{REGISTRY_ID_MAX, carried_id, registry_id};

const MAGIC: u8 = 0;
/// Magic byte and schema id.
const FRAME_BYTES: usize = 5;

/// A released schema. Append-only: the id and the text of a released version never change.
struct Released {
    id: u32,
    family: Family,
    json: &'static str,
}

const RELEASED: &[Released] = &[
    Released { id: 1, family: Family::Offer, json: include_str!("../avro/offer.v1.avsc") },
    Released { id: 2, family: Family::Sale, json: include_str!("../avro/sale.avsc") },
    Released { id: 3, family: Family::Inventory, json: include_str!("../avro/inventory.avsc") },
    Released { id: 4, family: Family::Catalog, json: include_str!("../avro/catalog.v1.avsc") },
    Released { id: 5, family: Family::Listing, json: include_str!("../avro/listing.v1.avsc") },
    Released { id: 6, family: Family::Quality, json: include_str!("../avro/quality.avsc") },
    Released { id: 7, family: Family::Offer, json: include_str!("../avro/offer.avsc") },
    Released { id: 8, family: Family::Features, json: include_str!("../avro/features.avsc") },
    Released { id: 9, family: Family::Alert, json: include_str!("../avro/alert.avsc") },
    Released { id: 10, family: Family::Catalog, json: include_str!("../avro/catalog.avsc") },
    Released { id: 11, family: Family::Listing, json: include_str!("../avro/listing.avsc") },
];

/// The parsed schemas, in the order of [`RELEASED`].
fn schemas() -> &'static [Schema] {
    static PARSED: OnceLock<Vec<Schema>> = OnceLock::new();
    PARSED.get_or_init(|| {
        RELEASED.iter().map(|released| released.json.parse().expect("a shipped schema parses")).collect()
    })
}

/// Index into [`RELEASED`] of the schema that is written for `family`: its latest version.
fn writer_index(family: Family) -> usize {
    RELEASED.iter().rposition(|released| released.family == family).expect("every family has a schema")
}

/// Id of the schema that ships and by which data is encoded as by `json`: the same but for order, documentation and defaults.
pub fn release_of(json: &str) -> Option<u32> {
    let schema: Schema = json.parse().ok()?;
    let at = schemas().iter().position(|known| known.rabin_fingerprint() == schema.rabin_fingerprint())?;
    Some(RELEASED[at].id)
}

/// Id of the schema written for `family`.
pub fn schema_id(family: Family) -> u32 {
    RELEASED[writer_index(family)].id
}

/// The schema written for `family`, as JSON.
pub fn schema_json(family: Family) -> &'static str {
    RELEASED[writer_index(family)].json
}

/// Why bytes are no event. Each has a stable code for dead letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No value at all.
    #[error("the record has no value")]
    Empty,
    /// More bytes than any topic takes; what passed it on would be stuck with it.
    #[error("{0} bytes are more than a record has, {RECORD_BYTES_MAX}")]
    TooLarge(usize),
    /// Not in Confluent framing.
    #[error("the first byte is {0:#04x}, not the magic byte 0x00 in front of a schema id")]
    Magic(u8),
    /// Fewer bytes than a frame has.
    #[error("{0} bytes are too few for a schema id and a datum")]
    Short(usize),
    /// A schema that this version does not know.
    #[error("schema id {0} is not known")]
    UnknownSchema(u32),
    /// The bytes do not fit their schema.
    #[error("the bytes do not fit schema {family}: {reason}", family = .family.name())]
    Datum {
        /// Of which family the schema is.
        family: Family,
        /// What does not fit, and where.
        reason: String,
    },
    /// Another family than the topic holds.
    #[error("a record of family {found} on a topic of {expected}", found = .found.name(), expected = .expected.name())]
    Family {
        /// What the topic holds.
        expected: Family,
        /// What the record is.
        found: Family,
    },
}

impl DecodeError {
    /// The stable code that dead letters carry.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "no-value",
            Self::TooLarge(_) => "record-too-large",
            Self::Magic(_) | Self::Short(_) => "not-framed",
            Self::UnknownSchema(_) => "schema-unknown",
            Self::Datum { .. } => "schema-mismatch",
            Self::Family { .. } => "wrong-family",
        }
    }
}

/// Reads events. Stateless; cheap to make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder;

impl Decoder {
    /// Decodes a framed value by the schema it was written with.
    ///
    /// # Errors
    /// See [`DecodeError`]; bytes behind the datum are an error too.
    pub fn decode(&self, value: &[u8]) -> Result<Event, DecodeError> {
        let (index, datum) = frame(value)?;
        match RELEASED[index].family {
            Family::Offer => boxed(datum, index).map(Event::Offer),
            Family::Sale => boxed(datum, index).map(Event::Sale),
            Family::Inventory => boxed(datum, index).map(Event::Inventory),
            Family::Catalog => boxed(datum, index).map(Event::Catalog),
            Family::Listing => boxed(datum, index).map(Event::Listing),
            Family::Quality => boxed(datum, index).map(Event::Quality),
            Family::Features => boxed(datum, index).map(Event::Features),
            Family::Alert => boxed(datum, index).map(Event::Alert),
        }
    }

    /// Decodes and insists on the family that a topic holds.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode_family(&self, value: &[u8], expected: Family) -> Result<Event, DecodeError> {
        let event = self.decode(value)?;
        let found = event.family();
        if found == expected { Ok(event) } else { Err(DecodeError::Family { expected, found }) }
    }
}

fn frame(value: &[u8]) -> Result<(usize, &[u8]), DecodeError> {
    match value {
        [] => Err(DecodeError::Empty),
        large if large.len() > RECORD_BYTES_MAX => Err(DecodeError::TooLarge(large.len())),
        [magic, ..] if *magic != MAGIC => Err(DecodeError::Magic(*magic)),
        [_, a, b, c, d, datum @ ..] => {
            let id = u32::from_be_bytes([*a, *b, *c, *d]);
            let index = RELEASED.iter().position(|released| released.id == frame::release_id(id));
            Ok((index.ok_or_else(|| DecodeError::UnknownSchema(registry_id(id).unwrap_or(id)))?, datum))
        }
        short => Err(DecodeError::Short(short.len())),
    }
}

/// Reads a datum of the schema `index` of [`RELEASED`].
fn boxed<T: Wire + DeserializeOwned>(datum: &[u8], index: usize) -> Result<Box<T>, DecodeError> {
    let family = RELEASED[index].family;
    let (event, rest) = if index == writer_index(family) { latest(datum) } else { resolved(datum, &schemas()[index]) }
        .map_err(|reason| DecodeError::Datum { family, reason })?;
    match rest {
        0 => Ok(Box::new(event)),
        _ => Err(DecodeError::Datum { family, reason: format!("{rest} bytes are left behind the datum") }),
    }
}

/// The datum of a family's latest version, and how many bytes are behind it.
fn latest<T: Wire>(datum: &[u8]) -> Result<(T, usize), String> {
    let mut rest = datum;
    let event = T::read(&mut rest).map_err(|misfit| format!("{misfit}, at byte {}", datum.len() - rest.len()))?;
    Ok((event, rest.len()))
}

/// The datum of any version, its fields found by name.
fn resolved<T: DeserializeOwned>(datum: &[u8], schema: &Schema) -> Result<(T, usize), String> {
    let mut state = DeserializerState::new(SliceRead::new(datum), schema);
    let event = T::deserialize(state.deserializer()).map_err(|error| error.to_string())?;
    let rest = std::io::copy(&mut state.into_reader(), &mut std::io::sink()).unwrap_or(u64::MAX);
    Ok((event, rest as usize))
}

/// Writes events. Stateless; cheap to make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder;

impl Encoder {
    /// Appends the framed event to `into`.
    pub fn encode(&self, event: &Event, into: &mut Vec<u8>) {
        into.push(MAGIC);
        into.extend_from_slice(&RELEASED[writer_index(event.family())].id.to_be_bytes());
        match event {
            Event::Offer(event) => event.write(into),
            Event::Sale(event) => event.write(into),
            Event::Inventory(event) => event.write(into),
            Event::Catalog(event) => event.write(into),
            Event::Listing(event) => event.write(into),
            Event::Quality(event) => event.write(into),
            Event::Features(event) => event.write(into),
            Event::Alert(event) => event.write(into),
        }
    }
}

/// A 64-bit hash of what a framed event says, leaving out its id and when it was taken in.
///
/// Two deliveries of one observation hash alike; a changed body does not. Families without an envelope hash whole.
pub fn body_hash(value: &[u8]) -> u64 {
    let body = body(value).unwrap_or(value);
    // A field that a later version appended, and that says nothing, is a zero byte.
    let said = body.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    xxhash_rust::xxh3::xxh3_64(&body[..said])
}

/// A 64-bit hash of everything an event says, times and ids included, stable for one version of its schema.
pub fn content_hash(event: &Event) -> u64 {
    let mut value = Vec::new();
    Encoder.encode(event, &mut value);
    xxhash_rust::xxh3::xxh3_64(&value)
}

/// The bytes behind `event_id` (a string) and `ingested_at` (a long), the first two fields of every envelope.
fn body(value: &[u8]) -> Option<&[u8]> {
    let datum = value.get(FRAME_BYTES..)?;
    let (length, rest) = varint(datum)?;
    let id_bytes = usize::try_from(length >> 1).ok()?; // zigzag of a length, which is never negative
    let (_, body) = varint(rest.get(id_bytes..)?)?;
    Some(body)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
#[path = "codec/tests.rs"]
mod tests;
