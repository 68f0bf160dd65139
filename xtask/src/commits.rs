//! Many small commits to a table of the lake: how large its metadata gets, whether a commit goes on taking as long as in the
//! beginning, and how long `DuckDB` takes to count the rows, beside a table whose files were all put together.
//!
//! The table's sink and its upkeep work as in a run with the defaults of a config, and at its pace, by a clock that is moved: a
//! commit at each commit interval, a round at each interval of upkeep. One row in twenty is up to three days late.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skuflow_runtime::broker::{Offset, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::lake_readers;
use skuflow_schemas::{Currency, Envelope, Event, EventId, Money, Offer, Span, Timestamp, sha256};
use skuflow_sinks::lake::{Config, Lake, Place, TABLES, Table, Tended, Upkeep};
use skuflow_sinks::{Batch, Identity, Incoming, Part, Range, Sink as _};
use tokio::runtime::Runtime;

use crate::root;

/// What the metadata that a reader and a commit read may come to, in bytes: metadata file, manifest list and manifests.
const METADATA_BYTES_MAX: u64 = 2_000_000;
/// What a commit of the last tenth may take, of one of the first tenth.
const COMMIT_GROWTH: f64 = 1.5;
/// What counting the rows may take, of counting those of a table whose files were put together.
const COUNT_GROWTH: f64 = 2.0;
const ROWS: u64 = 20;
/// The first commit's time: a midnight.
const BEGIN: i64 = 1_767_225_600_000_000;
const DAY: i64 = 86_400_000_000;
/// Rounds in which all files are put together, at most.
const ROUNDS_MAX: u32 = 10;

/// The table, who fills it and who tends it.
struct Filled {
    event_loop: Runtime,
    clock: Arc<AtomicI64>,
    lake: Lake,
    upkeep: Upkeep,
    tended: Tended,
    next: Offset,
}

/// What there is at a moment.
struct Seen {
    json: u64,
    list: u64,
    manifests: u64,
    manifest_bytes: u64,
    files: u64,
    /// The metadata file.
    location: String,
}

/// Makes `count` commits, prints what they come to, and holds it against the limits.
pub fn measure(count: usize) -> Result<()> {
    let python = lake_readers().context("there has to be a Python that reads the lake")?;
    let mut config: Config = serde_json::from_value(serde_json::json!({ "path": "lake" }))?;
    // Metadata is dated by the machine, to which ten minutes are not ten commits; a hundred snapshots stay all the same.
    config.upkeep.snapshots_kept = Span::from_millis(0);
    let (interval, every) = (config.commit_interval.micros(), config.upkeep.every.0.context("it is tended")?.micros());
    let (home, table) = (tempfile::tempdir()?, &TABLES[0]);
    let mut filled = Filled::new(&home.path().join("lake"), table, config)?;
    let mut reader = Reader::start(&python, &home.path().join("lake").join(table.folder))?;
    println!(
        "{count} commits of {ROWS} rows to {}, one every {} s by its clock, tended every {} s",
        table.full_name,
        interval / 1_000_000,
        every / 1_000_000
    );
    println!(
        "{:>8}{:>9}{:>9}{:>15}{:>15}{:>17}{:>8}{:>13}",
        "commits", "p50 ms", "mean ms", "metadata.json", "manifest list", "manifests", "files", "count(*) ms"
    );
    let tenth = (count / 10).max(1);
    let (mut times, mut most) = (Vec::with_capacity(count), 0);
    for number in 1..=count {
        let now = filled.clock.fetch_add(interval, Ordering::Relaxed) + interval;
        times.push(filled.commit(table)?);
        if (now - BEGIN) % every < interval {
            most = most.max(reader.look()?.metadata());
            filled.tend()?;
        }
        if number % tenth == 0 {
            let seen = reader.look()?;
            most = most.max(seen.metadata());
            print(&format!("{number:>8}{}", shown(middle(&times[number - tenth..]))), &seen, reader.count([&seen])?[0]);
        }
    }
    let as_it_is = reader.look()?;
    filled.put_together()?;
    let together = reader.look()?;
    let counts = reader.count([&as_it_is, &together])?;
    print(&format!("{:<26}", "all files put together"), &together, counts[1]);
    judge(&times, tenth, most, counts)
}

fn shown([median, mean]: [f64; 2]) -> String {
    format!("{median:>9.1}{mean:>9.1}")
}

fn print(what: &str, seen: &Seen, count_ms: f64) {
    let Seen { json, list, manifests, manifest_bytes, files, .. } = seen;
    let manifests = format!("{manifest_bytes} in {manifests}");
    println!("{what}{json:>15}{list:>15}{manifests:>17}{files:>8}{count_ms:>13.1}");
}

/// Median and mean.
fn middle(times: &[f64]) -> [f64; 2] {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    [sorted[sorted.len() / 2], times.iter().sum::<f64>() / times.len() as f64]
}

fn judge(times: &[f64], tenth: usize, most: u64, [as_it_is, together]: [f64; 2]) -> Result<()> {
    let (first, last) = (middle(&times[..tenth]), middle(&times[times.len() - tenth..]));
    let mut missed = Vec::new();
    for (name, first, last) in [("median", first[0], last[0]), ("mean", first[1], last[1])] {
        println!(
            "a commit takes {first:.1} ms in the {name} of the first {tenth}, {last:.1} ms of the last: {:.2}x",
            last / first
        );
        if last > first * COMMIT_GROWTH {
            missed.push(format!("commits take more than {COMMIT_GROWTH}x as long in the {name}"));
        }
    }
    println!("metadata of the table: {most} bytes at most");
    if most > METADATA_BYTES_MAX {
        missed.push(format!("metadata is more than {METADATA_BYTES_MAX} bytes"));
    }
    println!(
        "count(*) takes {as_it_is:.1} ms, when all files are put together {together:.1} ms: {:.2}x",
        as_it_is / together
    );
    if as_it_is > together * COUNT_GROWTH {
        missed.push(format!("count(*) takes more than {COUNT_GROWTH}x as long"));
    }
    ensure!(missed.is_empty(), "{}", missed.join("; "));
    Ok(())
}

