//! The rows of a lake, as its readers find them, against the records of the topics, as `tap` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value};
use skuflow_runtime::testing::lake_readers;
use skuflow_schemas::Timestamp;
use skuflow_sinks::lake::Place;

use super::Project;
use super::reached::properties;

const DAY: i64 = 86_400_000_000;

/// The columns of a row that are not null.
pub type Row = Map<String, Value>;
/// Rows by partition and offset.
pub type Rows = BTreeMap<(u64, u64), Row>;

/// What a reader finds in a table.
struct Reading {
    table: String,
    reader: String,
    rows: Rows,
    /// Those of a stretch of event time, and how many files that took of all.
    some: Rows,
    files_read: u64,
    files: u64,
}

/// The folder of a project's lake.
pub fn folder(project: &Project) -> PathBuf {
    project.data.path().join("lake")
}

/// The lake in that folder.
pub fn place(project: &Project) -> Place {
    Place::folder(&folder(project))
}

/// The rows that a topic should be.
pub fn rows(project: &Project, topic: &str) -> Rows {
    let row = |record: Value| {
        let mut row = Row::new();
        lay_out("", &record["value"], &mut row);
        row.insert("_topic".into(), topic.into());
        row.extend(["partition", "offset"].map(|name| (format!("_{name}"), record[name].clone())));
        (offset(&row), row)
    };
    project.tap(topic).into_iter().map(row).collect()
}

/// Every reader finds in each table what its topic has, each record once, and reads a part of the files where a day is asked
/// for.
pub fn holds(project: &Project, place: &Place, topics: &[(&str, &str)]) {
    let expected: BTreeMap<&str, Rows> = topics.iter().map(|(topic, table)| (*table, rows(project, topic))).collect();
    let day = middle_day(&expected);
    let Some(readings) = read(place, &day) else { return };
    assert_eq!(readings.len(), topics.len() * 3, "each table by three readers");
    for Reading { table, reader, rows, some, files_read, files } in readings {
        let (what, all) = (format!("{table} by {reader}"), &expected[&*table]);
        let of_day: Rows = all.clone().into_iter().filter(|(_, row)| day.contains(&observed_at(row))).collect();
        assert_eq!(difference(&rows, all), None, "{what}");
        assert_eq!(difference(&some, &of_day), None, "{what}, of a day");
        assert!(files_read < files, "{what}: {files_read} of {files} files for a day");
    }
}

/// The first row that is not the same.
pub fn difference(found: &Rows, expected: &Rows) -> Option<String> {
    let places: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let other = places.into_iter().find(|place| found.get(place) != expected.get(place))?;
    Some(format!("{other:?} is {:?}, not {:?}", found.get(other), expected.get(other)))
}

/// The day of the event in the middle of all.
fn middle_day(tables: &BTreeMap<&str, Rows>) -> Range<i64> {
    let mut times: Vec<i64> = tables.values().flat_map(BTreeMap::values).map(observed_at).collect();
    times.sort_unstable();
    let begin = times[times.len() / 2].div_euclid(DAY) * DAY;
    begin..begin + DAY
}

/// `None` where there are no readers.
fn read(place: &Place, stretch: &Range<i64>) -> Option<Vec<Reading>> {
    let python = lake_readers()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/sinks/tests/lake/read.py");
    let output = Command::new(python)
        .args([script, &properties(place).to_string(), &stretch.start.to_string(), &stretch.end.to_string()])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    Some(text.lines().map(|line| reading(serde_json::from_str(line).expect("a JSON object"))).collect())
}

fn reading(mut said: Value) -> Reading {
    let [rows, some] = ["rows", "some"].map(|name| found(said[name].take()));
    Reading {
        table: said["table"].as_str().expect("text").to_owned(),
        reader: said["reader"].as_str().expect("text").to_owned(),
        files_read: said["files_read"].as_u64().unwrap_or_else(|| panic!("no number of files for {} rows", some.len())),
        files: said["files"].as_u64().expect("a number"),
        rows,
        some,
    }
}

/// The rows of a reader; when the lake took one in is known to the lake alone.
fn found(rows: Value) -> Rows {
    let Value::Array(rows) = rows else { panic!("a list") };
    let mut by_place = Rows::new();
    for row in rows {
        let Value::Object(row) = row else { panic!("an object") };
        let mut row: Row = row.into_iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k, plain(v))).collect();
        let taken_in = row.remove("_ingested_at").and_then(|micros| micros.as_i64());
        assert!(taken_in >= row["ingested_at"].as_i64() && taken_in.is_some(), "{row:?}");
        let again = by_place.insert(offset(&row), row);
        assert_eq!(again, None, "a record is there twice");
    }
    by_place
}

fn offset(row: &Row) -> (u64, u64) {
    let number = |name: &str| row[name].as_u64().expect("a number");
    (number("_partition"), number("_offset"))
}

fn observed_at(row: &Row) -> i64 {
    row["observed_at"].as_i64().expect("an instant")
}

/// The fields of an event as columns: what is in a part of it after the name of the part, an amount also as a decimal, a
/// list as JSON.
fn lay_out(before: &str, fields: &Value, row: &mut Row) {
    for (name, value) in fields.as_object().expect("an object") {
        let column = format!("{before}{name}");
        match (name.as_str(), value) {
            ("envelope" | "values", _) => lay_out("", value, row),
            ("reasons", _) => row.extend(nulls(value).map(|nulls| ("nulls".into(), nulls.into()))),
            (_, Value::Object(_)) => {
                lay_out(&format!("{column}_"), value, row);
                row.extend(decimal(value).map(|amount| (column, amount.into())));
            }
            (_, Value::Array(list)) if list.is_empty() => {}
            (_, Value::Array(_)) => drop(row.insert(column, value.to_string().into())),
            (_, Value::String(text)) if name.ends_with("_at") => {
                let instant: Timestamp = text.parse().expect("an instant");
                row.insert(column, instant.micros().into());
            }
            _ => drop(row.insert(column, plain(value.clone()))),
        }
    }
}

/// Why figures are null, by name.
fn nulls(reasons: &Value) -> Option<String> {
    let reasons = reasons.as_object().expect("an object").iter().filter(|(_, reason)| *reason != "present");
    let nulls: BTreeMap<_, _> = reasons.collect();
    (!nulls.is_empty()).then(|| serde_json::to_string(&nulls).expect("plain"))
}

/// An amount with six decimals; none where it is not an amount, or has more than 18 digits.
fn decimal(amount: &Value) -> Option<String> {
    let (minor, exponent) = (amount["minor"].as_i64()?, u32::try_from(amount["exponent"].as_u64()?).ok()?);
    let (sign, micros) = (if minor < 0 { "-" } else { "" }, i128::from(minor.abs()) * 10_i128.pow(6 - exponent));
    (micros < 10_i128.pow(18)).then(|| format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000))
}

/// A number that is not whole in one spelling.
fn plain(value: Value) -> Value {
    match value.as_f64() {
        Some(number) if !value.is_i64() && !value.is_u64() => number.into(),
        _ => value,
    }
}
