//! What the threads of a run share: whether to stop, which topics are complete, what was counted.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skuflow_schemas::{Event, Outcome, Text};

use crate::measure::{COMMIT_MICROS, Condition, Distribution, PAUSE_MICROS};

/// Shared by all threads of a run.
#[derive(Default)]
pub struct Control {
    stop: AtomicBool,
    /// Connectors take in nothing more at present.
    intake_paused: AtomicBool,
    /// `run --once`: end when all that is there is processed.
    once: bool,
    /// Topics that get no more records in this run; of use only with `once`.
    complete: Mutex<HashSet<Arc<str>>>,
}

impl Control {
    /// A run that goes on until it is stopped, or, with `once`, until everything there is is processed.
    pub fn new(once: bool) -> Self {
        Self { once, ..Self::default() }
    }

    /// Asks everyone to commit what is done and stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Lets connectors pause, or go on.
    pub fn pause_intake(&self, paused: bool) {
        self.intake_paused.store(paused, Ordering::Relaxed);
    }

    /// Whether connectors pause.
    pub fn is_intake_paused(&self) -> bool {
        self.intake_paused.load(Ordering::Relaxed)
    }

    /// Whether the run ends by itself.
    pub fn is_once(&self) -> bool {
        self.once
    }

    /// Says that nobody writes to `topic` any more in this run.
    pub fn complete(&self, topic: &Arc<str>) {
        self.complete.lock().expect("no holder panics").insert(topic.clone());
    }

    /// Whether nobody writes to `topic` any more. Ask before looking where it ends.
    pub fn is_complete(&self, topic: &str) -> bool {
        self.once && self.complete.lock().expect("no holder panics").contains(topic)
    }
}

/// A transaction that was committed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Committed {
    /// Records consumed.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records sent, dead letters and counts among them.
    pub sent_records: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// How long it took to prepare and to commit it.
    pub took: Duration,
}

/// What the tasks of a worker hold in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Keys whose states are cached.
    pub keys: u64,
    /// Bytes of those, roughly.
    pub bytes: u64,
    /// Ids that are remembered.
    pub ids: u64,
    /// Timers that are set.
    pub timers: u64,
}

impl Held {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            bytes: self.bytes + other.bytes,
            ids: self.ids + other.ids,
            timers: self.timers + other.timers,
        }
    }
}

/// One worker of a stage, as the others see it.
#[derive(Default)]
pub struct Seat {
    /// How it does.
    pub condition: Condition,
    held: Mutex<Held>,
    /// There is nothing left for it to do, nor to come.
    is_finished: AtomicBool,
    /// When it was last heard of, while it works.
    heard: Mutex<Option<Instant>>,
}

/// A worker works, until this is dropped.
pub(super) struct Speaks<'a>(&'a Seat);

impl Drop for Speaks<'_> {
    fn drop(&mut self) {
        *self.0.heard.lock().expect("no holder panics") = None;
    }
}

impl Seat {
    /// Says whether anything is left for it to do.
    pub fn is_finished(&self, finished: bool) {
        self.is_finished.store(finished, Ordering::Relaxed);
    }

    /// It works from now on, and says again and again that it does.
    pub(super) fn speaks(&self) -> Speaks<'_> {
        self.is_heard();
        Speaks(self)
    }

    /// It has come back from whatever it called.
    pub(super) fn is_heard(&self) {
        *self.heard.lock().expect("no holder panics") = Some(Instant::now());
    }

    /// Says what its tasks hold.
    pub fn holds(&self, held: Held) {
        *self.held.lock().expect("no holder panics") = held;
    }
}

/// What a stage has committed in this run, and how its workers do.
pub struct Tally {
    outcomes: Mutex<BTreeMap<(Outcome, Text), u64>>,
    records: AtomicU64,
    bytes: AtomicU64,
    sent_records: AtomicU64,
    sent_bytes: AtomicU64,
    commits: Distribution,
    pauses: Distribution,
    seats: Mutex<BTreeMap<u32, Arc<Seat>>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            outcomes: Mutex::default(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sent_records: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            commits: Distribution::new(COMMIT_MICROS),
            pauses: Distribution::new(PAUSE_MICROS),
            seats: Mutex::default(),
        }
    }
}

