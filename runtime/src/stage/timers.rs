//! Wishes to be woken at a moment of stream time, kept with the task's state.

use std::collections::BTreeSet;
use std::sync::Arc;

use skuflow_processors::Timer;
use skuflow_schemas::{Text, Timestamp};

use crate::broker::{BrokerError, StateChange, StateReader};

const PREFIX: &[u8] = b"timer/";

/// The timers of one task, in the order they fire.
pub(super) struct Timers {
    owner: Arc<str>,
    set: BTreeSet<Timer>,
    /// What the open transaction added and took away, to undo it.
    changed: Vec<(Timer, bool)>,
}

impl Timers {
    /// Reads the committed timers of `owner`.
    pub(super) fn restore(owner: Arc<str>, committed: &dyn StateReader) -> Result<Self, BrokerError> {
        let stored = committed.scan(PREFIX)?;
        let set: Option<BTreeSet<Timer>> = stored.iter().map(|(key, _)| parse(key)).collect();
        let set = set.ok_or_else(|| BrokerError::Fatal(format!("state of {owner}: a timer does not decode")))?;
        Ok(Self { owner, set, changed: Vec::new() })
    }

    /// Adds a timer; a no-op where it is set already.
    pub(super) fn add(&mut self, timer: Timer) {
        if self.set.insert(timer.clone()) {
            self.changed.push((timer, true));
        }
    }

    /// Takes out the first timer that is due at `now`.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.set.first()?.due > now {
            return None;
        }
        let timer = self.set.pop_first()?;
        self.changed.push((timer.clone(), false));
        Some(timer)
    }

    /// The changes since the last commit; a timer that came and went leaves none.
    pub(super) fn changes(&self, into: &mut Vec<StateChange>) {
        let touched: BTreeSet<&Timer> = self.changed.iter().map(|(timer, _)| timer).collect();
        for timer in touched {
            let value = self.set.contains(timer).then(Vec::new);
            into.push(StateChange { owner: self.owner.clone(), key: stored_key(timer), value });
        }
    }

    /// The changes are committed.
    pub(super) fn committed(&mut self) {
        self.changed.clear();
    }

    /// The changes are void.
    pub(super) fn aborted(&mut self) {
        for (timer, added) in self.changed.drain(..).rev() {
            if added {
                self.set.remove(&timer);
            } else {
                self.set.insert(timer);
            }
        }
    }
}

/// Keys sort as timers fire; the sign bit is flipped so that moments before 1970 come first.
fn stored_key(timer: &Timer) -> Vec<u8> {
    let due = (timer.due.micros() as u64) ^ (1 << 63);
    [PREFIX, &due.to_be_bytes(), &[timer.step], timer.key.as_bytes()].concat()
}

fn parse(key: &[u8]) -> Option<Timer> {
    let (due, rest) = key.strip_prefix(PREFIX)?.split_first_chunk::<8>()?;
    let (step, key) = rest.split_first()?;
    let due = Timestamp::from_micros((u64::from_be_bytes(*due) ^ (1 << 63)) as i64);
    Some(Timer { due, step: *step, key: Text::from(std::str::from_utf8(key).ok()?) })
}
