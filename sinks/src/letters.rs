//! Dead letters of a sink: records that its store does not take, whatever is tried.
//!
//! A letter, and the note that it is written, are one transaction of the broker. After that the sink lands the batch without
//! the record; killed between the two, it comes upon the record again, and finds the note. Notes of what is before the sink's
//! position are of no more use, and go with the next letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use skuflow_runtime::broker::{
    Broker, BrokerError, Commit, Offset, Producer, RecordBatch, RecordView, StateChange, TopicPartition, TxnError,
};
use skuflow_runtime::limits::FETCH_BYTES_MAX;
use skuflow_runtime::stage::{next_attempt, send_dead_letter};
use skuflow_schemas::{DeadLetter, ErrorStage};

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
            if find(&batches, offset).is_none() {
                batches = reader.fetch(&of, offset, FETCH_BYTES_MAX)?;
            }
            let record = find(&batches, offset)
                .ok_or_else(|| BrokerError::Retry(format!("offset {offset} of {of} is not to be had")))?;
            let letter = DeadLetter {
                topic: of.topic.as_ref().into(),
                partition: of.partition,
                offset,
                group: self.sink.into(),
                stage: ErrorStage::Landing,
                code: code.into(),
                message: reason,
                attempt: next_attempt(&record),
                origin: None,
            };
            send_dead_letter(&letter, &record, self.producer.as_mut()).map_err(failed)?;
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

/// The record at an offset, in what was fetched of its partition.
fn find(batches: &[RecordBatch], offset: Offset) -> Option<RecordView<'_>> {
    batches.iter().flat_map(|batch| batch.from(offset)).find(|record| record.offset == offset)
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
