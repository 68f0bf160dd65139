//! Ends the process where a worker hangs in a call that does not come back. Nothing is lost by it, and the work goes on in
//! another process, or in this one when it is started again; a process that hangs keeps it for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skuflow_runtime::limits::TRANSACTION_TIMEOUT_DEFAULT;

use super::stations::{Counts, Station};
use crate::config::Config;

/// How long a worker may be silent besides its commit and the abort of one: longer than all that it waits for within one call,
/// each of which ends by itself.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// How often it is looked for.
const ROUND: Duration = Duration::from_secs(1);
/// A round that takes longer is none in which this process ran.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How long a worker may be silent: a commit, and the abort of one that fails, take as long as a transaction may stay open.
fn silence_max(config: &Config) -> Duration {
    let transaction =
        config.broker.kafka.as_ref().map_or(TRANSACTION_TIMEOUT_DEFAULT, |kafka| kafka.transaction_timeout);
    SILENCE_MAX + 2 * Duration::from(transaction)
}

/// Watches until the run is over, when it is to be unparked.
pub(super) fn watch(stations: &[Station], config: &Config, is_over: &AtomicBool) {
    let silence_max = silence_max(config);
    let mut listens_since = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let round = Instant::now();
        std::thread::park_timeout(ROUND);
        if round.elapsed() > STANDSTILL {
            listens_since = Instant::now(); // the process was suspended: nobody could be heard of
        }
        if listens_since.elapsed() <= silence_max {
            continue;
        }
        if let Some(station) = silent(stations, silence_max) {
            tracing::error!(station, "a worker has not been heard of for {silence_max:?}; ending the process");
            std::process::abort();
        }
    }
}

fn silent(stations: &[Station], silence_max: Duration) -> Option<&str> {
    let is_silent = |station: &&Station| match &station.counts {
        Counts::Stage(tally) => tally.silence() > silence_max,
        Counts::Connector(_) | Counts::Sink(_) => false,
    };
    stations.iter().find(is_silent).map(|station| station.name.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skuflow_runtime::broker::memory::Memory;
    use skuflow_runtime::broker::{Broker, Member};
    use skuflow_runtime::stage::{Control, StageSettings, StageSpec, Tally, Worker};

    use super::*;

    #[test]
    fn a_worker_is_heard_of_while_it_works_and_not_missed_after() {
        let (control, tally) = (Arc::new(Control::new(false)), Arc::new(Tally::default()));
        let station = Station {
            name: "stage:idle".into(),
            counts: Counts::Stage(tally.clone()),
            group: String::new(),
            reads: Vec::new(),
            writes: Vec::new(),
        };
        let stations = [station];
        assert_eq!(silent(&stations, Duration::ZERO), None, "nobody works yet");
        let broker = Memory::new("test");
        broker.ensure_topic("in", 1).expect("new");
        let spec = StageSpec {
            name: "idle".into(),
            group: "idle".into(),
            inputs: vec![skuflow_runtime::stage::InputSpec {
                topic: "in".into(),
                family: skuflow_schemas::Family::Offer,
            }],
            steps: Vec::new(),
            outputs: Vec::default(),
            quality_topic: "quality".into(),
            settings: StageSettings::default(),
        };
        let member = Member { id: "idle-0".into(), index: 0, count: 1 };
        let worker = Worker { spec: Arc::new(spec), broker: Arc::new(broker), member, control: control.clone(), tally };
        let works = std::thread::spawn(move || worker.run());
        while silent(&stations, Duration::ZERO).is_none() {
            assert!(!works.is_finished(), "it works until it is stopped");
            std::thread::yield_now();
        }
        assert_eq!(silent(&stations, SILENCE_MAX), None, "it is heard of");
        control.stop();
        works.join().expect("no panic").expect("nothing fatal");
        assert_eq!(silent(&stations, Duration::ZERO), None, "it is not missed");
    }
}
