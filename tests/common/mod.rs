//! A project in temporary directories, and the binary that the tests built.
#![allow(dead_code, clippy::print_stderr, reason = "each test binary uses a part of it, and says what it skips")]

#[path = "../../sinks/tests/lake/expected.rs"]
pub mod expected;
pub mod lake;
pub mod oracle;
#[path = "../../sinks/tests/lake/reached.rs"]
pub mod reached;
pub mod recomputed;
pub mod replay;
pub mod rows;
pub mod served;
pub mod topics;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use skuflow::config::Loaded;
use skuflow::demo::Market;
use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// The invoice lines of a shop, where they are.
pub fn retail_files() -> Option<PathBuf> {
    real_files("retail")
}

/// The shelf prices of two chains, where they are.
pub fn grocery_files() -> Option<PathBuf> {
    real_files("grocery")
}

/// A folder of the real data, where it is.
fn real_files(name: &str) -> Option<PathBuf> {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if files.is_dir() {
        return Some(files);
    }
    eprintln!("skipped: no ../shared/data");
    None
}

/// Waits until something is so.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A config with a data directory of its own.
pub struct Project {
    config: PathBuf,
    pub data: TempDir,
    variables: Vec<(&'static str, PathBuf)>,
    home: TempDir,
}

/// A process that is killed at the latest when the test ends.
pub struct Running(Child);

impl Running {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended, and well.
    pub fn ended(&mut self) -> Option<bool> {
        self.0.try_wait().expect("ours").map(|status| status.success())
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _it_may_have_ended = self.0.wait();
    }
}

impl Project {
    /// The retail example over the files in `files`.
    pub fn retail(files: &Path) -> Self {
        Self::retail_in(files, &std::env::temp_dir())
    }

    /// The same, with its data below `folder`.
    pub fn retail_in(files: &Path, folder: &Path) -> Self {
        let files = files.canonicalize().expect("there");
        Self::new("retail.toml", "RETAIL_DATA", folder, vec![("RETAIL_FILES", files)])
    }

    /// The grocery example over the files in `files`.
    pub fn grocery(files: &Path) -> Self {
        let files = files.canonicalize().expect("there");
        let project = Self::new("grocery.toml", "GROCERY_DATA", &std::env::temp_dir(), vec![("GROCERY_FILES", files)]);
        project.edit("\"../rules/", concat!("\"", env!("CARGO_MANIFEST_DIR"), "/rules/"));
        project
    }

    /// The sample.
    pub fn sample() -> Self {
        Self::new("sample.toml", "SAMPLE_DATA", &std::env::temp_dir(), Vec::new())
    }

    /// The project that the demo makes.
    pub fn market(market: Market) -> Self {
        Self::market_in(market, &std::env::temp_dir())
    }

    /// The same, with its data below `folder`.
    pub fn market_in(market: Market, folder: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let data = tempfile::tempdir_in(folder).expect("a temporary directory");
        skuflow::demo::make(home.path(), market).expect("a new folder");
        let project = Self { config: home.path().join("pipelines.toml"), data, variables: Vec::new(), home };
        let folder = project.data.path().display().to_string();
        project.edit("data_dir = \"data\"", &format!("data_dir = \"{folder}\""));
        project.edit("sqlite:data/", &format!("sqlite:{folder}/"));
        project.edit("\"data/lake\"", &format!("\"{folder}/lake\""));
        project
    }

    fn new(
        example: &str,
        data_variable: &'static str,
        folder: &Path,
        mut variables: Vec<(&'static str, PathBuf)>,
    ) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let data = tempfile::tempdir_in(folder).expect("a temporary directory");
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let config = home.path().join("pipelines.toml");
        std::fs::copy(examples.join(example), &config).expect("there");
        std::os::unix::fs::symlink(examples.join("sample"), home.path().join("sample")).expect("can be linked");
        variables.push((data_variable, data.path().to_path_buf()));
        Self { config, data, variables, home }
    }

    /// Writes a file beside the config, which is there as a whole or not at all.
    pub fn write(&self, name: &str, text: &str) {
        let part = self.home.path().join("part");
        std::fs::write(&part, text).expect("writable");
        std::fs::rename(part, self.home.path().join(name)).expect("writable");
    }

