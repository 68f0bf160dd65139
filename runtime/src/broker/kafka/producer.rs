//! The transactional producer.
//!
//! ```text
//!   send … send ─▶ commit: changelog records ─▶ is the work still ours? ─▶ offsets with the member's generation
//!                                   ─▶ flush ─▶ commit ─▶ the local stores take the changes
//! ```
//! The local stores take nothing before the commit: they never hold what was aborted.
//!
//! A commit, or an abort, gets as long as the cluster lets a transaction stay open: what takes longer is aborted by it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header as OutHeader, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset as OutOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::changelog::{Changelog, note_topic};
use super::errors::{broker_error, txn_error};
use super::limits::{FLUSH_TICK, INIT_MAX, SETTLE_MAX, SETTLE_TICK};
use super::settings::{Fail, log};
use super::{Shared, native};
use crate::broker::{
    BrokerError, Commit, Consumed, Generation, Offset, Producer, Record, StateChange, TopicPartition, TxnError,
    partition_of,
};
use crate::storage::Put;

/// A producer with a transactional id; the id's earlier producer is fenced, and its open transaction aborted.
pub(super) struct KafkaProducer {
    shared: Arc<Shared>,
    producer: BaseProducer<Deliveries>,
    /// Partitions of the topics that were written to, and which of them were since it settled.
    written: HashMap<Arc<str>, Vec<bool>>,
    is_open: bool,
    /// Why no other transaction can be begun, if none can.
    broken: Option<String>,
    bytes: usize,
    records: u64,
    /// Committed positions as far as they are known, in the generation that was committed last.
    known: Option<(Generation, HashMap<TopicPartition, Option<Offset>>)>,
    /// Partitions whose topics' ids are noted in their tasks' state.
    noted: HashSet<TopicPartition>,
}

/// Hears which records a topic did not take, the first of a transaction.
#[derive(Default)]
struct Deliveries {
    refused: Mutex<Option<(KafkaError, TopicPartition)>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            self.refused(error, message);
        }
    }
}

impl Deliveries {
    fn refused(&self, error: &KafkaError, message: &impl Message) {
        let of = TopicPartition::new(message.topic(), message.partition() as u32);
        if !matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight)) {
            self.refused.lock().expect("no holder panics").get_or_insert_with(|| (error.clone(), of));
        }
    }
}

impl KafkaProducer {
    pub(super) fn open(shared: &Arc<Shared>, transactional_id: &str) -> Result<Self, BrokerError> {
        let config = shared.settings.producing(transactional_id);
        let producer: BaseProducer<Deliveries> = BaseProducer::from_config_and_context(&config, Deliveries::default())
            .map_err(|error| broker_error(&error))?;
        let opened = Self {
            shared: shared.clone(),
            producer,
            written: HashMap::new(),
            is_open: false,
            broken: None,
            bytes: 0,
            records: 0,
            known: None,
            noted: HashSet::new(),
        };
        let begun = opened.step(Instant::now() + INIT_MAX, BaseProducer::init_transactions);
        match begun {
            Ok(()) => Ok(opened),
            Err(KafkaError::Transaction(error)) if error.code() == Code::InvalidTransactionTimeout => {
                Err(BrokerError::Fatal(format!(
                    "the cluster does not allow a transaction timeout of {:?}: set broker.kafka.transaction_timeout to its \
                     transaction.max.timeout.ms or less",
                    shared.settings.transaction_timeout
                )))
            }
            Err(error) => Err(broker_error(&error)),
        }
    }

    fn begin(&mut self) -> Result<(), TxnError> {
        if let Some(reason) = &self.broken {
            return Err(TxnError::Unknown(reason.clone()));
        }
        if !self.is_open {
            let begun = self.step(self.deadline(), |producer, _| producer.begin_transaction());
            begun.map_err(|error| self.failed(&error))?;
            self.is_open = true;
        }
        Ok(())
    }

    /// The partitions of a topic, for one of them to be marked.
    fn written(&mut self, topic: &Arc<str>) -> Result<&mut Vec<bool>, TxnError> {
        if !self.written.contains_key(topic) {
            let count = self.shared.partitions(topic).map_err(not_committed)?;
            let count = count.ok_or_else(|| TxnError::Fatal(format!("there is no topic {topic}")))?;
            self.written.insert(topic.clone(), vec![false; count as usize]);
        }
        Ok(self.written.get_mut(topic).expect("it is there"))
    }

