//! The built binary with a lake: what lands is what the topics have, the readers of the lake find it, and `skuflow lake`
//! tells of it.

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skuflow::demo::Market;
use skuflow_runtime::testing::postgres::postgres;
use skuflow_runtime::testing::s3::{S3, seaweedfs};
use skuflow_runtime::testing::{SmallDisk, lake_readers};
use skuflow_sinks::lake::{Described, Place, Shown, TABLES, Table};
use tempfile::TempDir;

use common::lake::{self, Rows};
use common::reached::{VARIABLES, bucket, config, placed};
use common::{Project, grocery_files, retail_files, wait_until};

const OFFERS: (&str, &str) = ("offers.v1", "processed.offers");
const SALES: (&str, &str) = ("sales.v1", "processed.sales");
const INVENTORY: (&str, &str) = ("inventory.v1", "processed.inventory");
const FEATURES: (&str, &str) = ("features.v1", "curated.features");
const ALERTS: (&str, &str) = ("alerts.v1", "curated.alerts");

const MARKET: Market = Market { seed: 7, products: 10, days: 20 };

/// The project with a lake for these topics, beside its data.
fn with_lake(project: Project, topics: &[(&str, &str)]) -> Project {
    let path = format!("path = \"{}\"", lake::folder(&project).display());
    with_sink(project, topics, &path)
}

fn with_sink(project: Project, topics: &[(&str, &str)], lake: &str) -> Project {
    let from = topics.iter().map(|(topic, _)| format!("\"{topic}\"")).collect::<Vec<_>>().join(", ");
    let block = format!("[[sink]]\nname = \"lake\"\nfrom = [{from}]\nlake = {{ {lake} }}\n\n[[sink]]");
    project.edit("[[sink]]", &block);
    project
}

/// Runs twice; the lake beside the data has the topics, once.
fn check(project: &Project, topics: &[(&str, &str)]) {
    check_at(project, &lake::place(project), topics);
}

fn check_at(project: &Project, place: &Place, topics: &[(&str, &str)]) {
    let first = project.run_once();
    for (topic, table) in topics {
        let rows = lake::rows(project, topic).len();
        assert!(rows > 0 && first["lake"]["rows"][table] == rows, "{topic}: {rows} in {first}");
    }
    assert!(first["lake"]["files"].as_u64() > Some(0) && first["lake"]["bytes"].as_u64() > Some(0), "{first}");
    lake::holds(project, place, topics);
    assert_eq!(project.run_once()["lake"]["files"], 0, "nothing is new");
}

#[test]
fn the_sample_lands_in_the_lake() {
    let topics = [OFFERS, SALES, INVENTORY];
    check(&with_lake(Project::sample(), &topics), &topics);
}

#[test]
fn retail_lands_in_the_lake() {
    let Some(files) = retail_files() else { return };
    check(&with_lake(Project::retail(&files), &[SALES]), &[SALES]);
}

/// The same in a bucket, with a catalog in Postgres.
#[test]
fn retail_lands_in_a_bucket() {
    if let Some(files) = retail_files() {
        check_in_a_bucket(Project::retail(&files), "retail", &[SALES]);
    }
}

#[test]
fn grocery_lands_in_a_bucket() {
    if let Some(year) = first_year() {
        check_in_a_bucket(Project::grocery(year.path()), "grocery", &[OFFERS, FEATURES, ALERTS]);
    }
}

fn check_in_a_bucket(mut project: Project, name: &str, topics: &[(&str, &str)]) {
    let (Some(server), Some(postgres)) = (seaweedfs(), postgres()) else { return };
    let place = bucket(server, name, &postgres.database(name));
    for (variable, value) in VARIABLES {
        project.set(variable, value);
    }
    check_at(&with_sink(project, topics, &config(&place)), &place, topics);
}

