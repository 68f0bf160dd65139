//! Each column has its part in what comes back.

use std::sync::Arc;

use arrow_array::{Int64Array, StringArray};
use skuflow_schemas::{Availability, Event, Family, Reason};

use super::super::{Content, Read, Row, array, restored};
use super::*;
use crate::lake::events::drawn::{drawn, typed};
use crate::lake::tables::Table;

/// The columns of a row.
fn piece(table: &Table, event: &Event) -> Piece {
    let row = Row { content: Content::Event(event), topic: "t", partition: 7, offset: 11, ingested_at: 5 };
    let columns = table.columns().into_iter();
    let columns = columns.map(|column| (column.name.clone(), array(&column, [row].iter()).expect("short")));
    Piece { columns: columns.collect() }
}

/// What comes of a row whose file does not have the column.
fn without(table: &Table, event: &Event, name: &str) -> Result<Event, Misfit> {
    let mut piece = piece(table, event);
    assert!(piece.columns.remove(name).is_some());
    restored(table.family, piece.row(0))
}

#[test]
fn a_row_lacks_what_its_file_lacks() {
    for table in typed() {
        let (bare, full) = (drawn(table, 0), drawn(table, 1));
        for column in table.columns() {
            let name = &column.name;
            let found = [&bare, &full].map(|event| without(table, event, name));
            let is_equal = found == [Ok(bare.clone()), Ok(full.clone())];
            // Others say the same, or it says where the row was read.
            let is_spare = matches!(column.read, Read::Amount(_)) || name.starts_with('_');
            assert_eq!(is_equal, is_spare, "{name}");
            let goes_with_others =
                matches!(column.read, Read::Exponent(_) | Read::Currency(_)) || name == "pack_quantity";
            for misfit in found.into_iter().filter_map(Result::err) {
                assert!(column.is_required() || goes_with_others, "{misfit}");
                assert_eq!(misfit, format!("`{name}` holds nothing"));
            }
        }
    }
}

/// What comes of an event of the first table with another column in the place of one.
fn changed(name: &str, column: ArrayRef) -> Result<Event, Misfit> {
    let table = typed().next().expect("offers");
    let mut piece = piece(table, &drawn(table, 1));
    assert!(piece.columns.insert(name.into(), column).is_some());
    restored(table.family, piece.row(0))
}

#[test]
fn what_was_never_written_is_told() {
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let long = |long: i64| Arc::new(Int64Array::from(vec![long])) as ArrayRef;
    let check = |name: &str, column: ArrayRef, expected: &str| {
        let misfit = changed(name, column).expect_err(name);
        assert_eq!(misfit, expected);
    };
    check("native_id", long(1), "`native_id` is Int64, which is not what we write");
    check("stock_level", text("1"), "`stock_level` is Utf8, which is not what we write");
    check("price_exponent", long(256), "`price_exponent` holds 256");
    check("event_id", text("A"), "`event_id` holds \"A\": an event id has 32 hex digits");
    assert!(changed("price_currency", text("€")).is_err_and(|misfit| misfit.starts_with("`price_currency`: `€`")));
    assert!(changed("ranks", text("[1]")).is_err_and(|misfit| misfit.starts_with("`ranks` holds \"[1]\": ")));
}

#[test]
fn what_a_later_version_calls_something_is_unknown() {
    let found = changed("availability", Arc::new(StringArray::from(vec!["on_the_moon"])));
    assert!(matches!(found, Ok(Event::Offer(offer)) if offer.availability == Availability::Unknown));
}

#[test]
fn a_figure_that_is_younger_than_the_row_is_null_for_no_known_reason() {
    let table = typed().find(|table| table.family == Family::Features).expect("there");
    let Event::Features(expected) = drawn(table, 1) else { unreachable!("it is a vector") };
    let mut piece = piece(table, &Event::Features(expected.clone()));
    piece.columns.remove("score_overall");
    let Ok(Event::Features(found)) = restored(table.family, piece.row(0)) else { panic!("it is whole") };
    assert_eq!((found.values.score_overall, found.reasons.score_overall), (None, Reason::Unknown));
    assert_eq!((found.values.price_index, found.reasons.price_index), (expected.values.price_index, Reason::Present));
}
