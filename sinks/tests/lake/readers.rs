//! What `DuckDB` and `PyIceberg` read.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};
use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::testing::lake_readers;
use skuflow_runtime::testing::s3::seaweedfs;
use skuflow_schemas::Event;
use skuflow_sinks::batcher::Cut;
use skuflow_sinks::lake::{TABLES, Table};

use super::buckets;
use super::expected::expected;
use super::reached::properties;
use super::world::{BEGIN, Home, NOW, PACE, SMALL, broker, events, land};

/// What the readers find, an object per table and reader; `begin..end` is the stretch of time that is asked for.
pub fn read(python: &str, home: &(impl Home + ?Sized), begin: i64, end: i64) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lake/read.py");
    let output = Command::new(python)
        .arg(script)
        .args([properties(&home.place()).to_string(), begin.to_string(), end.to_string()])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// What the row of an event should say, when the lake took it in included.
fn row(table: &Table, partition: u32, offset: u64, event: &Event) -> Map<String, Value> {
    let mut row = expected(table, partition, offset, event);
    row.insert("_ingested_at".into(), NOW.into());
    row
}

/// The rows that are asked for, each with the columns that `expected` says.
fn found(rows: &Value, columns: &Map<String, Value>) -> BTreeSet<String> {
    let rows = rows.as_array().expect("a list").iter();
    let text = |row: &Value| {
        let chosen = columns.keys().map(|name| (name.clone(), row.get(name).expect("a column of the table").clone()));
        Value::Object(chosen.collect()).to_string()
    };
    rows.map(text).collect()
}

#[test]
fn duckdb_and_pyiceberg_read_the_rows_of_the_topics_and_leave_out_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    check(&dir.path().join("lake"));
}

#[test]
fn duckdb_and_pyiceberg_read_a_bucket_too() {
    let Some(server) = seaweedfs() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    check(&buckets::place(&server.endpoint(), "readers", dir.path()));
}

/// What they find in the lake at `home`, which is filled.
fn check(home: &impl Home) {
    let Some(python) = lake_readers() else { return };
    let broker = broker(500);
    for table in &TABLES {
        land(&broker, home, table, Cut { records_max: 200, ..SMALL }, None);
    }
    find_the_topics(&python, home, &broker, (TABLES.len(), 500));
}

/// The readers find all of so many topics, `count` events each, cell by cell; of a stretch of time too, for which they do not read
/// each file.
pub fn find_the_topics(python: &str, home: &(impl Home + ?Sized), broker: &Memory, (tables, count): (usize, usize)) {
    let (begin, end) = (BEGIN + 100 * PACE, BEGIN + 120 * PACE);
    let seen = read(python, home, begin, end);
    assert_eq!(seen.len(), tables * 3, "each table in three ways");
    for reading in &seen {
        let what = format!("{} by {}", reading["table"], reading["reader"]);
        let table = TABLES.iter().find(|table| reading["table"] == table.full_name).expect("one of ours");
        let events = events(broker, table);
        let columns = row(table, 0, 0, &events[0].1);
        let row = |(partition, event, offset): &(u32, Event, u64)| {
            Value::Object(row(table, *partition, *offset, event)).to_string()
        };
        let all: BTreeSet<String> = events.iter().map(row).collect();
        assert_eq!(found(&reading["rows"], &columns), all, "{what}");
        assert_eq!(reading["rows"].as_array().map(Vec::len), Some(count), "{what}");
        let within = |event: &Event| (begin..end).contains(&event.observed_at().micros());
        let some: BTreeSet<String> = events.iter().filter(|(_, event, _)| within(event)).map(row).collect();
        assert_eq!(found(&reading["some"], &columns), some, "{what}, some of the time");
        assert!(!some.is_empty());
        let (read, files) = (reading["files_read"].as_u64(), reading["files"].as_u64());
        // Raw files hold what came at one time, of whatever time it says to be.
        assert!(read.is_some() && (table.is_raw() || read < files), "{what}: {read:?} of {files:?} files");
    }
}
