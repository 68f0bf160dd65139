//! What a run shows of itself: whether it is ready, and its metrics.

use std::sync::{Arc, Mutex};

use skuflow_runtime::stage::Control;

use super::Opened;
use super::exposition::Family;
use super::stations::Station;
use super::upkeep::Seen;
use crate::config::Loaded;

/// Space below which a run is not ready: a transaction may need as much.
const DISK_FREE_MIN: u64 = 32 << 20;

/// Everything that is looked at. It changes nothing.
pub(super) struct Overview {
    pub(super) loaded: Arc<Loaded>,
    pub(super) broker: Opened,
    pub(super) control: Arc<Control>,
    pub(super) stations: Arc<[Station]>,
    pub(super) tended: Vec<Seen>,
    /// What the broker told for the metrics when it was last asked.
    pub(super) seen: Mutex<Vec<Family>>,
    /// Held while it is asked.
    pub(super) looking: Mutex<()>,
}

/// A part of a run, and why it is not ready, if it is not.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) unready: Option<String>,
}

impl Overview {
    /// The parts of the run, in the order of an event's journey.
    pub(super) fn parts(&self) -> Vec<Part> {
        let part = |name: &str, unready: Option<String>| Part { name: name.into(), unready };
        let stopping = self.control.is_stopping().then(|| "is stopping".to_owned());
        let mut parts = vec![
            part("run", stopping),
            part("broker", self.broker.trouble()),
            part("disk", self.disk_trouble()),
            part("intake", self.control.is_intake_paused().then(|| "paused: a topic is full".to_owned())),
        ];
        parts.extend(self.stations.iter().map(|station| part(&station.name, station.unready())));
        parts
    }

    /// The answer to a probe: a line, or one for each part; whether everything is ready. Reasons do not hold what came from
    /// the environment.
    pub(super) fn readiness(&self, verbose: bool) -> (bool, String) {
        let parts = self.parts();
        let is_ready = parts.iter().all(|part| part.unready.is_none());
        let line = |part: &Part| match &part.unready {
            None => format!("[+] {} ok\n", part.name),
            Some(reason) => {
                format!("[-] {}: {}\n", part.name, self.loaded.variables.conceal(reason).replace('\n', " "))
            }
        };
        let mut text: String = if verbose { parts.iter().map(line).collect() } else { String::new() };
        text.push_str(if is_ready { "ready\n" } else { "not ready\n" });
        (is_ready, text)
    }

    /// Free bytes where the data directory is.
    pub(super) fn disk_free(&self) -> std::io::Result<u64> {
        let found = rustix::fs::statvfs(self.loaded.data_dir())?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn disk_trouble(&self) -> Option<String> {
        let why = match self.disk_free() {
            Ok(free) if free >= DISK_FREE_MIN => return None,
            Ok(free) => format!("{free} bytes are free, and {DISK_FREE_MIN} may be needed"),
            Err(error) => error.to_string(),
        };
        Some(format!("{}: {why}", self.loaded.data_dir().display()))
    }
}
