//! What a step is, and what it may see.

use std::ops::{Deref, DerefMut};

use skuflow_schemas::{Day, Decoder, Encoder, Envelope, Event, EventId, Family, Key, Outcome, Text, Timestamp};

use crate::AHEAD_MAX;
use crate::codec::{Damage, Reader, Writer};

/// One deterministic step of a stage.
///
/// The runtime keeps one state per step and key; a key is what [`Key::entity`] gives of the record's key.
pub trait Processor: Send + Sync {
    /// What the step remembers of one key.
    type State: State;

    /// Name of the step; names its store, so it never changes.
    fn name(&self) -> &'static str;

    /// Says whether the record may pass. Only the first step of a chain is asked, before any state is written; a refusal
    /// goes to the dead letters in the transaction that consumes the record.
    ///
    /// # Errors
    /// The rule that refuses, and why.
    fn check(&self, input: &Input, state: &Self::State) -> Result<(), Reject> {
        let _ = (input, state);
        Ok(())
    }

    /// Takes one record. Total: what passed `check` always has an outcome. Records that are none of the step's business
    /// are forwarded as they are.
    fn apply(&self, input: Input, state: &mut Stated<Self::State>, context: &mut Context<'_>);

    /// Stream time has reached a moment that the step had asked for with [`Context::wake_at`].
    fn wake(&self, timer: &Timer, state: &mut Stated<Self::State>, context: &mut Context<'_>) {
        let _ = (timer, state, context);
    }
}

/// What a step remembers of one key. `VERSION` names the encoding: it changes whenever the fields do.
pub trait State: Default + Clone + PartialEq + Send + 'static {
    /// Version of the encoding; state of another version is refused, never misread.
    const VERSION: u8;

    /// Writes all of it; see [`crate::codec::encode`].
    fn write(&self, into: &mut Writer<'_>);

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn read(from: &mut Reader<'_>) -> Result<Self, Damage>;

    /// Bytes the state holds on the heap, roughly; the cache is bounded by it.
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl State for () {
    const VERSION: u8 = 0;

    fn write(&self, _: &mut Writer<'_>) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(())
    }
}

/// A state that knows whether it was written to: any mutable access counts.
#[derive(Debug, Default)]
pub struct Stated<S> {
    value: S,
    dirty: bool,
}

impl<S> Stated<S> {
    /// A state as it was committed.
    pub fn clean(value: S) -> Self {
        Self { value, dirty: false }
    }

    /// Whether it was written to since it was committed.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Marks it as committed.
    pub fn commit(&mut self) {
        self.dirty = false;
    }
}

impl<S> Deref for Stated<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.value
    }
}

impl<S> DerefMut for Stated<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.dirty = true;
        &mut self.value
    }
}

/// What a step takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An event, with the hash of what it says ([`skuflow_schemas::body_hash`]).
    Event {
        /// The event.
        event: Event,
        /// Hash of its body.
        body: u64,
        /// It says what [`Context::value`] says: nothing was changed since it was read, so nothing need be encoded.
        as_read: bool,
        /// It was counted before, when it changed nothing; now it does, and is not counted again.
        again: bool,
    },
    /// The end of a row of a table.
    Tombstone {
        /// Of which table.
        family: Family,
        /// Which row.
        key: Key,
    },
}

impl Input {
    /// An event that a step made.
    pub fn made(event: Event) -> Self {
        Self::Event { event, body: 0, as_read: false, again: false }
    }

    /// The topic of the catalogue that it is published on.
    pub fn topic(&self) -> &'static str {
        match self {
            Self::Event { event, .. } => event.topic(),
            Self::Tombstone { family: Family::Listing, .. } => "listings.v1",
            Self::Tombstone { .. } => "catalog.v1",
        }
    }

    /// The event time that it moves the stream to. Rows of tables move none: they hold from when they come, and may be dated
    /// long after the observations that are read next to them.
    pub fn stream_time(&self) -> Option<Timestamp> {
        match self.event()? {
            Event::Catalog(_) | Event::Listing(_) => None,
            event => place_in_time(event),
        }
    }

    /// The event, if it is one.
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Tombstone { .. } => None,
        }
    }
}

