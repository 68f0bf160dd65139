//! The same job by skuflow and by Kafka Streams, on one broker; `benches/peers/kafka-streams/run.sh` starts it.
//!
//! ```text
//!   load ─▶ topics ─▶ catch_up: each program, each setting, in turn ─▶ table
//!                         └─▶ verify: whether they came to the same
//!                         └─▶ live: a steady rate; latency, and the time after a kill
//! ```

mod cluster;
mod live;
mod load;
mod measure;
mod program;
mod verify;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::option;
use cluster::{Cluster, Sender, ends};
use live::Live;
pub use live::quantile;
use load::Market;
use measure::{Took, catch_up};
use program::{Kind, Programs, Running, Setting};
use verify::Found;

/// Products of the market, each with an offer of twenty sellers.
const PRODUCTS: usize = 50_000;
const RECORDS: u64 = 2_000_000;

/// `load` fills the topics, as all others do first; `table`, `verify`, `latency` and `restart` run the programs on them, `all`
/// does all of it.
pub fn peer(arguments: &[String], root: &Path) -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: use run.sh"));
    let home = PathBuf::from(variable("WORK")?);
    let bench = Bench {
        programs: Programs {
            cluster: Cluster {
                servers: variable("SERVERS")?,
                pid: variable("BROKER_PID")?.parse()?,
                jars: variable("JARS")?,
            },
            binary: option(arguments, "--binary", root.join("target/release/skuflow"))?,
            java: home.join("java"),
            sources: root.join("benches/peers/kafka-streams"),
            home,
        },
        products: option(arguments, "--products", PRODUCTS)?,
        records: option(arguments, "--records", RECORDS)?,
        rounds: option(arguments, "--rounds", 3)?,
        rate: option(arguments, "--rate", 8_000)?,
        seconds: option(arguments, "--seconds", 60)?,
        longest: Duration::from_secs(option(arguments, "--longest", 600)?),
    };
    bench.load()?;
    match arguments.get(1).map(String::as_str) {
        Some("load") => Ok(()),
        Some("table") => bench.table(arguments),
        Some("verify") => bench.verify(),
        Some("latency") => bench.latency(arguments),
        Some("restart") => bench.restart(arguments),
        Some("all") => {
            bench.verify()?;
            bench.table(arguments)?;
            bench.latency(arguments)?;
            bench.restart(arguments)
        }
        _ => bail!("usage: cargo xtask peer load|table|verify|latency|restart|all …; xtask/src/peer tells the options"),
    }
}

/// The settings that are run for the times that records take: unless the options name others, as many threads for each program.
fn compared(arguments: &[String]) -> Result<Vec<Setting>> {
    let is_asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut settings = settings(arguments)?;
    let threads = |kind| if kind == Kind::Skuflow { 1 } else { 2 };
    settings.retain(|setting| is_asked("--threads") || setting.threads == threads(setting.kind));
    settings.retain(|setting| is_asked("--commit-ms") || setting.commit_ms == 100);
    Ok(settings)
}

struct Bench {
    programs: Programs,
    products: usize,
    records: u64,
    rounds: usize,
    /// Records per second of a live load.
    rate: u64,
    seconds: u64,
    /// How long a program may take for what is loaded.
    longest: Duration,
}

/// The settings that are run: those that the options name, or all.
fn settings(arguments: &[String]) -> Result<Vec<Setting>> {
    let chosen = |name: &str| option(arguments, name, String::new());
    let (program, guarantee) = (chosen("--program")?, chosen("--guarantee")?);
    let (commit_ms, threads) = (chosen("--commit-ms")?, chosen("--threads")?);
    let mut settings = Vec::new();
    for threads in [1, 2] {
        for commit_ms in [100, 1_000] {
            for (kind, is_exactly_once) in
                [(Kind::Skuflow, true), (Kind::KafkaStreams, true), (Kind::KafkaStreams, false)]
            {
                settings.push(Setting { kind, is_exactly_once, commit_ms, threads });
            }
        }
    }
    let is = |chosen: &str, value: String| chosen.is_empty() || *chosen == value;
    settings.retain(|setting| {
        is(&program, setting.kind.name().to_owned())
            && is(&guarantee, setting.guarantee().to_owned())
            && is(&commit_ms, setting.commit_ms.to_string())
            && is(&threads, setting.threads.to_string())
    });
    ensure!(
        !settings.is_empty(),
        "--program skuflow|kafka-streams --guarantee exactly-once|at-least-once --commit-ms 100|1000 --threads 1|2"
    );
    Ok(settings)
}

impl Bench {
    /// Fills the topics, unless they are.
    fn load(&self) -> Result<()> {
        let sender = Sender::new(&self.programs.cluster)?;
        sender.ensure_topic(load::RAW)?;
        if self.loaded()? > 0 {
            return Ok(());
        }
        load::publish(&mut Market::new(self.products), &sender, self.records)
    }

    /// Offers in the topic.
    fn loaded(&self) -> Result<i64> {
        Ok(ends(&self.programs.cluster.consumer("load")?, load::RAW)?.iter().sum())
    }

