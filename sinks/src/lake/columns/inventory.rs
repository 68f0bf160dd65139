//! Columns of `processed.inventory`.

use skuflow_schemas::Inventory;

use super::common::{self, around};
use super::{Column, Misfit, Read, Row, Stored, family, list};

family!(stock, Inventory);

pub(in crate::lake) fn inventory() -> Vec<Column> {
    around(vec![
        Column::required(
            "native_id",
            "id of the own listing in its marketplace (SKU)",
            Read::Text(|row| Some(&stock(row).native_id)),
        ),
        Column::required(
            "location",
            "the warehouse, shop or fulfilment centre",
            Read::Text(|row| Some(&stock(row).location)),
        ),
        Column::required("quantity", "stock that can be sold, units", Read::Long(|row| Some(stock(row).quantity))),
        Column::required(
            "relation",
            "how quantity relates to the true number",
            Read::Text(|row| Some(stock(row).relation.name())),
        ),
        Column::new(
            "suspect",
            "rules that found it suspect and let it pass, a JSON list of their ids",
            "none did",
            Read::Json(|row| list(&stock(row).suspect)),
        ),
    ])
}

pub(super) fn restored(row: Stored<'_>) -> Result<Inventory, Misfit> {
    Ok(Inventory {
        envelope: common::restored(row)?,
        native_id: row.must("native_id")?,
        location: row.must("location")?,
        quantity: row.must("quantity")?,
        relation: row.named("relation")?,
        suspect: row.json("suspect")?,
        track: None, // copies for products are not in the table
    })
}
