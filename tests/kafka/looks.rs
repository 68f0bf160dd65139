//! Who looks at a cluster: what is shown is what is there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use serde_json::Value;
use skuflow_runtime::testing::kafka::{Kafka as Server, kafka};
use skuflow_runtime::testing::registry::Registry;

use crate::common::{Project, lake};
use crate::sample_on;

/// A password, and what is shown of it with the user `shop`.
const CANARY: &str = "canary-5d1f7c2e90ab";
const CREDENTIALS: &str = "c2hvcDpjYW5hcnktNWQxZjdjMmU5MGFi";
const LOOKS: &[&[&str]] =
    &[&["plan"], &["tap", "sales.v1"], &["dlq", "list"], &["dlq", "show", "orders"], &["offsets"], &["freshness"]];

#[test]
fn the_last_records_of_a_topic_are_as_many_as_are_asked_for() {
    let Some(server) = kafka() else { return };
    let project = sample_on(server, "looks");
    project.run_once();
    for _ in 0..3 {
        project.run_once(); // ends of transactions behind the last records
    }
    let shown = |count: &str| {
        let tapped = project.command(&["tap", "sales.v1", "-n", count]);
        assert!(tapped.status.success(), "{}", String::from_utf8_lossy(&tapped.stderr));
        String::from_utf8_lossy(&tapped.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = shown("1000000");
    assert!(all.len() > 10, "{}", all.len());
    for count in [1, 3, 10] {
        assert_eq!(shown(&count.to_string()), all[all.len() - count..]);
    }
    let behind = project.json(&["freshness", "--format", "json"]);
    for row in behind.as_array().expect("rows") {
        assert_eq!((&row["lag_records"], &row["lag_seconds"]), (&0.into(), &0.0.into()), "{row}");
        assert!(row["age_seconds"].is_number() && row["head"] == row["ours"] && row["head"].is_string(), "{row}");
    }
}

/// The cluster's project with a registry that is asked as a user.
fn registered(server: &Server, name: &str, url: &str) -> Project {
    let mut project = sample_on(server, name);
    let registry = format!("{{ url = \"{url}\", user = \"shop\", password = {{ env = \"REGISTRY_PASSWORD\" }} }}");
    project.edit("[topics]", &format!("registry = {registry}\n\n[topics]"));
    project.set("REGISTRY_PASSWORD", CANARY);
    project.set("SKUFLOW_LOG", "debug");
    project
}

/// What a command says, without the password.
fn said(project: &Project, arguments: &[&str]) -> String {
    let output = project.command(arguments);
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(!said.contains(CANARY), "{said}");
    said
}

/// What `check --connect` finds of the registry and of each schema in it.
fn schemas(project: &Project) -> Vec<(String, String)> {
    let found = project.command(&["check", "--connect", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_slice(&found.stdout).expect("JSON");
    let text = |row: &Value, field: &str| row[field].as_str().expect("a text").to_owned();
    let rows = rows.iter().map(|row| (text(row, "what"), text(row, "about")));
    rows.filter(|(what, _)| what == "registry" || what.starts_with("schema:")).collect()
}

#[test]
fn who_looks_registers_nothing() {
    let (Some(server), Some(registry)) = (kafka(), Registry::start()) else { return };
    let project = registered(server, "glances", &registry.url());
    let are = |about: &str| {
        let found = schemas(&project);
        let (registry, subjects) = found.split_first().expect("a registry");
        assert_eq!((registry.0.as_str(), registry.1.as_str()), ("registry", "answers"));
        assert!(subjects.iter().any(|(what, _)| what == "schema:glances.sales.v1-value"), "{subjects:?}");
        assert!(subjects.iter().all(|(_, found)| found == about), "{about}: {subjects:?}");
    };
    are("can be registered");
    for arguments in LOOKS {
        said(&project, arguments);
    }
    are("can be registered");
    said(&project, &["run", "--once"]);
    are("is registered");
    for arguments in LOOKS {
        said(&project, arguments);
    }
}

#[test]
fn a_registry_is_shown_the_password_and_nobody_else_is() {
    let Some(server) = kafka() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("it asks");
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        (&stream).write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").expect("open");
        head
    });
    let project = registered(server, "strangers", &url);
    let found = said(&project, &["check", "--connect"]);
    assert!(found.contains("the schema registry: 401 Unauthorized"), "{found}");
    let head = asked.join().expect("no panic");
    assert_eq!(head[0], "GET /subjects HTTP/1.1");
    assert!(head.iter().any(|line| line == &format!("authorization: Basic {CREDENTIALS}")), "{head:?}");
}

#[test]
fn a_lake_of_a_run_on_a_cluster_is_shown() {
    let Some(server) = kafka() else { return };
    let project = sample_on(server, "laked");
    let folder = lake::folder(&project).display().to_string();
    let lake =
        format!("[[sink]]\nname = \"lake\"\nfrom = [\"offers.v1\"]\nlake = {{ path = \"{folder}\" }}\n\n[[sink]]");
    project.edit("[[sink]]", &lake);
    assert!(!project.command(&["lake", "ls"]).status.success(), "nothing is there yet");
    project.run_once();
    let rows = lake::rows(&project, "laked.offers.v1").len();
    let tables = project.json(&["lake", "ls", "--format", "json"]);
    let offers = tables.as_array().expect("rows").iter().find(|row| row["table"] == "offers").expect("the table");
    assert_eq!((&offers["rows"], &offers["sink"]), (&rows.into(), &"lake".into()), "{offers}");
    let shown = project.json(&["lake", "show", "offers", "--format", "json"]);
    let moved = shown["snapshots"][0]["offsets"].as_object().expect("offsets");
    assert!(!moved.is_empty() && moved.keys().all(|of| of.contains("laked.offers.v1/")), "{moved:?}");
    lake::holds(&project, &lake::place(&project), &[("laked.offers.v1", "processed.offers")]);
}
