//! Columns of `processed.offers`.

use super::common::around;
use super::{Column, Read, Row, family, list, money};

family!(offer, Offer);

#[rustfmt::skip]
pub(in crate::lake) fn offers() -> Vec<Column> {
    let mut own = vec![
        Column::required("native_id", Read::Text(|row| Some(&offer(row).native_id))),
        Column::new("seller", Read::Text(|row| offer(row).seller.as_deref())),
    ];
    own.extend(money("price", |row| offer(row).price));
    own.extend(money("shipping", |row| offer(row).shipping));
    own.extend(money("landed_price", |row| offer(row).landed_price));
    own.extend(money("list_price", |row| offer(row).list_price));
    own.extend([
        Column::required("availability", Read::Text(|row| Some(offer(row).availability.name()))),
        Column::new("stock_level", Read::Long(|row| offer(row).stock_level)),
        Column::required("condition", Read::Text(|row| Some(offer(row).condition.name()))),
        Column::required("fulfilment", Read::Text(|row| Some(offer(row).fulfilment.name()))),
        Column::required("buy_box", Read::Text(|row| Some(offer(row).buy_box.name()))),
        Column::new("offer_count", Read::Long(|row| offer(row).offer_count)),
        Column::new("ranks", Read::Json(|row| list(&offer(row).ranks))),
        Column::new("rating", Read::Double(|row| offer(row).rating)),
        Column::new("rating_best", Read::Double(|row| offer(row).rating_best)),
        Column::new("review_count", Read::Long(|row| offer(row).review_count)),
        Column::new("vantage_country", Read::Text(|row| offer(row).vantage.country.as_deref())),
        Column::new("vantage_postal", Read::Text(|row| offer(row).vantage.postal.as_deref())),
        Column::new("vantage_membership", Read::Text(|row| offer(row).vantage.membership.as_deref())),
        Column::new("extraction_method", Read::Text(|row| Some(offer(row).extraction.as_ref()?.method.as_str()))),
        Column::new("extraction_confidence", Read::Double(|row| offer(row).extraction.as_ref()?.confidence)),
        Column::new("suspect", Read::Json(|row| list(&offer(row).suspect))),
        Column::new("pack_quantity", Read::Double(|row| Some(offer(row).pack.as_ref()?.quantity))),
        Column::new("pack_unit", Read::Text(|row| Some(offer(row).pack.as_ref()?.unit.as_str()))),
    ]);
    around(own)
}
