//! A Kafka cluster as the config, the compose file and docs/kafka.md have it: what is refused, and what is enough.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use common::Project;
use serde_json::Value;
use skuflow::config::parse;
use skuflow::demo::Market;
use skuflow_runtime::testing::kafka::{Kafka as Server, kafka};
use skuflow_runtime::testing::registry::Registry;

const COMPOSE: &str = include_str!("../docker-compose.kafka.yml");
const PIPELINES: &str = include_str!("../pipelines.kafka.toml");
const DOCS: &str = include_str!("../docs/kafka.md");
const PASSWORD: &str = "correct-horse-battery";

/// A service of the compose file.
#[derive(Debug, Default)]
struct Service {
    image: String,
    /// Port on this machine, by port in the container.
    ports: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    has_healthcheck: bool,
}

/// The services of the compose file, which is written plainly enough to be read line by line: two spaces to a level, no
/// anchors, no lists on one line but commands.
fn services() -> BTreeMap<String, Service> {
    let (_, text) = COMPOSE.split_once("\nservices:\n").expect("services");
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    let (mut name, mut block) = ("", "");
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty()) {
        let level = (line.len() - line.trim_start().len()) / 2;
        let (key, value) = line.trim().split_once(':').map_or((line.trim(), ""), |(key, value)| (key, value.trim()));
        match level {
            0 => break,
            1 => name = key,
            2 => block = key,
            _ => {}
        }
        let service = services.entry(name.into()).or_default();
        match (level, block) {
            (2, "image") => service.image = value.into(),
            (2, "healthcheck") => service.has_healthcheck = true,
            (3, "ports") => {
                let published = line.trim().trim_start_matches("- ").trim_matches('"').strip_prefix("127.0.0.1:");
                let (outside, inside) = published.and_then(|ports| ports.split_once(':')).expect("on loopback alone");
                service.ports.insert(inside.into(), outside.into());
            }
            (3, "environment") => {
                service.environment.insert(key.into(), value.trim_matches('"').into());
            }
            _ => {}
        }
    }
    services
}

#[test]
fn the_compose_file_and_the_config_agree() {
    let services = services();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["kafka", "object-store", "postgres", "registry"]);
    for (name, service) in &services {
        let (_, tag) = service.image.rsplit_once(':').expect("a tag");
        assert!(tag.starts_with(|first: char| first.is_ascii_digit()) && tag.contains('.'), "{name}: {tag} is pinned");
        assert!(service.has_healthcheck && !service.ports.is_empty(), "{name}");
    }
    let (config, warnings) = parse(PIPELINES, Path::new(env!("CARGO_MANIFEST_DIR")), &|_| None).expect("fine");
    assert_eq!(warnings, []);
    let reached = config.broker.kafka.expect("on Kafka");
    let kafka = &services["kafka"];
    let advertised = kafka.environment["KAFKA_ADVERTISED_LISTENERS"].split(',').map(|at| at.split_once("://"));
    let outside = advertised.flatten().find_map(|(name, at)| (name == "HOST").then_some(at));
    assert_eq!(outside, Some(reached.bootstrap_servers.as_str()));
    assert_eq!(reached.bootstrap_servers, format!("localhost:{}", kafka.ports["9092"]));
    let registry = format!("http://localhost:{}/apis/ccompat/v7", services["registry"].ports["8080"]);
    assert_eq!(reached.registry.expect("with a registry").url, registry);
    assert_eq!(kafka.environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"], "false");
    assert!(!kafka.environment.keys().any(|name| name.contains("FLUSH")), "replicas make it safe, not the disk");
}

#[test]
fn the_config_is_that_of_the_demo() {
    let stations = |text: &str| text.split_once("\n[topics]\n").expect("topics").1.to_owned();
    let demo = stations(include_str!("../src/demo/pipelines.toml"));
    let demo = demo.replace("SEED", "7").replace("PRODUCTS", "200").replace("DAYS", "60");
    assert_eq!(stations(PIPELINES).replace("${MARKET_DATA:-data/market}/", "data/"), demo);
}

/// A small market on the broker that the compose file starts, as far as its settings go.
#[test]
fn the_config_runs_on_what_the_compose_file_starts() {
    const PLACES: &[&str] = &[
        "ADVERTISED_LISTENERS",
        "CONTROLLER_LISTENER_NAMES",
        "CONTROLLER_QUORUM_VOTERS",
        "INTER_BROKER_LISTENER_NAME",
        "LISTENERS",
        "LISTENER_SECURITY_PROTOCOL_MAP",
        "LOG_DIRS",
        "NODE_ID",
        "PROCESS_ROLES",
    ];
    let services = services();
    let settings = services["kafka"].environment.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("KAFKA_").filter(|name| !PLACES.contains(name))?;
        Some(format!("\n{}={value}", name.to_lowercase().replace('_', ".")))
    });
    let Some(registry) = Registry::start() else { return };
    let Some(server) = Server::start_with(&[], &settings.collect::<String>()) else { return };
    let mut project = Project::market(Market { seed: 7, products: 10, days: 2 });
    let data = project.data.path().display().to_string();
    project.write(
        "pipelines.toml",
        &PIPELINES.replace("products = 200", "products = 10").replace("days = 60", "days = 2"),
    );
    for (variable, value) in
        [("MARKET_DATA", data), ("KAFKA_SERVERS", server.bootstrap_servers()), ("REGISTRY_URL", registry.url())]
    {
        project.set(variable, &value);
    }
    let before = topics(&project);
    assert!(before.values().all(|about| about == "can be made"), "{before:?}");
    let summary = project.run_once();
    assert!(summary["read"].as_u64().is_some_and(|read| read > 1_000), "{summary}");
    let after = topics(&project);
    assert!(after.values().all(|about| about == "is as it must be"), "{after:?}");
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
}

