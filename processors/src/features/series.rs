//! What was said over time: statements in the order of the moments they are about, in whichever order they were heard.

use serde::{Deserialize, Serialize};
use skuflow_schemas::Timestamp;

use crate::OBSERVATIONS_PER_OFFER_MAX;

/// Statements, each with its moment, the earliest first. Of two about one moment the one heard later counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Series<T>(Vec<(Timestamp, T)>);

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Series<T> {
    /// Takes a statement about the moment `at`.
    pub(super) fn put(&mut self, at: Timestamp, said: T) {
        let place = self.0.partition_point(|(moment, _)| *moment < at);
        match self.0.get_mut(place) {
            Some(known) if known.0 == at => known.1 = said,
            _ => {
                self.0.insert(place, (at, said));
                if self.0.len() > OBSERVATIONS_PER_OFFER_MAX {
                    self.0.remove(0);
                }
            }
        }
    }

    /// The last statement at `moment`.
    pub(super) fn at(&self, moment: Timestamp) -> Option<&(Timestamp, T)> {
        self.0[..self.0.partition_point(|(at, _)| *at <= moment)].last()
    }

    /// The last statement of all.
    pub(super) fn last(&self) -> Option<&(Timestamp, T)> {
        self.0.last()
    }

    /// Forgets what says nothing about `from` and later, where a statement stands for `active` microseconds.
    pub(super) fn prune(&mut self, from: Timestamp, active: i64) {
        let before = self.0.partition_point(|(at, _)| *at <= from);
        let first = before.saturating_sub(1); // the last before it still stands then
        let is_over = self.0.get(first).is_some_and(|(at, _)| from.micros_since(*at) >= active);
        self.0.drain(..if is_over { before } else { first });
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The moments between `from` and `to` at which a statement begins or ends.
    pub(super) fn turns(&self, from: Timestamp, to: Timestamp, active: i64, into: &mut Vec<Timestamp>) {
        let moments = self.0.iter().flat_map(|(at, _)| [*at, at.plus_micros(active)]);
        into.extend(moments.filter(|moment| *moment > from && *moment < to));
    }
}
