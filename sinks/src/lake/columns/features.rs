//! Columns of `curated.features`.

use std::collections::BTreeMap;

use skuflow_schemas::{Change, FEATURES, Values};

use super::common::around;
use super::{Column, Read, Row, family, money};

family!(vector, Features);

fn change<'a>(row: &Row<'a>) -> Option<&'a Change> {
    vector(row).change.as_ref()
}

/// Figures that are null, and why, as a JSON object.
fn nulls(row: &Row<'_>) -> Option<String> {
    let (values, reasons) = (vector(row).values.in_order(), vector(row).reasons.in_order());
    let nulls = FEATURES.iter().zip(values).zip(reasons).filter(|((_, value), _)| value.is_none());
    let nulls: BTreeMap<_, _> = nulls.map(|((spec, _), reason)| (spec.name, reason)).collect();
    if nulls.is_empty() { None } else { serde_json::to_string(&nulls).ok() }
}

pub(super) fn values<'a>(row: &Row<'a>) -> &'a Values {
    &vector(row).values
}

#[rustfmt::skip]
pub(in crate::lake) fn features() -> Vec<Column> {
    let mut own = vec![
        Column::required("product", Read::Text(|row| Some(&vector(row).product))),
        Column::new("currency", Read::Text(|row| vector(row).currency.as_deref())),
    ];
    own.extend(FEATURES.iter().zip(Values::READ).map(|(spec, read)| Column::new(spec.name, Read::Figure(read))));
    own.extend([
        Column::new("nulls", Read::Json(nulls)),
        Column::new("change_listing", Read::Text(|row| Some(&change(row)?.listing))),
        Column::new("change_seller", Read::Text(|row| change(row)?.seller.as_deref())),
        Column::new("change_role", Read::Text(|row| Some(change(row)?.role.name()))),
    ]);
    own.extend(money("change_price", |row| change(row)?.price));
    own.extend(money("change_previous_price", |row| change(row)?.previous_price));
    own.extend([
        Column::new("change_availability", Read::Text(|row| Some(change(row)?.availability.name()))),
        Column::new("change_previous_availability", Read::Text(|row| Some(change(row)?.previous_availability.name()))),
        Column::new("change_buy_box", Read::Text(|row| Some(change(row)?.buy_box.name()))),
        Column::new("change_previous_buy_box", Read::Text(|row| Some(change(row)?.previous_buy_box.name()))),
        Column::new("change_entered", Read::Flag(|row| Some(change(row)?.entered))),
    ]);
    around(own)
}
