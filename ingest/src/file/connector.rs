//! The connector: walks the files, reads records, maps them.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use skuflow_schemas::{DeadLetter, ErrorStage, Origin, Text};
use xxhash_rust::xxh3::xxh3_64;

use super::config::{Config, Format};
use super::cursor::{Cursor, Done, Place};
use super::mapping::{Mapping, MappingError, excerpt, hex};
use super::records::{Framing, RawRecord, RecordReader};
use super::walk::{self, Look};
use crate::limits::{JSON_DOCUMENT_BYTES_MAX, PAGE_BYTES_MAX, PAGE_RECORDS_MAX, ROW_BYTES_MAX};
use crate::{Connector, ConnectorError, Mapped, Page, Poll, RejectedRow};

/// Reads files.
pub struct FileConnector {
    name: String,
    base: PathBuf,
    config: Config,
    mapping: Mapping,
    mapping_hash: u64,
    /// The file being read, to go on without opening it again.
    open: Option<OpenFile>,
}

struct OpenFile {
    path: String,
    place: Place,
    source: Source,
    look: Look,
}

enum Source {
    Records(RecordReader<Box<dyn Read + Send>>),
    /// Elements of a JSON document that are still to come, the last first.
    Document(Vec<RawRecord>),
}

/// What became of an attempt to read a file.
enum Next {
    Record(RawRecord),
    End,
    /// It cannot be read on.
    Broken(Trouble),
}

/// Why a file cannot be read.
enum Trouble {
    /// The disk or the network failed to give its bytes; they may come later.
    Retry(ConnectorError),
    /// The file itself is to blame.
    Refused(MappingError),
}

impl From<MappingError> for Trouble {
    fn from(error: MappingError) -> Self {
        Self::Refused(error)
    }
}

impl Trouble {
    /// An error with a number comes from the system, one without from a decoder that does not like the bytes.
    fn of(path: &Path, error: &std::io::Error) -> Self {
        if error.raw_os_error().is_none() {
            let message = format!("the file breaks off: {error}; what came before it was read");
            return Self::Refused(MappingError::new("file-truncated", message));
        }
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                Self::Refused(MappingError::new("file-unreadable", error.to_string()))
            }
            _ => Self::Retry(retry(path, error)),
        }
    }
}

impl FileConnector {
    /// A connector called `name` for `customer`; paths are relative to `base`.
    ///
    /// # Errors
    /// What [`Config::validate`] finds.
    pub fn new(name: &str, customer: &str, base: &Path, config: Config) -> Result<Self, ConnectorError> {
        let mapping = Mapping::new(&config, customer).map_err(ConnectorError::Fatal)?;
        let settings = serde_json::to_vec(&config).expect("plain data");
        Ok(Self { name: name.into(), base: base.into(), config, mapping, mapping_hash: xxh3_64(&settings), open: None })
    }

    /// The mapping, for dead letters that are tried again.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn page(&mut self, cursor: Cursor) -> Result<Option<Page>, ConnectorError> {
        let paths = walk::files(&self.base, &self.config.path)?;
        if paths.is_empty() && !self.config.watch && cursor.files.is_empty() {
            return Err(ConnectorError::Fatal(format!(
                "no file matches {}",
                self.base.join(&self.config.path).display()
            )));
        }
        let mut next = cursor.clone();
        let mut records = Vec::new();
        let mut bytes = 0;
        for path in paths {
            let name = path.strip_prefix(&self.base).unwrap_or(&path).to_string_lossy().into_owned();
            let before = next.files.get(&name).cloned();
            let Some(place) = self.start_place(&path, before.as_ref())? else { continue };
            let place = self.read_file(&path, &name, place, &mut records, &mut bytes)?;
            next.files.insert(name, place);
            if records.len() >= PAGE_RECORDS_MAX || bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        // A file that was read to its end without a record is news too.
        Ok((next != cursor).then(|| Page { records, next: next.encode() }))
    }

