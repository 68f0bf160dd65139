//! Columns of `processed.inventory`.

use super::common::around;
use super::{Column, Read, Row, family, list};

family!(stock, Inventory);

pub(in crate::lake) fn inventory() -> Vec<Column> {
    around(vec![
        Column::required("native_id", Read::Text(|row| Some(&stock(row).native_id))),
        Column::required("location", Read::Text(|row| Some(&stock(row).location))),
        Column::required("quantity", Read::Long(|row| Some(stock(row).quantity))),
        Column::required("relation", Read::Text(|row| Some(stock(row).relation.name()))),
        Column::new("suspect", Read::Json(|row| list(&stock(row).suspect))),
    ])
}
