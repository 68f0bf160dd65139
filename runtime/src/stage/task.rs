//! A task: one stage on one partition. It owns the state and the position in time of its keys.
//!
//! ```text
//!   Created ──restore──▶ Running ──commit──▶ Running
//!                           │ abort: evict what was touched, go back to the committed positions
//!                           ▼
//!                        dropped (revoked, lost, outcome unknown): the next one restores what is committed
//! ```

use std::sync::Arc;
use std::time::Instant;

use skuflow_processors::{Counted, GRACE_MICROS, Input, Output, Reject};
use skuflow_schemas::{
    DeadLetter, DecodeError, Decoder, Encoder, ErrorStage, Event, Key, LATE_PREFIX, Outcome, Timestamp,
};

use super::chain::{Chain, Effects};
use super::counts::Counts;
use super::inputs::InputQueue;
use super::letters::{next_attempt, send_dead_letter};
use super::seen::SeenTable;
use super::timers::Timers;
use super::{Held, StageSpec};
use crate::broker::{
    Broker, BrokerError, Consumed, Header, Offset, Positions, Producer, Record, RecordView, StateChange, StateReader,
    TopicPartition, TxnError,
};
use crate::limits::{TXN_BYTES_MAX, WAKES_PER_RECORD_MAX};

const META_KEY: &[u8] = b"meta";

/// A record could not be processed, and what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaskError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Txn(#[from] TxnError),
}

/// Work between reading a record and sending what comes of it.
pub(super) struct Task {
    spec: Arc<StageSpec>,
    owner: Arc<str>,
    pub(super) partition: u32,
    pub(super) inputs: Vec<InputQueue>,
    chain: Chain,
    seen: SeenTable,
    timers: Timers,
    counts: Counts,
    committed: Box<dyn StateReader>,
    stream_time: Timestamp,
    committed_stream_time: Timestamp,
    /// Whether timers fired since the last commit.
    pub(super) has_fired: bool,
    decoder: Decoder,
    scratch: Scratch,
}

/// Memory kept between records.
#[derive(Default)]
struct Scratch {
    key: String,
    out: Outgoing,
    published: Vec<Output>,
    late: Vec<Event>,
}

/// What a task would do next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Fire timers that are due at this time, which is that of the last records.
    Timers(Timestamp),
    /// Process the first record of this input, which has this event time.
    Record(Timestamp, usize),
    /// Wait for an empty input, although there is a record of this event time.
    Waits(Timestamp),
    /// Nothing: every input is empty.
    Nothing,
}

/// A record under construction.
#[derive(Default)]
struct Outgoing {
    key: String,
    value: Vec<u8>,
}

