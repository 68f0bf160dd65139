//! A real Apache Kafka of one node, its jars from Maven Central, on free ports of the loopback.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

mod look;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::is_required;
pub use look::Look;

const START_MAX: Duration = Duration::from_secs(90);

/// Holds the broker on a leash: the shell's input is a pipe from the test's process, which says when to kill it and when to
/// start it again. Whichever way that process ends, the pipe closes, and the shell ends the broker and removes what it wrote.
pub(super) const LEASH: &str = r#"start() { java "$@" >>"$DIR/server.log" 2>&1 & pid=$!; }
start "$@"
while read -r word; do
    case $word in
        kill) kill -9 $pid; wait $pid 2>/dev/null ;;
        start) start "$@" ;;
    esac
done
kill -9 $pid; wait $pid 2>/dev/null; rm -rf "$DIR""#;

/// A running Kafka.
pub struct Kafka {
    leash: Child,
    dir: PathBuf,
    port: u16,
}

/// The Kafka that the tests of this process share, started by the first that asks; each test takes topics, groups and ids of
/// its own. `None` where Java or Maven is missing, which is said, and is a failure where `SKUFLOW_REQUIRE` wants it.
///
/// # Panics
/// See above, and where it is there but does not start.
pub fn kafka() -> Option<&'static Kafka> {
    static SHARED: OnceLock<Option<Kafka>> = OnceLock::new();
    SHARED.get_or_init(Kafka::start).as_ref()
}

impl Kafka {
    /// Starts one of its own for a test that stops it; see [`kafka`].
    ///
    /// # Panics
    /// See [`kafka`].
    pub fn start() -> Option<Self> {
        let is_there = |program: &str| Command::new(program).arg("-version").output().is_ok();
        if !(is_there("java") && is_there("mvn")) {
            assert!(!is_required("kafka"), "kafka is required, which takes Java 17 and Maven");
            eprintln!("skipped: kafka (it takes Java 17 and Maven)");
            return None;
        }
        let jars = jars().expect("Kafka's jars come from Maven Central, or from the cache in the target folder");
        Some(Self::start_from(&jars))
    }

    fn start_from(jars: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let [port, controller] = free_ports();
        let properties = include_str!("server.properties")
            .replace("@BROKER@", &port.to_string())
            .replace("@CONTROLLER@", &controller.to_string())
            .replace("@DIR@", &dir.display().to_string());
        let config = dir.join("server.properties");
        fs::write(&config, properties).expect("writable");
        fs::write(dir.join("log4j2.yaml"), include_str!("log4j2.yaml")).expect("writable");
        let java = [
            "-Xmx512m".to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            format!("-Dlog4j2.configurationFile=file:{}", dir.join("log4j2.yaml").display()),
            "-cp".to_owned(),
            format!("{}/*", jars.display()),
        ];
        let format = Command::new("java")
            .args(&java)
            .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", &cluster_id(), "-c"])
            .arg(&config)
            .output()
            .expect("java runs");
        assert!(format.status.success(), "Kafka's directory: {}", String::from_utf8_lossy(&format.stderr));
        let leash = Command::new("sh")
            .args(["-c", LEASH, "sh"])
            .args(&java)
            .arg("kafka.Kafka")
            .arg(&config)
            .env("DIR", &dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let kafka = Self { leash, dir, port };
        kafka.wait_until("Kafka starts", |is_there| is_there);
        kafka
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it with `kill -9`.
    pub fn kill(&mut self) {
        self.say("kill\n");
        self.wait_until("Kafka ends", |is_there| !is_there);
    }

    /// Starts it again, with what it had.
    pub fn start_again(&mut self) {
        self.say("start\n");
        self.wait_until("Kafka starts", |is_there| is_there);
    }

    fn say(&mut self, word: &str) {
        let leash = self.leash.stdin.as_mut().expect("it is held until it is dropped");
        leash.write_all(word.as_bytes()).expect("the shell listens");
    }

    fn wait_until(&self, what: &str, holds: impl Fn(bool) -> bool) {
        let until = Instant::now() + START_MAX;
        while !holds(TcpStream::connect(("127.0.0.1", self.port)).is_ok()) {
            assert!(Instant::now() < until, "{what}: not within {START_MAX:?}: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _it_ends_by_itself = self.leash.wait();
    }
}

/// The folder with the jars, filled by the first process that needs it.
fn jars() -> io::Result<PathBuf> {
    let target = target_dir()?;
    let version = include_str!("pom.xml").split("<kafka.version>").nth(1).and_then(|rest| rest.split('<').next());
    let jars = target.join(format!("kafka-{}", version.expect("the pom names it")));
    let lock = File::create(target.join("kafka.lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    if jars.exists() {
        return Ok(jars);
    }
    let aside = tempfile::tempdir_in(&target)?;
    fs::write(aside.path().join("pom.xml"), include_str!("pom.xml"))?;
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(aside.path().join("pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", aside.path().join("jars").display()))
        .output()?;
    if !fetched.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&fetched.stdout).into_owned()));
    }
    fs::rename(aside.path().join("jars"), &jars)?;
    Ok(jars)
}

/// The folder that cargo marks as a cache, above this program.
pub(super) fn target_dir() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    target.map(Path::to_owned).ok_or_else(|| io::Error::other("a test runs in cargo's target folder"))
}

pub(super) fn free_ports() -> [u16; 2] {
    let bound = [(), ()].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    bound.map(|listener| listener.local_addr().expect("bound").port())
}

/// Sixteen random bytes in URL-safe base 64, as Kafka wants them.
fn cluster_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let random = (0..20).map(|index| LETTERS[(RandomState::new().hash_one(index) % 64) as usize] as char);
    format!("s{}A", random.collect::<String>()) // a first letter that no command takes for an option
}
