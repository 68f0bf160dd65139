//! The built binary with a lake: what lands is what the topics have, the readers of the lake find it, and `skuflow lake`
//! tells of it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use skuflow::demo::Market;
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

/// Columns that are other ones in each run.
const CHANGING: &[&str] = &["bytes", "age_seconds", "committed_at", "snapshot", "commit_id"];

/// Words of lines, names in the place of what is another in each run.
fn masked(text: &str, folder: &Path) -> String {
    let (mut header, mut out) = (Vec::new(), String::new());
    for line in text.replace(&folder.display().to_string(), "<folder>").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | [_] => header.clear(),
            words if header.is_empty() && !line.contains(')') => {
                header = words.iter().map(|word| (*word).to_owned()).collect();
            }
            _ => {}
        }
        let mask = |(at, word): (usize, &&str)| match header.get(at) {
            Some(name) if words.len() == header.len() && CHANGING.contains(&name.as_str()) && *name != **word => {
                format!("<{name}>")
            }
            _ => without_uuids(word),
        };
        let words: Vec<String> = words.iter().enumerate().map(mask).collect();
        let line = words.join(" ");
        out.push_str(line.split_once(" files, ").map_or(line.as_str(), |(counts, _)| counts));
        out.push('\n');
    }
    out
}

/// `<uuid>` for each UUID in a word.
fn without_uuids(word: &str) -> String {
    let is_uuid = |text: &str| {
        text.char_indices().all(|(at, c)| if matches!(at, 8 | 13 | 18 | 23) { c == '-' } else { c.is_ascii_hexdigit() })
    };
    let mut rest = word;
    while !rest.is_empty() {
        if rest.get(..36).is_some_and(is_uuid) {
            let before = &word[..word.len() - rest.len()];
            return format!("{before}<uuid>{}", without_uuids(&rest[36..]));
        }
        rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
    }
    word.to_owned()
}

/// The exit code of a command, and what it says.
fn said(project: &Project, arguments: &[&str]) -> (i32, String) {
    let output = project.command(arguments);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    (output.status.code().expect("it ends by itself"), text)
}

/// Rows by table, as `lake ls` says them.
fn counts(project: &Project) -> BTreeMap<String, Value> {
    let listed = project.json(&["lake", "ls", "--format", "json"]);
    let rows = listed.as_array().expect("rows").iter();
    let name =
        |row: &Value| format!("{}.{}", row["zone"].as_str().expect("text"), row["table"].as_str().expect("text"));
    rows.map(|row| (name(row), row["rows"].clone())).collect()
}

#[test]
fn a_lake_is_looked_at_beside_a_run_and_without_one() {
    let (project, lake) = with_lake(Project::sample(), &["sales.v1", "inventory.v1"]);
    let first = project.run_once();
    let folder = lake.canonicalize().expect("there");
    let files = || {
        let names = std::fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.file_name());
        names.collect::<BTreeSet<_>>()
    };
    let before = files();
    expect_test::expect_file!["lake/ls.txt"].assert_eq(&masked(&said(&project, &["lake", "ls"]).1, &folder));
    let shown = said(&project, &["lake", "show", "inventory", "-n", "3"]).1;
    expect_test::expect_file!["lake/show.txt"].assert_eq(&masked(&shown, &folder));
    let found = counts(&project);
    assert_eq!(json!(found), first["lake"]["rows"], "{found:?}");
    let whole = project.json(&["lake", "show", "processed.sales", "-n", "1000", "--format", "json"]);
    let sum =
        |part: &str| whole[part].as_array().expect("rows").iter().filter_map(|row| row["rows"].as_u64()).sum::<u64>();
    assert_eq!(
        (json!(sum("files")), json!(sum("snapshots"))),
        (whole["table"]["rows"].clone(), whole["table"]["rows"].clone())
    );
    for file in whole["files"].as_array().expect("rows") {
        let path = Path::new(whole["folder"].as_str().expect("text")).join(file["file"].as_str().expect("text"));
        let size = std::fs::metadata(path).expect("there").len();
        assert_eq!(Some(size), file["bytes"].as_u64(), "{file}");
        assert!(
            file["first_event"].as_str() <= file["last_event"].as_str() && file["first_event"].is_string(),
            "{file}"
        );
    }
    assert_eq!(files(), before, "nothing is left behind");
    let running = project.start(&["run", "--only", "lake"]);
    project.wait_for_socket();
    assert_eq!(counts(&project), found);
    running.stop();
}

#[test]
fn where_there_is_no_lake_it_is_said() {
    let project = Project::sample();
    let (exit, text) = said(&project, &["lake", "ls"]);
    assert!(exit == 64 && text.contains("the config has no lake"), "{exit}: {text}");
    let (project, lake) = with_lake(project, &["sales.v1"]);
    for arguments in [&["lake", "ls"][..], &["lake", "show", "sales"], &["lake", "sql"]] {
        let (exit, text) = said(&project, arguments);
        assert!(exit == 69 && text.contains("nothing was committed"), "{arguments:?}: {exit}: {text}");
    }
    assert!(!lake.exists(), "nothing is made");
    project.run_once();
    let (exit, text) = said(&project, &["lake", "show", "slaes"]);
    assert!(exit == 64 && text.contains("there is no table `slaes`; there are: processed.offers"), "{exit}: {text}");
    let (exit, text) = said(&project, &["lake", "sql", "alerts"]);
    assert!(exit == 69 && text.contains("curated.alerts is not in the lake yet"), "{exit}: {text}");
    std::fs::write(lake.join("catalog.db"), "something else altogether, and rather long").expect("ours");
    let (exit, text) = said(&project, &["lake", "ls"]);
    assert!(exit == 65 && text.contains("catalog.db"), "{exit}: {text}");
}

/// What a Python program prints that is given `input`.
fn python(python: &str, arguments: &[&str], input: &str) -> String {
    let started = Command::new(python)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = started.expect("starts");
    running.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{input}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_printed_statements_find_what_is_listed() {
    let Some(reader) = lake_readers() else { return };
    let project = Project::market(Market { seed: 7, products: 10, days: 20 });
    project.run_once();
    let listed = counts(&project);
    assert_eq!(listed.len(), 5, "{listed:?}");
    let statements = project.json(&["lake", "sql", "--format", "json"]);
    let statements = |of: &str| statements[of].as_str().expect("text").to_owned();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lake/run.py");
    let found = python(&reader, &[script], &statements("duckdb"));
    let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(found.len(), 3 * listed.len(), "the table, the metadata file, the example");
    for of_table in found.chunks(3) {
        let name = of_table[0][0][0].as_str().expect("a name");
        let expected = json!([[name, listed[name]]]);
        assert_eq!([&of_table[0], &of_table[1]], [&expected, &expected]);
        assert!(of_table[2].as_array().is_some_and(|rows| !rows.is_empty()), "{name}: the example finds something");
    }

    let found = python(&reader, &["-"], &statements("pyiceberg"));
    for (name, rows) in &listed {
        assert!(found.contains(&format!("{name} {rows}\n")), "{name}: {found}");
    }
    assert!(found.matches("{'observed_at': ").count() > listed.len(), "each example finds something: {found}");
    let (one, both) =
        (said(&project, &["lake", "sql", "sales", "--reader", "duckdb"]).1, said(&project, &["lake", "sql"]).1);
    assert!(one.contains("processed.sales") && !one.contains("processed.offers") && !one.contains("catalog"), "{one}");
    assert_eq!(both, format!("{}\n{}", statements("duckdb"), statements("pyiceberg")));
}
