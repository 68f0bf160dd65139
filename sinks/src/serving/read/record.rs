//! Rows as structs.

use skuflow_schemas::{BusinessDate, EventId, Text, Timestamp};

use crate::serving::cells::{Cell, Kind, Row};

/// What stands in one column.
pub(super) trait Column: Sized {
    const KIND: Kind;

    fn of(cell: Cell) -> Option<Self>;
}

macro_rules! column {
    ($($type:ty, $kind:ident;)+) => {
        $(impl Column for $type {
            const KIND: Kind = Kind::$kind;

            fn of(cell: Cell) -> Option<Self> {
                if let Cell::$kind(value) = cell { Some(value) } else { None }
            }
        })+
    };
}

column! {
    Text, Text;
    i64, Int;
    f64, Real;
    Timestamp, Instant;
    BusinessDate, Day;
    EventId, Id;
}

impl<T: Column> Column for Option<T> {
    const KIND: Kind = T::KIND;

    fn of(cell: Cell) -> Option<Self> {
        if matches!(cell, Cell::Null) { Some(None) } else { T::of(cell).map(Some) }
    }
}

/// What a query finds.
pub(super) trait Record: Sized {
    /// Its columns, in the order of the query.
    const KINDS: &'static [Kind];

    fn of(row: Row) -> Option<Self>;
}

/// A record whose fields are the columns of its query.
macro_rules! record {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)+
        }

        impl Record for $name {
            const KINDS: &'static [Kind] = &[$(<$type as Column>::KIND),+];

            fn of(row: Row) -> Option<Self> {
                let mut cells = row.into_iter();
                Some(Self { $($field: Column::of(cells.next()?)?,)+ })
            }
        }
    };
}
pub(super) use record;
