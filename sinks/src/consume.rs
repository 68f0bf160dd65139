//! The loop that all sinks share: from the stored positions, fetch, decode, batch, land.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use skuflow_runtime::broker::{
    Broker, BrokerError, Offset, OwnedRecord, Reader, RecordView, TopicInfo, TopicPartition,
};
use skuflow_runtime::limits::{FETCH_BYTES_MAX, POLL_MAX};
use skuflow_runtime::measure::{BATCH_BYTES, BATCH_RECORDS, COMMIT_MICROS, Condition, Distribution};
use skuflow_runtime::stage::{Control, back_off};
use skuflow_schemas::{DEAD_LETTER_PREFIX, DeadLetter, Decoder, HEADER_PREFIX};

use crate::batcher::{Batcher, Cut};
use crate::letters::{Letters, Refusal};
use crate::sink::{Identity, Incoming, Landed, RawRecord, Sink, SinkError};

/// What a sink has landed in this run, and how it does.
pub struct Progress {
    /// How it does.
    pub condition: Condition,
    records: AtomicU64,
    files: AtomicU64,
    file_bytes: AtomicU64,
    bytes: AtomicU64,
    rows: Mutex<BTreeMap<&'static str, u64>>,
    missing: OnceLock<String>,
    batch_records: Distribution,
    batch_bytes: Distribution,
    landings: Distribution,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            condition: Condition::default(),
            records: AtomicU64::new(0),
            files: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            rows: Mutex::default(),
            missing: OnceLock::new(),
            batch_records: Distribution::new(BATCH_RECORDS),
            batch_bytes: Distribution::new(BATCH_BYTES),
            landings: Distribution::new(COMMIT_MICROS),
        }
    }
}

impl Progress {
    /// Records landed.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Files written.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Rows written, by table.
    pub fn rows(&self) -> BTreeMap<&'static str, u64> {
        self.rows.lock().expect("no holder panics").clone()
    }

    /// Bytes of the values in the batches landed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records per batch landed.
    pub fn batch_records(&self) -> &Distribution {
        &self.batch_records
    }

    /// Bytes per batch landed.
    pub fn batch_bytes(&self) -> &Distribution {
        &self.batch_bytes
    }

    /// How long it took to land a batch, in microseconds.
    pub fn landing_micros(&self) -> &Distribution {
        &self.landings
    }

    /// Why nothing lands at present.
    pub fn trouble(&self) -> Option<String> {
        self.condition.trouble()
    }

    /// What a new store cannot have, because the log had lost it: offsets by partition, as the run began.
    pub fn missing(&self) -> Option<&str> {
        self.missing.get().map(String::as_str)
    }

    /// Says once in a run what is missing.
    fn begins(&self, sink: &str, missing: &[String]) {
        if !missing.is_empty() && self.missing.set(missing.join(", ")).is_ok() {
            let offsets = self.missing().unwrap_or_default();
            tracing::warn!(
                sink,
                offsets,
                "a new store begins with what the log still has; retention has dropped the rest"
            );
        }
    }

    fn landed(&self, landed: Landed, (records, bytes): (usize, usize), took: Duration) {
        self.batch_records.add(records as u64);
        self.batch_bytes.add(bytes as u64);
        self.landings.add(took.as_micros() as u64);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.records.fetch_add(landed.records, Ordering::Relaxed);
        self.files.fetch_add(landed.files, Ordering::Relaxed);
        self.file_bytes.fetch_add(landed.bytes, Ordering::Relaxed);
        let mut rows = self.rows.lock().expect("no holder panics");
        for (table, count) in landed.rows {
            *rows.entry(table).or_default() += count;
        }
    }
}

/// What a sink gets of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The event in it, or the key that has ended; a value that holds none becomes a dead letter.
    Event,
    /// The record as it is, whatever it holds.
    Raw,
}

/// Feeds one sink.
pub struct Consume {
    /// Its name in the config.
    pub name: String,
    /// What it reads.
    pub topics: Vec<Arc<str>>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// What it gets of each record.
    pub form: Form,
    /// When a batch is landed.
    pub cut: Cut,
    /// Its stable transactional id, for its dead letters.
    pub transactional_id: String,
    /// Shared with the rest of the run.
    pub control: Arc<Control>,
    /// Where it counts.
    pub progress: Arc<Progress>,
}

/// Why a session ended before its time.
enum Failed {
    Again(String),
    /// At once: what was in the way is a dead letter.
    Anew,
    Fatal(String),
}

impl From<BrokerError> for Failed {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Retry(reason) | BrokerError::Reopen(reason) => Self::Again(reason),
            other => Self::Fatal(other.to_string()),
        }
    }
}

impl From<SinkError> for Failed {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Fatal(reason) => Self::Fatal(reason),
            other => Self::Again(other.to_string()),
        }
    }
}