impl Filled {
    fn new(folder: &Path, table: &'static Table, config: Config) -> Result<Self> {
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let moved = Arc::new(AtomicI64::new(BEGIN));
        let clock = Clock::Fixed(moved.clone());
        let mut lake = Lake::new("commits", Place::folder(folder), table, clock.clone());
        let topic_ids = [(table.topic.to_owned(), "t".to_owned())].into();
        event_loop.block_on(lake.positions(&Identity { cluster_id: "c".into(), topic_ids }))?;
        let upkeep = Upkeep::new("commits", Place::folder(folder), table, config.upkeep, clock);
        Ok(Self { event_loop, clock: moved, lake, upkeep, tended: Tended::default(), next: 0 })
    }

    /// Lands the next rows; how long that takes, in milliseconds.
    fn commit(&mut self, table: &Table) -> Result<f64> {
        let (from, to) = (self.next, self.next + ROWS);
        let now = self.clock.load(Ordering::Relaxed);
        let records = (from..to).map(|offset| Incoming::Event(offer(offset, now), offset)).collect();
        let part = Part { range: Range { from: (from > 0).then_some(from), to }, records };
        let batch = Batch { parts: [(TopicPartition::new(table.topic, 0), part)].into() };
        let begun = Instant::now();
        let landed = self.event_loop.block_on(self.lake.land(&batch))?;
        let took = begun.elapsed().as_secs_f64() * 1_000.0;
        ensure!(landed.records == ROWS, "{landed:?}");
        self.next = to;
        Ok(took)
    }

    fn tend(&mut self) -> Result<()> {
        let round = self.event_loop.block_on(self.upkeep.round(&self.tended))?;
        ensure!(round.is_some(), "nobody else tends it");
        Ok(())
    }

    /// Puts all files together, when their days are over and they are quiet.
    fn put_together(&mut self) -> Result<()> {
        self.clock.fetch_add(2 * DAY, Ordering::Relaxed);
        for _ in 0..ROUNDS_MAX {
            if self.event_loop.block_on(self.upkeep.compact())?.is_empty() {
                return Ok(());
            }
            self.clock.fetch_add(DAY, Ordering::Relaxed);
        }
        anyhow::bail!("there is always something to put together")
    }
}

/// Row `number`, as a market has it at `now`.
fn offer(number: u64, now: i64) -> Event {
    let n = number as i64;
    let late = if n % 20 == 7 { n / 20 * 3_571_000_003 % (3 * DAY) } else { 0 };
    let price = |minor| Money { minor, currency: Currency::parse("GBP").expect("three letters"), exponent: 2 };
    let envelope = Envelope {
        event_id: EventId(sha256(&number.to_le_bytes()).0[..16].try_into().expect("16 of 32")),
        ingested_at: Timestamp::from_micros(now - 1_000_000),
        customer: "demo".into(),
        source: "shop".into(),
        marketplace: "uk".into(),
        observed_at: Timestamp::from_micros(now - 2_000_000 - late),
        ..Envelope::default()
    };
    Event::Offer(Box::new(Offer {
        envelope,
        native_id: format!("L{}", n * 7 % 1_000).into(),
        seller: Some(format!("seller {}", n % 20).into()),
        price: Some(price(n * 31 % 9_000 + 99)),
        shipping: Some(price(n % 3 * 199)),
        stock_level: Some(n % 50),
        rating: Some(n as f64 % 5.0),
        ..Offer::default()
    }))
}

/// Who looks at the table.
struct Reader {
    running: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn start(python: &str, folder: &Path) -> Result<Self> {
        let mut command = Command::new(python);
        command.args(["-c", include_str!("commits.py")]).arg(folder).env("PYTHONPATH", root().join("sinks/tests/lake"));
        let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (asks, answers) = (running.stdin.take(), running.stdout.take().context("it is piped")?);
        Ok(Self { running, asks, answers: BufReader::new(answers) })
    }

    fn look(&mut self) -> Result<Seen> {
        let answer = self.ask("")?;
        let number = |name: &str| answer[name].as_u64().with_context(|| format!("it does not say `{name}`"));
        Ok(Seen {
            json: number("json")?,
            list: number("list")?,
            manifests: number("manifests")?,
            manifest_bytes: number("manifest_bytes")?,
            files: number("files")?,
            location: answer["location"].as_str().unwrap_or_default().into(),
        })
    }

    /// How long `DuckDB` takes to count the rows, in milliseconds, by what was seen then.
    fn count<const N: usize>(&mut self, seen: [&Seen; N]) -> Result<[f64; N]> {
        let answer = self.ask(&seen.map(|seen| seen.location.as_str()).join(" "))?;
        let mut counts = [f64::NAN; N];
        for (count, answer) in counts.iter_mut().zip(answer.as_array().into_iter().flatten()) {
            *count = answer.as_f64().unwrap_or(f64::NAN);
        }
        Ok(counts)
    }

    fn ask(&mut self, what: &str) -> Result<Value> {
        writeln!(self.asks.as_ref().context("it is asked")?, "{what}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).context("who looks at the table errs")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.asks = None; // which ends it
        let _it_may_have_failed = self.running.wait();
    }
}

impl Seen {
    /// Bytes that who reads the table, and each commit, reads of it.
    fn metadata(&self) -> u64 {
        self.json + self.list + self.manifest_bytes
    }
}