impl Tally {
    /// The seat of the worker with this number, which is expected to take it from now on.
    pub fn seat(&self, index: u32) -> Arc<Seat> {
        self.seats.lock().expect("no holder panics").entry(index).or_default().clone()
    }

    /// Whether `count` workers are there, and none has anything left to do.
    pub fn are_finished(&self, count: u32) -> bool {
        let seats = self.seats();
        seats.len() >= count as usize && seats.iter().all(|seat| seat.is_finished.load(Ordering::Relaxed))
    }

    fn seats(&self) -> Vec<Arc<Seat>> {
        self.seats.lock().expect("no holder panics").values().cloned().collect()
    }

    /// Adds a committed transaction and the quality events published in it.
    pub fn committed(&self, done: Committed, counted: &[Event]) {
        self.records.fetch_add(done.records, Ordering::Relaxed);
        self.bytes.fetch_add(done.bytes, Ordering::Relaxed);
        self.sent_records.fetch_add(done.sent_records, Ordering::Relaxed);
        self.sent_bytes.fetch_add(done.sent_bytes, Ordering::Relaxed);
        self.commits.add(done.took.as_micros() as u64);
        let mut outcomes = self.outcomes.lock().expect("no holder panics");
        for event in counted {
            if let Event::Quality(quality) = event {
                let cell = outcomes.entry((quality.outcome, quality.rule.clone())).or_default();
                *cell += quality.count.unsigned_abs();
            }
        }
    }

    /// Records consumed.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes consumed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records sent, dead letters and counts among them.
    pub fn sent_records(&self) -> u64 {
        self.sent_records.load(Ordering::Relaxed)
    }

    /// Bytes sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Transactions committed.
    pub fn commits(&self) -> u64 {
        self.commits.count()
    }

    /// How long commits took, in microseconds.
    pub fn commit_micros(&self) -> &Distribution {
        &self.commits
    }

    /// A worker had no partitions for this long, from the start or from when they were revoked, until new ones were restored.
    pub(super) fn waited_for_partitions(&self, took: Duration) {
        self.pauses.add(took.as_micros() as u64);
    }

    /// How long workers had no partitions, in microseconds, each time.
    pub fn pause_micros(&self) -> &Distribution {
        &self.pauses
    }

    /// How long ago the worker was heard of that has been silent for the longest.
    pub fn silence(&self) -> Duration {
        let seats = self.seats();
        let heard = seats.iter().filter_map(|seat| *seat.heard.lock().expect("no holder panics"));
        heard.min().map_or(Duration::ZERO, |heard| heard.elapsed())
    }

    /// How often a worker had to begin anew from what is committed.
    pub fn failures(&self) -> u64 {
        self.seats().iter().map(|seat| seat.condition.failures()).sum()
    }

    /// Why one of the workers is not ready, if one is not.
    pub fn unready(&self) -> Option<String> {
        self.seats().iter().find_map(|seat| seat.condition.unready())
    }

    /// What all tasks hold in memory.
    pub fn held(&self) -> Held {
        self.seats().iter().fold(Held::default(), |sum, seat| {
            let held = *seat.held.lock().expect("no holder panics");
            sum.plus(held)
        })
    }

    /// Records with this outcome, under all rules.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        let outcomes = self.outcomes.lock().expect("no holder panics");
        outcomes.iter().filter(|((found, _), _)| *found == outcome).map(|(_, count)| count).sum()
    }

    /// Records with this outcome, by rule.
    pub fn by_rule(&self, outcome: Outcome) -> BTreeMap<Text, u64> {
        let outcomes = self.outcomes.lock().expect("no holder panics");
        let found = outcomes.iter().filter(|((found, _), _)| *found == outcome);
        found.map(|((_, rule), count)| (rule.clone(), *count)).collect()
    }
}
