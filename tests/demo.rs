//! The demo, as somebody new would run it.

mod common;

use std::collections::{HashMap, VecDeque};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use skuflow::demo::{Market, judge};
use skuflow::run::open_broker;
use skuflow_ingest::simulator::{FAMILIES, Settings, Simulator};
use skuflow_ingest::{Connector, ConnectorError, Cursor, Mapped, Page, Poll, Publisher};
use skuflow_runtime::broker::Broker;
use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::Control;
use skuflow_schemas::{Family, Timestamp};

use common::Project;

/// Every crossing of a rule in the market's own clean series, against the alerts that came of its dirty records.
#[test]
fn the_demo_finds_what_happened_in_its_market() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("market");
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_skuflow")).arg("demo").arg(&folder).args(arguments).output().expect("starts")
    };
    let output = run(&["--products", "40", "--days", "40", "--format", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let number = |name: &str| said[name].as_f64().unwrap_or_else(|| panic!("{name} in {said}"));
    assert!(number("recall") >= 0.95, "{said}");
    assert!(number("precision") >= 0.9, "{said}");
    assert!(number("alerts_planted") > 30.0 && number("alerts_matched") >= 0.95 * number("alerts_planted"), "{said}");
    assert!(number("features") > number("alerts"), "{said}");
    let gone = number("accepted") + number("unchanged") + number("duplicates") + number("dead_letters");
    assert!((number("read") - gone).abs() < 0.5, "every record has one fate: {said}");

    let again = run(&[]);
    assert_eq!(again.status.code(), Some(64), "a folder that is not empty is left alone");
    assert!(String::from_utf8_lossy(&again.stderr).contains("name a new folder"));
}

/// The control of the score: who pays no heed to when something was observed, finds what happened by chance at best.
#[test]
fn with_the_times_of_its_observations_shuffled_the_demo_finds_little() {
    let as_they_are = recall(&mut |_| {});
    let shuffled = recall(&mut shuffle);
    assert!(as_they_are >= 0.95, "{as_they_are}");
    assert!(shuffled < 0.5, "{shuffled}");
}

/// How much of what happened is found when the market's pages go through `change` before they are published.
fn recall(change: &mut dyn FnMut(&mut [Page])) -> f64 {
    let project = Project::market(Market { seed: 7, products: 20, days: 30 });
    let loaded = project.loaded();
    let mut pages = pages(loaded.config.connector[0].simulator.as_ref().expect("it simulates"));
    change(&mut pages);
    publish(pages, open_broker(&loaded).expect("new").shared());
    project.run_once_only(&["stage:catalog", "stage:clean", "stage:compete"]);
    let broker = open_broker(&loaded).expect("nobody runs it");
    judge(&loaded, &*broker).expect("readable").score.recall()
}

fn pages(market: &Settings) -> Vec<Page> {
    let mut simulator = Simulator::new("market", "demo", market).expect("valid settings");
    let (mut pages, mut cursor) = (Vec::new(), Cursor::new());
    while let Poll::Page(page) = simulator.poll(&cursor).expect("simulated") {
        cursor.extend(page.changes.iter().filter_map(|(name, entry)| Some((name.clone(), entry.clone()?))));
        pages.push(page);
    }
    pages
}

/// Gives the times of all observations to each other; the catalog keeps its own.
fn shuffle(pages: &mut [Page]) {
    let records = pages.iter_mut().flat_map(|page| &mut page.records);
    let mut times: Vec<&mut Timestamp> = records.filter_map(observed_at).collect();
    let mut random = 1_u64;
    for last in (1..times.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = (random >> 33) as usize % last;
        let (before, rest) = times.split_at_mut(last);
        std::mem::swap(before[other], rest[0]);
    }
}

fn observed_at(record: &mut Mapped) -> Option<&mut Timestamp> {
    match record {
        Mapped::Event(event, _) if event.family() != Family::Catalog => {
            event.envelope_mut().map(|envelope| &mut envelope.observed_at)
        }
        _ => None,
    }
}

/// Publishes pages as the connector of the demo would.
fn publish(pages: Vec<Page>, broker: Arc<dyn Broker>) {
    let topics: HashMap<Family, Arc<str>> =
        FAMILIES.iter().filter_map(|family| Some((*family, family.raw_topic()?.into()))).collect();
    let (dead_letters, quality): (Arc<str>, Arc<str>) = ("dlq.market".into(), "quality.v1".into());
    for topic in topics.values().chain([&dead_letters, &quality]) {
        broker.ensure_topic(topic, 4).expect("new");
    }
    let publisher = Publisher {
        name: "market".into(),
        transactional_id: "demo-connector-market".into(),
        topics,
        dead_letters,
        quality,
        broker,
        clock: Clock::System,
        control: Arc::new(Control::new(true)),
        intake: Arc::default(),
    };
    publisher.run(&mut Pages(pages.into())).expect("published");
}

/// Gives one page after the other.
struct Pages(VecDeque<Page>);

impl Connector for Pages {
    fn poll(&mut self, _: &Cursor) -> Result<Poll, ConnectorError> {
        Ok(self.0.pop_front().map_or(Poll::Done, Poll::Page))
    }
}