/// What `check --connect` says of the topics.
fn topics(project: &Project) -> BTreeMap<String, String> {
    let rows: Value =
        serde_json::from_slice(&project.command(&["check", "--connect", "--format", "json"]).stdout).expect("JSON");
    let text = |row: &Value, field: &str| row[field].as_str().map(str::to_owned).expect("text");
    let rows = rows.as_array().expect("rows").iter();
    let topics =
        rows.filter_map(|row| Some((text(row, "what").strip_prefix("topic:")?.to_owned(), text(row, "about"))));
    topics.collect()
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn sample_on(server: &str, name: &str) -> Project {
    let project = Project::sample();
    project.edit("name = \"sample\"", &format!("name = \"{name}\""));
    let cluster = format!("[broker.kafka]\nbootstrap_servers = \"{server}\"\n\n");
    project.edit("[topics]", &format!("{cluster}[topics]\nprefix = \"{name}.\""));
    project
}

#[test]
fn a_run_names_every_topic_that_cannot_be_used_before_anything_begins() {
    let Some(server) = kafka() else { return };
    let project = sample_on(&server.bootstrap_servers(), "unfit");
    for topic in ["unfit.listings.v1", "changelog.unfit-clean"] {
        server.run(&format!(
            "kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions 2 --replication-factor 1",
            server.bootstrap_servers()
        ));
    }
    let (exit, stderr) = said(&project.command(&["run", "--once"]));
    assert_eq!(exit, Some(65), "{stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].contains("unfit.listings.v1") && lines[0].contains("--add-config"), "{stderr}");
    assert!(lines[1].contains("changelog.unfit-clean") && lines[1].contains("cleanup.policy=compact"), "{stderr}");
    let checked = topics(&project);
    assert_eq!(lines[0], format!("error: {}", checked["unfit.listings.v1"]));
    assert_eq!(lines[1], format!("error: {}", checked["changelog.unfit-clean"]));
    assert_eq!(project.command(&["check", "--connect"]).status.code(), Some(69));
}

/// The commands of the page about Kafka that give a user the rights it needs, for a pipeline called `acme` there.
fn grants(server: &Server, name: &str) -> Vec<String> {
    let (_, text) = DOCS.split_once("```sh\nkafka-acls.sh").expect("the commands");
    let (block, _) = text.split_once("```").expect("an end");
    let block = format!("kafka-acls.sh{}", block.replace("\\\n", " "));
    let command = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ").replace("kafka-1:9093", &server.bootstrap_servers()).replace("acme", name)
    };
    block.lines().filter(|line| !line.trim().is_empty()).map(command).collect()
}

/// A cluster that asks for a password and gives a user no rights but those that the page about Kafka names.
#[test]
fn a_user_with_a_password_and_the_rights_that_are_said_to_be_enough_runs() {
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let properties = format!(
        "\nlistener.name.passwords.sasl.enabled.mechanisms=PLAIN\n\
         listener.name.passwords.plain.sasl.jaas.config={login} required user_shop=\"{PASSWORD}\";\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n"
    );
    let Some(server) = Server::start_with(&[("PASSWORDS", "SASL_PLAINTEXT")], &properties) else { return };
    let mut project = sample_on(&server.listener("PASSWORDS"), "secured");
    project.edit(
        "\n\n[topics]",
        "\nsecurity = { sasl = { mechanism = \"plain\", user = \"shop\", password = { env = \"KAFKA_PASSWORD\" }, \
         dangerously_unencrypted = true } }\n\n[topics]",
    );
    project.set("SKUFLOW_LOG", "debug");
    project.set("KAFKA_PASSWORD", "wrong-horse-battery");
    let (exit, stderr) = said(&project.command(&["run", "--once"]));
    assert_eq!(exit, Some(78), "{stderr}");
    assert!(stderr.contains("error: the cluster refuses this client: ") && !stderr.contains("wrong-horse"), "{stderr}");
    let checked = project.command(&["check", "--connect"]);
    assert_eq!(checked.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("the cluster refuses this client"), "{checked:?}");
    project.set("KAFKA_PASSWORD", PASSWORD);
    let (exit, stderr) = said(&project.command(&["run", "--once"]));
    assert!(exit != Some(0), "without rights nothing runs: {stderr}");
    for command in grants(&server, "secured") {
        server.run(&command);
    }
    let output = project.command(&["run", "--once", "--format", "json"]);
    let (exit, stderr) = said(&output);
    assert_eq!(exit, Some(0), "{stderr}");
    assert!(!stderr.contains(PASSWORD), "{stderr}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(summary["accepted"].as_u64().is_some_and(|accepted| accepted > 0), "{summary}");
    for command in [&["dlq", "replay", "raw.sales.v1"][..], &["offsets", "--drop", "secured-gone"]] {
        let (exit, stderr) = said(&project.command(command));
        assert_eq!(exit, Some(0), "{command:?}: {stderr}");
    }
}
