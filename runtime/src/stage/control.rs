//! What the threads of a run share: whether to stop, which topics are complete, what was counted.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use skuflow_schemas::{Event, Outcome, Text};

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

/// What a station has committed in this run.
#[derive(Default)]
pub struct Tally {
    outcomes: Mutex<BTreeMap<(Outcome, Text), u64>>,
    records: AtomicU64,
    commits: AtomicU64,
    rejoins: AtomicU64,
}

impl Tally {
    /// Adds a committed transaction: records consumed and quality events published.
    pub fn committed(&self, records: u64, counted: &[Event]) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        let mut outcomes = self.outcomes.lock().expect("no holder panics");
        for event in counted {
            if let Event::Quality(quality) = event {
                let cell = outcomes.entry((quality.outcome, quality.rule.clone())).or_default();
                *cell += quality.count.unsigned_abs();
            }
        }
    }

    /// Notes that a worker lost its place and began anew from what is committed.
    pub fn rejoined(&self) {
        self.rejoins.fetch_add(1, Ordering::Relaxed);
    }

    /// Records consumed.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Transactions committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// How often a worker began anew.
    pub fn rejoins(&self) -> u64 {
        self.rejoins.load(Ordering::Relaxed)
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