    /// Where to go on in a file; `None` where there is nothing new in it.
    fn start_place(&self, path: &Path, before: Option<&Place>) -> Result<Option<Place>, ConnectorError> {
        let anew = Place { line: 1, ..Place::default() };
        let Some(before) = before else { return Ok(Some(anew)) };
        let Some(known) = before.done.as_ref().or(before.opened.as_ref()) else { return Ok(Some(anew)) };
        let look = match Look::at(path, Some(known.head_bytes)) {
            Ok(look) => look,
            // It could not be read before either, and that was said.
            Err(_) if before.refused_by.is_some() => return Ok(None),
            Err(error) => return Err(retry(path, &error)),
        };
        let continues = look.head == known.head && look.size >= known.size;
        if before.done.is_none() {
            return Ok(Some(if continues { before.clone() } else { anew }));
        }
        let refused = before.refused_by.is_some_and(|hash| hash == self.mapping_hash);
        let same = look.size == known.size && look.modified_ns == known.modified_ns;
        if same && (before.refused_by.is_none() || refused) {
            return Ok(None);
        }
        let grown = continues && look.size > known.size;
        let appended = grown && before.refused_by.is_none() && self.config.format != Format::Json;
        Ok(Some(if appended { Place { done: None, ..before.clone() } } else { anew }))
    }

    /// Reads on in a file until its end or a full page; returns how far it came.
    fn read_file(
        &mut self,
        path: &Path,
        name: &str,
        place: Place,
        records: &mut Vec<Mapped>,
        bytes: &mut usize,
    ) -> Result<Place, ConnectorError> {
        let open = self.open.take().filter(|open| open.path == name && open.place == place);
        let mut open = match open {
            Some(open) => open,
            None => match self.open_file(path, name, place.clone()) {
                Ok(open) => open,
                Err(Trouble::Retry(error)) => return Err(error),
                Err(Trouble::Refused(error)) => return Ok(self.refuse_file(path, name, &place, &error, records)),
            },
        };
        // A last row without an end goes on the page that says that the file is done, or it would be read again.
        let mut unfinished = false;
        while unfinished || (records.len() < PAGE_RECORDS_MAX && *bytes < PAGE_BYTES_MAX) {
            match open.next(path) {
                Next::Record(record) if self.waits(&record) => {
                    return Ok(open.place); // read again when it has an end
                }
                Next::Record(record) => {
                    *bytes += record.bytes.len();
                    records.push(self.map(&record, name, &open.place));
                    open.place.records += 1;
                    unfinished = !record.terminated;
                    if record.terminated || matches!(open.source, Source::Document(_)) {
                        (open.place.byte, open.place.line) = open.behind(&record);
                    }
                }
                Next::End => {
                    let place = Place { done: Some(Done::from(open.look)), ..open.place };
                    return Ok(place);
                }
                Next::Broken(Trouble::Retry(error)) => return Err(error),
                Next::Broken(Trouble::Refused(error)) => {
                    return Ok(self.refuse_file(path, name, &open.place, &error, records));
                }
            }
        }
        let place = open.place.clone();
        self.open = Some(open);
        Ok(place)
    }

    /// When watching, a last line without an end is still being written.
    fn waits(&self, record: &RawRecord) -> bool {
        self.config.watch && !record.terminated && self.config.format != Format::Json
    }

    fn open_file(&self, path: &Path, name: &str, mut place: Place) -> Result<OpenFile, Trouble> {
        let unreadable = |error: std::io::Error| Trouble::of(path, &error);
        let look = Look::at(path, None).map_err(unreadable)?;
        place.opened = Some(Done::from(look.clone()));
        let stream = walk::open(path, self.config.compression, place.byte).map_err(unreadable)?;
        let source = if self.config.format == Format::Json {
            Source::Document(document(path, stream, place.records)?)
        } else {
            let framing = match self.config.format {
                Format::Csv => Framing::Csv { delimiter: self.config.delimiter as u8, quote: self.config.quote as u8 },
                Format::Ndjson | Format::Json => Framing::Lines,
            };
            let mut reader = RecordReader::new(stream, framing, place.byte, place.line);
            if place.byte == 0 && reader.skip_bom().map_err(unreadable)? {
                let message = "the file is UTF-16; convert it to UTF-8";
                return Err(MappingError::new("file-encoding", message).into());
            }
            if self.config.format == Format::Csv
                && place.byte == 0
                && let Some(header) = reader.next().map_err(unreadable)?
                && (header.terminated || !self.config.watch)
            // else it is still being written
            {
                place.columns = self.mapping.header(&header.bytes)?;
                (place.byte, place.line) = (reader.byte(), reader.line());
            }
            Source::Records(reader)
        };
        Ok(OpenFile { path: name.into(), place, source, look })
    }

