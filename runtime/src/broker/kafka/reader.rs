//! Reads partitions from any position. One mechanism for readers, members of groups and restores.
//!
//! Offsets on Kafka have gaps: control markers, aborted records, what compaction took. A batch here ends where the next one
//! begins, so that positions have none. The end of a partition is what librdkafka says is the end, which is behind the last
//! marker; it is not the offset behind the last record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use skuflow_schemas::Timestamp;

use super::limits::{ASK_MAX, FETCH_MAX};
use super::native::{Client, Fetching, Taken};
use super::{Shared, client, unknown};
use crate::broker::{BatchBuilder, BrokerError, Offset, Reader, Record, RecordBatch, TopicPartition};

/// Partitions that are being fetched by one client.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    client: Arc<Client>,
    places: HashMap<TopicPartition, Place>,
}

struct Place {
    fetching: Fetching,
    /// From here to the position no offset holds a record.
    gap: Offset,
    position: Offset,
    is_at_end: bool,
}

impl Fetcher {
    pub(super) fn new(shared: &Arc<Shared>) -> Result<Self, BrokerError> {
        let client = Arc::new(client(&shared.settings.reading())?);
        Ok(Self { shared: shared.clone(), client, places: HashMap::new() })
    }

    /// Makes `from` the position of a partition.
    pub(super) fn go_to(&mut self, of: &TopicPartition, from: Offset) -> Result<(), BrokerError> {
        match self.places.get_mut(of) {
            Some(place) if (place.gap..=place.position).contains(&from) => return Ok(()),
            Some(place) if place.fetching.seek(from, ASK_MAX).is_ok() => {
                (place.gap, place.position, place.is_at_end) = (from, from, false);
                return Ok(());
            }
            Some(_) => drop(self.places.remove(of)), // it is begun anew
            None => {}
        }
        if self.shared.partitions(&of.topic)?.is_none_or(|count| of.partition >= count) {
            return Err(unknown(of));
        }
        let fetching = Fetching::start(&self.client, &of.topic, of.partition, from).map_err(BrokerError::Retry)?;
        self.places.insert(of.clone(), Place { fetching, gap: from, position: from, is_at_end: false });
        Ok(())
    }

    /// Goes to `from`, although it may be there: what was taken before comes again.
    pub(super) fn rewind(&mut self, of: &TopicPartition, from: Offset) -> Result<(), BrokerError> {
        if let Some(place) = self.places.get_mut(of) {
            place.gap = Offset::MAX; // no offset is in what is empty
        }
        self.go_to(of, from)
    }

    pub(super) fn stop(&mut self, of: &TopicPartition) {
        self.places.remove(of);
    }

    /// The position, and whether it was the end when last heard of.
    pub(super) fn place(&self, of: &TopicPartition) -> Option<(Offset, bool)> {
        self.places.get(of).map(|place| (place.position, place.is_at_end))
    }

    /// What has been fetched from the position on, waiting for the first of it at most `timeout`.
    pub(super) fn take(
        &mut self,
        of: &TopicPartition,
        timeout: Duration,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, BrokerError> {
        let _what_the_client_says_is_logged = self.client.poll(Duration::ZERO);
        let Some(place) = self.places.get_mut(of) else { return Ok(Vec::new()) };
        let mut batches = Batches::new(place.position);
        let mut failed = None;
        let mut held = None;
        let mut is_at_end = place.is_at_end;
        let registry = self.shared.registry.as_ref();
        let mut timeout = timeout;
        while batches.bytes < bytes_max && failed.is_none() && held.is_none() {
            let count = place.fetching.take(timeout, &mut |taken| match taken {
                _ if held.is_some() => {}
                Taken::Record { offset, appended_at, key, value, headers } => {
                    is_at_end = false;
                    let known =
                        registry.zip(value).map(|(registry, value)| registry.incoming(&of.topic, value)).transpose();
                    match known {
                        Ok(known) => {
                            let value = known.as_deref().or(value);
                            batches.add(offset as Offset, appended_at, &Record { key, value, headers });
                        }
                        Err(error) => held = Some(error),
                    }
                }
                Taken::End(offset) => {
                    is_at_end = true;
                    batches.extend_to(offset as Offset);
                }
                Taken::Failed(code) => failed = failed.or(Some(code)),
            });
            timeout = Duration::ZERO;
            if count == 0 {
                break;
            }
        }
        place.gap = batches.last_record.map_or(place.gap, |last| last + 1);
        place.position = batches.next;
        place.is_at_end = is_at_end;
        let position = place.position;
        let batches = batches.finish();
        if let Some(error) = held {
            self.places.remove(of); // what came before it is good; it comes again when it is asked for again
            return if batches.is_empty() { Err(error) } else { Ok(batches) };
        }
        match failed {
            Some(code) if batches.is_empty() => Err(self.failed(of, position, code)),
            Some(code) if is_lasting(code) => {
                self.places.remove(of); // what came before it is good; it comes again when it is asked for again
                Ok(batches)
            }
            _ => Ok(batches),
        }
    }

    fn failed(&mut self, of: &TopicPartition, wanted: Offset, code: Code) -> BrokerError {
        self.places.remove(of);
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => match self.shared.offsets(of) {
                Ok((first, next)) => BrokerError::OutOfRange { of: of.clone(), wanted, first, next },
                Err(error) => error,
            },
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => unknown(of),
            Code::TopicAuthorizationFailed => BrokerError::Fatal(format!("reading {of}: {code}")),
            code => BrokerError::Retry(format!("reading {of}: {code}")),
        }
    }
}

