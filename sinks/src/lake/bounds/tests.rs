//! No bound is too narrow.

use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;

/// Bounds of three columns, written in row groups of two rows, as text.
fn check(values: &[(Option<&str>, Option<i64>)], cut_at: usize, expected: &[&str; 3]) {
    let decimal = PrimitiveType::Decimal { precision: 18, scale: 6 };
    let kinds = [("text", PrimitiveType::String), ("long", PrimitiveType::Long), ("amount", decimal)];
    let fields =
        (1..).zip(kinds).map(|(id, (name, kind))| Arc::new(NestedField::optional(id, name, Type::Primitive(kind))));
    let schema = Schema::builder().with_fields(fields).build().expect("three fields");
    let arrow = Arc::new(schema_to_arrow_schema(&schema).expect("plain types"));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2))
        .set_statistics_truncate_length(Some(cut_at))
        .build();
    let longs = || values.iter().map(|(_, long)| *long);
    let amounts: Decimal128Array = longs().map(|long| long.map(i128::from)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(values.iter().map(|(text, _)| *text).collect::<StringArray>()),
        Arc::new(longs().collect::<Int64Array>()),
        Arc::new(amounts.with_precision_and_scale(18, 6).expect("it fits")),
    ];
    let mut writer = ArrowWriter::try_new(Vec::new(), arrow.clone(), Some(properties)).expect("a schema");
    writer.write(&RecordBatch::try_new(arrow, columns).expect("of one length")).expect("memory");
    let facts = Facts::of(&writer.close().expect("memory"), &schema);
    assert_eq!(facts.splits.len(), values.len().div_ceil(2));
    let nulls = values.iter().filter(|(text, _)| text.is_none()).count() as u64;
    assert_eq!((facts.values[&1], facts.nulls[&1]), (values.len() as u64, nulls));
    for (id, expected) in (1..).zip(expected) {
        let bounds = facts.lower.get(&id).zip(facts.upper.get(&id));
        let found = bounds.map_or("none".to_owned(), |(low, high)| format!("{low}..{high}"));
        assert_eq!(found, *expected, "field {id} of {values:?}");
    }
}

#[test]
fn bounds_hold_all_rows_of_all_row_groups() {
    let value = |text, long| (Some(text), Some(long));
    check(
        &[value("m1", 5), value("m2", -7), value("a", 1 << 40), value("z", 0)],
        32,
        &["\"a\"..\"z\"", "-7..1099511627776", "-0.000007..1099511.627776"],
    );
    // Long texts are cut: down for the lower bound, up for the upper one.
    check(
        &[value("m1", 1), value("m2", 1), value("aaaaaaaa", 1), value("zzzzzzzz", 1)],
        4,
        &["\"aaaa\"..\"zzz{\"", "1..1", "0.000001..0.000001"],
    );
    // Nothing is larger than this when it is cut, so it stays whole.
    let highest = "\u{10ffff}".repeat(4);
    let whole = format!("\"a\"..\"{highest}\"");
    let values = [value("m", 1), value(&highest, 1), value("a", 1), value("b", 1)];
    check(&values, 4, &[&whole, "1..1", "0.000001..0.000001"]);
}

#[test]
fn a_row_group_that_does_not_say_leaves_no_bounds() {
    let between = || Bounds::Between(Datum::long(3), Datum::long(4));
    for bounds in [between().and(Bounds::Unknown), Bounds::Unknown.and(between()), Bounds::Unknown.and(Bounds::Empty)] {
        assert!(matches!(bounds, Bounds::Unknown));
    }
    assert!(matches!(between().and(Bounds::Empty), Bounds::Between(low, _) if low == Datum::long(3)));
}

#[test]
fn a_row_group_without_values_has_no_say() {
    check(
        &[(None, None), (None, None), (Some("b"), Some(2)), (None, None)],
        32,
        &["\"b\"..\"b\"", "2..2", "0.000002..0.000002"],
    );
    check(&[(None, None)], 32, &["none", "none", "none"]);
}
