//! The metrics of a run, gathered when they are asked for from where the stations count. `docs/metrics.md` lists them.

use std::sync::atomic::Ordering;

use skuflow_runtime::broker::TopicPartition;
use skuflow_runtime::clock::Clock;
use skuflow_runtime::measure::Distribution;
use skuflow_runtime::storage::state_bytes;
use skuflow_schemas::Outcome;

use super::exposition::Kind::{Counter, Gauge, Histogram};
use super::exposition::{Family, text};
use super::overview::Overview;
use super::stations::{Counts, Station};
use super::upkeep::Seen;
use crate::inspect::places;
use crate::names::Names;

/// Durations are counted in microseconds.
const MICROS: f64 = 1e6;

impl Overview {
    /// Asks the broker for what only it knows, unless somebody is asking already.
    pub(super) fn look(&self) {
        let Ok(_looking) = self.looking.try_lock() else { return };
        let mut families = self.behind();
        families.extend(self.stored());
        *self.seen.lock().expect("no holder panics") = families;
    }

    /// The metrics as Prometheus reads them; what the broker knows is as of the last look. What it could not tell is left
    /// out.
    pub(super) fn metrics(&self) -> String {
        let seen = self.seen.lock().expect("no holder panics");
        text(gather(&self.stations).iter().chain(&tended(&self.tended)).chain(seen.iter()))
    }

    /// How far those who read are behind.
    fn behind(&self) -> Vec<Family> {
        let [mut records, mut seconds, mut age, mut freshness] = behind_families();
        let now = Clock::System.now();
        for station in self.stations.iter().filter(|station| !station.reads.is_empty()) {
            let Ok(places) = places(&*self.broker, &station.group, &station.reads) else { continue };
            for topic in &station.reads {
                let of_topic = || places.iter().filter(|place| *place.of.topic == **topic);
                let labels = [station.name.as_str(), topic];
                for place in of_topic() {
                    let of_task = [labels[0], labels[1], &place.of.partition.to_string()];
                    records.add(&of_task, place.lag_records as f64);
                    seconds.add(&of_task, place.lag_seconds());
                }
                age.add(&labels, of_topic().filter_map(|place| place.age_seconds(now)).reduce(f64::min));
                if matches!(station.counts, Counts::Sink(_)) {
                    freshness
                        .add(&labels, of_topic().filter_map(|place| place.event_age_seconds(now)).reduce(f64::min));
                }
            }
        }
        vec![records, seconds, age, freshness]
    }

    /// What is on disk, and the run as a whole.
    fn stored(&self) -> Vec<Family> {
        let [mut records, mut bytes, mut state, mut disk, mut paused, mut build] = stored_families();
        let (names, partitions) = (Names(&self.loaded.config), self.loaded.config.topics.partitions);
        for topic in names.all_topics() {
            let ends = (0..partitions).map(|number| self.broker.offsets(&TopicPartition::new(topic.clone(), number)));
            if let Ok(ends) = ends.collect::<Result<Vec<_>, _>>() {
                records.add(&[&topic], ends.iter().map(|(_, next)| next).sum::<u64>() as f64);
            }
            if let Some(size) = self.broker.topic_bytes(&topic) {
                bytes.add(&[&topic], size as f64);
            }
        }
        state.add(&[], state_bytes(&self.loaded.data_dir()).ok().map(|size| size as f64));
        disk.add(&[], self.disk_free().ok().map(|free| free as f64));
        paused.add(&[], one_if(self.control.is_intake_paused()));
        build.add(&[env!("CARGO_PKG_VERSION")], 1.0);
        vec![records, bytes, state, disk, paused, build]
    }
}

