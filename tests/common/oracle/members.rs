//! The processes of the pipeline, and what happens to them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to stop when it is asked to, and a run with `--once` to come to its end.
const STOP_MAX: Duration = Duration::from_mins(1);
const FINISH_MAX: Duration = Duration::from_mins(10);
/// Time that passes at most between two looks while the machine goes on.
const LOOK_MAX: Duration = Duration::from_secs(15);

/// The stages of the pipeline.
pub const STAGES: [&str; 3] = ["catalog", "clean", "compete"];

/// Where the pipeline is, and who runs it.
pub struct Site {
    pub binary: PathBuf,
    pub home: PathBuf,
    pub cluster: String,
}

/// A process of the pipeline with the stations it runs.
pub struct Member {
    name: String,
    command: Command,
    log: PathBuf,
    running: Option<Child>,
    /// Stopped with SIGSTOP.
    pub is_stopped: bool,
    /// How often it ended without being told to, and was begun again.
    pub gave_up: u32,
}

impl Site {
    /// The folder in which a process keeps what is its own.
    pub fn data(&self, name: &str) -> PathBuf {
        self.home.join("data").join(name)
    }

    pub fn tables(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.db"))
    }

    pub fn lake(&self) -> PathBuf {
        self.home.join("lake")
    }

    /// `skuflow run` by a config beside the others, as `name`, with the tables called `tables`.
    fn run(&self, config: &str, name: &str, tables: &str) -> Command {
        let mut command = Command::new(&self.binary);
        let variables: BTreeMap<&str, PathBuf> = [
            ("ORACLE_DATA", self.data(name)),
            ("ORACLE_WORKER", name.into()),
            ("ORACLE_CLUSTER", self.cluster.clone().into()),
            ("ORACLE_TABLES", self.tables(tables)),
            ("ORACLE_LAKE", if tables == "tables" { self.lake() } else { self.home.join(format!("lake-{tables}")) }),
        ]
        .into();
        command.arg("run").arg("--config").arg(self.home.join(config)).envs(variables).env("SKUFLOW_LOG", "warn");
        command
    }

    /// A process that runs some stations until it is stopped.
    pub fn member(&self, name: &str, stations: &[&str]) -> Member {
        let mut command = self.run("live.toml", name, "tables");
        command.args(stations.iter().flat_map(|station| ["--only", station]));
        let log = self.home.join(format!("{name}.log"));
        Member { name: name.into(), command, log, running: None, is_stopped: false, gave_up: 0 }
    }

    /// Runs a config to its end.
    pub fn finish(&self, config: &str, name: &str, tables: &str, stations: &[&str]) {
        let mut command = self.run(config, name, tables);
        command.args(["--once", "--format", "json"]).args(stations.iter().flat_map(|station| ["--only", station]));
        let log = self.home.join(format!("finish-{name}.log"));
        let mut child = spawn(&mut command, &log);
        let Some(status) = ended(&mut child, FINISH_MAX) else {
            let _it_may_have_ended = child.kill();
            panic!("`run --once` of {config} has not come to its end within {FINISH_MAX:?}: {}", tail(&log));
        };
        assert!(status.success(), "`run --once` fails: {}", tail(&log));
    }
}

impl Member {
    /// Whether this is its id in one of its groups.
    pub fn is_called(&self, id: &str) -> bool {
        STAGES.iter().any(|stage| id.starts_with(&format!("oracle-{stage}-{}-", self.name)))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was started and not ended.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn start(&mut self) {
        assert!(self.running.is_none(), "{} runs already", self.name);
        self.running = Some(spawn(&mut self.command, &self.log));
    }

    /// Whether it runs; one that has given up, as the broker was away for too long, is begun again.
    ///
    /// # Panics
    /// Where it has panicked.
    pub fn is_alive(&mut self) -> bool {
        let Some(child) = &mut self.running else { return false };
        let Some(status) = child.try_wait().expect("ours") else { return true };
        assert!(status.code() != Some(101), "{} panicked: {}", self.name, tail(&self.log));
        self.gave_up += 1;
        self.running = None;
        self.start();
        false
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.running.take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        self.is_stopped = false;
    }

    /// Stops it where it stands, and lets it go on.
    pub fn freeze(&mut self, is_stopped: bool) {
        self.signal(if is_stopped { Signal::STOP } else { Signal::CONT });
        self.is_stopped = is_stopped;
    }

    /// Asks it to stop, and waits.
    pub fn stop(&mut self) {
        let Some(child) = &mut self.running else { return };
        if child.try_wait().expect("ours").is_some() {
            self.gave_up += 1;
            self.running = None;
            return;
        }
        self.signal(Signal::TERM);
        let mut child = self.running.take().expect("it runs");
        let ended = ended(&mut child, STOP_MAX);
        if ended.is_none() {
            let _it_may_have_ended = child.kill();
        }
        let log = tail(&self.log);
        // Before anything is begun there is nothing to finish: the signal just ends it.
        let is_fine = |status: ExitStatus| status.success() || status.signal() == Some(Signal::TERM.as_raw());
        assert!(ended.is_some_and(is_fine), "{} does not stop: {ended:?}: {log}", self.name);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.running.as_ref().expect("it runs"));
        kill_process(pid, signal).expect("it is ours");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            let _it_may_have_ended = child.kill();
            let _it_may_have_ended = child.wait();
        }
    }
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let open = || -> File { OpenOptions::new().create(true).append(true).open(log).expect("writable") };
    command.stdout(Stdio::null()).stderr(open()).spawn().expect("starts")
}

/// What is left of the time that something may take. A machine that stands still for a while does not count.
pub struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    pub fn new(left: Duration) -> Self {
        Self { left, looked: Instant::now() }
    }

    pub fn is_over(&mut self) -> bool {
        let spent = std::mem::replace(&mut self.looked, Instant::now()).elapsed().min(LOOK_MAX);
        self.left = self.left.saturating_sub(spent);
        self.left.is_zero()
    }
}

fn ended(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let mut patience = Patience::new(within);
    while !patience.is_over() {
        if let Some(status) = child.try_wait().expect("ours") {
            return Some(status);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    None
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
