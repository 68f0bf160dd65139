//! The columns of every table.

use skuflow_schemas::Envelope;

use super::{Column, Content, Misfit, Read, Row, Stored};

/// What an event says about itself.
pub(super) mod about {
    pub const EVENT_ID: &str = "identity of the observation, 32 hex digits";
    pub const CUSTOMER: &str = "whose data it is";
    pub const SOURCE: &str = "the system that said it";
    pub const MARKETPLACE: &str = "the market it speaks of";
    pub const OBSERVED_AT: &str = "event time";
    pub const INGESTED_AT: &str = "when a connector took it in";
    pub const SOURCE_EVENT_ID: &str = "the vendor's own id of the event";
    pub const SOURCE_VERSION: &str = "version of the source's format";
    pub const CAUSE_ID: &str = "event_id of the event this one was made from";
}

fn envelope<'a>(row: &Row<'a>) -> &'a Envelope {
    match row.content {
        Content::Event(event) => event.envelope().expect("families with a table have an envelope"),
        Content::Raw(_) => unreachable!("raw tables have columns of their own"),
    }
}

/// What every event says about itself, then `own`, then where the row was read and when the lake took it in.
pub(super) fn around(own: Vec<Column>) -> Vec<Column> {
    let mut columns = vec![
        Column::required("event_id", about::EVENT_ID, Read::Id(|row| Some(envelope(row).event_id))),
        Column::required("customer", about::CUSTOMER, Read::Text(|row| Some(&envelope(row).customer))),
        Column::required("source", about::SOURCE, Read::Text(|row| Some(&envelope(row).source))),
        Column::required("marketplace", about::MARKETPLACE, Read::Text(|row| Some(&envelope(row).marketplace))),
        Column::required("observed_at", about::OBSERVED_AT, Read::Time(|row| Some(envelope(row).observed_at.micros()))),
        Column::required("ingested_at", about::INGESTED_AT, Read::Time(|row| Some(envelope(row).ingested_at.micros()))),
        Column::new(
            "source_event_id",
            about::SOURCE_EVENT_ID,
            "the source gives none",
            Read::Text(|row| envelope(row).source_event_id.as_deref()),
        ),
        Column::new(
            "source_version",
            about::SOURCE_VERSION,
            "the source states none",
            Read::Text(|row| envelope(row).source_version.as_deref()),
        ),
        Column::new("cause_id", about::CAUSE_ID, "it was made from none", Read::Id(|row| envelope(row).cause_id)),
    ];
    columns.extend(own);
    columns.extend([
        Column::required("_topic", "the topic the row was read from", Read::Text(|row| Some(row.topic))),
        Column::required("_partition", "its partition", Read::Long(|row| Some(row.partition.into()))),
        Column::required("_offset", "its offset in the partition", Read::Rising(|row| Some(row.offset as i64))),
        Column::required("_ingested_at", "when the lake took the row in", Read::Time(|row| Some(row.ingested_at))),
    ]);
    columns
}

/// What the event of a row says about itself.
pub(super) fn restored(row: Stored<'_>) -> Result<Envelope, Misfit> {
    Ok(Envelope {
        event_id: row.must("event_id")?,
        ingested_at: row.must("ingested_at")?,
        customer: row.must("customer")?,
        source: row.must("source")?,
        marketplace: row.must("marketplace")?,
        observed_at: row.must("observed_at")?,
        source_event_id: row.get("source_event_id")?,
        source_version: row.get("source_version")?,
        cause_id: row.get("cause_id")?,
    })
}
