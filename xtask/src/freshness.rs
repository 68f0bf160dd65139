//! How old rows of the lake are when they can first be read, on a live run of the demo's market at a steady rate.
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
}

/// What the age of nearly all rows may come to beyond the commit interval.
const BEYOND_S: u64 = 5;
/// How long rows are waited for, beyond the commit interval.
const GRACE_S: u64 = 30;
const PRODUCTS: u32 = 1_000;
/// Records that a product gives in a day at least.
const RECORDS_PER_DAY: u64 = 30;

/// Runs it, and prints the ages.
pub fn measure(binary: &Path, live: Live) -> Result<()> {
    let Live { rate, interval_s, seconds } = live;
    let home = tempfile::tempdir()?;
    let folder = home.path().join("market");
    let config = project(&folder, live)?;
    let end = Clock::System.now().micros() + 1_000_000 * seconds as i64;
    let mut watch = watch(&folder.join("data/lake"), end)?;
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(config).env("SKUFLOW_LOG", "error").stdout(Stdio::null());
    let mut run = command.spawn()?;
    let outcome = live_for(&mut run, Duration::from_secs(seconds + interval_s + GRACE_S));
    outcome.and(stopped(run))?;
    drop(watch.stdin.take());
    let seen = watch.wait_with_output()?;
    ensure!(seen.status.success(), "who watches the lake fails");
    println!("commit interval {interval_s} s, {seconds} s at {rate} records/s; age in seconds when readable");
    println!("{:<24}{:>10}{:>8}{:>8}{:>8}", "table", "rows", "p50", "p99", "max");
    let mut p99 = f64::INFINITY;
    for line in String::from_utf8(seen.stdout)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let age = |name: &str| line[name].as_f64().unwrap_or(f64::INFINITY);
        p99 = age("p99"); // the last line is that of all tables
        let table = line["table"].as_str().unwrap_or_default();
        let rows = line["rows"].as_u64().unwrap_or_default();
        println!("{table:<24}{rows:>10}{:>8.2}{p99:>8.2}{:>8.2}", age("p50"), age("max"));
    }
    ensure!(p99 <= (interval_s + BEYOND_S) as f64, "p99 is more than {BEYOND_S} s beyond the commit interval");
    Ok(())
}

/// The demo, at a rate and with a commit interval.
fn project(folder: &Path, Live { rate, interval_s, seconds }: Live) -> Result<PathBuf> {
    let records = rate * (seconds + interval_s + GRACE_S);
    let days = 2 + records.div_ceil(u64::from(PRODUCTS) * RECORDS_PER_DAY);
    let market = Market { seed: 7, products: PRODUCTS, days: u32::try_from(days)? };
    let (end, lake) = (format!("days = {days} }}"), "path = \"data/lake\"");
    let paced = format!("days = {days}, rate_per_s = {rate} }}");
    let often = format!("{lake}, commit_interval = \"{interval_s}s\"");
    market::project(folder, market, &[(&end, &paced), (lake, &often)])
}

/// Who looks at the lake until its input ends; rows count that are taken in before `end`, in microseconds.
fn watch(lake: &Path, end: i64) -> Result<Child> {
    let python = std::env::var("SKUFLOW_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", include_str!("freshness.py")]).arg(lake).arg(end.to_string());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    child.context("SKUFLOW_PYTHON, else python3, looks at the lake; it needs `duckdb`")
}

/// Waits; the run has to go on meanwhile.
fn live_for(run: &mut Child, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        ensure!(run.try_wait()?.is_none(), "the run ends by itself");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Ok(())
}

fn stopped(mut run: Child) -> Result<()> {
    let asked = Command::new("kill").args(["-TERM", &run.id().to_string()]).status()?;
    let status = run.wait()?;
    ensure!(asked.success() && status.success(), "the run does not stop as it should: {status}");
    Ok(())
}
