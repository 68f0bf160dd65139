//! The committed records of a topic, read from outside any group.

use std::ops::ControlFlow;

use skuflow_runtime::broker::{Broker, BrokerError, RecordView, TopicInfo, TopicPartition};
use skuflow_runtime::limits::FETCH_BYTES_MAX;

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
        let mut from = limit.map_or(first, |limit| next.saturating_sub(limit).max(first));
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
