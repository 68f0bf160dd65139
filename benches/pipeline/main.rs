//! Speed of the stages, in a table: of `clean` (decode, validate, dedup, route, encode) alone, and with `compete` behind it
//! (features, the rules that come along).
//!
//! `cargo bench` runs everything, `cargo bench --bench pipeline -- WORD` the rows that have this in their names:
//!
//! ```text
//!   cargo bench --bench pipeline -- once     what exactly once costs: on Kafka with transactions, and without them
//!   cargo bench --bench pipeline -- row kafka-market-at-least-once 1000000 1000 100     any row: records, listings, ms
//! ```
//! Each row is a process of its own, so that its memory is its own. Every record changes something. CPU time is that of the
//! whole process while the stages run, in 10 ms ticks of `/proc/self/stat`; a Kafka is a process of its own, started for the
//! row where Java and Maven are there.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

mod discard;
mod load;
mod stages;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use discard::Discard;
use load::Load;
use skuflow_runtime::broker::Broker;
use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::kafka::{Fail, Kafka, Settings};
use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::clock::Clock;
use skuflow_runtime::storage::Options;
use skuflow_runtime::testing::kafka::Kafka as Server;
use stages::{TOPICS, Took};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PARTITIONS: u32 = 4;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("row") => row(&arguments.collect::<Vec<_>>()),
        Some("fill") => fill(&arguments.collect::<Vec<_>>()),
        Some("work") => work(&arguments.collect::<Vec<_>>()),
        word => table(word.unwrap_or_default()),
    }
}

/// name, what is measured, records, listings, commit interval in ms
const ROWS: &[(&str, &str, u64, u64, u64)] = &[
    ("steps, state in memory", "memory", 1_000_000, 1_000, 1000),
    ("steps, state in memory", "memory", 1_000_000, 100_000, 1000),
    ("embedded, fsync, 10 ms commits", "embedded", 1_000_000, 1_000, 10),
    ("embedded, fsync, 100 ms commits", "embedded", 1_000_000, 1_000, 100),
    ("embedded, fsync, 1000 ms commits", "embedded", 1_000_000, 1_000, 1000),
    ("embedded, fsync, 100 ms commits", "embedded", 1_000_000, 100_000, 100),
    ("embedded, 5 M distinct ids", "embedded", 5_000_000, 1_000, 100),
    ("both stages, 100 ms commits", "market", 1_000_000, 1_000, 100),
    ("both stages, 100 ms commits", "market", 3_000_000, 100_000, 100),
    ("on Kafka, 100 ms commits", "kafka", 1_000_000, 1_000, 100),
    ("on Kafka, both stages, exactly once, 100 ms commits", "kafka-market", 1_000_000, 1_000, 100),
    ("on Kafka, both stages, at least once, 100 ms commits", "kafka-market-at-least-once", 1_000_000, 1_000, 100),
    ("on Kafka, both stages, exactly once, 1000 ms commits", "kafka-market", 1_000_000, 1_000, 1000),
    ("on Kafka, both stages, at least once, 1000 ms commits", "kafka-market-at-least-once", 1_000_000, 1_000, 1000),
    ("on Kafka, both stages, 100 ms commits", "kafka-market", 1_000_000, 100_000, 100),
    ("resume with 1 M ids, after a stop", "resume", 1_000_000, 1_000, 100),
    ("resume with 1 M ids, after a kill", "resume-killed", 1_000_000, 1_000, 100),
];

/// Behind what is measured on Kafka: without transactions, see [`Fail::AtLeastOnce`].
const AT_LEAST_ONCE: &str = "-at-least-once";

/// The rows that have `word` in their names.
fn table(word: &str) {
    println!(
        "{:<54}{:>10}{:>10}{:>12}{:>14}{:>12}",
        "", "records", "listings", "records/s", "records/CPU-s", "peak RSS"
    );
    for (name, kind, records, listings, interval) in ROWS.iter().filter(|(name, ..)| name.contains(word)) {
        let numbers = [records, listings, interval].map(u64::to_string);
        println!("{name:<54}{}", child(&[&["row".to_owned(), (*kind).to_owned()], &numbers[..]].concat()));
    }
}

