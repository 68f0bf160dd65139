//! What a run shows of itself over HTTP: every station moving, the metrics that are listed, readiness that follows the
//! truth, and nothing that is secret.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use common::served::{LOG, Served, listens, serve};
use common::{Project, wait_until};
use skuflow_runtime::testing::SmallDisk;
use sqlx::{ConnectOptions as _, Connection as _};

const KINDS: &[&str] = &["counter", "gauge", "histogram"];
const UNITS: &[&str] = &["seconds", "bytes", "records", "events", "errors", "rows", "files", "keys", "ids", "timers"];
/// Gauges that are 1 or 0 count nothing.
const YES_OR_NO: &[&str] = &["skuflow_component_ready", "skuflow_intake_paused", "skuflow_build_info"];
const LABELS: &[&str] =
    &["station", "topic", "partition", "dataset", "intentional", "reason", "rule", "table", "version", "le"];

fn sample() -> Project {
    let mut project = Project::sample();
    listens(&mut project);
    project
}

impl Served<'_> {
    fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Scrape::of(&text)
    }
}

/// Samples: name, labels, value.
struct Scrape {
    text: String,
    types: Vec<(String, String)>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Scrape {
    fn of(text: &str) -> Self {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.split_once("=\"").expect("a label"));
            let labels = labels.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()));
            (name.to_owned(), labels.collect(), value.parse().expect("a number"))
        });
        let types = types.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
        Self { text: text.to_owned(), types: types.collect(), samples: samples.collect() }
    }

    /// The sum of the samples of a metric that have these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let has = |found: &BTreeMap<String, String>| labels.iter().all(|(label, value)| found[*label] == *value);
        self.samples
            .iter()
            .filter(|(found, with, _)| found == name && has(with))
            .map(|(_, _, value)| *value as u64)
            .sum()
    }

    fn sum_of_kind(&self, name: &str, kind: &str) -> u64 {
        let is_kind = |labels: &BTreeMap<String, String>| labels["station"].starts_with(kind);
        self.samples
            .iter()
            .filter(|(found, with, _)| found == name && is_kind(with))
            .map(|(_, _, value)| *value as u64)
            .sum()
    }

    /// The samples of a metric, those of a histogram's parts among them.
    fn of_metric<'a>(&'a self, name: &'a str, kind: &str) -> impl Iterator<Item = &'a BTreeMap<String, String>> {
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        let names: Vec<String> = suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect();
        self.samples.iter().filter(move |(found, _, _)| names.contains(found)).map(|(_, labels, _)| labels)
    }
}

/// The committed list: name, type and labels.
fn listed() -> Vec<(String, String, BTreeSet<String>)> {
    let rows = include_str!("../docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `skuflow_"));
    let parse = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (format!("skuflow_{}", cells[0].trim_end_matches('`')), cells[1].to_owned(), labels)
    };
    rows.map(parse).collect()
}

/// What is wrong with a metric by our conventions: namespace, base unit in the plural at the end, counters in `_total`.
fn lint(name: &str, kind: &str, labels: &BTreeSet<String>) -> Vec<String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let bare = name.strip_suffix("_total").unwrap_or(name);
    let unit = bare.rsplit('_').next().unwrap_or_default();
    let rules = [
        (name.starts_with("skuflow_") && plain && !name.contains("__"), "is no `skuflow_<name>_<unit>`"),
        (KINDS.contains(&kind), "has no known type"),
        ((kind == "counter") == (bare != name), "ends in `_total` exactly where it is a counter"),
        (UNITS.contains(&unit) || YES_OR_NO.contains(&name), "ends in no base unit in the plural"),
        (labels.iter().all(|label| LABELS.contains(&label.as_str())), "has a label that is not known"),
        (!labels.contains("le") || kind == "histogram", "has the label of a histogram"),
    ];
    rules.iter().filter(|(holds, _)| !holds).map(|(_, said)| format!("{name} {said}")).collect()
}

#[test]
fn the_lint_finds_what_it_is_for() {
    for (name, kind, label) in [
        ("lag_seconds", "gauge", "station"),
        ("skuflow_lag_ms", "gauge", "station"),
        ("skuflow_errors", "counter", "station"),
        ("skuflow_lag_records_total", "gauge", "station"),
        ("skuflow_lag_seconds", "summary", "station"),
        ("skuflow_lag_seconds", "gauge", "product"),
        ("skuflow__lag_seconds", "gauge", "station"),
    ] {
        assert_eq!(lint(name, kind, &BTreeSet::from([label.to_owned()])).len(), 1, "{name}");
    }
}

