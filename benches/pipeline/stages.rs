//! The stages that are measured, each in one worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skuflow_processors::{alerts, dedup, features, route, validate};
use skuflow_runtime::broker::{Broker, Member};
use skuflow_runtime::stage::{Control, InputSpec, StageSettings, StageSpec, Step, Tally, Worker, step};
use skuflow_schemas::Family;

use crate::cpu_time;

pub const RAW: &str = "raw.offers.v1";
pub const LISTINGS: &str = "listings.v1";
pub const CATALOG: &str = "catalog.v1";
/// What stage `clean` publishes: each offer, and its copy for the product.
const CLEAN: [&str; 2] = ["offers.v1", COPIES];
const COPIES: &str = "product-offers.v1";
const COMPETE: [&str; 2] = ["features.v1", "alerts.v1"];
const QUALITY: &str = "quality.v1";

/// All that is read or written.
pub const TOPICS: [&str; 10] = [
    RAW,
    LISTINGS,
    CATALOG,
    CLEAN[0],
    CLEAN[1],
    COMPETE[0],
    COMPETE[1],
    QUALITY,
    "dlq.raw.offers.v1",
    "late.raw.offers.v1",
];

/// Wall time and CPU time.
pub type Took = (Duration, Duration);

/// Runs stage `clean` until everything is processed.
pub fn clean(broker: &Arc<dyn Broker>, commit_interval: Duration) -> Took {
    let control = complete(&[LISTINGS, RAW]);
    timed(|| work(&clean_spec(commit_interval), broker, &control))
}

/// Runs stages `clean` and `compete` at once until everything is processed.
pub fn both(broker: &Arc<dyn Broker>, commit_interval: Duration) -> Took {
    let control = complete(&[LISTINGS, CATALOG, RAW]);
    timed(|| {
        std::thread::scope(|threads| {
            threads.spawn(|| work(&compete_spec(commit_interval), broker, &control));
            work(&clean_spec(commit_interval), broker, &control);
            control.complete(&Arc::from(COPIES));
        });
    })
}

fn complete(topics: &[&str]) -> Arc<Control> {
    let control = Arc::new(Control::new(true));
    for topic in topics {
        control.complete(&Arc::from(*topic));
    }
    control
}

fn clean_spec(commit_interval: Duration) -> Arc<StageSpec> {
    let steps = vec![
        step(validate::Validate::new(validate::Config::default())),
        step(dedup::Dedup::new(dedup::Config::default())),
        step(route::Route::new(route::Config::default())),
    ];
    spec("clean", &[(LISTINGS, Family::Listing), (RAW, Family::Offer)], steps, &CLEAN, commit_interval)
}

fn compete_spec(commit_interval: Duration) -> Arc<StageSpec> {
    let steps = vec![
        step(features::Features::new(features::Config::default())),
        step(alerts::Alerts::new(Arc::new(alerts::Rules::market()))),
    ];
    spec("compete", &[(CATALOG, Family::Catalog), (COPIES, Family::Offer)], steps, &COMPETE, commit_interval)
}

fn spec(
    name: &str,
    inputs: &[(&str, Family)],
    steps: Vec<Arc<dyn Step>>,
    outputs: &[&str],
    commit_interval: Duration,
) -> Arc<StageSpec> {
    let input = |(topic, family): &(&str, Family)| InputSpec { topic: Arc::from(*topic), family: *family };
    Arc::new(StageSpec {
        name: name.into(),
        group: format!("bench-{name}"),
        inputs: inputs.iter().map(input).collect(),
        steps,
        outputs: outputs.iter().map(|topic| ((*topic).to_owned(), Arc::from(*topic))).collect(),
        quality_topic: QUALITY.into(),
        settings: StageSettings { commit_interval, ..StageSettings::default() },
    })
}

fn work(spec: &Arc<StageSpec>, broker: &Arc<dyn Broker>, control: &Arc<Control>) {
    let member = Member { id: format!("{}-0", spec.group), index: 0, count: 1 };
    let (spec, broker, control) = (spec.clone(), broker.clone(), control.clone());
    Worker { spec, broker, member, control, tally: Arc::new(Tally::default()) }.run().expect("nothing fatal");
}

fn timed(work: impl FnOnce()) -> Took {
    let (started, before) = (Instant::now(), cpu_time());
    work();
    (started.elapsed(), cpu_time().saturating_sub(before).max(Duration::from_millis(10)))
}
