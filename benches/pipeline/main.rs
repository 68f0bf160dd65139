//! Speed of stage `clean` (decode, validate, dedup, route, encode), in a table.
//!
//! `cargo bench` runs everything; each row is a process of its own, so that its memory is its own. CPU time is that of the
//! whole process while the stage runs, in 10 ms ticks of `/proc/self/stat`.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

mod discard;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use discard::Discard;
use skuflow_processors::{dedup, route, validate};
use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{Broker, Commit, Member, Record};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::{Control, InputSpec, StageSettings, StageSpec, Tally, Worker, step};
use skuflow_runtime::storage::Options;
use skuflow_schemas::{
    Availability, BuyBox, Condition, Currency, Encoder, Envelope, Event, Family, Fulfilment, Money, Offer, Rank,
    Timestamp,
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 4;
const RAW: &str = "raw.offers.v1";
/// What the stage publishes: each offer, and its copy for the product.
const OUTPUTS: [&str; 2] = ["offers.v1", "product-offers.v1"];
const TOPICS: [&str; 6] = [RAW, "dlq.raw.offers.v1", "late.raw.offers.v1", OUTPUTS[0], OUTPUTS[1], "quality.v1"];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("row") => row(&arguments.collect::<Vec<_>>()),
        Some("fill") => fill(&arguments.collect::<Vec<_>>()),
        Some("work") => work(&arguments.collect::<Vec<_>>()),
        _ => table(),
    }
}

/// name, broker, records, listings, commit interval in ms
const ROWS: &[(&str, &str, u64, u64, u64)] = &[
    ("steps, state in memory", "memory", 1_000_000, 1_000, 1000),
    ("steps, state in memory", "memory", 1_000_000, 100_000, 1000),
    ("embedded, fsync, 10 ms commits", "embedded", 1_000_000, 1_000, 10),
    ("embedded, fsync, 100 ms commits", "embedded", 1_000_000, 1_000, 100),
    ("embedded, fsync, 1000 ms commits", "embedded", 1_000_000, 1_000, 1000),
    ("embedded, fsync, 100 ms commits", "embedded", 1_000_000, 100_000, 100),
    ("embedded, 5 M distinct ids", "embedded", 5_000_000, 1_000, 100),
    ("resume with 1 M ids, after a stop", "resume", 1_000_000, 1_000, 100),
    ("resume with 1 M ids, after a kill", "resume-killed", 1_000_000, 1_000, 100),
];

