//! Columns of `curated.features`.

use std::collections::BTreeMap;

use serde::de::value::{Error, F64Deserializer, MapDeserializer};
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use skuflow_schemas::{Change, FEATURES, FeatureSpec, Features, Reasons, Values};

use super::common::{self, around};
use super::{Column, Misfit, Read, Row, Stored, family, money};

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

pub(super) fn restored(row: Stored<'_>) -> Result<Features, Misfit> {
    let (values, reasons) = figures(row)?;
    Ok(Features {
        envelope: common::restored(row)?,
        product: row.must("product")?,
        currency: row.get("currency")?,
        values,
        reasons,
        change: restored_change(row)?,
    })
}

fn restored_change(row: Stored<'_>) -> Result<Option<Change>, Misfit> {
    let Some(listing) = row.get("change_listing")? else { return Ok(None) };
    Ok(Some(Change {
        listing,
        seller: row.get("change_seller")?,
        role: row.named("change_role")?,
        price: row.get("change_price")?,
        previous_price: row.get("change_previous_price")?,
        availability: row.named("change_availability")?,
        previous_availability: row.named("change_previous_availability")?,
        buy_box: row.named("change_buy_box")?,
        previous_buy_box: row.named("change_previous_buy_box")?,
        entered: row.get("change_entered")?.unwrap_or_default(),
    }))
}

/// The figures that are there, and why others are not: of one that was added after the row was written, nobody said.
fn figures(row: Stored<'_>) -> Result<(Values, Reasons), Misfit> {
    const PRESENT: &str = "present";
    let nulls: BTreeMap<String, String> = row.json("nulls")?;
    let (mut values, mut reasons) = (Vec::new(), Vec::new());
    for FeatureSpec { name, .. } in FEATURES {
        let value = row.get(name)?.map(|value| (*name, Present(value)));
        let reason = if value.is_some() { Some(PRESENT) } else { nulls.get(*name).map(String::as_str) };
        values.extend(value);
        reasons.extend(reason.map(|reason| (*name, reason)));
    }
    let values = Values::deserialize(MapDeserializer::<_, Error>::new(values.into_iter()));
    let reasons = Reasons::deserialize(MapDeserializer::<_, Error>::new(reasons.into_iter()));
    let unknown = |error| format!("its figures: {error}");
    Ok((values.map_err(unknown)?, reasons.map_err(unknown)?))
}

/// A figure that is there, for a field that may have none.
struct Present(f64);

impl<'de> Deserializer<'de> for Present {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(F64Deserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_> for Present {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
