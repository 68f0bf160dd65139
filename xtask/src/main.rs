//! Long runs, killed with SIGKILL at seeded random moments, finished, and compared; and the picture of the README.
//!
//! ```text
//!   cargo xtask kill            [--rows 500000]                [--kills 30] [--seed 1]   the retail data, repeated
//!   cargo xtask kill --market   [--products 300] [--days 90]   [--kills 30] [--seed 1]   the market of the demo
//!                               [--partitions 4]
//!   cargo xtask picture [binary]                                                         docs/demo.svg
//! ```
//!
//! Of retail, the tables equal a recomputation that does not call the product's code, and the topics those of a run without
//! kills. Of the market, features and alerts equal a recomputation from what is committed in the topics they are made of, and
//! the topics before them those of a run without kills; with one partition all topics do, in order. `--profile dev` takes
//! the binary of `cargo build`.
#![expect(clippy::print_stdout, reason = "a command that reports")]

mod kill;
mod market;
mod picture;
#[path = "../../tests/common/recomputed.rs"]
mod recomputed;
mod retail;
#[path = "../../tests/common/topics.rs"]
mod topics;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use skuflow::demo::Market;

use kill::Kills;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("kill") => kill(&arguments),
        Some("picture") => picture::picture(&root(), arguments.get(1).map(Path::new)),
        _ => bail!("usage: cargo xtask kill|picture …; xtask/src/main.rs tells them all"),
    }
}

fn kill(arguments: &[String]) -> Result<()> {
    let seed = option(arguments, "--seed", 1)?;
    let kills = Kills { count: option(arguments, "--kills", 30)?, seed };
    let binary = built(&option(arguments, "--profile", "release".to_owned())?)?;
    println!("repeat with `cargo xtask {}`", arguments.join(" "));
    if arguments.iter().any(|argument| argument == "--market") {
        let (products, days) = (option(arguments, "--products", 300)?, option(arguments, "--days", 90)?);
        let partitions = option(arguments, "--partitions", 4)?;
        return market::check(&binary, Market { seed, products, days }, partitions, kills);
    }
    retail::check(&binary, option(arguments, "--rows", 500_000)?, kills)
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
<<<<<<< HEAD
    output.stdout.split(|byte| *byte == b'\n').filter_map(executable).next_back().context("cargo names no executable")
=======
    match arguments.first().map(String::as_str) {
        Some("kill") => kill(option("--rows", 500_000)?, option("--kills", 30)?, option("--seed", 1)?),
        Some("picture") => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
            picture::picture(root, arguments.get(1).map(Path::new))
        }
        _ => bail!("usage: cargo xtask kill [--rows N] [--kills N] [--seed N], or picture [binary]"),
    }
}

/// Units per SKU and day, and counts of what became of the rows.
#[derive(Debug, Default, PartialEq)]
struct Effects {
    units: BTreeMap<(String, String), i64>,
    accepted: u64,
    duplicates: u64,
    dead_letters: u64,
}

fn kill(rows: u64, kills: u64, seed: u64) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?.to_path_buf();
    let source = root.join("../shared/data/retail");
    ensure!(source.is_dir(), "there is no {}; the retail data has to be there", source.display());
    let built = Command::new("cargo").args(["build", "--release"]).current_dir(&root).status()?;
    ensure!(built.success(), "the binary does not build");
    let home = tempfile::tempdir()?;
    let files = home.path().join("files");
    std::fs::create_dir(&files)?;
    let expected = multiply(&source, &files, rows)?;
    println!(
        "seed {seed}: {rows} rows, {kills} kills; repeat with `cargo xtask kill --rows {rows} --kills {kills} --seed {seed}`"
    );
    let run = Run {
        binary: root.join("target/release/skuflow"),
        config: root.join("examples/retail.toml"),
        files,
        data: home.path().join("data"),
    };
    let (whole, undisturbed) = run.whole_run(home.path())?;
    println!("one run without kills takes {whole:?}");
    let mut random = seed;
    for number in 1..=kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Moments spread over the whole work: each run gets about an even share of it, and is killed within.
        let share = whole.as_micros() as u64 * 2 / kills;
        let finished = run.kill_after(Duration::from_micros(20_000 + (random >> 33) % share.max(1)))?;
        println!("kill {number}: {}", if finished { "it had finished" } else { "killed at work" });
    }
    run.start()?.wait()?;
    let found = run.effects()?;
    ensure!(found == expected, "seed {seed}: the tables differ from the recomputation");
    let differences = topics::differences(&topics::contents(&run.data), &undisturbed);
    ensure!(
        differences.is_empty(),
        "seed {seed}: the topics differ from those of a run without kills: {differences:?}"
    );
    println!(
        "equal: {} accepted, {} duplicates, {} dead letters, {} sums of units per SKU and day, {} topics",
        found.accepted,
        found.duplicates,
        found.dead_letters,
        found.units.len(),
        undisturbed.len()
    );
    Ok(())
}

