//! Publishes pages: events, dead letters, counts and the cursor in one transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use skuflow_runtime::broker::{Broker, BrokerError, Commit, Header, Producer, Record, StateChange, TxnError};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::limits::{POLL_MAX, RECORD_BYTES_MAX};
use skuflow_runtime::measure::{BATCH_RECORDS, COMMIT_MICROS, Condition, Distribution};
use skuflow_runtime::stage::{Control, back_off};
use skuflow_schemas::{DeadLetter, Encoder, ErrorStage, Event, Family, Outcome, Quality, Text, Timestamp};

use crate::{Connector, ConnectorError, Cursor, Mapped, Page, Poll, RejectedRow, Spot};

/// What a connector has published in this run, and how it does.
pub struct Intake {
    /// How it does.
    pub condition: Condition,
    read: AtomicU64,
    share: Mutex<Option<f64>>,
    bytes: AtomicU64,
    sent_records: AtomicU64,
    sent_bytes: AtomicU64,
    rejected: Mutex<BTreeMap<Text, u64>>,
    pages: Distribution,
    commits: Distribution,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            condition: Condition::default(),
            read: AtomicU64::new(0),
            share: Mutex::default(),
            bytes: AtomicU64::new(0),
            sent_records: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            rejected: Mutex::default(),
            pages: Distribution::new(BATCH_RECORDS),
            commits: Distribution::new(COMMIT_MICROS),
        }
    }
}

/// What a page adds to the counts as soon as it is known to be committed.
struct Counted {
    /// How the cursor changes with it.
    changes: BTreeMap<String, Option<Vec<u8>>>,
    read: u64,
    bytes: u64,
    sent_records: u64,
    sent_bytes: u64,
    rejected: BTreeMap<Text, u64>,
    /// When it was begun to be sent.
    began: Instant,
}

impl Counted {
    fn state(&self, owner: &Arc<str>) -> Vec<StateChange> {
        let change = |(name, entry): (&String, &Option<Vec<u8>>)| StateChange {
            owner: owner.clone(),
            key: name.clone().into_bytes(),
            value: entry.clone(),
        };
        self.changes.iter().map(change).collect()
    }

    fn is_in(&self, cursor: &Cursor) -> bool {
        self.changes.iter().all(|(name, entry)| cursor.get(name) == entry.as_ref())
    }

    fn apply(&self, cursor: &mut Cursor) {
        for (name, entry) in &self.changes {
            match entry {
                Some(entry) => cursor.insert(name.clone(), entry.clone()),
                None => cursor.remove(name),
            };
        }
    }
}

impl Intake {
    fn add(&self, page: Counted) {
        self.read.fetch_add(page.read, Ordering::Relaxed);
        self.bytes.fetch_add(page.bytes, Ordering::Relaxed);
        self.sent_records.fetch_add(page.sent_records, Ordering::Relaxed);
        self.sent_bytes.fetch_add(page.sent_bytes, Ordering::Relaxed);
        self.pages.add(page.read);
        self.commits.add(page.began.elapsed().as_micros() as u64);
        let mut totals = self.rejected.lock().expect("no holder panics");
        for (code, count) in page.rejected {
            *totals.entry(code).or_default() += count;
        }
    }

    /// Records read: published, or sent to the dead letters.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// How much of the source is read; see [`Connector::share`].
    pub fn share(&self) -> Option<f64> {
        *self.share.lock().expect("no holder panics")
    }

    /// Bytes of these records, as they stood in the source.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records sent, dead letters and counts among them.
    pub fn sent_records(&self) -> u64 {
        self.sent_records.load(Ordering::Relaxed)
    }

    /// Bytes sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Records per page.
    pub fn page_records(&self) -> &Distribution {
        &self.pages
    }

    /// How long it took to send and to commit a page, in microseconds.
    pub fn commit_micros(&self) -> &Distribution {
        &self.commits
    }

    /// Records of which no event could be made, by reason.
    pub fn rejected(&self) -> BTreeMap<Text, u64> {
        self.rejected.lock().expect("no holder panics").clone()
    }
}

/// Why a connector cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("connector {connector}: {reason}")]
pub struct PublishError {
    connector: String,
    reason: String,
}

/// Runs one connector.
pub struct Publisher {
    /// Its name in the config; names its cursor and its dead letters.
    pub name: String,
    /// Its stable transactional id.
    pub transactional_id: String,
    /// Where each family goes: name on the broker.
    pub topics: HashMap<Family, Arc<str>>,
    /// Where its dead letters go.
    pub dead_letters: Arc<str>,
    /// Where counts go.
    pub quality: Arc<str>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Tells when a page was taken in.
    pub clock: Clock,
    /// Shared with the rest of the run.
    pub control: Arc<Control>,
    /// Where it counts.
    pub intake: Arc<Intake>,
}

