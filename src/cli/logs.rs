//! What is logged, and how: text or a line of JSON each, values from the environment left out, and never a flood.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::output;
use crate::config::Variables;

/// What is logged where `SKUFLOW_LOG` is not set.
const LOG_DEFAULT: &str = "warn,sqlx::query=error";
/// Lines from one place in the code about one station within [`WINDOW`]; more are counted and left out.
const LINES_MAX: u64 = 5;
/// See [`LINES_MAX`].
const WINDOW: Duration = Duration::from_secs(10);
/// Places and stations that are told apart; names of stations come from the config, so there are few.
const SITES_MAX: usize = 4_096;
/// Fields that name a station.
const STATION_FIELDS: &[&str] = &["connector", "stage", "sink"];

static VARIABLES: Mutex<Option<Variables>> = Mutex::new(None);

/// Logs to stderr from now on, what `SKUFLOW_LOG` asks for.
pub(crate) fn begin(is_json: bool) {
    let filter = EnvFilter::try_from_env("SKUFLOW_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| output::Log);
    let logs = logs.with_ansi(output::is_coloured());
    if is_json {
        logs.json().event_format(Lines::new(Format::default().json().flatten_event(true))).init();
    } else {
        logs.event_format(Lines::new(Format::default())).init();
    }
}

/// Leaves the values of these variables out of all that is logged from now on.
pub(crate) fn conceal(variables: &Variables) {
    *VARIABLES.lock().unwrap_or_else(PoisonError::into_inner) = Some(variables.clone());
}

/// Writes events as `inner` does, but for what must not be said and for floods.
struct Lines<F> {
    inner: F,
    limit: Mutex<Limit>,
}

impl<F> Lines<F> {
    fn new(inner: F) -> Self {
        Self { inner, limit: Mutex::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut station = Station::default();
        event.record(&mut station);
        let site = Site { place: event.metadata().callsite(), station: station.0 };
        let admitted = self.limit.lock().unwrap_or_else(PoisonError::into_inner).admit(site, Instant::now());
        let Some(suppressed) = admitted else { return Ok(()) };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        if suppressed > 0 {
            line = with_suppressed(line.trim_end(), suppressed);
        }
        let variables = VARIABLES.lock().unwrap_or_else(PoisonError::into_inner);
        match variables.as_ref() {
            Some(variables) => writer.write_str(&variables.conceal(&line)),
            None => writer.write_str(&line),
        }
    }
}

/// The line, and how many like it were left out before it.
fn with_suppressed(line: &str, suppressed: u64) -> String {
    match line.strip_suffix('}').filter(|_| line.starts_with('{')) {
        Some(open) => format!("{open},\"suppressed\":{suppressed}}}\n"),
        None => format!("{line} suppressed={suppressed}\n"),
    }
}

/// The station that an event is about, if it names one.
#[derive(Default)]
struct Station(String);

impl Visit for Station {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if STATION_FIELDS.contains(&field.name()) {
            self.0 = format!("{value:?}");
        }
    }
}

/// A place in the code, and a station.
#[derive(PartialEq, Eq, Hash)]
struct Site<P> {
    place: P,
    station: String,
}

/// How often what was said lately.
struct Limit<P = tracing::callsite::Identifier> {
    sites: HashMap<Site<P>, Said>,
}

impl<P> Default for Limit<P> {
    fn default() -> Self {
        Self { sites: HashMap::new() }
    }
}

struct Said {
    since: Instant,
    lines: u64,
}

impl<P: Eq + std::hash::Hash> Limit<P> {
    /// Whether it may be said: how many like it were left out before it.
    fn admit(&mut self, site: Site<P>, now: Instant) -> Option<u64> {
        if self.sites.len() >= SITES_MAX {
            self.sites.clear();
        }
        let said = self.sites.entry(site).or_insert(Said { since: now, lines: 0 });
        let mut suppressed = 0;
        if now.duration_since(said.since) >= WINDOW {
            suppressed = said.lines.saturating_sub(LINES_MAX);
            *said = Said { since: now, lines: 0 };
        }
        said.lines += 1;
        (said.lines <= LINES_MAX).then_some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_by_place_and_station() {
        let (start, mut limit) = (Instant::now(), Limit::default());
        let mut admit = |place: u32, station: &str, seconds: u64| {
            limit.admit(Site { place, station: station.into() }, start + Duration::from_secs(seconds))
        };
        let found: Vec<_> = (0..8).map(|_| admit(1, "clean", 0)).collect();
        assert_eq!(found, [Some(0), Some(0), Some(0), Some(0), Some(0), None, None, None]);
        assert_eq!((admit(1, "tables", 0), admit(2, "clean", 0)), (Some(0), Some(0)), "others are others");
        assert_eq!(admit(1, "clean", 9), None);
        assert_eq!((admit(1, "clean", 10), admit(1, "clean", 10)), (Some(4), Some(0)), "said once");
        assert_eq!(admit(1, "clean", 25), Some(0));
    }

    #[test]
    fn what_was_left_out_is_a_field_of_the_next_line() {
        assert_eq!(with_suppressed(r#"{"level":"WARN"}"#, 3), "{\"level\":\"WARN\",\"suppressed\":3}\n");
        assert_eq!(with_suppressed("WARN joining again", 3), "WARN joining again suppressed=3\n");
    }
}
