//! Pairs in a log: files of entries, and in memory where each pair stands.
//!
//! ```text
//!   write ──▶ state-<n>.log    entries ▸ fdatasync ▸ mark ▸ fdatasync: all of it, or nothing
//!               │ sealed at a size; the oldest is written again at the end of the log, what lives of it, and dropped
//!   get ──hash of the key──▶ index ──▶ one read
//! ```
//! What always holds:
//! 1. A mark is written once everything before it is on disk. So what is not whole before a mark is damage, and what is
//!    behind the last one was never acknowledged.
//! 2. Files are dropped from the oldest on. So what is there is an end of the log, and no deletion goes while a file is there
//!    that has the pair it deleted. A mark names the first file that is needed.
//! 3. `state.index` is where everything stood at a mark. Read with the log behind that mark it is as good as the whole log: a
//!    pair whose file was dropped since is there again. It is of no use once the mark's own file was dropped.

mod entry;
mod index;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use rustix::fs::{FlockOperation, flock};

use self::entry::{Entry, Mark, Walk};
use self::index::{At, Index, Name, Place};
use self::replay::Replay;
use super::identity::sync_dir;
use super::limits::{
    INDEX_CHANGES, LOG_BYTES_MAX, LOG_BYTES_MIN, LOG_CLEAN_FACTOR, LOG_LIVE_FACTOR, LOG_WRITE_BYTES,
    SNAPSHOT_BYTES_MIN, SNAPSHOT_KEY_BYTES,
};
use super::{EngineError, io};

/// Key and value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Sizes at which things happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A file is sealed at a quarter of the live bytes, but not before the first and not after the second.
    file_bytes: (u64, u64),
    /// Log behind the last snapshot at which the next one is made.
    snapshot_bytes_min: u64,
    /// And so much more for each key.
    snapshot_key_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            file_bytes: (LOG_BYTES_MIN, LOG_BYTES_MAX),
            snapshot_bytes_min: SNAPSHOT_BYTES_MIN,
            snapshot_key_bytes: SNAPSHOT_KEY_BYTES,
        }
    }
}

/// The pairs of a directory.
pub(super) struct Pairs {
    dir: PathBuf,
    sizes: Sizes,
    _lock: Lock,
    stored: RwLock<Stored>,
    head: Mutex<Head>,
}

/// What readers need.
#[derive(Default)]
struct Stored {
    index: Index,
    files: BTreeMap<u32, Arc<File>>,
}

/// Where the log goes on.
struct Head {
    number: u32,
    length: u64,
    /// Where the last mark stands.
    mark: Option<(u32, Range<u64>)>,
    sequence: u64,
    /// The first file that is needed.
    first: u32,
    /// How far the first file was looked through for what lives.
    cleaning: Option<Walk>,
    /// Of all files.
    bytes: u64,
    /// Behind the last snapshot.
    behind: u64,
    state: HeadState,
}

#[derive(Clone, Copy, PartialEq)]
enum HeadState {
    /// Nothing was written since it was opened: there may be more on the disk than what counts.
    Opened,
    Ready,
    /// A write is under way, or one has failed.
    InDoubt,
}

