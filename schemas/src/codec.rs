//! Avro in Confluent framing: `0x00`, a 4-byte big-endian schema id, the datum.
//!
//! The `.avsc` files are the source of truth and ship in the binary. Without a registry, ids come from [`RELEASED`]: an id,
//! once released, means that schema for ever.

use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_avro_fast::Schema;
use serde_avro_fast::de::DeserializerState;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::ser::SerializerConfig;

use crate::{Event, Family};

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
    Released { id: 1, family: Family::Offer, json: include_str!("../avro/offer.avsc") },
    Released { id: 2, family: Family::Sale, json: include_str!("../avro/sale.avsc") },
    Released { id: 3, family: Family::Inventory, json: include_str!("../avro/inventory.avsc") },
    Released { id: 4, family: Family::Catalog, json: include_str!("../avro/catalog.avsc") },
    Released { id: 5, family: Family::Listing, json: include_str!("../avro/listing.avsc") },
    Released { id: 6, family: Family::Quality, json: include_str!("../avro/quality.avsc") },
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
        let schema = &schemas()[index];
        match RELEASED[index].family {
            Family::Offer => datum_of(datum, schema, Family::Offer).map(Event::Offer),
            Family::Sale => datum_of(datum, schema, Family::Sale).map(Event::Sale),
            Family::Inventory => datum_of(datum, schema, Family::Inventory).map(Event::Inventory),
            Family::Catalog => datum_of(datum, schema, Family::Catalog).map(Event::Catalog),
            Family::Listing => datum_of(datum, schema, Family::Listing).map(Event::Listing),
            Family::Quality => datum_of(datum, schema, Family::Quality).map(Event::Quality),
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
        [magic, ..] if *magic != MAGIC => Err(DecodeError::Magic(*magic)),
        [_, a, b, c, d, datum @ ..] => {
            let id = u32::from_be_bytes([*a, *b, *c, *d]);
            let index = RELEASED.iter().position(|released| released.id == id);
            Ok((index.ok_or(DecodeError::UnknownSchema(id))?, datum))
        }
        short => Err(DecodeError::Short(short.len())),
    }
}

fn datum_of<T: DeserializeOwned>(datum: &[u8], schema: &Schema, family: Family) -> Result<Box<T>, DecodeError> {
    let mut state = DeserializerState::new(SliceRead::new(datum), schema);
    let mismatch = |reason: String| DecodeError::Datum { family, reason };
    let event = T::deserialize(state.deserializer()).map_err(|error| mismatch(error.to_string()))?;
    match std::io::Read::read(&mut state.into_reader(), &mut [0]) {
        Ok(0) => Ok(Box::new(event)),
        _ => Err(mismatch("bytes are left behind the datum".into())),
    }
}

/// An event that its schema cannot hold: an error of ours.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode {family}: {reason}", family = .family.name())]
pub struct EncodeError {
    family: Family,
    reason: String,
}

/// Writes events; keeps its buffers between calls.
pub struct Encoder {
    configs: Vec<SerializerConfig<'static>>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { configs: schemas().iter().map(SerializerConfig::new).collect() }
    }
}

impl Encoder {
    /// Appends the framed event to `into`; on an error `into` is left as it was.
    ///
    /// # Errors
    /// Where a value does not fit the schema, which is a defect of ours.
    pub fn encode(&mut self, event: &Event, into: &mut Vec<u8>) -> Result<(), EncodeError> {
        match event {
            Event::Offer(event) => self.datum(Family::Offer, event.as_ref(), into),
            Event::Sale(event) => self.datum(Family::Sale, event.as_ref(), into),
            Event::Inventory(event) => self.datum(Family::Inventory, event.as_ref(), into),
            Event::Catalog(event) => self.datum(Family::Catalog, event.as_ref(), into),
            Event::Listing(event) => self.datum(Family::Listing, event.as_ref(), into),
            Event::Quality(event) => self.datum(Family::Quality, event.as_ref(), into),
        }
    }

    fn datum<T: Serialize>(&mut self, family: Family, event: &T, into: &mut Vec<u8>) -> Result<(), EncodeError> {
        let index = writer_index(family);
        let start = into.len();
        into.push(MAGIC);
        into.extend_from_slice(&RELEASED[index].id.to_be_bytes());
        serde_avro_fast::to_datum(event, &mut *into, &mut self.configs[index]).map(|_| ()).map_err(|error| {
            into.truncate(start);
            EncodeError { family, reason: error.to_string() }
        })
    }
}

/// A 64-bit hash of what a framed event says, leaving out its id and when it was taken in.
///
/// Two deliveries of one observation hash alike; a changed body does not. Families without an envelope hash whole.
pub fn body_hash(value: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(body(value).unwrap_or(value))
}

/// A 64-bit hash of everything an event says, times and ids included, stable for one version of its schema.
pub fn content_hash(event: &Event) -> u64 {
    let mut value = Vec::new();
    Encoder::default().encode(event, &mut value).expect("events of ours fit their schemas");
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
