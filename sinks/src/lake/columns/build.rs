//! From rows to one array per column.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, LargeBinaryBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_schema::{ArrowError, DataType};
use iceberg::spec::PrimitiveType;
use skuflow_schemas::Money;

use super::features::values;
use super::{Column, Read, Row};

/// Digits of an amount, and those behind the point.
const AMOUNT: (u8, i8) = (18, 6);
/// The first number that has more digits than fit.
const AMOUNT_END: i128 = 10_i128.pow(AMOUNT.0 as u32);
/// What Iceberg calls the time zone of a `timestamptz`.
const UTC: &str = "+00:00";

impl Column {
    /// Its type in the table.
    pub(in crate::lake) fn kind(&self) -> PrimitiveType {
        match self.read {
            Read::Text(_) | Read::Json(_) | Read::Id(_) | Read::Currency(_) => PrimitiveType::String,
            Read::Bytes(_) | Read::Payload(_) => PrimitiveType::Binary,
            Read::Long(_) | Read::Rising(_) | Read::Minor(_) | Read::Exponent(_) => PrimitiveType::Long,
            Read::Double(_) | Read::Figure(_) => PrimitiveType::Double,
            Read::Flag(_) => PrimitiveType::Boolean,
            Read::Time(_) => PrimitiveType::Timestamptz,
            Read::Date(_) => PrimitiveType::Date,
            Read::Amount(_) => PrimitiveType::Decimal { precision: AMOUNT.0.into(), scale: AMOUNT.1 as u32 },
        }
    }

    /// Whether its values mostly grow from row to row, so that the differences are what is worth storing.
    pub(in crate::lake) fn is_rising(&self) -> bool {
        matches!(self.read, Read::Rising(_) | Read::Time(_))
    }

    /// Whether nearly every row has a value of its own.
    pub(in crate::lake) fn is_distinct(&self) -> bool {
        matches!(self.read, Read::Id(_) | Read::Payload(_))
    }

    /// Whether readers have no use for its bounds.
    pub(in crate::lake) fn is_payload(&self) -> bool {
        matches!(self.read, Read::Payload(_))
    }
}

/// The values of a column.
///
/// # Errors
/// A bound of Arrow: text of more than 2 GiB.
pub(in crate::lake) fn array<'a>(
    column: &Column,
    rows: impl ExactSizeIterator<Item = &'a Row<'a>>,
) -> Result<ArrayRef, ArrowError> {
    let count = rows.len();
    macro_rules! build {
        ($builder:expr, $read:expr) => {{
            let (mut builder, read) = ($builder, $read);
            rows.for_each(|row| builder.append_option(read(row)));
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    let longs = || Int64Builder::with_capacity(count);
    let doubles = || Float64Builder::with_capacity(count);
    let texts = |each: usize| StringBuilder::with_capacity(count, count * each);
    Ok(match column.read {
        Read::Text(read) => build!(texts(12), read),
        Read::Json(read) => build!(texts(16), read),
        Read::Bytes(read) => build!(LargeBinaryBuilder::with_capacity(count, count * 32), read),
        Read::Payload(read) => build!(LargeBinaryBuilder::with_capacity(count, count * 256), read),
        Read::Id(read) => {
            let mut builder = texts(32);
            let ids = rows.map(|row| read(row).map(|id| id.hex()));
            ids.for_each(|id| builder.append_option(id.as_ref().map(|id| str::from_utf8(id).expect("hex is ASCII"))));
            Arc::new(builder.finish())
        }
        Read::Long(read) | Read::Rising(read) => build!(longs(), read),
        Read::Double(read) => build!(doubles(), read),
        Read::Figure(read) => build!(doubles(), |row: &Row<'_>| read(values(row))),
        Read::Flag(read) => build!(BooleanBuilder::with_capacity(count), read),
        Read::Time(read) => build!(TimestampMicrosecondBuilder::with_capacity(count).with_timezone(UTC), read),
        Read::Date(read) => build!(Date32Builder::with_capacity(count), read),
        Read::Amount(read) => {
            let builder = Decimal128Builder::with_capacity(count).with_precision_and_scale(AMOUNT.0, AMOUNT.1)?;
            build!(builder, |row: &Row<'_>| read(row).and_then(amount))
        }
        Read::Minor(read) => build!(longs(), |row: &Row<'_>| read(row).map(|money| money.minor)),
        Read::Exponent(read) => build!(longs(), |row: &Row<'_>| read(row).map(|money| i64::from(money.exponent))),
        Read::Currency(read) => {
            let mut builder = texts(3);
            rows.for_each(|row| builder.append_option(read(row).as_ref().map(|money| money.currency.as_str())));
            Arc::new(builder.finish())
        }
    })
}

/// The values of a column that only the table knows.
pub(in crate::lake) fn null_array(kind: &DataType, count: usize) -> ArrayRef {
    let array = new_null_array(kind, count);
    debug_assert_eq!(array.len(), count);
    array
}

fn amount(money: Money) -> Option<i128> {
    Some(money.micros()).filter(|micros| micros.abs() < AMOUNT_END)
}