impl Consume {
    /// Lands records until the run stops or, with `--once`, everything is landed. After any failure it goes on from the
    /// stored positions.
    ///
    /// # Errors
    /// The sink's name, and what will not get better by itself.
    pub async fn run<S: Sink>(&self, sink: &mut S) -> Result<(), String> {
        let mut failures = 0;
        let (mut cut, mut buried) = (self.cut, BTreeSet::new());
        loop {
            match self.session(sink, &mut cut, &mut buried).await {
                Ok(()) => return Ok(()),
                Err(Failed::Anew) => continue,
                Err(Failed::Fatal(reason)) => return Err(format!("sink {}: {reason}", self.name)),
                Err(Failed::Again(reason)) => {
                    tracing::warn!(sink = self.name, reason, "going on from the stored positions");
                    failures = if self.progress.condition.failed(reason) { failures + 1 } else { 1 };
                }
            }
            if back_off(failures, &self.control) {
                return Ok(());
            }
        }
    }

    async fn session<S: Sink>(&self, sink: &mut S, cut: &mut Cut, buried: &mut Buried) -> Result<(), Failed> {
        let topics = self.broker.topics()?;
        let identity = Identity::of(self.broker.as_ref(), &topics)?;
        let stored = sink.positions(&identity).await?;
        let mut session = Session {
            consume: self,
            reader: self.broker.reader()?,
            places: self.places(&topics, &stored)?,
            identity,
            turn: 0,
            buried,
            strange: Vec::new(),
            batcher: Batcher::new(*cut),
            cut,
        };
        for place in &session.places {
            session.reader.begin(&place.of, place.next)?;
        }
        self.progress.condition.begun();
        let mut seen = 0;
        loop {
            // Asked before looking where the topics end.
            let stopping = self.control.is_stopping();
            let complete = self.topics.iter().all(|topic| self.control.is_complete(topic));
            let version = self.broker.wait(seen, Duration::ZERO);
            let fetched = session.fetch()?;
            let ends = stopping || (complete && !fetched);
            if ends || session.batcher.is_due(Instant::now()) {
                session.land(sink).await?;
            }
            if session.batcher.is_empty() {
                self.progress.condition.is_well();
            }
            if ends {
                return Ok(());
            }
            if !fetched {
                let left = session.batcher.due_in(Instant::now()).unwrap_or(POLL_MAX);
                seen = self.broker.wait(version, left.min(POLL_MAX));
            }
        }
    }

    /// Where to go on in each partition.
    fn places(&self, topics: &[TopicInfo], stored: &BTreeMap<TopicPartition, Offset>) -> Result<Vec<Place>, Failed> {
        let mut places = Vec::new();
        let mut missing = Vec::new();
        for topic in topics.iter().filter(|topic| self.topics.contains(&topic.name)) {
            for number in 0..topic.partitions {
                let of = TopicPartition::new(topic.name.clone(), number);
                let (first, next) = self.broker.offsets(&of)?;
                let stored = stored.get(&of).copied();
                if stored.is_none() && first > 0 {
                    missing.push(format!("0..{first} of {of}"));
                }
                places.push(Place { stored, next: start(&of, stored, first, next).map_err(Failed::Fatal)?, of });
            }
        }
        self.progress.begins(&self.name, &missing);
        Ok(places)
    }
}

/// Where to begin: at the stored position, which the log must hold; with a new store, at what the log still has.
fn start(of: &TopicPartition, stored: Option<Offset>, first: Offset, next: Offset) -> Result<Offset, String> {
    const ANEW: &str = "give the sink a new, empty store, which will hold what the log still has";
    match stored {
        None => Ok(first),
        Some(stored) if stored < first => Err(format!(
            "offsets {stored}..{first} of {of} were dropped before this sink had read them; the log holds {first}..{next}. \
             Bring back a data directory that has them, or {ANEW}"
        )),
        Some(stored) if stored > next => Err(format!(
            "its store is at offset {stored} of {of}, but the log holds {first}..{next}: the data directory is older than \
             the store. Bring back the two as they were at one time, or {ANEW}"
        )),
        Some(stored) => Ok(stored),
    }
}

/// Records that are dead letters now.
type Buried = BTreeSet<(TopicPartition, Offset)>;

struct Place {
    of: TopicPartition,
    /// Position in the store.
    stored: Option<Offset>,
    /// Next to fetch.
    next: Offset,
}

struct Session<'a> {
    consume: &'a Consume,
    reader: Box<dyn Reader>,
    places: Vec<Place>,
    identity: Identity,
    /// The partition that is fetched next: each in its turn, also where one of them could fill every batch.
    turn: usize,
    buried: &'a mut Buried,
    /// Records of the batch that are no events.
    strange: Vec<Refusal>,
    batcher: Batcher,
    /// As configured, unless a batch took too long: then half of it, and with each that lands a bit more. What is too much
    /// again costs a whole time-out, so it is seldom tried.
    cut: &'a mut Cut,
}

