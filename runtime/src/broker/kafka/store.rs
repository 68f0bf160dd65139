//! The local copy of a changelog's partition: pairs and the position they are at, in one atomic batch.
//!
//! The changelog is the truth. The store is written through to the disk now and then; after a crash it is at an earlier
//! position, and what is missing is read again.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use serde::{Deserialize, Serialize};

use super::limits::{STORE_FLUSH_MAX, TOMBSTONES_MAX};
use crate::broker::{Offset, Pair};
use crate::clock::Clock;

const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pairs");
const MARK: TableDefinition<'_, (), &[u8]> = TableDefinition::new("mark");

/// What the pairs are a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    cluster: String,
    topic: String,
    /// Everything before this offset of the changelog is in the store.
    next_offset: Offset,
    /// When it was known to be so, in microseconds.
    at: i64,
}

/// A task's pairs.
pub(super) struct Store {
    db: Database,
    clock: Clock,
    cluster: String,
    topic: String,
    flushed: Mutex<Instant>,
}

impl Store {
    /// Opens the store in `dir`. One of another cluster or topic is emptied, and one so old that the changelog may have
    /// forgotten a deletion which it still has to see.
    pub(super) fn open(dir: &Path, cluster: &str, topic: &str, clock: &Clock) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let path = dir.join("state.redb");
        let db = open_or_replace(&path)?;
        let (cluster, topic) = (cluster.to_owned(), topic.to_owned());
        let store = Self { db, clock: clock.clone(), cluster, topic, flushed: Mutex::new(Instant::now()) };
        let oldest = clock.now().micros() - TOMBSTONES_MAX.as_micros() as i64 / 2;
        let is_of_use = store
            .mark()?
            .is_some_and(|mark| mark.cluster == store.cluster && mark.topic == store.topic && mark.at >= oldest);
        if !is_of_use {
            store.wipe(0)?;
        }
        Ok(store)
    }

    /// Forgets everything, to be restored from `first` on.
    pub(super) fn wipe(&self, first: Offset) -> Result<(), String> {
        let mut write = self.db.begin_write().map_err(text)?;
        write.set_durability(Durability::Immediate).map_err(text)?;
        write.delete_table(PAIRS).map_err(text)?;
        write.open_table(PAIRS).map_err(text)?;
        self.put_mark(&write, first)?;
        write.commit().map_err(text)
    }

    /// Everything before this offset of the changelog is in it.
    pub(super) fn position(&self) -> Result<Offset, String> {
        Ok(self.mark()?.map_or(0, |mark| mark.next_offset))
    }

    /// Takes changes, in order, and the position behind them, all or nothing.
    pub(super) fn apply<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        next_offset: Offset,
    ) -> Result<(), String> {
        let mut flushed = self.flushed.lock().expect("no holder panics");
        let is_due = flushed.elapsed() >= STORE_FLUSH_MAX;
        let mut write = self.db.begin_write().map_err(text)?;
        write.set_durability(if is_due { Durability::Immediate } else { Durability::None }).map_err(text)?;
        {
            let mut pairs = write.open_table(PAIRS).map_err(text)?;
            for (key, value) in changes {
                match value {
                    Some(value) => pairs.insert(key, value).map(drop).map_err(text)?,
                    None => pairs.remove(key).map(drop).map_err(text)?,
                }
            }
        }
        self.put_mark(&write, next_offset)?;
        write.commit().map_err(text)?;
        if is_due {
            *flushed = Instant::now();
        }
        Ok(())
    }

    /// Notes that nothing was missing just now, on the disk.
    pub(super) fn is_current(&self) -> Result<(), String> {
        let position = self.position()?;
        let mut write = self.db.begin_write().map_err(text)?;
        write.set_durability(Durability::Immediate).map_err(text)?;
        self.put_mark(&write, position)?;
        write.commit().map_err(text)
    }

    fn put_mark(&self, write: &redb::WriteTransaction, next_offset: Offset) -> Result<(), String> {
        let at = self.clock.now().micros();
        let mark = Mark { cluster: self.cluster.clone(), topic: self.topic.clone(), next_offset, at };
        let bytes = serde_json::to_vec(&mark).expect("plain data");
        write.open_table(MARK).map_err(text)?.insert((), bytes.as_slice()).map(drop).map_err(text)
    }

    fn mark(&self) -> Result<Option<Mark>, String> {
        let read = self.db.begin_read().map_err(text)?;
        let table = match read.open_table(MARK) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other.map_err(text)?,
        };
        let bytes = table.get(()).map_err(text)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(bytes.value()).ok()))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let read = self.db.begin_read().map_err(text)?;
        let pairs = read.open_table(PAIRS).map_err(text)?;
        Ok(pairs.get(key).map_err(text)?.map(|value| value.value().to_vec()))
    }

    pub(super) fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, String> {
        let read = self.db.begin_read().map_err(text)?;
        let pairs = read.open_table(PAIRS).map_err(text)?;
        let mut found = Vec::new();
        for pair in pairs.range(prefix..).map_err(text)? {
            let (key, value) = pair.map_err(text)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            found.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(found)
    }
}

/// A damaged file is replaced: the changelog has everything.
fn open_or_replace(path: &Path) -> Result<Database, String> {
    match Database::create(path) {
        Ok(db) => Ok(db),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(format!("{} is open elsewhere", path.display())),
        Err(redb::DatabaseError::Storage(redb::StorageError::Io(error))) => Err(format!("{}: {error}", path.display())),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a store is damaged; restoring it anew");
            std::fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Database::create(path).map_err(text)
        }
    }
}

/// The folder of an owner's store.
pub(super) fn dir_of(state_dir: &Path, owner: &str) -> PathBuf {
    state_dir.join(owner.replace([':', '/'], "-"))
}

fn text(error: impl Into<redb::Error>) -> String {
    format!("the store of a task: {}", error.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_store_knows_what_it_is_a_copy_of() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let now = Arc::new(AtomicI64::new(0));
        let open = |cluster: &str, topic: &str| {
            Store::open(dir.path(), cluster, topic, &Clock::Fixed(now.clone())).expect("opens")
        };
        let fill = |store: &Store| store.apply([(b"k".as_slice(), Some(b"v".as_slice()))].into_iter(), 7);
        let store = open("c", "t");
        assert_eq!((store.position(), store.scan(b"")), (Ok(0), Ok(Vec::new())));
        fill(&store).expect("writable");
        drop(store);
        let store = open("c", "t");
        assert_eq!((store.position(), store.get(b"k")), (Ok(7), Ok(Some(b"v".to_vec()))));
        drop(store);
        assert_eq!(open("c", "anew").position(), Ok(0), "the topic is another one");
        let store = open("c", "anew");
        fill(&store).expect("writable");
        drop(store);
        now.store(TOMBSTONES_MAX.as_micros() as i64 / 2 + 1, Ordering::Relaxed);
        let store = open("c", "anew");
        assert_eq!((store.position(), store.get(b"k")), (Ok(0), Ok(None)), "deletions may be forgotten by now");
    }
}
