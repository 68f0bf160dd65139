//! A long run on Kafka at a steady rate: what the process holds must not grow, and nothing may come twice.
//!
//! The market of the demo with its stages and sinks, on a Kafka that is started for it, or the one that `SERVERS` names.
//! Each sample reads the process (`/proc`), how far the stages are behind and, from where it had come to, all of `offers.v1`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use skuflow::demo::Market;
use skuflow_runtime::broker::kafka::{Kafka, Settings};
use skuflow_runtime::broker::{Broker as _, Reader, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::limits::FETCH_BYTES_MAX;
use skuflow_runtime::testing::kafka;
use skuflow_schemas::{Decoder, EventId};

use crate::held::{Held, growth, halves, mean};
use crate::market;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Records per second.
    pub rate: u64,
    pub seconds: u64,
    /// Seconds between two samples.
    pub every_s: u64,
}

const PRODUCTS: u32 = 1_000;
/// Records that a product gives in a day at least.
const RECORDS_PER_DAY: u64 = 30;
/// Days of event time there are at most: the market must not come to the present.
const DAYS_MAX: u64 = 500;
const PARTITIONS: u32 = 4;
/// Seconds' worth of records by which the lag may have changed: it swings with the moment of the sample.
const LAG_S: u64 = 2;

/// What there is at a moment.
struct Sample {
    held: Held,
    lag: f64,
    /// Records of `offers.v1`, and how many of them had an id that was there before.
    offers: u64,
    twice: u64,
}

/// Runs it, prints the samples, and says whether they stay flat.
pub fn run(binary: &Path, soak: Soak) -> Result<()> {
    let own = match std::env::var("SERVERS") {
        Ok(_) => None,
        Err(_) => Some(kafka::Kafka::start().context("Kafka takes Java 17 and Maven; or name one in SERVERS")?),
    };
    let servers =
        own.as_ref().map_or_else(|| std::env::var("SERVERS").unwrap_or_default(), kafka::Kafka::bootstrap_servers);
    let home = tempfile::tempdir()?;
    let folder = home.path().join("soak");
    let name = format!("soak{}", std::process::id());
    let config = project(&folder, soak, &servers, &name)?;
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(config).env("SKUFLOW_LOG", "error");
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let outcome = watch(&mut run, soak, &servers, &name);
    Command::new("kill").args(["-TERM", &run.id().to_string()]).status()?;
    let status = run.wait()?;
    let samples = outcome?;
    ensure!(status.success(), "the run does not stop as it should: {status}");
    judge(&samples, soak)
}

fn project(folder: &Path, Soak { rate, seconds, .. }: Soak, servers: &str, name: &str) -> Result<PathBuf> {
    let days = (2 + (rate * (seconds + 60)).div_ceil(u64::from(PRODUCTS) * RECORDS_PER_DAY)).min(DAYS_MAX);
    let market = Market { seed: 7, products: PRODUCTS, days: u32::try_from(days)? };
    let paced = format!("days = {days}, rate_per_s = {rate}, start = \"2024-01-01T00:00:00Z\" }}");
    let (named, cluster) = (
        format!("name = \"{name}\""),
        format!("[broker.kafka]\nbootstrap_servers = \"{servers}\"\n\n[topics]\nprefix = \"{name}.\""),
    );
    let end = format!("days = {days} }}");
    market::project(folder, market, &[(&end, &paced), ("name = \"demo\"", &named), ("[topics]", &cluster)])
}

fn watch(run: &mut Child, soak: Soak, servers: &str, name: &str) -> Result<Vec<Sample>> {
    let mut offers = Offers::new(servers, name)?;
    let began = Instant::now();
    let mut samples = Vec::new();
    println!("{} records/s for {} s", soak.rate, soak.seconds);
    println!("{}{:>10}{:>12}{:>8}", Held::header(), "lag", "offers", "twice");
    while began.elapsed().as_secs() < soak.seconds {
        let until = Instant::now() + Duration::from_secs(soak.every_s);
        while Instant::now() < until {
            ensure!(run.try_wait()?.is_none(), "the run ends by itself");
            std::thread::park_timeout(Duration::from_millis(100));
        }
        offers.read()?;
        let held = Held::by(run.id(), began.elapsed().as_secs())?;
        let sample = Sample { held, lag: offers.lag()?, offers: offers.count, twice: offers.twice };
        let Sample { held, lag, offers, twice } = &sample;
        println!("{}{lag:>10}{offers:>12}{twice:>8}", held.line());
        samples.push(sample);
    }
    Ok(samples)
}

/// Reads a topic on and on, and counts what comes twice.
struct Offers {
    broker: Kafka,
    /// Groups of the stages.
    groups: Vec<String>,
    reader: Box<dyn Reader>,
    positions: Vec<(TopicPartition, u64)>,
    /// Half of each id; two alike by chance once in 10^7 runs of an hour.
    seen: HashSet<u64>,
    count: u64,
    twice: u64,
}

impl Offers {
    fn new(servers: &str, name: &str) -> Result<Self> {
        let topic = format!("{name}.offers.v1");
        let settings = Settings::new(servers, "soak-reader", std::env::temp_dir().join("unused"));
        let broker = Kafka::connect(settings, Clock::System)?;
        broker.ensure_topic(&topic, PARTITIONS)?;
        let positions = (0..PARTITIONS).map(|number| (TopicPartition::new(topic.as_str(), number), 0)).collect();
        let groups = ["catalog", "clean", "compete"].map(|stage| format!("{name}-{stage}")).to_vec();
        Ok(Self { reader: broker.reader()?, broker, groups, positions, seen: HashSet::new(), count: 0, twice: 0 })
    }

    /// Records that the stages have not read.
    fn lag(&self) -> Result<f64> {
        let mut lag = 0;
        for group in &self.groups {
            for (of, position) in self.broker.committed(group)? {
                lag += self.broker.offsets(&of)?.1.saturating_sub(position);
            }
        }
        Ok(lag as f64)
    }

    fn read(&mut self) -> Result<()> {
        for (of, next) in &mut self.positions {
            let end = self.broker.offsets(of)?.1;
            while *next < end {
                for batch in self.reader.fetch(of, *next, FETCH_BYTES_MAX)? {
                    for record in batch.from(*next) {
                        let event = Decoder.decode(record.value.unwrap_or_default())?;
                        let EventId(id) = event.envelope().context("offers have an envelope")?.event_id;
                        let half = id[..8].iter().fold(0, |half, byte| half << 8 | u64::from(*byte));
                        self.count += 1;
                        self.twice += u64::from(!self.seen.insert(half));
                    }
                    *next = batch.next_offset();
                }
            }
        }
        Ok(())
    }
}

/// Says what grows from the first half of the samples behind the warm-up to the second.
fn judge(samples: &[Sample], soak: Soak) -> Result<()> {
    let mut grown = growth(samples, |sample| &sample.held, soak.rate)?;
    let (first, second) = halves(samples)?;
    let [before, after] = [first, second].map(|half| mean(half, |sample| sample.lag));
    println!("lag: {before:.0}, then {after:.0}");
    if after > before + (soak.rate * LAG_S) as f64 {
        grown.push("it falls behind".into());
    }
    let twice = samples.last().map_or(0, |sample| sample.twice);
    if twice > 0 {
        grown.push(format!("{twice} offers come twice"));
    }
    ensure!(grown.is_empty(), "not flat: {}", grown.join(", "));
    println!("flat, and nothing came twice");
    Ok(())
}
