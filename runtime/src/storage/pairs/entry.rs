//! What stands in a file, one after the other: pairs, deletions, and the marks that commit what is before them.
//!
//! Little endian:
//!
//! ```text
//!   crc32c u32 of all that follows | key length u32 | value length u32, all ones for a deletion | key | value
//! ```
//! A mark has all ones as key length, no key, and as value
//!
//! ```text
//!   sequence u64 | its file u32 | its place in it u32 | first file that is needed u32 | 1 where the file ends u8 | meta
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

pub(super) const HEADER_BYTES: usize = 12;
const ALL_ONES: u32 = u32::MAX;
/// Read at a time while walking.
const READ_BYTES: u64 = 256 << 10;

/// An entry.
#[derive(Debug, PartialEq)]
pub(super) enum Entry<'a> {
    /// A pair; a deletion has no value.
    Pair { key: &'a [u8], value: Option<&'a [u8]> },
    /// What is before it counts.
    Mark(Mark),
}

/// What a mark says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    /// One more than in the mark before.
    pub(super) sequence: u64,
    /// Where it stands: what looks like a mark elsewhere is part of a value.
    pub(super) file: u32,
    pub(super) at: u32,
    /// Files before this one are not needed.
    pub(super) first: u32,
    /// Nothing comes behind it in its file: the next file goes on.
    pub(super) ends_file: bool,
    pub(super) meta: Vec<u8>,
}

/// Appends a pair, or a deletion.
pub(super) fn encode_pair(into: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let length = value.map_or(ALL_ONES, |value| value.len() as u32);
    encode(into, key.len() as u32, length, &[key, value.unwrap_or_default()]);
}

/// Bytes that [`encode_pair`] appends.
pub(super) fn pair_bytes(key: &[u8], value: Option<&[u8]>) -> u64 {
    (HEADER_BYTES + key.len() + value.map_or(0, <[u8]>::len)) as u64
}

/// Appends a mark.
pub(super) fn encode_mark(into: &mut Vec<u8>, mark: &Mark) {
    let mut body = Vec::with_capacity(21 + mark.meta.len());
    body.extend_from_slice(&mark.sequence.to_le_bytes());
    for number in [mark.file, mark.at, mark.first] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.push(u8::from(mark.ends_file));
    body.extend_from_slice(&mark.meta);
    encode(into, ALL_ONES, body.len() as u32, &[&body]);
}

fn encode(into: &mut Vec<u8>, key_length: u32, value_length: u32, parts: &[&[u8]]) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&key_length.to_le_bytes());
    into.extend_from_slice(&value_length.to_le_bytes());
    for part in parts {
        into.extend_from_slice(part);
    }
    let crc = crc32c::crc32c(&into[start + 4..]);
    into[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The entry at the start of `bytes`, and its length; `None` where there is no whole one.
pub(super) fn decode(bytes: &[u8]) -> Option<(Entry<'_>, u64)> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [crc, key_length, value_length] = fields(header);
    let total = total(header);
    let bytes = bytes.get(..usize::try_from(total).ok()?)?;
    if crc32c::crc32c(&bytes[4..]) != crc {
        return None;
    }
    let body = &bytes[HEADER_BYTES..];
    if key_length == ALL_ONES {
        return Some((Entry::Mark(decode_mark(body)?), total));
    }
    let (key, value) = body.split_at(key_length as usize);
    Some((Entry::Pair { key, value: (value_length != ALL_ONES).then_some(value) }, total))
}

fn decode_mark(body: &[u8]) -> Option<Mark> {
    let (sequence, rest) = body.split_first_chunk()?;
    let (file, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (ends_file, meta) = rest.split_first()?;
    Some(Mark {
        sequence: u64::from_le_bytes(*sequence),
        file: u32::from_le_bytes(*file),
        at: u32::from_le_bytes(*at),
        first: u32::from_le_bytes(*first),
        ends_file: *ends_file == 1,
        meta: meta.to_vec(),
    })
}

fn fields(header: &[u8; HEADER_BYTES]) -> [u32; 3] {
    std::array::from_fn(|field| u32::from_le_bytes(std::array::from_fn(|byte| header[field * 4 + byte])))
}

/// Bytes of the entry that begins so.
fn total(header: &[u8; HEADER_BYTES]) -> u64 {
    let length = |field: u32| if field == ALL_ONES { 0 } else { u64::from(field) };
    let [_, key, value] = fields(header);
    HEADER_BYTES as u64 + length(key) + length(value)
}

/// Where in `bytes`, which stand at `start` of `file`, there is a mark.
pub(super) fn find_mark(bytes: &[u8], file: u32, start: u64) -> Option<u64> {
    let candidates = bytes.windows(HEADER_BYTES).enumerate().filter(|(_, header)| header[4..8] == [0xff; 4]);
    candidates.map(|(at, _)| (at, start + at as u64)).find_map(|(at, place)| match decode(&bytes[at..]) {
        Some((Entry::Mark(mark), _)) if mark.file == file && u64::from(mark.at) == place => Some(place),
        _ => None,
    })
}

/// The entries of a file, in order.
pub(super) struct Walk {
    file: Arc<File>,
    /// Where the next entry begins.
    pub(super) at: u64,
    pub(super) end: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins.
    from: u64,
}

impl Walk {
    pub(super) fn new(file: Arc<File>, at: u64, end: u64) -> Self {
        Self { file, at, end, buffer: Vec::new(), from: at }
    }

    /// The next entry, and its bytes; `None` at the end, and where no whole one follows.
    pub(super) fn next(&mut self) -> std::io::Result<Option<(Entry<'_>, &[u8])>> {
        if !self.fill(HEADER_BYTES as u64)? {
            return Ok(None);
        }
        let start = (self.at - self.from) as usize;
        let header = self.buffer[start..].first_chunk().expect("it was filled");
        if !self.fill(total(header))? {
            return Ok(None);
        }
        let bytes = &self.buffer[(self.at - self.from) as usize..];
        let Some((entry, length)) = decode(bytes) else { return Ok(None) };
        self.at += length;
        Ok(Some((entry, &bytes[..length as usize])))
    }

    /// Whether there are `bytes` more, which are in the buffer then.
    fn fill(&mut self, bytes: u64) -> std::io::Result<bool> {
        if bytes > self.end.saturating_sub(self.at) {
            return Ok(false);
        }
        if self.at + bytes > self.from + self.buffer.len() as u64 {
            self.buffer.resize(bytes.max(READ_BYTES).min(self.end - self.at) as usize, 0);
            self.from = self.at;
            self.file.read_exact_at(&mut self.buffer, self.at)?;
        }
        Ok(true)
    }
}