/// What a publisher knows of its commits, from one session with the broker to the next.
#[derive(Default)]
struct Known {
    /// The committed cursor.
    cursor: Cursor,
    /// The page whose commit was last tried: it counts when its cursor turns out to be the committed one.
    in_doubt: Option<Counted>,
    /// It was fenced since it last committed.
    is_fenced: bool,
}

impl Known {
    /// The page in doubt is committed.
    fn committed(&mut self) -> Option<Counted> {
        let page = self.in_doubt.take()?;
        page.apply(&mut self.cursor);
        self.is_fenced = false;
        Some(page)
    }

    /// Nothing is committed; a page in doubt that shows all the same is another's.
    fn fenced(&mut self) {
        (self.in_doubt, self.is_fenced) = (None, true);
    }
}

/// Why a session with the broker ended.
enum Failed {
    Again(String),
    /// Another process publishes for this connector; or this one was suspended in a transaction for longer than the cluster
    /// lets one stay open, and is fenced by it.
    Fenced(String),
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

impl From<TxnError> for Failed {
    fn from(error: TxnError) -> Self {
        match error {
            // Whatever the outcome was, the committed cursor tells.
            TxnError::Retry(_) | TxnError::Abort(_) | TxnError::Unknown(_) => Self::Again(error.to_string()),
            TxnError::Fenced(reason) => Self::Fenced(reason),
            TxnError::Fatal(reason) => Self::Fatal(reason),
        }
    }
}

impl Publisher {
    /// Publishes pages until the connector is done or the run stops. After any failure it goes on from the committed
    /// cursor.
    ///
    /// # Errors
    /// What will not get better by itself. Of two processes that publish for the same connector one ends, or they would
    /// fence each other for ever: that which finds that the other has committed, or is fenced twice without a commit between.
    pub fn run(&self, connector: &mut dyn Connector) -> Result<(), PublishError> {
        let mut failures = 0;
        let mut known = Known::default();
        loop {
            let before = self.intake.read();
            let fatal = |reason| Err(PublishError { connector: self.name.clone(), reason });
            let reason = match self.session(connector, &mut known) {
                Ok(()) => return Ok(()),
                Err(Failed::Fatal(reason)) => return fatal(reason),
                Err(Failed::Fenced(reason)) if known.is_fenced => return fatal(fenced_again(&reason)),
                Err(Failed::Fenced(reason)) => {
                    known.fenced();
                    reason
                }
                Err(Failed::Again(reason)) => reason,
            };
            tracing::warn!(connector = self.name, reason, "going on from the committed cursor");
            self.intake.condition.failed(reason);
            failures = if self.intake.read() == before { failures + 1 } else { 1 };
            if back_off(failures, &self.control) {
                return Ok(());
            }
        }
    }

    fn session(&self, connector: &mut dyn Connector, known: &mut Known) -> Result<(), Failed> {
        let owner: Arc<str> = format!("connector:{}", self.name).into();
        let mut producer = self.broker.producer(&self.transactional_id)?;
        self.read_cursor(&owner, known)?;
        self.intake.condition.begun();
        while !self.control.is_stopping() {
            if self.control.is_intake_paused() {
                std::thread::park_timeout(POLL_MAX);
                continue;
            }
            match connector.poll(&known.cursor) {
                Ok(Poll::Page(page)) => {
                    let page = known.in_doubt.insert(self.send(page, producer.as_mut())?);
                    producer.commit(Commit { consumed: None, state: page.state(&owner) })?;
                    if let Some(page) = known.committed() {
                        self.intake.add(page);
                        self.intake.condition.is_well();
                    }
                    *self.intake.share.lock().expect("no holder panics") = connector.share();
                }
                Ok(Poll::Idle) => {
                    self.intake.condition.is_well();
                    std::thread::park_timeout(POLL_MAX);
                }
                Ok(Poll::Done) => {
                    producer.settle()?;
                    self.intake.condition.is_well();
                    return Ok(());
                }
                Err(ConnectorError::Retry(reason)) => return Err(Failed::Again(reason)),
                Err(ConnectorError::Fatal(reason)) => return Err(Failed::Fatal(reason)),
            }
        }
        Ok(())
    }

    /// Reads the committed cursor, which nobody but the owner of the producer moves any more.
    fn read_cursor(&self, owner: &str, known: &mut Known) -> Result<(), Failed> {
        let entries = self.broker.state(owner)?.scan(b"")?.into_iter();
        let cursor: Cursor = entries.map(|(name, entry)| (String::from_utf8_lossy(&name).into(), entry)).collect();
        known.in_doubt = known.in_doubt.take().filter(|page| page.is_in(&cursor));
        if let Some(page) = known.committed() {
            self.intake.add(page);
        }
        if known.is_fenced && known.cursor != cursor {
            return Err(Failed::Fatal(taken_over("it has published since this one was fenced")));
        }
        known.cursor = cursor;
        Ok(())
    }

