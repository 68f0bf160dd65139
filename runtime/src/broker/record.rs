//! Records, and batches of them in one stretch of bytes.
//!
//! A batch is what is stored and fetched: records are read out of it without copies. Layout per record, all lengths as
//! LEB128 varints, absent = 0, else length + 1:
//!
//! ```text
//!   key length + 1 | key | value length + 1 | value | header count | (name length, name, value length, value)*
//! ```

use std::sync::Arc;

use super::Offset;
use skuflow_schemas::Timestamp;

/// A header: name and bytes. On Kafka a value may be null, and a name no UTF-8: here these are empty.
pub type Header<'a> = (&'a str, &'a [u8]);

/// A record to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Decides the partition, and what compaction keeps.
    pub key: Option<&'a [u8]>,
    /// The framed event; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: &'a [Header<'a>],
}

/// A record that owns its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Record`")]
pub struct OwnedRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Collects records into a batch's bytes.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    records: u32,
}

impl BatchBuilder {
    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        let bytes = &mut self.bytes;
        put_optional(bytes, record.key);
        put_optional(bytes, record.value);
        put_varint(bytes, record.headers.len() as u64);
        for (name, value) in record.headers {
            put_varint(bytes, name.len() as u64);
            bytes.extend_from_slice(name.as_bytes());
            put_varint(bytes, value.len() as u64);
            bytes.extend_from_slice(value);
        }
        self.records += 1;
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The count and the bytes; the builder is empty after.
    pub fn take(&mut self) -> (u32, Vec<u8>) {
        let capacity = self.bytes.len();
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity));
        (std::mem::take(&mut self.records), bytes)
    }

    /// Drops what was added.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
    }
}

/// Committed records of one partition with consecutive offsets, and what lies behind them up to the next batch.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// How many there are; none where a batch only says that offsets hold nothing.
    pub records: u32,
    /// Offsets behind the last record that hold none: control markers, aborted records, what compaction took.
    pub gap: u64,
    /// When the broker took them in.
    pub appended_at: Timestamp,
    /// The records, see the module.
    pub bytes: Arc<[u8]>,
}

impl RecordBatch {
    /// Offset behind the batch, where the next one begins.
    pub fn next_offset(&self) -> Offset {
        self.base_offset + Offset::from(self.records) + self.gap
    }

    /// The records, first to last.
    pub fn iter(&self) -> impl Iterator<Item = RecordView<'_>> {
        let mut cursor = 0;
        (0..self.records).map(move |index| self.view(&mut cursor, index))
    }

    /// The records from `offset` on.
    pub fn from(&self, offset: Offset) -> impl Iterator<Item = RecordView<'_>> {
        self.iter().skip_while(move |record| record.offset < offset)
    }

    /// Reads the record number `index`, which starts at byte `cursor`, and moves the cursor behind it. For readers that
    /// keep their place in a batch; start with (0, 0).
    pub fn view(&self, cursor: &mut usize, index: u32) -> RecordView<'_> {
        let mut bytes = &self.bytes[*cursor..];
        let before = bytes.len();
        let key = take_optional(&mut bytes);
        let value = take_optional(&mut bytes);
        let header_count = take_varint(&mut bytes);
        let headers = bytes;
        for _ in 0..header_count {
            skip_header(&mut bytes);
        }
        *cursor += before - bytes.len();
        RecordView {
            offset: self.base_offset + Offset::from(index),
            appended_at: self.appended_at,
            key,
            value,
            header_count,
            headers,
        }
    }
}

/// A committed record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its offset.
    pub offset: Offset,
    /// When the broker took it in.
    pub appended_at: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    header_count: u64,
    headers: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Its headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut bytes = self.headers;
        (0..self.header_count).map(move |_| {
            let name = take_bytes(&mut bytes);
            let value = take_bytes(&mut bytes);
            (std::str::from_utf8(name).unwrap_or_default(), value)
        })
    }

    /// The key as text; empty where there is none or it is no UTF-8.
    pub fn key_text(&self) -> &'a str {
        self.key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default()
    }

    /// A copy that outlives the batch.
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: self.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        }
    }
}

fn put_optional(into: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => into.push(0),
        Some(bytes) => {
            put_varint(into, bytes.len() as u64 + 1);
            into.extend_from_slice(bytes);
        }
    }
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

// A batch's bytes were written by a `BatchBuilder` and are guarded by a checksum, so a varint that runs over the end is a
// defect of ours and may panic.
fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = take_varint(bytes) as usize;
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn take_optional<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_varint(bytes).checked_sub(1)?;
    let (taken, rest) = bytes.split_at(length as usize);
    *bytes = rest;
    Some(taken)
}

fn skip_header(bytes: &mut &[u8]) {
    take_bytes(bytes);
    take_bytes(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let long = vec![7; 300];
        let headers: &[Header<'_>] = &[("a", b"1"), ("b", &long)];
        let written = [
            Record { key: Some(b"k"), value: Some(&long), headers },
            Record { key: None, value: Some(b""), headers: &[] },
            Record { key: Some(b""), value: None, headers: &[] },
        ];
        let mut builder = BatchBuilder::default();
        for record in &written {
            builder.push(record);
        }
        let (records, bytes) = builder.take();
        let batch =
            RecordBatch { base_offset: 10, records, gap: 3, appended_at: Timestamp::default(), bytes: bytes.into() };
        let read: Vec<_> = batch.iter().map(|view| (view.offset, view.to_owned())).collect();
        assert_eq!(read.len(), 3);
        for (index, (offset, record)) in read.iter().enumerate() {
            assert_eq!(*offset, 10 + index as u64);
            assert_eq!(record.key.as_deref(), written[index].key);
            assert_eq!(record.value.as_deref(), written[index].value);
            assert_eq!(record.headers.len(), written[index].headers.len());
        }
        assert_eq!(read[0].1.headers[1], ("b".to_owned(), long));
        assert_eq!(batch.from(12).count(), 1);
        assert_eq!(batch.next_offset(), 16, "three records and three offsets without one");
        assert!(builder.is_empty());
    }
}
