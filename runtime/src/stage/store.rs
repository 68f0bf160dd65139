//! State per key: decoded objects in memory over the committed bytes.
//!
//! ```text
//!   steps ─▶ cache of decoded states ──miss──▶ committed state of the task (broker)
//!              │ dirty since the last commit
//!              └─▶ encoded once per commit and key, all steps together ─▶ part of the transaction
//!   rows ───▶ written blindly beside them, read from the open transaction or the committed state
//! ```
//! An abort evicts what was touched; it is read again as it was committed.

use std::any::Any;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use skuflow_processors::{State, Stated, codec};
use skuflow_schemas::Text;

use super::chain::Step;
use crate::broker::{BrokerError, StateChange, StateReader};

const STATE: &[u8] = b"state/";
const ROW: &[u8] = b"row/";

/// One step's state of one key, whatever its type.
pub trait KeyState: Any + Send {
    /// Whether it was written to since it was committed.
    fn is_dirty(&self) -> bool;
    /// Marks it as committed.
    fn commit(&mut self);
    /// Bytes it takes in memory, roughly.
    fn bytes(&self) -> usize;
    /// Appends version and value; nothing for a state that is as new.
    fn encode(&self, into: &mut Vec<u8>);
    /// Itself, to be brought back to its type.
    fn any(&mut self) -> &mut dyn Any;
}

impl<S: State> KeyState for Stated<S> {
    fn is_dirty(&self) -> bool {
        self.is_dirty()
    }

    fn commit(&mut self) {
        self.commit();
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.heap_bytes()
    }

    fn encode(&self, into: &mut Vec<u8>) {
        let state: &S = self;
        if *state == S::default() {
            return;
        }
        into.push(S::VERSION);
        codec::encode(state, into);
    }

    fn any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Reads what [`KeyState::encode`] wrote.
pub(super) fn decode<S: State>(bytes: &[u8]) -> Result<Stated<S>, String> {
    match bytes {
        [] => Ok(Stated::clean(S::default())),
        [version, rest @ ..] if *version == S::VERSION => codec::decode(rest).map(Stated::clean).map_err(str::to_owned),
        [version, ..] => Err(format!("written by encoding {version}, this program reads {}", S::VERSION)),
    }
}

/// The states of one key, one per step.
struct Entry {
    states: Box<[Box<dyn KeyState>]>,
    /// Parts of steps that the chain does not have at present, as they are stored: they may come back.
    others: Vec<u8>,
    /// Rows written since the last commit.
    rows: Vec<Row>,
    is_dirty: bool,
    /// Roughly what the entry takes.
    bytes: usize,
    /// Used since the cache was last swept.
    used: bool,
}

/// A row as the open transaction has it.
struct Row {
    step: u8,
    number: u64,
    value: Option<Vec<u8>>,
}

/// State of the steps of one task, all keys.
pub(super) struct Store {
    owner: Arc<str>,
    steps: Vec<Arc<dyn Step>>,
    cached: HashMap<Text, Entry>,
    /// Keys written to since the last commit, in the order they were first written.
    dirty: Vec<Text>,
    /// How many of these the commit under way has taken.
    taken: usize,
    bytes: usize,
    bytes_max: usize,
    /// Where states are encoded, so that what is kept of them is as large as it has to be.
    buffer: Vec<u8>,
}

impl Store {
    /// The store of `steps` of the task `owner`, whose cache takes about `bytes_max`.
    pub(super) fn new(owner: Arc<str>, steps: &[Arc<dyn Step>], bytes_max: usize) -> Self {
        Self {
            owner,
            steps: steps.to_vec(),
            cached: HashMap::new(),
            dirty: Vec::new(),
            taken: 0,
            bytes: 0,
            bytes_max,
            buffer: Vec::new(),
        }
    }

