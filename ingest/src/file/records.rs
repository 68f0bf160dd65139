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
    /// Whether what comes behind it cannot change it: it does not end in the end of the file.
    pub(super) terminated: bool,
    /// Why it is no record, where the bytes alone tell.
    pub(super) fault: Option<Fault>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Longer than [`ROW_BYTES_MAX`].
    TooLarge,
    /// A field begins in it with a quote that nothing closes.
    UnclosedQuote,
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
            match scan.find_end(&self.buffer[self.start + scanned..self.end]) {
                Some(Found::End(at)) => return Ok(Some(self.take(scanned + at, 1, scan.lines))),
                Some(Found::Unclosed) => return Ok(Some(self.take_unclosed(true))),
                None => scanned = self.end - self.start,
            }
            if scanned > ROW_BYTES_MAX && scan.lines > 0 {
                return Ok(Some(self.take_unclosed(true)));
            }
            if scanned > ROW_BYTES_MAX {
                return self.skip_large().map(Some);
            }
            if !self.fill()? {
                let quoted = scan.state == State::Quoted;
                let last = |this: &mut Self| {
                    if quoted { this.take_unclosed(false) } else { this.take(scanned, 0, scan.lines) }
                };
                return Ok((scanned > 0).then(|| last(self)));
            }
        }
    }

    /// Takes the line in which a quoted field begins that nothing closes; what is behind it is read as records again.
    fn take_unclosed(&mut self, terminated: bool) -> RawRecord {
        let unread = &self.buffer[self.start..self.end];
        let line_feed = unread.iter().position(|byte| *byte == b'\n');
        let record = self.take(line_feed.unwrap_or(unread.len()), usize::from(line_feed.is_some()), 0);
        RawRecord { terminated, fault: Some(Fault::UnclosedQuote), ..record }
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
    state: State,
    /// Line feeds inside quotes.
    lines: u64,
}

/// Where in a CSV record a byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Field,
    Quoted,
    /// Behind a quote inside quotes, which closes the field or is doubled.
    QuoteInQuotes,
}

enum Found {
    /// The line feed that ends the record.
    End(usize),
    /// The quote that closes a field over several lines has text behind it: it opens another one, and the first was stray.
    Unclosed,
}

impl Scan {
    fn new(framing: Framing) -> Self {
        Self { framing, state: State::FieldStart, lines: 0 }
    }

    fn find_end(&mut self, bytes: &[u8]) -> Option<Found> {
        let Framing::Csv { delimiter, quote } = self.framing else {
            return bytes.iter().position(|byte| *byte == b'\n').map(Found::End);
        };
        for (at, byte) in bytes.iter().copied().enumerate() {
            self.state = match self.state {
                State::Quoted if byte == quote => State::QuoteInQuotes,
                State::Quoted => {
                    self.lines += u64::from(byte == b'\n');
                    State::Quoted
                }
                State::FieldStart | State::QuoteInQuotes if byte == quote => State::Quoted,
                _ if byte == b'\n' => return Some(Found::End(at)),
                _ if byte == delimiter => State::FieldStart,
                State::QuoteInQuotes if self.lines > 0 && byte != b'\r' => return Some(Found::Unclosed),
                _ => State::Field,
            };
        }
        None
    }
}
