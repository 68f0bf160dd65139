//! The one place that prints.
#![expect(clippy::print_stderr, reason = "this is the place that prints")]

use std::io::{IsTerminal, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::Format;
use crate::printable::{printable, printable_json, thousands};
use crate::run::{Headway, Look, Summary};

/// Help and usage errors.
pub(super) fn help(error: &clap::Error) {
    let _a_closed_pipe_is_no_reason_to_fail = error.print();
}

/// A message on stderr.
pub(super) fn error(message: &str) {
    say(message);
}

/// A remark on stderr.
pub(super) fn note(message: &str) {
    say(message);
}

/// A result.
pub(super) fn text(text: &str) {
    let _a_closed_pipe_is_no_reason_to_fail = std::io::stdout().write_all(text.as_bytes());
}

/// A result as one line of JSON.
pub(super) fn json(value: &Value) {
    text(&format!("{}\n", printable_json(value)));
}

/// Rows as a line of JSON each.
pub(super) fn lines(rows: &[Value]) {
    rows.iter().for_each(json);
}

/// Rows as a table, or as a JSON array.
pub(super) fn rows(rows: &[Value], format: Format) {
    match (format, rows.first().and_then(Value::as_object)) {
        (Format::Json, _) => json(&Value::from(rows.to_vec())),
        (Format::Text, None) => text("(nothing)\n"),
        (Format::Text, Some(first)) => {
            text(&table(&first.keys().cloned().collect::<Vec<_>>(), rows));
        }
    }
}

fn table(columns: &[String], rows: &[Value]) -> String {
    let cell = |row: &Value, column: &String| match &row[column.as_str()] {
        Value::String(text) => printable(text),
        Value::Null => "-".into(),
        other => printable_json(other),
    };
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect();
    let width = |at: usize| {
        let longest = cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        longest.max(columns[at].chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &[String]| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    std::iter::once(columns).chain(cells.iter().map(Vec::as_slice)).map(line).collect()
}

/// How often progress is said where lines do not renew themselves.
const LINE_ROUND: Duration = Duration::from_secs(5);
/// Between two looks at a run this many times as long as one takes.
const LOOKS_APART: u32 = 20;
/// Columns of the bar.
const BAR: &str = "{bar:24}";

/// The bar on the screen, so that what else is said stands above it.
static ON_SCREEN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Says something on stderr, above the bar where there is one.
fn say(message: &str) {
    match &*ON_SCREEN.lock().expect("no holder panics") {
        Some(bar) => bar.suspend(|| eprint!("{message}")),
        None => eprint!("{message}"),
    }
}

/// Where log lines go.
pub(super) struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        say(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Progress on stderr: a bar on a terminal; elsewhere a line now and then, of work that comes to an end.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    comes_to_an_end: bool,
    said: Mutex<Instant>,
    /// When to look at the run again.
    look_at: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(comes_to_an_end: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::with_draw_target(None, stderr_target()));
        ON_SCREEN.lock().expect("no holder panics").clone_from(&bar);
        let look_at = Mutex::new(Instant::now());
        Self { bar, comes_to_an_end, said: Mutex::new(Instant::now()), look_at }
    }

    /// How far the run is, if it is time to say so. Looking takes a small part of the time only, however slow it is.
    pub(super) fn show(&self, look: Look<'_>) {
        let mut look_at = self.look_at.lock().expect("no holder panics");
        if *look_at > Instant::now() || !self.is_due() {
            return;
        }
        let began = Instant::now();
        let (summary, headway) = look();
        *look_at = Instant::now() + began.elapsed() * LOOKS_APART;
        let share = headway.is_of_all.then(|| headway.mean());
        self.step(share, &progress_line(&summary, &headway));
    }

    /// Whether what is said now would be shown.
    fn is_due(&self) -> bool {
        let is_line_due = || self.said.lock().expect("no holder panics").elapsed() >= LINE_ROUND;
        self.bar.is_some() || (self.comes_to_an_end && is_line_due())
    }

    /// What is done, and how much of it, from 0 to 1, where that is known.
    pub(super) fn step(&self, share: Option<f64>, doing: &str) {
        let percent = share.map(|share| (share * 100.0) as u64);
        let Some(bar) = &self.bar else {
            if self.is_due() {
                *self.said.lock().expect("no holder panics") = Instant::now();
                say(&format!("{}{doing}\n", percent.map(|percent| format!("{percent} %  ")).unwrap_or_default()));
            }
            return;
        };
        bar.set_style(style(percent.is_some()));
        if let Some(percent) = percent {
            bar.set_length(100);
            bar.set_position(percent.max(bar.position()));
        }
        bar.set_message(doing.to_owned());
        bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = ON_SCREEN.lock().expect("no holder panics").take() {
            bar.finish_and_clear();
        }
    }
}

fn stderr_target() -> ProgressDrawTarget {
    ProgressDrawTarget::stderr_with_hz(10)
}

fn style(has_share: bool) -> ProgressStyle {
    let bar = if is_coloured() { BAR.replace('}', ".cyan/dim}") } else { BAR.to_owned() };
    let template = if has_share { format!("  {{percent:>3}} % {bar}  {{wide_msg}}") } else { "  {wide_msg}".into() };
    ProgressStyle::with_template(&template).expect("it is a template").progress_chars("━━─")
}

/// Records and rate, and what is still at work.
fn progress_line(summary: &Summary, headway: &Headway) -> String {
    let settled = summary.accepted + summary.unchanged + summary.duplicates + summary.dead_letter_count();
    let rate = settled as f64 / summary.elapsed.as_secs_f64().max(0.001);
    let mut line = format!("{} records, {}/s so far", thousands(settled), thousands(rate as u64));
    let behind = headway.stations.iter().filter(|(_, share)| *share < 1.0);
    for (at, (station, share)) in behind.enumerate() {
        let station = station.split_once(':').map_or(station.as_str(), |(_, name)| name);
        line.push_str(&format!("{} {station} {} %", if at == 0 { ";" } else { "," }, (share * 100.0) as u64));
    }
    line
}

/// Colour is for a terminal, unless `NO_COLOR` is set to anything.
pub(super) fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_records_rate_and_who_is_at_work() {
        let summary =
            Summary { accepted: 1_200_000, unchanged: 34_567, elapsed: Duration::from_secs(10), ..Summary::default() };
        let stations = [("connector:market", 1.0), ("stage:clean", 0.999), ("sink:tables", 0.25)]
            .map(|(name, share)| (name.to_owned(), share));
        let mut headway = Headway { stations: stations.to_vec(), is_of_all: true };
        let line = progress_line(&summary, &headway);
        assert_eq!(line, "1 234 567 records, 123 456/s so far; clean 99 %, tables 25 %");
        assert!((headway.mean() - (1.0 + 0.999 + 0.25) / 3.0).abs() < 1e-9);
        headway.stations.clear();
        assert_eq!(progress_line(&Summary::default(), &headway), "0 records, 0/s so far");
    }
}