fn is_lasting(code: Code) -> bool {
    !matches!(code, Code::BrokerTransportFailure | Code::AllBrokersDown | Code::TimedOutQueue | Code::OperationTimedOut)
}

impl Reader for Fetcher {
    fn begin(&mut self, of: &TopicPartition, from: Offset) -> Result<(), BrokerError> {
        self.go_to(of, from)
    }

    fn fetch(&mut self, of: &TopicPartition, from: Offset, bytes_max: usize) -> Result<Vec<RecordBatch>, BrokerError> {
        let until = Instant::now() + FETCH_MAX;
        self.go_to(of, from)?;
        loop {
            let batches = self.take(of, Duration::ZERO, bytes_max)?;
            if !batches.is_empty() {
                return Ok(batches);
            }
            let (position, is_at_end) = self.place(of).unwrap_or((from, false));
            if is_at_end {
                let (first, next) = self.shared.offsets(of)?;
                if position > next || position < first {
                    self.stop(of);
                    return Err(BrokerError::OutOfRange { of: of.clone(), wanted: from, first, next });
                }
                if position == next {
                    return Ok(batches);
                }
            }
            let batches = self.take(of, Duration::from_millis(100), bytes_max)?;
            if !batches.is_empty() {
                return Ok(batches);
            }
            if Instant::now() >= until {
                self.stop(of);
                return Err(BrokerError::Retry(format!("{of}: nothing came from offset {from} on")));
            }
        }
    }
}

/// Batches under construction; cut where offsets or append times are not those of one batch.
struct Batches {
    next: Offset,
    last_record: Option<Offset>,
    bytes: usize,
    builder: BatchBuilder,
    base: Offset,
    appended_at: i64,
    done: Vec<RecordBatch>,
}

impl Batches {
    fn new(position: Offset) -> Self {
        Self {
            next: position,
            last_record: None,
            bytes: 0,
            builder: BatchBuilder::default(),
            base: position,
            appended_at: 0,
            done: Vec::new(),
        }
    }

    fn add(&mut self, offset: Offset, appended_at: i64, record: &Record<'_>) {
        if offset < self.next {
            return; // librdkafka gives whole batches of the log
        }
        if offset > self.next || appended_at != self.appended_at || self.builder.is_empty() {
            self.extend_to(offset);
            (self.base, self.appended_at) = (offset, appended_at);
        }
        let before = self.builder.len();
        self.builder.push(record);
        self.bytes += self.builder.len() - before;
        self.next = offset + 1;
        self.last_record = Some(offset);
    }

    /// Closes the batch; what lies between it and `offset` holds nothing.
    fn extend_to(&mut self, offset: Offset) {
        let gap = offset.saturating_sub(self.next);
        if !self.builder.is_empty() {
            let (records, bytes) = self.builder.take();
            let appended_at = Timestamp::from_micros(self.appended_at.saturating_mul(1000));
            self.done.push(RecordBatch { base_offset: self.base, records, gap, appended_at, bytes: bytes.into() });
        } else if gap > 0 {
            match self.done.last_mut() {
                Some(last) => last.gap += gap,
                None => self.done.push(RecordBatch {
                    base_offset: self.next,
                    records: 0,
                    gap,
                    appended_at: Timestamp::default(),
                    bytes: Arc::default(),
                }),
            }
        }
        self.next += gap;
        self.base = self.next;
    }

    fn finish(mut self) -> Vec<RecordBatch> {
        self.extend_to(self.next);
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_follow_each_other_over_gaps() {
        let mut batches = Batches::new(5);
        let record = Record { key: None, value: Some(b"v"), headers: &[] };
        for (offset, at) in [(3, 1), (7, 1), (8, 1), (9, 2), (11, 2)] {
            batches.add(offset, at, &record);
        }
        batches.extend_to(14);
        batches.extend_to(15);
        let done = batches.finish();
        let shape: Vec<_> = done.iter().map(|batch| (batch.base_offset, batch.records, batch.gap)).collect();
        assert_eq!(shape, [(5, 0, 2), (7, 2, 0), (9, 1, 1), (11, 1, 3)]);
        let contiguous = done.windows(2).all(|pair| pair[0].next_offset() == pair[1].base_offset);
        assert!(contiguous, "{shape:?}");
        assert_eq!(done[3].next_offset(), 15);
    }
}