    /// Lets `work` use the states of `key` and the rows, and remembers whether it wrote to any.
    pub(super) fn with<R>(
        &mut self,
        key: &str,
        committed: &dyn StateReader,
        work: impl FnOnce(&mut [Box<dyn KeyState>], &mut RowsOf<'_>) -> R,
    ) -> Result<R, BrokerError> {
        let entry = match self.cached.entry_ref(key) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(place) => {
                let entry = load(&self.owner, &self.steps, key, committed)?;
                self.bytes += entry.bytes;
                place.insert_with_key(key.into(), entry)
            }
        };
        entry.used = true;
        let mut rows =
            RowsOf { owner: &self.owner, steps: &self.steps, key, rows: &mut entry.rows, committed, failed: None };
        let result = work(&mut entry.states, &mut rows);
        if let Some(error) = rows.failed {
            return Err(error);
        }
        if !entry.is_dirty && (!entry.rows.is_empty() || entry.states.iter().any(|state| state.is_dirty())) {
            entry.is_dirty = true;
            self.dirty.push(key.into());
        }
        Ok(result)
    }

    /// The changes since the last commit; to be called once for each. States that are all as new are deleted. What is taken
    /// here is clean from now on: where it is not committed, it is evicted.
    pub(super) fn changes(&mut self, into: &mut Vec<StateChange>) {
        let change = |key, value| StateChange { owner: self.owner.clone(), key, value };
        for key in &self.dirty {
            let entry = self.cached.get_mut(key).expect("dirty states stay cached");
            if entry.states.iter().any(|state| state.is_dirty()) {
                into.push(change(stored_key(key), encode(&self.steps, &entry.states, &entry.others, &mut self.buffer)));
                entry.states.iter_mut().for_each(|state| state.commit());
            }
            let rows = entry.rows.drain(..);
            into.extend(rows.map(|row| change(row_key(&self.steps, row.step, key, row.number), row.value)));
            entry.is_dirty = false;
            let bytes = entry_bytes(key, &entry.states);
            self.bytes = self.bytes + bytes - entry.bytes;
            entry.bytes = bytes;
        }
        self.taken = self.dirty.len();
    }

    /// The changes that were taken are committed.
    pub(super) fn committed(&mut self) {
        self.dirty.drain(..std::mem::take(&mut self.taken));
        self.sweep();
    }

    /// The changes are void.
    pub(super) fn aborted(&mut self) {
        self.taken = 0;
        for key in self.dirty.drain(..) {
            if let Some(entry) = self.cached.remove(&key) {
                self.bytes -= entry.bytes;
            }
        }
    }

    /// Keys whose states are cached, and their bytes, roughly.
    pub(super) fn cached(&self) -> (usize, usize) {
        (self.cached.len(), self.bytes)
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
}

fn load(owner: &str, steps: &[Arc<dyn Step>], key: &str, committed: &dyn StateReader) -> Result<Entry, BrokerError> {
    let fatal = |what: &str| BrokerError::Fatal(format!("state of {owner}, {key}: {what}"));
    let stored = committed.get(&stored_key(key))?.unwrap_or_default();
    let parts = parts(&stored).ok_or_else(|| fatal("its parts do not decode"))?;
    let state = |step: &Arc<dyn Step>| {
        let part = parts.iter().find(|part| part.step == step.name().as_bytes());
        step.decode(part.map_or(&[], |part| part.state)).map_err(|reason| fatal(&format!("{}: {reason}", step.name())))
    };
    let states: Box<[_]> = steps.iter().map(state).collect::<Result<_, _>>()?;
    let is_other = |part: &&Part<'_>| steps.iter().all(|step| step.name().as_bytes() != part.step);
    let others: Vec<u8> = parts.iter().filter(is_other).flat_map(|part| part.whole).copied().collect();
    let bytes = entry_bytes(key, &states);
    Ok(Entry { states, others, rows: Vec::new(), is_dirty: false, bytes, used: true })
}

fn entry_bytes(key: &str, states: &[Box<dyn KeyState>]) -> usize {
    size_of::<(Text, Entry)>()
        + key.len()
        + states.iter().map(|state| size_of_val(state) + state.bytes()).sum::<usize>()
}

fn stored_key(key: &str) -> Vec<u8> {
    [STATE, key.as_bytes()].concat()
}

/// A key's stored value is a part per step that has anything to keep: length and name, length and state.
fn encode(
    steps: &[Arc<dyn Step>],
    states: &[Box<dyn KeyState>],
    others: &[u8],
    value: &mut Vec<u8>,
) -> Option<Vec<u8>> {
    value.clear();
    value.extend_from_slice(others);
    for (step, state) in steps.iter().zip(states) {
        let start = value.len();
        value.push(step.name().len() as u8);
        value.extend_from_slice(step.name().as_bytes());
        let length = value.len();
        value.extend_from_slice(&[0; 4]);
        state.encode(value);
        let bytes = (value.len() - length - 4) as u32;
        if bytes == 0 {
            value.truncate(start);
        } else {
            value[length..length + 4].copy_from_slice(&bytes.to_le_bytes());
        }
    }
    (!value.is_empty()).then(|| value.as_slice().into())
}

/// What a step keeps of a key.
struct Part<'a> {
    step: &'a [u8],
    state: &'a [u8],
    /// The part as it is stored, name and lengths included.
    whole: &'a [u8],
}

/// The parts of what [`encode`] wrote; `None` where it is damaged.
fn parts(mut value: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = value.split_first() {
        let (step, rest) = rest.split_at_checked(usize::from(*length))?;
        let (bytes, rest) = rest.split_first_chunk()?;
        let (state, rest) = rest.split_at_checked(u32::from_le_bytes(*bytes) as usize)?;
        parts.push(Part { step, state, whole: &value[..value.len() - rest.len()] });
        value = rest;
    }
    Some(parts)
}

/// The rows of a key, as the open transaction sees them.
pub(super) struct RowsOf<'a> {
    owner: &'a str,
    steps: &'a [Arc<dyn Step>],
    key: &'a str,
    /// A handful: as many as were written since the last commit.
    rows: &'a mut Vec<Row>,
    committed: &'a dyn StateReader,
    failed: Option<BrokerError>,
}