    fn map(&self, record: &RawRecord, file: &str, place: &Place) -> Mapped {
        if record.too_large {
            let message = format!("the record is longer than {} MiB", ROW_BYTES_MAX >> 20);
            return self.reject(record, file, place, &MappingError::new("row-too-large", message));
        }
        match self.mapping.map(&record.bytes, &place.columns, &record.sha256[..16]) {
            Ok(event) => Mapped::Event(event),
            Err(error) => self.reject(record, file, place, &error),
        }
    }

    fn reject(&self, record: &RawRecord, file: &str, place: &Place, error: &MappingError) -> Mapped {
        let columns = (!place.columns.is_empty()).then(|| serde_json::to_string(&place.columns).expect("plain data"));
        let origin = Origin {
            file: file.into(),
            line: record.line,
            byte_start: record.byte_start,
            byte_end: record.byte_end,
            sha256: Text::from(hex(&record.sha256)),
            columns,
        };
        let letter = DeadLetter {
            topic: self.name.as_str().into(),
            partition: 0,
            offset: place.records,
            group: self.name.as_str().into(),
            stage: ErrorStage::Mapping,
            code: error.code.into(),
            message: format!("{file}:{}: {}", record.line, error.message),
            attempt: 1,
            origin: Some(origin),
        };
        Mapped::Rejected(Box::new(RejectedRow {
            letter,
            excerpt: excerpt(&record.bytes),
            source: self.mapping.constant_source(),
            customer: self.mapping.customer().into(),
        }))
    }

    /// One dead letter for the rest of a file; it is tried again when the file or the mapping changes.
    fn refuse_file(
        &self,
        path: &Path,
        name: &str,
        place: &Place,
        error: &MappingError,
        records: &mut Vec<Mapped>,
    ) -> Place {
        let mut beginning = Vec::new();
        let _as_far_as_it_can_be_read = walk::open(path, self.config.compression, place.byte)
            .and_then(|stream| stream.take(1024).read_to_end(&mut beginning));
        let record = RawRecord {
            sha256: Sha256::digest(&beginning).into(),
            bytes: beginning,
            line: place.line,
            byte_start: place.byte,
            byte_end: place.byte,
            terminated: true,
            too_large: false,
        };
        records.push(self.reject(&record, name, place, error));
        let done = Look::at(path, None).map(Done::from).unwrap_or_default();
        Place { done: Some(done), refused_by: Some(self.mapping_hash), ..place.clone() }
    }
}

impl OpenFile {
    fn next(&mut self, path: &Path) -> Next {
        match &mut self.source {
            Source::Document(records) => records.pop().map_or(Next::End, Next::Record),
            Source::Records(reader) => match reader.next() {
                Ok(Some(record)) => Next::Record(record),
                Ok(None) => Next::End,
                Err(error) => Next::Broken(Trouble::of(path, &error)),
            },
        }
    }

    /// The place behind a record.
    fn behind(&self, record: &RawRecord) -> (u64, u64) {
        match &self.source {
            Source::Document(_) => (0, record.line),
            Source::Records(reader) => (reader.byte(), reader.line()),
        }
    }
}

impl Connector for FileConnector {
    fn poll(&mut self, cursor: Option<&[u8]>) -> Result<Poll, ConnectorError> {
        let cursor = Cursor::decode(cursor)
            .map_err(|error| ConnectorError::Fatal(format!("the cursor of {} does not decode: {error}", self.name)))?;
        match self.page(cursor)? {
            Some(page) => Ok(Poll::Page(page)),
            None if self.config.watch => Ok(Poll::Idle),
            None => Ok(Poll::Done),
        }
    }
}