/// The run waits, says so, and goes on.
#[test]
fn a_server_that_is_away_for_a_minute_delays_rows_and_loses_none() {
    const AWAY: Duration = Duration::from_mins(1);
    let (Some(files), Some(mut server), Some(postgres)) = (retail_files(), S3::start(), postgres()) else { return };
    let place = bucket(&server, "away", &postgres.database("away"));
    let often = format!("{}, commit_interval = \"1s\", batch_bytes_max = \"1MiB\"", config(&place));
    let mut project = with_sink(Project::retail(&files), &[SALES], &often);
    for (variable, value) in VARIABLES {
        project.set(variable, value);
    }
    let running = RefCell::new(project.start_logged(&["run", "--once"], LOG));
    let ended = || running.borrow_mut().ended();
    let data = server.folder().join("away/processed");
    wait_until("the first file", || data.exists());
    server.kill();
    let until = Instant::now() + AWAY;
    while Instant::now() < until {
        assert_eq!(ended(), None, "{}", project.read(LOG));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(project.read(LOG).contains(&server.endpoint()), "{}", project.read(LOG));
    server.start_again();
    wait_until("what is left", || ended().is_some());
    assert_eq!(ended(), Some(true), "{}", project.read(LOG));
    lake::holds(&project, &place, &[SALES]);
}

#[test]
fn grocery_lands_in_the_lake() {
    if let Some(year) = first_year() {
        let topics = [OFFERS, FEATURES, ALERTS];
        check(&with_lake(Project::grocery(year.path()), &topics), &topics);
    }
}

/// The groceries of a year: more would show the same, and take longer.
fn first_year() -> Option<TempDir> {
    let files = grocery_files()?;
    let year = tempfile::tempdir().expect("a temporary directory");
    std::fs::copy(files.join("matches.ndjson"), year.path().join("matches.ndjson")).expect("there");
    let prices = std::fs::read_to_string(files.join("prices.ndjson")).expect("there");
    let prices: String = prices.lines().filter(|line| line.contains("\"2020-")).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(year.path().join("prices.ndjson"), prices).expect("writable");
    Some(year)
}

#[test]
fn the_demo_lands_in_the_lake() {
    check(&Project::market(MARKET), &[OFFERS, SALES, INVENTORY, FEATURES, ALERTS]);
}

/// The control: whatever happens to a row, it shows.
#[test]
fn a_row_that_is_another_is_noticed() {
    let project = Project::sample();
    project.run_once();
    let rows = lake::rows(&project, "offers.v1");
    let check = |tamper: &dyn Fn(&mut Rows, (u64, u64))| {
        let place = *rows.keys().nth(rows.len() / 2).expect("some");
        let mut found = rows.clone();
        tamper(&mut found, place);
        assert!(lake::difference(&found, &rows).is_some_and(|said| said.starts_with(&format!("{place:?} is "))));
    };
    assert_eq!(lake::difference(&rows, &rows), None);
    check(&|found, place| drop(found.remove(&place)));
    for column in ["event_id", "observed_at", "price", "price_minor", "price_currency", "native_id", "availability"] {
        check(&|found, place| drop(found.get_mut(&place).and_then(|row| row.remove(column)).expect("it has one")));
        check(&|found, place| found.get_mut(&place).expect("there")[column] = "another".into());
    }
}

#[test]
fn killed_runs_land_each_record_once() {
    let Some(files) = retail_files() else { return };
    let project = with_lake(Project::retail(&files), &[SALES]);
    project.edit("lake\" }", "lake\", commit_interval = \"1s\", batch_bytes_max = \"1MiB\" }");
    assert!(project.run_and_kill(6, 1) > 0, "it was at work");
    project.run_once();
    lake::holds(&project, &lake::place(&project), &[SALES]);
}

const LOG: &str = "log";
/// What a full disk is called, by the system and by `SQLite`.
const FULL: &[&str] = &["No space left on device", "disk is full"];

/// The lines of a run that speak of a full disk.
fn said_of_full_disk(project: &Project) -> Vec<String> {
    let log = project.read(LOG);
    log.lines().filter(|line| FULL.iter().any(|full| line.contains(full))).map(str::to_owned).collect()
}

/// Where there is no space, a run says where it wants some, and is killed here; when there is, another lands what is missing,
/// and nothing twice.
#[test]
fn on_a_full_disk_it_is_said_where_and_what_lands_afterwards_is_all_there_once() {
    const SIZE: u64 = 64 << 20;
    let Some(disk) = SmallDisk::mount(SIZE) else { return };
    let project = Project::market_in(MARKET, disk.path());
    let ballast = std::fs::File::create(disk.path().join("ballast")).expect("there is space");
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, SIZE - (2 << 20)).expect("there is space");
    for free in [8, 10, 12] {
        ballast.set_len(SIZE - (free << 20)).expect("less");
        let running = project.start_logged(&["run", "--once"], LOG);
        wait_until("the disk is full", || !said_of_full_disk(&project).is_empty());
        for line in said_of_full_disk(&project) {
            assert!(line.contains(&disk.path().display().to_string()), "{line}");
        }
        drop(running);
    }
    ballast.set_len(0).expect("less");
    project.run_once();
    let all = [OFFERS, SALES, INVENTORY, FEATURES, ALERTS];
    lake::holds(&project, &lake::place(&project), &all);
    let [offers, sales, _, _, alerts] = all.map(|(topic, _)| lake::rows(&project, topic));
    let ids = |rows: &Rows, is_one: &dyn Fn(&lake::Row) -> bool| {
        let ids = rows.values().filter(|row| is_one(row)).map(|row| row["event_id"].as_str().expect("text").to_owned());
        ids.collect::<BTreeSet<_>>()
    };
    let table = |query: &str| project.query(query).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(table("SELECT event_id FROM price_history"), ids(&offers, &|row| row.contains_key("price")));
    assert_eq!(table("SELECT event_id FROM sale_lines"), ids(&sales, &|_| true));
    assert_eq!(table("SELECT event_id FROM alerts"), ids(&alerts, &|_| true));
    let units: i64 = sales.values().map(|row| row["units"].as_i64().expect("a number")).sum();
    assert_eq!(project.query("SELECT SUM(units) FROM sales_daily"), [units.to_string()]);
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
    let project = with_lake(Project::sample(), &[SALES, INVENTORY]);
    let first = project.run_once();
    let folder = lake::folder(&project).canonicalize().expect("there");
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
    let project = with_lake(project, &[SALES]);
    let lake = lake::folder(&project);
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

#[test]
fn a_lake_is_tended_by_hand_and_what_is_wrong_with_it_is_named() {
    let project = with_lake(Project::sample(), &[SALES, INVENTORY]);
    let (exit, text) = said(&project, &["lake", "compact"]);
    assert!(exit == 0 && !lake::folder(&project).exists(), "nothing is made: {text}");
    project.run_once();
    let before = counts(&project);
    for command in ["compact", "expire", "gc"] {
        for arguments in [&["lake", command, "--dry-run"][..], &["lake", command, "sales"]] {
            let (exit, text) = said(&project, arguments);
            assert_eq!(exit, 0, "{arguments:?}: {text}");
        }
    }
    assert_eq!(counts(&project), before, "rows are neither old nor many");
    let (exit, text) = said(&project, &["lake", "fsck"]);
    assert_eq!((exit, text.as_str()), (0, "(nothing)\n"));
    let (exit, text) = said(&project, &["lake", "fsck", "offers"]);
    assert!(exit == 64 && text.contains("no sink of the config fills table processed.offers"), "{exit}: {text}");
    let shown = project.json(&["lake", "show", "sales", "--format", "json"]);
    let file = shown["files"][0]["file"].as_str().expect("a path");
    std::fs::remove_file(Path::new(shown["folder"].as_str().expect("a path")).join(file)).expect("there");
    let (exit, text) = said(&project, &["lake", "fsck", "sales"]);
    assert!(exit == 65 && text.contains("missing") && text.contains(file), "{exit}: {text}");
    assert_eq!(said(&project, &["lake", "fsck", "inventory"]).0, 0);
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

/// Changes the type of a column in a table's metadata file, as another program may.
fn retype(project: &Project, table: &str, column: &str, kind: &str) {
    let shown = project.json(&["lake", "show", table, "--format", "json"]);
    let file = shown["metadata_file"].as_str().expect("a path");
    let mut metadata: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("there")).expect("JSON");
    let fields = metadata["schemas"][0]["fields"].as_array_mut().expect("a list");
    let field = fields.iter_mut().find(|field| field["name"] == column).expect("there");
    field["type"] = kind.into();
    std::fs::write(file, metadata.to_string()).expect("writable");
}

#[test]
fn a_table_that_cannot_be_written_is_refused_by_check_and_at_start() {
    let project = with_lake(Project::sample(), &[SALES, INVENTORY]);
    project.run_once();
    let connect = ["check", "--connect", "--format", "json"];
    assert_eq!(said(&project, &connect).0, 0);
    retype(&project, "sales", "units", "string");
    let reason = "table processed.sales in ";
    let wrong = "its column `units` is string, not long; give the sink a new, empty `path`";
    let (exit, text) = said(&project, &connect);
    assert!(exit == 69 && text.contains(reason) && text.contains(wrong), "{exit}: {text}");
    let (exit, text) = said(&project, &["run", "--once"]);
    assert!(exit == 65 && text.contains(reason) && text.contains(wrong), "{exit}: {text}");
}

/// What `docs/lake-columns.md` says of a column.
fn documented(column: &Described) -> String {
    let view = match column.shown {
        Shown::AsIs => "yes",
        Shown::AsJson => "as JSON",
        Shown::Not => "",
    };
    let null = column.null.as_deref().unwrap_or("never");
    format!("| `{}` | {} | {view} | {} | {null} |\n", column.name, column.kind, column.about)
}

#[test]
fn each_column_is_documented() {
    let mut text = String::from(include_str!("lake/columns.md"));
    let mut tables: Vec<(Vec<&Table>, Vec<Described>)> = Vec::new();
    for table in &TABLES {
        let columns = table.described();
        match tables.iter_mut().find(|(_, known)| *known == columns) {
            Some((same, _)) => same.push(table),
            None => tables.push((vec![table], columns)),
        }
    }
    for (same, columns) in tables {
        let list =
            |name: &dyn Fn(&Table) -> String| same.iter().map(|table| name(table)).collect::<Vec<_>>().join(", ");
        let names = list(&|table| table.full_name.to_owned());
        let views = list(&|table| format!("`{}`", table.view()));
        text.push_str(&format!("\n## {names}\n\nShown by {views}.\n\n"));
        text.push_str("| column | type | in the view | what it holds | null |\n|---|---|---|---|---|\n");
        text.extend(columns.iter().map(documented));
    }
    expect_test::expect_file!["../docs/lake-columns.md"].assert_eq(&text);
}

/// What `DuckDB` calls the columns of a table's view, and their types.
fn view_columns(table: &Table) -> Vec<String> {
    let shown = table.described().into_iter().filter_map(|column| {
        let kind = match (column.shown, column.kind.as_str()) {
            (Shown::Not, _) => return None,
            (Shown::AsJson, _) => "JSON",
            (_, "string") => "VARCHAR",
            (_, "long") => "BIGINT",
            (_, "timestamptz") => "TIMESTAMP WITH TIME ZONE",
            (_, kind) => &kind.to_uppercase().replace(", ", ","),
        };
        Some(format!("{} {} {kind}", table.view(), column.name))
    });
    shown.collect()
}

/// Each row of a list of rows, a space between its texts.
fn texts(rows: &Value) -> impl Iterator<Item = String> {
    let text = |row: &Value| {
        let texts = row.as_array().expect("a row").iter().map(|text| text.as_str().expect("text"));
        texts.collect::<Vec<_>>().join(" ")
    };
    rows.as_array().expect("rows").iter().map(text)
}

#[test]
fn the_printed_statements_find_what_is_listed() {
    let Some(reader) = lake_readers() else { return };
    let project = Project::market(MARKET);
    project.run_once();
    let listed = counts(&project);
    assert_eq!(listed.len(), 5, "{listed:?}");
    let statements = project.json(&["lake", "sql", "--format", "json"]);
    let statements = |of: &str| statements[of].as_str().expect("text").to_owned();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lake/run.py");
    let columns = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal;";
    let found = python(&reader, &[script], &format!("{}{columns}", statements("duckdb")));
    let mut found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found_columns: BTreeSet<String> = texts(&found.pop().expect("the columns of the views")).collect();
    assert_eq!(found_columns, TABLES.iter().filter(|table| !table.is_raw()).flat_map(view_columns).collect());
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
    let printed = ["duckdb", "pyiceberg", "glue", "athena"].map(statements).join("\n");
    assert_eq!(both, printed);
    let athena = statements("athena");
    assert!(athena.starts_with("-- Athena reads buckets of Amazon S3; the lake in /") && athena.lines().count() == 1);
}

/// What the statements leave to their reader is who it is.
#[test]
fn the_printed_statements_find_what_a_catalog_has_placed() {
    let (Some(server), Some(reader)) = (seaweedfs(), lake_readers()) else { return };
    let (url, warehouse) = server.catalog();
    let place = placed(&server.endpoint(), &url, &warehouse);
    let mut project = Project::sample();
    for (variable, value) in VARIABLES {
        project.set(variable, value);
    }
    let topics = [OFFERS, SALES, INVENTORY];
    let project = with_sink(project, &topics, &config(&place));
    let (exit, text) = said(&project, &["check", "--connect"]);
    assert_eq!(exit, 0, "{text}");
    let landed = project.run_once();
    for (topic, table) in topics {
        let rows = lake::rows(&project, topic).len();
        assert!(rows > 0 && landed["lake"]["rows"][table] == rows, "{topic}: {rows} in {landed}");
    }
    assert_eq!(project.run_once()["lake"]["files"], 0, "nothing is new");
    let listed = counts(&project);
    let statements = project.json(&["lake", "sql", "--format", "json"]);
    let statements = |of: &str| statements[of].as_str().expect("text").to_owned();

    let [id, secret] = VARIABLES.map(|(_, value)| value);
    let duckdb = statements("duckdb").replace("INSTALL aws;\nLOAD aws;\n", "");
    let duckdb = duckdb.replace("PROVIDER credential_chain", &format!("KEY_ID '{id}', SECRET '{secret}'"));
    let duckdb = duckdb.replace("-- it wants a secret: ", "");
    let duckdb = duckdb.replace("CLIENT_ID '…'", &format!("CLIENT_ID '{id}'"));
    let duckdb = duckdb.replace("CLIENT_SECRET '…'", &format!("CLIENT_SECRET '{secret}'"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lake/run.py");
    let found = python(&reader, &[script], &duckdb);
    let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(found.len(), 3 * topics.len(), "the table, the metadata file, the example: {duckdb}");
    for of_table in found.chunks(3) {
        let name = of_table[0][0][0].as_str().expect("a name");
        let expected = json!([[name, listed[name]]]);
        assert_eq!([&of_table[0], &of_table[1]], [&expected, &expected]);
    }

    let login = format!(", credential=\"{id}:{secret}\", **{{\"s3.access-key-id\": \"{id}\", ");
    let login = format!("{login}\"s3.secret-access-key\": \"{secret}\", ");
    let found = python(&reader, &["-"], &statements("pyiceberg").replacen(", **{", &login, 1));
    for (name, rows) in &listed {
        assert!(found.contains(&format!("{name} {rows}\n")), "{name}: {found}");
    }
}
