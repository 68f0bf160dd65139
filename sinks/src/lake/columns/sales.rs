//! Columns of `processed.sales`.

use skuflow_schemas::Sale;

use super::common::{self, around};
use super::{Column, Misfit, Read, Row, Stored, family, list, money};

family!(sale, Sale);

pub(in crate::lake) fn sales() -> Vec<Column> {
    let mut own = vec![
        Column::required(
            "native_id",
            "what was sold: id of the own listing in its marketplace (SKU)",
            Read::Text(|row| Some(&sale(row).native_id)),
        ),
        Column::required("order_id", "the order", Read::Text(|row| Some(&sale(row).order_id))),
        Column::required("line_id", "the line within the order", Read::Text(|row| Some(&sale(row).line_id))),
        Column::required("units", "units sold; negative: returned", Read::Long(|row| Some(sale(row).units))),
    ];
    own.extend(money("unit_price", "price of one unit as charged", "the source does not say", |row| {
        sale(row).unit_price
    }));
    own.extend([
        Column::required("status", "where the order line stands", Read::Text(|row| Some(sale(row).status.name()))),
        Column::required(
            "business_date",
            "the day in the marketplace's own time zone",
            Read::Date(|row| Some(sale(row).business_date.0)),
        ),
        Column::new(
            "suspect",
            "rules that found it suspect and let it pass, a JSON list of their ids",
            "none did",
            Read::Json(|row| list(&sale(row).suspect)),
        ),
    ]);
    around(own)
}

pub(super) fn restored(row: Stored<'_>) -> Result<Sale, Misfit> {
    Ok(Sale {
        envelope: common::restored(row)?,
        native_id: row.must("native_id")?,
        order_id: row.must("order_id")?,
        line_id: row.must("line_id")?,
        units: row.must("units")?,
        unit_price: row.get("unit_price")?,
        status: row.named("status")?,
        business_date: row.must("business_date")?,
        suspect: row.json("suspect")?,
        track: None, // copies for products are not in the table
    })
}