impl Task {
    /// Restores the task from what is committed, for as long as `goes_on` says.
    pub(super) fn restore(
        spec: &Arc<StageSpec>,
        partition: u32,
        broker: &dyn Broker,
        positions: &Positions,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, BrokerError> {
        let owner: Arc<str> = format!("task:{}/{partition}", spec.group).into();
        let committed = broker.restore(&owner, goes_on)?;
        let mut seen = SeenTable::restore(owner.clone(), committed.as_ref())?;
        let stream_time = match committed.get(META_KEY)? {
            Some(meta) => {
                let (time, latest) = decode_meta(&meta)
                    .ok_or_else(|| BrokerError::Fatal(format!("state of {owner}: its time does not decode")))?;
                seen.set_latest(latest);
                time
            }
            None => Timestamp::MIN,
        };
        let inputs = spec.inputs.iter().map(|input| {
            let of = TopicPartition::new(input.topic.clone(), partition);
            let (first, _) = broker.offsets(&of)?;
            let committed = positions.get(&of).copied();
            Ok(InputQueue::new(of, input.family, committed, first))
        });
        Ok(Self {
            inputs: inputs.collect::<Result<_, BrokerError>>()?,
            chain: Chain::new(&spec.steps, &owner, spec.settings.cache_bytes),
            timers: Timers::restore(
                owner.clone(),
                spec.steps.iter().map(|step| step.name()).collect(),
                committed.as_ref(),
            )?,
            spec: spec.clone(),
            owner,
            partition,
            seen,
            counts: Counts::default(),
            committed,
            stream_time,
            committed_stream_time: stream_time,
            has_fired: false,
            decoder: Decoder,
            scratch: Scratch::default(),
        })
    }

    /// The queue of `of`.
    pub(super) fn input_mut(&mut self, of: &TopicPartition) -> Option<&mut InputQueue> {
        self.inputs.iter_mut().find(|input| input.of == *of)
    }

    /// Begins a turn: `absent` says of an empty input that nothing more is to be waited for.
    pub(super) fn begin_turn(&mut self, absent: &dyn Fn(&InputQueue) -> bool) {
        for input in &mut self.inputs {
            input.absent = input.is_drained() && absent(input);
        }
    }

    /// Whether there may be more of an empty input in the log.
    pub(super) fn is_short(&self) -> bool {
        self.inputs.iter().any(|input| input.is_drained() && !input.is_at_end())
    }

    /// Processes up to `records_max` records that are not behind `until` in event time; returns how many. Where more timers
    /// are due than fire between two records, it fires the next of them and returns.
    pub(super) fn work(
        &mut self,
        records_max: usize,
        until: Timestamp,
        producer: &mut dyn Producer,
    ) -> Result<usize, TaskError> {
        for done in 0..records_max {
            match self.next() {
                Next::Timers(_) => return self.fire_due(self.in_grace(), producer).map(|()| done),
                Next::Record(time, index) if time <= until => self.process(index, producer)?,
                _ => return Ok(done),
            }
            if is_full(producer) {
                return Ok(done + 1);
            }
        }
        Ok(records_max)
    }

    /// The input whose head is first in event time, earlier inputs first, unless an empty one is to be waited for.
    pub(super) fn next(&mut self) -> Next {
        if self.has_due() {
            return Next::Timers(self.stream_time);
        }
        let mut first: Option<(Timestamp, usize)> = None;
        let mut waits = false;
        for (index, input) in self.inputs.iter_mut().enumerate() {
            match input.peek(self.decoder) {
                Some(time) if first.is_none_or(|(earliest, _)| time < earliest) => first = Some((time, index)),
                None => waits |= !input.absent,
                _ => {}
            }
        }
        match first {
            Some((time, _)) if waits => Next::Waits(time),
            Some((time, index)) => Next::Record(time, index),
            None => Next::Nothing,
        }
    }

    fn process(&mut self, index: usize, producer: &mut dyn Producer) -> Result<(), TaskError> {
        // The queue is taken out for the call, so that the record it lends can be used beside the rest of the task.
        let mut inputs = std::mem::take(&mut self.inputs);
        let topic = inputs[index].of.clone();
        let result = inputs[index].take(|input, record| self.process_record(&topic, input, record, producer));
        self.inputs = inputs;
        result.unwrap_or(Ok(()))
    }

    fn process_record(
        &mut self,
        from: &TopicPartition,
        input: Result<Input, DecodeError>,
        record: &RecordView<'_>,
        producer: &mut dyn Producer,
    ) -> Result<(), TaskError> {
        let entity = Key::entity(record.key_text());
        let input = match input {
            Ok(input) if entity.is_empty() => {
                let message = "the record has no key, or one that is no UTF-8".to_owned();
                let reject = Reject { rule: "key-missing", message };
                return self.refuse(from, record, Some(&input), ErrorStage::Decoding, &reject, producer);
            }
            Ok(input) => input,
            Err(error) => {
                let reject = Reject { rule: error.code(), message: error.to_string() };
                return self.refuse(from, record, None, ErrorStage::Decoding, &reject, producer);
            }
        };
        let mut key = std::mem::take(&mut self.scratch.key);
        key.clear();
        key.push_str(entity);
        if let Err(reject) = self.chain.check(&key, &input, self.committed.as_ref())? {
            self.scratch.key = key;
            return self.refuse(from, record, Some(&input), ErrorStage::Processing, &reject, producer);
        }
        if let Some(time) = input.stream_time() {
            self.advance(time, producer)?;
        }
        let value = record.value.unwrap_or_default();
        self.run(producer, &from.topic, value, |chain, effects, committed| {
            chain.feed(&key, input, effects, committed)
        })?;
        self.scratch.key = key;
        // What the record has set may be due already, where it is older than others. A key that is far behind keeps its own
        // time until the stream moves on.
        self.fire_due(self.in_grace(), producer)
    }

    /// From when on a timer that is due does not wait for the stream to move on.
    fn in_grace(&self) -> Timestamp {
        self.stream_time.plus_micros(-GRACE_MICROS)
    }

    /// Whether more timers were due than fire at once.
    pub(super) fn has_due(&self) -> bool {
        self.timers.first_due().is_some_and(|due| (self.in_grace()..=self.stream_time).contains(&due))
    }

    /// Moves stream time on and fires what is due, before the record that moved it.
    fn advance(&mut self, to: Timestamp, producer: &mut dyn Producer) -> Result<(), TaskError> {
        if to <= self.stream_time {
            return Ok(());
        }
        self.stream_time = to;
        self.fire_due(Timestamp::MIN, producer)
    }

    /// Fires what is due, unless the first of it was due before `from`.
    fn fire_due(&mut self, from: Timestamp, producer: &mut dyn Producer) -> Result<(), TaskError> {
        for _ in 0..WAKES_PER_RECORD_MAX {
            if self.timers.first_due().is_some_and(|due| due < from) {
                break;
            }
            let Some(timer) = self.timers.take_due(self.stream_time) else { break };
            self.has_fired = true;
            let topic = self.spec.inputs[0].topic.clone();
            self.run(producer, &topic, &[], |chain, effects, committed| chain.wake(&timer, effects, committed))?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        producer: &mut dyn Producer,
        from: &Arc<str>,
        value: &[u8],
        work: impl FnOnce(&mut Chain, &mut Effects<'_>, &dyn StateReader) -> Result<(), BrokerError>,
    ) -> Result<(), TaskError> {
        let mut effects = Effects {
            stream_time: self.stream_time,
            value,
            seen: &mut self.seen,
            timers: &mut self.timers,
            counts: &mut self.counts,
            published: &mut self.scratch.published,
            late: &mut self.scratch.late,
        };
        work(&mut self.chain, &mut effects, self.committed.as_ref())?;
        for output in self.scratch.published.drain(..) {
            publish(&output, value, &self.spec, &mut self.scratch.out, producer)?;
        }
        for event in self.scratch.late.drain(..) {
            let topic: Arc<str> = format!("{LATE_PREFIX}{from}").into();
            send_event(&event, &topic, &mut self.scratch.out, producer)?;
        }
        Ok(())
    }

    fn refuse(
        &mut self,
        from: &TopicPartition,
        record: &RecordView<'_>,
        input: Option<&Input>,
        stage: ErrorStage,
        reject: &Reject,
        producer: &mut dyn Producer,
    ) -> Result<(), TaskError> {
        let event = input.and_then(Input::event);
        if let Some(envelope) = event.and_then(Event::envelope) {
            let family = event.map_or(self.spec.inputs[0].family, Event::family);
            self.counts.add(&Counted { family, envelope, outcome: Outcome::Rejected, rule: reject.rule });
        } else {
            let input = self.spec.inputs.iter().find(|input| input.topic == from.topic);
            let family = input.unwrap_or(&self.spec.inputs[0]).family;
            self.counts.add_unreadable(family, record.appended_at, reject.rule);
        }
        let letter = DeadLetter {
            topic: from.topic.as_ref().into(),
            partition: from.partition,
            offset: record.offset,
            group: self.spec.name.as_str().into(),
            stage,
            code: reject.rule.into(),
            message: reject.message.clone(),
            attempt: next_attempt(record),
            origin: None,
        };
        Ok(send_dead_letter(&letter, record, producer)?)
    }

    /// What the open transaction consumed and changed, the counts published; call once per commit.
    pub(super) fn prepare(
        &mut self,
        producer: &mut dyn Producer,
        consumed: &mut Vec<Consumed>,
        state: &mut Vec<StateChange>,
        counted: &mut Vec<Event>,
    ) -> Result<(), TaskError> {
        let mut steps: Vec<_> = self.inputs.iter().filter_map(InputQueue::consumed).collect();
        if steps.is_empty() && self.has_fired {
            steps.extend(self.inputs.iter().filter_map(InputQueue::at_rest));
        }
        if steps.is_empty() {
            return Ok(());
        }
        consumed.extend(steps);
        let before = (self.committed_stream_time, self.seen.committed_latest());
        self.chain.changes(state);
        self.seen.changes(state);
        self.timers.changes(state);
        if (self.stream_time, self.seen.latest()) != before || self.committed_stream_time == Timestamp::MIN {
            let value = encode_meta(self.stream_time, self.seen.latest());
            state.push(StateChange { owner: self.owner.clone(), key: META_KEY.to_vec(), value: Some(value) });
        }
        for event in self.counts.take() {
            send_event(&event, &self.spec.quality_topic, &mut self.scratch.out, producer)?;
            counted.push(event);
        }
        Ok(())
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        self.inputs.iter_mut().for_each(InputQueue::committed);
        self.chain.committed();
        self.seen.committed();
        self.timers.committed();
        self.has_fired = false;
        self.committed_stream_time = self.stream_time;
    }

    /// The transaction is void: gives, for each input, the position to seek to.
    pub(super) fn aborted(&mut self, broker: &dyn Broker) -> Result<Vec<(TopicPartition, Offset)>, BrokerError> {
        self.chain.aborted();
        self.seen.aborted();
        self.timers.aborted();
        self.counts.clear();
        self.has_fired = false;
        self.stream_time = self.committed_stream_time;
        let rewound = self.inputs.iter_mut().map(|input| {
            let (first, _) = broker.offsets(&input.of)?;
            Ok((input.of.clone(), input.aborted(first)))
        });
        rewound.collect()
    }

    /// What it holds in memory.
    pub(super) fn held(&self) -> Held {
        let (keys, bytes) = self.chain.cached();
        let (keys, bytes) = (keys as u64, bytes as u64);
        Held { keys, bytes, ids: self.seen.len() as u64, timers: self.timers.len() as u64 }
    }

    /// Whether anything is to be committed, timers that fired or a move, if only over offsets that hold no record.
    pub(super) fn has_moved(&self) -> bool {
        self.has_fired || self.inputs.iter().any(|input| input.consumed().is_some())
    }

    /// Bytes of the records consumed since the last commit.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.inputs.iter().map(InputQueue::taken_bytes).sum()
    }

    /// Whether every record there is at present is processed.
    pub(super) fn is_caught_up(&self) -> bool {
        self.inputs.iter().all(|input| input.is_drained() && input.is_at_end())
    }

    /// Whether `absent` holds for every input: nothing is left to do, or to come.
    pub(super) fn is_finished(&self, absent: &dyn Fn(&InputQueue) -> bool) -> bool {
        !self.has_due() && self.inputs.iter().all(|input| input.is_drained() && absent(input))
    }

    /// Notes that the input `of` was read to its end at `now`.
    pub(super) fn at_end(&mut self, of: &TopicPartition, now: Instant) {
        if let Some(input) = self.input_mut(of) {
            input.at_end(now);
        }
    }
}

/// Whether the open transaction holds so much that it should be committed.
pub(super) fn is_full(producer: &dyn Producer) -> bool {
    producer.pending_bytes() >= TXN_BYTES_MAX
}

fn publish(
    output: &Output,
    read: &[u8],
    spec: &StageSpec,
    out: &mut Outgoing,
    producer: &mut dyn Producer,
) -> Result<(), TaskError> {
    let Some(topic) = spec.output(output.topic()) else { return Ok(()) };
    match output {
        Output::Event { event, as_read: true, .. } => {
            debug_assert_eq!(Decoder.decode(read).as_ref(), Ok(event), "a changed event is not as it was read");
            send(event, read, topic, &mut out.key, producer)
        }
        Output::Event { event, .. } => send_event(event, topic, out, producer),
        Output::Tombstone { key, .. } => {
            let record = Record { key: Some(key.as_str().as_bytes()), value: None, headers: &[] };
            Ok(producer.send(topic, None, &record)?)
        }
    }
}

fn send_event(
    event: &Event,
    topic: &Arc<str>,
    out: &mut Outgoing,
    producer: &mut dyn Producer,
) -> Result<(), TaskError> {
    out.value.clear();
    Encoder.encode(event, &mut out.value);
    send(event, &out.value, topic, &mut out.key, producer)
}

fn send(
    event: &Event,
    value: &[u8],
    topic: &Arc<str>,
    key: &mut String,
    producer: &mut dyn Producer,
) -> Result<(), TaskError> {
    key.clear();
    event.write_key(key);
    let record = Record { key: Some(key.as_bytes()), value: Some(value), headers: &[] };
    let Event::Alert(alert) = event else { return Ok(producer.send(topic, None, &record)?) };
    let headers = alert.headers();
    let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    Ok(producer.send(topic, None, &Record { headers: &headers, ..record })?)
}

fn encode_meta(stream_time: Timestamp, latest: u16) -> Vec<u8> {
    [stream_time.micros().to_le_bytes().as_slice(), &latest.to_le_bytes()].concat()
}

fn decode_meta(bytes: &[u8]) -> Option<(Timestamp, u16)> {
    let (time, latest) = bytes.split_first_chunk::<8>()?;
    Some((Timestamp::from_micros(i64::from_le_bytes(*time)), u16::from_le_bytes(latest.try_into().ok()?)))
}
