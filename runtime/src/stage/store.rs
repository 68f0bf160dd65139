//! A step's state per key: decoded objects in memory over the committed bytes.
//!
//! ```text
//!   step ─▶ cache of decoded states ──miss──▶ committed state of the task (broker)
//!              │ dirty since the last commit
//!              └─▶ encoded once per commit and key ─▶ part of the transaction
//! ```
//! An abort evicts what was touched; it is read again as it was committed.

use std::sync::Arc;

use hashbrown::HashMap;
use skuflow_processors::{State, Stated};
use skuflow_schemas::Text;

use crate::broker::{BrokerError, StateChange, StateReader};

/// State of one step, all keys of one task.
pub(super) struct Store<S> {
    owner: Arc<str>,
    prefix: Vec<u8>,
    cached: HashMap<Text, Entry<S>>,
    /// Keys written to since the last commit, in the order they were first written.
    dirty: Vec<Text>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry<S> {
    state: Stated<S>,
    /// Roughly what the entry takes.
    bytes: usize,
    /// Used since the cache was last swept.
    used: bool,
}

impl<S: State> Store<S> {
    /// The store of step `name` of the task `owner`, whose cache takes about `bytes_max`.
    pub(super) fn new(owner: Arc<str>, name: &str, bytes_max: usize) -> Self {
        let prefix = format!("state/{name}/").into_bytes();
        Self { owner, prefix, cached: HashMap::new(), dirty: Vec::new(), bytes: 0, bytes_max }
    }

    /// Lets `work` use the state of `key`, and remembers whether it wrote to it.
    pub(super) fn with<R>(
        &mut self,
        key: &str,
        committed: &dyn StateReader,
        work: impl FnOnce(&mut Stated<S>) -> R,
    ) -> Result<R, BrokerError> {
        if !self.cached.contains_key(key) {
            self.load(key, committed)?;
        }
        let entry = self.cached.get_mut(key).expect("loaded above");
        entry.used = true;
        let was_dirty = entry.state.is_dirty();
        let result = work(&mut entry.state);
        if entry.state.is_dirty() && !was_dirty {
            self.dirty.push(key.into());
        }
        Ok(result)
    }

    fn load(&mut self, key: &str, committed: &dyn StateReader) -> Result<(), BrokerError> {
        let state = match committed.get(&self.stored_key(key))? {
            Some(bytes) => decode(&bytes)
                .map_err(|reason| BrokerError::Fatal(format!("state of {} for {key}: {reason}", self.owner)))?,
            None => S::default(),
        };
        let bytes = entry_bytes(key, &state);
        self.bytes += bytes;
        self.cached.insert(key.into(), Entry { state: Stated::clean(state), bytes, used: true });
        Ok(())
    }

    /// The changes since the last commit. A state back at its default is deleted.
    pub(super) fn changes(&self, into: &mut Vec<StateChange>) {
        for key in &self.dirty {
            let state: &S = &self.cached[key].state;
            let value = (*state != S::default()).then(|| encode(state));
            into.push(StateChange { owner: self.owner.clone(), key: self.stored_key(key), value });
        }
    }

    /// The changes are committed.
    pub(super) fn committed(&mut self) {
        for key in self.dirty.drain(..) {
            let entry = self.cached.get_mut(&key).expect("dirty states stay cached");
            entry.state.commit();
            let bytes = entry_bytes(&key, &*entry.state);
            self.bytes = self.bytes + bytes - entry.bytes;
            entry.bytes = bytes;
        }
        self.sweep();
    }

    /// The changes are void.
    pub(super) fn aborted(&mut self) {
        for key in self.dirty.drain(..) {
            if let Some(entry) = self.cached.remove(&key) {
                self.bytes -= entry.bytes;
            }
        }
    }

    /// Second chance: over budget, what was not used since the last sweep goes, down to three quarters of the budget.
    fn sweep(&mut self) {
        let target = self.bytes_max / 4 * 3;
        let mut excess = if self.bytes > self.bytes_max { self.bytes - target } else { return };
        for _round in 0..2 {
            self.cached.retain(|_, entry| {
                let keep = excess == 0 || std::mem::replace(&mut entry.used, false);
                if !keep {
                    self.bytes -= entry.bytes;
                    excess = excess.saturating_sub(entry.bytes);
                }
                keep
            });
        }
    }

    fn stored_key(&self, key: &str) -> Vec<u8> {
        [&self.prefix, key.as_bytes()].concat()
    }
}

fn entry_bytes<S: State>(key: &str, state: &S) -> usize {
    size_of::<(Text, Entry<S>)>() + key.len() + state.heap_bytes()
}

fn encode<S: State>(state: &S) -> Vec<u8> {
    postcard::to_extend(state, vec![S::VERSION]).expect("states encode: plain data, checked for every step by tests")
}

fn decode<S: State>(bytes: &[u8]) -> Result<S, String> {
    match bytes {
        [version, rest @ ..] if *version == S::VERSION => postcard::from_bytes(rest).map_err(|error| error.to_string()),
        [version, ..] => Err(format!("written by encoding {version}, this program reads {}", S::VERSION)),
        [] => Err("empty".into()),
    }
}
