//! How much of its time a program takes for all that there is.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::cluster::{Cluster, Used, committed, ends, used};
use super::load::RAW;
use super::program::{Programs, Running, Setting};

const TICK: Duration = Duration::from_millis(100);
/// When nothing has moved for this long, and nothing is left, it is done.
const REST: Duration = Duration::from_millis(1_500);
/// Offsets at the end of a partition that hold no record: markers of transactions.
const MARKERS: i64 = 4;

/// What a run took, from the start of the process to its last commit.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub records: f64,
    pub wall_s: f64,
    pub cpu_s: f64,
    pub broker_cpu_s: f64,
    pub rss_peak_mb: f64,
    /// Records per CPU second from half of the work on.
    pub later_per_cpu: f64,
}

impl Took {
    /// The median of each.
    pub fn median(of: &[Self]) -> Self {
        let median = |read: fn(&Self) -> f64| {
            let mut values: Vec<f64> = of.iter().map(read).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            records: median(|took| took.records),
            wall_s: median(|took| took.wall_s),
            cpu_s: median(|took| took.cpu_s),
            broker_cpu_s: median(|took| took.broker_cpu_s),
            rss_peak_mb: median(|took| took.rss_peak_mb),
            later_per_cpu: median(|took| took.later_per_cpu),
        }
    }
}

struct Sample {
    at: Instant,
    done: i64,
    used: Used,
    broker_cpu_s: f64,
}

/// Runs it until everything is processed; it goes on then.
pub fn catch_up(programs: &Programs, setting: Setting, name: &str, longest: Duration) -> Result<(Took, Running)> {
    let cluster = &programs.cluster;
    let broker_before = used(cluster.pid)?.cpu_s;
    let started = Instant::now();
    let mut running = programs.start(setting, name)?;
    let samples = watch(cluster, &mut running, longest)?;
    let all: i64 = ends(&cluster.consumer("measure")?, RAW)?.iter().sum();
    let last = samples.last().expect("there is one");
    let half = samples.iter().find(|sample| sample.done * 2 >= last.done).unwrap_or(last);
    let took = Took {
        records: all as f64,
        wall_s: last.at.duration_since(started).as_secs_f64(),
        cpu_s: last.used.cpu_s,
        broker_cpu_s: last.broker_cpu_s - broker_before,
        rss_peak_mb: last.used.rss_peak_mb,
        later_per_cpu: all as f64 * (1.0 - half.done as f64 / last.done as f64)
            / (last.used.cpu_s - half.used.cpu_s).max(0.01),
    };
    Ok((took, running))
}

/// Looks at it until it has done everything; the last sample is that at which it had.
fn watch(cluster: &Cluster, running: &mut Running, longest: Duration) -> Result<Vec<Sample>> {
    let topics = running.topics.clone();
    let [clean, compete] = [cluster.consumer(&topics.groups[0])?, cluster.consumer(&topics.groups[1])?];
    let raw = ends(&clean, RAW)?;
    let started = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    loop {
        std::thread::park_timeout(TICK);
        running.is_alive()?;
        let (used, broker_cpu_s) = (used(running.pid())?, super::cluster::used(cluster.pid)?.cpu_s);
        let at = Instant::now();
        let offers = committed(&clean, RAW)?;
        let copies =
            if offers.iter().any(|next| *next > 0) { committed(&compete, &topics.copies)? } else { vec![0; 4] };
        let done = offers.iter().chain(&copies).sum();
        if samples.last().is_none_or(|last| last.done < done) {
            samples.push(Sample { at, done, used, broker_cpu_s });
        }
        let is_read = |next: &[i64], end: &[i64]| next.iter().zip(end).all(|(next, end)| next + MARKERS >= *end);
        let rested = samples.last().is_some_and(|last| at.duration_since(last.at) > REST);
        if rested && is_read(&offers, &raw) && is_read(&copies, &ends(&compete, &topics.copies)?) {
            return Ok(samples);
        }
        ensure!(
            started.elapsed() < longest,
            "not done within {longest:?}: {offers:?} of {raw:?} and {copies:?}, {used:?}"
        );
    }
}
