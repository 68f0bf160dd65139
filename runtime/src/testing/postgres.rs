//! A real Postgres on a free port of the loopback, with a data directory of its own.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::is_required;
use super::leash::{Leash, free_ports};

/// The account that owns the data directory where the tests are root's, whom Postgres refuses.
const NOBODY: u32 = 65534;
/// The user of every database, and its password.
pub const USER: &str = "skuflow";
/// See [`USER`].
pub const PASSWORD: &str = "correct-horse";
const START_MAX: Duration = Duration::from_mins(1);

/// A running Postgres. It flushes what it acknowledges.
pub struct Postgres {
    leash: Leash,
    programs: PathBuf,
}

/// The Postgres that the tests of this process share, started by the first that asks; each test takes a database of its own.
/// `None` where it is missing, which is said, and is a failure where `SKUFLOW_REQUIRE` wants it.
///
/// # Panics
/// See above, and where it is there but does not start.
pub fn postgres() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).as_ref()
}

impl Postgres {
    /// Starts one of its own for a test that stops it; see [`postgres`].
    ///
    /// # Panics
    /// See [`postgres`].
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(!is_required("postgres"), "postgres is required (package postgresql, or SKUFLOW_POSTGRES)");
            eprintln!("skipped: postgres (package postgresql; SKUFLOW_POSTGRES may name the folder of its programs)");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        fs::write(dir.join("password"), PASSWORD).expect("writable");
        let is_root = rustix::process::getuid().is_root();
        if is_root {
            chown(&dir, Some(NOBODY), Some(NOBODY)).expect("root may");
            chown(dir.join("password"), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let data = dir.join("data");
        let made = command(&programs, "initdb", is_root)
            .args([
                "--username",
                USER,
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "--pwfile",
            ])
            .arg(dir.join("password"))
            .arg("-D")
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let [port] = free_ports();
        let mut server = command(&programs, "postgres", is_root);
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=60", "fsync=on"] {
            server.args(["-c", setting]);
        }
        let leash = Leash::start("Postgres", dir, port, &server, "QUIT");
        let postgres = Self { leash, programs };
        postgres.wait();
        Some(postgres)
    }

    /// Makes a database; where clients find it.
    ///
    /// # Panics
    /// Where there is one of this name.
    pub fn database(&self, name: &str) -> String {
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Makes a database whose files are in an empty folder of their own; where clients find it.
    ///
    /// # Panics
    /// Where there is one of this name.
    pub fn database_in(&self, name: &str, folder: &Path) -> String {
        if rustix::process::getuid().is_root() {
            chown(folder, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        self.run("postgres", &format!("CREATE TABLESPACE {name} LOCATION '{}'", folder.display()));
        self.run("postgres", &format!("CREATE DATABASE {name} TABLESPACE {name}"));
        self.url(name)
    }

    /// Where clients find a database.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{name}", self.leash.port)
    }

    /// Runs a statement; what it said, a line per row.
    ///
    /// # Panics
    /// Where it fails.
    pub fn run(&self, database: &str, statement: &str) -> String {
        let done = self.client("psql").args(["-qAt", "-v", "ON_ERROR_STOP=1", "-c", statement, database]).output();
        let done = done.expect("psql runs");
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    }

    /// The number of its first process, whose children the others are.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn process(&self) -> u32 {
        let noted = fs::read_to_string(self.leash.dir.join("data/postmaster.pid")).expect("it runs");
        noted.lines().next().and_then(|line| line.parse().ok()).expect("a number")
    }

    /// Ends it at once, as a crash would: what is not committed is lost, connections are closed, the next start recovers.
    pub fn kill(&mut self) {
        self.leash.kill();
    }

    /// Starts it again, with what it had.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start_again(&mut self) {
        self.leash.start_again();
        self.wait();
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGPASSWORD", PASSWORD).args(["-h", "127.0.0.1", "-U", USER, "-p", &self.leash.port.to_string()]);
        command
    }

    /// Waits until it lets clients in.
    fn wait(&self) {
        let until = Instant::now() + START_MAX;
        while !self.client("pg_isready").output().expect("pg_isready runs").status.success() {
            assert!(Instant::now() < until, "Postgres lets nobody in within {START_MAX:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// One of the server's programs, which root runs as nobody.
fn command(programs: &Path, program: &str, is_root: bool) -> Command {
    let program = programs.join(program);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(program).current_dir("/");
    command
}

/// The folder with the server's programs: named, or of the newest version that is installed.
fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("SKUFLOW_POSTGRES").map(PathBuf::from);
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = installed.map(|entry| entry.path()).max_by_key(|folder| version(folder));
    let mut folders = named.into_iter().chain(newest.map(|folder| folder.join("bin")));
    folders.find(|folder| folder.join("initdb").exists() && folder.join("psql").exists())
}