fn table() {
    println!(
        "{:<36}{:>10}{:>10}{:>12}{:>14}{:>12}",
        "", "records", "listings", "records/s", "records/CPU-s", "peak RSS"
    );
    for (name, broker, records, listings, interval) in ROWS {
        let numbers = [records, listings, interval].map(u64::to_string);
        println!("{name:<36}{}", child(&[&["row".to_owned(), (*broker).to_owned()], &numbers[..]].concat()));
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

/// Runs the stage in the directory `arguments[0]`, and closes it or is killed.
fn work(arguments: &[String]) {
    let broker = open(Path::new(&arguments[0]));
    measure(Arc::new(broker.clone()), Duration::from_millis(100));
    if arguments.len() > 1 {
        std::process::abort();
    }
}

/// Makes the input in a process of its own, whose memory is not that of the stage.
fn fill(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    prepare(&open(Path::new(&arguments[0])), number(1), number(2));
}

fn row(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    let (records, listings, interval) = (number(1), number(2), Duration::from_millis(number(3)));
    let measured = match arguments[0].as_str() {
        "memory" => {
            let input = Memory::new("bench");
            prepare(&input, records, listings);
            measure(Arc::new(Discard { input, state: Arc::default(), partitions: PARTITIONS }), interval)
        }
        kind => {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let path = dir.path().display().to_string();
            child(&["fill".into(), path.clone(), arguments[1].clone(), arguments[2].clone()]);
            match kind {
                "resume" => child(&["work".into(), path]),
                "resume-killed" => killed(&["work".into(), path, "killed".into()]),
                _ => return report(records, listings, measure(Arc::new(open(dir.path())), interval)),
            };
            return resume(dir.path());
        }
    };
    report(records, listings, measured);
}

fn report(records: u64, listings: u64, (wall, cpu): (Duration, Duration)) {
    println!(
        "{records:>10}{listings:>10}{:>12.0}{:>14.0}{:>9} MB",
        records as f64 / wall.as_secs_f64(),
        records as f64 / cpu.as_secs_f64(),
        peak_rss_mb()
    );
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default(), Clock::System).expect("a new directory")
}

/// Opens the directory of a run and works until the first new record is through.
fn resume(dir: &Path) {
    let started = Instant::now();
    let broker = open(dir);
    let opened = started.elapsed();
    publish(&broker, 10, 1_000_000_000, 100_000);
    let (wall, _) = measure(Arc::new(broker), Duration::from_millis(1));
    println!("    opened in {} ms, working after {} ms more", opened.as_millis(), wall.as_millis());
}

fn prepare(broker: &dyn Broker, records: u64, listings: u64) {
    for topic in TOPICS {
        broker.ensure_topic(topic, PARTITIONS).expect("new");
    }
    publish(broker, records, 0, listings);
}

/// Offers that all change something: prices of five sellers on random listings, observed one after the other.
fn publish(broker: &dyn Broker, records: u64, from: u64, listings: u64) {
    let mut producer = broker.producer("load").expect("open");
    let topic: Arc<str> = RAW.into();
    let currency = Currency::parse("EUR").expect("three letters");
    let mut random = 42_u64;
    let mut value = Vec::new();
    for number in from..from + records {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let money = |minor| Some(Money { minor, currency, exponent: 2 });
        let cents = 1000 + (random >> 40) as i64 % 200;
        let observed_at = Timestamp::from_millis(1_700_000_000_000 + number as i64);
        let mut event = Event::Offer(Box::new(Offer {
            envelope: Envelope {
                customer: "demo".into(),
                source: "market".into(),
                marketplace: "de".into(),
                observed_at,
                ingested_at: observed_at,
                ..Envelope::default()
            },
            native_id: format!("B{:09}", (random >> 20) % listings).into(),
            seller: Some(format!("seller-{}", random >> 61).into()),
            price: money(cents),
            shipping: money(399),
            landed_price: money(cents + 399),
            list_price: money(1999),
            availability: Availability::InStock,
            stock_level: Some((random >> 50) as i64),
            condition: Condition::New,
            fulfilment: Fulfilment::Seller,
            buy_box: BuyBox::Lost,
            offer_count: Some(5),
            ranks: vec![Rank { category: "kitchen".into(), rank: (random >> 45) as i64 }],
            rating: Some(4.5),
            review_count: Some(number as i64 % 1000),
            ..Offer::default()
        }));
        let id = event.compute_id();
        event.envelope_mut().expect("an offer has one").event_id = id;
        value.clear();
        Encoder.encode(&event, &mut value);
        let key = event.key();
        let record = Record { key: Some(key.as_str().as_bytes()), value: Some(&value), headers: &[] };
        producer.send(&topic, None, &record).expect("exists");
        if producer.pending_bytes() > 4 << 20 {
            producer.commit(Commit::default()).expect("the disk is fine");
        }
    }
    producer.commit(Commit::default()).expect("the disk is fine");
}

/// Runs the stage in one worker until everything is processed: wall and CPU time.
fn measure(broker: Arc<dyn Broker>, commit_interval: Duration) -> (Duration, Duration) {
    let names = |topics: &[&str]| topics.iter().map(|topic| ((*topic).to_owned(), Arc::from(*topic))).collect();
    let spec = Arc::new(StageSpec {
        name: "clean".into(),
        group: "bench-clean".into(),
        inputs: vec![InputSpec { topic: RAW.into(), family: Family::Offer }],
        steps: vec![
            step(validate::Validate::new(validate::Config::default())),
            step(dedup::Dedup::new(dedup::Config::default())),
            step(route::Route::new(route::Config::default())),
        ],
        outputs: names(&OUTPUTS),
        quality_topic: "quality.v1".into(),
        settings: StageSettings { commit_interval, ..StageSettings::default() },
    });
    let control = Arc::new(Control::new(true));
    control.complete(&RAW.into());
    let member = Member { id: "bench-clean-0".into(), index: 0, count: 1 };
    let worker = Worker { spec, broker, member, control, tally: Arc::new(Tally::default()) };
    let (started, before) = (Instant::now(), cpu_time());
    worker.run().expect("nothing fatal");
    (started.elapsed(), cpu_time().saturating_sub(before).max(Duration::from_millis(10)))
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
