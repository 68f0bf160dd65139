//! Columns of `processed.inventory`.

use super::common::around;
use super::{Column, Read, Row, family, list};

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
