//! A real schema registry (Apicurio, which speaks Confluent's protocol), out of Maven Central, on free ports of the loopback.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::is_required;
use super::leash::{Leash, cached, free_ports, is_there, run};

const ARTIFACT: &str = "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all";
/// The oldest Java that it runs on.
const JAVA_MIN: u32 = 21;

/// A running registry; it forgets everything when it stops.
pub struct Registry(Leash);

impl Registry {
    /// Starts one. `None` where Java 21 (`SKUFLOW_JAVA_21`, one of `/usr/lib/jvm`, or `java`) or Maven is missing, which is
    /// said, and is a failure where `SKUFLOW_REQUIRE` wants it.
    ///
    /// # Panics
    /// See above, and where it is there but does not start.
    pub fn start() -> Option<Self> {
        let Some(java) = java().filter(|_| is_there("mvn")) else {
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
        let arguments = [
            "-Xmx200m".to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-Dquarkus.http.host=127.0.0.1".to_owned(),
            "-Dquarkus.management.host=127.0.0.1".to_owned(),
            format!("-Dquarkus.http.port={port}"),
            format!("-Dquarkus.management.port={management}"),
            "-jar".to_owned(),
            app.join("quarkus-run.jar").display().to_string(),
        ];
        let mut command = Command::new(java);
        command.args(arguments);
        Self(Leash::start("the registry", dir, port, &command, "KILL"))
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.0.port)
    }
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

/// The folder with the program.
fn app() -> io::Result<PathBuf> {
    cached("apicurio-registry-3.3.3", |aside| {
        run(Command::new("mvn")
            .args(["-q", "-B", "dependency:copy", "-Dmdep.stripVersion=true"])
            .arg(format!("-Dartifact={ARTIFACT}"))
            .arg(format!("-DoutputDirectory={}", aside.display())))?;
        let unpacked = aside.join("app");
        fs::create_dir(&unpacked)?;
        run(Command::new("tar")
            .arg("xzf")
            .arg(aside.join("apicurio-registry-app-all.tar.gz"))
            .arg("-C")
            .arg(&unpacked))?;
        Ok(unpacked)
    })
}
