//! A task's inputs: one queue per topic, merged by the event time of their heads.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use skuflow_processors::{Input, place_in_time};
use skuflow_schemas::{DecodeError, Decoder, Family, Key, Timestamp, body_hash};

use crate::broker::{Broker, Consumed, Offset, RecordBatch, RecordView, TopicPartition};
use crate::limits::INPUT_BYTES_MAX;

/// Records of one topic that wait for the task, and how far it has come.
pub(super) struct InputQueue {
    pub(super) of: TopicPartition,
    family: Family,
    batches: VecDeque<RecordBatch>,
    /// The next record in the first batch: its byte and its number.
    cursor: usize,
    index: u32,
    head: Option<Head>,
    /// Committed position; `None` where the group has none yet.
    committed: Option<Offset>,
    /// Offset of the next record to process.
    next: Offset,
    /// Offset of the next record to be polled; `None` until the first was, where no position is committed.
    polled: Option<Offset>,
    /// Empty, and not to be waited for in this turn.
    pub(super) absent: bool,
    /// Since when the partition is known to be read to its end.
    idle_since: Option<Instant>,
    /// Where a topic that nobody writes to any more ends, once that was asked.
    final_end: OnceCell<Offset>,
    /// Event time of the last record, the place in time of a tombstone, which has none.
    time: Timestamp,
    bytes: usize,
    /// Bytes of the records taken since the last commit.
    taken_bytes: u64,
}

/// The next record, decoded.
struct Head {
    /// Its place among the other inputs' heads.
    time: Timestamp,
    /// What it is, or why it is nothing.
    input: Result<Input, DecodeError>,
    cursor: usize,
    next_cursor: usize,
}

impl InputQueue {
    /// An empty queue, at the committed position or, without one, at the log's first offset; that moves until there are
    /// records: it begins where they do.
    pub(super) fn new(of: TopicPartition, family: Family, committed: Option<Offset>, first: Offset) -> Self {
        let next = committed.unwrap_or(first);
        Self {
            of,
            family,
            batches: VecDeque::new(),
            cursor: 0,
            index: 0,
            head: None,
            committed,
            next,
            polled: committed,
            absent: false,
            idle_since: None,
            final_end: OnceCell::new(),
            time: Timestamp::MIN,
            bytes: 0,
            taken_bytes: 0,
        }
    }

    /// Takes records that were polled.
    pub(super) fn push(&mut self, from: Offset, batch: RecordBatch) {
        match self.polled.replace(batch.next_offset()) {
            Some(polled) => assert_eq!(from, polled, "{}: polled batches follow each other", self.of),
            None => self.next = from,
        }
        let skip = from.saturating_sub(batch.base_offset) as u32;
        if skip >= batch.records {
            match self.batches.back_mut() {
                Some(last) => last.gap += batch.next_offset() - from,
                None => self.next = batch.next_offset(),
            }
            return;
        }
        self.bytes += batch.bytes.len();
        self.idle_since = None;
        self.absent = false;
        self.batches.push_back(batch);
        if self.batches.len() == 1 {
            self.skip_to(skip);
        }
        debug_assert!(skip == 0 || self.batches.len() == 1, "only the first batch after a seek begins early");
    }

    fn skip_to(&mut self, index: u32) {
        (self.cursor, self.index) = (0, index);
        for number in 0..index {
            self.batches[0].view(&mut self.cursor, number);
        }
    }