/// Writes the rows again and again, with fresh invoice numbers each time, and computes what should become of them.
fn multiply(source: &Path, into: &Path, rows: u64) -> Result<Effects> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(source)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let texts: Vec<String> = paths.iter().map(std::fs::read_to_string).collect::<std::io::Result<_>>()?;
    let mut effects = Effects::default();
    let mut seen = HashSet::new();
    let mut written = 0;
    for round in 0.. {
        for (number, text) in texts.iter().enumerate() {
            let mut file =
                std::io::BufWriter::new(std::fs::File::create(into.join(format!("{round:03}-{number:02}.csv")))?);
            let mut lines = text.lines();
            writeln!(file, "{}", lines.next().context("a header")?)?;
            for line in lines.take((rows - written) as usize) {
                let line = format!("{}{round:03}{}", &line[..1], &line[1..]);
                writeln!(file, "{line}")?;
                effects.add(&line, &mut seen)?;
                written += 1;
            }
            file.flush()?;
            if written == rows {
                return Ok(effects);
            }
        }
    }
    unreachable!("rounds do not end by themselves")
}

impl Effects {
    fn add(&mut self, line: &str, seen: &mut HashSet<String>) -> Result<()> {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                c => fields.last_mut().context("one")?.push(c),
            }
        }
        if fields[5].parse::<f64>()? <= 0.0 {
            self.dead_letters += 1;
        } else if seen.insert(line.to_owned()) {
            self.accepted += 1;
            *self.units.entry((fields[1].clone(), fields[4][..10].to_owned())).or_default() +=
                fields[3].parse::<i64>()?;
        } else {
            self.duplicates += 1;
        }
        Ok(())
    }
}

struct Run {
    binary: PathBuf,
    config: PathBuf,
    files: PathBuf,
    data: PathBuf,
}

impl Run {
    fn start(&self) -> Result<std::process::Child> {
        let mut command = Command::new(&self.binary);
        command.args(["run", "--once", "--format", "json", "--config"]).arg(&self.config);
        command.env("RETAIL_FILES", &self.files).env("RETAIL_DATA", &self.data).env("SKUFLOW_LOG", "error");
        Ok(command.stdout(Stdio::null()).spawn()?)
    }

    /// How long a run without kills takes, and what it leaves in the topics.
    fn whole_run(&self, home: &Path) -> Result<(Duration, topics::Contents)> {
        let apart = Self {
            data: home.join("apart"),
            binary: self.binary.clone(),
            config: self.config.clone(),
            files: self.files.clone(),
        };
        let started = Instant::now();
        ensure!(apart.start()?.wait()?.success(), "the run fails without kills");
        let took = started.elapsed();
        let contents = topics::contents(&apart.data);
        std::fs::remove_dir_all(&apart.data)?;
        Ok((took, contents))
    }

    /// Whether it had finished before it was killed.
    fn kill_after(&self, time: Duration) -> Result<bool> {
        let mut child = self.start()?;
        let until = Instant::now() + time;
        while Instant::now() < until {
            if child.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        child.kill()?;
        child.wait()?;
        Ok(false)
    }

    /// What the tables hold, asked through Python.
    fn effects(&self) -> Result<Effects> {
        let script = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for row in db.execute('SELECT native_id, business_date, SUM(units) FROM sales_daily GROUP BY 1, 2'): print('u', *row, sep='\\t')
for row in db.execute('SELECT outcome, SUM(count) FROM data_quality GROUP BY 1'): print('q', *row, sep='\\t')
for row in db.execute('SELECT SUM(count) FROM dead_letters'): print('d', *row, sep='\\t')";
        let output = Command::new("python3").args(["-c", script]).arg(self.data.join("serving.db")).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut effects = Effects::default();
        for line in String::from_utf8(output.stdout)?.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["u", sku, day, units] => {
                    effects.units.insert((sku.to_owned(), day.to_owned()), units.parse()?);
                }
                ["q", "accepted", count] => effects.accepted = count.parse()?,
                ["q", "duplicate", count] => effects.duplicates = count.parse()?,
                ["q", "rejected", count] => ensure!(count.parse::<u64>()? > 0, "something is refused"),
                ["d", count] => effects.dead_letters = count.parse()?,
                _ => bail!("unexpected: {line}"),
            }
        }
        Ok(effects)
    }
>>>>>>> wt-face
}
