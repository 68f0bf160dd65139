//! From Arrow arrays back to the values of a row, by the names of columns: the inverse of `build`.
//!
//! A column that a file does not have, as it was added later, holds nothing.

use std::collections::{BTreeMap, HashMap};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{ArrowPrimitiveType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::Field;
use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};
use serde_json::Value;
use skuflow_schemas::{BusinessDate, Currency, EventId, Money, Text, Timestamp};

/// Under which key Arrow's fields say their Parquet id.
const FIELD_ID: &str = "PARQUET:field_id";

/// Why a cell is not what was written.
pub(in crate::lake) type Misfit = String;

/// The names of columns by the ids that files know them by.
pub(in crate::lake) type Names = BTreeMap<i32, String>;

/// Some rows, by columns.
pub(in crate::lake) struct Piece {
    columns: HashMap<String, ArrayRef>,
}

impl Piece {
    /// Of what was read from a file, whose columns are known by their ids.
    pub(in crate::lake) fn of(batch: &RecordBatch, names: &Names) -> Self {
        let schema = batch.schema();
        let named = schema.fields().iter().zip(batch.columns());
        let named = named.filter_map(|(field, column)| Some((name_of(field, names)?.to_owned(), column.clone())));
        Self { columns: named.collect() }
    }

    pub(in crate::lake) fn row(&self, row: usize) -> Stored<'_> {
        Stored { piece: self, row }
    }
}

/// What the table calls a file's column; none where it does not know it.
pub(in crate::lake) fn name_of<'a>(field: &Field, names: &'a Names) -> Option<&'a str> {
    names.get(&field.metadata().get(FIELD_ID)?.parse().ok()?).map(String::as_str)
}

/// A row as the table has it.
#[derive(Clone, Copy)]
pub(in crate::lake) struct Stored<'a> {
    piece: &'a Piece,
    row: usize,
}

/// What a cell, or with money some, can hold.
pub(in crate::lake) trait Cell: Sized {
    /// The value that the columns of this name hold; none where they hold nothing.
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit>;
}

impl<'a> Stored<'a> {
    pub(super) fn get<T: Cell>(self, name: &str) -> Result<Option<T>, Misfit> {
        T::of(self, name)
    }

    /// A value that every row has.
    pub(in crate::lake) fn must<T: Cell>(self, name: &str) -> Result<T, Misfit> {
        self.get(name)?.ok_or_else(|| format!("`{name}` holds nothing"))
    }

    /// One of some names. What a later version calls something is unknown here, as it is on the wire.
    pub(super) fn named<T: DeserializeOwned + Default>(self, name: &str) -> Result<T, Misfit> {
        let Some(text) = self.text(name)? else { return Ok(T::default()) };
        let named = T::deserialize(StrDeserializer::<Error>::new(text));
        named.map_err(|error| format!("`{name}` holds {text:?}: {error}"))
    }

    /// Lists and records that are JSON, empty where there is nothing. By way of a value, in which numbers are text: read at
    /// once they could come out as their neighbours.
    pub(super) fn json<T: DeserializeOwned + Default>(self, name: &str) -> Result<T, Misfit> {
        let Some(text) = self.text(name)? else { return Ok(T::default()) };
        let value = serde_json::from_str::<Value>(text).and_then(T::deserialize);
        value.map_err(|error| format!("`{name}` holds {text:?}: {error}"))
    }

    fn text(self, name: &str) -> Result<Option<&'a str>, Misfit> {
        let Some(column) = self.column(name) else { return Ok(None) };
        let texts = column.as_string_opt::<i32>().ok_or_else(|| other(name, column))?;
        Ok(Some(texts.value(self.row)))
    }

    fn number<T: ArrowPrimitiveType>(self, name: &str) -> Result<Option<T::Native>, Misfit> {
        let Some(column) = self.column(name) else { return Ok(None) };
        let numbers = column.as_primitive_opt::<T>().ok_or_else(|| other(name, column))?;
        Ok(Some(numbers.value(self.row)))
    }

    /// The column, where it holds something in this row.
    fn column(self, name: &str) -> Option<&'a ArrayRef> {
        self.piece.columns.get(name).filter(|column| column.is_valid(self.row))
    }
}

fn other(name: &str, column: &ArrayRef) -> Misfit {
    format!("`{name}` is {}, which is not what we write", column.data_type())
}

impl Cell for Text {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        Ok(row.text(name)?.map(Self::from))
    }
}

impl Cell for i64 {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        row.number::<Int64Type>(name)
    }
}

impl Cell for f64 {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        row.number::<Float64Type>(name)
    }
}

impl Cell for bool {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        let Some(column) = row.column(name) else { return Ok(None) };
        let flags = column.as_boolean_opt().ok_or_else(|| other(name, column))?;
        Ok(Some(flags.value(row.row)))
    }
}

impl Cell for Timestamp {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        Ok(row.number::<TimestampMicrosecondType>(name)?.map(Self::from_micros))
    }
}

impl Cell for BusinessDate {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        Ok(row.number::<Date32Type>(name)?.map(Self))
    }
}

impl Cell for EventId {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        let id = row.text(name)?.map(|text| text.parse().map_err(|error| format!("`{name}` holds {text:?}: {error}")));
        id.transpose()
    }
}

/// From its minor units, which always hold it.
impl Cell for Money {
    fn of(row: Stored<'_>, name: &str) -> Result<Option<Self>, Misfit> {
        let part = |part: &str| format!("{name}_{part}");
        let Some(minor) = row.get(&part("minor"))? else { return Ok(None) };
        let (exponent, currency) = (row.must::<i64>(&part("exponent"))?, row.must::<Text>(&part("currency"))?);
        let exponent = exponent.try_into().map_err(|_| format!("`{name}_exponent` holds {exponent}"))?;
        let currency = Currency::parse(&currency).map_err(|error| format!("`{name}_currency`: {error}"))?;
        Ok(Some(Self { minor, currency, exponent }))
    }
}

#[cfg(test)]
mod tests;