    /// Sends what is on a page; it is committed together with the cursor behind it.
    fn send(&self, page: Page, producer: &mut dyn Producer) -> Result<Counted, Failed> {
        let now = self.clock.now();
        let mut counted = Counted {
            changes: page.changes,
            read: page.records.len() as u64,
            bytes: page.records.iter().map(Mapped::bytes).sum(),
            sent_records: 0,
            sent_bytes: 0,
            rejected: BTreeMap::new(),
            began: Instant::now(),
        };
        let mut rejected: BTreeMap<(Text, Text, Text), u64> = BTreeMap::new();
        let mut value = Vec::new();
        for mapped in page.records {
            let refused = match mapped {
                Mapped::Event(event, spot) => self.send_event(event, &spot, now, producer, &mut value)?,
                Mapped::Rejected(row) => Some(row),
            };
            if let Some(row) = refused {
                send_dead_letter(&row, &self.dead_letters, producer)?;
                *counted.rejected.entry(row.letter.code.clone()).or_default() += 1;
                *rejected.entry((row.customer, row.source, row.letter.code)).or_default() += 1;
            }
        }
        self.send_counts(&rejected, now, producer)?;
        counted.sent_records = producer.pending_records();
        counted.sent_bytes = producer.pending_bytes() as u64;
        Ok(counted)
    }

    /// Sends an event; gives it back as a rejected row where the topic would not take it.
    fn send_event(
        &self,
        mut event: Event,
        spot: &Spot,
        now: Timestamp,
        producer: &mut dyn Producer,
        value: &mut Vec<u8>,
    ) -> Result<Option<Box<RejectedRow>>, Failed> {
        let id = event.compute_id();
        if let Some(envelope) = event.envelope_mut() {
            envelope.event_id = id;
            envelope.ingested_at = now;
        }
        let family = event.family();
        let Some(topic) = self.topics.get(&family) else {
            return Err(Failed::Fatal(format!("no topic in `to` takes events of family {}", family.name())));
        };
        value.clear();
        Encoder.encode(&event, value);
        let key = event.key();
        let size = key.as_str().len() + value.len();
        if size > RECORD_BYTES_MAX {
            return Ok(Some(Box::new(self.too_large(&event, spot, size))));
        }
        producer.send(topic, None, &Record { key: Some(key.as_str().as_bytes()), value: Some(value), headers: &[] })?;
        Ok(None)
    }

    fn too_large(&self, event: &Event, spot: &Spot, size: usize) -> RejectedRow {
        let envelope = event.envelope().cloned().unwrap_or_default();
        let message = format!(
            "{}:{}: the event has {size} bytes, a topic takes {RECORD_BYTES_MAX}; the record's bytes are not kept here: \
             shorten it in the file and read it again",
            spot.file, spot.line
        );
        let letter = DeadLetter {
            topic: self.name.as_str().into(),
            partition: 0,
            offset: spot.number,
            group: self.name.as_str().into(),
            stage: ErrorStage::Mapping,
            code: "record-too-large".into(),
            message,
            attempt: 1,
            origin: Some(spot.origin(&[])),
        };
        RejectedRow { letter, excerpt: Vec::new(), source: envelope.source, customer: envelope.customer }
    }

    fn send_counts(
        &self,
        rejected: &BTreeMap<(Text, Text, Text), u64>,
        now: Timestamp,
        producer: &mut dyn Producer,
    ) -> Result<(), Failed> {
        let families: Vec<&str> = self.topics.keys().map(|family| family.name()).collect();
        let family = if let [only] = families[..] { only } else { "" };
        for ((customer, source, code), count) in rejected {
            let event = Event::Quality(Box::new(Quality {
                customer: customer.clone(),
                source: source.clone(),
                family: family.into(),
                hour: now.hour(),
                outcome: Outcome::Rejected,
                rule: code.clone(),
                count: *count as i64,
                latest_observed_at: now,
            }));
            let mut value = Vec::new();
            Encoder.encode(&event, &mut value);
            let key = event.key();
            let record = Record { key: Some(key.as_str().as_bytes()), value: Some(&value), headers: &[] };
            producer.send(&self.quality, None, &record)?;
        }
        Ok(())
    }
}

fn fenced_again(reason: &str) -> String {
    format!(
        "fenced twice with no commit between: {reason}; another process took over, stop one of them; or a page takes longer \
         than a transaction may stay open, raise broker.kafka.transaction_timeout"
    )
}

fn taken_over(reason: &str) -> String {
    format!("another process took over: {reason}")
}

fn send_dead_letter(row: &RejectedRow, topic: &Arc<str>, producer: &mut dyn Producer) -> Result<(), Failed> {
    let added = row.letter.headers();
    let headers: Vec<Header<'_>> = added.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let file = row.letter.origin.as_ref().map(|origin| origin.file.as_bytes());
    producer.send(topic, None, &Record { key: file, value: Some(&row.excerpt), headers: &headers })?;
    Ok(())
}

#[cfg(test)]
mod tests;
