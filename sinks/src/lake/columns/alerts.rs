//! Columns of `curated.alerts`.

use skuflow_schemas::Alert;

use super::common::{self, around};
use super::{Column, Misfit, Read, Row, Stored, family, list};

family!(alert, Alert);

pub(in crate::lake) fn alerts() -> Vec<Column> {
    around(vec![
        Column::required("product", "the product", Read::Text(|row| Some(&alert(row).product))),
        Column::required("rule", "id of the rule", Read::Text(|row| Some(&alert(row).rule))),
        Column::required(
            "severity",
            "how bad it is: info, warning or critical",
            Read::Text(|row| Some(alert(row).severity.name())),
        ),
        Column::required(
            "message",
            "the message, as the rule's template has it",
            Read::Text(|row| Some(&alert(row).message)),
        ),
        Column::new(
            "seller",
            "the seller it is about",
            "the rule is not about sellers",
            Read::Text(|row| alert(row).seller.as_deref()),
        ),
        Column::required(
            "dedup_key",
            "equal for every alert of this rule on this product and seller, 32 hex digits",
            Read::Id(|row| Some(alert(row).dedup_key)),
        ),
        Column::new(
            "value",
            "how far it went, in the rule's own measure",
            "the rule measures nothing",
            Read::Double(|row| alert(row).value),
        ),
        Column::new(
            "evidence",
            "the figures that the rule looked at, a JSON list of name, value and previous value",
            "the rule looked at none",
            Read::Json(|row| list(&alert(row).evidence)),
        ),
    ])
}

pub(super) fn restored(row: Stored<'_>) -> Result<Alert, Misfit> {
    Ok(Alert {
        envelope: common::restored(row)?,
        product: row.must("product")?,
        rule: row.must("rule")?,
        severity: row.named("severity")?,
        message: row.must("message")?,
        seller: row.get("seller")?,
        dedup_key: row.must("dedup_key")?,
        value: row.get("value")?,
        evidence: row.json("evidence")?, // JSON has no numbers that are not finite: such a one was written as none
    })
}
