//! A real Apache Kafka of one node, its jars from Maven Central, on free ports of the loopback.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::is_required;
use super::leash::{Leash, cached, free_ports, is_there, run};

/// A running Kafka.
pub struct Kafka(Leash);

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
        let arguments = java.into_iter().chain(["kafka.Kafka".to_owned(), config.display().to_string()]);
        Self(Leash::start("Kafka", dir, port, Path::new("java"), arguments))
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.0.port)
    }

    /// Ends it with `kill -9`.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again, with what it had.
    pub fn start_again(&mut self) {
        self.0.start_again();
    }
}

/// The folder with the jars.
fn jars() -> io::Result<PathBuf> {
    let version = include_str!("pom.xml").split("<kafka.version>").nth(1).and_then(|rest| rest.split('<').next());
    cached(&format!("kafka-{}", version.expect("the pom names it")), |aside| {
        let (pom, jars) = (aside.join("pom.xml"), aside.join("jars"));
        fs::write(&pom, include_str!("pom.xml"))?;
        run(Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", jars.display())))?;
        Ok(jars)
    })
}

/// Sixteen random bytes in URL-safe base 64, as Kafka wants them.
fn cluster_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let random = (0..20).map(|index| LETTERS[(RandomState::new().hash_one(index) % 64) as usize] as char);
    format!("s{}A", random.collect::<String>()) // a first letter that no command takes for an option
}
