//! A partition's log: segment files of checksummed batches.
//!
//! Batch, little endian:
//!
//! ```text
//!   base offset u64 | records u32 | length u32 | time i64 | crc32c u32 of the fields before and the payload | payload
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::identity::sync_dir;
use super::limits::INDEX_BYTES;
use super::{EngineError, io};

const HEADER_BYTES: usize = 28;

/// A batch as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Offset of its first record.
    pub base_offset: u64,
    /// How many records it has.
    pub records: u32,
    /// When it was appended, microseconds.
    pub time_micros: i64,
    /// Its bytes.
    pub payload: Arc<[u8]>,
}

/// What a checkpoint knows of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartitionMeta {
    pub(super) start: u64,
    pub(super) next: u64,
    /// Base offset and length of each segment.
    pub(super) segments: Vec<(u64, u64)>,
}

/// The log of one partition.
pub(super) struct PartitionLog {
    dir: PathBuf,
    name: String,
    pub(super) start: u64,
    pub(super) next: u64,
    segments: Vec<Segment>,
    segment_bytes: u64,
    /// Segments from this one on were written to since they were last synced.
    unsynced: usize,
    new_files: bool,
    /// First segments up to this offset were missing when the log was opened; right if retention had dropped them.
    missing_until: u64,
}

struct Segment {
    base: u64,
    length: u64,
    file: Arc<File>,
    path: PathBuf,
    /// (offset, byte) of some batches, in order; `None` until needed for a segment that was not written in this process.
    index: Option<Vec<(u64, u64)>>,
    last_time: i64,
}

/// Where a reader goes on: for the next call of the same reader.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    offset: u64,
    base: u64,
    byte: u64,
}

/// What a read needs from the log: taken under its lock, used without it.
pub(super) struct Window {
    file: Arc<File>,
    path: PathBuf,
    base: u64,
    byte: u64,
    length: u64,
}

