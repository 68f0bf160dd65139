//! Dead letters as records: what was refused, and why.

use std::sync::Arc;

use skuflow_schemas::{ATTEMPT_HEADER, DEAD_LETTER_PREFIX, DeadLetter, HEADER_PREFIX};

use crate::broker::{Header, Producer, Record, RecordView, TxnError};

/// Adds the letter of a record to the open transaction. Key, value and headers go verbatim, but for what an earlier letter
/// had added.
///
/// # Errors
/// As of [`Producer::send`].
pub fn send_dead_letter(
    letter: &DeadLetter,
    record: &RecordView<'_>,
    producer: &mut dyn Producer,
) -> Result<(), TxnError> {
    let topic: Arc<str> = format!("{DEAD_LETTER_PREFIX}{}", letter.topic).into();
    let added = letter.headers();
    let mut headers: Vec<Header<'_>> = record.headers().filter(|(name, _)| !name.starts_with(HEADER_PREFIX)).collect();
    headers.extend(added.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
    producer.send(&topic, None, &Record { key: record.key, value: record.value, headers: &headers })
}

/// Which try at the record this is, from 1.
pub fn next_attempt(record: &RecordView<'_>) -> u32 {
    let header = record.headers().find(|(name, _)| *name == ATTEMPT_HEADER);
    let before: u32 = header.and_then(|(_, value)| str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0);
    before.saturating_add(1)
}