    /// The market, behind what was sent of it.
    fn market(&self) -> Result<Market> {
        let mut market = Market::new(self.products);
        (0..self.loaded()?).for_each(|_| drop(market.next()));
        Ok(market)
    }

    /// Runs a program that has written nothing yet until it has done everything.
    fn catch_up(&self, setting: Setting, name: &str) -> Result<(Took, Running)> {
        self.programs.clear(setting.kind)?;
        catch_up(&self.programs, setting, name, self.longest)
    }

    /// All settings in turn, and again; the medians.
    fn table(&self, arguments: &[String]) -> Result<()> {
        let settings = settings(arguments)?;
        let mut taken: Vec<Vec<Took>> = settings.iter().map(|_| Vec::new()).collect();
        println!("{HEAD}");
        for round in 1..=self.rounds {
            for (setting, taken) in settings.iter().zip(&mut taken) {
                let (took, running) = self.catch_up(*setting, &name(setting.kind))?;
                running.stop()?;
                println!("{}", row(*setting, took, &format!("round {round}")));
                taken.push(took);
            }
        }
        println!("\n{HEAD}");
        for (setting, taken) in settings.iter().zip(&taken) {
            println!("{}", row(*setting, Took::median(taken), &format!("median of {}", taken.len())));
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let mut found = Vec::new();
        for kind in [Kind::Skuflow, Kind::KafkaStreams] {
            let setting = Setting { kind, is_exactly_once: true, commit_ms: 100, threads: 1 };
            let (_, running) = self.catch_up(setting, &name(kind))?;
            let topics = running.topics.clone();
            running.stop()?;
            found.push(Found::read(&self.programs.cluster, &topics)?);
        }
        let differences = found[0].differences(&found[1]);
        ensure!(differences.is_empty(), "they did not come to the same: {differences:#?}");
        println!("they came to the same");
        Ok(())
    }

    fn latency(&self, arguments: &[String]) -> Result<()> {
        let mut market = self.market()?;
        println!("{:<44}{:>10}{:>10}{:>10}{:>10}", "ms from sent to readable figures", "p50", "p99", "max", "figures");
        for setting in compared(arguments)? {
            let (_, running) = self.catch_up(setting, &name(setting.kind))?;
            let mut live = Live::new(&self.programs.cluster, &mut market, &running.topics.features, self.rate)?;
            let took = live.latencies(Duration::from_secs(self.seconds))?;
            running.stop()?;
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(&took, share));
            let title = format!("{}, {}/s", setting.title(), self.rate);
            println!("{title:<44}{p50:>10.0}{p99:>10.0}{max:>10.0}{:>10}", took.len());
        }
        Ok(())
    }

    /// Kills a program at work, and starts it again: with the state it had on the disk and, the other, without it too.
    fn restart(&self, arguments: &[String]) -> Result<()> {
        const WORK: Duration = Duration::from_secs(15);
        let mut market = self.market()?;
        println!("{:<60}{:>30}", "from the start after kill -9", "s to the first readable figures");
        for setting in compared(arguments)?.into_iter().filter(|setting| setting.is_exactly_once) {
            for is_wiped in [false, true] {
                let name = name(setting.kind);
                let (_, running) = self.catch_up(setting, &name)?;
                let features = running.topics.features.clone();
                let mut live = Live::new(&self.programs.cluster, &mut market, &features, self.rate / 4)?;
                live.pass(WORK)?;
                drop(running);
                live.pass(Duration::from_secs(1))?; // what was committed is read
                if is_wiped {
                    self.programs.wipe(&name)?;
                }
                let mut again = self.programs.start(setting, &name)?;
                let until = Instant::now() + Duration::from_mins(2);
                let took = live.first(|| Instant::now() < until && again.is_alive().is_ok())?;
                let took = took.map_or("does not start".into(), |took| format!("{:.2}", took.as_secs_f64()));
                let state = if is_wiped { "state on the disk lost" } else { "state on the disk kept" };
                println!("{:<60}{took:>30}", format!("{}, {state}", setting.title()));
                again.stop()?;
            }
        }
        Ok(())
    }
}

/// A name that no run had before.
fn name(kind: Kind) -> String {
    static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{}-{}-{run}", if kind == Kind::Skuflow { "sku" } else { "ks" }, std::process::id())
}

const HEAD: &str = "program, guarantee, commit interval, threads    records/s  CPU s  records/CPU s  2nd half  broker CPU s  \
                    records/CPU s of both  RSS MB";

fn row(setting: Setting, took: Took, note: &str) -> String {
    let Took { records, wall_s, cpu_s, broker_cpu_s, rss_peak_mb, later_per_cpu } = took;
    let (per_s, per_cpu, with_broker) = (records / wall_s, records / cpu_s, records / (cpu_s + broker_cpu_s));
    format!(
        "{:<47}{per_s:>10.0}{cpu_s:>7.1}{per_cpu:>15.0}{later_per_cpu:>10.0}{broker_cpu_s:>14.1}{with_broker:>23.0}\
         {rss_peak_mb:>8.0}  {note}",
        setting.title()
    )
}
