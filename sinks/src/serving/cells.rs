//! What stands in a column.

use std::cmp::Ordering;

use serde::{Serialize, Serializer};
use skuflow_schemas::{BusinessDate, EventId, Text, Timestamp};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Text,
    Int,
    Real,
    Instant,
    Day,
    Id,
    Json,
}

/// A value of a column.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Text(Text),
    Int(i64),
    Real(f64),
    Instant(Timestamp),
    Day(BusinessDate),
    Id(EventId),
    /// As its text.
    Json(String),
}

/// A row: its cells, in the order of its table's columns.
pub(super) type Row = Vec<Cell>;

impl Cell {
    pub(super) fn text(value: impl Into<Text>) -> Self {
        Self::Text(value.into())
    }

    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::Json(serde_json::to_string(value).unwrap_or_default())
    }

    fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Null => return None,
            Self::Text(_) => Kind::Text,
            Self::Int(_) => Kind::Int,
            Self::Real(_) => Kind::Real,
            Self::Instant(_) => Kind::Instant,
            Self::Day(_) => Kind::Day,
            Self::Id(_) => Kind::Id,
            Self::Json(_) => Kind::Json,
        })
    }
}

/// Of one kind, as databases order them.
impl Ord for Cell {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Int(one), Self::Int(other)) => one.cmp(other),
            (Self::Real(one), Self::Real(other)) => one.total_cmp(other),
            (Self::Instant(one), Self::Instant(other)) => one.cmp(other),
            (Self::Day(one), Self::Day(other)) => one.cmp(other),
            (Self::Id(one), Self::Id(other)) => one.cmp(other),
            (Self::Json(one), Self::Json(other)) => one.cmp(other),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Cell {}

macro_rules! cell_of {
    ($($type:ty, $name:pat => $cell:expr;)+) => {
        $(impl From<$type> for Cell {
            fn from($name: $type) -> Self {
                $cell
            }
        })+
    };
}

cell_of! {
    &Text, text => Self::Text(text.clone());
    Text, text => Self::Text(text);
    &'static str, text => Self::text(text);
    String, text => Self::text(text);
    i64, number => Self::Int(number);
    u32, number => Self::Int(number.into());
    u64, number => Self::Int(number as i64);
    // Infinities are no figures: JSON has none, Postgres would take them.
    f64, number => if number.is_finite() { Self::Real(number) } else { Self::Null };
    Timestamp, at => Self::Instant(at);
    BusinessDate, day => Self::Day(day);
    EventId, id => Self::Id(id);
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Clone + Into<Cell>> From<&Option<T>> for Cell {
    fn from(value: &Option<T>) -> Self {
        value.clone().into()
    }
}

/// As `SQLite` keeps it.
impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_none(),
            Self::Text(text) => to.serialize_str(text),
            Self::Int(number) => to.serialize_i64(*number),
            Self::Real(number) => to.serialize_f64(*number),
            Self::Instant(at) => to.serialize_i64(at.micros()),
            Self::Day(day) => to.collect_str(day),
            Self::Id(id) => id.serialize(to),
            Self::Json(text) => to.serialize_str(text),
        }
    }
}

/// Some cells.
macro_rules! cells {
    ($($value:expr),+ $(,)?) => {
        [$($crate::serving::cells::Cell::from($value)),+]
    };
}
pub(super) use cells;

/// A row of cells.
macro_rules! row {
    ($($value:expr),+ $(,)?) => {
        vec![$($crate::serving::cells::Cell::from($value)),+]
    };
}
pub(super) use row;
