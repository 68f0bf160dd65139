//! Upkeep of lakes and serving tables beside what lands in them: a round now and then, one after the other. It never ends a
//! run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::Control;
use skuflow_sinks::lake::{self, Tended};
use skuflow_sinks::serving;

/// How often a stop, or a round that is due, is looked for.
const TICK: Duration = Duration::from_millis(100);
/// From the start of the run to the first round, at most: the sinks catch up first.
const FIRST_ROUND: Duration = Duration::from_secs(10);

/// What is tended, and how often.
pub(super) struct Tending {
    pub(super) work: Work,
    pub(super) every: Duration,
}

pub(super) enum Work {
    /// A table of a lake.
    Lake(Box<lake::Upkeep>, Seen),
    /// The serving tables of a station.
    Serving(serving::Upkeep, String),
}

/// What it has come to, and in which station's table.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) station: String,
    pub(super) tended: Arc<Tended>,
}

impl Tending {
    /// What a table of a lake has come to.
    pub(super) fn seen(&self) -> Option<Seen> {
        match &self.work {
            Work::Lake(_, seen) => Some(seen.clone()),
            Work::Serving(..) => None,
        }
    }
}

/// Works until the run stops.
pub(super) fn tend(tables: Vec<Tending>, control: &Control) {
    let event_loop = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(event_loop) => event_loop,
        Err(error) => return tracing::warn!(%error, "no table is tended"),
    };
    let start = Instant::now();
    let mut due: Vec<(Instant, Tending)> =
        tables.into_iter().map(|table| (start + table.every.min(FIRST_ROUND), table)).collect();
    while !control.is_stopping() && !due.is_empty() {
        std::thread::park_timeout(TICK);
        for (next, table) in &mut due {
            if *next > Instant::now() || control.is_stopping() {
                continue;
            }
            event_loop.block_on(round(&mut table.work, control));
            *next = Instant::now() + table.every;
        }
    }
}

async fn round(work: &mut Work, control: &Control) {
    match work {
        Work::Lake(upkeep, seen) => round_of_lake(upkeep, seen).await,
        Work::Serving(upkeep, station) => tokio::select! {
            done = upkeep.round(Clock::System.now()) => match done {
                Ok(gone) => gone.iter().for_each(|month| tracing::info!(station, month, "its retention is over")),
                Err(error) => tracing::warn!(station, %error, "a round of upkeep failed; the next one goes on"),
            },
            () = stopped(control) => {} // what was not done goes with the connection
        },
    }
}

/// Ends when the run is to stop.
async fn stopped(control: &Control) {
    while !control.is_stopping() {
        tokio::time::sleep(TICK).await;
    }
}

async fn round_of_lake(upkeep: &mut lake::Upkeep, Seen { station, tended }: &Seen) {
    match upkeep.round(tended).await {
        Ok(None) => tracing::debug!(station, "another process tends the table"),
        Ok(Some(deeds)) => {
            for deed in deeds {
                let (count, rows, bytes) = (deed.count, deed.rows, deed.bytes);
                tracing::info!(station, what = deed.what, part = deed.part, count, rows, bytes, "tended the lake");
            }
        }
        Err(error) => {
            tended.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(station, %error, "a round of upkeep failed; the next one goes on");
        }
    }
}
