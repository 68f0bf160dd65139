//! The loop that all sinks share: from the stored positions, fetch, decode, batch, land.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skuflow_runtime::broker::{Broker, BrokerError, Offset, Reader, RecordView, TopicPartition};
use skuflow_runtime::limits::{FETCH_BYTES_MAX, POLL_MAX};
use skuflow_runtime::stage::{Control, back_off};
use skuflow_schemas::{DEAD_LETTER_PREFIX, DeadLetter, Decoder};

use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::sink::{Batch, Identity, Incoming, Landed, Range, Sink, SinkError};

/// What a sink has landed in this run, and how it does.
#[derive(Default)]
pub struct Progress {
    records: AtomicU64,
    rows: Mutex<BTreeMap<&'static str, u64>>,
    trouble: Mutex<Option<String>>,
}

impl Progress {
    /// Records landed.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Rows written, by table.
    pub fn rows(&self) -> BTreeMap<&'static str, u64> {
        self.rows.lock().expect("no holder panics").clone()
    }

    /// Why nothing lands at present.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().expect("no holder panics").clone()
    }

    fn landed(&self, records: u64, landed: Landed) {
        self.records.fetch_add(records, Ordering::Relaxed);
        let mut rows = self.rows.lock().expect("no holder panics");
        for (table, count) in landed.rows {
            *rows.entry(table).or_default() += count;
        }
        *self.trouble.lock().expect("no holder panics") = None;
    }
}

/// Feeds one sink.
pub struct Consume {
    /// Its name in the config.
    pub name: String,
    /// What it reads.
    pub topics: Vec<Arc<str>>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Age at which a batch is landed however small it is.
    pub batch_age: Duration,
    /// Shared with the rest of the run.
    pub control: Arc<Control>,
    /// Where it counts.
    pub progress: Arc<Progress>,
}

/// Why a session ended before its time.
enum Failed {
    Again(String),
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
        loop {
            let before = self.progress.records();
            match self.session(sink).await {
                Ok(()) => return Ok(()),
                Err(Failed::Fatal(reason)) => return Err(format!("sink {}: {reason}", self.name)),
                Err(Failed::Again(reason)) => {
                    tracing::warn!(sink = self.name, reason, "going on from the stored positions");
                    *self.progress.trouble.lock().expect("no holder panics") = Some(reason);
                }
            }
            failures = if self.progress.records() == before { failures + 1 } else { 1 };
            if back_off(failures, &self.control) {
                return Ok(());
            }
        }
    }

    async fn session<S: Sink>(&self, sink: &mut S) -> Result<(), Failed> {
        let mut session = Session {
            consume: self,
            reader: self.broker.reader()?,
            places: self.places(sink).await?,
            batch: Batch::default(),
            bytes: 0,
            since: Instant::now(),
        };
        let mut seen = 0;
        loop {
            let stopping = self.control.is_stopping();
            let complete = self.topics.iter().all(|topic| self.control.is_complete(topic));
            let now = self.broker.wait(seen, Duration::ZERO);
            let fetched = session.fetch()?;
            let is_full = session.batch.records.len() >= BATCH_RECORDS_MAX || session.bytes >= BATCH_BYTES_MAX;
            let is_old = session.since.elapsed() >= self.batch_age;
            if is_full || is_old || stopping || (complete && !fetched) {
                session.land(sink).await?;
            }
            if stopping || (complete && !fetched) {
                return Ok(());
            }
            if !fetched {
                seen = self.broker.wait(now, POLL_MAX.min(self.batch_age));
            }
        }
    }

    /// Where to go on in each partition.
    async fn places<S: Sink>(&self, sink: &mut S) -> Result<BTreeMap<TopicPartition, Place>, Failed> {
        let topics = self.broker.topics()?;
        let identity = Identity {
            cluster_id: self.broker.cluster_id()?,
            topic_ids: topics.iter().map(|topic| (topic.name.to_string(), topic.id.clone())).collect(),
        };
        let stored = sink.positions(&identity).await?;
        let mut places = BTreeMap::new();
        for topic in topics.iter().filter(|topic| self.topics.contains(&topic.name)) {
            for number in 0..topic.partitions {
                let of = TopicPartition::new(topic.name.clone(), number);
                let (first, next) = self.broker.offsets(&of)?;
                let stored = stored.get(&of).copied();
                // A new store begins with what the log still has.
                let position = stored.unwrap_or(first);
                if stored.is_none() && first > 0 {
                    tracing::warn!(sink = self.name, %of, first, "the log begins late: earlier records are not in the store");
                }
                if position < first || position > next {
                    return Err(Failed::Fatal(format!(
                        "it is at offset {position} of {of}, but the log holds {first}..{next}: the records in between are \
                         gone. Restore the data directory or the store from a backup of one time; or give the sink a new, \
                         empty store, which will hold what the log still has"
                    )));
                }
                places.insert(of, Place { stored, next: position });
            }
        }
        Ok(places)
    }
}

