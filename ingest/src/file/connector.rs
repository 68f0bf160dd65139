//! The connector: walks the files, reads records, maps them.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use skuflow_schemas::{DeadLetter, ErrorStage};
use xxhash_rust::xxh3::xxh3_64;

use super::config::{Config, Format};
use super::cursor::{self, Place, State};
use super::mapping::{Mapping, MappingError, excerpt};
use super::records::{Fault, Framing, RawRecord, RecordReader};
use super::walk::{self, Look, Stat};
use crate::limits::{
    FILES_REMEMBERED_MAX, JSON_DOCUMENT_BYTES_MAX, PAGE_BYTES_MAX, PAGE_FILES_MAX, PAGE_RECORDS_MAX, ROW_BYTES_MAX,
};
use crate::{Connector, ConnectorError, Cursor, Mapped, Page, Poll, RejectedRow, Spot};

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
    name: Arc<str>,
    place: Place,
    /// Names in the header of a CSV file.
    columns: Vec<String>,
    source: Source,
}

type Records = RecordReader<Box<dyn Read + Send>>;

enum Source {
    Records(Records),
    /// Elements of a JSON document that are still to come, the last first.
    Document(Vec<RawRecord>),
}

/// What is to be done with a file.
enum Work {
    Nothing,
    /// It was touched, but is the same: note how it looks now, so that it is not compared again.
    Note(Place),
    ReadFrom(Place),
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

    /// The next records; of files that look as they did when they were read nothing but that is asked.
    fn page(&mut self, cursor: &Cursor) -> Result<Option<Page>, ConnectorError> {
        let files = walk::files(&self.base, &self.config.path)?;
        if files.is_empty() && !self.config.watch && cursor.is_empty() {
            return Err(ConnectorError::Fatal(format!(
                "no file matches {}",
                self.base.join(&self.config.path).display()
            )));
        }
        let mut page = Page::default();
        let mut bytes = 0;
        for (path, now) in &files {
            let name = self.name_of(path);
            let before = cursor.get(&name).map(|entry| self.decode(entry)).transpose()?;
            let place = match self.work(path, *now, before)? {
                Work::Nothing => continue,
                Work::Note(place) => place,
                Work::ReadFrom(place) => self.read_file(path, &name, place, &mut page.records, &mut bytes)?,
            };
            // A file that was read to its end without a record is news too.
            let entry = place.encode();
            if cursor.get(&name) != Some(&entry) {
                page.changes.insert(name, Some(entry));
            }
            let files_max = page.changes.len() >= PAGE_FILES_MAX;
            if page.records.len() >= PAGE_RECORDS_MAX || bytes >= PAGE_BYTES_MAX || files_max {
                break;
            }
        }
        if cursor.len() > FILES_REMEMBERED_MAX {
            let here: HashSet<String> = files.iter().map(|(path, _)| self.name_of(path)).collect();
            page.changes.extend(cursor::forgotten(cursor, &here).map(|name| (name.clone(), None)));
        }
        Ok((!page.changes.is_empty()).then_some(page))
    }