/// The elements of a JSON document behind the first `skip`, the last first.
fn document(path: &Path, mut stream: Box<dyn Read + Send>, skip: u64) -> Result<Vec<RawRecord>, Trouble> {
    let mut bytes = Vec::new();
    let read = stream.by_ref().take(JSON_DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Trouble::of(path, &error))?;
    if bytes.len() > JSON_DOCUMENT_BYTES_MAX {
        let message = format!("the document is larger than {} MiB; use NDJSON", JSON_DOCUMENT_BYTES_MAX >> 20);
        return Err(MappingError::new("file-too-large", message).into());
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let is_list = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let invalid = |error: serde_json::Error| MappingError::new("json-invalid", error.to_string());
    let elements: Vec<&serde_json::value::RawValue> = if is_list {
        serde_json::from_slice(text).map_err(invalid)?
    } else {
        vec![serde_json::from_slice(text).map_err(invalid)?]
    };
    let mut line_at = (0, 1);
    let mut records = Vec::with_capacity(elements.len());
    for element in elements {
        let element = element.get().as_bytes();
        let start = element.as_ptr() as usize - text.as_ptr() as usize;
        line_at.1 += text[line_at.0..start].iter().filter(|byte| **byte == b'\n').count() as u64;
        line_at.0 = start;
        records.push(RawRecord {
            bytes: element.to_vec(),
            sha256: Sha256::digest(element).into(),
            line: line_at.1,
            byte_start: start as u64,
            byte_end: (start + element.len()) as u64,
            terminated: true,
            too_large: element.len() > ROW_BYTES_MAX,
        });
    }
    records.drain(..(skip as usize).min(records.len()));
    records.reverse();
    Ok(records)
}

fn retry(path: &Path, error: &std::io::Error) -> ConnectorError {
    ConnectorError::Retry(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes, then fails as a disk does.
    struct Failing(std::io::Cursor<Vec<u8>>);

    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            const EIO: i32 = 5;
            match self.0.read(into) {
                Ok(0) => Err(std::io::Error::from_raw_os_error(EIO)),
                read => read,
            }
        }
    }

    #[test]
    fn a_disk_that_fails_in_the_middle_of_a_file_is_tried_again() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let rows: Vec<String> = (0..2 * PAGE_RECORDS_MAX).map(|n| format!("{{\"n\":\"{n}\"}}\n")).collect();
        std::fs::write(folder.path().join("a.in"), rows.concat()).expect("writable");
        let config = serde_json::json!({
            "path": "a.in", "format": "ndjson", "event": "inventory",
            "map": {
                "source": { "constant": "s" }, "marketplace": { "constant": "m" }, "native_id": { "column": "n" },
                "location": { "constant": "l" }, "quantity": { "column": "n" },
                "observed_at": { "constant": "2026-01-02T10:00:00Z" }
            }
        });
        let config = serde_json::from_value(config).expect("settings");
        let mut connector = FileConnector::new("files", "demo", folder.path(), config).expect("valid");
        let Ok(Poll::Page(first)) = connector.poll(None) else { panic!("a page") };
        let open = connector.open.as_mut().expect("the file is not read to its end");
        let rest = rows[PAGE_RECORDS_MAX..][..10].concat().into_bytes();
        let place = open.place.clone();
        let stream: Box<dyn Read + Send> = Box::new(Failing(std::io::Cursor::new(rest)));
        open.source = Source::Records(RecordReader::new(stream, Framing::Lines, place.byte, place.line));
        assert!(matches!(connector.poll(Some(&first.next)), Err(ConnectorError::Retry(_))));
        let mut quantities = Vec::new();
        let mut page = Some(first);
        while let Some(Page { records, next }) = page.take() {
            quantities.extend(records.into_iter().map(|record| match record {
                Mapped::Event(skuflow_schemas::Event::Inventory(event)) => event.quantity,
                other => panic!("{other:?}"),
            }));
            if let Ok(Poll::Page(next)) = connector.poll(Some(&next)) {
                page = Some(next);
            }
        }
        assert!(quantities.into_iter().eq(0..2 * PAGE_RECORDS_MAX as i64), "nothing lost, nothing twice");
    }
}
