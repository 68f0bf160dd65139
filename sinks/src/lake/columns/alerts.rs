//! Columns of `curated.alerts`.

use super::common::around;
use super::{Column, Read, Row, family, list};

family!(alert, Alert);

pub(in crate::lake) fn alerts() -> Vec<Column> {
    around(vec![
        Column::required("product", Read::Text(|row| Some(&alert(row).product))),
        Column::required("rule", Read::Text(|row| Some(&alert(row).rule))),
        Column::required("severity", Read::Text(|row| Some(alert(row).severity.name()))),
        Column::required("message", Read::Text(|row| Some(&alert(row).message))),
        Column::new("seller", Read::Text(|row| alert(row).seller.as_deref())),
        Column::required("dedup_key", Read::Id(|row| Some(alert(row).dedup_key))),
        Column::new("value", Read::Double(|row| alert(row).value)),
        Column::new("evidence", Read::Json(|row| list(&alert(row).evidence))),
    ])
}
