//! A real schema registry (Apicurio, which speaks Confluent's protocol), out of Maven Central, on free ports of the loopback.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::is_required;
use super::kafka::{LEASH, free_ports, target_dir};

const ARTIFACT: &str = "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all";
const START_MAX: Duration = Duration::from_secs(90);
/// The oldest Java that it runs on.
const JAVA_MIN: u32 = 21;

/// A running registry; it forgets everything when it stops.
pub struct Registry {
    leash: Child,
    port: u16,
}

impl Registry {
    /// Starts one. `None` where Java 21 (`SKUFLOW_JAVA_21`, one of `/usr/lib/jvm`, or `java`) or Maven is missing, which is
    /// said, and is a failure where `SKUFLOW_REQUIRE` wants it.
    ///
    /// # Panics
    /// See above, and where it is there but does not start.
    pub fn start() -> Option<Self> {
        let has_maven = Command::new("mvn").arg("-version").output().is_ok();
        let Some(java) = java().filter(|_| has_maven) else {
            assert!(!is_required("registry"), "the registry is required, which takes Java {JAVA_MIN} and Maven");
            eprintln!("skipped: registry (it takes Java {JAVA_MIN}, which SKUFLOW_JAVA_21 may name, and Maven)");
            return None;
        };
        let [port, management] = free_ports();
        Some(Self::start_on(&java, port, management))
    }

    fn start_on(java: &Path, port: u16, management: u16) -> Self {
        let app = app().expect("the registry comes from Maven Central, or from the cache in the target folder");
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let leash = Command::new("sh")
            .args(["-c", LEASH, "sh", "-Xmx200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dquarkus.http.host=127.0.0.1", "-Dquarkus.management.host=127.0.0.1"])
            .arg(format!("-Dquarkus.http.port={port}"))
            .arg(format!("-Dquarkus.management.port={management}"))
            .arg("-jar")
            .arg(app.join("quarkus-run.jar"))
            .env("PATH", path_with(java.parent().expect("a program is in a folder")))
            .env("DIR", &dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let registry = Self { leash, port };
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < until, "the registry does not start: {log}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        registry
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _it_ends_by_itself = self.leash.wait();
    }
}

fn path_with(first: &Path) -> OsString {
    let mut path = first.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

fn java() -> Option<PathBuf> {
    let named = std::env::var_os("SKUFLOW_JAVA_21").map(PathBuf::from);
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("java"));
    let mut all = named.into_iter().chain(installed.map(|entry| entry.path().join("bin/java"))).chain(on_path);
    all.find(|java| version(java).is_some_and(|version| version >= JAVA_MIN))
}

/// The number behind `version "`.
fn version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let digits: String = said.split_once("version \"")?.1.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The folder with the program, filled by the first process that needs it.
fn app() -> io::Result<PathBuf> {
    let target = target_dir()?;
    let app = target.join("apicurio-registry-3.3.3");
    let lock = File::create(target.join("registry.lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    if app.exists() {
        return Ok(app);
    }
    let aside = tempfile::tempdir_in(&target)?;
    let copy = ["-q", "-B", "dependency:copy", "-Dmdep.stripVersion=true", &format!("-Dartifact={ARTIFACT}")]
        .map(String::from);
    run(Command::new("mvn").args(copy).arg(format!("-DoutputDirectory={}", aside.path().display())))?;
    let unpacked = aside.path().join("app");
    fs::create_dir(&unpacked)?;
    let packed = aside.path().join("apicurio-registry-app-all.tar.gz");
    run(Command::new("tar").arg("xzf").arg(packed).arg("-C").arg(&unpacked))?;
    fs::rename(unpacked, &app)?;
    Ok(app)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(io::Error::other(String::from_utf8_lossy(&said).into_owned()))
}
