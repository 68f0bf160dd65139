//! How far everyone has come, in records and in time.

use serde_json::{Value, json};
use skuflow_runtime::broker::{Broker, BrokerError, Offset, Reader, RecordView, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::limits::AHEAD_MAX;
use skuflow_schemas::{Decoder, Event, Timestamp};

use super::InspectError;
use crate::config::Loaded;
use crate::names::Names;
use crate::records;

/// The groups of a config: stages and sinks.
fn groups(loaded: &Loaded) -> Vec<String> {
    Names(&loaded.config).groups().into_iter().map(|(group, _)| group).collect()
}

pub(super) fn offsets(broker: &dyn Broker, loaded: &Loaded) -> Result<Vec<Value>, InspectError> {
    let mut rows = Vec::new();
    let mut reader = broker.reader()?;
    for group in groups(loaded) {
        for (of, position) in broker.committed(&group)? {
            let (first, next) = broker.offsets(&of)?;
            let head = if position < next { moment(reader.as_mut(), &of, first, next)? } else { None };
            rows.push(json!({
                "group": group, "topic": of.topic.as_ref(), "partition": of.partition, "first": first,
                "position": position, "end": next, "lag": lag(position, head),
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

/// How far each group is behind.
pub(super) fn freshness(broker: &dyn Broker, loaded: &Loaded) -> Result<Vec<Value>, InspectError> {
    let now = Clock::System.now();
    let mut rows = Vec::new();
    for (group, topics) in Names(&loaded.config).groups() {
        for place in places(broker, &group, &topics)? {
            rows.push(json!({
                "group": group, "topic": place.of.topic.as_ref(), "partition": place.of.partition,
                "lag_records": place.lag_records, "lag_seconds": place.lag_seconds().map(to_millis),
                "age_seconds": place.age_seconds(now).map(to_millis),
                "head": place.head.map(|moment| moment.event_time().to_string()),
                "ours": place.ours.map(|moment| moment.event_time().to_string()),
            }));
        }
    }
    Ok(rows)
}

/// Seconds, to the millisecond.
fn to_millis(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Where a group stands in a partition.
pub(crate) struct Place {
    pub(crate) of: TopicPartition,
    /// Records behind its position.
    pub(crate) lag_records: u64,
    /// The last record of the partition.
    pub(crate) head: Option<Moment>,
    /// The last one that the group is done with.
    pub(crate) ours: Option<Moment>,
}

impl Place {
    /// Event time at the end of the log minus event time at the position; none where that cannot be known, because the
    /// group is done with nothing.
    pub(crate) fn lag_seconds(&self) -> Option<f64> {
        if self.lag_records == 0 {
            return Some(0.0);
        }
        let (head, ours) = self.head.zip(self.ours)?;
        let (head, ours) = match (head.observed_at, ours.observed_at) {
            (Some(head), Some(ours)) => (head, ours),
            _ => (head.appended_at, ours.appended_at),
        };
        Some(seconds(head, ours))
    }

    /// Time since the record at the position was taken in.
    pub(crate) fn age_seconds(&self, now: Timestamp) -> Option<f64> {
        self.ours.map(|ours| seconds(now, ours.ingested_at.unwrap_or(ours.appended_at)))
    }

    /// Time since what the record at the position speaks of.
    pub(crate) fn event_age_seconds(&self, now: Timestamp) -> Option<f64> {
        self.ours.map(|ours| seconds(now, ours.event_time()))
    }
}

fn seconds(late: Timestamp, early: Timestamp) -> f64 {
    (late.micros_since(early) as f64 / 1e6).max(0.0)
}

/// A record's places in time. What is no event of a source (a tombstone, a dead letter, a count) has but the last.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    observed_at: Option<Timestamp>,
    ingested_at: Option<Timestamp>,
    appended_at: Timestamp,
}

impl Moment {
    fn of(record: &RecordView<'_>) -> Self {
        let event = record.value.and_then(|value| Decoder.decode(value).ok());
        let envelope = event.as_ref().and_then(Event::envelope);
        // A time that cannot be is taken for the latest that can.
        let latest = envelope.map(|envelope| envelope.ingested_at.plus_micros(AHEAD_MAX.micros()));
        Self {
            observed_at: envelope.zip(latest).map(|(envelope, latest)| envelope.observed_at.min(latest)),
            ingested_at: envelope.map(|envelope| envelope.ingested_at),
            appended_at: record.appended_at,
        }
    }

    fn event_time(self) -> Timestamp {
        self.observed_at.unwrap_or(self.appended_at)
    }
}

/// Where `group` stands in each partition of `topics` that holds something, or that it has a position in.
pub(crate) fn places(broker: &dyn Broker, group: &str, topics: &[String]) -> Result<Vec<Place>, BrokerError> {
    let positions = broker.committed(group)?;
    let mut reader = broker.reader()?;
    let mut places = Vec::new();
    let known = broker.topics()?;
    for topic in topics.iter().filter_map(|name| known.iter().find(|known| *known.name == **name)) {
        for number in 0..topic.partitions {
            let of = TopicPartition::new(topic.name.clone(), number);
            let (first, next) = broker.offsets(&of)?;
            let position = positions.get(&of).copied();
            if position.is_none() && next == first {
                continue;
            }
            let position = position.unwrap_or(first);
            let head = moment(reader.as_mut(), &of, first, next)?;
            let ours = if position == next { head } else { moment(reader.as_mut(), &of, first, position)? };
            places.push(Place {
                of,
                lag_records: lag(position, head),
                head: head.map(|(_, moment)| moment),
                ours: ours.map(|(_, moment)| moment),
            });
        }
    }
    Ok(places)
}

/// From a position to the last record; what is behind that are ends of transactions, on Kafka.
fn lag(position: Offset, head: Option<(Offset, Moment)>) -> u64 {
    head.map_or(0, |(last, _)| (last + 1).saturating_sub(position))
}

/// The last record before `position`, and when it was.
fn moment(
    reader: &mut dyn Reader,
    of: &TopicPartition,
    first: Offset,
    position: Offset,
) -> Result<Option<(Offset, Moment)>, BrokerError> {
    if position <= first {
        return Ok(None);
    }
    let from = records::last(reader, of, first..position, 1)?;
    let batches = reader.fetch(of, from, 1)?; // the batch that holds it
    let record = batches.iter().flat_map(|batch| batch.from(from)).next();
    Ok(record.filter(|record| record.offset < position).map(|record| (record.offset, Moment::of(&record))))
}
