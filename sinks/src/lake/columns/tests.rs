//! Names and values.

use std::collections::HashSet;

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int64Type};
use skuflow_schemas::{Currency, Offer};

use super::*;
use crate::lake::tables::TABLES;

#[test]
fn names_are_told_apart_whatever_their_case() {
    for table in &TABLES {
        let columns = table.columns();
        let names: HashSet<String> = columns.iter().map(|column| column.name.to_lowercase()).collect();
        assert_eq!(names.len(), columns.len(), "{}", table.full_name);
        assert!(table.order().iter().all(|key| names.contains(*key)), "{} is sorted by columns", table.full_name);
    }
}

/// The arrays of a money column, for these amounts.
fn amounts(amounts: &[Option<(i64, u8)>]) -> (Vec<Option<i128>>, Vec<Option<i64>>) {
    let currency = Currency::parse("EUR").expect("known");
    let events: Vec<Event> = amounts
        .iter()
        .map(|amount| {
            let price = amount.map(|(minor, exponent)| Money { minor, currency, exponent });
            Event::Offer(Box::new(Offer { price, ..Offer::default() }))
        })
        .collect();
    let rows: Vec<Row<'_>> = events
        .iter()
        .map(|event| Row { content: Content::Event(event), topic: "t", partition: 0, offset: 0, ingested_at: 0 })
        .collect();
    let column = |name: &str| {
        let column = offers().into_iter().find(|column| column.name == name).expect("there");
        array(&column, rows.iter()).expect("short")
    };
    let (amount, minor) = (column("price"), column("price_minor"));
    let amount = amount.as_primitive::<Decimal128Type>();
    assert_eq!((amount.precision(), amount.scale()), (18, 6));
    (amount.iter().collect(), minor.as_primitive::<Int64Type>().iter().collect())
}

#[test]
fn an_amount_that_does_not_fit_is_in_its_minor_units_alone() {
    let (decimals, minors) = amounts(&[
        None,
        Some((199, 2)),
        Some((-1, 6)),
        Some((999_999_999_999, 0)),
        Some((1_000_000_000_000, 0)),
        Some((i64::MIN, 0)),
    ]);
    assert_eq!(decimals, [None, Some(1_990_000), Some(-1), Some(999_999_999_999_000_000), None, None]);
    assert_eq!(minors, [None, Some(199), Some(-1), Some(999_999_999_999), Some(1_000_000_000_000), Some(i64::MIN)]);
}

#[test]
fn ids_are_hex() {
    let mut offer = Offer::default();
    offer.envelope.event_id = EventId([0xab; 16]);
    let event = Event::Offer(Box::new(offer));
    let row = Row { content: Content::Event(&event), topic: "t", partition: 0, offset: 0, ingested_at: 0 };
    let ids = |name: &str| {
        let column = offers().into_iter().find(|column| column.name == name).expect("there");
        let array = array(&column, [row].iter()).expect("short");
        array.as_string::<i32>().iter().map(|id| id.map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(ids("event_id"), [Some("ab".repeat(16))]);
    assert_eq!(ids("cause_id"), [None]);
    assert!(null_array(&arrow_schema::DataType::Utf8, 3).null_count() == 3);
}
