//! A run that is killed again and again, and finished.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How often, and at which of all moments.
#[derive(Clone, Copy)]
pub struct Kills {
    pub count: u64,
    pub seed: u64,
}

/// `skuflow run --once` on one data directory.
pub struct Run {
    pub binary: PathBuf,
    pub config: PathBuf,
    pub variables: Vec<(&'static str, PathBuf)>,
}

impl Run {
    /// Starts it.
    pub fn start(&self) -> Result<Child> {
        let mut command = Command::new(&self.binary);
        command.args(["run", "--once", "--format", "json", "--config"]).arg(&self.config);
        command.envs(self.variables.iter().cloned()).env("SKUFLOW_LOG", "error");
        Ok(command.stdout(Stdio::null()).spawn()?)
    }

    /// Runs it to its end; how long that takes.
    pub fn finish(&self) -> Result<Duration> {
        let started = Instant::now();
        ensure!(self.start()?.wait()?.success(), "the run fails");
        Ok(started.elapsed())
    }

    /// Kills it again and again, and runs it to its end. `whole` is how long all of the work takes.
    pub fn finish_after(&self, kills: Kills, whole: Duration) -> Result<()> {
        println!("one run without kills takes {whole:?}");
        let mut random = kills.seed;
        let mut at_work = 0;
        for number in 1..=kills.count {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Moments spread over the whole work: each run gets about an even share of it, and is killed within.
            let share = whole.as_micros() as u64 * 2 / kills.count;
            let was_at_work = self.is_killed_after(Duration::from_micros(20_000 + (random >> 33) % share.max(1)))?;
            at_work += u64::from(was_at_work);
            println!("kill {number}: {}", if was_at_work { "killed at work" } else { "it had finished" });
        }
        ensure!(2 * at_work > kills.count, "{at_work} of {} kills were at work; give it more", kills.count);
        println!("{at_work} of {} kills were at work", kills.count);
        self.finish()?;
        Ok(())
    }

    /// Whether it had to be killed then.
    fn is_killed_after(&self, time: Duration) -> Result<bool> {
        let mut child = self.start()?;
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the run fails");
                return Ok(false);
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        child.kill()?;
        child.wait()?;
        Ok(true)
    }
}
