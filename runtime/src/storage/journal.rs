//! The journal: frames of transactions, one after the other, and the high-water mark that says which were acknowledged.
//!
//! Frame, little endian:
//!
//! ```text
//!   magic u32 | crc32c u32 of all that follows | sequence u64 | durable u64 | time i64 | length u32 | payload
//! ```
//! `durable` is the highest sequence known to be on disk when the frame was written: a frame that is read whole proves
//! that those up to it had been acknowledged.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::identity::sync_dir;
use super::limits::{FRAME_BYTES_MAX, JOURNAL_ALLOCATION_BYTES};
use super::{EngineError, Put, io};

const MAGIC: u32 = 0x6b75_f10e;
const HEADER_BYTES: usize = 36;
const HIGH_WATER: &str = "high-water";

/// A transaction as it is read back.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) sequence: u64,
    pub(super) time_micros: i64,
    pub(super) appends: Vec<FrameAppend>,
    pub(super) puts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A batch with the offset it got.
#[derive(Debug, PartialEq)]
pub(super) struct FrameAppend {
    pub(super) partition: u32,
    pub(super) base_offset: u64,
    pub(super) records: u32,
    pub(super) payload: Vec<u8>,
}

/// A batch to write, with its offset.
pub(super) struct PlacedAppend<'a> {
    pub(super) partition: u32,
    pub(super) base_offset: u64,
    pub(super) records: u32,
    pub(super) payload: &'a [u8],
}

/// Appends a frame to `into`.
pub(super) fn encode(
    into: &mut Vec<u8>,
    sequence: u64,
    durable: u64,
    time_micros: i64,
    appends: &[PlacedAppend<'_>],
    puts: &[Put],
) {
    let start = into.len();
    into.extend_from_slice(&MAGIC.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&sequence.to_le_bytes());
    into.extend_from_slice(&durable.to_le_bytes());
    into.extend_from_slice(&time_micros.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&(appends.len() as u32).to_le_bytes());
    for append in appends {
        into.extend_from_slice(&append.partition.to_le_bytes());
        into.extend_from_slice(&append.base_offset.to_le_bytes());
        into.extend_from_slice(&append.records.to_le_bytes());
        put_bytes(into, append.payload);
    }
    into.extend_from_slice(&(puts.len() as u32).to_le_bytes());
    for put in puts {
        put_bytes(into, &put.key);
        into.push(u8::from(put.value.is_some()));
        put_bytes(into, put.value.as_deref().unwrap_or_default());
    }
    let length = (into.len() - start - HEADER_BYTES) as u32;
    into[start + 32..start + 36].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&into[start + 8..]);
    into[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    into.extend_from_slice(bytes);
}

/// The frame at the start of `bytes`, its `durable` and its length; `None` where there is no whole one.
fn decode(bytes: &[u8]) -> Option<(Frame, u64, usize)> {
    let mut rest = bytes;
    if take_u32(&mut rest)? != MAGIC {
        return None;
    }
    let crc = take_u32(&mut rest)?;
    let checked = rest;
    let sequence = take_u64(&mut rest)?;
    let durable = take_u64(&mut rest)?;
    let time_micros = take_u64(&mut rest)? as i64;
    let length = take_u32(&mut rest)?;
    if length > FRAME_BYTES_MAX || rest.len() < length as usize {
        return None;
    }
    let total = HEADER_BYTES + length as usize;
    if crc32c::crc32c(&checked[..total - 8]) != crc {
        return None;
    }
    let mut payload = &rest[..length as usize];
    let mut appends = Vec::new();
    for _ in 0..take_u32(&mut payload)? {
        appends.push(FrameAppend {
            partition: take_u32(&mut payload)?,
            base_offset: take_u64(&mut payload)?,
            records: take_u32(&mut payload)?,
            payload: take_bytes(&mut payload)?.to_vec(),
        });
    }
    let mut puts = Vec::new();
    for _ in 0..take_u32(&mut payload)? {
        let key = take_bytes(&mut payload)?.to_vec();
        let (present, rest) = payload.split_first()?;
        payload = rest;
        let value = take_bytes(&mut payload)?.to_vec();
        puts.push((key, (*present == 1).then_some(value)));
    }
    Some((Frame { sequence, time_micros, appends, puts }, durable, total))
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*taken))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*taken))
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_u32(bytes)? as usize;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// The files of the journal, and where the next frame goes.
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    path: PathBuf,
    length: u64,
    allocated: u64,
    /// Written since the last checkpoint, in all files.
    pub(super) bytes: u64,
    pub(super) next_sequence: u64,
    /// Transactions up to this one are in a checkpoint, or in one under way.
    covered_to: u64,
    high_water: File,
}