    /// The config as a run reads it.
    pub fn loaded(&self) -> Loaded {
        let loaded = skuflow::config::load(&self.config);
        loaded.unwrap_or_else(|(problems, _)| panic!("{problems:?}"))
    }

    /// What was written beside the config.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).expect("there")
    }

    /// Sets a variable of the environment of all commands.
    pub fn set(&mut self, variable: &'static str, value: &str) {
        self.variables.push((variable, value.into()));
    }

    /// Replaces `from`, which is there, by `to` in the config.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.config).expect("there");
        assert!(text.contains(from), "{from}");
        std::fs::write(&self.config, text.replacen(from, to, 1)).expect("writable");
    }

    fn prepared(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skuflow"));
        command
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .env("SKUFLOW_LOG", "warn")
            .envs(self.variables.iter().cloned());
        command
    }

    /// Runs a command to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.prepared(arguments).output().expect("starts")
    }

    /// The JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Processes all that is there; the summary.
    pub fn run_once(&self) -> Value {
        self.json(&["run", "--once", "--format", "json"])
    }

    /// The same with some stations; the summary.
    pub fn run_once_only(&self, stations: &[&str]) -> Value {
        let only = stations.iter().flat_map(|station| ["--only", station]);
        self.json(&["run", "--once", "--format", "json"].into_iter().chain(only).collect::<Vec<_>>())
    }

    /// Starts a command and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running(self.prepared(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"))
    }

    /// Starts a command that says on stderr what goes wrong, into a file beside the config.
    pub fn start_logged(&self, arguments: &[&str], name: &str) -> Running {
        let log = std::fs::File::create(self.home.path().join(name)).expect("writable");
        Running(self.prepared(arguments).stdout(Stdio::null()).stderr(log).spawn().expect("starts"))
    }

    /// The records that `tap` shows of a topic.
    pub fn tap(&self, topic: &str) -> Vec<Value> {
        let output = self.command(&["tap", topic, "-n", "1000000"]);
        assert!(output.status.success(), "{topic}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Starts a run and kills it with SIGKILL, `kills` times at moments that `seed` gives; how often that was at work.
    pub fn run_and_kill(&self, kills: u32, seed: u64) -> usize {
        let mut random = seed;
        let moments = (0..kills).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Duration::from_millis(50 + (random >> 55))
        });
        moments.filter(|moment| self.is_killed_after(*moment)).count()
    }

    /// Whether a run had to be killed then.
    fn is_killed_after(&self, time: Duration) -> bool {
        let mut running = self.start(&["run", "--once"]);
        let until = Instant::now() + time;
        while Instant::now() < until && running.ended().is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        running.ended().is_none()
    }

    /// Waits until a run answers.
    pub fn wait_for_socket(&self) {
        wait_until("a run came up", || self.data.path().join("control.sock").exists());
    }

    /// Rows of a query over the serving tables, columns joined by bars.
    pub fn query(&self, query: &str) -> Vec<String> {
        use sqlx::{Column as _, ConnectOptions as _, Row as _, ValueRef as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.data.path().join("serving.db"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
        let rows = runtime.block_on(async {
            let mut connection = options.connect().await.expect("there");
            sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.expect("a query")
        });
        let cell = |row: &sqlx::sqlite::SqliteRow, at: usize| {
            if row.try_get_raw(at).expect("a column").is_null() {
                return String::new();
            }
            let integer = row.try_get::<i64, _>(at).map(|value| value.to_string());
            integer
                .or_else(|_| row.try_get::<String, _>(at))
                .or_else(|_| row.try_get::<f64, _>(at).map(|v| v.to_string()))
                .expect("a value")
        };
        let shown = |row: &sqlx::sqlite::SqliteRow| {
            row.columns().iter().map(|column| cell(row, column.ordinal())).collect::<Vec<_>>().join("|")
        };
        rows.iter().map(shown).collect()
    }

    /// Units per SKU and day, days that came to nothing among them.
    pub fn units_by_sku_and_day(&self) -> BTreeMap<(String, String), i64> {
        let rows = self.query("SELECT native_id, business_date, SUM(units) FROM sales_daily GROUP BY 1, 2");
        let parse = |row: &String| {
            let mut parts = row.rsplitn(3, '|');
            let (units, day) = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
            Some(((parts.next()?.to_owned(), day), units))
        };
        rows.iter().map(|row| parse(row).expect("three columns")).collect()
    }
}