impl Pairs {
    /// Opens what the last mark committed, and gives what it said. Changes nothing of it.
    ///
    /// # Errors
    /// `Damaged` where what a mark committed is not there whole; `Retry` where it cannot be opened now.
    pub(super) fn open(dir: &Path, sizes: Sizes) -> Result<(Self, Option<Vec<u8>>), EngineError> {
        let failed = |error: std::io::Error| EngineError::Retry(io("opening the state in", dir, &error));
        let lock = Lock::acquire(dir)?;
        let snapshot = index::read(dir);
        let paths = paths(dir).map_err(failed)?;
        if paths.is_empty() {
            if dir.join("state.redb").exists() {
                let reason = "holds state.redb, which this version does not read; begin with a new directory";
                return Err(EngineError::Damaged(format!("{} {reason}", dir.display())));
            }
            File::create_new(path(dir, 1)).and_then(|file| file.sync_all()).map_err(failed)?;
            sync_dir(dir).map_err(failed)?;
        }
        let numbers = if paths.is_empty() { vec![1] } else { paths };
        let open = |number: &u32| {
            let file = OpenOptions::new().read(true).write(true).open(path(dir, *number))?;
            Ok((*number, Arc::new(file)))
        };
        let files = numbers.iter().map(open).collect::<std::io::Result<BTreeMap<_, _>>>().map_err(failed)?;
        let read = Replay::of(dir, files, snapshot)?;
        let (head, stored, meta) = read.finish()?;
        Ok((Self { dir: dir.into(), sizes, _lock: lock, stored: RwLock::new(stored), head: Mutex::new(head) }, meta))
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let stored = self.stored();
        let Some(place) = stored.index.get(key) else { return Ok(None) };
        let file = stored.files.get(&place.file).cloned();
        drop(stored);
        let (found, value) = self.read(place, file)?;
        if found == key { Ok(Some(value)) } else { Err(self.damaged(place.file, place.at)) }
    }

