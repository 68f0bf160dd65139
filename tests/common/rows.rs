//! The rows of a lake, one by one, as `DuckDB` shows them, against the records of the topics.

use std::io::{BufRead as _, BufReader, Lines};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};
use skuflow::records;
use skuflow_runtime::broker::{Broker, RecordView};
use skuflow_schemas::Decoder;
use skuflow_sinks::lake::{Place, Table};

use super::expected::expected;
use super::reached::properties;

/// Whether each of the tables of the lake holds the records of its topic. `root` is the folder of the sources.
pub fn compare(
    (python, root): (&str, &Path),
    (place, tables): (&Place, &[&'static Table]),
    broker: &dyn Broker,
    say: &dyn Fn(String),
) -> Result<()> {
    for topic in broker.topics()? {
        let Some(table) = tables.iter().find(|table| *table.topic == *topic.name) else { continue };
        let mut rows = Rows::of(python, root, place, table);
        let (mut compared, mut count) = (Ok(()), 0_u64);
        records::each(broker, &topic, None, &mut |of, record| {
            compared = rows.next_is(of.partition, record);
            count += 1;
            if compared.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        compared.with_context(|| table.full_name)?;
        rows.end().with_context(|| table.full_name)?;
        say(format!("equal: {count} rows of {}, one by one, and the records of {}", table.full_name, topic.name));
    }
    Ok(())
}

/// The rows of a table, by partition and offset.
struct Rows {
    table: &'static Table,
    command: Command,
    /// Starts when it is known which columns are asked for.
    running: Option<(Child, Lines<BufReader<ChildStdout>>)>,
}

impl Rows {
    fn of(python: &str, root: &Path, place: &Place, table: &'static Table) -> Self {
        let mut command = Command::new(python);
        command.arg(root.join("sinks/tests/lake/rows.py")).args([&properties(place).to_string(), table.folder]);
        command.stdout(Stdio::piped());
        Self { table, command, running: None }
    }

    /// Whether the next row says what the record does.
    fn next_is(&mut self, partition: u32, record: &RecordView<'_>) -> Result<()> {
        let expected =
            expected(self.table, partition, record.offset, &Decoder.decode(record.value.context("a tombstone")?)?);
        if self.running.is_none() {
            let mut child = self.command.args(expected.keys()).spawn()?;
            let lines = BufReader::new(child.stdout.take().context("piped")?).lines();
            self.running = Some((child, lines));
        }
        let (_, lines) = self.running.as_mut().expect("started above");
        let found = lines.next().with_context(|| format!("no row for {expected:?}"))??;
        let found: Map<String, Value> = serde_json::from_str(&found)?;
        let same = |(name, value): (&String, &Value)| found.get(name).is_some_and(|found| same(found, value));
        ensure!(expected.iter().all(same), "{found:?} should be {expected:?}");
        Ok(())
    }

    fn end(self) -> Result<()> {
        let Some((mut child, mut lines)) = self.running else { bail!("there is no record") };
        ensure!(lines.next().is_none(), "there are more rows than records");
        ensure!(child.wait()?.success(), "its rows cannot be read");
        Ok(())
    }
}

/// Numbers with a point may be written in several ways.
fn same(found: &Value, expected: &Value) -> bool {
    found == expected || (expected.is_f64() && found.as_f64() == expected.as_f64())
}
