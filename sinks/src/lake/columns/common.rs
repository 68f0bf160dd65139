//! The columns of every table.

use skuflow_schemas::Envelope;

use super::{Column, Content, Read, Row};

fn envelope<'a>(row: &Row<'a>) -> &'a Envelope {
    match row.content {
        Content::Event(event) => event.envelope().expect("families with a table have an envelope"),
        Content::Raw(_) => unreachable!("raw tables have columns of their own"),
    }
}

/// What every event says about itself, then `own`, then where the row was read and when the lake took it in.
pub(super) fn around(own: Vec<Column>) -> Vec<Column> {
    let mut columns = vec![
        Column::required("event_id", Read::Id(|row| Some(envelope(row).event_id))),
        Column::required("customer", Read::Text(|row| Some(&envelope(row).customer))),
        Column::required("source", Read::Text(|row| Some(&envelope(row).source))),
        Column::required("marketplace", Read::Text(|row| Some(&envelope(row).marketplace))),
        Column::required("observed_at", Read::Time(|row| Some(envelope(row).observed_at.micros()))),
        Column::required("ingested_at", Read::Time(|row| Some(envelope(row).ingested_at.micros()))),
        Column::new("source_event_id", Read::Text(|row| envelope(row).source_event_id.as_deref())),
        Column::new("source_version", Read::Text(|row| envelope(row).source_version.as_deref())),
        Column::new("cause_id", Read::Id(|row| envelope(row).cause_id)),
    ];
    columns.extend(own);
    columns.extend([
        Column::required("_topic", Read::Text(|row| Some(row.topic))),
        Column::required("_partition", Read::Long(|row| Some(row.partition.into()))),
        Column::required("_offset", Read::Rising(|row| Some(row.offset as i64))),
        Column::required("_ingested_at", Read::Time(|row| Some(row.ingested_at))),
    ]);
    columns
}
