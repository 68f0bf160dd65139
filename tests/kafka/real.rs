//! Real input, and a simulated market: Kafka gives what the embedded broker gives, or what its committed inputs make.

use std::collections::BTreeMap;

use skuflow::demo::Market;
use skuflow_runtime::testing::kafka::kafka;

use crate::common::recomputed::differences_of;
use crate::common::{Project, grocery_files, retail_files};
use crate::{connect, on};

const MARKET: Market = Market { seed: 7, products: 12, days: 14 };

/// Tables whose rows do not depend on the order in which partitions take turns.
const TABLES: &[&str] = &["offers_latest", "price_history", "sale_lines", "sales_daily", "inventory_latest"];
const FATES: &str = "SELECT family, outcome, rule, SUM(count) FROM data_quality GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

/// What the tables hold, but for places in a log.
fn tables(project: &Project) -> BTreeMap<&str, Vec<String>> {
    let rows = |table: &str| {
        let columns =
            project.query(&format!("SELECT name FROM pragma_table_info('{table}') WHERE name <> 'log_offset'"));
        project.query(&format!("SELECT {0} FROM {table} ORDER BY {0}", columns.join(", ")))
    };
    let tables = TABLES.iter().map(|table| (*table, rows(table)));
    tables.chain([("data_quality", project.query(FATES))]).collect()
}

/// Runs the project on both brokers, and compares.
fn comes_out_the_same(name: &str, make: &dyn Fn() -> Project) -> Option<Project> {
    let server = kafka()?;
    let (embedded, project) = (make(), on(server, make(), name));
    let (expected, found) = (embedded.run_once(), project.run_once());
    for count in ["read", "accepted", "unchanged", "duplicates", "late", "dead_letters"] {
        assert_eq!(found[count], expected[count], "{count}");
    }
    let (found, expected) = (tables(&project), tables(&embedded));
    for (table, rows) in &expected {
        assert!(found[table] == *rows, "{table}: {} rows for {}", found[table].len(), rows.len());
    }
    Some(project)
}

/// Figures and alerts are what the stage's steps make of its committed inputs; at least `records` of them.
fn are_recomputed(name: &str, records: usize) {
    let Some(server) = kafka() else { return };
    let (differences, compared) = differences_of(&connect(server, name), &format!("{name}."));
    assert_eq!(differences, Vec::<String>::new());
    assert!(compared >= records, "{compared} records");
}

#[test]
fn a_shop_comes_out_of_kafka_as_out_of_the_embedded_broker() {
    let Some(files) = retail_files() else { return };
    let Some(project) = comes_out_the_same("shop", &|| Project::retail(&files)) else { return };
    assert_eq!(project.query("SELECT SUM(count) FROM data_quality WHERE outcome = 'accepted'"), ["41710"]);
}

#[test]
fn shelf_prices_do_too_and_their_figures_are_recomputed() {
    let Some(files) = grocery_files() else { return };
    let Some(project) = comes_out_the_same("shelf", &|| Project::grocery(&files)) else { return };
    assert_eq!(project.query("SELECT COUNT(*) FROM product_features WHERE product LIKE 'P%'"), ["235"]);
    are_recomputed("shelf", 1_000);
}

#[test]
fn a_market_does_too_and_its_figures_and_alerts_are_recomputed() {
    if comes_out_the_same("market", &|| Project::market(MARKET)).is_some() {
        are_recomputed("market", 1_000);
    }
}
