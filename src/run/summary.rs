//! What a run has done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skuflow_ingest::Intake;
use skuflow_runtime::stage::Tally;
use skuflow_schemas::Outcome;
use skuflow_sinks::consume::Progress;

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
    /// How long it took.
    pub elapsed: Duration,
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
        for (table, count) in progress.iter().flat_map(|progress| progress.rows()) {
            *summary.rows.entry(table).or_default() += count;
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
        text
    }

    /// How long it took, for people.
    pub fn done(elapsed: Duration) -> String {
        format!("\n  done in {:.1} s\n", elapsed.as_secs_f64())
    }
}
