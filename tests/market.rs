//! Stage `compete` through a whole run: of a simulated market that is killed again and again (`cargo xtask kill --market`
//! is the long version), and of a catalog that changes while it runs.

mod common;

use serde_json::Value;
use skuflow::demo::Market;
use skuflow_runtime::broker::OwnedRecord;

use common::recomputed::{self, Output, differences};
use common::topics::{logs, open, partings};
use common::{Project, wait_until};

const MARKET: Market = Market { seed: 7, products: 30, days: 30 };
const KILLS: u32 = 8;

#[test]
fn features_and_alerts_of_a_killed_run_are_what_its_committed_inputs_make() {
    let project = Project::market(MARKET);
    let seed = 5;
    assert!(project.run_and_kill(KILLS, seed) > 0, "it was at work");
    let last = project.run_once();
    let (differences, compared) = differences(project.data.path());
    assert_eq!(differences, Vec::<String>::new(), "seed {seed}; last run: {last}");
    assert!(compared > 5_000, "{compared} records");
    recomputed::each(&open(project.data.path()), "", &recomputed::INPUTS, &mut is_noticed);
}

/// The control: whatever happens to a record, it shows.
fn is_noticed(output: &Output) {
    let check = |tamper: &dyn Fn(&mut Vec<OwnedRecord>, usize)| {
        for at in [0, output.found.len() / 2, output.found.len() - 2] {
            let mut found = output.found.clone();
            tamper(&mut found, at);
            let difference = Output { found, recomputed: output.recomputed.clone(), ..*output }.difference();
            assert!(difference.is_some_and(|shown| shown.contains(&format!("number {at} "))), "{at}");
        }
    };
    check(&|found, at| drop(found.remove(at)));
    check(&|found, at| found.swap(at, at + 1));
    check(&|found, at| found[at].key = None);
    check(&|found, at| found[at].headers.push(("more".into(), Vec::new())));
    check(&|found, at| *found[at].value.as_mut().expect("no row of a table").last_mut().expect("an event") ^= 1);
    let mut found = output.found.clone();
    found.extend(output.found.last().cloned());
    let once_more = Output { found, recomputed: output.recomputed.clone(), ..*output };
    assert!(once_more.difference().is_some());
}

/// With one partition every stage takes what it reads in one order, so that every topic is the same, record by record. With
/// more, the copies for a product come from several tasks of stage `clean`; how they take turns is left to chance.
#[test]
fn of_one_partition_a_killed_run_leaves_the_logs_of_an_undisturbed_one() {
    let [project, undisturbed] = [(); 2].map(|()| Project::market(MARKET));
    for project in [&project, &undisturbed] {
        project.edit("partitions = 4", "partitions = 1");
    }
    let seed = 6;
    assert!(project.run_and_kill(KILLS, seed) > 0, "it was at work");
    let last = project.run_once();
    undisturbed.run_once();
    let expected = logs(undisturbed.data.path());
    assert!(["features.v1", "alerts.v1"].iter().all(|topic| expected[&((*topic).into(), 0)].len() > 500));
    let found = logs(project.data.path());
    assert_eq!(partings(&found, &expected), Vec::<String>::new(), "seed {seed}; last run: {last}");
}

const COMPETE: &str = r#"
[[stage]]
name = "compete"
from = ["product-offers.v1", "product-sales.v1", "product-inventory.v1", "catalog.v1"]
steps = [{ features = {} }, { alerts = { rules = "rules.toml" } }]
to = ["features.v1", "alerts.v1"]

[[sink]]"#;

/// Nothing is observed after the start: what changes is what the catalog says, and each word of it counts at once.
#[test]
fn a_catalog_that_changes_while_it_runs_counts_at_once() {
    let project = Project::sample();
    project.write("rules.toml", include_str!("../rules/market.toml"));
    project.edit("\"sample/catalog.ndjson\"", "\"entries-*.ndjson\"\nwatch = true");
    project.edit("sample/offers/*.ndjson", "seen.ndjson");
    project.edit("[topics]", "[runtime]\nidle_max = \"20ms\"\n\n[topics]");
    project.edit("[[sink]]", COMPETE);
    project.loaded();
    let entry = |day: u32, competitor: &str, floor: &str, ceiling: &str| {
        let listings = format!(r#"[{{"shop": "ours", "id": "A"}}, {{"shop": "other", "id": "{competitor}"}}]"#);
        let bounds = format!(r#""floor": {floor}, "ceiling": {ceiling}"#);
        let said =
            format!(r#"{{"updated": "2026-04-{day:02}T00:00:00Z", "sku": "P", {bounds}, "listings": {listings}}}"#);
        project.write(&format!("entries-{day:02}.ndjson"), &format!("{said}\n"));
    };
    let offer = |shop: &str, listing: &str, price: &str| {
        let said = format!(r#""price": {price}, "currency": "GBP", "stock": "in stock""#);
        format!(r#"{{"seen": "2026-04-02T00:00:00Z", "seller": "{shop}", "listing": "{listing}", {said}}}"#) + "\n"
    };
    entry(1, "B", "5.00", "20.00");
    project.write(
        "seen.ndjson",
        &[offer("ours", "A", "10.00"), offer("other", "B", "9.00"), offer("other", "C", "8.00")].concat(),
    );
    let running = project.start_logged(&["run"], "log");
    project.wait_for_socket();
    let stand = |rivals: &str, alerts: &[&str]| {
        wait_until(&format!("{rivals}, {alerts:?}"), || latest(&project) == rivals && rules(&project) == *alerts);
    };
    stand("1.0 from 9.0", &[]);
    entry(3, "C", "5.00", "20.00");
    stand("1.0 from 8.0", &[]);
    entry(4, "C", "11.00", "20.00");
    stand("1.0 from 8.0", &["own-price-below-floor"]);
    entry(5, "C", "5.00", "9.50");
    stand("1.0 from 8.0", &["own-price-below-floor", "own-price-above-ceiling"]);
    entry(6, "D", "5.00", "9.50");
    stand("0.0 from null", &["own-price-below-floor", "own-price-above-ceiling"]);
    running.stop();
}

/// Who competes with the product, by its last vector.
fn latest(project: &Project) -> String {
    let of_product = |record: &Value| record["key"] == "tea-shop/P";
    let vectors = project.tap("features.v1");
    let Some(vector) = vectors.iter().rfind(|record| of_product(record)) else { return String::new() };
    let values = &vector["value"]["values"];
    format!("{} from {}", values["competitor_count_active"], values["competitor_price_min"])
}

/// The rules that gave alerts of the product.
fn rules(project: &Project) -> Vec<String> {
    let of_product = |record: &Value| record["key"] == "tea-shop/P";
    let alerts = project.tap("alerts.v1").into_iter().filter(of_product);
    alerts.map(|alert| alert["value"]["rule"].as_str().expect("named").to_owned()).collect()
}
