//! Dead letters of a sink: records that its store does not take, whatever is tried.
//!
//! A letter, and the note that it is written, are one transaction of the broker. After that the sink lands the batch without
//! the record; killed between the two, it comes upon the record again, and finds the note. Notes of what is before the sink's
//! position are of no more use, and go with the next letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use skuflow_runtime::broker::{
    Broker, BrokerError, Commit, Header, Offset, Producer, Record, RecordBatch, StateChange, TopicPartition, TxnError,
};
use skuflow_runtime::limits::FETCH_BYTES_MAX;
use skuflow_schemas::{ATTEMPT_HEADER, DEAD_LETTER_PREFIX, DeadLetter, ErrorStage, HEADER_PREFIX};

use crate::limits::REFUSED_MAX;
use crate::sink::Identity;

/// A record that is not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its partition.
    pub of: TopicPartition,
    /// Its offset.
    pub offset: Offset,
    /// The reason, stable.
    pub code: &'static str,
    /// The reason in words.
    pub reason: String,
}

/// Writes the letters of one sink.
pub(crate) struct Letters<'a> {
    sink: &'a str,
    broker: &'a dyn Broker,
    producer: Box<dyn Producer>,
}

impl<'a> Letters<'a> {
    /// From now on nobody else writes any: who was here before is fenced, and what it left unfinished is aborted.
    pub(crate) fn open(sink: &'a str, transactional_id: &str, broker: &'a dyn Broker) -> Result<Self, BrokerError> {
        Ok(Self { sink, broker, producer: broker.producer(transactional_id)? })
    }

    /// Writes those that are not written yet. `stored` are the sink's positions, read after this was opened.
    pub(crate) fn write(
        mut self,
        refusals: Vec<Refusal>,
        stored: &BTreeMap<TopicPartition, Offset>,
        identity: &Identity,
    ) -> Result<(), BrokerError> {
        let owner: Arc<str> = format!("sink:{}", self.sink).into();
        let notes = self.broker.state(&owner)?;
        let mut changes = Vec::new();
        for (of, position) in stored {
            for (key, _) in notes.scan(notes_of(of, identity).as_bytes())? {
                if key < note(of, *position, identity) {
                    changes.push(StateChange { owner: owner.clone(), key, value: None });
                }
            }
        }
        let mut reader = self.broker.reader()?;
        let (mut batches, mut sent) = (Vec::new(), 0);
        for Refusal { of, offset, code, reason } in refusals {
            let key = note(&of, offset, identity);
            if stored.get(&of).is_some_and(|position| offset < *position) || notes.get(&key)?.is_some() {
                continue;
            }
            let is_there = |batches: &[RecordBatch]| {
                batches.iter().flat_map(|batch| batch.from(offset)).any(|record| record.offset == offset)
            };
            if !is_there(&batches) {
                batches = reader.fetch(&of, offset, FETCH_BYTES_MAX)?;
            }
            let mut records = batches.iter().flat_map(|batch| batch.from(offset));
            let record = records.find(|record| record.offset == offset);
            let record =
                record.ok_or_else(|| BrokerError::Retry(format!("offset {offset} of {of} is not to be had")))?;
            let tried = record.headers().find(|(name, _)| *name == ATTEMPT_HEADER);
            let tried: u32 = tried.and_then(|(_, count)| str::from_utf8(count).ok()?.parse().ok()).unwrap_or(0);
            let letter = DeadLetter {
                topic: of.topic.as_ref().into(),
                partition: of.partition,
                offset,
                group: self.sink.into(),
                stage: ErrorStage::Landing,
                code: code.into(),
                message: reason,
                attempt: tried.saturating_add(1),
                origin: None,
            };
            let added = letter.headers();
            let mut headers: Vec<Header<'_>> =
                record.headers().filter(|(name, _)| !name.starts_with(HEADER_PREFIX)).collect();
            headers.extend(added.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
            let topic: Arc<str> = format!("{DEAD_LETTER_PREFIX}{}", of.topic).into();
            let record = Record { key: record.key, value: record.value, headers: &headers };
            self.producer.send(&topic, None, &record).map_err(failed)?;
            changes.push(StateChange { owner: owner.clone(), key, value: Some(Vec::new()) });
            sent += 1;
            if sent == REFUSED_MAX {
                self.producer.commit(Commit { consumed: None, state: std::mem::take(&mut changes) }).map_err(failed)?;
                sent = 0;
            }
        }
        self.producer.commit(Commit { consumed: None, state: changes }).map_err(failed)
    }
}

/// What the keys of all notes of a partition begin with; a topic that is made anew has others.
fn notes_of(of: &TopicPartition, identity: &Identity) -> String {
    let id = identity.topic_ids.get(of.topic.as_ref()).map_or("", String::as_str);
    format!("{of}/{id}/")
}

/// The key of a note, in the order of offsets.
fn note(of: &TopicPartition, offset: Offset, identity: &Identity) -> Vec<u8> {
    format!("{}{offset:020}", notes_of(of, identity)).into_bytes()
}

/// Whatever became of it: the notes say, the next time.
fn failed(error: TxnError) -> BrokerError {
    match error {
        TxnError::Fatal(reason) => BrokerError::Fatal(reason),
        other => BrokerError::Retry(other.to_string()),
    }
}
