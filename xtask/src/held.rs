//! What a process holds while it runs, and whether that grows.

use anyhow::{Result, ensure};

/// Of the samples the first third is warming up: caches and windows fill.
const WARM_UP: usize = 3;
/// What the second half of the rest may have more than the first, for noise.
const GROWTH: f64 = 1.1;
/// Bytes of memory that an id takes, which `dedup` remembers for a week, see `runtime/src/stage/seen.rs`: these do grow.
const ID_BYTES: f64 = 38.0;

/// What a process holds at a moment.
pub struct Held {
    /// Since it was started.
    pub seconds: u64,
    pub rss_mb: f64,
    pub files: f64,
    pub threads: f64,
}

impl Held {
    pub fn by(pid: u32, seconds: u64) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN)
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64;
        Ok(Self { seconds, rss_mb: field("VmRSS:") / 1024.0, files, threads: field("Threads:") })
    }

    /// The line above those of samples.
    pub fn header() -> String {
        format!("{:>8}{:>10}{:>8}{:>10}", "s", "RSS MB", "files", "threads")
    }

    pub fn line(&self) -> String {
        let Self { seconds, rss_mb, files, threads } = self;
        format!("{seconds:>8}{rss_mb:>10.0}{files:>8}{threads:>10}")
    }
}

/// Both halves of the samples behind the warm-up.
pub fn halves<T>(samples: &[T]) -> Result<(&[T], &[T])> {
    let warm = &samples[samples.len() / WARM_UP..];
    ensure!(warm.len() >= 4, "too few samples to judge by");
    Ok(warm.split_at(warm.len() / 2))
}

pub fn mean<T>(of: &[T], read: impl Fn(&T) -> f64) -> f64 {
    of.iter().map(read).sum::<f64>() / of.len() as f64
}

/// What grows, at so many records per second: the second half of the samples behind the warm-up is held against the first.
pub fn growth<T>(samples: &[T], held: impl Fn(&T) -> &Held + Copy, rate: u64) -> Result<Vec<String>> {
    let (first, second) = halves(samples)?;
    let seconds = |sample: &T| held(sample).seconds as f64;
    let ids_mb = (mean(second, seconds) - mean(first, seconds)) * rate as f64 * ID_BYTES / f64::from(1 << 20);
    println!("ids remembered in between take {ids_mb:.0} MB");
    let mut grown = Vec::new();
    for (name, read, by_design) in [
        ("RSS", (|held| held.rss_mb) as fn(&Held) -> f64, ids_mb),
        ("open files", |held| held.files, 0.0),
        ("threads", |held| held.threads, 0.0),
    ] {
        let [before, after] = [first, second].map(|half| mean(half, |sample| read(held(sample))));
        println!("{name}: {before:.0}, then {after:.0}");
        if after > before * GROWTH + by_design {
            grown.push(format!("{name} grows"));
        }
    }
    Ok(grown)
}
