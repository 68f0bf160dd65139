//! What a station measures of itself: plain atomics that are added to once per transaction, and read whenever somebody
//! asks. Nothing here knows how, or whether, the figures are shown.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds of the time that a transaction takes to commit, in microseconds: 1 ms to 10 s.
pub const COMMIT_MICROS: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
/// Bounds of the time that a worker waits for partitions, in microseconds: 10 ms to 5 min.
pub const PAUSE_MICROS: &[u64] = &[
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
/// Bounds of the records in a transaction, a page or a batch.
pub const BATCH_RECORDS: &[u64] = &[1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000];
/// Bounds of the bytes in a batch: 1 KiB to 64 MiB.
pub const BATCH_BYTES: &[u64] = &[1 << 10, 16 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];

/// How often which values were met.
pub struct Distribution {
    bounds: &'static [u64],
    /// Values up to each bound, and one more for what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Distribution {
    /// An empty one; `bounds` ascend.
    pub fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.is_sorted());
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Adds a value.
    pub fn add(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Each bound, and how many values were at most that.
    pub fn up_to(&self) -> Vec<(u64, u64)> {
        let mut total = 0;
        let counts = self.bounds.iter().zip(&self.counts);
        counts
            .map(|(bound, count)| {
                total += count.load(Ordering::Relaxed);
                (*bound, total)
            })
            .collect()
    }

    /// How many values were added.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// What they come to.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// How a station, or one thread of it, is at present.
///
/// ```text
///   Starting ──begun──▶ Well ──failed──▶ Trouble(why) ──is_well──▶ Well
///       └──────────────failed────────────────▲
/// ```
#[derive(Default)]
pub struct Condition {
    state: Mutex<State>,
    failures: AtomicU64,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    Starting,
    Well,
    Trouble(String),
}

impl Condition {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// It has what it needs to work. What failed before is not forgotten by that.
    pub fn begun(&self) {
        let mut state = self.state();
        if matches!(*state, State::Starting) {
            *state = State::Well;
        }
    }

    /// Nothing that was tried is left undone.
    pub fn is_well(&self) {
        *self.state() = State::Well;
    }

    /// Notes a try that failed; whether those before it had failed as well.
    pub fn failed(&self, reason: String) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        matches!(std::mem::replace(&mut *self.state(), State::Trouble(reason)), State::Trouble(_))
    }

    /// Why it does not get on, if it does not.
    pub fn trouble(&self) -> Option<String> {
        match self.state().clone() {
            State::Trouble(reason) => Some(reason),
            State::Starting | State::Well => None,
        }
    }

    /// Why it is not ready, if it is not: it has not begun yet, or is in trouble.
    pub fn unready(&self) -> Option<String> {
        match self.state().clone() {
            State::Starting => Some("has not begun yet".into()),
            State::Trouble(reason) => Some(reason),
            State::Well => None,
        }
    }

    /// Tries that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_up_to_the_first_bound_that_holds_it() {
        let distribution = Distribution::new(&[10, 100]);
        for value in [0, 10, 11, 100, 101] {
            distribution.add(value);
        }
        assert_eq!(distribution.up_to(), [(10, 2), (100, 4)]);
        assert_eq!((distribution.count(), distribution.sum()), (5, 222));
    }

    #[test]
    fn trouble_lasts_until_nothing_is_left_undone() {
        let condition = Condition::default();
        assert!(condition.unready().is_some() && condition.trouble().is_none());
        assert!(!condition.failed("full".into()) && condition.failed("still full".into()));
        condition.begun();
        assert_eq!(condition.unready().as_deref(), Some("still full"), "beginning again is not success");
        condition.is_well();
        assert_eq!((condition.unready(), condition.failures()), (None, 2));
        assert!(!condition.failed("again".into()), "the first of a new row");
    }
}
