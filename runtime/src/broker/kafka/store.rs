//! The local copy of a changelog's partition: pairs, and the position they are at.
//!
//! ```text
//!   committed changes ─▶ memory ─▶ disk, now and then, in the background, with the position
//! ```
//! The changelog is the truth. After a crash the copy is at an earlier position, and what is missing is read again.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::limits::{STORE_CHANGED_BYTES_MAX, STORE_FLUSH_MAX, TOMBSTONES_MAX};
use crate::broker::{Offset, Pair};
use crate::clock::Clock;
use crate::storage::{EngineError, Put, StateMap};

/// What the pairs are a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    cluster: String,
    topic: String,
    /// Everything before this offset of the changelog is in the store.
    next_offset: Offset,
    /// When nothing was missing last, in microseconds: of what was deleted until then nothing is in it.
    at: i64,
}

/// A task's pairs.
pub(super) struct Store {
    clock: Clock,
    dir: PathBuf,
    cluster: String,
    topic: String,
    inner: Mutex<Inner>,
}

/// A file that says that the pairs were found damaged, when they were read or written.
const DAMAGED: &str = "damaged";

struct Inner {
    pairs: Arc<StateMap>,
    /// Everything before this offset of the changelog is in `pairs`, which may hold more.
    next_offset: Offset,
    /// See [`Mark::at`].
    at: i64,
    flushed: Instant,
    /// Writes what was frozen to the disk.
    flushing: Option<JoinHandle<Result<(), EngineError>>>,
}

impl Store {
    /// Opens the store in `dir`, a copy of a changelog that holds `offsets`. One of another cluster or topic is emptied, one
    /// that is damaged, and one so old that the changelog may have forgotten a deletion which it still has to see.
    pub(super) fn open(
        dir: &Path,
        (cluster, topic): (&str, &str),
        offsets: &RangeInclusive<Offset>,
        clock: &Clock,
    ) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let now = clock.now().micros();
        let oldest = now - TOMBSTONES_MAX.as_micros() as i64 / 2;
        let is_of_use = |mark: &Mark| {
            mark.cluster == cluster && mark.topic == topic && mark.at >= oldest && offsets.contains(&mark.next_offset)
        };
        let kept = match StateMap::open::<Mark>(dir) {
            Ok((pairs, Some(mark))) if is_of_use(&mark) && !dir.join(DAMAGED).exists() => {
                Some((pairs, mark.next_offset, mark.at))
            }
            Ok(_) => None,
            Err(EngineError::Damaged(reason)) => {
                tracing::warn!(reason, "a store is damaged; restoring it anew");
                None
            }
            Err(error) => return Err(error.to_string()),
        };
        // An empty one has nothing that may have been deleted.
        let (pairs, next_offset, at) = kept.map_or_else(|| Ok((anew(dir)?, *offsets.start(), now)), Ok::<_, String>)?;
        let inner = Inner { pairs: Arc::new(pairs), next_offset, at, flushed: Instant::now(), flushing: None };
        let (cluster, topic) = (cluster.to_owned(), topic.to_owned());
        Ok(Self { clock: clock.clone(), dir: dir.into(), cluster, topic, inner: Mutex::new(inner) })
    }

    /// Everything before this offset of the changelog is in it.
    pub(super) fn position(&self) -> Offset {
        self.lock().next_offset
    }

    /// Takes committed changes, in order.
    pub(super) fn apply(&self, changes: impl Iterator<Item = Put>) {
        self.lock().pairs.apply(changes);
    }

    /// Whether it is time to write what changed to the disk.
    pub(super) fn is_due(&self) -> bool {
        let inner = self.lock();
        inner.flushed.elapsed() >= STORE_FLUSH_MAX || inner.pairs.dirty_bytes() >= STORE_CHANGED_BYTES_MAX
    }

    /// Begins to write what changed to the disk; it holds everything before this offset of the changelog, and more is missing.
    pub(super) fn flush_at(&self, next_offset: Offset) -> Result<(), String> {
        let mut inner = self.lock();
        inner.next_offset = next_offset;
        self.flush(&mut inner)
    }

    /// The same, and nothing was missing just now.
    pub(super) fn flush_current(&self, next_offset: Offset) -> Result<(), String> {
        let mut inner = self.lock();
        (inner.next_offset, inner.at) = (next_offset, self.clock.now().micros());
        self.flush(&mut inner)
    }

    /// Waits until what is being written is on the disk.
    pub(super) fn finish(&self) -> Result<(), String> {
        let finished = self.lock().finish();
        finished.map_err(|error| self.failed(&error))
    }

    /// Begins to write what changed to the disk; waits for what is being written.
    fn flush(&self, inner: &mut Inner) -> Result<(), String> {
        inner.finish().map_err(|error| self.failed(&error))?;
        let mark = Mark {
            cluster: self.cluster.clone(),
            topic: self.topic.clone(),
            next_offset: inner.next_offset,
            at: inner.at,
        };
        inner.pairs.freeze();
        inner.flushed = Instant::now();
        let pairs = inner.pairs.clone();
        inner.flushing = Some(std::thread::spawn(move || pairs.write_frozen(&mark)));
        Ok(())
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let pairs = self.lock().pairs.clone();
        pairs.get(key).map_err(|error| self.failed(&error))
    }

    pub(super) fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, String> {
        let pairs = self.lock().pairs.clone();
        pairs.scan(prefix).map_err(|error| self.failed(&error))
    }

    /// What is damaged is made anew from the changelog when it is opened next.
    fn failed(&self, error: &EngineError) -> String {
        if matches!(error, EngineError::Damaged(_)) {
            let _else_it_is_found_again = std::fs::write(self.dir.join(DAMAGED), []);
        }
        text(error)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }
}

