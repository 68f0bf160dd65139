//! Upkeep: what happens to the tables beside landing, so that they stay small, fast and right.
//!
//! ```text
//!   compact ─ small files of a day that is over ─▶ merge: one sorted file ─▶ commit `replace` ┐
//!   expire ── rows that are old enough to go ────────────────────────────▶ commit `delete`  ├─▶ snapshots expire ─▶ ledger
//!                                                                                            ┘                       │
//!   gc ────── what the ledger names, and no snapshot reaches ◀── after the grace period ─────────────────────────────┘
//!   fsck ──── compares all of it, changes nothing
//! ```
//!
//! Each change is a commit as those of the sinks are: the swap of the pointer decides, whoever else is at work. The lease only
//! spares two of them the same work. A file is removed when what put it out of reach is older than the grace period, so that
//! a reader that found it before can read to its end.

mod compact;
mod expire;
mod files;
mod fsck;
mod gc;
mod lease;
mod merge;
mod plan;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::Serialize;
use skuflow_runtime::clock::Clock;
use uuid::Uuid;

pub(super) use files::has_deletes;
pub use fsck::Difference;

use super::commit::Open;
use super::config::Upkeep as Settings;
use super::place::Place;
use super::steps::{Hook, Step, Steps};
use super::storage::fault;
use super::tables::Table;
use crate::SinkError;
use lease::Lease;

/// Something that was done, or with a dry run would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// The table's full name.
    pub table: &'static str,
    /// `compact`, `delete rows`, `expire snapshots`, `give up commits` (which have been on their way for too long), `remove files`.
    pub what: &'static str,
    /// The part of the table, where it concerns one.
    pub part: String,
    /// Files, snapshots or commits.
    pub count: u64,
    /// Rows in these files.
    pub rows: u64,
    /// Bytes of these files.
    pub bytes: u64,
}

/// What upkeep has come to in this run, by table.
#[derive(Debug, Default)]
pub struct Tended {
    /// Data files of the table, and their bytes.
    pub files: AtomicU64,
    /// Bytes of these.
    pub bytes: AtomicU64,
    /// Files that were put together with others.
    pub compacted_files: AtomicU64,
    /// Files that were removed from storage.
    pub removed_files: AtomicU64,
    /// Bytes of these.
    pub removed_bytes: AtomicU64,
    /// Rounds that failed.
    pub failures: AtomicU64,
    /// When the last round ended, microseconds; 0 before the first.
    pub last_round: AtomicI64,
}

impl Tended {
    fn count(&self, deeds: &[Deed]) {
        for deed in deeds {
            match deed.what {
                "compact" => drop(self.compacted_files.fetch_add(deed.count, Ordering::Relaxed)),
                "remove files" => {
                    self.removed_files.fetch_add(deed.count, Ordering::Relaxed);
                    self.removed_bytes.fetch_add(deed.bytes, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }
}

/// Tends a table of a lake.
pub struct Upkeep {
    /// Who does it, in snapshots and leases.
    name: String,
    place: Place,
    table: &'static Table,
    settings: Settings,
    clock: Clock,
    is_dry: bool,
    steps: Steps,
    /// The turn that a round has.
    lease: Option<Lease>,
}

impl Upkeep {
    /// For `table` of the lake at `place`, as the sink called `name` fills it. Nothing is opened before it is needed.
    pub fn new(name: &str, place: Place, table: &'static Table, settings: Settings, clock: Clock) -> Self {
        let (is_dry, steps, lease) = (false, Steps::default(), None);
        Self { name: name.into(), place, table, settings, clock, is_dry, steps, lease }
    }

    /// Only says what would happen.
    #[must_use]
    pub fn dry(self) -> Self {
        Self { is_dry: true, ..self }
    }

    /// Calls `hook` at each step of each commit.
    pub fn set_hook(&mut self, hook: Hook) {
        self.steps = Steps(Some(hook));
    }

    /// A round: puts files together, lets rows and snapshots go, removes files. `None` where another is at it.
    ///
    /// # Errors
    /// `Retry` and `Fenced` may pass, `Fatal` will not.
    pub async fn round(&mut self, tended: &Tended) -> Result<Option<Vec<Deed>>, SinkError> {
        let Some(open) = self.open().await? else { return Ok(Some(Vec::new())) };
        let holder = format!("{} {}", self.name, Uuid::new_v4());
        self.lease = Lease::take(&open.files, self.table, &holder, self.now()).await?;
        if self.lease.is_none() {
            return Ok(None);
        }
        let deeds = self.turn().await;
        if let Some(lease) = self.lease.take() {
            lease.release(&open.files).await;
        }
        let deeds = deeds?;
        tended.count(&deeds);
        let (files, bytes) = self.size().await?;
        tended.files.store(files, Ordering::Relaxed);
        tended.bytes.store(bytes, Ordering::Relaxed);
        tended.last_round.store(self.now(), Ordering::Relaxed);
        Ok(Some(deeds))
    }

    async fn turn(&mut self) -> Result<Vec<Deed>, SinkError> {
        let mut deeds = self.compact().await?;
        deeds.extend(self.expire().await?);
        deeds.extend(self.gc().await?);
        Ok(deeds)
    }

    /// Keeps the turn that a round has; by hand there is none. Called between things that take less than its term.
    async fn stay(&mut self, open: &Open) -> Result<(), SinkError> {
        let now = self.now();
        match &mut self.lease {
            Some(lease) => lease.renew(&open.files, now).await,
            None => Ok(()),
        }
    }

    async fn size(&self) -> Result<(u64, u64), SinkError> {
        let Some(mut open) = self.open().await? else { return Ok((0, 0)) };
        let Some(loaded) = open.load(self.table).await? else { return Ok((0, 0)) };
        let live = files::live(&open, &loaded.entry).await?;
        Ok((live.len() as u64, live.iter().map(|live| live.file.file_size_in_bytes()).sum()))
    }

    /// The lake; `None` where there is none yet.
    async fn open(&self) -> Result<Option<Open>, SinkError> {
        match Open::open_to_read(&self.place).await? {
            Some(_) if !self.is_dry => Open::open(&self.place).await.map(Some),
            open => Ok(open),
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().micros()
    }

    /// What is before this has been out of reach for long enough.
    fn grace_ends(&self) -> i64 {
        self.now() - self.settings.grace.micros()
    }

    fn reach(&mut self, step: Step) -> Result<(), SinkError> {
        self.steps.reach(step).map_err(fault)
    }

    fn deed(&self, what: &'static str, part: String, [count, rows, bytes]: [u64; 3]) -> Deed {
        Deed { table: self.table.full_name, what, part, count, rows, bytes }
    }
}
