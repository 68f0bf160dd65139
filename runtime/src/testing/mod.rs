//! What tests of several crates need of the machine.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

mod disks;
pub mod kafka;
mod leash;
pub mod postgres;
pub mod registry;
pub mod s3;

use std::process::Command;

pub use disks::{Device, SmallDisk};

/// The Python that has the readers of the lake, `SKUFLOW_PYTHON` or `python3`. `None` where it lacks them, which is said, and
/// is a failure where `SKUFLOW_REQUIRE` wants them.
///
/// # Panics
/// See above.
pub fn lake_readers() -> Option<String> {
    const IMPORTS: &str = "import duckdb, duckdb_extension_avro, duckdb_extension_httpfs, duckdb_extension_iceberg, \
        psycopg2, pyarrow, pyiceberg";
    let python = std::env::var("SKUFLOW_PYTHON").unwrap_or_else(|_| "python3".into());
    let imported = Command::new(&python).args(["-c", IMPORTS]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(!is_required("duckdb"), "duckdb is required, and {python} lacks it, its extensions or PyIceberg");
    eprintln!("skipped: duckdb (SKUFLOW_PYTHON may name a Python that has it, its extensions and PyIceberg)");
    None
}

/// Whether a missing `service` is a failure rather than a reason to skip.
fn is_required(service: &str) -> bool {
    std::env::var("SKUFLOW_REQUIRE").is_ok_and(|required| required.split(',').any(|named| named == service))
}
