//! Key-value pairs: changed ones in memory, the rest in [`super::pairs`] as of the last checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, RwLock};

use hashbrown::HashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pairs::{self, Pair, Pairs, Sizes};
use super::{EngineError, Put};

type Changed = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// The pairs.
pub(crate) struct StateMap {
    stored: Pairs,
    layers: RwLock<Layers>,
}

#[derive(Default)]
struct Layers {
    dirty: Changed,
    dirty_bytes: usize,
    /// What the checkpoint under way is writing.
    frozen: Arc<Changed>,
    frozen_bytes: usize,
}

/// Bytes that the state of a data directory takes on disk.
///
/// # Errors
/// Where there is none.
pub fn state_bytes(dir: &Path) -> std::io::Result<u64> {
    pairs::names(dir)?.iter().map(|path| Ok(std::fs::metadata(path)?.len())).sum()
}

impl StateMap {
    /// The pairs in `dir` as of the last checkpoint, and what that said about them.
    pub(crate) fn open<M: DeserializeOwned>(dir: &Path) -> Result<(Self, Option<M>), EngineError> {
        let (stored, meta) = Pairs::open(dir, Sizes::default())?;
        let meta = meta.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(|error| {
            EngineError::Damaged(format!("the checkpoint of the state in {} does not decode: {error}", dir.display()))
        })?;
        Ok((Self { stored, layers: RwLock::default() }, meta))
    }

    /// Whether `dir` has any.
    pub(crate) fn exists(dir: &Path) -> bool {
        pairs::exists(dir)
    }

    /// Removes those of `dir`, which nobody has open.
    pub(crate) fn remove(dir: &Path) -> std::io::Result<()> {
        pairs::names(dir)?.iter().try_for_each(std::fs::remove_file)
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
        let layers = self.layers.read().expect("no holder panics");
        if let Some(value) = layers.dirty.get(key).or_else(|| layers.frozen.get(key)) {
            return Ok(value.clone());
        }
        drop(layers);
        self.stored.get(key)
    }

    /// All pairs whose key starts with `prefix`, in order.
    pub(crate) fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
        // The layers are held while the store is read: a checkpoint that ends in between would else hide its pairs.
        let layers = self.layers.read().expect("no holder panics");
        let mut pairs: BTreeMap<_, _> = self.stored.scan(prefix)?.into_iter().collect();
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

    /// Writes what was frozen, and `meta`, all of it or nothing.
    pub(crate) fn write_frozen(&self, meta: &impl Serialize) -> Result<(), EngineError> {
        let frozen = self.layers.read().expect("no holder panics").frozen.clone();
        let changes = frozen.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        self.stored.write(changes, &serde_json::to_vec(meta).expect("plain data"))?;
        let mut layers = self.layers.write().expect("no holder panics");
        (layers.frozen, layers.frozen_bytes) = (Arc::default(), 0);
        Ok(())
    }
}
