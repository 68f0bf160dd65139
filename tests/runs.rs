//! Whole runs under what happens to them: a slow catalog, a prefix, a full disk.

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use common::topics::{Contents, contents, differences};
use common::{Project, retail_files, wait_until};
use serde_json::Value;
use skuflow_runtime::testing::SmallDisk;

const PRODUCTS: usize = 20_000;
const OFFERS: usize = 20;

/// A product and its one listing per line; those that have offers come last.
fn large_catalog(products: usize) -> String {
    let mut text = String::new();
    for number in (0..products).rev() {
        let listing = format!(r#"{{"shop": "ours", "id": "L-{number}"}}"#);
        writeln!(text, r#"{{"updated": "2026-03-01T00:00:00Z", "sku": "P-{number}", "listings": [{listing}]}}"#)
            .expect("memory");
    }
    text
}

fn offers() -> String {
    let mut text = String::new();
    for number in 0..OFFERS {
        let price = r#""price": 5.00, "currency": "GBP", "stock": "in stock""#;
        writeln!(text, r#"{{"seen": "2026-03-02T00:00:00Z", "seller": "ours", "listing": "L-{number}", {price}}}"#)
            .expect("memory");
    }
    text
}

#[test]
fn offers_of_a_first_run_are_routed_with_a_catalog_that_takes_long() {
    let project = Project::sample();
    project.write("catalog.ndjson", &large_catalog(PRODUCTS));
    project.write("offers.ndjson", &offers());
    project.edit("sample/catalog.ndjson", "catalog.ndjson");
    project.edit("sample/offers/*.ndjson", "offers.ndjson");
    project.edit("[topics]", "[runtime]\nidle_max = \"1ms\"\n\n[topics]");
    let running = project.start(&["run"]);
    project.wait_for_socket();
    wait_until("all offers are read", || project.tap("raw.offers.v1").len() == OFFERS);
    running.stop();
    let times = |topic: &str| -> Vec<String> {
        let time = |record: &Value| record["appended_at"].as_str().expect("a time").trim_end_matches('Z').to_owned();
        project.tap(topic).iter().map(time).collect()
    };
    let (rows, read) = (times("listings.v1"), times("raw.offers.v1"));
    assert_eq!(rows.len(), PRODUCTS, "all of the catalog was in the table");
    assert!(rows.iter().max() <= read.iter().min(), "before the first offer was read");
    project.run_once();
    let copies = project.tap("product-offers.v1");
    let mut keys: Vec<&str> = copies.iter().filter_map(|copy| copy["key"].as_str()).collect();
    keys.sort_unstable();
    let mut expected: Vec<String> = (0..OFFERS).map(|number| format!("tea-shop/P-{number}")).collect();
    expected.sort_unstable();
    assert_eq!(keys, expected, "each by its product, none by its listing, none taken back");
}

#[test]
fn a_prefix_changes_names_and_nothing_else() {
    let (plain, prefixed) = (Project::sample(), Project::sample());
    prefixed.edit("[topics]", "[topics]\nprefix = \"acme.\"");
    let (mut expected, mut found) = (plain.run_once(), prefixed.run_once());
    (expected["seconds"], found["seconds"]) = (Value::Null, Value::Null);
    assert_eq!(found, expected);
    let names = |name: &str| match name.split_once('.') {
        Some((special @ ("dlq" | "late"), origin)) if origin.contains('.') => format!("{special}.acme.{origin}"),
        Some(("dlq", _)) => name.to_owned(),
        _ => format!("acme.{name}"),
    };
    let sizes = |contents: Contents| contents.into_iter().map(|(name, records)| (name, records.values().sum::<i64>()));
    let renamed: BTreeMap<_, _> = sizes(contents(plain.data.path())).map(|(name, size)| (names(&name), size)).collect();
    let of_prefixed: BTreeMap<_, _> = sizes(contents(prefixed.data.path())).collect();
    assert_eq!(of_prefixed, renamed, "the same topics with as many records");
    for query in [
        "SELECT SUM(count) FROM dead_letters",
        "SELECT outcome, rule, SUM(count) FROM data_quality GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT native_id, business_date, units FROM sales_daily ORDER BY 1, 2",
    ] {
        assert_eq!(prefixed.query(query), plain.query(query), "{query}");
    }
    let offsets = prefixed.json(&["offsets", "--format", "json"]);
    let offsets = offsets.as_array().expect("rows");
    assert_eq!(offsets.len(), plain.json(&["offsets", "--format", "json"]).as_array().expect("rows").len());
    assert!(offsets.iter().all(|row| row["lag"] == 0), "{offsets:?}");
    for (written, on_broker) in [
        ("offers.v1", "acme.offers.v1"),
        ("dlq.raw.sales.v1", "dlq.acme.raw.sales.v1"),
        ("late.raw.offers.v1", "late.acme.raw.offers.v1"),
        ("dlq.orders", "dlq.orders"),
    ] {
        assert_eq!(prefixed.tap(written), prefixed.tap(on_broker), "{written}");
        assert_eq!(prefixed.tap(written).len(), plain.tap(written).len(), "{written}");
        assert!(!prefixed.tap(written).is_empty(), "{written}");
    }
    let replay = |topic: &str| prefixed.json(&["dlq", "replay", topic, "--dry-run", "--format", "json"]);
    assert_eq!(replay("raw.sales.v1")[0]["topic"], "dlq.acme.raw.sales.v1");
    assert_eq!(replay("raw.sales.v1"), replay("dlq.acme.raw.sales.v1"));
}

/// Bytes of all files in a folder.
fn size(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("readable").flatten();
    let sizes = entries.map(|entry| match entry.path() {
        path if path.is_dir() => size(&path),
        _ => entry.metadata().expect("there").len(),
    });
    sizes.sum()
}

#[test]
fn a_run_that_meets_a_full_disk_goes_on_by_itself_when_there_is_space() {
    let Some(files) = retail_files() else { return };
    let undisturbed = Project::retail(&files);
    undisturbed.run_once();
    let needed = size(undisturbed.data.path());
    let Some(disk) = SmallDisk::mount(3 * needed) else { return };
    let ballast = disk.path().join("ballast");
    let half = vec![1; usize::try_from(5 * needed / 2).expect("a small disk")];
    std::fs::File::create(&ballast).and_then(|mut file| file.write_all(&half)).expect("there is space");
    let project = Project::retail_in(&files, disk.path());
    let running = RefCell::new(project.start_logged(&["run", "--once"], "log"));
    wait_until("the disk is full", || {
        assert_eq!(running.borrow_mut().ended(), None, "it waits for space: {}", project.read("log"));
        project.read("log").contains("could not be written")
    });
    std::fs::remove_file(&ballast).expect("there");
    let log = project.read("log");
    wait_until("the run ends", || running.borrow_mut().ended().is_some());
    assert_eq!(running.borrow_mut().ended(), Some(true), "{log}");
    assert_eq!(project.units_by_sku_and_day(), undisturbed.units_by_sku_and_day());
    for query in
        ["SELECT outcome, SUM(count) FROM data_quality GROUP BY 1 ORDER BY 1", "SELECT SUM(count) FROM dead_letters"]
    {
        assert_eq!(project.query(query), undisturbed.query(query), "{query}");
    }
    let found = contents(project.data.path());
    assert_eq!(differences(&found, &contents(undisturbed.data.path())), Vec::<String>::new());
}
