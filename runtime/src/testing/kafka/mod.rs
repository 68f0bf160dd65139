//! A real Apache Kafka of one node, its jars from Maven Central, on free ports of the loopback.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

mod look;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::is_required;
use super::leash::{Leash, cached, free_ports, is_there, run};
pub use look::Look;

/// How long after a kill the controller has given up the broker: its session, which begins with the last heartbeat.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// A running Kafka.
pub struct Kafka {
    leash: Leash,
    /// Where it is a process of its own.
    controller: Option<Leash>,
    killed: Option<Instant>,
    dir: PathBuf,
    jars: PathBuf,
    /// Ports of the listeners that were asked for.
    listeners: Vec<(String, u16)>,
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
    /// Starts one of its own for a test that changes it; see [`kafka`].
    ///
    /// # Panics
    /// See [`kafka`].
    pub fn start() -> Option<Self> {
        Self::start_with(&[], "")
    }

    /// Starts one of its own for a test that kills it; see [`kafka`]. Its controller lives on, in a process of its own, and
    /// has given the broker up before it is back. One that is back before that has its partitions still, loses them when its
    /// old session ends, and takes them for deleted then: what it is about to abort stays open for ever, see "A transaction
    /// that hangs" in docs/kafka.md.
    ///
    /// # Panics
    /// See [`kafka`].
    pub fn start_to_be_killed() -> Option<Self> {
        Self::can_start().then(|| Self::start_from(found_jars(), &[], "", true))
    }

    /// Like [`Self::start`], with further listeners (name and protocol) beside the plain one, and further properties.
    ///
    /// # Panics
    /// See [`kafka`].
    pub fn start_with(listeners: &[(&str, &str)], properties: &str) -> Option<Self> {
        Self::can_start().then(|| Self::start_from(found_jars(), listeners, properties, false))
    }

    /// Whether there is what it takes, for tests that have more to make before; see [`kafka`].
    ///
    /// # Panics
    /// See [`kafka`].
    pub fn can_start() -> bool {
        let can_start = is_there("java") && is_there("mvn");
        if !can_start {
            assert!(!is_required("kafka"), "kafka is required, which takes Java 17 and Maven");
            eprintln!("skipped: kafka (it takes Java 17 and Maven)");
        }
        can_start
    }

    fn start_from(jars: PathBuf, listeners: &[(&str, &str)], properties: &str, is_apart: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let [port, controller] = free_ports();
        let listening =
            listeners.iter().map(|(name, _)| ((*name).to_owned(), free_ports::<1>()[0])).collect::<Vec<_>>();
        let addresses = listening.iter().map(|(name, port)| format!(",{name}://127.0.0.1:{port}"));
        let protocols = listeners.iter().map(|(name, protocol)| format!(",{name}:{protocol}"));
        let properties = include_str!("server.properties")
            .replace("@BROKER@", &port.to_string())
            .replace("@CONTROLLER@", &controller.to_string())
            .replace("@LISTENERS@", &addresses.collect::<String>())
            .replace("@PROTOCOLS@", &protocols.collect::<String>())
            .replace("@DIR@", &dir.display().to_string())
            + properties;
        let id = cluster_id();
        let (controller, properties) = if is_apart {
            let apart = tempfile::tempdir().expect("a temporary directory").keep();
            let controller =
                start_process(&jars, &apart, &properties_of_controller(&apart, controller), &id, controller);
            (Some(controller), properties + &properties_of_broker(port))
        } else {
            (None, properties)
        };
        let leash = start_process(&jars, &dir, &properties, &id, port);
        Self { leash, controller, killed: None, dir, jars, listeners: listening }
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.leash.port)
    }

    /// Where clients find a listener that was asked for.
    ///
    /// # Panics
    /// Where it was not.
    pub fn listener(&self, name: &str) -> String {
        let port = self.listeners.iter().find_map(|(found, port)| (found == name).then_some(port));
        format!("127.0.0.1:{}", port.expect("it was asked for"))
    }

    /// Runs one of Kafka's own commands, like `kafka-topics.sh --list --bootstrap-server …`.
    ///
    /// # Panics
    /// Where it fails.
    pub fn run(&self, command: &str) {
        let (name, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let class = match name {
            "kafka-acls.sh" => "org.apache.kafka.tools.AclCommand",
            "kafka-configs.sh" => "kafka.admin.ConfigCommand",
            "kafka-topics.sh" => "org.apache.kafka.tools.TopicCommand",
            other => panic!("{other} is no command of Kafka's that is known here"),
        };
        let mut java = Command::new("java");
        java.args(self::java(&self.jars, &self.dir)).arg(class).args(arguments.split(' '));
        let done = java.output().expect("java runs");
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stdout));
    }

    /// Ends it with `kill -9`.
    pub fn kill(&mut self) {
        self.leash.kill();
        self.killed = Some(Instant::now());
    }

    /// Starts it again, with what it had, when its controller has given it up.
    ///
    /// # Panics
    /// Where it was not killed, or was not started for that.
    pub fn start_again(&mut self) {
        assert!(self.controller.is_some(), "it was started by `start_to_be_killed`");
        let until = self.killed.take().expect("it was killed") + GIVEN_UP;
        while Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        self.leash.start_again();
    }
}

/// Formats a folder for these properties, and starts a Kafka with it.
fn start_process(jars: &Path, dir: &Path, properties: &str, cluster_id: &str, port: u16) -> Leash {
    let config = dir.join("server.properties");
    fs::write(&config, properties).expect("writable");
    fs::write(dir.join("log4j2.yaml"), include_str!("log4j2.yaml")).expect("writable");
    let java = java(jars, dir);
    let is_controller = !properties.contains("\nprocess.roles=broker\n");
    let format = Command::new("java")
        .args(&java)
        .args(["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c"])
        .arg(&config)
        .args(is_controller.then_some("--standalone"))
        .output()
        .expect("java runs");
    assert!(format.status.success(), "Kafka's directory: {}", String::from_utf8_lossy(&format.stderr));
    let mut command = Command::new("java");
    command.args(java).arg("kafka.Kafka").arg(&config);
    Leash::start("Kafka", dir.into(), port, &command, "KILL")
}

/// What makes a broker alone of what is both; what comes later counts.
fn properties_of_broker(port: u16) -> String {
    format!(
        "\nprocess.roles=broker\nlisteners=PLAINTEXT://127.0.0.1:{port}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"
    )
}

fn properties_of_controller(dir: &Path, port: u16) -> String {
    format!(
        "process.roles=controller\nnode.id=2\ncontroller.quorum.bootstrap.servers=127.0.0.1:{port}\n\
         listeners=CONTROLLER://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\nlog.dirs={}/data\n",
        dir.display()
    )
}

fn found_jars() -> PathBuf {
    jars().expect("Kafka's jars come from Maven Central, or from the cache in the target folder")
}

/// How a program of Kafka's is run, up to the name of its class.
fn java(jars: &Path, dir: &Path) -> [String; 6] {
    [
        "-Xmx512m".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        format!("-Dlog4j2.configurationFile=file:{}", dir.join("log4j2.yaml").display()),
        "-cp".to_owned(),
        format!("{}/*", jars.display()),
    ]
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
