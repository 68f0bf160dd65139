//! Key-value pairs: changed ones in memory, the rest in `state.redb` as of the last checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, RwLock};

use hashbrown::HashMap;
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{EngineError, Put};

pub(crate) const FILE: &str = "state.redb";

const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pairs");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

type Changed = HashMap<Vec<u8>, Option<Vec<u8>>>;
/// Pairs as they were when it was opened.
type Pairs = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// Key and value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// The pairs.
pub(crate) struct StateMap {
    db: Database,
    layers: RwLock<Layers>,
}

#[derive(Default)]
struct Layers {
    dirty: Changed,
    dirty_bytes: usize,
    /// What the checkpoint under way is writing.
    frozen: Arc<Changed>,
    frozen_bytes: usize,
    /// As of the last checkpoint; none before the first.
    stored: Option<Arc<Pairs>>,
}

/// Bytes that the state of a data directory takes on disk.
///
/// # Errors
/// Where there is none.
pub fn state_bytes(dir: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(dir.join(FILE))?.len())
}

impl StateMap {
    /// The pairs in `dir` as of the last checkpoint, and what that said about them.
    pub(crate) fn open<M: DeserializeOwned>(dir: &Path, cache_bytes: usize) -> Result<(Self, Option<M>), EngineError> {
        let path = dir.join(FILE);
        let db = Database::builder().set_cache_size(cache_bytes).create(&path).map_err(|error| match error {
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) => {
                EngineError::Retry(format!("opening {}: {error}", path.display()))
            }
            redb::DatabaseError::DatabaseAlreadyOpen => EngineError::Retry(format!("{} is still open", path.display())),
            other => {
                EngineError::Damaged(format!("{}: {other}; restore the data directory from a backup", path.display()))
            }
        })?;
        let state = Self { db, layers: RwLock::default() };
        let meta = state.read_meta()?;
        state.layers.write().expect("no holder panics").stored = state.read_pairs()?;
        Ok((state, meta))
    }

    fn read_meta<M: DeserializeOwned>(&self) -> Result<Option<M>, EngineError> {
        let read = self.db.begin_read().map_err(failed)?;
        let table = match read.open_table(META) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let stored = table.get("meta").map_err(failed)?;
        let decoded = stored.map(|bytes| serde_json::from_slice(bytes.value())).transpose();
        decoded.map_err(|error| EngineError::Damaged(format!("the checkpoint in state.redb does not decode: {error}")))
    }

    fn read_pairs(&self) -> Result<Option<Arc<Pairs>>, EngineError> {
        match self.db.begin_read().map_err(failed)?.open_table(PAIRS) {
            Ok(table) => Ok(Some(Arc::new(table))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Applies committed changes.
    pub(crate) fn apply(&self, puts: impl IntoIterator<Item = Put>) {
        let mut layers = self.layers.write().expect("no holder panics");
        for put in puts {
            let taken = |value: Option<&Vec<u8>>| value.map_or(0, Vec::len);
            let (key, value) = (put.key.len() + size_of::<(Vec<u8>, Option<Vec<u8>>)>(), taken(put.value.as_ref()));
            layers.dirty_bytes += value;
            match layers.dirty.insert(put.key, put.value) {
                Some(replaced) => layers.dirty_bytes -= taken(replaced.as_ref()),
                None => layers.dirty_bytes += key,
            }
        }
    }

    /// Bytes of changed pairs that no checkpoint has taken yet.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.layers.read().expect("no holder panics").dirty_bytes
    }

    /// Bytes of all changed pairs that are in memory.
    pub(crate) fn changed_bytes(&self) -> usize {
        let layers = self.layers.read().expect("no holder panics");
        layers.dirty_bytes + layers.frozen_bytes
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let stored = {
            let layers = self.layers.read().expect("no holder panics");
            if let Some(value) = layers.dirty.get(key).or_else(|| layers.frozen.get(key)) {
                return Ok(value.clone());
            }
            layers.stored.clone()
        };
        let Some(stored) = stored else { return Ok(None) };
        Ok(stored.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }

    /// All pairs whose key starts with `prefix`, in order.
    pub(crate) fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
        // The layers are held while the store is read: a checkpoint that ends in between would else hide its pairs.
        let layers = self.layers.read().expect("no holder panics");
        let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        if let Some(stored) = &layers.stored {
            for entry in stored.range(prefix..).map_err(failed)? {
                let (key, value) = entry.map_err(failed)?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                pairs.insert(key.value().to_vec(), value.value().to_vec());
            }
        }
        for (key, value) in layers.frozen.iter().chain(&layers.dirty).filter(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => pairs.insert(key.clone(), value.clone()),
                None => pairs.remove(key),
            };
        }
        Ok(pairs.into_iter().collect())
    }

    /// Sets the changed pairs aside for a checkpoint.
    pub(crate) fn freeze(&self) {
        let mut layers = self.layers.write().expect("no holder panics");
        assert!(layers.frozen.is_empty(), "one checkpoint at a time");
        layers.frozen = Arc::new(std::mem::take(&mut layers.dirty));
        layers.frozen_bytes = std::mem::take(&mut layers.dirty_bytes);
    }

    /// Writes what was frozen, and `meta`, in one transaction.
    pub(crate) fn write_frozen(&self, meta: &impl Serialize) -> Result<(), EngineError> {
        let frozen = self.layers.read().expect("no holder panics").frozen.clone();
        let mut write = self.db.begin_write().map_err(failed)?;
        write.set_quick_repair(true);
        {
            let mut table = write.open_table(PAIRS).map_err(failed)?;
            let mut pairs: Vec<_> = frozen.iter().collect();
            pairs.sort_unstable(); // neighbours share pages
            for (key, value) in pairs {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()).map(drop),
                    None => table.remove(key.as_slice()).map(drop),
                }
                .map_err(failed)?;
            }
            let bytes = serde_json::to_vec(meta).expect("plain data");
            write.open_table(META).map_err(failed)?.insert("meta", bytes.as_slice()).map_err(failed)?;
        }
        write.commit().map_err(failed)?;
        let stored = self.read_pairs()?;
        let mut layers = self.layers.write().expect("no holder panics");
        (layers.frozen, layers.frozen_bytes, layers.stored) = (Arc::default(), 0, stored);
        Ok(())
    }
}

fn failed(error: impl Into<redb::Error>) -> EngineError {
    match error.into() {
        redb::Error::Corrupted(reason) => {
            EngineError::Damaged(format!("state.redb is damaged ({reason}); restore the data directory from a backup"))
        }
        other => EngineError::Unknown(format!("state.redb: {other}")),
    }
}
