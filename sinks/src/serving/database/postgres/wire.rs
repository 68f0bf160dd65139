//! Values in the binary format of Postgres: pure.

use skuflow_schemas::{BusinessDate, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

use super::super::{Cell, Kind};

/// What a row of a table is to a server: a type of its own, and one of arrays of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowType {
    pub(super) row: Oid,
    pub(super) array: Oid,
}

/// Rows of a table, as one array of its type of rows. A server takes them in with two thirds of the processor time that an
/// array per column costs it, and with less than a COPY into a table beside (`cargo bench --bench serving`).
pub(super) struct Rows<'a, R> {
    row_type: RowType,
    kinds: Vec<Kind>,
    rows: &'a [R],
}

impl<'a, R: AsRef<[Cell]>> Rows<'a, R> {
    /// Rows that have columns of these kinds; those that one lacks at its end are null.
    pub(super) fn new(row_type: RowType, kinds: impl Iterator<Item = Kind>, rows: &'a [R]) -> Self {
        Self { row_type, kinds: kinds.collect(), rows }
    }
}

impl<R> Type<Postgres> for Rows<'_, R> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("record[]") // which one it is depends on the table, see `produces`
    }
}

impl<R: AsRef<[Cell]>> Encode<'_, Postgres> for Rows<'_, R> {
    fn encode_by_ref(&self, into: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        const DIMENSIONS: i32 = 1;
        const HAS_NULLS: i32 = 0;
        const FIRST: i32 = 1;
        let count = i32::try_from(self.rows.len())?;
        put_numbers(into, [DIMENSIONS, HAS_NULLS, self.row_type.row.0 as i32, count, FIRST]);
        for row in self.rows {
            let at = into.len();
            put_numbers(into, [0, i32::try_from(self.kinds.len())?]);
            let cells = row.as_ref().iter().chain(std::iter::repeat(&Cell::Null));
            for (kind, cell) in self.kinds.iter().zip(cells) {
                put_numbers(into, [type_of(*kind)]);
                put_cell(into, cell)?;
            }
            let length = i32::try_from(into.len() - at - 4)?;
            into[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.row_type.array))
    }

    fn size_hint(&self) -> usize {
        const OF_A_CELL: usize = 16;
        self.rows.len() * self.kinds.len() * OF_A_CELL
    }
}

/// Rows as COPY takes them.
pub(super) fn copied(rows: &[impl AsRef<[Cell]>]) -> Result<Vec<u8>, BoxDynError> {
    const END: i16 = -1;
    let mut into = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        let cells = row.as_ref();
        into.extend_from_slice(&i16::try_from(cells.len())?.to_be_bytes());
        cells.iter().try_for_each(|cell| put_cell(&mut into, cell))?;
    }
    into.extend_from_slice(&END.to_be_bytes());
    Ok(into)
}

/// A value, behind its length.
fn put_cell(into: &mut Vec<u8>, cell: &Cell) -> Result<(), BoxDynError> {
    const NULL: i32 = -1;
    const JSON_VERSION: u8 = 1;
    match cell {
        Cell::Null => put_numbers(into, [NULL]),
        Cell::Text(text) => {
            put_numbers(into, [i32::try_from(text.len())?]);
            into.extend_from_slice(text.as_bytes());
        }
        Cell::Json(text) => {
            put_numbers(into, [i32::try_from(text.len() + 1)?]);
            into.push(JSON_VERSION);
            into.extend_from_slice(text.as_bytes());
        }
        Cell::Int(number) => put_long(into, number.to_be_bytes()),
        Cell::Real(number) => put_long(into, number.to_be_bytes()),
        Cell::Instant(at) => put_long(into, micros(*at).to_be_bytes()),
        Cell::Day(day) => put_numbers(into, [4, days(*day)]),
        Cell::Id(id) => {
            put_numbers(into, [16]);
            into.extend_from_slice(&id.0);
        }
    }
    Ok(())
}

/// One copy for all of them.
fn put_numbers<const COUNT: usize>(into: &mut Vec<u8>, numbers: [i32; COUNT]) {
    into.extend_from_slice(numbers.map(i32::to_be_bytes).as_flattened());
}

fn put_long(into: &mut Vec<u8>, value: [u8; 8]) {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&8_i32.to_be_bytes());
    bytes[4..].copy_from_slice(&value);
    into.extend_from_slice(&bytes);
}

/// The number of a type that is built in; it never changes.
fn type_of(kind: Kind) -> i32 {
    match kind {
        Kind::Text => 25,
        Kind::Int => 20,
        Kind::Real => 701,
        Kind::Instant => INSTANT as i32,
        Kind::Day => DAY as i32,
        Kind::Id => 2950,
        Kind::Json => 3802,
    }
}

/// `TIMESTAMPTZ`: microseconds since 2000.
pub(super) struct Instant(pub(super) Timestamp);
/// `DATE`: days since 2000.
pub(super) struct Day(pub(super) BusinessDate);

const INSTANT: u32 = 1184;
const DAY: u32 = 1082;

/// From 1970 to 2000.
const DAYS: i32 = 10_957;
const MICROS: i64 = DAYS as i64 * 86_400_000_000;

fn micros(at: Timestamp) -> i64 {
    at.micros().saturating_sub(MICROS)
}

fn days(day: BusinessDate) -> i32 {
    day.0.saturating_sub(DAYS)
}

macro_rules! wire_type {
    ($name:ident, $oid:expr, $number:ty, $to:expr, $from:expr) => {
        impl Type<Postgres> for $name {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_oid(Oid($oid))
            }
        }

        impl Encode<'_, Postgres> for $name {
            fn encode_by_ref(&self, into: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                Encode::<Postgres>::encode($to(self.0), into)
            }
        }

        impl Decode<'_, Postgres> for $name {
            fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
                let number = <$number as Decode<Postgres>>::decode(value)?;
                Ok(Self($from(number)))
            }
        }
    };
}

wire_type!(Instant, INSTANT, i64, micros, |micros: i64| Timestamp::from_micros(micros.saturating_add(MICROS)));
wire_type!(Day, DAY, i32, days, |days: i32| BusinessDate(days.saturating_add(DAYS)));

impl PgHasArrayType for Day {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1182))
    }
}
