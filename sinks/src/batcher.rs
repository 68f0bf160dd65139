//! Where batches are cut: pure, and told the time.

use std::time::{Duration, Instant};

use skuflow_runtime::broker::{Offset, TopicPartition};

use crate::limits::{BATCH_AGE, BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::sink::{Batch, Incoming, Part, Range};

/// When a batch is landed: at the first of these. Larger batches cost less per record and are seen later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Records and tombstones in it; never more.
    pub records_max: usize,
    /// Bytes of their values; the last record may exceed it.
    pub bytes_max: usize,
    /// Age of its first record.
    pub age_max: Duration,
}

impl Default for Cut {
    fn default() -> Self {
        Self { records_max: BATCH_RECORDS_MAX, bytes_max: BATCH_BYTES_MAX, age_max: BATCH_AGE }
    }
}

/// Collects a batch until it is time to land it.
#[derive(Debug)]
pub struct Batcher {
    cut: Cut,
    batch: Batch,
    records: usize,
    bytes: usize,
    /// When the first record of the batch came.
    since: Option<Instant>,
}

impl Batcher {
    /// An empty batch, to be cut by `cut`.
    pub fn new(cut: Cut) -> Self {
        Self { cut, batch: Batch::default(), records: 0, bytes: 0, since: None }
    }

    /// Adds the next record of a partition: what it is to a sink, if anything, and the size of its value. `stored` is the
    /// position that the store has, `next` the offset behind the record.
    pub fn add(
        &mut self,
        of: &TopicPartition,
        (stored, next): (Option<Offset>, Offset),
        (incoming, bytes): (Option<Incoming>, usize),
        now: Instant,
    ) {
        if !self.batch.parts.contains_key(of) {
            let range = Range { from: stored, to: next };
            self.batch.parts.insert(of.clone(), Part { range, records: Vec::new() });
        }
        let part = self.batch.parts.get_mut(of).expect("inserted above");
        assert!(part.range.from == stored && part.range.to <= next, "{of}: {:?} goes on at {next}", part.range);
        part.range.to = next;
        part.records.extend(incoming);
        self.records += 1;
        self.bytes += bytes;
        self.since.get_or_insert(now);
    }

    /// Whether there is nothing to land.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records in it, tombstones among them, and bytes of their values.
    pub fn size(&self) -> (usize, usize) {
        (self.records, self.bytes)
    }

    /// Whether no record may be added.
    pub fn is_full(&self) -> bool {
        self.records >= self.cut.records_max || self.bytes >= self.cut.bytes_max
    }

    /// Whether it is time to land.
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_full() || self.due_in(now).is_some_and(|left| left.is_zero())
    }

    /// How long the batch may still grow; `None` where it is empty.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| self.cut.age_max.saturating_sub(now.saturating_duration_since(since)))
    }

    /// The batch; a new one begins.
    pub fn take(&mut self) -> Batch {
        std::mem::replace(self, Self::new(self.cut)).batch
    }
}

#[cfg(test)]
mod tests {
    use skuflow_schemas::Event;

    use super::*;

    fn record(bytes: usize) -> (Option<Incoming>, usize) {
        (Some(Incoming::Event(Event::Quality(Box::default()), 0)), bytes)
    }

    /// Adds records of these sizes, a second apart; whether the batch is full after each, and due half a second later.
    fn check(cut: Cut, sizes: &[usize], expected: &[(bool, bool)]) {
        let start = Instant::now();
        let (of, mut batcher) = (TopicPartition::new("t", 0), Batcher::new(cut));
        assert!(batcher.is_empty() && !batcher.is_full() && batcher.due_in(start).is_none());
        for (number, (size, expected)) in sizes.iter().zip(expected).enumerate() {
            let now = start + Duration::from_secs(number as u64);
            batcher.add(&of, (Some(5), 6 + number as u64), record(*size), now);
            let found = (batcher.is_full(), batcher.is_due(now + Duration::from_millis(500)));
            assert_eq!(found, *expected, "record {number} of {sizes:?} with {cut:?}");
        }
        let batch = batcher.take();
        assert_eq!(batch.parts[&of].range, Range { from: Some(5), to: 5 + sizes.len() as u64 });
        assert_eq!(batch.parts[&of].records.len(), sizes.len());
        assert!(batcher.is_empty() && !batcher.is_full() && batcher.due_in(start).is_none(), "a new one begins");
    }

    #[test]
    fn a_batch_is_cut_by_records_bytes_or_age() {
        let wide = Cut { records_max: 100, bytes_max: 100, age_max: Duration::from_secs(100) };
        check(Cut { records_max: 2, ..wide }, &[1, 1], &[(false, false), (true, true)]);
        check(Cut { bytes_max: 10, ..wide }, &[9, 1], &[(false, false), (true, true)]);
        check(Cut { bytes_max: 10, ..wide }, &[500], &[(true, true)]);
        // Half a second after the third record the first is two and a half seconds old.
        let age_max = Duration::from_millis(2_500);
        check(Cut { age_max, ..wide }, &[1, 1, 1], &[(false, false), (false, false), (false, true)]);
        check(Cut { age_max: Duration::ZERO, ..wide }, &[1], &[(false, true)]);
    }

    #[test]
    fn tombstones_move_the_position_and_age() {
        let (start, of) = (Instant::now(), TopicPartition::new("t", 0));
        let mut batcher = Batcher::new(Cut { age_max: Duration::from_secs(1), ..Cut::default() });
        for number in 0..3 {
            batcher.add(&of, (None, number + 1), (None, 0), start + Duration::from_millis(400 * number));
        }
        assert_eq!(batcher.due_in(start + Duration::from_millis(800)), Some(Duration::from_millis(200)));
        assert_eq!(batcher.take().parts[&of].range, Range { from: None, to: 3 });
    }

    #[test]
    fn partitions_have_a_range_each() {
        let mut batcher = Batcher::new(Cut::default());
        for (partition, stored, next) in [(0, None, 1), (1, Some(7), 8), (0, None, 2)] {
            batcher.add(&TopicPartition::new("t", partition), (stored, next), record(1), Instant::now());
        }
        let batch = batcher.take();
        let ranges: Vec<_> = batch.parts.values().map(|part| (part.range, part.records.len())).collect();
        assert_eq!(ranges, [(Range { from: None, to: 2 }, 2), (Range { from: Some(7), to: 8 }, 1)]);
    }
}
