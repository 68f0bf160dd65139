//! The ids a task has seen: exact, in memory, one packed value per commit and day in the committed state.
//!
//! In memory an id takes 22 bytes and a byte of its table, in 38 bytes of slots on the average: 96 bits of the id (of a billion
//! ids two are taken for one with a chance of 1 in 10^11), a 64-bit hash of what was said, and the day it was taken in. The
//! committed state holds runs of (id, hash) under `seen/<day>/<sequence>`; a run smaller than
//! [`RUN_BYTES_MIN`] is open: once enough of them are together they are written again as one, so a slow stream
//! leaves few runs behind. A day that expires drops its runs and its ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use skuflow_processors::{Seen, SeenIds};
use skuflow_schemas::{Day, EventId};

use self::table::{Entry, Table, prefix};
use crate::broker::{BrokerError, StateChange, StateReader};
use crate::limits::{OPEN_RUNS_MAX, RUN_BYTES_MIN};

mod table;

const PREFIX: &[u8] = b"seen/";
const ENTRY_BYTES: usize = 24;

/// The ids of one task.
pub(super) struct SeenTable {
    owner: Arc<str>,
    table: Table,
    days: BTreeMap<u16, Runs>,
    /// Latest day on which anything was taken in; what is expired follows from it.
    latest: u16,
    committed_latest: u16,
    /// Inserted since the last commit.
    fresh: Vec<(u16, EventId, u64)>,
    window_days: u16,
}

/// The committed runs of one day.
#[derive(Default)]
struct Runs {
    next_sequence: u64,
    /// Sequence numbers of the runs that stay as they are.
    sealed: Vec<u64>,
    /// Open runs: their sequence numbers, and all their entries.
    open: Vec<u64>,
    entries: Vec<u8>,
    /// What the commit under way adds.
    pending: Option<Pending>,
}

struct Pending {
    sequence: u64,
    bytes: Vec<u8>,
    merged: bool,
}

impl SeenTable {
    /// Reads the committed ids of `owner`.
    pub(super) fn restore(owner: Arc<str>, committed: &dyn StateReader) -> Result<Self, BrokerError> {
        let mut seen = Self {
            owner,
            table: Table::default(),
            days: BTreeMap::new(),
            latest: 0,
            committed_latest: 0,
            fresh: Vec::new(),
            window_days: u16::MAX, // nothing expires before a step has said how long it remembers
        };
        let runs = committed.scan(PREFIX)?;
        let ids: usize = runs.iter().map(|(_, run)| run.len() / ENTRY_BYTES).sum();
        seen.table.reserve(ids);
        for (key, run) in &runs {
            let (day, sequence) = parse_key(key).ok_or_else(|| damaged(&seen.owner, "a key of a run of ids"))?;
            if run.len() % ENTRY_BYTES != 0 {
                return Err(damaged(&seen.owner, "a run of ids"));
            }
            seen.load(day, sequence, run);
        }
        seen.committed_latest = seen.latest;
        Ok(seen)
    }

    fn load(&mut self, day: u16, sequence: u64, run: &[u8]) {
        self.latest = self.latest.max(day);
        let runs = self.days.entry(day).or_default();
        runs.next_sequence = runs.next_sequence.max(sequence + 1);
        if run.len() < RUN_BYTES_MIN {
            runs.open.push(sequence);
            runs.entries.extend_from_slice(run);
        } else {
            runs.sealed.push(sequence);
        }
        for entry in run.chunks_exact(ENTRY_BYTES) {
            let (id, body) = entry.split_at(16);
            let entry = Entry {
                id: prefix(id.try_into().expect("16 bytes")),
                body: body.try_into().expect("8 bytes"),
                day: day.to_le_bytes(),
            };
            self.table.insert(entry);
        }
    }

    /// Takes over the latest day, where it was committed apart from any id.
    pub(super) fn set_latest(&mut self, latest: u16) {
        self.latest = self.latest.max(latest);
        self.committed_latest = self.latest;
    }

    /// Latest day on which a record was taken in, to be committed with the task's own position in time.
    pub(super) fn latest(&self) -> u16 {
        self.latest
    }

    /// As it was committed.
    pub(super) fn committed_latest(&self) -> u16 {
        self.committed_latest
    }

