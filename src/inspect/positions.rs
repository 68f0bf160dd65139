//! How far everyone has come, in records and in time.

use serde_json::{Value, json};
use skuflow_runtime::broker::{Broker, BrokerError, Offset, Reader, TopicPartition};
use skuflow_runtime::limits::FETCH_BYTES_MAX;
use skuflow_schemas::{Decoder, Timestamp};

use super::InspectError;
use crate::config::Loaded;
use crate::names::Names;

/// The groups of a config: stages and sinks.
fn groups(loaded: &Loaded) -> Vec<String> {
    Names(&loaded.config).groups().into_iter().map(|(group, _)| group).collect()
}

pub(super) fn offsets(broker: &dyn Broker, loaded: &Loaded) -> Result<Vec<Value>, InspectError> {
    let mut rows = Vec::new();
    for group in groups(loaded) {
        for (of, position) in broker.committed(&group)? {
            let (first, next) = broker.offsets(&of)?;
            rows.push(json!({
                "group": group, "topic": of.topic.as_ref(), "partition": of.partition, "first": first,
                "position": position, "end": next, "lag": next.saturating_sub(position),
            }));
        }
    }
    Ok(rows)
}

/// Forgets the positions of a group that the config no longer names.
pub(super) fn drop_group(broker: &dyn Broker, loaded: &Loaded, group: &str) -> Result<Vec<Value>, InspectError> {
    if groups(loaded).iter().any(|known| known == group) {
        return Err(InspectError::Usage(format!(
            "group {group} is in the config: without positions it would begin anew. Take it out of the config first"
        )));
    }
    let positions = broker.committed(group)?;
    broker.forget_positions(group)?;
    Ok(vec![json!({ "group": group, "dropped": positions.len() })])
}

/// Event time at the end of the log, where each group is, and the difference.
pub(super) fn freshness(broker: &dyn Broker, loaded: &Loaded) -> Result<Vec<Value>, InspectError> {
    let mut reader = broker.reader()?;
    let mut rows = Vec::new();
    for group in groups(loaded) {
        for (of, position) in broker.committed(&group)? {
            let (first, next) = broker.offsets(&of)?;
            let head = event_time(reader.as_mut(), &of, first, next)?;
            let ours = event_time(reader.as_mut(), &of, first, position)?;
            let behind = head.zip(ours).map(|(head, ours)| (head.micros_since(ours) as f64 / 1e6).max(0.0));
            rows.push(json!({
                "group": group, "topic": of.topic.as_ref(), "partition": of.partition,
                "lag_records": next.saturating_sub(position),
                "lag_seconds": if position >= next { Some(0.0) } else { behind },
                "head": head.map(|time| time.to_string()), "ours": ours.map(|time| time.to_string()),
            }));
        }
    }
    Ok(rows)
}

/// Event time of the record before `position`.
fn event_time(
    reader: &mut dyn Reader,
    of: &TopicPartition,
    first: Offset,
    position: Offset,
) -> Result<Option<Timestamp>, BrokerError> {
    let Some(last) = position.checked_sub(1).filter(|last| *last >= first) else { return Ok(None) };
    let batches = reader.fetch(of, last, FETCH_BYTES_MAX)?;
    let Some(record) = batches.iter().flat_map(|batch| batch.from(last)).next() else { return Ok(None) };
    let event = record.value.and_then(|value| Decoder.decode(value).ok());
    Ok(event.map(|event| event.observed_at()))
}