#[test]
fn a_scrape_shows_every_station_moving_under_the_names_that_are_listed() {
    let expected = Project::sample().run_once();
    let project = sample();
    let path = project.data.path().join("lake");
    let lake = format!("lake = {{ path = \"{}\", commit_interval = \"1s\" }}", path.display());
    let block = format!("[[sink]]\nname = \"lake\"\nfrom = [\"inventory.v1\"]\n{lake}\n\n[[sink]]");
    project.edit("[[sink]]", &block);
    let served = serve(&project);
    let count = |of: &str| expected[of].as_u64().expect("a number");
    wait_until("everything is read and landed", || {
        let scrape = served.scrape();
        scrape.sum_of_kind("skuflow_component_received_events_total", "connector:") >= count("read")
            && scrape.sum("skuflow_consumer_lag_records", &[]) == 0
            && scrape.sum("skuflow_component_discarded_events_total", &[("intentional", "false")])
                >= count("dead_letters")
            && scrape.sum("skuflow_component_late_events_total", &[]) >= count("late")
            && scrape.sum_of_kind("skuflow_component_received_events_total", "sink:") > 0
            && scrape.sum("skuflow_lake_files", &[]) > 0
            && scrape.sum("skuflow_lake_upkeep_timestamp_seconds", &[]) > 0
            && served.not_ready().is_empty()
    });
    let scrape = served.scrape();
    for station in [
        "connector:orders",
        "connector:eu-orders",
        "connector:offers",
        "connector:stock",
        "connector:catalog",
        "stage:catalog",
        "stage:clean",
        "sink:tables",
        "sink:lake/inventory",
    ] {
        for name in [
            "skuflow_component_received_events_total",
            "skuflow_component_received_event_bytes_total",
            "skuflow_component_sent_events_total",
            "skuflow_component_commit_duration_seconds_count",
            "skuflow_component_ready",
        ] {
            assert!(scrape.sum(name, &[("station", station)]) > 0, "{name} of {station} in\n{}", scrape.text);
        }
        assert_eq!(scrape.sum("skuflow_component_errors_total", &[("station", station)]), 0, "{station}");
    }
    // The figures are those of the summary of another run over the same files.
    let discarded = "skuflow_component_discarded_events_total";
    assert_eq!(scrape.sum_of_kind("skuflow_component_received_events_total", "connector:"), count("read"));
    assert_eq!(scrape.sum(discarded, &[("intentional", "false")]), count("dead_letters"));
    for (rule, dead_letters) in expected["dead_letters_by_rule"].as_object().expect("by rule") {
        assert_eq!(Some(scrape.sum(discarded, &[("reason", rule)])), dead_letters.as_u64(), "{rule}");
    }
    assert_eq!(scrape.sum(discarded, &[("reason", "conflicting")]), count("conflicting"));
    assert_eq!(scrape.sum("skuflow_component_late_events_total", &[]), count("late"));
    names_are_those_listed(&scrape);
    promtool(&scrape.text);
    assert_eq!(served.get("/livez"), (200, "alive\n".to_owned()));
    assert_eq!((served.get("/readyz").0, served.get("/nothing").0), (200, 404));
    served.running.stop();
}

fn names_are_those_listed(scrape: &Scrape) {
    let listed = listed();
    let names: Vec<_> = listed.iter().map(|(name, kind, _)| (name.clone(), kind.clone())).collect();
    assert_eq!(scrape.types, names, "docs/metrics.md lists what there is");
    for (name, kind, labels) in &listed {
        assert_eq!(lint(name, kind, labels), Vec::<String>::new());
        let mut found = 0;
        for sample in scrape.of_metric(name, kind) {
            let with: BTreeSet<String> = sample.keys().filter(|label| *label != "le").cloned().collect();
            assert_eq!(with, *labels, "{name}");
            found += 1;
        }
        assert!(found > 0, "{name} has no sample in\n{}", scrape.text);
    }
}

