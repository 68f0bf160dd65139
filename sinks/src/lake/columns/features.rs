//! Columns of `curated.features`.

use std::collections::BTreeMap;

use skuflow_schemas::{Change, FEATURES, FeatureSpec, Values};

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

fn figure(spec: &FeatureSpec, read: fn(&Values) -> Option<f64>) -> Column {
    let about = format!("{}; unit: {}; window: {}", spec.formula, spec.unit, spec.window);
    Column::new(spec.name, about, spec.null, Read::Figure(read))
}

pub(super) fn values<'a>(row: &Row<'a>) -> &'a Values {
    &vector(row).values
}

#[rustfmt::skip]
pub(in crate::lake) fn features() -> Vec<Column> {
    let mut own = vec![
        Column::required("product", "the product", Read::Text(|row| Some(&vector(row).product))),
        Column::new("currency", "currency of all prices", "neither the catalog entry nor an own price states it", Read::Text(|row| vector(row).currency.as_deref())),
    ];
    own.extend(FEATURES.iter().zip(Values::READ).map(|(spec, read)| figure(spec, read)));
    own.extend([
        Column::new("nulls", "why figures are null, a JSON object of names and reasons", "no figure is", Read::Json(nulls)),
        Column::new("change_listing", "id of the listing whose offer changed", "no offer changed", Read::Text(|row| Some(&change(row)?.listing))),
        Column::new("change_seller", "who sells there", "no offer changed, or the source names nobody", Read::Text(|row| change(row)?.seller.as_deref())),
        Column::new("change_role", "what the listing is to the product", "no offer changed", Read::Text(|row| Some(change(row)?.role.name()))),
    ]);
    own.extend(money("change_price", "landed price after the change", "no offer changed, or it states none", |row| change(row)?.price));
    own.extend(money("change_previous_price", "landed price before it", "no offer changed, or none was known", |row| change(row)?.previous_price));
    own.extend([
        Column::new("change_availability", "availability after the change", "no offer changed", Read::Text(|row| Some(change(row)?.availability.name()))),
        Column::new("change_previous_availability", "availability before it", "no offer changed", Read::Text(|row| Some(change(row)?.previous_availability.name()))),
        Column::new("change_buy_box", "Buy Box after the change", "no offer changed", Read::Text(|row| Some(change(row)?.buy_box.name()))),
        Column::new("change_previous_buy_box", "Buy Box before it", "no offer changed", Read::Text(|row| Some(change(row)?.previous_buy_box.name()))),
        Column::new("change_entered", "whether the seller is new on the product: without an offer in the last 30 days", "no offer changed", Read::Flag(|row| Some(change(row)?.entered))),
    ]);
    around(own)
}