    /// Ids in the table.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The changes since the last commit: a run per day, merged with its open runs where those are enough, and the runs of
    /// expired days gone.
    pub(super) fn changes(&mut self, into: &mut Vec<StateChange>) {
        let mut by_day: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        for (day, id, body) in &self.fresh {
            let run = by_day.entry(*day).or_default();
            run.extend_from_slice(&id.0);
            run.extend_from_slice(&body.to_le_bytes());
        }
        for (day, bytes) in by_day {
            let runs = self.days.entry(day).or_default();
            let merged = runs.open.len() + 1 > OPEN_RUNS_MAX || runs.entries.len() + bytes.len() >= RUN_BYTES_MIN;
            let bytes = if merged { [runs.entries.as_slice(), &bytes].concat() } else { bytes };
            if merged {
                into.extend(runs.open.iter().map(|sequence| change(&self.owner, day, *sequence, None)));
            }
            let sequence = runs.next_sequence;
            into.push(change(&self.owner, day, sequence, Some(bytes.clone())));
            runs.pending = Some(Pending { sequence, bytes, merged });
        }
        for (day, runs) in self.days.range(..self.first_live()) {
            let live = runs.sealed.iter().chain(&runs.open).copied();
            let fresh = runs.pending.iter().map(|pending| pending.sequence);
            into.extend(live.chain(fresh).map(|sequence| change(&self.owner, *day, sequence, None)));
        }
    }

    /// The changes are committed.
    pub(super) fn committed(&mut self) {
        self.fresh.clear();
        for runs in self.days.values_mut() {
            let Some(pending) = runs.pending.take() else { continue };
            runs.next_sequence = pending.sequence + 1;
            if pending.merged {
                runs.open.clear();
                runs.entries.clear();
            }
            if pending.bytes.len() < RUN_BYTES_MIN {
                runs.open.push(pending.sequence);
                runs.entries.extend_from_slice(&pending.bytes);
            } else {
                runs.sealed.push(pending.sequence);
            }
        }
        self.committed_latest = self.latest;
        let first_live = self.first_live();
        if self.days.keys().next().is_some_and(|day| *day < first_live) {
            self.days = self.days.split_off(&first_live);
            self.table.retain(|entry| u16::from_le_bytes(entry.day) >= first_live);
        }
    }

    /// The changes are void.
    pub(super) fn aborted(&mut self) {
        for (day, id, _) in std::mem::take(&mut self.fresh) {
            let same = |entry: &Entry| entry.id == prefix(&id.0) && entry.day == day.to_le_bytes();
            self.table.remove(prefix(&id.0), same);
        }
        self.days.values_mut().for_each(|runs| runs.pending = None);
        self.days.retain(|_, runs| runs.next_sequence > 0);
        self.latest = self.committed_latest;
    }

    /// Days before this one are expired.
    fn first_live(&self) -> u16 {
        self.latest.saturating_sub(self.window_days)
    }
}

impl SeenIds for SeenTable {
    fn insert(&mut self, taken_in: Day, window_days: u16, id: EventId, body: u64) -> Seen {
        let day = u16::try_from(taken_in.0.max(0)).unwrap_or(u16::MAX);
        self.window_days = window_days;
        self.latest = self.latest.max(day);
        let first_live = self.first_live();
        let live = |entry: &Entry| entry.id == prefix(&id.0) && u16::from_le_bytes(entry.day) >= first_live;
        if let Some(entry) = self.table.find(prefix(&id.0), live) {
            return if entry.body == body.to_le_bytes() { Seen::Same } else { Seen::Different };
        }
        let entry = Entry { id: prefix(&id.0), body: body.to_le_bytes(), day: day.to_le_bytes() };
        self.table.insert(entry);
        self.fresh.push((day, id, body));
        Seen::New
    }
}

fn change(owner: &Arc<str>, day: u16, sequence: u64, value: Option<Vec<u8>>) -> StateChange {
    let key = [PREFIX, &day.to_be_bytes(), &sequence.to_be_bytes()].concat();
    StateChange { owner: owner.clone(), key, value }
}

fn parse_key(key: &[u8]) -> Option<(u16, u64)> {
    let (day, sequence) = key.strip_prefix(PREFIX)?.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*day), u64::from_be_bytes(sequence.try_into().ok()?)))
}

fn damaged(owner: &str, what: &str) -> BrokerError {
    BrokerError::Fatal(format!("state of {owner}: {what} does not decode"))
}

#[cfg(test)]
#[path = "seen/tests.rs"]
mod tests;
