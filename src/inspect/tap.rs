//! Looks into a topic.

use std::ops::ControlFlow;

use serde_json::{Value, json};
use skuflow_runtime::broker::{Broker, RecordView, TopicInfo, TopicPartition};
use skuflow_schemas::{BusinessDate, Decoder, Timestamp};

use super::InspectError;
use crate::config::Loaded;
use crate::names::Names;
use crate::records;

/// The topic called `written` in the config or, where there is none, on the broker.
pub(super) fn find(broker: &dyn Broker, loaded: &Loaded, written: &str) -> Result<TopicInfo, InspectError> {
    let topics = broker.topics()?;
    let called = |name: &str| topics.iter().find(|topic| topic.name.as_ref() == name).cloned();
    called(&Names(&loaded.config).topic(written)).or_else(|| called(written)).ok_or_else(|| {
        let own = Names(&loaded.config).own(topics.clone());
        let mut names: Vec<&str> = own.iter().map(|topic| topic.name.as_ref()).collect();
        names.sort_unstable();
        InspectError::Usage(format!("there is no topic `{written}`; there are: {}", names.join(", ")))
    })
}

/// All topics of the config that there are.
pub(super) fn topics(broker: &dyn Broker, loaded: &Loaded) -> Result<Vec<Value>, InspectError> {
    let row = |topic: TopicInfo| json!({ "topic": topic.name.as_ref(), "partitions": topic.partitions });
    Ok(Names(&loaded.config).own(broker.topics()?).into_iter().map(row).collect())
}

/// The last records of each partition, `limit` in all, by the time they were appended.
pub(super) fn tap(broker: &dyn Broker, loaded: &Loaded, topic: &str, limit: usize) -> Result<Vec<Value>, InspectError> {
    let mut rows = Vec::new();
    let topic = find(broker, loaded, topic)?;
    records::each(broker, &topic, Some(limit as u64), &mut |of, record| {
        rows.push((record.appended_at, row(of, record)));
        ControlFlow::Continue(())
    })?;
    rows.sort_by_key(|(time, _)| *time);
    let skip = rows.len().saturating_sub(limit);
    Ok(rows.into_iter().skip(skip).map(|(_, row)| row).collect())
}

fn row(of: &TopicPartition, record: &RecordView<'_>) -> Value {
    let headers: serde_json::Map<String, Value> =
        record.headers().map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into())).collect();
    let mut row = json!({
        "partition": of.partition, "offset": record.offset, "appended_at": record.appended_at.to_string(),
        "key": record.key_text(), "value": record.value.map(shown),
    });
    if !headers.is_empty() {
        row["headers"] = headers.into();
    }
    row
}

/// A value for people: events as objects with readable times and dates, anything else as text.
fn shown(value: &[u8]) -> Value {
    match Decoder.decode(value) {
        Ok(event) => {
            let mut shown = serde_json::to_value(&event).unwrap_or_default();
            spell_out_times(&mut shown);
            shown
        }
        Err(_) => String::from_utf8_lossy(value).into(),
    }
}

fn spell_out_times(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields.iter_mut() {
        match field {
            Value::Number(micros) if name.ends_with("_at") || name == "hour" => {
                if let Some(micros) = micros.as_i64() {
                    *field = Timestamp::from_micros(micros).to_string().into();
                }
            }
            Value::Number(days) if name.ends_with("_date") => {
                if let Some(days) = days.as_i64().and_then(|days| days.try_into().ok()) {
                    *field = BusinessDate(days).to_string().into();
                }
            }
            other => spell_out_times(other),
        }
    }
    fields.retain(|_, field| !field.is_null());
}