impl Inner {
    fn finish(&mut self) -> Result<(), EngineError> {
        let Some(flushing) = self.flushing.take() else { return Ok(()) };
        flushing.join().expect("it does not panic")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What is not written is read again; the file must be closed, for the next one opens it.
        if let Ok(mut inner) = self.inner.lock() {
            let _read_again = inner.finish();
        }
    }
}

/// An empty store.
fn anew(dir: &Path) -> Result<StateMap, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    StateMap::remove(dir).map_err(failed)?;
    match std::fs::remove_file(dir.join(DAMAGED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    Ok(StateMap::open::<Mark>(dir).map_err(|error| text(&error))?.0)
}

/// The folder of an owner's store.
pub(super) fn dir_of(state_dir: &Path, owner: &str) -> PathBuf {
    state_dir.join(owner.replace([':', '/'], "-"))
}

fn text(error: &EngineError) -> String {
    format!("the store of a task: {error}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A deletion behind the position may be forgotten while the restore stands still.
    #[test]
    fn a_restore_that_is_broken_off_leaves_a_store_as_old_as_it_was() {
        const HALF: i64 = TOMBSTONES_MAX.as_micros() as i64 / 2;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let now = Arc::new(AtomicI64::new(0));
        let open = || Store::open(dir.path(), ("c", "t"), &(0..=9), &Clock::Fixed(now.clone())).expect("opens");
        open().flush_current(3).expect("writable");
        now.store(HALF, Ordering::Relaxed);
        open().flush_at(5).expect("writable");
        assert_eq!(open().position(), 5, "it is not too old yet");
        now.store(HALF + 1, Ordering::Relaxed);
        assert_eq!(open().position(), 0, "what was read since does not make it younger");
        open().flush_at(6).expect("writable");
        now.store(2 * HALF, Ordering::Relaxed);
        open().flush_current(7).expect("writable");
        now.store(3 * HALF, Ordering::Relaxed);
        assert_eq!(open().position(), 7, "nothing was missing half the time ago");
    }

    #[test]
    fn a_store_knows_what_it_is_a_copy_of() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let now = Arc::new(AtomicI64::new(0));
        let open = |cluster: &str, topic: &str| {
            Store::open(dir.path(), (cluster, topic), &(0..=9), &Clock::Fixed(now.clone())).expect("opens")
        };
        let fill = |store: &Store| {
            store.apply([Put { key: b"k".into(), value: Some(b"v".into()) }].into_iter());
            store.flush_current(7)
        };
        let store = open("c", "t");
        assert_eq!((store.position(), store.scan(b"")), (0, Ok(Vec::new())));
        fill(&store).expect("writable");
        drop(store);
        let store = open("c", "t");
        assert_eq!((store.position(), store.get(b"k")), (7, Ok(Some(b"v".to_vec()))));
        drop(store);
        assert_eq!(open("c", "anew").position(), 0, "the topic is another one");
        let store = open("c", "anew");
        fill(&store).expect("writable");
        drop(store);
        now.store(TOMBSTONES_MAX.as_micros() as i64 / 2 + 1, Ordering::Relaxed);
        let store = open("c", "anew");
        assert_eq!((store.position(), store.get(b"k")), (0, Ok(None)), "deletions may be forgotten by now");
        fill(&store).expect("writable");
        let reason = store.failed(&EngineError::Damaged("a byte".into()));
        drop(store);
        assert_eq!((reason.contains("a byte"), open("c", "anew").position()), (true, 0), "it is restored anew");
        assert!(!dir.path().join(DAMAGED).exists());
    }
}
