//! The built binary on real and made-up input, killed, restarted, and compared with independent recomputations.

mod common;

use std::collections::{BTreeMap, HashSet};

use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::{Broker, Commit, Record, RecordView, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::limits::FETCH_BYTES_MAX;
use skuflow_runtime::storage::Options;

use common::replay::Replay;
use common::topics::{Contents, contents, differences, open};
use common::{Project, retail_files};

/// Rows of the files read by hand: no code of the product.
fn naive_rows(files: &std::path::Path) -> Vec<Vec<String>> {
    let mut paths: Vec<_> = std::fs::read_dir(files).expect("readable").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).expect("UTF-8");
        for line in text.lines().skip(1) {
            let mut fields = vec![String::new()];
            let mut quoted = false;
            for c in line.chars() {
                match c {
                    '"' => quoted = !quoted,
                    ',' if !quoted => fields.push(String::new()),
                    c => fields.last_mut().expect("one").push(c),
                }
            }
            fields.push(line.to_owned());
            rows.push(fields);
        }
    }
    rows
}

/// Units per SKU and day over the rows that are neither repeats nor priced at zero or less.
fn naive_units(rows: &[Vec<String>]) -> BTreeMap<(String, String), i64> {
    let mut seen = HashSet::new();
    let mut units = BTreeMap::new();
    for row in rows {
        let [.., whole] = row.as_slice() else { continue };
        let price: f64 = row[5].parse().expect("a price");
        if price > 0.0 && seen.insert(whole) {
            let quantity: i64 = row[3].parse().expect("a quantity");
            *units.entry((row[1].clone(), row[4][..10].to_owned())).or_default() += quantity;
        }
    }
    units
}

/// Units a day and units returned per SKU in the seven days before day `today` of December, as a row of [`DEMAND`]: over
/// the rows that are neither repeats nor priced at zero or less. In winter London's days are those of UTC.
fn naive_demand(rows: &[Vec<String>], today: i64) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut skus: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    for row in rows {
        let day: i64 = row[4][8..10].parse().expect("a day");
        let quantity: i64 = row[3].parse().expect("a quantity");
        let price: f64 = row[5].parse().expect("a price");
        if price <= 0.0 || day > today || !seen.insert(&row[8]) {
            continue;
        }
        let (first, sold, returned) = skus.entry(row[1].clone()).or_insert((today, 0, 0));
        let is_in_window = (today - 7..today).contains(&day);
        if row[0].starts_with('C') {
            *returned += if is_in_window { -quantity } else { 0 };
        } else {
            *first = day.min(*first);
            *sold += if is_in_window { quantity } else { 0 };
        }
    }
    let shown = |(sku, (first, sold, returned)): (String, (i64, i64, i64))| {
        let days = (today - first).min(7);
        let velocity = if sold == 0 { String::new() } else { (sold as f64 / days as f64).to_string() };
        let returned = if (sold, returned) == (0, 0) { String::new() } else { returned.to_string() };
        format!("{sku}|{velocity}|{returned}")
    };
    skus.into_iter().map(shown).collect()
}

const DEMAND: &str = "SELECT replace(substr(product, length('online-retail:uk:') + 1), '%20', ' ') AS sku,
    demand_sales_velocity_7d, demand_returns_7d FROM product_features ORDER BY sku";

#[test]
fn demand_per_sku_is_what_a_recomputation_says() {
    let Some(files) = retail_files() else { return };
    let project = Project::retail(&files);
    // One worker per stage: what several send while they catch up, days apart, may set a timer behind the last record.
    project.edit("[topics]", "[runtime]\nthreads = 1\n\n[topics]");
    let stage = r#"[[stage]]
name = "compete"
from = ["product-sales.v1"]
steps = [{ features = {} }]
to = ["features.v1"]
"#;
    project.edit("[[sink]]", &format!("{stage}\n[[sink]]"));
    project.edit("from = [\"sales.v1\"", "from = [\"features.v1\", \"sales.v1\"");
    project.run_once();
    let rows = naive_rows(&files);
    let expected = naive_demand(&rows, 23);
    assert_eq!(expected.len(), 2_799);
    assert_eq!(project.query(DEMAND), expected);
    assert_ne!(expected, naive_demand(&rows, 22), "a day more or less is noticed");
}