impl Session<'_> {
    /// Adds what is there to the batch until it is full; whether there was anything.
    fn fetch(&mut self) -> Result<bool, Failed> {
        let (count, now) = (self.places.len(), Instant::now());
        let mut any = false;
        for _ in 0..count {
            if self.batcher.is_full() {
                break;
            }
            let place = &mut self.places[self.turn];
            self.turn = (self.turn + 1) % count;
            let before = place.next;
            for fetched in self.reader.fetch(&place.of, before, FETCH_BYTES_MAX)? {
                for record in fetched.from(before) {
                    if self.batcher.is_full() {
                        break;
                    }
                    let is_buried = || self.buried.contains(&(place.of.clone(), record.offset));
                    let incoming = match self.consume.form {
                        _ if !self.buried.is_empty() && is_buried() => None,
                        Form::Event => read(&place.of, &record, &mut self.strange).map_err(Failed::Fatal)?,
                        Form::Raw => Some(raw(&record)),
                    };
                    let bytes = record.value.map_or(0, <[u8]>::len);
                    place.next = record.offset + 1;
                    self.batcher.add(&place.of, (place.stored, place.next), (incoming, bytes), now);
                }
            }
            any |= place.next > before;
        }
        Ok(any)
    }

    async fn land<S: Sink>(&mut self, sink: &mut S) -> Result<(), Failed> {
        if self.batcher.is_empty() {
            return Ok(());
        }
        let (size, began) = (self.batcher.size(), Instant::now());
        let batch = self.batcher.take();
        let strange = std::mem::take(&mut self.strange);
        self.bury(strange, sink).await?;
        let landed = match sink.land(&batch).await {
            Err(SinkError::Refused(refusals)) => {
                let places: Vec<_> = refusals.iter().map(|refusal| (refusal.of.clone(), refusal.offset)).collect();
                self.bury(refusals, sink).await?;
                self.buried.extend(places); // not before: who passes over them must know that their letters are written
                return Err(Failed::Anew);
            }
            Err(SinkError::TooLong(reason)) => {
                self.cut.records_max = (size.0 / 2).max(1);
                return Err(Failed::Again(format!("{reason}; a batch of {} is tried", self.cut.records_max)));
            }
            landed => landed?,
        };
        self.cut.records_max =
            self.consume.cut.records_max.min(self.cut.records_max + (self.cut.records_max / 16).max(1));
        self.batcher = Batcher::new(*self.cut);
        self.consume.progress.landed(landed, size, began.elapsed());
        let mut positions = BTreeMap::new();
        for place in &mut self.places {
            if let Some(part) = batch.parts.get(&place.of) {
                place.stored = Some(part.range.to);
                positions.insert(place.of.clone(), part.range.to);
            }
        }
        self.consume.broker.note_positions(&format!("sink-{}", self.consume.name), &positions)?;
        Ok(())
    }

    /// Makes dead letters of records that will not land.
    async fn bury<S: Sink>(&self, refusals: Vec<Refusal>, sink: &mut S) -> Result<(), Failed> {
        if refusals.is_empty() {
            return Ok(());
        }
        let Consume { name, transactional_id, broker, .. } = self.consume;
        for Refusal { of, offset, code, reason } in &refusals {
            tracing::warn!(sink = name, %of, offset, code, reason, "becomes a dead letter");
        }
        // The positions are read when nobody else writes letters: what is before them has landed, or has its letter.
        let letters = Letters::open(name, transactional_id, broker.as_ref())?;
        let stored = sink.positions(&self.identity).await?;
        Ok(letters.write(refusals, &stored, &self.identity)?)
    }
}

/// What a record is to a sink. A configured prefix of topics stands behind `dlq.`.
pub(crate) fn read(
    of: &TopicPartition,
    record: &RecordView<'_>,
    strange: &mut Vec<Refusal>,
) -> Result<Option<Incoming>, String> {
    let refuse = |reason: String| format!("offset {} of {of}: {reason}", record.offset);
    if of.topic.starts_with(DEAD_LETTER_PREFIX) {
        let letter = DeadLetter::from_headers(record.headers()).ok_or_else(|| {
            refuse(format!(
                "the record has no headers `{HEADER_PREFIX}errors.*`, so another program wrote it to the dead letters; to \
                 go on without them, take the topic out of the sink's `from`"
            ))
        })?;
        return Ok(Some(Incoming::DeadLetter(Box::new(letter), record.appended_at)));
    }
    let Some(value) = record.value else {
        let key = record.key.and_then(|key| str::from_utf8(key).ok());
        return Ok(key.map(|key| Incoming::Ended(key.into()))); // no key of ours is anything but text
    };
    match Decoder.decode(value) {
        Ok(event) => Ok(Some(Incoming::Event(event, record.offset))),
        Err(error) => {
            let (code, reason) = (error.code(), error.to_string());
            strange.push(Refusal { of: of.clone(), offset: record.offset, code, reason });
            Ok(None)
        }
    }
}

/// A record as it is.
fn raw(record: &RecordView<'_>) -> Incoming {
    let event = record.value.and_then(|value| Decoder.decode(value).ok());
    let headers = record.headers().map(|(name, value)| (name.to_owned(), value.to_vec()));
    Incoming::Raw(Box::new(RawRecord {
        offset: record.offset,
        appended_at: record.appended_at,
        envelope: event.and_then(|event| event.envelope().cloned()),
        record: OwnedRecord {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        },
    }))
}

#[cfg(test)]
mod tests;
