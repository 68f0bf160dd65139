//! The lake of a run, attached by URL: what it tells, to whom, and that nobody writes through it.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};
use skuflow_runtime::testing::lake_readers;

use common::served::{Served, listens, serve};
use common::{Project, lake};

/// A project with a lake of offers and sales that serves, once it was run.
fn landed() -> Project {
    let mut project = Project::sample();
    let path = lake::folder(&project).display().to_string();
    let sink = format!(
        "[[sink]]\nname = \"lake\"\nfrom = [\"offers.v1\", \"sales.v1\"]\nlake = {{ path = \"{path}\" }}\n\n[[sink]]"
    );
    project.edit("[[sink]]", &sink);
    listens(&mut project);
    project.run_once();
    project
}

fn ask(served: &Served<'_>, path: &str) -> (u16, Value) {
    let (status, text) = served.get(path);
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
}

/// The status that another method than GET is answered with.
fn status(served: &Served<'_>, method: &str, path: &str) -> u16 {
    let mut stream = TcpStream::connect(&served.address).expect("it listens");
    let head = format!("Host: {}\r\nConnection: close\r\nContent-Length: 2", served.address);
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\n\r\n{{}}").expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

#[test]
fn the_catalog_of_a_run_tells_of_its_tables_and_takes_nothing() {
    let project = landed();
    let served = serve(&project);
    let (_, config) = ask(&served, "/v1/config");
    assert_eq!(config["overrides"], json!({}));
    let endpoints = config["endpoints"].as_array().expect("a list");
    assert!(endpoints.iter().all(|of| of.as_str().is_some_and(|of| of.starts_with("GET ") || of.starts_with("HEAD "))));
    assert_eq!(ask(&served, "/v1/config?warehouse=lake").1["overrides"], json!({ "prefix": "lake" }));
    let zones = json!({ "namespaces": [["processed"]] });
    assert_eq!(ask(&served, "/v1/namespaces"), (200, zones.clone()));
    assert_eq!(ask(&served, "/v1/lake/namespaces"), (200, zones));
    assert_eq!(
        ask(&served, "/v1/namespaces/processed"),
        (200, json!({ "namespace": ["processed"], "properties": {} }))
    );
    let tables = ["offers", "sales"].map(|name| json!({ "namespace": ["processed"], "name": name }));
    assert_eq!(ask(&served, "/v1/namespaces/processed/tables"), (200, json!({ "identifiers": tables })));
    let (_, table) = ask(&served, "/v1/namespaces/processed/tables/offers");
    let location = table["metadata-location"].as_str().expect("a text");
    let file = std::fs::read_to_string(location.trim_start_matches("file://")).expect("there");
    assert_eq!(table["metadata"]["snapshots"], serde_json::from_str::<Value>(&file).expect("JSON")["snapshots"]);
    for (path, kind) in [
        ("/v1/config?warehouse=other", "NoSuchWarehouseException"),
        ("/v1/namespaces/raw", "NoSuchNamespaceException"),
        ("/v1/namespaces/curated/tables", "NoSuchNamespaceException"),
        ("/v1/namespaces/processed/tables/inventory", "NoSuchTableException"),
        ("/v1/namespaces/processed/tables/other", "NoSuchTableException"),
        ("/v1/transactions/commit", "NotFoundException"),
    ] {
        let (status, error) = ask(&served, path);
        assert_eq!(
            (status, error["error"]["type"].as_str(), error["error"]["code"].as_u64()),
            (404, Some(kind), Some(404))
        );
    }
    for (method, path, expected) in [
        ("HEAD", "/v1/namespaces/processed", 204),
        ("HEAD", "/v1/namespaces/processed/tables/offers", 204),
        ("HEAD", "/v1/namespaces/processed/tables/other", 404),
        ("POST", "/v1/namespaces", 403),
        ("POST", "/v1/namespaces/processed/tables/offers", 403),
        ("DELETE", "/v1/namespaces/processed/tables/offers", 403),
    ] {
        assert_eq!(status(&served, method, path), expected, "{method} {path}");
    }
}

/// By lineage each record of the topic was taken by one commit.
#[test]
fn the_catalog_of_a_run_tells_where_rows_come_from() {
    let project = landed();
    let served = serve(&project);
    let (_, lineage) = ask(&served, "/v1/skuflow/lineage");
    let offers = lineage.as_array().expect("a list").iter().filter(|row| row["topic"] == "offers.v1");
    let taken =
        offers.map(|row| row["to_offset"].as_u64().expect("a number") - row["from_offset"].as_u64().unwrap_or(0));
    assert_eq!(taken.sum::<u64>(), project.tap("offers.v1").len() as u64, "{lineage}");
    let (_, schemas) = ask(&served, "/v1/skuflow/schemas");
    let is_id = |row: &&Value| row["table_name"] == "offers" && row["column_name"] == "event_id";
    let ids: Vec<&Value> = schemas.as_array().expect("a list").iter().filter(is_id).collect();
    assert!(matches!(ids[..], [row] if row["schema_id"] == 0 && row["is_required"] == true), "{ids:?}");
}

#[test]
fn duckdb_and_pyiceberg_attach_to_a_run() {
    const SCRIPT: &str = r#"
import sys
import duck
from pyiceberg.catalog.rest import RestCatalog
uri = sys.argv[1]
connection = duck.connect({})
connection.execute(f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{uri}', AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none')")
catalog = RestCatalog("lake", uri=uri)
named = RestCatalog("lake", uri=uri, warehouse="lake")
assert catalog.table_exists("processed.offers") and not catalog.table_exists("processed.other")
for zone in catalog.list_namespaces():
    for identifier in catalog.list_tables(zone):
        name = ".".join(identifier)
        ours = "SELECT _partition, _offset, event_id FROM lake." + name + " ORDER BY 1, 2"
        rows = connection.execute(ours).fetchall()
        scan = named.load_table(identifier).scan(selected_fields=("_partition", "_offset", "event_id")).to_arrow()
        assert rows == sorted(zip(*(scan[field].to_pylist() for field in ("_partition", "_offset", "event_id")))), name
        print(name, len(rows), len(set(rows)))
try:
    connection.execute("DELETE FROM lake.processed.offers")
    print("written")
except Exception:
    pass
"#;
    let Some(python) = lake_readers() else { return };
    let project = landed();
    let served = serve(&project);
    let duck = concat!(env!("CARGO_MANIFEST_DIR"), "/sinks/tests/lake");
    let url = format!("http://{}", served.address);
    let output = Command::new(python).args(["-c", SCRIPT, &url]).env("PYTHONPATH", duck).output().expect("starts");
    let counts = [("offers.v1", "offers"), ("sales.v1", "sales")].map(|(topic, table)| {
        let count = project.tap(topic).len();
        format!("processed.{table} {count} {count}\n")
    });
    assert_eq!(String::from_utf8_lossy(&output.stdout), counts.concat(), "{}", String::from_utf8_lossy(&output.stderr));
}