struct Place {
    /// Position in the store.
    stored: Option<Offset>,
    /// Next to fetch.
    next: Offset,
}

struct Session<'a> {
    consume: &'a Consume,
    reader: Box<dyn Reader>,
    places: BTreeMap<TopicPartition, Place>,
    batch: Batch,
    bytes: usize,
    /// When the first record of the batch came.
    since: Instant,
}

impl Session<'_> {
    /// Adds what is there to the batch; whether there was anything.
    fn fetch(&mut self) -> Result<bool, Failed> {
        let mut any = false;
        for (of, place) in &mut self.places {
            if self.batch.records.len() >= BATCH_RECORDS_MAX || self.bytes >= BATCH_BYTES_MAX {
                break;
            }
            for fetched in self.reader.fetch(of, place.next, FETCH_BYTES_MAX)? {
                for record in fetched.from(place.next) {
                    let incoming = read(of, &record)?;
                    if self.batch.records.is_empty() {
                        self.since = Instant::now();
                    }
                    self.bytes += record.value.map_or(0, <[u8]>::len);
                    self.batch.records.extend(incoming);
                }
                place.next = fetched.next_offset();
                self.batch.ranges.insert(of.clone(), Range { from: place.stored, to: place.next });
                any = true;
            }
        }
        Ok(any)
    }

    async fn land<S: Sink>(&mut self, sink: &mut S) -> Result<(), Failed> {
        self.bytes = 0;
        self.since = Instant::now();
        let batch = std::mem::take(&mut self.batch);
        if batch.ranges.is_empty() {
            return Ok(());
        }
        let landed = sink.land(&batch).await?;
        self.consume.progress.landed(batch.records.len() as u64, landed);
        let mut positions = BTreeMap::new();
        for (of, range) in &batch.ranges {
            positions.insert(of.clone(), range.to);
            if let Some(place) = self.places.get_mut(of) {
                place.stored = Some(range.to);
            }
        }
        self.consume.broker.note_positions(&format!("sink-{}", self.consume.name), &positions)?;
        Ok(())
    }
}

/// What a record is to a sink; tombstones of tables are nothing yet.
fn read(of: &TopicPartition, record: &RecordView<'_>) -> Result<Option<Incoming>, Failed> {
    if of.topic.contains(DEAD_LETTER_PREFIX) {
        let letter = DeadLetter::from_headers(record.headers());
        return Ok(letter.map(|letter| Incoming::DeadLetter(Box::new(letter), record.appended_at)));
    }
    let Some(value) = record.value else { return Ok(None) };
    match Decoder.decode(value) {
        Ok(event) => Ok(Some(Incoming::Event(event, record.offset))),
        Err(error) => Err(Failed::Fatal(format!("offset {} of {of}: {error}", record.offset))),
    }
}