#[test]
fn retail_adds_up_to_the_row_and_a_second_run_changes_nothing() {
    let Some(files) = retail_files() else { return };
    let project = Project::retail(&files);
    let first = project.run_once();
    let count = |name: &str| first[name].as_u64().expect("a count");
    assert_eq!(count("read"), 42_481);
    assert_eq!(first["dead_letters_by_rule"], serde_json::json!({ "price-not-positive": 273 }));
    assert_eq!(count("dead_letters"), 273);
    assert_eq!(count("read"), count("accepted") + count("unchanged") + count("duplicates") + count("dead_letters"));
    let rows = naive_rows(&files);
    let free = |row: &&Vec<String>| row[5].parse::<f64>().expect("a price") <= 0.0;
    let distinct: HashSet<&String> = rows.iter().filter(|row| !free(row)).map(|row| &row[8]).collect();
    assert_eq!(count("accepted"), distinct.len() as u64);
    let tables = project.units_by_sku_and_day();
    assert_eq!(tables, naive_units(&rows));
    let second = project.run_once();
    assert_eq!((&second["read"], &second["serving"]["rows"]), (&0.into(), &serde_json::json!({})));
    assert_eq!(project.units_by_sku_and_day(), tables);
}

#[test]
fn one_day_more_in_the_folder_and_only_that_day_is_read() {
    let Some(files) = retail_files() else { return };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let copy = |day: &str| std::fs::copy(files.join(day), folder.path().join(day)).expect("there");
    copy("2010-12-01.csv");
    copy("2010-12-02.csv");
    let project = Project::retail(folder.path());
    let first = project.run_once();
    copy("2010-12-03.csv");
    let second = project.run_once();
    let lines = |day: &str| naive_rows(folder.path()).iter().filter(|row| row[4].starts_with(day)).count() as u64;
    assert_eq!(second["read"], lines("2010-12-03"));
    assert_eq!(first["read"], lines("2010-12-01") + lines("2010-12-02"));
    assert_eq!(project.units_by_sku_and_day(), naive_units(&naive_rows(folder.path())));
}

/// A short version of `cargo xtask kill`.
#[test]
fn killed_at_random_moments_tables_and_topics_are_those_of_an_undisturbed_run() {
    let Some(files) = retail_files() else { return };
    let project = Project::retail(&files);
    let seed = 3;
    assert!(project.run_and_kill(8, seed) > 0, "it was at work");
    let last = project.run_once();
    assert_eq!(project.units_by_sku_and_day(), naive_units(&naive_rows(&files)), "seed {seed}; last run: {last}");
    let totals = project.query("SELECT outcome, SUM(count) FROM data_quality GROUP BY outcome ORDER BY outcome");
    assert_eq!(totals, ["accepted|41710", "duplicate|498", "rejected|273"], "seed {seed}");
    assert_eq!(project.query("SELECT SUM(count) FROM dead_letters"), ["273"], "seed {seed}");
    let undisturbed = Project::retail(&files);
    undisturbed.run_once();
    let (found, expected) = (contents(project.data.path()), contents(undisturbed.data.path()));
    let records = |contents: &Contents, topic: &str| contents[topic].values().sum::<i64>();
    assert_eq!((records(&expected, "raw.sales.v1"), records(&expected, "sales.v1")), (42_481, 41_710));
    assert_eq!(differences(&found, &expected), Vec::<String>::new(), "seed {seed}");
    send_once_more(project.data.path(), "product-sales.v1");
    assert_eq!(differences(&contents(project.data.path()), &expected), ["product-sales.v1: 1 too many, 0 missing"]);
}

/// Copies the first record of a topic to its end.
fn send_once_more(data_dir: &std::path::Path, topic: &str) {
    let broker = Embedded::open(data_dir, Options::default(), Clock::System).expect("nobody runs it");
    let of = TopicPartition::new(topic, 0);
    let batches = broker.reader().expect("open").fetch(&of, 0, FETCH_BYTES_MAX).expect("readable");
    let RecordView { key, value, .. } = batches[0].iter().next().expect("a record");
    let mut producer = broker.producer("test").expect("open");
    producer.send(&of.topic, Some(0), &Record { key, value, headers: &[] }).expect("there");
    producer.commit(Commit::default()).expect("written");
}

#[test]
fn the_sample_ends_as_its_readme_says() {
    let project = Project::sample();
    let summary = project.run_once();
    let count = |name: &str| summary[name].as_u64().expect("a count");
    assert_eq!(count("read"), count("accepted") + count("unchanged") + count("duplicates") + count("dead_letters"));
    assert_eq!((count("duplicates"), count("conflicting"), count("late")), (5, 1, 2));
    let suspect = serde_json::json!({ "landed-price-mismatch": 1, "magnitude-jump": 1, "units-zero": 1 });
    assert_eq!(summary["suspect"], suspect);
    for rule in [
        "currency-invalid",
        "currency-unknown",
        "floor-above-ceiling",
        "future-timestamp",
        "json-invalid",
        "number-invalid",
        "price-not-positive",
        "quantity-negative",
        "rating-out-of-range",
        "row-malformed",
        "time-in-dst-gap",
        "time-invalid",
        "value-missing",
    ] {
        assert!(summary["dead_letters_by_rule"][rule].as_u64().is_some(), "{rule}: {summary}");
    }
}