fn one_if(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// What the stations have counted, and hold.
fn gather(stations: &[Station]) -> Vec<Family> {
    let mut families = moved(stations);
    families.extend(outcomes(stations));
    families.extend(work(stations));
    families.extend(held(stations));
    families
}

/// Events and bytes, in and out.
fn moved(stations: &[Station]) -> Vec<Family> {
    const STATION: &[&str] = &["station"];
    let mut received = Family::new(
        "skuflow_component_received_events_total",
        Counter,
        STATION,
        "Records taken in: read from the source, consumed, or landed.",
    );
    let mut received_bytes = Family::new(
        "skuflow_component_received_event_bytes_total",
        Counter,
        STATION,
        "Bytes of the records taken in: as they stand in a file, in the log, or their values where a sink lands them.",
    );
    let mut sent = Family::new(
        "skuflow_component_sent_events_total",
        Counter,
        STATION,
        "Records written to topics, dead letters, late copies and counts among them; rows written by a sink.",
    );
    let mut sent_bytes = Family::new(
        "skuflow_component_sent_event_bytes_total",
        Counter,
        STATION,
        "Bytes of the records written to topics; a sink has none.",
    );
    for station in stations {
        let (records, bytes, out, out_bytes) = match &station.counts {
            Counts::Connector(intake) => {
                (intake.read(), intake.bytes(), intake.sent_records(), Some(intake.sent_bytes()))
            }
            Counts::Stage(tally) => (tally.records(), tally.bytes(), tally.sent_records(), Some(tally.sent_bytes())),
            Counts::Sink(progress) => {
                (progress.records(), progress.bytes(), progress.rows().values().sum::<u64>(), None)
            }
        };
        let labels = [station.name.as_str()];
        received.add(&labels, records as f64);
        received_bytes.add(&labels, bytes as f64);
        sent.add(&labels, out as f64);
        sent_bytes.add(&labels, out_bytes.map(|bytes| bytes as f64));
    }
    vec![received, received_bytes, sent, sent_bytes]
}

/// What became of the records.
fn outcomes(stations: &[Station]) -> Vec<Family> {
    let mut discarded = Family::new(
        "skuflow_component_discarded_events_total",
        Counter,
        &["station", "intentional", "reason"],
        "Records that went no further: seen before (`duplicate`, `conflicting`), nothing new (`unchanged`), or, not \
         intentional, in the dead letters under the rule that is the reason.",
    );
    let mut suspect = Family::new(
        "skuflow_component_suspect_events_total",
        Counter,
        &["station", "rule"],
        "Records that went on with the mark of a rule.",
    );
    let mut late = Family::new(
        "skuflow_component_late_events_total",
        Counter,
        &["station"],
        "Records that went on, and came too late for a window of their key.",
    );
    for station in stations {
        let name = station.name.as_str();
        let rejected = match &station.counts {
            Counts::Connector(intake) => intake.rejected(),
            Counts::Stage(tally) => tally.by_rule(Outcome::Rejected),
            Counts::Sink(_) => continue,
        };
        for (rule, count) in rejected {
            discarded.add(&[name, "false", &rule], count as f64);
        }
        let Counts::Stage(tally) = &station.counts else { continue };
        for outcome in [Outcome::Duplicate, Outcome::Conflicting, Outcome::Unchanged] {
            discarded.add(&[name, "true", outcome.name()], tally.outcome(outcome) as f64);
        }
        for (rule, count) in tally.by_rule(Outcome::Suspect) {
            suspect.add(&[name, &rule], count as f64);
        }
        late.add(&[name], tally.outcome(Outcome::Late) as f64);
    }
    vec![discarded, suspect, late]
}

/// How the work goes: readiness, failures, commits and what is in them.
fn work(stations: &[Station]) -> Vec<Family> {
    const STATION: &[&str] = &["station"];
    let mut ready = Family::new(
        "skuflow_component_ready",
        Gauge,
        STATION,
        "Whether the station has begun and gets on; `/readyz?verbose` says why not.",
    );
    let mut errors = Family::new(
        "skuflow_component_errors_total",
        Counter,
        STATION,
        "Times that it had to begin again from what is committed or stored.",
    );
    let mut took = Family::new(
        "skuflow_component_commit_duration_seconds",
        Histogram,
        STATION,
        "Time that a commit took: of a page, of a stage's transaction, of a batch into a store.",
    );
    let mut pauses = Family::new(
        "skuflow_stage_rebalance_pause_seconds",
        Histogram,
        STATION,
        "Time that a worker had no partitions: from its start, or from when they were revoked, until the state of those \
         that it got was there.",
    );
    let mut batch = Family::new(
        "skuflow_component_batch_events",
        Histogram,
        STATION,
        "Records in a page of a connector, or in a batch of a sink.",
    );
    let mut batch_bytes =
        Family::new("skuflow_component_batch_bytes", Histogram, STATION, "Bytes of the values in a batch of a sink.");
    let mut rows =
        Family::new("skuflow_sink_rows_total", Counter, &["station", "table"], "Rows that a sink wrote, by table.");
    for station in stations {
        let labels = [station.name.as_str()];
        ready.add(&labels, one_if(station.unready().is_none()));
        let (failures, commits, size): (u64, &Distribution, Option<&Distribution>) = match &station.counts {
            Counts::Connector(intake) => {
                (intake.condition.failures(), intake.commit_micros(), Some(intake.page_records()))
            }
            Counts::Stage(tally) => {
                pauses.add_distribution(&labels, tally.pause_micros(), MICROS);
                (tally.failures(), tally.commit_micros(), None)
            }
            Counts::Sink(progress) => {
                batch_bytes.add_distribution(&labels, progress.batch_bytes(), 1.0);
                for (table, count) in progress.rows() {
                    rows.add(&[&station.name, table], count as f64);
                }
                (progress.condition.failures(), progress.landing_micros(), Some(progress.batch_records()))
            }
        };
        errors.add(&labels, failures as f64);
        took.add_distribution(&labels, commits, MICROS);
        if let Some(size) = size {
            batch.add_distribution(&labels, size, 1.0);
        }
    }
    vec![ready, errors, took, pauses, batch, batch_bytes, rows]
}

/// What upkeep has come to in the tables of the lakes.
fn tended(tables: &[Seen]) -> Vec<Family> {
    let family = |name, kind, about| Family::new(name, kind, &["station"], about);
    let mut files = family("skuflow_lake_files", Gauge, "Data files of the table, as of the last round of upkeep.");
    let mut bytes = family("skuflow_lake_bytes", Gauge, "Bytes of these.");
    let mut compacted =
        family("skuflow_lake_compacted_files_total", Counter, "Small files that were put together with others.");
    let mut removed = family(
        "skuflow_lake_removed_files_total",
        Counter,
        "Files that were removed because nobody could find them any more.",
    );
    let mut removed_bytes = family("skuflow_lake_removed_bytes_total", Counter, "Bytes of these.");
    let mut failures = family("skuflow_lake_upkeep_errors_total", Counter, "Rounds of upkeep that failed.");
    let mut last = family(
        "skuflow_lake_upkeep_timestamp_seconds",
        Gauge,
        "When the last round of upkeep ended; 0 before the first.",
    );
    for Seen { station, tended } in tables {
        let counts = [
            (&mut files, &tended.files),
            (&mut bytes, &tended.bytes),
            (&mut compacted, &tended.compacted_files),
            (&mut removed, &tended.removed_files),
            (&mut removed_bytes, &tended.removed_bytes),
            (&mut failures, &tended.failures),
        ];
        for (family, count) in counts {
            family.add(&[station], count.load(Ordering::Relaxed) as f64);
        }
        last.add(&[station], tended.last_round.load(Ordering::Relaxed) as f64 / MICROS);
    }
    vec![files, bytes, compacted, removed, removed_bytes, failures, last]
}

/// What the tasks of the stages hold in memory.
fn held(stations: &[Station]) -> Vec<Family> {
    let family = |name, about| Family::new(name, Gauge, &["station"], about);
    let mut keys = family("skuflow_state_cached_keys", "Keys whose states are decoded in memory.");
    let mut bytes = family("skuflow_state_cached_bytes", "Memory that these take, roughly.");
    let mut ids = family("skuflow_state_remembered_ids", "Ids of records that are remembered to tell duplicates.");
    let mut timers = family("skuflow_state_set_timers", "Wishes of steps to be woken.");
    let stages = stations.iter().filter_map(|station| match &station.counts {
        Counts::Stage(tally) => Some((station, tally)),
        Counts::Connector(_) | Counts::Sink(_) => None,
    });
    for (station, tally) in stages {
        let (labels, held) = ([station.name.as_str()], tally.held());
        keys.add(&labels, held.keys as f64);
        bytes.add(&labels, held.bytes as f64);
        ids.add(&labels, held.ids as f64);
        timers.add(&labels, held.timers as f64);
    }
    vec![keys, bytes, ids, timers]
}

fn behind_families() -> [Family; 4] {
    let family = |name, labels, about| Family::new(name, Gauge, labels, about);
    let reads: &[&str] = &["station", "topic"];
    let of_tasks: &[&str] = &["station", "topic", "partition"];
    [
        family(
            "skuflow_consumer_lag_records",
            of_tasks,
            "Records that the station has not read; for a stage, of one task. All processes tell the same of all tasks.",
        ),
        family(
            "skuflow_consumer_lag_seconds",
            of_tasks,
            "Event time at the end of the partition minus event time where the station is.",
        ),
        family(
            "skuflow_consumer_age_seconds",
            reads,
            "Now minus `ingested_at` of the latest record that the station has read.",
        ),
        family(
            "skuflow_freshness_seconds",
            &["station", "dataset"],
            "Now minus event time of the latest record that a sink has landed of the topic.",
        ),
    ]
}

fn stored_families() -> [Family; 6] {
    let family = |name, kind, labels, about| Family::new(name, kind, labels, about);
    [
        family("skuflow_topic_records_total", Counter, &["topic"], "Records ever written to the topic."),
        family("skuflow_topic_bytes", Gauge, &["topic"], "Bytes of the topic on disk."),
        family("skuflow_state_store_bytes", Gauge, &[], "Bytes of all state on disk, as of the last checkpoint."),
        family("skuflow_disk_free_bytes", Gauge, &[], "Bytes free where the data directory is."),
        family("skuflow_intake_paused", Gauge, &[], "Whether connectors pause because a topic is full."),
        family("skuflow_build_info", Gauge, &["version"], "The version that runs."),
    ]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    /// What the values of a metric count: the last word of its name.
    fn unit(name: &str) -> &'static str {
        match name.trim_end_matches("_total").rsplit('_').next() {
            Some("seconds") => "seconds",
            Some("bytes") => "bytes",
            Some("records" | "events" | "files" | "rows" | "errors" | "keys" | "ids" | "timers") => "count",
            _ => "1 or 0",
        }
    }

    fn table(families: &[Family]) -> String {
        let mut out = "| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
        for Family { name, kind, labels, about, .. } in families {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let (kind, unit, labels) = (kind.name(), unit(name), labels.join(", "));
            writeln!(out, "| `{name}` | {kind} | {unit} | {labels} | {about} |").expect("memory");
        }
        out
    }

    /// `UPDATE_EXPECT=1` writes the list anew.
    #[test]
    fn the_committed_list_is_what_there_is() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let known = std::fs::read_to_string(&path).expect("UTF-8");
        let (before, rest) = known.split_once("<!-- metrics -->\n").expect("a mark before the list");
        let (_, after) = rest.split_once("<!-- end -->").expect("a mark behind it");
        let families = gather(&[]).into_iter().chain(tended(&[])).chain(behind_families()).chain(stored_families());
        let families: Vec<Family> = families.collect();
        let list = format!("{before}<!-- metrics -->\n{}<!-- end -->{after}", table(&families));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &list).expect("writable");
        } else {
            assert_eq!(known, list, "docs/metrics.md; a metric is never renamed silently");
        }
    }
}
