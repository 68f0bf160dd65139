//! The command line: what each command does, refuses, and how it exits.

mod common;

use common::Project;
use common::topics::{Contents, contents};
use serde_json::{Value, json};

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).expect("rows")
}

/// The exit code of a command, and what it says on stderr.
fn refused(project: &Project, arguments: &[&str]) -> (i32, String) {
    let output = project.command(arguments);
    (output.status.code().expect("it ends by itself"), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn code(project: &Project, arguments: &[&str]) -> i32 {
    refused(project, arguments).0
}

/// Renames the stage `clean`.
fn rename_stage(project: &Project) {
    project.edit("name = \"clean\"", "name = \"tidy\"");
}

#[test]
fn stations_can_run_one_after_the_other() {
    let (whole, parts) = (Project::sample(), Project::sample());
    whole.run_once();
    let once = |only: &[&str]| parts.run_once_only(only);
    let names = ["orders", "eu-orders", "offers", "stock", "connector:catalog"];
    assert_eq!(once(&names[..2])["accepted"], 0, "connectors alone");
    assert_eq!(once(&names[2..])["serving"]["rows"], json!({}));
    assert_eq!(once(&["stage:catalog"])["read"], 0, "nothing more");
    assert!(once(&["clean"])["accepted"].as_u64() > Some(100));
    assert!(!parts.data.path().join("serving.db").exists(), "no sink has run");
    once(&["tables"]);
    let sizes = |contents: Contents| -> Vec<_> {
        contents.into_iter().map(|(topic, records)| (topic, records.values().sum::<i64>())).collect()
    };
    assert_eq!(sizes(contents(parts.data.path())), sizes(contents(whole.data.path())));
    let query = "SELECT native_id, business_date, units FROM sales_daily ORDER BY 1, 2";
    assert_eq!(parts.query(query), whole.query(query));
    let (exit, said) = refused(&parts, &["run", "--only", "stage:claen"]);
    assert!(exit == 64 && said.contains("did you mean `stage:clean`?"), "{exit}: {said}");
}

#[test]
fn a_plan_says_what_is_there_and_what_is_made_and_makes_nothing() {
    let project = Project::sample();
    let plan = || project.json(&["plan", "--format", "json"]);
    let find = |list: &Value, field: &str, name: &str| {
        rows(list).iter().find(|row| row[field] == name).cloned().unwrap_or_else(|| panic!("{name} in {list}"))
    };
    let before = plan();
    assert_eq!(std::fs::read_dir(project.data.path()).expect("there").count(), 0, "nothing is made");
    assert!(rows(&before["topics"]).iter().all(|topic| topic["change"] == "is made"), "{before}");
    assert_eq!(find(&before["stations"], "station", "stage:clean")["start"], "from the first record");
    let versions = |plan: &Value| {
        let tables = find(&plan["tables"], "station", "sink:tables");
        [tables["version"].as_u64(), tables["will_be"].as_u64()]
    };
    let [Some(0), Some(ours)] = versions(&before) else { panic!("{before}") };
    assert!(ours >= 3, "{before}");
    project.run_once();
    assert_eq!(versions(&plan()), [Some(ours); 2]);
    assert!(rows(&plan()["topics"]).iter().all(|topic| topic["change"] == "stays"), "{}", plan());
    assert_eq!(find(&plan()["stations"], "station", "stage:clean")["start"], "goes on");
    rename_stage(&project);
    project.edit("partitions = 2", "partitions = 3\nprefix = \"acme.\"");
    let changed = plan();
    assert_eq!(find(&changed["stations"], "station", "stage:tidy")["start"], "from the first record");
    assert_eq!(find(&changed["topics"], "topic", "acme.offers.v1")["change"], "is made");
    assert_eq!(find(&changed["topics"], "topic", "offers.v1")["change"], "not in the config; kept");
    let fixed = "refused: it has 2 partitions, which are fixed";
    assert_eq!(find(&changed["topics"], "topic", "dlq.orders")["change"], fixed);
    let shown = String::from_utf8(project.command(&["plan"]).stdout).expect("UTF-8");
    assert!(shown.starts_with("station ") && shown.contains("\nstage:tidy ") && shown.contains("\ntopic "), "{shown}");
}

#[test]
fn check_connect_finds_what_a_run_would_miss_and_leaves_nothing() {
    let project = Project::sample();
    let connect = || {
        let output = project.command(&["check", "--connect", "--format", "json"]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let missing = rows(&found).iter().filter(|row| row["ok"] == false).map(|row| row["what"].clone());
        (output.status.code(), missing.collect::<Vec<_>>())
    };
    assert_eq!(connect(), (Some(0), vec![]));
    assert_eq!(std::fs::read_dir(project.data.path()).expect("there").count(), 0, "nothing is left");
    project.run_once();
    assert_eq!(connect(), (Some(0), vec![]), "what is there can be opened");
    project.edit("sample/stock.csv.gz", "sample/no-such-file.csv");
    std::fs::write(project.data.path().join("serving.db"), "something else altogether").expect("ours");
    assert_eq!(connect(), (Some(69), vec![json!("connector:stock"), json!("sink:tables")]));
    project.edit("data_dir = \"", "data_dir = \"pipelines.toml/");
    assert_eq!(connect().1.first(), Some(&json!("data directory")));
}

#[test]
fn positions_are_dropped_of_groups_that_nobody_runs() {
    let project = Project::sample();
    project.run_once();
    let (exit, said) = refused(&project, &["offsets", "--drop", "sample-clean"]);
    assert!(exit == 64 && said.contains("is in the config"), "{exit}: {said}");
    rename_stage(&project);
    let running = project.start(&["run", "--only", "tables"]);
    project.wait_for_socket();
    let (exit, said) = refused(&project, &["offsets", "--drop", "sample-clean"]);
    assert!(exit == 69 && said.contains("stop it first"), "{exit}: {said}");
    running.stop();
    let dropped = |group: &str| project.json(&["offsets", "--drop", group, "--format", "json"])[0]["dropped"].clone();
    assert!(dropped("sample-clean").as_u64() > Some(0));
    assert_eq!(dropped("sample-clean"), 0, "once");
    project.edit("name = \"tidy\"", "name = \"clean\"");
    let groups = project.json(&["offsets", "--format", "json"]);
    assert!(rows(&groups).iter().all(|row| row["group"] != "sample-clean"), "{groups}");
    assert!(rows(&groups).iter().any(|row| row["group"] == "sample-catalog"), "the others stand: {groups}");
}

#[test]
fn each_exit_code_means_what_help_and_readme_say() {
    let offer = |day: &str| {
        let rest = r#""seller": "s", "listing": "L", "price": 5, "currency": "GBP""#;
        format!("{{\"seen\": \"2026-03-{day}T00:00:00Z\", {rest}}}\n")
    };
    let project = Project::sample();
    project.edit("sample/offers/*.ndjson", "offers.ndjson");
    project.write("offers.ndjson", &offer("02"));
    assert_eq!(code(&project, &["no-such-command"]), 64);
    assert_eq!(code(&project, &["check", "--explain", "SKU-999"]), 64);
    assert_eq!(code(&project, &["offsets"]), 69, "there is nothing in the directory");
    project.run_once();
    assert_eq!(code(&project, &["tap", "no-such-topic"]), 64);
    assert_eq!(code(&project, &["dlq", "show", "orders", "--filter", "(("]), 64);
    assert_eq!(code(&project, &["freshness", "--max-lag-seconds", "0"]), 0);
    project.write("offers.ndjson", &format!("{}{}", offer("02"), offer("03")));
    project.run_once_only(&["offers"]);
    assert_eq!(code(&project, &["freshness", "--max-lag-seconds", "80000"]), 1, "a day behind");
    assert_eq!(code(&project, &["freshness", "--max-lag-records", "0"]), 1);
    assert_eq!(code(&project, &["freshness", "--max-lag-records", "1", "--max-age-seconds", "100000"]), 0);
    assert_eq!(code(&project, &["freshness", "--max-age-seconds", "0"]), 1);
    assert_eq!(code(&project, &["init", project.data.path().to_str().expect("UTF-8")]), 74);
    project.edit("version = 1", "version = 2");
    assert_eq!(code(&project, &["run"]), 78);
    project.edit("version = 2", "version = 1");
    project.edit("data_dir = \"", "data_dir = \"pipelines.toml/");
    assert_eq!(code(&project, &["run", "--once"]), 74);
    let help = String::from_utf8(project.command(&["--help"]).stdout).expect("UTF-8");
    let readme = include_str!("../README.md");
    let codes = help.split("Exit codes:\n").nth(1).expect("a table").trim_end();
    assert_eq!(codes.lines().count(), 8, "{codes}");
    for line in codes.lines() {
        let (code, meaning) = line.trim().split_once(' ').expect("a code and its meaning");
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(readme.contains(&row), "the README has no {row}");
    }
}

#[test]
fn names_with_hidden_characters_are_printed_as_escapes() {
    let project = Project::sample();
    project.write("offers.ndjson", "{\"seen\": \"2026-03-02T00:00:00Z\", \"seller\": \"a\\u001b[31m\\u009b2J\\u202eb\", \"listing\": \"L\\n1\", \"price\": 5, \"currency\": \"GBP\"}\n{\"\\u009b\u{202e}\n");
    project.edit("sample/offers/*.ndjson", "offers.ndjson");
    project.run_once();
    for arguments in
        [&["tap", "raw.offers.v1"][..], &["dlq", "show", "offers"], &["dlq", "list"], &["tap", "\x1b[31m\u{202e}"]]
    {
        let output = project.command(arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        assert!(said.len() > 20, "{arguments:?}: something is said");
        let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(hidden), "{arguments:?}: {said:?}");
    }
    let output = String::from_utf8(project.command(&["tap", "raw.offers.v1"]).stdout).expect("UTF-8");
    let record: Value = serde_json::from_str(&output).expect("one line of JSON");
    assert_eq!(record["value"]["seller"], "a\u{1b}[31m\u{9b}2J\u{202e}b", "it means the same");
}

/// The sample with figures, and the rules that come along.
fn with_rules() -> Project {
    let project = Project::sample();
    project.write("market.toml", skuflow_processors::alerts::MARKET);
    let stage = "[[stage]]\nname = \"compete\"
        from = [\"product-offers.v1\", \"product-sales.v1\", \"product-inventory.v1\", \"catalog.v1\"]
        steps = [{ features = {} }, { alerts = { rules = \"mark*.toml\" } }]
        to = [\"features.v1\", \"alerts.v1\"]\n\n[[sink]]";
    project.edit("[[sink]]", stage);
    project
}

#[test]
fn the_cases_beside_the_rules_are_tried() {
    let project = with_rules();
    let all = project.json(&["test", "--format", "json"]);
    assert!(rows(&all).len() >= 26 && rows(&all).iter().all(|row| row["ok"] == true), "{all}");
    let shown = project.command(&["test"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.starts_with("rule "), "{text}");
    assert!(text.contains("own price 9.50 is below the floor 10.00"), "{text}");
    let rules = project.read("market.toml");
    project.write("market.toml", &rules.replace("0.95 *", "0.85 *"));
    let failed = project.command(&["test", "--format", "json"]);
    assert_eq!(failed.status.code(), Some(65), "a threshold was changed");
    let failed: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    let wrong: Vec<&Value> = rows(&failed).iter().filter(|row| row["ok"] == false).collect();
    let expected = json!({ "rule": "competitor-price-drop", "case": 1, "ok": false, "result": "no alert" });
    assert_eq!(wrong, [&expected]);
    project.write("market.toml", &rules.replace("features.product_margin <", "features.product_marign <"));
    let (exit, said) = refused(&project, &["test"]);
    assert!(exit == 78 && said.contains("market.toml:") && said.contains("did you mean `product_margin`?"), "{said}");
}

#[test]
fn a_rule_that_comes_true_gives_an_alert() {
    let project = with_rules();
    project.run_once();
    let alerts = project.tap("alerts.v1");
    let drops = alerts.iter().map(|record| &record["value"]).filter(|alert| alert["rule"] == "competitor-price-drop");
    let mut drops: Vec<(&str, &str)> =
        drops.filter_map(|alert| Some((alert["product"].as_str()?, alert["seller"].as_str()?))).collect();
    drops.sort_unstable();
    let products = ["KETTLE-1", "MUG-BLUE", "MUG-RED", "TEA-100", "TRAY-OAK"];
    assert_eq!(drops, products.map(|product| (product, "kitchenworld")), "{alerts:?}");
    assert!(!project.tap("features.v1").is_empty());
}

#[test]
fn a_family_is_documented_by_its_fields_and_figures() {
    let project = Project::sample();
    let shown = |arguments: &[&str]| String::from_utf8(project.command(arguments).stdout).expect("UTF-8");
    expect_test::expect_file!["schema/features.txt"].assert_eq(&shown(&["schema", "features"]));
    expect_test::expect_file!["schema/offer.txt"].assert_eq(&shown(&["schema", "offer"]));
    let features = project.json(&["schema", "features", "--format", "json"]);
    assert_eq!(rows(&features["figures"]).len(), skuflow_schemas::FEATURES.len());
    assert!(rows(&features["figures"]).iter().all(|figure| figure["null"] != "" && figure["unit"] != ""), "{features}");
    assert_eq!(features["reasons"]["no_source"], "no connector gives what it is made of");
    for family in skuflow_schemas::Family::ALL {
        assert_eq!(shown(&["schema", family.name(), "--avro"]), skuflow_schemas::schema_json(*family));
        let described = project.json(&["schema", family.name(), "--format", "json"]);
        assert!(rows(&described["fields"]).iter().all(|field| field["about"] != ""), "{described}");
    }
    assert_eq!(code(&project, &["schema", "oferr"]), 64);
}