    fn failed(&self, error: &KafkaError) -> TxnError {
        txn_error(error, self.producer.client().fatal_error())
    }

    fn put(&mut self, topic: &str, partition: u32, record: &Record<'_>) -> Result<(), TxnError> {
        self.begin()?;
        let mut out = BaseRecord::<'_, [u8], [u8], ()>::to(topic).partition(partition as i32);
        (out.key, out.payload) = (record.key, record.value);
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in record.headers {
                headers = headers.insert(OutHeader { key, value: Some(*value) });
            }
            out.headers = Some(headers);
        }
        let until = self.deadline();
        loop {
            match self.producer.send(out) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Instant::now() < until => {
                    self.producer.poll(Duration::from_millis(10));
                    out = back;
                }
                Err((error, _)) => return Err(self.failed(&error)),
            }
        }
    }

    /// Puts changes of state into their owners' changelogs; whose they are.
    fn put_changes(&mut self, changes: &[StateChange]) -> Result<Vec<Changelog>, TxnError> {
        let mut owners: Vec<Changelog> = Vec::new();
        for change in changes {
            let at = owners.iter().position(|known| known.owner == change.owner);
            if at.is_none() {
                let changelog = Changelog::of(&change.owner, &self.shared.settings.name).map_err(TxnError::Fatal)?;
                changelog.ensure(&self.shared).map_err(not_committed)?;
                owners.push(changelog);
            }
            let at = at.unwrap_or(owners.len() - 1);
            let record = Record { key: Some(&change.key), value: change.value.as_deref(), headers: &[] };
            self.put(&owners[at].of.topic, owners[at].of.partition, &record)?;
        }
        Ok(owners)
    }

    /// Adds positions to the transaction, with the generation that the work belongs to.
    fn put_positions(
        &mut self,
        generation: &Generation,
        consumed: &[Consumed],
        until: Instant,
    ) -> Result<(), TxnError> {
        let member = self.shared.member(generation).ok_or_else(|| {
            TxnError::Fenced(format!("generation {} of {} is over", generation.number, generation.member))
        })?;
        self.check_continues(generation, consumed)?;
        let mut positions = TopicPartitionList::with_capacity(consumed.len());
        for step in consumed {
            let added = positions.add_partition_offset(
                &step.of.topic,
                step.of.partition as i32,
                OutOffset::Offset(step.to as i64),
            );
            added.map_err(|error| self.failed(&error))?;
        }
        self.dies_here(until)?;
        if !self.shared.settings.is_transactional() {
            self.flush(until)?;
            return self.shared.commit_as_member(generation, &positions).map_err(|error| self.failed(&error));
        }
        self.step(until, |producer, left| producer.send_offsets_to_transaction(&positions, &member, left))
            .map_err(|error| self.failed(&error))
    }

    /// The end of the process, where a test wants it.
    fn dies_here(&self, until: Instant) -> Result<(), TxnError> {
        let fails = |point| self.shared.settings.fails(point);
        if !fails(Fail::DiesWithoutTransactions) && !fails(Fail::DiesBeforePositions) {
            return Ok(());
        }
        self.flush(until)?;
        Err(TxnError::Unknown("the process is dead".into()))
    }

    /// Kafka takes whatever position a member gives; that it continues the committed one is checked here. Only one member
    /// of a generation moves the position in a partition, so it is asked for once in each.
    fn check_continues(&mut self, generation: &Generation, consumed: &[Consumed]) -> Result<(), TxnError> {
        let known = self.known.take().filter(|(of, _)| of == generation);
        let mut known = known.map(|(_, known)| known).unwrap_or_default();
        let unknown: Vec<_> = consumed.iter().map(|step| &step.of).filter(|of| !known.contains_key(of)).collect();
        let places = unknown.iter().map(|of| (&*of.topic, of.partition));
        let positions = self.shared.committed_in(&generation.group, places).map_err(not_committed)?;
        known.extend(unknown.into_iter().map(|of| (of.clone(), positions.get(of).copied())));
        let (_, known) = self.known.insert((generation.clone(), known));
        for step in consumed {
            let stored = known[&step.of];
            if stored != step.from {
                let Consumed { of, from, .. } = step;
                return Err(TxnError::Fenced(format!("{of} is at {stored:?}, the work began at {from:?}")));
            }
        }
        Ok(())
    }

    /// When a step that is begun now has failed if it is not done.
    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.settings.transaction_timeout
    }

    /// Waits until all records are taken. A topic that does not take one may do so later: the work is done again until then.
    /// `rdkafka`'s own flush looks every 100 ms only.
    fn flush(&self, until: Instant) -> Result<(), TxnError> {
        while let Err(code) = native::flush(&self.producer, FLUSH_TICK) {
            if code != Code::OperationTimedOut || Instant::now() >= until {
                return Err(self.failed(&KafkaError::Flush(code)));
            }
            self.hear();
        }
        let refused = self.producer.context().refused.lock().expect("no holder panics").take();
        match (refused, self.producer.client().fatal_error()) {
            (None, _) => Ok(()),
            (Some((error, _)), Some(fatal)) => Err(txn_error(&error, Some(fatal))),
            (Some((error, of)), None) => Err(TxnError::Abort(format!("{of} does not take a record: {error}"))),
        }
    }

    /// Hears what became of the records, as far as it is known.
    fn hear(&self) {
        let mut before = i32::MAX;
        while self.producer.in_flight_count() < before {
            before = self.producer.in_flight_count();
            self.producer.poll(Duration::ZERO);
        }
    }

    /// Repeats a transaction's step for as long as librdkafka says that it may be repeated. Without transactions there is
    /// none.
    fn step(
        &self,
        until: Instant,
        step: impl Fn(&BaseProducer<Deliveries>, Duration) -> Result<(), KafkaError>,
    ) -> Result<(), KafkaError> {
        if !self.shared.settings.is_transactional() {
            return Ok(());
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match step(&self.producer, left) {
                Err(error) if is_retriable(&error) && Instant::now() < until => {}
                outcome => return outcome,
            }
        }
    }

    fn note_topics(&self, commit: &mut Commit<'_>) -> Result<(), TxnError> {
        let Some((generation, consumed)) = commit.consumed else { return Ok(()) };
        for of in consumed.iter().map(|step| &step.of).filter(|of| !self.noted.contains(of)) {
            let topic = self.shared.topic(&of.topic).map_err(not_committed)?;
            let topic = topic.ok_or_else(|| TxnError::Fatal(format!("there is no topic {}", of.topic)))?;
            commit.state.push(note_topic(&generation.group, of, topic.id));
        }
        Ok(())
    }

    /// The owners of the changes, and for those whose stores are due to be written the ends of their changelogs.
    fn try_commit(&mut self, commit: &mut Commit<'_>) -> Result<Vec<(Changelog, Option<Offset>)>, TxnError> {
        let until = self.deadline();
        self.begin()?;
        self.note_topics(commit)?;
        let owners = self.put_changes(&commit.state)?;
        if let Some((generation, consumed)) = commit.consumed {
            self.put_positions(generation, consumed, until)?;
        }
        self.flush(until)?;
        // Before the commit: until then whoever may have the work next waits for it, and has written nothing.
        let mut is_answered = true; // where it is not, they are written with the next
        let end_if_due = |changelog: Changelog| {
            let is_due = self.shared.store(&changelog.owner).is_some_and(|store| store.is_due());
            let end = if is_due && is_answered { self.shared.high_watermark(&changelog.of).ok() } else { None };
            is_answered &= !is_due || end.is_some();
            (changelog, end)
        };
        let owners = owners.into_iter().map(end_if_due).collect();
        let committed = self.step(until, BaseProducer::commit_transaction);
        committed.map_err(|error| match &error {
            KafkaError::Transaction(native) if native.txn_requires_abort() || native.is_fatal() => self.failed(&error),
            _ => TxnError::Unknown(error.to_string()),
        })?;
        Ok(owners)
    }

    /// The transaction is committed: the stores that are open take its changes.
    fn apply(&self, owners: &[(Changelog, Option<Offset>)], changes: Vec<StateChange>) -> Result<(), TxnError> {
        let mut changes = changes.into_iter().peekable();
        while let Some(owner) = changes.peek().map(|change| change.owner.clone()) {
            let own = std::iter::from_fn(|| changes.next_if(|change| change.owner == owner));
            match self.shared.store(&owner) {
                Some(store) => store.apply(own.map(|change| Put { key: change.key, value: change.value })),
                None => own.for_each(drop),
            }
        }
        for (changelog, end) in owners {
            let Some(store) = self.shared.store(&changelog.owner) else { continue };
            if let Some(end) = end {
                let flushed = store.flush_current(*end);
                flushed.map_err(|reason| TxnError::Unknown(format!("it is committed, but {reason}")))?;
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        *self.producer.context().refused.lock().expect("no holder panics") = None;
        (self.is_open, self.bytes, self.records) = (false, 0, 0);
    }
}

impl Producer for KafkaProducer {
    fn send(&mut self, topic: &Arc<str>, partition: Option<u32>, record: &Record<'_>) -> Result<(), TxnError> {
        let written = self.written(topic)?;
        let count = written.len() as u32;
        let partition = partition.unwrap_or_else(|| partition_of(record.key.unwrap_or_default(), count));
        if let Some(written) = written.get_mut(partition as usize) {
            *written = true;
        }
        let known = match (&self.shared.registry, record.value) {
            (Some(registry), Some(value)) => Some(registry.outgoing(topic, value).map_err(not_committed)?.into_owned()),
            _ => None,
        };
        let value = known.as_deref().or(record.value);
        self.put(topic, partition, &Record { value, ..*record })?;
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers;
        self.records += 1;
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.bytes
    }

    fn pending_records(&self) -> u64 {
        self.records
    }

    fn commit(&mut self, mut commit: Commit<'_>) -> Result<(), TxnError> {
        if !self.is_open && commit.consumed.is_none() && commit.state.is_empty() {
            return Ok(());
        }
        let outcome = self.try_commit(&mut commit).and_then(|owners| {
            self.is_open = false;
            self.apply(&owners, std::mem::take(&mut commit.state))
        });
        match &outcome {
            Ok(()) => {
                if let (Some((_, positions)), Some((_, consumed))) = (&mut self.known, commit.consumed) {
                    positions.extend(consumed.iter().map(|step| (step.of.clone(), Some(step.to))));
                    self.noted.extend(consumed.iter().map(|step| step.of.clone()));
                }
                self.shared.changed();
                self.forget();
            }
            Err(error) => {
                self.known = None;
                if matches!(error, TxnError::Unknown(_)) {
                    self.broken = Some(error.to_string()); // a new producer waits for the outcome
                    self.forget();
                } else {
                    self.abort();
                }
            }
        }
        outcome
    }

    /// Where a partition ends at present has to be what readers see, too: another's open transaction is waited for.
    fn settle(&mut self) -> Result<(), TxnError> {
        let mut unsettled = Vec::new();
        for (topic, written) in &mut self.written {
            let marked =
                (0..).zip(written).filter_map(|(partition, written)| std::mem::take(written).then_some(partition));
            unsettled.extend(marked.map(|partition| TopicPartition::new(topic.clone(), partition)));
        }
        let until = self.deadline() + SETTLE_MAX;
        for of in unsettled {
            let end = self.shared.high_watermark(&of).map_err(not_committed)?;
            while self.shared.offsets(&of).map_err(not_committed)?.1 < end {
                if Instant::now() >= until {
                    return Err(TxnError::Abort(format!("{of}: a transaction stays open before offset {end}")));
                }
                std::thread::park_timeout(SETTLE_TICK);
            }
        }
        Ok(())
    }

    fn abort(&mut self) {
        if self.is_open && self.broken.is_none() {
            let until = self.deadline();
            let _what_fails_fails_the_abort_too = self.flush(until);
            if let Err(error) = self.step(until, BaseProducer::abort_transaction) {
                self.broken = Some(format!("a transaction could not be aborted: {error}"));
            }
        }
        self.forget();
    }
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(native) if native.is_retriable())
}

/// A question that came before the commit.
fn not_committed(error: BrokerError) -> TxnError {
    match error {
        BrokerError::Fatal(reason) => TxnError::Fatal(reason),
        other => TxnError::Abort(other.to_string()),
    }
}