impl PartitionLog {
    /// Opens the log in `dir` as the checkpoint left it: what is behind that is cut off, the journal has it.
    ///
    /// # Errors
    /// `Damaged` where the files hold less than the checkpoint says.
    pub(super) fn open(
        dir: PathBuf,
        name: String,
        meta: &PartitionMeta,
        segment_bytes: u64,
    ) -> Result<Self, EngineError> {
        let mut log = Self {
            dir,
            name,
            start: meta.start,
            next: meta.next,
            segments: Vec::new(),
            segment_bytes,
            unsynced: 0,
            new_files: false,
            missing_until: 0,
        };
        log.remove_strangers(meta)?;
        for (base, length) in &meta.segments {
            let path = log.segment_path(*base);
            let opened = OpenOptions::new().read(true).write(true).open(&path);
            let file = match opened {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if !log.segments.is_empty() {
                        return Err(log.gone(&path, "is missing", *base));
                    }
                    log.missing_until =
                        meta.segments.iter().map(|known| known.0).find(|next| next > base).unwrap_or(meta.next);
                    continue;
                }
                other => other.map_err(|error| EngineError::Retry(io("opening", &path, &error)))?,
            };
            let found = file.metadata().map_err(|error| EngineError::Retry(io("reading", &path, &error)))?.len();
            if found < *length {
                return Err(log.gone(&path, &format!("holds {found} of {length} bytes"), *base));
            }
            if found > *length {
                file.set_len(*length).map_err(|error| EngineError::Retry(io("cutting", &path, &error)))?;
            }
            let segment =
                Segment { base: *base, length: *length, file: Arc::new(file), path, index: None, last_time: i64::MIN };
            log.segments.push(segment);
        }
        log.unsynced = log.segments.len();
        Ok(log)
    }

    /// Takes the start that is on record, finishing what retention had begun.
    ///
    /// # Errors
    /// `Damaged` where more is gone than retention dropped.
    pub(super) fn start_at(&mut self, start: u64) -> Result<(), EngineError> {
        if self.missing_until > start {
            let path = self.segment_path(start);
            return Err(self.gone(&path, "or a segment behind it is missing", start));
        }
        self.drop_before(start).map_err(|error| EngineError::Retry(io("dropping segments in", &self.dir, &error)))
    }

    fn gone(&self, path: &Path, what: &str, base: u64) -> EngineError {
        EngineError::Damaged(format!(
            "{} {what}: records of {} from offset {base} or a little later up to {} are not all there; restore the data \
             directory from a backup",
            path.display(),
            self.name,
            self.next
        ))
    }

    /// Files the checkpoint does not know were begun after it, or were dropped by retention before it.
    fn remove_strangers(&self, meta: &PartitionMeta) -> Result<(), EngineError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(EngineError::Retry(io("listing", &self.dir, &error))),
        };
        for entry in entries.flatten() {
            let base = entry.path().file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if base.is_none_or(|base| meta.segments.iter().all(|(known, _)| *known != base)) {
                let removed = std::fs::remove_file(entry.path());
                removed.map_err(|error| EngineError::Retry(io("removing", &entry.path(), &error)))?;
            }
        }
        Ok(())
    }

    fn segment_path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}.log"))
    }

    /// What a checkpoint has to remember.
    pub(super) fn meta(&self) -> PartitionMeta {
        let segments = self.segments.iter().map(|segment| (segment.base, segment.length)).collect();
        PartitionMeta { start: self.start, next: self.next, segments }
    }

    /// What a checkpoint has to sync: files, and the directory if files were made; from now on they count as synced.
    pub(super) fn take_unsynced(&mut self) -> (Vec<Arc<File>>, Option<PathBuf>) {
        let files = self.segments[self.unsynced..].iter().map(|segment| segment.file.clone()).collect();
        self.unsynced = self.segments.len();
        let dir = std::mem::take(&mut self.new_files).then(|| self.dir.clone());
        (files, dir)
    }

    /// Appends a batch that the journal holds already.
    pub(super) fn append(
        &mut self,
        base_offset: u64,
        records: u32,
        time_micros: i64,
        payload: &[u8],
    ) -> std::io::Result<()> {
        assert_eq!(base_offset, self.next, "{}: batches are contiguous", self.name);
        if self.segments.last().is_none_or(|last| last.length >= self.segment_bytes) {
            self.begin_segment(base_offset)?;
        }
        let segment = self.segments.last_mut().expect("begun above");
        let bytes = encode(base_offset, records, time_micros, payload);
        segment.file.write_all_at(&bytes, segment.length)?;
        if let Some(index) = &mut segment.index
            && index.last().is_none_or(|(_, byte)| segment.length - byte >= INDEX_BYTES)
        {
            index.push((base_offset, segment.length));
        }
        segment.length += bytes.len() as u64;
        segment.last_time = time_micros;
        self.next += u64::from(records);
        self.unsynced = self.unsynced.min(self.segments.len() - 1);
        Ok(())
    }

    fn begin_segment(&mut self, base: u64) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let path = self.segment_path(base);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        self.new_files = true;
        let index = Some(Vec::new());
        self.segments.push(Segment { base, length: 0, file: Arc::new(file), path, index, last_time: i64::MIN });
        Ok(())
    }

    /// Where to read the batch that holds `offset`; `None` at the end.
    pub(super) fn window(&mut self, offset: u64, place: &Place) -> Result<Option<Window>, EngineError> {
        if offset < self.start || offset > self.next {
            return Err(EngineError::OutOfRange { wanted: offset, first: self.start, next: self.next });
        }
        if offset == self.next {
            return Ok(None);
        }
        let number = self.segments.partition_point(|segment| segment.base <= offset) - 1;
        let segment = &mut self.segments[number];
        let byte = if place.offset == offset && place.base == segment.base && place.byte < segment.length {
            place.byte
        } else {
            segment.find(offset, &self.name)?
        };
        let (file, path) = (segment.file.clone(), segment.path.clone());
        Ok(Some(Window { file, path, base: segment.base, byte, length: segment.length }))
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// The offset up to which whole segments can be dropped: those that end at or before `limit` and whose last batch was
    /// appended before `before_micros`. The last segment stays.
    pub(super) fn droppable(&self, limit: u64, before_micros: i64) -> u64 {
        let sealed = self.segments.windows(2).take_while(|pair| {
            let known = pair[0].last_time != i64::MIN || pair[0].oldest_possible_end() != i64::MIN;
            let time = if pair[0].last_time == i64::MIN { pair[0].oldest_possible_end() } else { pair[0].last_time };
            pair[1].base <= limit && known && time < before_micros
        });
        sealed.last().map_or(self.start, |pair| pair[1].base.max(self.start))
    }

    /// Drops whole segments before `start`, which is on record already.
    pub(super) fn drop_before(&mut self, start: u64) -> std::io::Result<()> {
        self.start = self.start.max(start);
        while self.segments.len() > 1 && self.segments[1].base <= self.start {
            let segment = self.segments.remove(0);
            self.unsynced = self.unsynced.saturating_sub(1);
            std::fs::remove_file(&segment.path)?;
        }
        Ok(())
    }

    /// Where its segments are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What reads call the partition in errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Segment {
    /// Byte of the batch that holds `offset`.
    fn find(&mut self, offset: u64, name: &str) -> Result<u64, EngineError> {
        if self.index.is_none() {
            self.index = Some(self.scan(name)?);
        }
        let index = self.index.as_deref().unwrap_or_default();
        let from = index.partition_point(|(known, _)| *known <= offset).checked_sub(1).map_or(0, |at| index[at].1);
        let mut byte = from;
        loop {
            if byte >= self.length {
                return Err(damaged(name, offset, &self.path, byte));
            }
            let header = self.header(byte, name)?;
            if offset < header.base_offset + u64::from(header.records) {
                return Ok(byte);
            }
            byte += header.total();
        }
    }

    /// Walks the headers of a segment that was written by an earlier process.
    fn scan(&self, name: &str) -> Result<Vec<(u64, u64)>, EngineError> {
        let mut index: Vec<(u64, u64)> = Vec::new();
        let mut byte = 0;
        while byte < self.length {
            let header = self.header(byte, name)?;
            if index.last().is_none_or(|(_, indexed)| byte - indexed >= INDEX_BYTES) {
                index.push((header.base_offset, byte));
            }
            byte += header.total();
        }
        Ok(index)
    }

    fn header(&self, byte: u64, name: &str) -> Result<BatchHeader, EngineError> {
        let mut bytes = [0; HEADER_BYTES];
        let read = self.file.read_exact_at(&mut bytes, byte);
        read.map_err(|error| EngineError::Damaged(io("reading", &self.path, &error)))?;
        let header = BatchHeader::decode(&bytes);
        let fits = byte + header.total() <= self.length && header.records > 0 && header.base_offset >= self.base;
        if fits { Ok(header) } else { Err(damaged(name, header.base_offset, &self.path, byte)) }
    }

    /// When the segment was last written, by its file; of use for a segment of an earlier process.
    fn oldest_possible_end(&self) -> i64 {
        let modified = self.file.metadata().and_then(|metadata| metadata.modified());
        let since = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or(i64::MIN, |since| since.as_micros() as i64)
    }
}

