//! What a run has done.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use skuflow_runtime::stage::Tally;
use skuflow_schemas::{Outcome, Text};

use super::stations::{Counts, Station};

use crate::printable::thousands;

/// Counts of one run; of committed work only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Records that connectors read.
    pub read: u64,
    /// Records that passed every step.
    pub accepted: u64,
    /// Records that said what was known.
    pub unchanged: u64,
    /// Records seen before; `conflicting` among them.
    pub duplicates: u64,
    /// Duplicates that said something else than the first time.
    pub conflicting: u64,
    /// Records in the dead letters, by rule.
    pub dead_letters: BTreeMap<String, u64>,
    /// Accepted records with a mark, by rule.
    pub suspect: BTreeMap<String, u64>,
    /// Accepted records that came too late for a window of their key.
    pub late: u64,
    /// Rows that the serving sinks wrote, by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// What the lakes took in.
    pub lake: LakeSummary,
    /// How long it took.
    pub elapsed: Duration,
}

/// What the lakes took in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LakeSummary {
    /// Rows by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Summary {
    pub(super) fn of(stations: &[Station], elapsed: Duration) -> Self {
        let mut summary = Self { elapsed, ..Self::default() };
        for station in stations {
            match &station.counts {
                Counts::Connector(intake) => {
                    summary.read += intake.read();
                    summary.add_dead_letters(intake.rejected());
                }
                Counts::Stage(tally) => summary.add_stage(tally),
                Counts::Sink(progress) => {
                    let is_lake = progress.files() > 0;
                    let rows = if is_lake { &mut summary.lake.rows } else { &mut summary.rows };
                    for (table, count) in progress.rows() {
                        *rows.entry(table).or_default() += count;
                    }
                    summary.lake.files += progress.files();
                    summary.lake.bytes += progress.file_bytes();
                }
            }
        }
        summary
    }

    fn add_stage(&mut self, tally: &Tally) {
        self.accepted += tally.outcome(Outcome::Accepted);
        self.unchanged += tally.outcome(Outcome::Unchanged);
        self.conflicting += tally.outcome(Outcome::Conflicting);
        self.duplicates += tally.outcome(Outcome::Duplicate) + tally.outcome(Outcome::Conflicting);
        self.late += tally.outcome(Outcome::Late);
        self.add_dead_letters(tally.by_rule(Outcome::Rejected));
        for (rule, count) in tally.by_rule(Outcome::Suspect) {
            *self.suspect.entry(rule.to_string()).or_default() += count;
        }
    }

    fn add_dead_letters(&mut self, by_rule: BTreeMap<Text, u64>) {
        for (rule, count) in by_rule {
            *self.dead_letters.entry(rule.to_string()).or_default() += count;
        }
    }

    /// Records in the dead letters.
    pub fn dead_letter_count(&self) -> u64 {
        self.dead_letters.values().sum()
    }

    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "read": self.read,
            "accepted": self.accepted,
            "unchanged": self.unchanged,
            "duplicates": self.duplicates,
            "conflicting": self.conflicting,
            "dead_letters": self.dead_letter_count(),
            "dead_letters_by_rule": self.dead_letters,
            "suspect": self.suspect,
            "late": self.late,
            "serving": { "rows": self.rows },
            "lake": { "rows": self.lake.rows, "files": self.lake.files, "bytes": self.lake.bytes },
            "seconds": self.elapsed.as_millis() as f64 / 1000.0,
        })
    }

    /// As a table for people.
    pub fn to_text(&self) -> String {
        let mut text = String::from("  records\n");
        let mut line = |name: &str, count: u64, note: &str| {
            let row = format!("    {name:<28}{:>12}  {note}", thousands(count));
            text.push_str(row.trim_end());
            text.push('\n');
        };
        line("read", self.read, "");
        line("accepted", self.accepted, "");
        line("unchanged", self.unchanged, "said what was known already");
        line("duplicates", self.duplicates, "seen before");
        line("dead letters", self.dead_letter_count(), "`skuflow dlq list` shows them");
        for (rule, count) in &self.dead_letters {
            line(&format!("  {rule}"), *count, "");
        }
        line("suspect", self.suspect.values().sum(), "accepted, with a mark");
        for (rule, count) in &self.suspect {
            line(&format!("  {rule}"), *count, "");
        }
        line("late", self.late, "accepted, but too late for a window");
        if !self.rows.is_empty() {
            text.push_str("\n  rows written\n");
        }
        for (table, count) in &self.rows {
            text.push_str(&format!("    {table:<28}{:>12}\n", thousands(*count)));
        }
        if self.lake.files > 0 {
            let (files, bytes) = (thousands(self.lake.files), thousands(self.lake.bytes));
            text.push_str(&format!("\n  rows in the lake: {files} files, {bytes} bytes\n"));
        }
        for (table, count) in &self.lake.rows {
            text.push_str(&format!("    {table:<28}{:>12}\n", thousands(*count)));
        }
        text
    }

    /// How long it took, for people.
    pub fn done(elapsed: Duration) -> String {
        format!("\n  done in {:.1} s\n", elapsed.as_secs_f64())
    }
}