impl Journal {
    /// Checks that every acknowledged transaction behind `applied` is there whole; changes nothing.
    ///
    /// # Errors
    /// `Damaged` with what is missing.
    pub(super) fn verify(root: &Path, applied: u64) -> Result<(), EngineError> {
        walk(root, applied, &mut |_| Ok(())).map(drop)
    }

    /// Reads the journal behind `applied`, giving each frame to `replay`, and opens it for more.
    ///
    /// # Errors
    /// `Damaged` where an acknowledged transaction is not there whole.
    pub(super) fn open(
        root: &Path,
        applied: u64,
        mut replay: impl FnMut(Frame) -> Result<(), EngineError>,
    ) -> Result<Self, EngineError> {
        let dir = root.join("journal");
        std::fs::create_dir_all(&dir).map_err(|error| EngineError::Retry(io("creating", &dir, &error)))?;
        let walked = walk(root, applied, &mut replay)?;
        Self::resume(root, dir, walked, applied)
    }

    /// Cuts the tail that nobody was told of, and goes on behind it.
    fn resume(root: &Path, dir: PathBuf, walked: Walked, applied: u64) -> Result<Self, EngineError> {
        let failed = |error: std::io::Error| EngineError::Retry(io("opening the journal in", &dir, &error));
        let Walked { paths, tail, last } = walked;
        let high_water = OpenOptions::new().write(true).create(true).truncate(false).open(root.join(HIGH_WATER));
        let high_water = high_water.map_err(failed)?;
        if high_water.metadata().map_err(failed)?.len() == 0 {
            write_high_water(&high_water, last).map_err(failed)?; // at once: an empty mark is damage
        }
        let (path, length) = tail.unwrap_or_else(|| (file_path(&dir, last + 1), 0));
        for unread in paths.iter().filter(|other| **other > path) {
            std::fs::remove_file(unread).map_err(failed)?;
        }
        rewrite(&path, length).map_err(failed)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        file.sync_all().and_then(|()| sync_dir(&dir)).and_then(|()| sync_dir(root)).map_err(failed)?;
        write_high_water(&high_water, last).map_err(failed)?;
        let bytes = paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum();
        let next_sequence = last + 1;
        Ok(Self { dir, file, path, length, allocated: length, bytes, next_sequence, covered_to: applied, high_water })
    }

    /// Highest sequence that is on disk.
    pub(super) fn durable(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Writes frames that end with sequence `last`; on return they are on disk and acknowledged.
    pub(super) fn append(&mut self, frames: &[u8], last: u64) -> std::io::Result<()> {
        let end = self.length + frames.len() as u64;
        if end > self.allocated {
            let needed = end - self.allocated;
            let allocate = |bytes| {
                rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), self.allocated, bytes)
                    .map(|()| bytes)
            };
            // Where there is no room to allocate ahead, there may still be for what is needed; and a file system that
            // cannot allocate at all finds out when it writes.
            let ahead = allocate(needed.max(JOURNAL_ALLOCATION_BYTES)).or_else(|_| allocate(needed));
            self.allocated += match ahead {
                Err(rustix::io::Errno::OPNOTSUPP) => needed,
                other => other?,
            };
        }
        self.file.write_all_at(frames, self.length)?;
        self.file.sync_data()?;
        write_high_water(&self.high_water, last)?;
        self.length = end;
        self.bytes += frames.len() as u64;
        self.next_sequence = last + 1;
        Ok(())
    }

    /// Whether a checkpoint has, or is about to have, everything.
    pub(super) fn is_covered(&self) -> bool {
        self.covered_to == self.durable()
    }

    /// Begins a new file, so that those before it can be dropped once a checkpoint covers them.
    pub(super) fn roll(&mut self) -> std::io::Result<()> {
        self.covered_to = self.durable();
        self.bytes = 0;
        if self.length == 0 {
            return Ok(());
        }
        self.path = file_path(&self.dir, self.next_sequence);
        self.file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&self.path)?;
        sync_dir(&self.dir)?;
        (self.length, self.allocated) = (0, 0);
        Ok(())
    }

    /// The directory, and the files before the current one.
    pub(super) fn covered(&self) -> std::io::Result<(PathBuf, Vec<PathBuf>)> {
        let mut paths = files(&self.dir).map_err(|error| std::io::Error::other(error.to_string()))?;
        paths.retain(|path| *path < self.path);
        Ok((self.dir.clone(), paths))
    }
}

/// What reading the journal found.
struct Walked {
    paths: Vec<PathBuf>,
    /// The last file with a frame that counts, and where its frames end.
    tail: Option<(PathBuf, u64)>,
    /// The last transaction.
    last: u64,
}

