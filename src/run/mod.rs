//! A run: every station of the config as threads over one broker.

mod catalog;
mod cluster;
mod complete;
mod exposition;
mod first_pass;
mod headway;
mod housekeeping;
mod http;
mod metrics;
mod only;
mod open;
mod overview;
mod socket;
mod stations;
mod summary;
mod upkeep;
mod watchdog;
mod wiring;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use skuflow_ingest::{Connector, Publisher};
use skuflow_runtime::stage::{Control, Worker};
use skuflow_sinks::consume::Consume;
use skuflow_sinks::lake::Lake;
use skuflow_sinks::serving::Serving;

pub(crate) use cluster::{subjects as cluster_subjects, topics as cluster_topics};
pub use headway::Headway;
pub use only::Only;
pub use open::{OpenError, Opened, is_data_dir, open_broker};
pub use socket::{ask, socket_path};
pub use summary::Summary;
pub(crate) use wiring::{connector, threads};

use crate::config::Loaded;
use complete::Writers;
use overview::Overview;
use stations::Station;
use upkeep::{Seen, Tending};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not begin.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A station cannot go on; what it had committed stands.
    #[error("{0}")]
    Station(String),
}

/// Everything that runs, ready to start.
pub struct Pipeline {
    loaded: Arc<Loaded>,
    broker: Opened,
    control: Arc<Control>,
    connectors: Vec<(Publisher, Box<dyn Connector>)>,
    workers: Vec<Worker>,
    sinks: Vec<(Consume, Store)>,
    writers: Arc<Writers>,
    stations: Vec<Station>,
    tended: Vec<Tending>,
    http: Option<TcpListener>,
}

/// Looks at a run: what was done so far, and how far the stations have come.
pub type Look<'a> = &'a dyn Fn() -> (Summary, Headway);

impl Pipeline {
    /// Opens the broker and wires the stations that are to run; nothing moves yet.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(loaded: Loaded, once: bool, only: &Only) -> Result<Self, RunError> {
        let broker = open_broker(&loaded)?;
        wiring::wire(Arc::new(loaded), broker, Arc::new(Control::new(once)), only).map_err(RunError::from)
    }

    /// What stops the run when asked.
    pub fn control(&self) -> Arc<Control> {
        self.control.clone()
    }

    /// Runs until stopped or, with `once`, until everything that is there is processed. `report` is called now and then, and
    /// may look at what was done so far, and how far the stations have come; looking takes questions to the broker.
    ///
    /// # Errors
    /// The first station that cannot go on; the others have committed what they had done and stopped.
    pub fn run(self, report: &(dyn Fn(Look<'_>) + Sync)) -> Result<Summary, RunError> {
        let started = Instant::now();
        let Self { loaded, broker, control, connectors, workers, sinks, writers, stations, tended, http } = self;
        let seen: Vec<Seen> = tended.iter().filter_map(Tending::seen).collect();
        let stations: Arc<[Station]> = stations.into();
        let look = || {
            let summary = Summary::of(&stations, started.elapsed());
            (summary, headway::headway(&stations, &*broker).unwrap_or_default())
        };
        let report = || report(&look);
        let failed = Mutex::new(None);
        let fail = |reason: String| {
            failed.lock().expect("no holder panics").get_or_insert(reason);
            control.stop();
        };
        let socket = socket::serve(&loaded, broker.clone(), &control);
        let overview = || Overview {
            loaded: loaded.clone(),
            broker: broker.clone(),
            control: control.clone(),
            stations: stations.clone(),
            tended: seen.clone(),
            seen: Mutex::default(),
            looking: Mutex::default(),
        };
        let server = http.map(|listener| http::serve(listener, overview())).transpose();
        let server = server.map_err(|error| OpenError::Io(error.to_string()))?;
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watchdog = scope.spawn(|| watchdog::watch(&stations, &loaded.config, &is_over));
            let mut threads = Vec::new();
            for (publisher, mut connector) in connectors {
                let (fail, writers, control) = (&fail, &writers, &control);
                threads.push(scope.spawn(move || match publisher.run(connector.as_mut()) {
                    Ok(()) => writers.finished(&complete::connector(&publisher.name), control),
                    Err(error) => fail(error.to_string()),
                }));
            }
            for worker in workers {
                let (fail, writers, control) = (&fail, &writers, &control);
                threads.push(scope.spawn(move || match worker.run() {
                    Ok(()) => writers.finished(&complete::stage(&worker.spec.name), control),
                    Err(error) => fail(error.to_string()),
                }));
            }
            for (consume, store) in sinks {
                let fail = &fail;
                threads.push(scope.spawn(move || {
                    if let Err(reason) = land(&consume, store) {
                        fail(reason);
                    }
                }));
            }
            let tending = scope.spawn(|| upkeep::tend(tended, &control));
            let housekeeping = scope.spawn(|| housekeeping::keep(&loaded, &broker, &control, &report));
            for thread in threads {
                thread.join().unwrap_or_else(|_| fail("a station panicked; this is a defect of skuflow".into()));
            }
            control.stop();
            is_over.store(true, Ordering::Relaxed);
            watchdog.thread().unpark();
            tending.join().unwrap_or_else(|_| fail("upkeep panicked; this is a defect of skuflow".into()));
            housekeeping.join().unwrap_or_else(|_| fail("housekeeping panicked; this is a defect of skuflow".into()));
        });
        drop((socket, server));
        match failed.into_inner().expect("no holder panics") {
            Some(reason) => Err(RunError::Station(reason)),
            None => Ok(Summary::of(&stations, started.elapsed())),
        }
    }
}

/// Where a sink lands its batches.
enum Store {
    Serving(Box<Serving>),
    Lake(Box<Lake>),
}

/// A sink talks SQL: its thread has an event loop of its own.
fn land(consume: &Consume, store: Store) -> Result<(), String> {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let event_loop = event_loop.map_err(|error| error.to_string())?;
    match store {
        Store::Serving(mut serving) => event_loop.block_on(consume.run(&mut *serving)),
        Store::Lake(mut lake) => event_loop.block_on(consume.run(&mut *lake)),
    }
}
