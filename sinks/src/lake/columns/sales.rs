//! Columns of `processed.sales`.

use super::common::around;
use super::{Column, Read, Row, family, list, money};

family!(sale, Sale);

pub(in crate::lake) fn sales() -> Vec<Column> {
    let mut own = vec![
        Column::required("native_id", Read::Text(|row| Some(&sale(row).native_id))),
        Column::required("order_id", Read::Text(|row| Some(&sale(row).order_id))),
        Column::required("line_id", Read::Text(|row| Some(&sale(row).line_id))),
        Column::required("units", Read::Long(|row| Some(sale(row).units))),
    ];
    own.extend(money("unit_price", |row| sale(row).unit_price));
    own.extend([
        Column::required("status", Read::Text(|row| Some(sale(row).status.name()))),
        Column::required("business_date", Read::Date(|row| Some(sale(row).business_date.0))),
        Column::new("suspect", Read::Json(|row| list(&sale(row).suspect))),
    ]);
    around(own)
}