    /// All pairs whose key starts with `prefix`, in order. All pairs are read for it where some kinds of keys may start so
    /// that are not listed.
    pub(super) fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
        let stored = self.stored();
        let places = stored.index.candidates(prefix);
        let files = stored.files.clone();
        drop(stored);
        let mut pairs = Vec::new();
        for place in places {
            let (key, value) = self.read(place, files.get(&place.file).cloned())?;
            if key.starts_with(prefix) {
                pairs.push((key, value));
            }
        }
        pairs.sort_unstable();
        Ok(pairs)
    }

    fn read(&self, place: Place, file: Option<Arc<File>>) -> Result<Pair, EngineError> {
        let damaged = || self.damaged(place.file, place.at);
        let file = file.ok_or_else(damaged)?;
        let mut bytes = vec![0; place.length as usize];
        file.read_exact_at(&mut bytes, u64::from(place.at)).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(),
            _ => EngineError::Unknown(io("reading", &path(&self.dir, place.file), &error)),
        })?;
        let Some((Entry::Pair { key, value: Some(value) }, _)) = entry::decode(&bytes) else { return Err(damaged()) };
        let (key, start) = (key.to_vec(), bytes.len() - value.len());
        bytes.drain(..start);
        Ok((key, bytes))
    }

    /// Writes `changes`, each key once, and `meta`: on return they are on disk, all of them. A reader may see some of them
    /// before.
    ///
    /// # Errors
    /// `Unknown`, also of every write after it: open it anew. `Damaged` where what is to be kept is not readable.
    pub(super) fn write<'a, C>(&self, changes: C, meta: &[u8]) -> Result<(), EngineError>
    where
        C: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        let mut head = self.head.lock().expect("no holder panics");
        let opened = std::mem::replace(&mut head.state, HeadState::InDoubt);
        match opened {
            HeadState::InDoubt => return Err(EngineError::Unknown("a write of state has failed before".into())),
            HeadState::Opened => self.cut(&head).map_err(|error| self.unknown(&error))?,
            HeadState::Ready => {}
        }
        let mut batch = Batch::new(&head, self.file(head.number));
        let bytes: u64 = changes.clone().map(|(key, value)| entry::pair_bytes(key, value)).sum();
        let bytes = bytes + entry::pair_bytes(meta, None);
        // What is kept comes first: what changes now comes after it and counts.
        self.clean(&mut head, &mut batch, bytes * LOG_CLEAN_FACTOR)?;
        for (key, value) in changes {
            if value.is_some() || self.stored().index.get(key).is_some() {
                batch.put(key, value).map_err(|error| self.unknown(&error))?;
            }
        }
        self.commit(&mut head, batch, meta).map_err(|error| self.unknown(&error))?;
        head.state = HeadState::Ready;
        if head.behind
            >= self.sizes.snapshot_bytes_min + self.stored().index.keys() as u64 * self.sizes.snapshot_key_bytes
        {
            match self.snapshot(&head) {
                Ok(()) => head.behind = 0,
                // Without it the next opening takes longer, that is all.
                Err(error) => tracing::warn!(%error, "no snapshot of where the state stands was written"),
            }
        }
        Ok(())
    }

    /// Removes what does not count, and writes the last mark again: after a failed fsync the page cache may show one that the
    /// disk does not have, and syncing it again would not write it.
    fn cut(&self, head: &Head) -> std::io::Result<()> {
        let file = self.file(head.number);
        file.set_len(head.length)?;
        file.sync_all()?;
        if let Some((number, range)) = &head.mark {
            let file = self.file(*number);
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start)?;
            file.write_all_at(&bytes, range.start)?;
            file.sync_all()?;
        }
        let numbers = paths(&self.dir)?;
        let unneeded = numbers.into_iter().filter(|number| !(head.first..=head.number).contains(number));
        unneeded.map(|number| path(&self.dir, number)).try_for_each(std::fs::remove_file)
    }

    /// Looks through up to about `bytes` of the oldest files, if there is too much that is dead, and writes what lives anew.
    fn clean(&self, head: &mut Head, batch: &mut Batch, bytes: u64) -> Result<(), EngineError> {
        let mut looked_at = 0;
        while looked_at < bytes && head.first < head.number {
            if head.cleaning.is_none() && head.bytes <= self.stored().index.live * LOG_LIVE_FACTOR {
                break;
            }
            let first = head.first;
            let walk = match &mut head.cleaning {
                Some(walk) => walk,
                none => none.insert(self.walk(first).map_err(|error| self.unknown(&error))?),
            };
            let (at, end) = (walk.at, walk.end);
            match walk.next().map_err(|error| self.unknown(&error))? {
                Some((Entry::Pair { key, value: Some(_) }, entry)) => {
                    looked_at += entry.len() as u64;
                    let place = Place { file: first, at: at as u32, length: entry.len() as u32 };
                    if self.stored().index.get(key) == Some(place) {
                        batch.copy(Name::of(key), entry).map_err(|error| self.unknown(&error))?;
                    }
                }
                Some((_, entry)) => looked_at += entry.len() as u64,
                None if at == end => {
                    (head.first, head.cleaning) = (first + 1, None);
                    head.bytes -= end;
                }
                None => return Err(self.damaged(first, at as u32)),
            }
        }
        Ok(())
    }

    fn walk(&self, number: u32) -> std::io::Result<Walk> {
        let file = self.file(number);
        let length = file.metadata()?.len();
        Ok(Walk::new(file, 0, length))
    }

    /// Puts what was written on the disk, then the mark, and then lets readers see it.
    fn commit(&self, head: &mut Head, mut batch: Batch, meta: &[u8]) -> std::io::Result<()> {
        batch.flush()?;
        batch.file.sync_data()?;
        let (low, high) = self.sizes.file_bytes;
        let ends_file = batch.at >= (self.stored().index.live / 4).clamp(low, high);
        let next = if ends_file { Some(self.begin_file(head.number + 1)?) } else { None };
        let (sequence, at) = (head.sequence + 1, batch.at);
        let mark =
            Mark { sequence, file: head.number, at: at as u32, first: head.first, ends_file, meta: meta.to_vec() };
        entry::encode_mark(&mut batch.buffer, &mark);
        batch.flush()?;
        batch.file.sync_data()?;
        let written = batch.at - head.length;
        (head.sequence, head.length) = (sequence, batch.at);
        (head.bytes, head.behind) = (head.bytes + written, head.behind + written);
        head.mark = Some((head.number, at..batch.at));
        let mut changes = batch.changes.into_iter();
        while changes.len() > 0 {
            let mut stored = self.stored.write().expect("no holder panics");
            changes.by_ref().take(INDEX_CHANGES).for_each(|(name, place)| stored.index.set(name, place));
        }
        let mut stored = self.stored.write().expect("no holder panics");
        if let Some(next) = next {
            (head.number, head.length) = (head.number + 1, 0);
            stored.files.insert(head.number, next);
        }
        let needed = stored.files.split_off(&head.first);
        let dropped = std::mem::replace(&mut stored.files, needed);
        drop(stored);
        dropped.into_keys().map(|number| path(&self.dir, number)).try_for_each(std::fs::remove_file)
    }

    fn begin_file(&self, number: u32) -> std::io::Result<Arc<File>> {
        let path = path(&self.dir, number);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        sync_dir(&self.dir)?;
        Ok(Arc::new(file))
    }

    fn snapshot(&self, head: &Head) -> std::io::Result<()> {
        let Some((file, range)) = &head.mark else { return Ok(()) };
        let at = At { file: *file, mark: range.start as u32, sequence: head.sequence };
        let written = index::write(&self.dir, &self.stored().index, at)?;
        index::publish(&self.dir, &written)
    }

    fn stored(&self) -> RwLockReadGuard<'_, Stored> {
        self.stored.read().expect("no holder panics")
    }

    fn file(&self, number: u32) -> Arc<File> {
        self.stored().files.get(&number).cloned().expect("files are dropped by who writes")
    }

    fn unknown(&self, error: &std::io::Error) -> EngineError {
        EngineError::Unknown(io("writing state in", &self.dir, error))
    }

    fn damaged(&self, file: u32, at: u32) -> EngineError {
        damaged(&self.dir, file, u64::from(at))
    }
}

