//! The committed records of a topic, read from outside any group.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

use skuflow_runtime::broker::{Broker, BrokerError, Offset, Reader, RecordView, TopicInfo, TopicPartition};
use skuflow_runtime::limits::FETCH_BYTES_MAX;

/// Offsets that are expected to hold no record among the last of a partition: the ends of transactions, on Kafka.
const EMPTY_OFFSETS: u64 = 8;
/// How much farther back it is looked, where there were more of them.
const STRETCH_FACTOR: u64 = 4;

/// Shows `visit` each record there is, or the last `limit` of each partition, partition by partition, until it breaks off.
///
/// # Errors
/// Where the topic cannot be read.
pub fn each(
    broker: &dyn Broker,
    topic: &TopicInfo,
    limit: Option<u64>,
    visit: &mut dyn FnMut(&TopicPartition, &RecordView<'_>) -> ControlFlow<()>,
) -> Result<(), BrokerError> {
    let mut reader = broker.reader()?;
    for of in partitions(topic) {
        let (first, next) = broker.offsets(&of)?;
        let mut from = match limit {
            Some(limit) => last(reader.as_mut(), &of, first..next, limit)?,
            None => first,
        };
        while from < next {
            for batch in reader.fetch(&of, from, FETCH_BYTES_MAX)? {
                for record in batch.from(from) {
                    if visit(&of, &record).is_break() {
                        return Ok(());
                    }
                }
                from = batch.next_offset();
            }
        }
    }
    Ok(())
}

/// Where the last `limit` records of a stretch of offsets begin; where it begins itself, if it holds no more.
///
/// # Errors
/// Where the partition cannot be read.
pub fn last(
    reader: &mut dyn Reader,
    of: &TopicPartition,
    within: Range<Offset>,
    limit: u64,
) -> Result<Offset, BrokerError> {
    let mut stretch = limit.saturating_add(EMPTY_OFFSETS);
    loop {
        let begin = within.end.saturating_sub(stretch).max(within.start);
        if within.end - begin <= limit {
            return Ok(begin);
        }
        let mut offsets = VecDeque::new();
        let mut from = begin;
        while from < within.end {
            for batch in reader.fetch(of, from, FETCH_BYTES_MAX)? {
                offsets.extend(batch.from(from).map(|record| record.offset).take_while(|at| *at < within.end));
                offsets.drain(..offsets.len().saturating_sub(limit as usize));
                from = batch.next_offset();
            }
        }
        match offsets.front() {
            Some(first) if offsets.len() as u64 == limit => return Ok(*first),
            _ if begin == within.start => return Ok(begin),
            _ => stretch = stretch.saturating_mul(STRETCH_FACTOR),
        }
    }
}

/// How many there are.
///
/// # Errors
/// Where the topic cannot be read.
pub fn count(broker: &dyn Broker, topic: &TopicInfo) -> Result<u64, BrokerError> {
    partitions(topic).map(|of| broker.offsets(&of).map(|(first, next)| next - first)).sum()
}

fn partitions(topic: &TopicInfo) -> impl Iterator<Item = TopicPartition> {
    (0..topic.partitions).map(|number| TopicPartition::new(topic.name.clone(), number))
}
