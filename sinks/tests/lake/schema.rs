//! Columns that come and go.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use skuflow_runtime::testing::lake_readers;
use skuflow_sinks::lake::{CATALOG_FILE, CATALOG_NAME, TABLES};
use skuflow_sinks::{Sink as _, SinkError};

use super::readers::read;
use super::world::{BEGIN, NOW, PACE, SMALL, broker, identity, lake, land, publish, records, rows, table_files, wait};

/// Changes the columns of `processed.offers`, see the script.
fn alter(python: &str, folder: &Path, changes: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lake/alter.py");
    let mut command = Command::new(python);
    command.arg(script).arg(folder).args([CATALOG_FILE, CATALOG_NAME, "processed.offers"]).args(changes);
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_column_that_is_missing_is_added_and_one_too_many_stays_empty() {
    let Some(python) = lake_readers() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().canonicalize().expect("there").join("lake");
    let (broker, table) = (broker(100), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let (before, _) = table_files(&folder, table).expect("made");
    let old_id = before.current_schema().field_id_by_name("stock_level").expect("there");
    alter(&python, &folder, &["-stock_level", "note"]);
    publish(&broker, table, 100..150);
    land(&broker, &folder, table, SMALL, None);
    assert_eq!(rows(&folder, table), records(&broker, table));
    let (after, _) = table_files(&folder, table).expect("made");
    let new_id = after.current_schema().field_id_by_name("stock_level").expect("added");
    assert!(new_id > old_id, "an id of its own: what is in the old files is another column");
    let readings: Vec<Value> = read(&python, &folder, BEGIN, BEGIN + PACE);
    assert_eq!(readings.len(), 3, "one table in three ways");
    for reading in &readings {
        let what = &reading["reader"];
        let all = reading["rows"].as_array().expect("a list");
        assert_eq!(all.len(), 150, "{what}");
        for row in all {
            let number = (row["observed_at"].as_i64().expect("a time") - BEGIN).rem_euclid(3 * 86_400_000_000) / PACE;
            let written = number >= 100 && number % 2 == 0;
            assert_eq!(row["stock_level"].as_i64(), written.then_some(number), "{what}: {row}");
            assert!(row["note"].is_null() && row["_ingested_at"] == NOW, "{what}: {row}");
        }
    }
}

#[test]
fn a_column_that_is_something_else_is_refused() {
    let Some(python) = lake_readers() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().canonicalize().expect("there").join("lake");
    let (broker, table) = (broker(20), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let refusal = |folder: &Path| match wait(lake(folder, table, None).positions(&identity(&broker))) {
        Err(SinkError::Fatal(reason)) => reason,
        other => panic!("{other:?}"),
    };
    alter(&python, &folder, &["-stock_level", "stock_level"]);
    let reason = refusal(&folder);
    assert!(reason.contains("its column `stock_level` is string, not long"), "{reason}");
    alter(&python, &folder, &["-stock_level", "-availability"]);
    let reason = refusal(&folder);
    assert!(
        reason.contains("its column `availability` must have a value, and the rows there are have none"),
        "{reason}"
    );
    assert_eq!(rows(&folder, table).len(), 20, "nothing is changed");
}
