//! How old rows of the lake are when they can first be read, and what the process holds meanwhile, on a live run of the demo's
//! market at a steady rate.
//!
//! A row's age counts from its `ingested_at`, the wall time at which its connector publishes it (of a figure or an alert: that
//! of the event that caused it); only `observed_at` is simulated. It ends when somebody who looks at the catalog every 20 ms
//! finds the commit that the row's file names. The time in the snapshot is not used: it is that at which the landing began.
//! Rows are followed until all that count have landed, so that slow ones are not left out.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use skuflow::demo::Market;
use skuflow_runtime::clock::Clock;

use crate::held::{Held, growth};
use crate::market;

/// What is run.
#[derive(Clone, Copy)]
pub struct Live {
    /// Records per second.
    pub rate: u64,
    /// The lake's `commit_interval`.
    pub interval_s: u64,
    /// Rows count that are taken in within this time.
    pub seconds: u64,
    /// Seconds between two samples of what the run holds.
    pub every_s: u64,
    /// Whether the records land as they come in, and no stage runs: of two processors, those of a whole pipeline would be the
    /// measure of such a rate, and not the lake.
    pub is_raw: bool,
}

/// What the lake reads otherwise, and what it reads then.
const CLEAN: &str = r#"from = ["offers.v1", "sales.v1", "inventory.v1", "features.v1", "alerts.v1"]"#;
const RAW: &str = r#"from = ["raw.offers.v1", "raw.sales.v1", "raw.inventory.v1"]"#;

/// What the age of nearly all rows may come to beyond the commit interval.
const BEYOND_S: u64 = 5;
/// How long rows are waited for, beyond the commit interval.
const GRACE_S: u64 = 30;
/// Products at least; there is one per record and second, so that a day of the market takes as long at any rate.
const PRODUCTS_MIN: u64 = 1_000;
/// Shorter runs are all warming up: what grows is shown, and nothing said of it.
const JUDGED_FROM_S: u64 = 1_200;
/// Records that a product gives in a day at least.
const RECORDS_PER_DAY: u64 = 30;

/// Runs it, and prints the ages.
pub fn measure(binary: &Path, live: Live) -> Result<()> {
    let Live { rate, interval_s, seconds, every_s, is_raw } = live;
    let home = tempfile::tempdir()?;
    let folder = home.path().join("market");
    let config = project(&folder, live)?;
    let end = Clock::System.now().micros() + 1_000_000 * seconds as i64;
    let mut watch = watch(&folder.join("data/lake"), end)?;
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(config).env("SKUFLOW_LOG", "error").stdout(Stdio::null());
    if is_raw {
        command.args(["--only", "connector:market", "--only", "sink:lake"]);
    }
    let mut run = command.spawn()?;
    println!("{rate} records/s for {seconds} s, and what it holds meanwhile");
    let samples = live_for(&mut run, Duration::from_secs(seconds + interval_s + GRACE_S), every_s);
    let stopped = stopped(run);
    let samples = samples?;
    stopped?;
    drop(watch.stdin.take());
    let seen = watch.wait_with_output()?;
    ensure!(seen.status.success(), "who watches the lake fails");
    let grown = if seconds < JUDGED_FROM_S { Vec::new() } else { growth(&samples, |held| held, rate)? };
    let p99 = ages(&seen.stdout, live)?;
    ensure!(p99 <= (interval_s + BEYOND_S) as f64, "p99 is more than {BEYOND_S} s beyond the commit interval");
    ensure!(grown.is_empty(), "not flat: {}", grown.join(", "));
    Ok(())
}

/// Prints how old the rows were that `seen` tells of; that of nearly all.
fn ages(seen: &[u8], Live { rate, interval_s, seconds, .. }: Live) -> Result<f64> {
    println!("commit interval {interval_s} s, {seconds} s at {rate} records/s; age in seconds when readable");
    println!("{:<24}{:>10}{:>10}{:>8}{:>8}{:>8}", "table", "rows", "rows/s", "p50", "p99", "max");
    let mut p99 = f64::INFINITY;
    for line in str::from_utf8(seen)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let age = |name: &str| line[name].as_f64().unwrap_or(f64::INFINITY);
        p99 = age("p99"); // the last line is that of all tables
        let table = line["table"].as_str().unwrap_or_default();
        let rows = line["rows"].as_u64().unwrap_or_default();
        let per_s = rows / seconds.max(1);
        println!("{table:<24}{rows:>10}{per_s:>10}{:>8.2}{p99:>8.2}{:>8.2}", age("p50"), age("max"));
    }
    Ok(p99)
}

/// The demo, at a rate and with a commit interval.
fn project(folder: &Path, Live { rate, interval_s, seconds, is_raw, .. }: Live) -> Result<PathBuf> {
    let records = rate * (seconds + interval_s + GRACE_S);
    let products = rate.max(PRODUCTS_MIN);
    let days = 2 + records.div_ceil(products * RECORDS_PER_DAY);
    let market = Market { seed: 7, products: u32::try_from(products)?, days: u32::try_from(days)? };
    let (end, lake) = (format!("days = {days} }}"), "path = \"data/lake\"");
    let paced = format!("days = {days}, rate_per_s = {rate} }}");
    let often = format!("{lake}, commit_interval = \"{interval_s}s\"");
    let reads = if is_raw { RAW } else { CLEAN };
    market::project(folder, market, &[(&end, &paced), (lake, &often), (CLEAN, reads)])
}

/// Who looks at the lake until its input ends; rows count that are taken in before `end`, in microseconds.
fn watch(lake: &Path, end: i64) -> Result<Child> {
    let python = std::env::var("SKUFLOW_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", include_str!("freshness.py")]).arg(lake).arg(end.to_string());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    child.context("SKUFLOW_PYTHON, else python3, looks at the lake; it needs `duckdb`")
}

/// Waits, and prints what the run holds; it has to go on meanwhile.
fn live_for(run: &mut Child, time: Duration, every_s: u64) -> Result<Vec<Held>> {
    let (began, mut samples) = (Instant::now(), Vec::new());
    println!("{}", Held::header());
    while began.elapsed() < time {
        ensure!(run.try_wait()?.is_none(), "the run ends by itself");
        let seconds = began.elapsed().as_secs();
        if seconds >= every_s * (samples.len() as u64 + 1) {
            let held = Held::by(run.id(), seconds)?;
            println!("{}", held.line());
            samples.push(held);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Ok(samples)
}

fn stopped(mut run: Child) -> Result<()> {
    let asked = Command::new("kill").args(["-TERM", &run.id().to_string()]).status()?;
    let status = run.wait()?;
    ensure!(asked.success() && status.success(), "the run does not stop as it should: {status}");
    Ok(())
}