#[test]
fn dead_letters_land_exactly_once_after_the_mapping_was_mended() {
    let project = Project::sample();
    project.run_once();
    let replay = |arguments: &[&str]| {
        let base = ["dlq", "replay", "eu-orders", "--format", "json"];
        project.json(&[&base, arguments].concat())
    };
    assert_eq!(replay(&["--dry-run"])[0]["outcome"], "still refused: number-invalid");
    project.edit("decimal = \",\"", "decimal = \".\"");
    project.edit("windows-1252", "windows-1252"); // the rest of the mapping stays as it is
    assert_eq!(replay(&["--dry-run", "--filter", "code == 'other'"]), serde_json::json!([]));
    assert_eq!(
        replay(&["--dry-run", "--filter", "code == 'number-invalid' && line == 15"])[0]["outcome"],
        "would be replayed"
    );
    let replayed = serde_json::json!([{ "topic": "dlq.eu-orders", "outcome": "replayed", "count": 1 }]);
    assert_eq!(replay(&["--rate", "1"]), replayed);
    assert_eq!(replay(&[]), serde_json::json!([]), "each goes once");
    project.edit("decimal = \".\"", "decimal = \",\"");
    let tray = "SELECT units, revenue_micros FROM sale_lines WHERE order_id = 'DE-111'";
    assert!(project.query(tray).is_empty());
    project.run_once();
    assert_eq!(project.query(tray), ["1|21600000"]);
    let listed = project.json(&["dlq", "list", "--format", "json"]);
    let letter = listed.as_array().expect("rows").iter().find(|row| row["topic"] == "dlq.eu-orders").expect("kept");
    assert_eq!((&letter["count"], &letter["replayed"]), (&1.into(), &1.into()));
}

#[test]
fn a_replay_that_is_killed_loses_and_repeats_nothing() {
    let project = Project::sample();
    let open = || -> Box<dyn Broker> { Box::new(open(project.data.path())) };
    Replay { project: &project, open: &open, prefix: "" }.loses_and_repeats_nothing(12);
}

#[test]
fn a_second_run_is_refused_and_other_commands_work_beside_the_first() {
    let project = Project::sample();
    project.run_once();
    let running = project.start(&["run"]);
    project.wait_for_socket();
    let second = project.command(&["run", "--once"]);
    assert_eq!(second.status.code(), Some(69), "unavailable");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("in use by process") && said.contains(&running.id().to_string()), "{said}");
    assert!(!project.json(&["offsets", "--format", "json"]).as_array().expect("rows").is_empty());
    assert!(!project.json(&["freshness", "--format", "json"]).as_array().expect("rows").is_empty());
    assert!(project.command(&["tap", "offers.v1", "-n", "2"]).status.success());
    assert!(project.command(&["dlq", "show", "orders"]).status.success());
    running.stop();
    assert!(project.command(&["offsets"]).status.success(), "and after it");
}

#[test]
fn a_deleted_table_is_built_again_and_one_of_another_directory_is_refused() {
    let project = Project::sample();
    project.run_once();
    let before = project.query("SELECT * FROM sale_lines ORDER BY 1, 2, 3, 4");
    for file in ["serving.db", "serving.db-wal", "serving.db-shm"] {
        let _there_or_not = std::fs::remove_file(project.data.path().join(file));
    }
    project.run_once();
    assert_eq!(project.query("SELECT * FROM sale_lines ORDER BY 1, 2, 3, 4"), before);
    for entry in std::fs::read_dir(project.data.path()).expect("readable").flatten() {
        if !entry.file_name().to_string_lossy().starts_with("serving.db") {
            if entry.path().is_dir() {
                std::fs::remove_dir_all(entry.path()).expect("ours");
            } else {
                std::fs::remove_file(entry.path()).expect("ours");
            }
        }
    }
    let refused = project.command(&["run", "--once"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(65)
            && said.contains("another data directory")
            && said.contains("move the file away"),
        "{said}"
    );
}

#[test]
fn mistakes_in_a_config_are_all_shown_with_their_places() {
    let project = Project::sample();
    project.edit("partitions = 2", "partitons = 2");
    project.edit("window = \"7d\"", "window = \"7x\"");
    project.edit("\"listings.v1\"]\nsteps", "\"listing.v1\"]\nsteps");
    let refused = project.command(&["check"]);
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr);
    for part in [
        "unknown field `partitons`",
        "did you mean `partitions`?",
        "needs one of the units ms, s, m, h, d",
        "there is no topic `listing.v1`",
        "did you mean `listings.v1`?",
        "3 errors",
        "nothing was started",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    assert!(!project.data.path().join("lock").exists(), "nothing was made");
}
