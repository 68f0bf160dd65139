//! Dead letters of a sink: records that its store does not take, whatever is tried.
//!
//! A letter and how far the letters of its partition go are one transaction of the broker. The sink lands what is before and
//! behind the record; killed between the two, it is refused the record again, and finds that the letter is written.

use std::sync::Arc;

use skuflow_runtime::broker::{
    Broker, BrokerError, Commit, Header, Offset, Record, StateChange, TopicPartition, TxnError,
};
use skuflow_runtime::limits::FETCH_BYTES_MAX;
use skuflow_schemas::{ATTEMPT_HEADER, DEAD_LETTER_PREFIX, DeadLetter, ErrorStage, HEADER_PREFIX};

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
    /// The sink's name, and who it is to the broker.
    pub(crate) sink: &'a str,
    pub(crate) transactional_id: &'a str,
    pub(crate) broker: &'a dyn Broker,
}

impl Letters<'_> {
    /// Writes those that are not written yet.
    pub(crate) fn write(&self, mut refusals: Vec<Refusal>) -> Result<(), BrokerError> {
        refusals.sort_by(|one, other| (&one.of, one.offset).cmp(&(&other.of, other.offset)));
        let owner: Arc<str> = format!("sink:{}", self.sink).into();
        // Who was here before is fenced, and what it left unfinished is aborted, before its state is read.
        let mut producer = self.broker.producer(self.transactional_id)?;
        let state = self.broker.state(&owner)?;
        let mut reader = self.broker.reader()?;
        let mut changes = Vec::new();
        for Refusal { of, offset, code, reason } in refusals {
            let key = of.to_string().into_bytes();
            let written = state.get(&key)?.and_then(|next| Some(Offset::from_le_bytes(next.try_into().ok()?)));
            if written.is_some_and(|next| offset < next) {
                continue;
            }
            let batches = reader.fetch(&of, offset, FETCH_BYTES_MAX)?;
            let mut records = batches.iter().flat_map(|batch| batch.from(offset));
            let Some(record) = records.find(|record| record.offset == offset) else { continue };
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
                attempt: tried + 1,
                origin: None,
            };
            let added = letter.headers();
            let mut headers: Vec<Header<'_>> =
                record.headers().filter(|(name, _)| !name.starts_with(HEADER_PREFIX)).collect();
            headers.extend(added.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
            let topic: Arc<str> = format!("{DEAD_LETTER_PREFIX}{}", of.topic).into();
            let record = Record { key: record.key, value: record.value, headers: &headers };
            producer.send(&topic, None, &record).map_err(failed)?;
            changes.push(StateChange { owner: owner.clone(), key, value: Some((offset + 1).to_le_bytes().to_vec()) });
        }
        if changes.is_empty() {
            return Ok(());
        }
        producer.commit(Commit { consumed: None, state: changes }).map_err(failed)
    }
}

/// Whatever became of it: the state says, the next time.
fn failed(error: TxnError) -> BrokerError {
    match error {
        TxnError::Fatal(reason) => BrokerError::Fatal(reason),
        other => BrokerError::Retry(other.to_string()),
    }
}
