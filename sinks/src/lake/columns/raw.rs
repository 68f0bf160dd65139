//! Columns of the tables of zone `raw`: records as they came.

use serde_json::{Value, json};
use skuflow_schemas::{Envelope, Timestamp};

use super::common::about;
use super::{Column, Content, Read, Row};
use crate::RawRecord;

fn raw<'a>(row: &Row<'a>) -> &'a RawRecord {
    match row.content {
        Content::Raw(raw) => raw,
        Content::Event(event) => unreachable!("a raw table was given a {}", event.family().name()),
    }
}

fn envelope<'a>(row: &Row<'a>) -> Option<&'a Envelope> {
    raw(row).envelope.as_ref()
}

/// The record, what its event says of itself where it is one, and where it was read.
pub(in crate::lake) fn raw_columns() -> Vec<Column> {
    let mut columns = vec![
        Column::new(
            "key",
            "the record's key as it came",
            "it has none",
            Read::Bytes(|row| raw(row).record.key.as_deref()),
        ),
        Column::new(
            "value",
            "its value as it came",
            "it has none",
            Read::Payload(|row| raw(row).record.value.as_deref()),
        ),
        Column::new(
            "headers",
            "its headers, a JSON list of name and value or hex",
            "it has none",
            Read::Json(|row| headers(&raw(row).record.headers)),
        ),
    ];
    columns.extend(of_event());
    columns.extend([
        Column::required("_topic", "the topic the record was read from", Read::Text(|row| Some(row.topic))),
        Column::required("_partition", "its partition", Read::Long(|row| Some(row.partition.into()))),
        Column::required("_offset", "its offset in the partition", Read::Rising(|row| Some(row.offset as i64))),
        Column::required(
            "_appended_at",
            "when the broker took the record in",
            Read::Time(|row| Some(micros(raw(row).appended_at))),
        ),
        Column::required("_ingested_at", "when the lake took the record in", Read::Time(|row| Some(row.ingested_at))),
    ]);
    columns
}

fn of_event() -> [Column; 9] {
    [
        Column::new(
            "event_id",
            about::EVENT_ID,
            "the value is no event that can be read",
            Read::Id(|row| Some(envelope(row)?.event_id)),
        ),
        Column::new(
            "customer",
            about::CUSTOMER,
            "the value is no event that can be read",
            Read::Text(|row| Some(&envelope(row)?.customer)),
        ),
        Column::new(
            "source",
            about::SOURCE,
            "the value is no event that can be read",
            Read::Text(|row| Some(&envelope(row)?.source)),
        ),
        Column::new(
            "marketplace",
            about::MARKETPLACE,
            "the value is no event that can be read",
            Read::Text(|row| Some(&envelope(row)?.marketplace)),
        ),
        Column::new(
            "observed_at",
            about::OBSERVED_AT,
            "the value is no event that can be read",
            Read::Time(|row| Some(micros(envelope(row)?.observed_at))),
        ),
        Column::new(
            "ingested_at",
            about::INGESTED_AT,
            "the value is no event that can be read",
            Read::Time(|row| Some(micros(envelope(row)?.ingested_at))),
        ),
        Column::new(
            "source_event_id",
            about::SOURCE_EVENT_ID,
            "the value is no event that can be read, or the source gives none",
            Read::Text(|row| envelope(row)?.source_event_id.as_deref()),
        ),
        Column::new(
            "source_version",
            about::SOURCE_VERSION,
            "the value is no event that can be read, or the source states none",
            Read::Text(|row| envelope(row)?.source_version.as_deref()),
        ),
        Column::new(
            "cause_id",
            about::CAUSE_ID,
            "the value is no event that can be read, or it was made from none",
            Read::Id(|row| envelope(row)?.cause_id),
        ),
    ]
}

fn micros(at: Timestamp) -> i64 {
    at.micros()
}

/// A list of names and values as JSON; a value that is no UTF-8 is given as `hex`. Nothing where there are none.
fn headers(headers: &[(String, Vec<u8>)]) -> Option<String> {
    let shown = headers.iter().map(|(name, value)| match str::from_utf8(value) {
        Ok(text) => json!({ "name": name, "value": text }),
        Err(_) => json!({ "name": name, "hex": hex(value) }),
    });
    (!headers.is_empty()).then(|| Value::Array(shown.collect()).to_string())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_whatever_is_in_them() {
        let given = [("a".to_owned(), b"\"x\"".to_vec()), ("b".to_owned(), vec![0xff, 0])];
        let expected = r#"[{"name":"a","value":"\"x\""},{"name":"b","hex":"ff00"}]"#;
        assert_eq!(headers(&given).as_deref(), Some(expected));
        assert_eq!(headers(&[]), None);
    }
}
