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
    /// Names of the steps, by their place: timers are stored by name, because a chain may change.
    steps: Vec<&'static str>,
    set: BTreeSet<Timer>,
    /// What the open transaction added and took away, to undo it.
    changed: Vec<(Timer, bool)>,
}

impl Timers {
    /// Reads the committed timers of `owner`. Those of steps that are not among `steps` stay stored, for when they are.
    pub(super) fn restore(
        owner: Arc<str>,
        steps: Vec<&'static str>,
        committed: &dyn StateReader,
    ) -> Result<Self, BrokerError> {
        let mut set = BTreeSet::new();
        for (key, _) in committed.scan(PREFIX)? {
            let Some((due, name, key)) = parse(&key) else {
                return Err(BrokerError::Fatal(format!("state of {owner}: a timer does not decode")));
            };
            if let Some(step) = steps.iter().position(|step| *step == name) {
                set.insert(Timer { due, step: step as u8, key });
            }
        }
        Ok(Self { owner, steps, set, changed: Vec::new() })
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// Adds a timer; a no-op where it is set already.
    pub(super) fn add(&mut self, timer: Timer) {
        if self.set.insert(timer.clone()) {
            self.changed.push((timer, true));
        }
    }

    /// When the first of them is due.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.set.first().map(|timer| timer.due)
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
            into.push(StateChange {
                owner: self.owner.clone(),
                key: stored_key(timer, self.steps[usize::from(timer.step)]),
                value,
            });
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

/// Keys sort by when timers are due; the sign bit is flipped so that moments before 1970 come first.
fn stored_key(timer: &Timer, step: &str) -> Vec<u8> {
    let due = (timer.due.micros() as u64) ^ (1 << 63);
    [PREFIX, &due.to_be_bytes(), &[step.len() as u8], step.as_bytes(), timer.key.as_bytes()].concat()
}

/// When, of which step, and for which key.
fn parse(stored: &[u8]) -> Option<(Timestamp, &str, Text)> {
    let (due, rest) = stored.strip_prefix(PREFIX)?.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (step, key) = rest.split_at_checked(usize::from(*length))?;
    let due = Timestamp::from_micros((u64::from_be_bytes(*due) ^ (1 << 63)) as i64);
    Some((due, std::str::from_utf8(step).ok()?, Text::from(std::str::from_utf8(key).ok()?)))
}