/// Reads batches from `window` on: as many as fit `bytes_max`, at least one; returns the place behind them.
pub(super) fn read(window: &Window, bytes_max: usize, name: &str) -> Result<(Vec<StoredBatch>, Place), EngineError> {
    let failed = |error: std::io::Error| EngineError::Damaged(io("reading", &window.path, &error));
    let available = (window.length - window.byte) as usize;
    let mut bytes = vec![0; available.min(bytes_max.max(HEADER_BYTES))];
    window.file.read_exact_at(&mut bytes, window.byte).map_err(failed)?;
    let first = first_length(&bytes).filter(|first| *first <= available);
    let first = first.ok_or_else(|| damaged(name, 0, &window.path, window.byte))?;
    if first > bytes.len() {
        bytes.resize(first, 0);
        window.file.read_exact_at(&mut bytes, window.byte).map_err(failed)?;
    }
    let mut batches: Vec<StoredBatch> = Vec::new();
    let mut at = 0;
    while let Some(length) = first_length(&bytes[at..]).filter(|length| *length <= bytes.len() - at) {
        let byte = window.byte + at as u64;
        let follows = batches.last().map(|last| last.base_offset + u64::from(last.records));
        let batch = verify(&bytes[at..at + length])
            .filter(|batch| follows.is_none_or(|follows| follows == batch.base_offset))
            .ok_or_else(|| damaged(name, follows.unwrap_or(window.base), &window.path, byte))?;
        batches.push(batch);
        at += length;
    }
    let offset = batches.last().map_or(0, |last| last.base_offset + u64::from(last.records));
    Ok((batches, Place { offset, base: window.base, byte: window.byte + at as u64 }))
}

fn first_length(bytes: &[u8]) -> Option<usize> {
    let header = BatchHeader::decode(bytes.first_chunk::<HEADER_BYTES>()?);
    Some(header.total() as usize)
}

fn verify(bytes: &[u8]) -> Option<StoredBatch> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let fields = BatchHeader::decode(header);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..24]), payload);
    let crc_stored = u32::from_le_bytes(header[24..].try_into().expect("four bytes"));
    (crc == crc_stored).then(|| StoredBatch {
        base_offset: fields.base_offset,
        records: fields.records,
        time_micros: fields.time_micros,
        payload: payload.into(),
    })
}

fn encode(base_offset: u64, records: u32, time_micros: i64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&base_offset.to_le_bytes());
    bytes.extend_from_slice(&records.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&time_micros.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

struct BatchHeader {
    base_offset: u64,
    records: u32,
    length: u32,
    time_micros: i64,
}

impl BatchHeader {
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let (base_offset, rest) = bytes.split_first_chunk::<8>().expect("28 bytes");
        let (records, rest) = rest.split_first_chunk::<4>().expect("20 bytes");
        let (length, rest) = rest.split_first_chunk::<4>().expect("16 bytes");
        let (time, _) = rest.split_first_chunk::<8>().expect("12 bytes");
        Self {
            base_offset: u64::from_le_bytes(*base_offset),
            records: u32::from_le_bytes(*records),
            length: u32::from_le_bytes(*length),
            time_micros: i64::from_le_bytes(*time),
        }
    }

    fn total(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.length)
    }
}

fn damaged(name: &str, offset: u64, path: &Path, byte: u64) -> EngineError {
    EngineError::Damaged(format!(
        "the batch of {name} at or behind offset {offset} is damaged ({} at byte {byte}); restore the data directory from \
         a backup",
        path.display()
    ))
}

/// Syncs what [`PartitionLog::take_unsynced`] gave.
pub(super) fn sync(files: &[Arc<File>], dir: Option<&Path>) -> std::io::Result<()> {
    files.iter().try_for_each(|file| file.sync_data())?;
    match dir {
        // The partition's folder, its topic's, that of all topics, and the data directory: each may be new.
        Some(dir) => dir.ancestors().take(4).try_for_each(sync_dir),
        None => Ok(()),
    }
}