/// What Prometheus itself thinks of it.
fn promtool(text: &str) {
    let is_there = Command::new("promtool").arg("--version").output().is_ok();
    if !is_there {
        let is_required = std::env::var("SKUFLOW_REQUIRE").is_ok_and(|required| required.contains("promtool"));
        assert!(!is_required, "promtool is required");
        eprintln!("skipped: promtool");
        return;
    }
    let mut check = Command::new("promtool");
    let check = check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("starts");
    check.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let said = check.wait_with_output().expect("it ends");
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Keeps everybody else from writing to the tables until it is dropped.
fn locked<R>(project: &Project, meanwhile: impl FnOnce() -> R) -> R {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(project.data.path().join("serving.db"));
    let mut other = event_loop.block_on(async {
        let mut other = options.connect().await.expect("there");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("nobody else has it");
        other
    });
    let result = meanwhile();
    event_loop.block_on(async {
        sqlx::query("ROLLBACK").execute(&mut other).await.expect("begun");
        other.close().await.expect("open");
    });
    result
}

#[test]
fn readiness_is_false_while_a_sink_cannot_write_and_true_again() {
    let project = sample();
    project.run_once_only(&["tables"]); // the tables are there, and empty
    let served = locked(&project, || {
        let served = serve(&project);
        wait_until("the sink is in trouble", || {
            served.not_ready().iter().any(|line| line.starts_with("[-] sink:tables: ") && line.contains("locked"))
        });
        let scrape = served.scrape();
        let of_sink = |name: &str| scrape.sum(name, &[("station", "sink:tables")]);
        assert_eq!(of_sink("skuflow_component_ready"), 0);
        assert!(of_sink("skuflow_component_errors_total") > 0);
        assert_eq!((served.get("/livez").0, served.get("/readyz")), (200, (503, "not ready\n".to_owned())));
        served
    });
    wait_until("it lands what waited", || {
        let lag = served.scrape().sum("skuflow_consumer_lag_records", &[("station", "sink:tables")]);
        served.not_ready().is_empty() && lag == 0
    });
    served.running.stop();
}

#[test]
fn readiness_is_false_while_the_disk_is_full() {
    const FREE_BYTES: u64 = 8 << 20;
    let Some(disk) = SmallDisk::mount(128 << 20) else { return };
    let project = sample();
    let data_dir = format!("data_dir = \"{}/data\"", disk.path().display());
    project.edit("data_dir = \"${SAMPLE_DATA:-data/sample}\"", &data_dir);
    let served = serve(&project);
    wait_until("everything is ready", || served.not_ready().is_empty());
    let free = || rustix::fs::statvfs(disk.path()).map(|free| free.f_bavail * free.f_frsize).expect("mounted");
    let ballast = disk.path().join("ballast");
    let mut filled = std::fs::File::create(&ballast).expect("there is space");
    while free() > FREE_BYTES {
        filled.write_all(&vec![1; 1 << 20]).expect("there is space"); // bit by bit: the run writes, too
    }
    wait_until("the disk is noticed", || served.not_ready().iter().any(|line| line.starts_with("[-] disk: ")));
    drop(filled);
    std::fs::remove_file(&ballast).expect("there");
    wait_until("everything is ready again", || served.not_ready().is_empty());
    served.running.stop();
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_starts() {
    let project = Project::sample();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    project.edit("[topics]", &format!("[http]\nlisten = \"{address}\"\n\n[topics]"));
    let refused = project.command(&["run", "--once"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(69), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}: ")) && said.contains("[http]"), "{said}");
}

/// The answer of a run to one request on its socket.
fn ask(project: &Project, request: &str) -> String {
    let mut socket = UnixStream::connect(project.data.path().join("control.sock")).expect("it listens");
    writeln!(socket, "{request}").expect("open");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("UTF-8");
    answer
}

#[test]
fn a_secret_in_the_config_appears_nowhere() {
    const CANARY: &str = "canary-5d1f7c2e90ab";
    let mut project = sample();
    project.set("CANARY", CANARY);
    project.set("SKUFLOW_LOG", "debug");
    project.write(CANARY, "a file where the sinks need a folder");
    project.edit("sqlite:${SAMPLE_DATA:-data/sample}/serving.db", "sqlite:${CANARY}/serving.db");
    let lake = "[[sink]]\nname = \"lake\"\nfrom = [\"sales.v1\"]\nlake = { path = \"${CANARY}/lake\" }\n\n[[sink]]";
    project.edit("[[sink]]", lake);
    project.edit("\"sample/offers/*.ndjson\"", "\"${CANARY}/*.ndjson\"");
    let served = serve(&project);
    for sink in ["sink:tables: ", "sink:lake"] {
        wait_until("the sink is in trouble, and the reason names the variable", || {
            served.not_ready().iter().any(|line| line.contains(sink) && line.contains("${CANARY}"))
        });
    }
    let mut seen = vec![served.scrape().text, served.get("/readyz?verbose").1, served.get("/").1];
    for request in [
        "\"Topics\"",
        "\"Offsets\"",
        "\"Freshness\"",
        "\"DeadLetters\"",
        "{}",
        CANARY,
        r#"{"DropOffsets":{"group":"sink-tables"}}"#,
        r#"{"Tap":{"topic":"canary","limit":5}}"#,
        r#"{"Tap":{"topic":"offers.v1","limit":100}}"#,
        r#"{"ShowDeadLetters":{"topic":"orders","filter":null,"limit":100}}"#,
        r#"{"ReplayDeadLetters":{"topic":"orders","filter":null,"dry_run":true}}"#,
    ] {
        seen.push(ask(&project, request));
    }
    for arguments in [
        &["plan"][..],
        &["check"],
        &["check", "--connect"],
        &["freshness"],
        &["offsets"],
        &["lake", "ls"],
        &["run", "--once"],
    ] {
        let output = project.command(arguments);
        seen.extend([output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()));
    }
    wait_until("the log says it", || project.read(LOG).contains("going on from the stored positions"));
    let Served { project, running, .. } = served;
    running.stop();
    seen.push(project.read(LOG));
    for said in &seen {
        assert!(!said.contains(CANARY), "{said}");
    }
}

#[test]
fn logs_can_be_lines_of_json() {
    let project = sample();
    let output = project.command(&["run", "--once", "--log-format", "json"]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert!(lines.iter().any(|line| line["message"] == "health and metrics are served"), "{said}");
}
