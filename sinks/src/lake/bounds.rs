//! What a file says of its columns, from the statistics of its row groups: pure.

use std::collections::HashMap;

use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

/// Counts, sizes and bounds by field id.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) sizes: HashMap<i32, u64>,
    pub(super) values: HashMap<i32, u64>,
    pub(super) nulls: HashMap<i32, u64>,
    pub(super) lower: HashMap<i32, Datum>,
    pub(super) upper: HashMap<i32, Datum>,
    /// Where each row group begins.
    pub(super) splits: Vec<i64>,
}

/// The bounds of a column over some row groups.
enum Bounds {
    /// No value has been seen.
    Empty,
    Between(Datum, Datum),
    /// A row group does not say: any bound may be too narrow, and readers would skip rows.
    Unknown,
}

impl Bounds {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Empty, bounds) | (bounds, Self::Empty) => bounds,
            (Self::Between(low, high), Self::Between(other_low, other_high)) => Self::Between(
                if other_low < low { other_low } else { low },
                if other_high > high { other_high } else { high },
            ),
            _ => Self::Unknown,
        }
    }

    fn of(chunk: &ColumnChunkMetaData, kind: &PrimitiveType) -> Self {
        let Some(statistics) = chunk.statistics() else { return Self::Unknown };
        if statistics.null_count_opt() == Some(chunk.num_values() as u64) {
            return Self::Empty;
        }
        let datum = |bytes: Option<&[u8]>| datum(bytes?, kind);
        match (datum(statistics.min_bytes_opt()), datum(statistics.max_bytes_opt())) {
            (Some(low), Some(high)) => Self::Between(low, high),
            _ => Self::Unknown,
        }
    }
}

/// A value of Parquet's statistics. Parquet's integers are little-endian, Iceberg's decimals are big-endian.
fn datum(bytes: &[u8], kind: &PrimitiveType) -> Option<Datum> {
    let swapped;
    let bytes = match kind {
        PrimitiveType::Decimal { .. } => {
            swapped = bytes.iter().rev().copied().collect::<Vec<u8>>();
            &swapped
        }
        _ => bytes,
    };
    Datum::try_from_bytes(bytes, kind.clone()).ok()
}

impl Facts {
    /// Of a file of a table with this schema.
    pub(super) fn of(file: &ParquetMetaData, schema: &Schema) -> Self {
        let mut facts = Self::default();
        let mut bounds: HashMap<i32, Bounds> = HashMap::new();
        for group in file.row_groups() {
            facts.splits.extend(group.columns().first().map(|chunk| chunk.byte_range().0 as i64));
            for chunk in group.columns() {
                let id = chunk.column_descr().self_type().get_basic_info().id();
                *facts.sizes.entry(id).or_default() += chunk.compressed_size() as u64;
                *facts.values.entry(id).or_default() += chunk.num_values() as u64;
                if let Some(nulls) = chunk.statistics().and_then(Statistics::null_count_opt) {
                    *facts.nulls.entry(id).or_default() += nulls;
                }
                let kind = schema.field_by_id(id).map(|field| field.field_type.as_ref());
                let Some(Type::Primitive(kind)) = kind else { continue };
                let known = bounds.remove(&id).unwrap_or(Bounds::Empty);
                bounds.insert(id, known.and(Bounds::of(chunk, kind)));
            }
        }
        for (id, bounds) in bounds {
            if let Bounds::Between(low, high) = bounds {
                facts.lower.insert(id, low);
                facts.upper.insert(id, high);
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests;