    /// Name of a file in the cursor and in dead letters.
    fn name_of(&self, path: &Path) -> String {
        path.strip_prefix(&self.base).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn decode(&self, entry: &[u8]) -> Result<Place, ConnectorError> {
        Place::decode(entry)
            .map_err(|error| ConnectorError::Fatal(format!("the cursor of {} does not decode: {error}", self.name)))
    }

    fn work(&self, path: &Path, now: Stat, before: Option<Place>) -> Result<Work, ConnectorError> {
        let Some(before) = before else { return Ok(Work::ReadFrom(Place::start())) };
        let finished = match before.state {
            State::Reading => false,
            State::Waiting => self.config.watch,
            State::Done => true,
            State::Refused(by) => by == self.mapping_hash,
        };
        if now == before.look.stat {
            let place = Place { state: State::Reading, ..before };
            return Ok(if finished { Work::Nothing } else { Work::ReadFrom(place) });
        }
        self.changed(path, now, &before, finished).or_else(|error| match before.state {
            // It could not be read before either, and that was said.
            State::Refused(_) => Ok(Work::Nothing),
            _ => Err(retry(path, &error)),
        })
    }

    /// What is to be done with a file whose size or time is another one.
    fn changed(&self, path: &Path, now: Stat, before: &Place, finished: bool) -> std::io::Result<Work> {
        if !before.look.begins(path, now)? {
            return Ok(Work::ReadFrom(Place::start()));
        }
        if finished && before.look.is_all_of(path, now)? {
            let mut same = before.clone();
            same.look.stat = now;
            return Ok(Work::Note(same));
        }
        // Of the same size, but not the same: what is other may be anywhere. So it may be in a document that is larger now.
        let replaced = (finished && now.size == before.look.stat.size) || self.config.format == Format::Json;
        let place = if replaced { Place::start() } else { Place { state: State::Reading, ..before.clone() } };
        Ok(Work::ReadFrom(place))
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
        let open = self.open.take().filter(|open| *open.name == *name && open.place == place);
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
                    return Ok(ended(path, open.place, State::Waiting));
                }
                Next::Record(record) => {
                    *bytes += record.bytes.len();
                    records.push(self.map(&record, &open.columns, open.spot(&record)));
                    open.place.records += 1;
                    unfinished = !record.terminated;
                    if record.terminated || matches!(open.source, Source::Document(_)) {
                        (open.place.byte, open.place.line) = open.behind(&record);
                    }
                }
                Next::End => {
                    return Ok(ended(path, open.place, State::Done));
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

    /// Opens a file at `place`. The header of a CSV file is read again each time, and checked: the mapping may be another.
    fn open_file(&self, path: &Path, name: &str, mut place: Place) -> Result<OpenFile, Trouble> {
        let failed = |error: std::io::Error| Trouble::of(path, &error);
        place.look = place.look.again(path).map_err(failed)?;
        let mut columns = Vec::new();
        if self.config.format == Format::Json {
            let stream = walk::open(path, self.config.compression, 0).map_err(failed)?;
            let source = Source::Document(document(path, stream, place.records)?);
            return Ok(OpenFile { name: name.into(), place, columns, source });
        }
        let mut reader = self.records(path, 0, 1).map_err(failed)?;
        if reader.skip_bom().map_err(failed)? {
            let message = "the file is UTF-16; convert it to UTF-8";
            return Err(MappingError::new("file-encoding", message).into());
        }
        if self.config.format == Format::Csv
            && let Some(header) = reader.next().map_err(failed)?
            && (header.terminated || !self.config.watch)
        // else it is still being written
        {
            columns = self.mapping.header(&header.bytes)?;
        }
        if place.byte > reader.byte() {
            reader = self.records(path, place.byte, place.line).map_err(failed)?;
        } else if self.config.format != Format::Csv || !columns.is_empty() {
            (place.byte, place.line) = (reader.byte(), reader.line());
        }
        Ok(OpenFile { name: name.into(), place, columns, source: Source::Records(reader) })
    }

    fn records(&self, path: &Path, byte: u64, line: u64) -> std::io::Result<Records> {
        let stream = walk::open(path, self.config.compression, byte)?;
        let framing = match self.config.format {
            Format::Csv => Framing::Csv { delimiter: self.config.delimiter as u8, quote: self.config.quote as u8 },
            Format::Ndjson | Format::Json => Framing::Lines,
        };
        Ok(RecordReader::new(stream, framing, byte, line))
    }

    fn map(&self, record: &RawRecord, columns: &[String], spot: Spot) -> Mapped {
        let mapped = match record.fault {
            Some(fault) => Err(fault.into()),
            None => self.mapping.map(&record.bytes, columns, &record.sha256[..16]),
        };
        match mapped {
            Ok(event) => Mapped::Event(event, spot),
            Err(error) => self.reject(&record.bytes, columns, &spot, &error),
        }
    }

    fn reject(&self, bytes: &[u8], columns: &[String], spot: &Spot, error: &MappingError) -> Mapped {
        let letter = DeadLetter {
            topic: self.name.as_str().into(),
            partition: 0,
            offset: spot.number,
            group: self.name.as_str().into(),
            stage: ErrorStage::Mapping,
            code: error.code.into(),
            message: format!("{}:{}: {}", spot.file, spot.line, error.message),
            attempt: 1,
            origin: Some(spot.origin(columns)),
        };
        Mapped::Rejected(Box::new(RejectedRow {
            letter,
            excerpt: excerpt(bytes),
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
        let spot = Spot {
            file: name.into(),
            number: place.records,
            line: place.line,
            byte_start: place.byte,
            byte_end: place.byte,
            sha256: Sha256::digest(&beginning).into(),
        };
        records.push(self.reject(&beginning, &[], &spot, error));
        let look = Look::at(path).unwrap_or_default();
        ended(path, Place { look, ..place.clone() }, State::Refused(self.mapping_hash))
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

    fn spot(&self, record: &RawRecord) -> Spot {
        Spot {
            file: self.name.clone(),
            number: self.place.records,
            line: record.line,
            byte_start: record.byte_start,
            byte_end: record.byte_end,
            sha256: record.sha256,
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
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError> {
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
            fault: (element.len() > ROW_BYTES_MAX).then_some(Fault::TooLarge),
        });
    }
    records.drain(..(skip as usize).min(records.len()));
    records.reverse();
    Ok(records)
}

impl From<Fault> for MappingError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge => {
                let message =
                    format!("the record is longer than {} MiB; only its beginning is kept", ROW_BYTES_MAX >> 20);
                Self::new("row-too-large", message)
            }
            Fault::UnclosedQuote => {
                let message =
                    "a quote in this line opens a field that is not closed; the lines behind it are read as rows";
                Self::new("row-unclosed-quote", message)
            }
        }
    }
}

/// A place where reading ended, with what tells later whether the file is still the same.
fn ended(path: &Path, place: Place, state: State) -> Place {
    Place { look: place.look.clone().with_content(path), state, ..place }
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
        let Ok(Poll::Page(first)) = connector.poll(&Cursor::new()) else { panic!("a page") };
        let open = connector.open.as_mut().expect("the file is not read to its end");
        let rest = rows[PAGE_RECORDS_MAX..][..10].concat().into_bytes();
        let place = open.place.clone();
        let stream: Box<dyn Read + Send> = Box::new(Failing(std::io::Cursor::new(rest)));
        open.source = Source::Records(RecordReader::new(stream, Framing::Lines, place.byte, place.line));
        let mut cursor = Cursor::new();
        cursor.extend(first.changes.clone().into_iter().filter_map(|(name, entry)| Some((name, entry?))));
        assert!(matches!(connector.poll(&cursor), Err(ConnectorError::Retry(_))));
        let mut quantities = Vec::new();
        let mut page = Some(first);
        while let Some(Page { records, changes }) = page.take() {
            quantities.extend(records.into_iter().map(|record| match record {
                Mapped::Event(skuflow_schemas::Event::Inventory(event), _) => event.quantity,
                other => panic!("{other:?}"),
            }));
            cursor.extend(changes.into_iter().filter_map(|(name, entry)| Some((name, entry?))));
            if let Ok(Poll::Page(next)) = connector.poll(&cursor) {
                page = Some(next);
            }
        }
        assert!(quantities.into_iter().eq(0..2 * PAGE_RECORDS_MAX as i64), "nothing lost, nothing twice");
    }
}