/// The directory, which one at a time has open.
struct Lock(File);

impl Lock {
    fn acquire(dir: &Path) -> Result<Self, EngineError> {
        let dir_opened = File::open(dir).map_err(|error| EngineError::Retry(io("opening", dir, &error)))?;
        match flock(&dir_opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(dir_opened)),
            Err(_) => Err(EngineError::Retry(format!("the state in {} is still open", dir.display()))),
        }
    }
}

impl Drop for Lock {
    /// Closing is not enough, as for [`super::DirectoryLock`].
    fn drop(&mut self) {
        let _closing_does_it_a_little_later = flock(&self.0, FlockOperation::Unlock);
    }
}

/// What one mark will commit.
struct Batch {
    file: Arc<File>,
    number: u32,
    /// Where the buffer goes.
    at: u64,
    buffer: Vec<u8>,
    changes: Vec<(Name, Option<Place>)>,
}

impl Batch {
    fn new(head: &Head, file: Arc<File>) -> Self {
        Self { file, number: head.number, at: head.length, buffer: Vec::new(), changes: Vec::new() }
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> std::io::Result<()> {
        let start = self.buffer.len();
        entry::encode_pair(&mut self.buffer, key, value);
        self.put_in_place(Name::of(key), start, value.is_some())
    }

    fn copy(&mut self, name: Name, entry: &[u8]) -> std::io::Result<()> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(entry);
        self.put_in_place(name, start, true)
    }

    fn put_in_place(&mut self, name: Name, start: usize, is_there: bool) -> std::io::Result<()> {
        let at = u32::try_from(self.at + start as u64).map_err(|_| std::io::Error::other("too much at once"))?;
        let place = Place { file: self.number, at, length: (self.buffer.len() - start) as u32 };
        self.changes.push((name, is_there.then_some(place)));
        if self.buffer.len() >= LOG_WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Whether there are pairs in `dir`.
pub(super) fn exists(dir: &Path) -> bool {
    paths(dir).is_ok_and(|paths| !paths.is_empty())
}

/// Names of everything that belongs to the pairs in `dir`.
pub(super) fn names(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let is_ours = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("state.") || number_of(name).is_some())
    };
    let entries = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    Ok(entries.collect::<std::io::Result<Vec<_>>>()?.into_iter().filter(is_ours).collect())
}

/// Numbers of the files in `dir`.
fn paths(dir: &Path) -> std::io::Result<Vec<u32>> {
    let names = names(dir)?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|path| number_of(path.file_name()?.to_str()?)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix("state-")?.strip_suffix(".log")?.parse().ok()
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("state-{number:08}.log"))
}

fn damaged(dir: &Path, file: u32, at: u64) -> EngineError {
    let path = path(dir, file);
    EngineError::Damaged(format!("{} is damaged at byte {at}; restore the directory from a backup", path.display()))
}
