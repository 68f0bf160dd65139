//! The built binary on a real Kafka: what comes out is what comes out of the embedded broker.

mod alerts;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod dead_letters;
mod looks;
mod real;

use std::time::{Duration, Instant};

use common::Project;
use common::topics::{Contents, counted, differences, logs, logs_of};
use serde_json::Value;
use skuflow_runtime::broker::kafka::{Kafka, Settings};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::kafka::{Kafka as Server, kafka};
use skuflow_runtime::testing::registry::Registry;

/// The sample with topics and groups that begin with `name`, on Kafka.
fn sample_on(server: &Server, name: &str) -> Project {
    on(server, Project::sample(), name)
}

/// A project with topics and groups that begin with `name`, on Kafka.
fn on(server: &Server, project: Project, name: &str) -> Project {
    let old = project.loaded().config.name;
    project.edit(&format!("name = \"{old}\""), &format!("name = \"{name}\""));
    let cluster = format!("[broker.kafka]\nbootstrap_servers = \"{}\"\n\n", server.bootstrap_servers());
    project.edit("[topics]", &format!("{cluster}[topics]\nprefix = \"{name}.\""));
    project
}

fn connect(server: &Server, name: &str) -> Kafka {
    let settings = Settings::new(&server.bootstrap_servers(), name, std::env::temp_dir().join("unused"));
    Kafka::connect(settings, Clock::System).expect("it runs")
}

/// All topics but dead letters, whose headers name offsets.
fn contents_on(server: &Server, name: &str) -> Contents {
    without_dead_letters(counted(&logs_of(&connect(server, name), &format!("{name}."))))
}

fn without_dead_letters(mut contents: Contents) -> Contents {
    contents.retain(|topic, records| !topic.starts_with("dlq.") && !topic.starts_with("late.") && !records.is_empty());
    contents
}

fn expected() -> (Value, Contents) {
    let project = Project::sample();
    let summary = project.run_once();
    (summary, without_dead_letters(counted(&logs(project.data.path()))))
}

#[test]
fn the_sample_comes_out_of_kafka_as_out_of_the_embedded_broker() {
    let Some(server) = kafka() else { return };
    let (summary, contents) = expected();
    let project = sample_on(server, "calm");
    let found = project.run_once();
    for count in ["read", "accepted", "unchanged", "duplicates", "dead_letters"] {
        assert_eq!(found[count], summary[count], "{count}");
    }
    assert_eq!(found["dead_letters_by_rule"], summary["dead_letters_by_rule"]);
    assert_eq!(differences(&contents_on(server, "calm"), &contents), [] as [String; 0]);
    let again = project.run_once();
    assert_eq!(again["read"], 0, "a second run finds everything done");
    assert_eq!(differences(&contents_on(server, "calm"), &contents), [] as [String; 0]);
}

#[test]
fn the_sample_goes_by_the_ids_of_a_schema_registry() {
    let (Some(server), Some(registry)) = (kafka(), Registry::start()) else { return };
    let (summary, _) = expected();
    let project = sample_on(server, "registered");
    project.edit("[topics]", &format!("registry = {{ url = \"{}\" }}\n\n[topics]", registry.url()));
    let found = project.run_once();
    for count in ["read", "accepted", "unchanged", "duplicates", "dead_letters"] {
        assert_eq!(found[count], summary[count], "{count}");
    }
    let tapped = project.command(&["tap", "sales.v1", "-n", "100"]);
    let said = String::from_utf8_lossy(&tapped.stdout).into_owned();
    assert!(tapped.status.success() && said.contains("\"order_id\""), "{said}");
}

#[test]
fn a_run_on_kafka_that_is_killed_comes_out_the_same() {
    const SEED: u64 = 1;
    const KILLS: u32 = 4;
    let Some(server) = kafka() else { return };
    let (_, contents) = expected();
    let project = sample_on(server, "killed");
    let mut random = SEED;
    let mut at_work = 0;
    for _ in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut running = project.start(&["run", "--once"]);
        let until = Instant::now() + Duration::from_millis(1_000 + (random >> 52)); // it takes a second to connect
        while Instant::now() < until && running.ended().is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        at_work += u32::from(running.ended().is_none());
    }
    assert!(at_work > 0, "seed {SEED}: no kill came while it worked");
    project.run_once();
    assert_eq!(differences(&contents_on(server, "killed"), &contents), [] as [String; 0], "seed {SEED}");
}
