//! The consumer of brokers that live in this process: static assignment, positions of its own, a reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Broker, BrokerError, Consumer, Generation, Member, Offset, Polled, Positions, Reader, TopicPartition};
use crate::limits::FETCH_BYTES_MAX;

/// A group member over a broker in this process.
pub(super) struct LocalConsumer<B> {
    broker: B,
    reader: Box<dyn Reader>,
    generation: Generation,
    topics: Vec<Arc<str>>,
    partitions: Vec<u32>,
    /// The committed positions, until the partitions are said to be ours.
    unsaid: Option<Positions>,
    places: BTreeMap<TopicPartition, Place>,
    seen: u64,
}

struct Place {
    position: Offset,
    paused: bool,
    /// The end was said since the last record.
    end_said: bool,
}

impl<B: Broker> LocalConsumer<B> {
    /// Joins; the caller has made the generation.
    pub(super) fn join(
        broker: B,
        generation: Generation,
        topics: &[Arc<str>],
        member: &Member,
    ) -> Result<Self, BrokerError> {
        let known = broker.topics()?;
        let count = topics.iter().map(|name| known.iter().find(|topic| topic.name == *name));
        let counts: Vec<u32> = count.flatten().map(|topic| topic.partitions).collect();
        if counts.len() != topics.len() || counts.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(BrokerError::Fatal(format!(
                "group {} reads {topics:?}, which must exist with equal partition counts to be joined",
                generation.group
            )));
        }
        let all = counts.first().copied().unwrap_or(0);
        let partitions = (0..all).filter(|number| number % member.count.max(1) == member.index).collect();
        let reader = broker.reader()?;
        let mut consumer = Self {
            broker,
            reader,
            generation,
            topics: topics.to_vec(),
            partitions,
            unsaid: None,
            places: BTreeMap::new(),
            seen: 0,
        };
        consumer.start_at_committed()?;
        Ok(consumer)
    }

    fn start_at_committed(&mut self) -> Result<(), BrokerError> {
        let committed = self.broker.committed(&self.generation.group)?;
        for topic in &self.topics {
            for number in &self.partitions {
                let of = TopicPartition::new(topic.clone(), *number);
                let (first, next) = self.broker.offsets(&of)?;
                let position = committed.get(&of).copied().unwrap_or(first);
                if position < first || position > next {
                    return Err(BrokerError::OutOfRange { of, wanted: position, first, next });
                }
                self.places.insert(of, Place { position, paused: false, end_said: false });
            }
        }
        self.unsaid = Some(committed);
        Ok(())
    }

    fn fetch(&mut self) -> Result<Vec<Polled>, BrokerError> {
        let mut polled = Vec::new();
        for (of, place) in self.places.iter_mut().filter(|(_, place)| !place.paused) {
            for batch in self.reader.fetch(of, place.position, FETCH_BYTES_MAX)? {
                let from = place.position;
                place.position = batch.next_offset();
                place.end_said = false;
                polled.push(Polled::Records { of: of.clone(), from, batch });
            }
            if !place.end_said && self.broker.offsets(of)?.1 == place.position {
                place.end_said = true;
                polled.push(Polled::End(of.clone()));
            }
        }
        Ok(polled)
    }
}

impl<B: Broker> Consumer for LocalConsumer<B> {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<Polled>, BrokerError> {
        if let Some(committed) = self.unsaid.take() {
            return Ok(vec![Polled::Assigned { partitions: self.partitions.clone(), committed }]);
        }
        let before = self.broker.wait(self.seen, Duration::ZERO);
        let polled = self.fetch()?;
        if !polled.is_empty() || timeout.is_zero() {
            return Ok(polled);
        }
        self.seen = self.broker.wait(before, timeout);
        self.fetch()
    }

    fn pause(&mut self, of: &TopicPartition, paused: bool) {
        if let Some(place) = self.places.get_mut(of) {
            place.paused = paused;
        }
    }

    fn seek(&mut self, of: &TopicPartition, offset: Offset) {
        if let Some(place) = self.places.get_mut(of) {
            place.position = offset;
            place.end_said = false;
        }
    }

    fn generation(&self) -> Generation {
        self.generation.clone()
    }
}
