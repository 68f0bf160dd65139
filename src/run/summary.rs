//! What a run has done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skuflow_ingest::Intake;
use skuflow_runtime::stage::Tally;
use skuflow_schemas::Outcome;
use skuflow_sinks::consume::Progress;

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
    pub(super) fn of(
        intakes: &[Arc<Intake>],
        tallies: &[Arc<Tally>],
        progress: &[Arc<Progress>],
        elapsed: Duration,
    ) -> Self {
        let sum = |outcome| tallies.iter().map(|tally| tally.outcome(outcome)).sum::<u64>();
        let mut summary = Self {
            read: intakes.iter().map(|intake| intake.read()).sum(),
            accepted: sum(Outcome::Accepted),
            unchanged: sum(Outcome::Unchanged),
            conflicting: sum(Outcome::Conflicting),
            duplicates: sum(Outcome::Duplicate) + sum(Outcome::Conflicting),
            late: sum(Outcome::Late),
            elapsed,
            ..Self::default()
        };
        let rejected = intakes.iter().map(|intake| intake.rejected());
        let rejected = rejected.chain(tallies.iter().map(|tally| tally.by_rule(Outcome::Rejected)));
        for (rule, count) in rejected.flatten() {
            *summary.dead_letters.entry(rule.to_string()).or_default() += count;
        }
        for (rule, count) in tallies.iter().flat_map(|tally| tally.by_rule(Outcome::Suspect)) {
            *summary.suspect.entry(rule.to_string()).or_default() += count;
        }
        for progress in progress {
            let is_lake = progress.files() > 0;
            let rows = if is_lake { &mut summary.lake.rows } else { &mut summary.rows };
            for (table, count) in progress.rows() {
                *rows.entry(table).or_default() += count;
            }
            summary.lake.files += progress.files();
            summary.lake.bytes += progress.bytes();
        }
        summary
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
        let mut text = String::new();
        let mut line = |name: &str, count: u64, note: &str| {
            let row = format!("  {name:<16}{count:>10}  {note}");
            text.push_str(row.trim_end());
            text.push('\n');
        };
        line("read", self.read, "");
        line("accepted", self.accepted, "");
        line("unchanged", self.unchanged, "said what was known already");
        line("duplicates", self.duplicates, "seen before");
        line("dead letters", self.dead_letter_count(), "look at them with `skuflow dlq list`");
        for (rule, count) in &self.dead_letters {
            line(&format!("  {rule}"), *count, "");
        }
        for (rule, count) in &self.suspect {
            line("suspect", *count, rule);
        }
        line("late", self.late, "accepted, but too late for a window");
        for (table, count) in &self.rows {
            line(table, *count, "rows written");
        }
        for (table, count) in &self.lake.rows {
            line(table, *count, "rows in the lake");
        }
        if self.lake.files > 0 {
            line("lake files", self.lake.files, &format!("{} bytes", self.lake.bytes));
        }
        let seconds = self.elapsed.as_secs_f64();
        text.push_str(&format!("  done in {seconds:.1} s\n"));
        text
    }
}
