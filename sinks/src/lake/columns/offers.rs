//! Columns of `processed.offers`.

use skuflow_schemas::{Extraction, Offer, Pack, Vantage};

use super::common::{self, around};
use super::{Column, Misfit, Read, Row, Stored, family, list, money};

family!(offer, Offer);

#[rustfmt::skip]
pub(in crate::lake) fn offers() -> Vec<Column> {
    let mut own = vec![
        Column::required("native_id", "id of the listing in its marketplace", Read::Text(|row| Some(&offer(row).native_id))),
        Column::new("seller", "who sells", "the source names nobody, as where a listing has one seller", Read::Text(|row| offer(row).seller.as_deref())),
    ];
    own.extend(money("price", "price of one unit, without shipping", "the source does not say", |row| offer(row).price));
    own.extend(money("shipping", "shipping of one unit, zero where it is free", "it is not known", |row| offer(row).shipping));
    own.extend(money("landed_price", "price with shipping, as the source states it", "the source does not say", |row| offer(row).landed_price));
    own.extend(money("list_price", "the struck-out or recommended price", "the source does not say", |row| offer(row).list_price));
    own.extend([
        Column::required("availability", "whether and how it can be had", Read::Text(|row| Some(offer(row).availability.name()))),
        Column::new("stock_level", "units left", "the source does not say", Read::Long(|row| offer(row).stock_level)),
        Column::required("condition", "condition of the goods", Read::Text(|row| Some(offer(row).condition.name()))),
        Column::required("fulfilment", "who ships", Read::Text(|row| Some(offer(row).fulfilment.name()))),
        Column::required("buy_box", "whether the offer holds the Buy Box", Read::Text(|row| Some(offer(row).buy_box.name()))),
        Column::new("offer_count", "offers that stand on the listing", "the source does not say", Read::Long(|row| offer(row).offer_count)),
        Column::new("ranks", "sales ranks, a JSON list of category and rank, 1 is best", "the source states none", Read::Json(|row| list(&offer(row).ranks))),
        Column::new("rating", "mean rating, stars of rating_best", "the source does not say", Read::Double(|row| offer(row).rating)),
        Column::new("rating_best", "the best rating there is, stars", "it is 5", Read::Double(|row| offer(row).rating_best)),
        Column::new("review_count", "reviews so far", "the source does not say", Read::Long(|row| offer(row).review_count)),
        Column::new("vantage_country", "country it was looked at from, ISO 3166", "from anywhere", Read::Text(|row| offer(row).vantage.country.as_deref())),
        Column::new("vantage_postal", "postal code it was looked at from", "from anywhere", Read::Text(|row| offer(row).vantage.postal.as_deref())),
        Column::new("vantage_membership", "membership or loyalty tier it was looked at with", "without any", Read::Text(|row| offer(row).vantage.membership.as_deref())),
        Column::new("extraction_method", "how it was read: api, file, json-ld and so on", "the source does not say", Read::Text(|row| Some(offer(row).extraction.as_ref()?.method.as_str()))),
        Column::new("extraction_confidence", "how sure that is, 0 to 1", "the source does not say", Read::Double(|row| offer(row).extraction.as_ref()?.confidence)),
        Column::new("suspect", "rules that found it suspect and let it pass, a JSON list of their ids", "none did", Read::Json(|row| list(&offer(row).suspect))),
        Column::new("pack_quantity", "how much of the goods one unit holds, in pack_unit", "the source does not say", Read::Double(|row| Some(offer(row).pack.as_ref()?.quantity))),
        Column::new("pack_unit", "g, kg, ml, l or piece", "the source does not say", Read::Text(|row| Some(offer(row).pack.as_ref()?.unit.as_str()))),
    ]);
    around(own)
}

pub(super) fn restored(row: Stored<'_>) -> Result<Offer, Misfit> {
    let extraction = match row.get("extraction_method")? {
        Some(method) => Some(Extraction { method, confidence: row.get("extraction_confidence")? }),
        None => None,
    };
    let pack = match row.get("pack_unit")? {
        Some(unit) => Some(Pack { quantity: row.must("pack_quantity")?, unit }),
        None => None,
    };
    Ok(Offer {
        envelope: common::restored(row)?,
        native_id: row.must("native_id")?,
        seller: row.get("seller")?,
        price: row.get("price")?,
        shipping: row.get("shipping")?,
        landed_price: row.get("landed_price")?,
        list_price: row.get("list_price")?,
        availability: row.named("availability")?,
        stock_level: row.get("stock_level")?,
        condition: row.named("condition")?,
        fulfilment: row.named("fulfilment")?,
        buy_box: row.named("buy_box")?,
        offer_count: row.get("offer_count")?,
        ranks: row.json("ranks")?,
        rating: row.get("rating")?,
        rating_best: row.get("rating_best")?,
        review_count: row.get("review_count")?,
        vantage: Vantage {
            country: row.get("vantage_country")?,
            postal: row.get("vantage_postal")?,
            membership: row.get("vantage_membership")?,
        },
        extraction,
        suspect: row.json("suspect")?,
        track: None, // copies for products are not in the table
        pack,
    })
}