/// Reads every frame behind `applied`; refuses where one that was acknowledged is not there.
fn walk(
    root: &Path,
    applied: u64,
    visit: &mut dyn FnMut(Frame) -> Result<(), EngineError>,
) -> Result<Walked, EngineError> {
    let dir = root.join("journal");
    let acknowledged = read_high_water(root)?;
    let paths = if dir.exists() { files(&dir)? } else { Vec::new() };
    let mut expected = applied + 1;
    let mut tail: Option<(PathBuf, u64)> = None;
    for (index, path) in paths.iter().enumerate() {
        let bytes = std::fs::read(path).map_err(|error| EngineError::Retry(io("reading", path, &error)))?;
        let mut at = 0;
        while let Some((frame, _, length)) = decode(&bytes[at..]).filter(|(frame, ..)| frame.sequence <= expected) {
            at += length;
            if frame.sequence == expected {
                expected += 1;
                visit(frame)?;
            }
        }
        tail = Some((path.clone(), at as u64));
        if bytes[at..].iter().any(|byte| *byte != 0) {
            refuse_loss(path, at, &bytes[at..], &paths[index + 1..], expected, acknowledged)?;
            break;
        }
    }
    let last = expected - 1;
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > last) {
        let (path, at) = tail.unwrap_or((dir, 0));
        return Err(lost(&path, at, expected, acknowledged));
    }
    Ok(Walked { paths, tail, last })
}

/// Writes the first `length` bytes of a file anew and syncs them: after a failed fsync the page cache may show what the disk
/// does not have, and syncing it again would not write it.
fn rewrite(path: &Path, length: u64) -> std::io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let mut bytes = std::fs::read(path)?;
    bytes.truncate(length as usize);
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    std::io::Write::write_all(&mut file, &bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// Decides about bytes that are no next frame: a tail that was never acknowledged may go, anything else is damage.
fn refuse_loss(
    path: &Path,
    at: usize,
    rest: &[u8],
    later: &[PathBuf],
    expected: u64,
    acknowledged: Option<u64>,
) -> Result<(), EngineError> {
    let mut proven = acknowledged.unwrap_or(0).max(proven_by(rest));
    for path in later {
        let bytes = std::fs::read(path).map_err(|error| EngineError::Retry(io("reading", path, &error)))?;
        proven = proven.max(proven_by(&bytes));
    }
    if proven >= expected {
        return Err(lost(path, at as u64, expected, proven));
    }
    tracing::info!(file = %path.display(), at, "dropped an unfinished transaction that was never acknowledged");
    Ok(())
}

/// Highest sequence that any whole frame in `bytes` proves to have been acknowledged.
fn proven_by(bytes: &[u8]) -> u64 {
    let magic = MAGIC.to_le_bytes();
    let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&magic));
    starts.filter_map(|at| decode(&bytes[at..])).map(|(_, durable, _)| durable).max().unwrap_or(0)
}

fn lost(path: &Path, at: u64, first: u64, last: u64) -> EngineError {
    EngineError::Damaged(format!(
        "{} is damaged at byte {at}: the acknowledged transactions {first} to {last} are not readable. Restore the data \
         directory from a backup; or, to go on without them, cut the file at that byte, remove later files beside it and \
         the file `high-water`",
        path.display()
    ))
}

fn file_path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}.wal"))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let failed = |error: std::io::Error| EngineError::Retry(io("listing", dir, &error));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_high_water(root: &Path) -> Result<Option<u64>, EngineError> {
    let path = root.join(HIGH_WATER);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::Retry(io("reading", &path, &error))),
    };
    let mark =
        bytes.split_first_chunk::<8>().filter(|(sequence, crc)| crc32c::crc32c(*sequence).to_le_bytes() == **crc);
    match mark {
        Some((sequence, _)) => Ok(Some(u64::from_le_bytes(*sequence))),
        None => Err(EngineError::Damaged(format!(
            "{} is damaged, so it cannot be told whether the journal holds all that was acknowledged. Restore it from a \
             backup; or, to go on with what the journal holds, remove it",
            path.display()
        ))),
    }
}

/// Twelve bytes in place: no fsync, since only a crash of the machine could lose it, and then frames prove each other.
fn write_high_water(file: &File, sequence: u64) -> std::io::Result<()> {
    let mut mark = [0; 12];
    mark[..8].copy_from_slice(&sequence.to_le_bytes());
    mark[8..].copy_from_slice(&crc32c::crc32c(&sequence.to_le_bytes()).to_le_bytes());
    file.write_all_at(&mark, 0)
}
