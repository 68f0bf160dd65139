//! The built binary with its serving tables in `SQLite` and in Postgres at once: both have the same rows, whatever is killed.

mod common;
#[path = "serving/recomputed.rs"]
mod recomputed;

use common::oracle::tables;
use common::{Project, grocery_files, retail_files};
use skuflow::demo::Market;
use skuflow_runtime::testing::postgres::postgres;

const MARKET: Market = Market { seed: 11, products: 12, days: 20 };

/// A sink beside the project's own, of the same topics, in Postgres.
fn with_postgres(project: &mut Project, database: &str) -> Option<String> {
    let url = postgres()?.database(database);
    let config = project.read("pipelines.toml");
    let (_, sink) = config.split_once("[[sink]]").expect("a sink");
    let from = &sink[sink.find("from = [").expect("its topics")..];
    let from = &from[..=from.find(']').expect("their end")];
    let twin = format!("[[sink]]\nname = \"twin\"\n{from}\nserving = {{ url = \"${{TWIN_URL}}\" }}\n\n[[sink]]");
    project.edit("[[sink]]", &twin);
    project.set("TWIN_URL", &url);
    Some(url)
}

fn same(project: &Project, url: &str) {
    same_but(project, url, &[tables::POSITIONS]);
}

fn same_but(project: &Project, url: &str, but: &[&str]) {
    let sqlite = tables::tables(&project.data.path().join("serving.db"), but);
    let postgres = tables::in_postgres(url, "skuflow", but);
    assert!(sqlite.values().map(Vec::len).sum::<usize>() > 50, "there are rows");
    let differences = tables::differences(&postgres, &sqlite);
    assert!(differences.is_empty(), "in Postgres, and in SQLite: {differences:#?}");
}

/// What `serving verify` says, and whether it finds nothing.
fn verified(project: &Project) -> (bool, String) {
    let output = project.command(&["serving", "verify"]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("UTF-8"))
}

fn is_right(project: &Project) {
    let (is_right, said) = verified(project);
    assert!(is_right && said.contains(" rows compared, 0 differ"), "{said}");
    let differences = recomputed::differences(project);
    assert!(differences.is_empty(), "in SQLite, and by SQL alone: {differences:#?}");
}

#[test]
fn retail_is_the_same_in_both() {
    let Some(files) = retail_files() else { return };
    let mut project = Project::retail(&files);
    let Some(url) = with_postgres(&mut project, "twin_retail") else { return };
    project.run_once();
    same(&project, &url);
    is_right(&project);
}

#[test]
fn grocery_is_the_same_in_both() {
    let Some(files) = grocery_files() else { return };
    let mut project = Project::grocery(&files);
    let Some(url) = with_postgres(&mut project, "twin_grocery") else { return };
    project.run_once();
    same(&project, &url);
    is_right(&project);
}

#[test]
fn a_market_that_is_killed_again_and_again_is_the_same_in_both() {
    let mut project = Project::market(MARKET);
    let Some(url) = with_postgres(&mut project, "twin_market") else { return };
    assert!(project.run_and_kill(10, 3) > 0, "it was at work");
    project.run_once();
    same(&project, &url);
    is_right(&project);
    let said = project.command(&["serving", "grants", "--writer", "writes", "--reader", "reads"]);
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    assert!(said.contains("TO \"writes\";") && said.contains("GRANT SELECT ON ALL TABLES"), "{said}");
}

/// Rows that somebody spoiled are built again; what became of alerts is taken along, and the sinks go on.
#[test]
fn tables_are_built_again_from_their_topics() {
    let mut project = Project::market(Market { seed: 13, products: 6, days: 6 });
    let Some(url) = with_postgres(&mut project, "twin_again") else { return };
    project.run_once();
    let server = postgres().expect("there");
    server.run("twin_again", "UPDATE skuflow.offers_latest SET price_micros = 1");
    server.run(
        "twin_again",
        "INSERT INTO skuflow.alert_states SELECT event_id, 'resolved', now(), 'me', NULL FROM skuflow.alerts LIMIT 2",
    );
    recomputed::change(&project, "DELETE FROM made.sales_daily");
    let states = "INSERT INTO made.alert_states SELECT event_id, 'resolved', 1, 'me', NULL FROM made.alerts LIMIT 2";
    recomputed::change(&project, states);
    let (is_right, said) = verified(&project);
    assert!(!is_right && said.contains("offers_latest") && said.contains("sales_daily"), "{said}");
    let output = project.command(&["serving", "rebuild"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    is_right_again(&project, &url);
    assert_eq!(server.run("twin_again", "SELECT count(*) FROM skuflow.alert_states").trim(), "2");
    assert_eq!(server.run("twin_again", "SELECT count(*) FROM skuflow_before.alert_states").trim(), "2");
    assert_eq!(project.query("SELECT count(*) || '' FROM alert_states"), ["2"]);
    let again = project.command(&["serving", "rebuild"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("is there from an earlier time"), "{said}");
    project.run_once();
    is_right_again(&project, &url);
    server.run("twin_again", "SELECT skuflow.make_months('price_history', ARRAY['2031-01-01']::date[])");
    assert_eq!(server.run("twin_again", "SELECT 'skuflow.price_history_2031_01'::regclass IS NOT NULL").trim(), "t");
}

fn is_right_again(project: &Project, url: &str) {
    same_but(project, url, &[tables::POSITIONS, "alert_states", "open_alerts"]); // the two of each are others
    is_right(project);
}

/// The control: a row that is another is noticed.
#[test]
fn a_row_that_is_another_is_noticed() {
    let mut project = Project::market(Market { seed: 12, products: 3, days: 3 });
    let Some(url) = with_postgres(&mut project, "twin_control") else { return };
    project.run_once();
    same(&project, &url);
    let server = postgres().expect("there");
    for (change, table) in [
        (
            "UPDATE skuflow.price_history SET price_micros = price_micros + 1 WHERE ctid = (SELECT min(ctid) FROM \
          skuflow.price_history) AND tableoid = (SELECT min(tableoid::bigint)::oid FROM skuflow.price_history)",
            "price_history",
        ),
        ("DELETE FROM skuflow.sales_daily WHERE ctid = (SELECT min(ctid) FROM skuflow.sales_daily)", "sales_daily"),
    ] {
        server.run("twin_control", change);
        let sqlite = tables::tables(&project.data.path().join("serving.db"), &[tables::POSITIONS]);
        let differences = tables::differences(&tables::in_postgres(&url, "skuflow", &[tables::POSITIONS]), &sqlite);
        assert!(differences.iter().any(|difference| difference.starts_with(table)), "{differences:?}");
        let (is_right, said) = verified(&project);
        assert!(!is_right && said.contains(table), "{said}");
    }
    recomputed::change(&project, "UPDATE made.offers_latest SET price_micros = price_micros + 1");
    let differences = recomputed::differences(&project);
    assert!(differences.len() == 1 && differences[0].starts_with("offers_latest"), "{differences:?}");
}
