//! Columns that come and go.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use skuflow_runtime::testing::lake_readers;
use skuflow_sinks::lake::{CATALOG_FILE, CATALOG_NAME, Place, TABLES, Teller};
use skuflow_sinks::{Sink as _, SinkError};

use super::damage::edit;
use super::readers::read;
use super::world::{
    BEGIN, NOW, PACE, SMALL, broker, identity, lake, land, path_of, publish, records, rows, table_files, wait,
};

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
fn a_table_without_docs_stays_as_it_is_and_files_have_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (broker, table) = (broker(40), &TABLES[0]);
    land(&broker, dir.path(), table, SMALL, None);
    edit(dir.path(), table, |metadata| {
        for field in metadata["schemas"][0]["fields"].as_array_mut().expect("a list") {
            let doc = field.as_object_mut().and_then(|field| field.remove("doc"));
            assert!(doc.is_some_and(|doc| doc.as_str().is_some_and(|doc| !doc.is_empty())), "{field}");
        }
    });
    publish(&broker, table, 40..60);
    land(&broker, dir.path(), table, SMALL, None);
    assert_eq!(rows(dir.path(), table), records(&broker, table));
    let (metadata, files) = table_files(dir.path(), table).expect("made");
    assert_eq!(metadata.schemas_iter().len(), 1, "its columns are what they were");
    for file in files {
        let file = File::open(path_of(file.file_path())).expect("there");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("readable");
        let keys = reader.schema().fields().iter().flat_map(|field| field.metadata().keys().cloned());
        assert_eq!(keys.collect::<BTreeSet<_>>(), BTreeSet::from(["PARQUET:field_id".to_owned()]));
    }
}

#[test]
fn a_column_that_is_something_else_is_refused() {
    let Some(python) = lake_readers() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().canonicalize().expect("there").join("lake");
    let (broker, table) = (broker(20), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let fits = |folder: &Path| {
        let fits = wait(async { Teller::open(&Place::folder(folder)).await?.fits(table).await });
        fits.map_err(|error| error.to_string())
    };
    assert_eq!(fits(&folder), Ok(()));
    let refusal = |folder: &Path| match wait(lake(folder, table, None).positions(&identity(&broker))) {
        Err(SinkError::Fatal(reason)) => {
            assert_eq!(fits(folder), Err(SinkError::Fatal(reason.clone()).to_string()), "who asks is told the same");
            reason
        }
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