/// Where an event stands among those of other inputs; `None` where its time cannot be: a record that claims to be of the next
/// century would hold back all that is behind it until every other input is through.
pub fn place_in_time(event: &Event) -> Option<Timestamp> {
    let observed_at = event.observed_at();
    let is_known =
        event.envelope().is_none_or(|envelope| observed_at.micros_since(envelope.ingested_at) <= AHEAD_MAX.micros());
    is_known.then_some(observed_at)
}

/// What a step gives: to the next step, or, from the last one, to the topic of its family.
pub type Output = Input;

/// Why a record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Id of the rule, stable.
    pub rule: &'static str,
    /// The reason in words, with the offending value.
    pub message: String,
}

/// A wish to be woken when stream time reaches `due`. Timers fire in this order: by time, then step, then key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When.
    pub due: Timestamp,
    /// Index of the step in its chain.
    pub step: u8,
    /// For which key.
    pub key: Text,
}

/// A count for the quality topic, to be added up.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Of which family the record is.
    pub family: Family,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// What became of it.
    pub outcome: Outcome,
    /// The rule, for `suspect`; else empty.
    pub rule: &'a str,
}

/// What a task offers a step besides its state.
pub trait Outbox {
    /// Hands `output` to the next step.
    fn forward(&mut self, output: Output);
    /// Counts what became of a record.
    fn count(&mut self, counted: Counted<'_>);
    /// Publishes a copy of `event` on `late.<topic>`.
    fn late(&mut self, event: &Event);
    /// Asks for a call of `wake` for the current step and key.
    fn wake_at(&mut self, due: Timestamp);
}

/// The ids a task has seen, see [`SeenIds::insert`].
pub trait SeenIds {
    /// Remembers `id` in the bucket of the day it was taken in, unless it is there already in any bucket that has not
    /// expired: a bucket expires once a record was taken in more than `window_days` days after it.
    fn insert(&mut self, taken_in: Day, window_days: u16, id: EventId, body: u64) -> Seen;
}

/// Parts of a step's state of the current key that are written often and read rarely: each is stored on its own, and none
/// is kept in memory.
pub trait Rows {
    /// Sets row `row`: what the caller writes into the buffer, which is empty, is its value.
    fn put(&mut self, row: u64) -> &mut Vec<u8>;
    /// The value of row `row`, to be changed in place; empty where there is none.
    fn edit(&mut self, row: u64) -> &mut Vec<u8>;
    /// Drops row `row`; a no-op where there is none.
    fn remove(&mut self, row: u64);
    /// The value of row `row`.
    fn get(&mut self, row: u64) -> Option<Vec<u8>>;
    /// The value of row `row` cannot be understood, for this reason: the work on the record is void, and the task ends.
    fn refuse(&mut self, row: u64, reason: &str);
}

/// Whether an id was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No.
    New,
    /// Yes, and it said the same.
    Same,
    /// Yes, and it said something else.
    Different,
}

/// What a step may use while it works on one record.
pub struct Context<'a> {
    /// Highest valid event time the task has seen, this record included. Use it for timers only.
    pub stream_time: Timestamp,
    /// The value of the record at hand as it was read, framed; empty where there is none.
    pub value: &'a [u8],
    /// Ids seen by the task.
    pub seen: &'a mut dyn SeenIds,
    /// Rows of the step's state of the key.
    pub rows: &'a mut dyn Rows,
    /// Where results go.
    pub outbox: &'a mut dyn Outbox,
}

impl Context<'_> {
    /// Hands `output` to the next step.
    pub fn forward(&mut self, output: Output) {
        self.outbox.forward(output);
    }

    /// Keeps `event`, the one at hand, as row `row`: as it was read, where it is still that.
    pub fn keep(&mut self, row: u64, event: &Event, as_read: bool) {
        let row = self.rows.put(row);
        if as_read { row.extend_from_slice(self.value) } else { Encoder.encode(event, row) }
    }

    /// The event that was kept as row `row`. One that does not decode, of a later version of skuflow perhaps, ends the task.
    pub fn kept(&mut self, row: u64) -> Option<Event> {
        let value = self.rows.get(row)?;
        Decoder.decode(&value).map_err(|error| self.rows.refuse(row, &error.to_string())).ok()
    }

    /// Counts what became of `event`.
    pub fn count(&mut self, event: &Event, outcome: Outcome, rule: &str) {
        if let Some(envelope) = event.envelope() {
            self.outbox.count(Counted { family: event.family(), envelope, outcome, rule });
        }
    }
}
