//! Columns: from an event to the values of a row, and from rows to Arrow arrays; and the way back.

mod alerts;
mod back;
mod build;
mod common;
mod features;
mod inventory;
mod offers;
mod raw;
mod sales;

use skuflow_schemas::{Event, EventId, Family, Money, Values};

use crate::RawRecord;

pub(super) use alerts::alerts;
pub(super) use back::{Misfit, Names, Piece, Stored, name_of};
pub(super) use build::{array, null_array};
pub(super) use features::features;
pub(super) use inventory::inventory;
pub(super) use offers::offers;
pub(super) use raw::raw_columns;
pub(super) use sales::sales;

/// A row: what was read, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) content: Content<'a>,
    pub(super) topic: &'a str,
    pub(super) partition: u32,
    pub(super) offset: u64,
    /// When the lake took it in, microseconds.
    pub(super) ingested_at: i64,
}

/// What was read: an event, or a record as it came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    Event(&'a Event),
    Raw(&'a RawRecord),
}

/// A column of a table. Its field id is that of the field of this name in the created table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// What it holds, a number in which unit.
    pub(super) about: String,
    /// What it means that a row has no value; of a column that is required, none.
    pub(super) null: Option<String>,
    pub(super) read: Read,
}

/// Reads one value of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Text(for<'a> fn(&Row<'a>) -> Option<&'a str>),
    Bytes(for<'a> fn(&Row<'a>) -> Option<&'a [u8]>),
    /// Bytes of which nearly every row has its own, and by which nobody looks for rows.
    Payload(for<'a> fn(&Row<'a>) -> Option<&'a [u8]>),
    /// Lists and records, as JSON.
    Json(fn(&Row<'_>) -> Option<String>),
    Id(fn(&Row<'_>) -> Option<EventId>),
    Long(fn(&Row<'_>) -> Option<i64>),
    /// A long that mostly grows from row to row.
    Rising(fn(&Row<'_>) -> Option<i64>),
    Double(fn(&Row<'_>) -> Option<f64>),
    /// A figure of a vector.
    Figure(fn(&Values) -> Option<f64>),
    Flag(fn(&Row<'_>) -> Option<bool>),
    /// Microseconds since the epoch, UTC.
    Time(fn(&Row<'_>) -> Option<i64>),
    /// Days since the epoch.
    Date(fn(&Row<'_>) -> Option<i32>),
    /// `DECIMAL(18,6)`, null where the amount is too large for it; the minor units beside it always hold it.
    Amount(fn(&Row<'_>) -> Option<Money>),
    Minor(fn(&Row<'_>) -> Option<Money>),
    Exponent(fn(&Row<'_>) -> Option<Money>),
    Currency(fn(&Row<'_>) -> Option<Money>),
}

impl Column {
    fn new(name: impl Into<String>, about: impl Into<String>, null: impl Into<String>, read: Read) -> Self {
        Self { name: name.into(), about: about.into(), null: Some(null.into()), read }
    }

    fn required(name: &str, about: &str, read: Read) -> Self {
        Self { name: name.into(), about: about.into(), null: None, read }
    }

    /// Whether each row has a value.
    pub(super) fn is_required(&self) -> bool {
        self.null.is_none()
    }

    /// What engines show of it.
    pub(super) fn doc(&self) -> String {
        let null = self.null.iter().map(|null| format!("; null: {null}"));
        format!("{}{}", self.about, null.collect::<String>())
    }
}

/// An amount, its minor units, their exponent and its currency.
fn money(name: &str, about: &str, null: &str, read: fn(&Row<'_>) -> Option<Money>) -> [Column; 4] {
    let part = |part: &str, about: String, read| Column::new(format!("{name}_{part}"), about, null, read);
    let too_large = format!("{null}, or it has more than 12 digits before the point");
    [
        Column::new(name, format!("{about}, in {name}_currency"), too_large, Read::Amount(read)),
        part("minor", format!("{name} in units of 10^-{name}_exponent"), Read::Minor(read)),
        part("exponent", format!("decimals of {name}_minor"), Read::Exponent(read)),
        part("currency", format!("currency of {name}, ISO 4217"), Read::Currency(read)),
    ]
}

/// A list as JSON; nothing where it is empty.
fn list<T: serde::Serialize>(list: &[T]) -> Option<String> {
    if list.is_empty() { None } else { serde_json::to_string(list).ok() }
}

/// The event of a row of the family's table, equal to the one that was landed, but for what its columns cannot hold: of a
/// figure that is there, a reason other than `present`; and numbers in the evidence of an alert that are not finite. Nothing
/// there would be of use either.
pub(super) fn restored(family: Family, row: Stored<'_>) -> Result<Event, Misfit> {
    Ok(match family {
        Family::Offer => Event::Offer(Box::new(offers::restored(row)?)),
        Family::Sale => Event::Sale(Box::new(sales::restored(row)?)),
        Family::Inventory => Event::Inventory(Box::new(inventory::restored(row)?)),
        Family::Features => Event::Features(Box::new(features::restored(row)?)),
        Family::Alert => Event::Alert(Box::new(alerts::restored(row)?)),
        other => unreachable!("no table holds {}", other.name()),
    })
}

/// The value of a family in its own table.
macro_rules! family {
    ($name:ident, $variant:ident) => {
        fn $name<'a>(row: &Row<'a>) -> &'a skuflow_schemas::$variant {
            match row.content {
                super::Content::Event(skuflow_schemas::Event::$variant(event)) => event,
                other => unreachable!("a table of another family was given {other:?}"),
            }
        }
    };
}
use family;

#[cfg(test)]
mod tests;
