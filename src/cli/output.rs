//! The one place that prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the place that prints")]

use std::io::IsTerminal;

use serde_json::Value;

use super::Format;
use crate::printable::{printable, printable_json};
use crate::run::Summary;

/// Help and usage errors.
pub(super) fn help(error: &clap::Error) {
    let _a_closed_pipe_is_no_reason_to_fail = error.print();
}

/// A message on stderr.
pub(super) fn error(message: &str) {
    eprint!("{message}");
}

/// A remark on stderr.
pub(super) fn note(message: &str) {
    eprint!("{message}");
}

/// A result.
pub(super) fn text(text: &str) {
    print!("{text}");
}

/// A result as one line of JSON.
pub(super) fn json(value: &Value) {
    println!("{}", printable_json(value));
}

/// Rows as a line of JSON each.
pub(super) fn lines(rows: &[Value]) {
    rows.iter().for_each(json);
}

/// Rows as a table, or as a JSON array.
pub(super) fn rows(rows: &[Value], format: Format) {
    match (format, rows.first().and_then(Value::as_object)) {
        (Format::Json, _) => json(&Value::from(rows.to_vec())),
        (Format::Text, None) => println!("(nothing)"),
        (Format::Text, Some(first)) => print!("{}", table(&first.keys().cloned().collect::<Vec<_>>(), rows)),
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

/// Progress on stderr: one line that renews itself on a terminal, nothing elsewhere.
pub(super) struct Progress {
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }

    pub(super) fn show(&self, summary: &Summary) {
        if self.is_terminal {
            eprint!(
                "\r\x1b[Kread {}  accepted {}  dead letters {}",
                summary.read,
                summary.accepted,
                summary.dead_letter_count()
            );
        }
    }

    pub(super) fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
