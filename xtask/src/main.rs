//! Long runs, killed with SIGKILL at seeded random moments, finished, and compared; how fresh the lake is, and what many
//! commits make of it; and the picture of the README.
//!
//! ```text
//!   cargo xtask kill            [--rows 500000]                [--kills 30] [--seed 1]   the retail data, repeated
//!   cargo xtask kill --market   [--products 300] [--days 90]   [--kills 30] [--seed 1]   the market of the demo
//!                               [--partitions 4]
//!   cargo xtask kill --lake     [--products 300] [--days 90]   [--kills 200] [--seed 1]  the lake of that market
//!                               [--s3]                                                 in a bucket, its catalog in Postgres
//!   cargo xtask kill --serving  [--products 300] [--days 90]   [--kills 100] [--seed 1]  its serving tables in Postgres, which
//!                                                                                        is killed, too
//!   cargo xtask kill --kafka    [--events 200000] [--kills 60] [--broker-kills 10]       the oracle: many processes and a
//!                               [--zombies 10] [--seed 1]                                Kafka that is started for it
//!   cargo xtask freshness       [--interval 5] [--seconds 180] [--rate 1000]             age of the lake's rows, and what
//!                               [--every 30] [--raw]                                     the run holds, live; with `--raw`
//!                                                                                        of what comes in, and no stages
//!   cargo xtask commits         [--count 10000]                                          what commits make of a table
//!   cargo xtask reads           [--rows 20000000] [--rate 200] [--writes 2000]           how long questions to the serving
//!                               [--seconds 60]                                           tables in Postgres take meanwhile
//!   cargo xtask soak            [--seconds 3600] [--every 30] [--rate 2000]             what it holds on Kafka, live
//!   cargo xtask peer            see benches/peers/kafka-streams/README.md               Kafka Streams on the same job
//!   cargo xtask picture [binary]                                                         docs/demo.svg
//! ```
//!
//! Of retail, the tables equal a recomputation that does not call the product's code, and the topics those of a run without
//! kills. Of the market, features and alerts equal a recomputation from what is committed in the topics they are made of, and
//! the topics before them those of a run without kills; with one partition all topics do, in order. Of the lake, `DuckDB` and
//! `PyIceberg` (of the Python that `SKUFLOW_PYTHON` names) read all tables again and again meanwhile, and find each record once,
//! from the first one on and never fewer than before; in the end the rows are those of the topics, one by one. On Kafka,
//! `tests/common/oracle` says what holds. `--profile dev`
//! takes the binary of `cargo build`, `--binary path` any other.
#![expect(clippy::print_stdout, reason = "a command that reports")]

mod commits;
#[path = "../../sinks/tests/lake/expected.rs"]
mod expected;
mod freshness;
mod held;
mod kafka;
mod kill;
mod lake;
mod market;
#[path = "../../tests/common/oracle/mod.rs"]
mod oracle;
mod peer;
mod picture;
#[path = "../../sinks/tests/lake/reached.rs"]
mod reached;
mod reads;
#[path = "../../tests/common/recomputed.rs"]
mod recomputed;
mod retail;
#[path = "../../tests/common/rows.rs"]
mod rows;
mod serving;
mod soak;
#[path = "../../tests/common/topics.rs"]
mod topics;
#[path = "../../sinks/tests/lake/watch.rs"]
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use skuflow::demo::Market;

use kill::Kills;
use oracle::Plan;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("kill") => kill(&arguments),
        Some("freshness") => freshness(&arguments),
        Some("commits") => commits::measure(option(&arguments, "--count", 10_000)?),
        Some("reads") => reads(&arguments),
        Some("soak") => soak(&arguments),
        Some("peer") => peer::peer(&arguments, &root()),
        Some("picture") => {
            picture::picture(&root(), &arguments.get(1).map_or_else(|| built("release"), |path| Ok(path.into()))?)
        }
        _ => bail!(
            "usage: cargo xtask kill|freshness|commits|reads|soak|peer|picture …; xtask/src/main.rs tells them all"
        ),
    }
}

fn kill(arguments: &[String]) -> Result<()> {
    let seed = option(arguments, "--seed", 1)?;
    let is_asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let usual = match ["--lake", "--kafka", "--serving"].map(is_asked) {
        [true, ..] => 200,
        [_, true, _] => 60,
        [.., true] => 100,
        _ => 30,
    };
    let kills = Kills { count: option(arguments, "--kills", usual)?, seed };
    let binary = binary(arguments)?;
    println!("repeat with `cargo xtask {}`", arguments.join(" "));
    if is_asked("--kafka") {
        let events = option(arguments, "--events", 200_000)?;
        let broker_kills = option(arguments, "--broker-kills", 10)?;
        let zombies = option(arguments, "--zombies", 10)?;
        return kafka::check(&binary, Plan { seed, events, kills: kills.count, broker_kills, zombies });
    }
    let market =
        Market { seed, products: option(arguments, "--products", 300)?, days: option(arguments, "--days", 90)? };
    if is_asked("--lake") {
        return lake::check(&binary, &lake::Plan { market, kills, in_a_bucket: is_asked("--s3") });
    }
    if is_asked("--serving") {
        return serving::check(&binary, market, kills);
    }
    if is_asked("--market") {
        return market::check(&binary, market, option(arguments, "--partitions", 4)?, kills);
    }
    retail::check(&binary, option(arguments, "--rows", 500_000)?, kills)
}

fn freshness(arguments: &[String]) -> Result<()> {
    let binary = binary(arguments)?;
    let (rate, interval_s) = (option(arguments, "--rate", 1_000)?, option(arguments, "--interval", 5)?);
    let (seconds, every_s) = (option(arguments, "--seconds", 180)?, option(arguments, "--every", 30)?);
    let is_raw = arguments.iter().any(|argument| argument == "--raw");
    freshness::measure(&binary, freshness::Live { rate, interval_s, seconds, every_s, is_raw })
}

fn reads(arguments: &[String]) -> Result<()> {
    let (rows, seconds) = (option(arguments, "--rows", 20_000_000)?, option(arguments, "--seconds", 60)?);
    let (rate, writes) = (option(arguments, "--rate", 200)?, option(arguments, "--writes", 2_000)?);
    reads::measure(reads::Load { rows, rate, writes, seconds })
}

fn soak(arguments: &[String]) -> Result<()> {
    let binary = binary(arguments)?;
    let rate = option(arguments, "--rate", 2_000)?;
    let (seconds, every_s) = (option(arguments, "--seconds", 3_600)?, option(arguments, "--every", 30)?);
    soak::run(&binary, soak::Soak { rate, seconds, every_s })
}

/// The binary that is named, or the one that is built.
fn binary(arguments: &[String]) -> Result<PathBuf> {
    match option(arguments, "--binary", PathBuf::new())? {
        none if none.as_os_str().is_empty() => built(&option(arguments, "--profile", "release".to_owned())?),
        binary => Ok(std::path::absolute(binary)?),
    }
}

fn option<T: FromStr>(arguments: &[String], name: &str, default: T) -> Result<T> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(default) };
    let value = arguments.get(at + 1).and_then(|value| value.parse().ok());
    value.with_context(|| format!("{name} needs a value"))
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the binary; where cargo says that it is.
fn built(profile: &str) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--bin", "skuflow", "--message-format", "json-render-diagnostics", "--profile", profile]);
    let output = command.current_dir(root()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the binary does not build");
    let executable = |line: &[u8]| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    output.stdout.split(|byte| *byte == b'\n').filter_map(executable).next_back().context("cargo names no executable")
}