/// Runs this program with `arguments` in a process of its own; what it printed.
fn child(arguments: &[String]) -> String {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).args(arguments).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs this program with `arguments` until it ends itself as a kill would.
fn killed(arguments: &[String]) -> String {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).args(arguments).output().expect("starts");
    assert!(output.status.code().is_none(), "ended by a signal");
    String::new()
}

/// Runs stage `clean` in the directory `arguments[0]`, and closes it or is killed.
fn work(arguments: &[String]) {
    let broker = open(&arguments[0]);
    stages::clean(&broker, Duration::from_millis(100));
    if arguments.len() > 1 {
        std::process::abort();
    }
}

/// Makes the input in a process of its own, whose memory is not that of the stages.
fn fill(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    prepare(&*open(&arguments[0]), load(&arguments[3]), number(1), number(2));
}

fn load(kind: &str) -> Load {
    if kind.ends_with("market") { Load::Market } else { Load::Offers }
}

fn row(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    let (records, listings, interval) = (number(1), number(2), Duration::from_millis(number(3)));
    let without_transactions = arguments[0].strip_suffix(AT_LEAST_ONCE);
    let kind = without_transactions.unwrap_or(&arguments[0]);
    let fail = without_transactions.map(|_| Fail::AtLeastOnce);
    if kind == "memory" {
        let input = Memory::new("bench");
        prepare(&input, Load::Offers, records, listings);
        let broker: Arc<dyn Broker> = Arc::new(Discard { input, state: Arc::default(), partitions: PARTITIONS });
        return report(records, listings, stages::clean(&broker, interval));
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = if kind.starts_with("kafka") { Some(Server::start().expect("Java and Maven")) } else { None };
    let folder = dir.path().display().to_string();
    let path = server.as_ref().map_or(folder.clone(), |server| format!("{} {folder}", server.bootstrap_servers()));
    child(&["fill".into(), path.clone(), arguments[1].clone(), arguments[2].clone(), kind.into()]);
    match kind {
        "embedded" | "kafka" => report(records, listings, stages::clean(&open_to(&path, fail), interval)),
        "market" | "kafka-market" => report(records, listings, stages::both(&open_to(&path, fail), interval)),
        "resume" => {
            child(&["work".into(), path.clone()]);
            resume(&path);
        }
        "resume-killed" => {
            killed(&["work".into(), path.clone(), "killed".into()]);
            resume(&path);
        }
        other => panic!("{other} is none of the rows"),
    }
}

fn report(records: u64, listings: u64, (wall, cpu): Took) {
    println!(
        "{records:>10}{listings:>10}{:>12.0}{:>14.0}{:>9} MB",
        records as f64 / wall.as_secs_f64(),
        records as f64 / cpu.as_secs_f64(),
        peak_rss_mb()
    );
}

fn open(place: &str) -> Arc<dyn Broker> {
    open_to(place, None)
}

/// The embedded broker in a folder, or the cluster of some servers, with the folder of its states behind a space.
fn open_to(place: &str, fail: Option<Fail>) -> Arc<dyn Broker> {
    match place.split_once(' ') {
        Some((servers, states)) => {
            let settings = Settings { fail, ..Settings::new(servers, "bench", states.into()) };
            Arc::new(Kafka::connect(settings, Clock::System).expect("it runs"))
        }
        None => Arc::new(Embedded::open(Path::new(place), Options::default(), Clock::System).expect("a new directory")),
    }
}

/// Opens the directory of a run and works until the first new record is through.
fn resume(place: &str) {
    let started = Instant::now();
    let broker = open(place);
    let opened = started.elapsed();
    Load::Offers.publish(&*broker, 10, 1_000_000_000, 100_000);
    let (wall, _) = stages::clean(&broker, Duration::from_millis(1));
    println!("    opened in {} ms, working after {} ms more", opened.as_millis(), wall.as_millis());
}

fn prepare(broker: &dyn Broker, load: Load, records: u64, listings: u64) {
    for topic in TOPICS {
        broker.ensure_topic(topic, PARTITIONS).expect("new");
    }
    load.publish(broker, records, 0, listings);
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}