impl RowsOf<'_> {
    fn find(&self, step: u8, number: u64) -> Option<usize> {
        self.rows.iter().position(|row| row.number == number && row.step == step)
    }

    fn entry(&mut self, step: u8, number: u64) -> &mut Option<Vec<u8>> {
        let at = self.find(step, number).unwrap_or_else(|| {
            self.rows.push(Row { step, number, value: None });
            self.rows.len() - 1
        });
        &mut self.rows[at].value
    }

    /// A failure to read is kept and ends the work on the record.
    pub(super) fn edit(&mut self, step: u8, number: u64) -> &mut Vec<u8> {
        let at = self.find(step, number).unwrap_or_else(|| {
            let value = self.get(step, number);
            self.rows.push(Row { step, number, value });
            self.rows.len() - 1
        });
        self.rows[at].value.get_or_insert_default()
    }

    pub(super) fn put(&mut self, step: u8, number: u64) -> &mut Vec<u8> {
        let value = self.entry(step, number).get_or_insert_default();
        value.clear();
        value
    }

    pub(super) fn remove(&mut self, step: u8, number: u64) {
        *self.entry(step, number) = None;
    }

    /// See [`Self::edit`] on failures.
    pub(super) fn get(&mut self, step: u8, number: u64) -> Option<Vec<u8>> {
        if let Some(at) = self.find(step, number) {
            return self.rows[at].value.clone();
        }
        self.committed.get(&row_key(self.steps, step, self.key, number)).unwrap_or_else(|error| {
            self.failed = Some(error);
            None
        })
    }

    /// Ends the work on the record, and the task.
    pub(super) fn refuse(&mut self, step: u8, number: u64, reason: &str) {
        let (owner, key, step) = (self.owner, self.key, self.steps[usize::from(step)].name());
        self.failed = Some(BrokerError::Fatal(format!(
            "state of {owner}, {key}: {step}: what is kept as row {number:x} does not decode: {reason}; a later version of \
             skuflow may have written it: run that one, or begin anew with another name of the stage"
        )));
    }
}

fn row_key(steps: &[Arc<dyn Step>], step: u8, key: &str, number: u64) -> Vec<u8> {
    [ROW, steps[usize::from(step)].name().as_bytes(), b"/", key.as_bytes(), b"\0", &number.to_be_bytes()].concat()
}
