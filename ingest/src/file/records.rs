//! Splits a stream of bytes into records, without holding more than one of them.

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use skuflow_schemas::DEAD_LETTER_EXCERPT_BYTES_MAX;

use crate::limits::{READ_BYTES, ROW_BYTES_MAX};

/// How records end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    /// At each line feed.
    Lines,
    /// At each line feed outside quotes.
    Csv { delimiter: u8, quote: u8 },
}

/// A record's bytes and where they stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawRecord {
    /// Without its line ending; only the beginning where it is too long.
    pub(super) bytes: Vec<u8>,
    /// SHA-256 of all its bytes.
    pub(super) sha256: [u8; 32],
    /// The line it starts at, from 1.
    pub(super) line: u64,
    pub(super) byte_start: u64,
    /// Behind its line ending.
    pub(super) byte_end: u64,
    /// Whether it ends in a line feed, not in the end of the file.
    pub(super) terminated: bool,
    /// Why it is no record, where the bytes alone tell.
    pub(super) fault: Option<Fault>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Longer than [`ROW_BYTES_MAX`].
    TooLarge,
}

/// Reads records.
pub(super) struct RecordReader<R> {
    source: R,
    framing: Framing,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    start: usize,
    end: usize,
    /// Place in the stream of the buffer's unread part, and its line.
    byte: u64,
    line: u64,
}

impl<R: Read> RecordReader<R> {
    /// Reads `source`, which stands at `byte` and `line` of its file.
    pub(super) fn new(source: R, framing: Framing, byte: u64, line: u64) -> Self {
        Self { source, framing, buffer: vec![0; READ_BYTES], start: 0, end: 0, byte, line }
    }

    /// Place of the next record in the stream.
    pub(super) fn byte(&self) -> u64 {
        self.byte
    }

    /// Line of the next record.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Skips a UTF-8 byte order mark; says whether there is a UTF-16 one.
    pub(super) fn skip_bom(&mut self) -> io::Result<bool> {
        while self.end - self.start < 3 && self.fill()? {}
        let unread = &self.buffer[self.start..self.end];
        if unread.starts_with(b"\xef\xbb\xbf") {
            self.start += 3;
            self.byte += 3;
        }
        Ok(unread.starts_with(b"\xff\xfe") || unread.starts_with(b"\xfe\xff"))
    }

    /// The next record that is not an empty line.
    pub(super) fn next(&mut self) -> io::Result<Option<RawRecord>> {
        loop {
            match self.next_line()? {
                Some(record) if record.bytes.is_empty() && record.terminated => {}
                Some(record) if record.bytes.is_empty() => return Ok(None),
                other => return Ok(other),
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Option<RawRecord>> {
        let mut scan = Scan::new(self.framing);
        let mut scanned = 0;
        loop {
            let unread = &self.buffer[self.start + scanned..self.end];
            if let Some(at) = scan.find_end(unread) {
                return Ok(Some(self.take(scanned + at, 1, scan.lines)));
            }
            scanned = self.end - self.start;
            if scanned > ROW_BYTES_MAX {
                return self.skip_large().map(Some);
            }
            if !self.fill()? {
                return Ok((scanned > 0).then(|| self.take(scanned, 0, scan.lines)));
            }
        }
    }

    /// Takes `length` bytes as a record and `ending` more as its end.
    fn take(&mut self, length: usize, ending: usize, inner_lines: u64) -> RawRecord {
        let bytes = &self.buffer[self.start..self.start + length];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let record = RawRecord {
            bytes: bytes.to_vec(),
            sha256: Sha256::digest(bytes).into(),
            line: self.line,
            byte_start: self.byte,
            byte_end: self.byte + (length + ending) as u64,
            terminated: ending > 0,
            fault: None,
        };
        self.start += length + ending;
        self.byte = record.byte_end;
        self.line += inner_lines + ending as u64;
        record
    }

    /// Reads past a record that is too long, up to the next line feed, keeping its beginning and its hash.
    fn skip_large(&mut self) -> io::Result<RawRecord> {
        let (line, byte_start) = (self.line, self.byte);
        let mut hash = Sha256::new();
        let mut bytes = self.buffer[self.start..self.end].to_vec();
        bytes.truncate(DEAD_LETTER_EXCERPT_BYTES_MAX);
        let mut terminated = false;
        while !terminated {
            let unread = &self.buffer[self.start..self.end];
            let end = unread.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(unread.len());
            hash.update(&unread[..length]);
            terminated = end.is_some();
            let taken = length + usize::from(terminated);
            self.start += taken;
            self.byte += taken as u64;
            if !terminated && !self.fill()? {
                break;
            }
        }
        self.line += u64::from(terminated);
        self.buffer.truncate(READ_BYTES.max(self.end));
        let sha256 = hash.finalize().into();
        Ok(RawRecord { bytes, sha256, line, byte_start, byte_end: self.byte, terminated, fault: Some(Fault::TooLarge) })
    }

    /// Reads more behind what is unread; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Finds the end of a record; keeps its state from one stretch of bytes to the next.
struct Scan {
    framing: Framing,
    quoted: bool,
    field_start: bool,
    /// Line feeds inside quotes.
    lines: u64,
}

impl Scan {
    fn new(framing: Framing) -> Self {
        Self { framing, quoted: false, field_start: true, lines: 0 }
    }

    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let Framing::Csv { delimiter, quote } = self.framing else {
            return bytes.iter().position(|byte| *byte == b'\n');
        };
        for (at, byte) in bytes.iter().copied().enumerate() {
            if byte == b'\n' && !self.quoted {
                return Some(at);
            }
            if byte == quote && (self.quoted || self.field_start) {
                // A doubled quote inside quotes closes and opens again: the same in the end.
                self.quoted = !self.quoted;
                self.field_start = !self.quoted;
            } else {
                self.field_start = byte == delimiter && !self.quoted;
            }
            self.lines += u64::from(byte == b'\n');
        }
        None
    }
}