    /// Notes that the partition is read to its end.
    pub(super) fn at_end(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now); // it may hold records still: it is asked only once it is drained
    }

    /// Whether it holds so much that fetching should pause.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= INPUT_BYTES_MAX
    }

    /// Where the partition ends; to be asked once nobody writes to its topic any more.
    pub(super) fn final_end(&self, broker: &dyn Broker) -> Option<Offset> {
        if self.final_end.get().is_none() {
            let (_, end) = broker.offsets(&self.of).ok()?;
            return Some(*self.final_end.get_or_init(|| end));
        }
        self.final_end.get().copied()
    }

    /// Whether the partition is known to be read to its end.
    pub(super) fn is_at_end(&self) -> bool {
        self.idle_since.is_some()
    }

    /// Whether it is empty and was so for `idle_max`.
    pub(super) fn is_idle(&self, now: Instant, idle_max: Duration) -> bool {
        self.idle_since.is_some_and(|since| now.duration_since(since) >= idle_max)
    }

    /// Whether every record that was polled is processed.
    pub(super) fn is_drained(&self) -> bool {
        self.batches.is_empty()
    }

    /// Offset of the next record to process.
    pub(super) fn next_offset(&self) -> Offset {
        self.next
    }

    /// The place in time of the next record, which is decoded for it, once.
    pub(super) fn peek(&mut self, decoder: Decoder) -> Option<Timestamp> {
        if self.head.is_none() {
            let batch = self.batches.front()?;
            let mut next_cursor = self.cursor;
            let record = batch.view(&mut next_cursor, self.index);
            let input = decode(decoder, &record, self.family);
            let time = match &input {
                Ok(Input::Event { event, .. }) => place_in_time(event).unwrap_or(self.time),
                _ => self.time,
            };
            self.time = time;
            self.head = Some(Head { time, input, cursor: self.cursor, next_cursor });
        }
        self.head.as_ref().map(|head| head.time)
    }

    /// Takes the record that was peeked; `work` sees its raw form too.
    pub(super) fn take<R>(&mut self, work: impl FnOnce(Result<Input, DecodeError>, &RecordView<'_>) -> R) -> Option<R> {
        let head = self.head.take()?;
        let batch = self.batches.front().expect("a head is in the first batch");
        let mut cursor = head.cursor;
        let result = work(head.input, &batch.view(&mut cursor, self.index));
        self.taken_bytes += (head.next_cursor - head.cursor) as u64;
        self.cursor = head.next_cursor;
        self.index += 1;
        self.next = batch.base_offset + Offset::from(self.index);
        if self.index == batch.records {
            self.next = batch.next_offset();
            self.bytes -= batch.bytes.len();
            self.batches.pop_front();
            (self.cursor, self.index) = (0, 0);
        }
        Some(result)
    }

    /// The step since the last commit, if there was one.
    pub(super) fn consumed(&self) -> Option<Consumed> {
        // What is before the first record is no step until that has come: the log may begin later by then.
        let moved = self.committed.map_or(self.polled.is_some() && self.next > 0, |committed| self.next != committed);
        moved.then(|| Consumed { of: self.of.clone(), from: self.committed, to: self.next })
    }

    /// A step of no records: what is committed with it holds only if nobody went on from there.
    pub(super) fn at_rest(&self) -> Option<Consumed> {
        self.committed.map(|at| Consumed { of: self.of.clone(), from: Some(at), to: at })
    }

    /// Bytes of the records in that step.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// The step is committed.
    pub(super) fn committed(&mut self) {
        self.taken_bytes = 0;
        if let Some(step) = self.consumed() {
            self.committed = Some(step.to);
        }
    }

    /// The step is void: back to the committed position, which is returned for the consumer to seek to.
    pub(super) fn aborted(&mut self, first: Offset) -> Offset {
        let rewound = Self::new(self.of.clone(), self.family, self.committed, first);
        *self = rewound;
        self.next
    }
}

fn decode(decoder: Decoder, record: &RecordView<'_>, family: Family) -> Result<Input, DecodeError> {
    // Only a row of a table can end; anywhere else no value is an error.
    match record.value {
        None if family == Family::Listing || family == Family::Catalog => {
            Ok(Input::Tombstone { family, key: Key::from(record.key_text()) })
        }
        value => {
            let value = value.unwrap_or_default();
            let event = decoder.decode_family(value, family)?;
            Ok(Input::Event { event, body: body_hash(value), as_read: true, again: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BatchBuilder, Record};

    fn batch(base_offset: Offset) -> RecordBatch {
        let mut builder = BatchBuilder::default();
        builder.push(&Record { key: Some(b"k"), value: Some(b"v"), headers: &[] });
        let (records, bytes) = builder.take();
        RecordBatch { base_offset, records, gap: 0, appended_at: Timestamp::default(), bytes: bytes.into() }
    }

    /// Retention moves the beginning of a log between two looks at it.
    #[test]
    fn a_queue_without_a_position_begins_where_the_records_do() {
        let of = TopicPartition::new("in", 0);
        for (from, first) in [(5, 5), (5, 7), (7, 5)] {
            let mut queue = InputQueue::new(of.clone(), Family::Offer, None, first);
            assert_eq!((queue.next_offset(), queue.consumed()), (first, None), "what is not there is no step");
            for offset in from..from + 2 {
                queue.push(offset, batch(offset));
            }
            let mut taken = Vec::new();
            while queue.peek(Decoder).is_some() {
                taken.extend(queue.take(|_, record| record.offset));
            }
            assert_eq!(taken, [from, from + 1], "the log began at {first} once");
            assert_eq!(queue.consumed(), Some(Consumed { of: of.clone(), from: None, to: from + 2 }));
        }
    }
}
