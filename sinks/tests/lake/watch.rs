//! Readers of a lake that others write: each a process that looks when it is told to, and what they may find.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use skuflow_sinks::lake::Place;

use super::reached::properties;

pub const READERS: [&str; 2] = ["duckdb", "pyiceberg"];

/// By table and way of reading, and by partition: how many rows, how many different offsets, the first and the last of them.
pub type Found = BTreeMap<String, BTreeMap<String, [u64; 4]>>;

/// A reader.
pub struct Watch {
    reader: &'static str,
    running: Child,
    /// `None` when no more is asked.
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it found last, and where.
    before: Option<(Place, Found)>,
}

impl Watch {
    /// Starts `reader` in the Python called `python`.
    pub fn start(python: &str, reader: &'static str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sinks/tests/lake/watch.py");
        let mut command = Command::new(python);
        command.arg(script).arg(reader).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = command.spawn().expect("starts");
        let (asks, answers) = (running.stdin.take(), running.stdout.take().expect("piped"));
        Self { reader, running, asks, answers: BufReader::new(answers), before: None }
    }

    /// Looks at the lake at `place`, which must have all that it found there before.
    ///
    /// # Errors
    /// What is wrong with it; a reader that errs says on stderr why.
    pub fn look(&mut self, place: &Place) -> Result<&Found, String> {
        let wrong = |what: String| format!("{} {what}", self.reader);
        let mut answer = String::new();
        let asked = writeln!(self.asks.as_ref().expect("still asked"), "{}", properties(place));
        asked.and_then(|()| self.answers.read_line(&mut answer)).map_err(|error| wrong(error.to_string()))?;
        let found = serde_json::from_str(&answer).map_err(|_| wrong("errs".into()))?;
        let before = self.before.take().filter(|(of, _)| of == place).map(|(_, before)| before);
        check(&before.unwrap_or_default(), &found).map_err(|what| wrong(format!("finds {what}")))?;
        Ok(&self.before.insert((place.clone(), found)).1)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.asks = None; // which ends it
        let _it_may_have_failed = self.running.wait();
    }
}

/// Each partition from its first record on, each once, and nothing that was there before is gone.
fn check(before: &Found, found: &Found) -> Result<(), String> {
    for (table, partitions) in found {
        for (partition, counts) in partitions {
            let [rows, offsets, first, last] = *counts;
            if rows != offsets || first != 0 || last + 1 != rows {
                return Err(format!("{rows} rows of {offsets} offsets, {first} to {last}, of {partition} in {table}"));
            }
        }
    }
    let rows = |of: &Found, table: &str, partition: &str| of.get(table)?.get(partition).map(|[rows, ..]| *rows);
    for (table, partitions) in before {
        for partition in partitions.keys() {
            let [before, found] = [before, found].map(|of| rows(of, table, partition));
            if before > found {
                return Err(format!("{found:?} rows after {before:?} of {partition} in {table}"));
            }
        }
    }
    Ok(())
}
