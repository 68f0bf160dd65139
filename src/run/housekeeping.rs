//! What a run does beside moving data: retention, back-pressure, progress reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skuflow_runtime::broker::embedded::Keep;
use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::Control;
use skuflow_schemas::{Cleanup, LATE_PREFIX, Span, Timestamp, topic};

use crate::config::Loaded;
use crate::names::Names;
use crate::run::Opened;

/// How often sizes are looked at.
const ROUND: Duration = Duration::from_secs(1);
/// How often progress is reported.
const REPORT_ROUND: Duration = Duration::from_millis(200);
/// How often old segments are looked for.
const RETENTION_ROUND: Duration = Duration::from_mins(1);
/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(20);
/// How long late copies are kept.
const LATE_KEPT: Span = Span::from_days(30);

/// Works until the run stops.
pub(super) fn keep(loaded: &Loaded, broker: &Opened, control: &Arc<Control>, report: &dyn Fn()) {
    let (mut last_report, mut last_round, mut last_retention) = (Instant::now(), Instant::now(), Instant::now());
    while !control.is_stopping() {
        std::thread::park_timeout(TICK);
        if last_report.elapsed() >= REPORT_ROUND {
            last_report = Instant::now();
            report();
        }
        if last_round.elapsed() < ROUND {
            continue;
        }
        last_round = Instant::now();
        control.pause_intake(is_full(loaded, broker));
        if last_retention.elapsed() >= RETENTION_ROUND {
            last_retention = Instant::now();
            let now = Clock::System.now();
            let prefix = &loaded.config.topics.prefix;
            let groups = Names(&loaded.config).groups();
            let keep = Keep { from: &|name| keep_from(name, prefix, now), groups: &groups };
            if let Err(error) = broker.retain(&keep) {
                tracing::warn!(%error, "old segments were not dropped");
            }
        }
    }
}

/// Whether a topic has reached the size at which connectors pause.
fn is_full(loaded: &Loaded, broker: &Opened) -> bool {
    let max = loaded.config.broker.embedded.topic_bytes_max.0;
    let names = Names(&loaded.config);
    let raw = loaded.config.connector.iter().flat_map(|connector| &connector.to);
    raw.map(|topic| broker.topic_bytes(&names.topic(topic))).any(|bytes| bytes.is_some_and(|bytes| bytes >= max))
}

/// What is older may go; `None` keeps everything. Tables keep everything too: the last row of each key is in it.
fn keep_from(name: &str, prefix: &str, now: Timestamp) -> Option<Timestamp> {
    if name.starts_with(LATE_PREFIX) {
        return Some(now.plus_micros(-LATE_KEPT.micros()));
    }
    match topic(name.strip_prefix(prefix).unwrap_or(name))?.cleanup {
        Cleanup::DeleteAfter(span) => Some(now.plus_micros(-span.micros())),
        Cleanup::Compact | Cleanup::Keep => None,
    }
}
