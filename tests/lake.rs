//! The built binary with a lake: what lands is what the topics have, and the readers of the lake find it.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skuflow_runtime::testing::lake_readers;

use common::{Project, retail_files};

/// The project with a lake for these topics, beside its data.
fn with_lake(project: Project, topics: &[&str]) -> (Project, PathBuf) {
    let lake = project.data.path().join("lake");
    let from = topics.iter().map(|topic| format!("\"{topic}\"")).collect::<Vec<_>>().join(", ");
    let block =
        format!("[[sink]]\nname = \"lake\"\nfrom = [{from}]\nlake = {{ path = \"{}\" }}\n\n[[sink]]", lake.display());
    project.edit("[[sink]]", &block);
    (project, lake)
}

/// Ids of a topic's events.
fn ids(project: &Project, topic: &str) -> Vec<String> {
    let id = |record: Value| record["value"]["envelope"]["event_id"].as_str().expect("has one").to_owned();
    let mut ids: Vec<String> = project.tap(topic).into_iter().map(id).collect();
    ids.sort();
    ids
}

/// Tables and ids as each reader finds them, where there are readers.
fn read(lake: &Path) -> Option<Vec<(String, Vec<String>)>> {
    let python = lake_readers()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sinks/tests/lake/read.py");
    let output = Command::new(python).arg(script).arg(lake).args(["catalog.db", "lake", "0", "1"]).output();
    let output = output.expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let tables = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object"));
    let ids = |table: &Value| {
        let rows = table["rows"].as_array().expect("a list").iter();
        let mut ids: Vec<String> = rows.map(|row| row["event_id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    };
    Some(tables.map(|table| (table["table"].as_str().expect("a name").to_owned(), ids(&table))).collect())
}

/// Runs twice; the lake has the topics, once.
fn check(project: Project, topics: &[(&str, &str)]) {
    let names: Vec<&str> = topics.iter().map(|(topic, _)| *topic).collect();
    let (project, lake) = with_lake(project, &names);
    let first = project.run_once();
    let mut expected = BTreeSet::new();
    for (topic, table) in topics {
        let ids = ids(&project, topic);
        assert!(!ids.is_empty(), "{topic}");
        assert_eq!(first["lake"]["rows"][table], ids.len(), "{topic}");
        expected.insert(((*table).to_owned(), ids));
    }
    assert!(first["lake"]["files"].as_u64() > Some(0) && first["lake"]["bytes"].as_u64() > Some(0), "{first}");
    let again = project.run_once();
    assert_eq!(again["lake"]["files"], 0, "nothing is new");
    if let Some(found) = read(&lake) {
        assert_eq!(found.len(), topics.len() * 3, "each table by three readers");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn the_sample_lands_in_the_lake() {
    let topics =
        [("offers.v1", "processed.offers"), ("sales.v1", "processed.sales"), ("inventory.v1", "processed.inventory")];
    check(Project::sample(), &topics);
}

#[test]
fn retail_lands_in_the_lake() {
    let Some(files) = retail_files() else { return };
    check(Project::retail(&files), &[("sales.v1", "processed.sales")]);
}

#[test]
fn killed_runs_land_each_record_once() {
    let Some(files) = retail_files() else { return };
    let (project, lake) = with_lake(Project::retail(&files), &["sales.v1"]);
    project.edit("lake\" }", "lake\", commit_interval = \"1s\", batch_bytes_max = \"1MiB\" }");
    assert!(project.run_and_kill(6, 1) > 0, "it was at work");
    project.run_once();
    let expected = ids(&project, "sales.v1");
    for (table, found) in read(&lake).unwrap_or_default() {
        assert_eq!(found, expected, "{table}");
    }
}
