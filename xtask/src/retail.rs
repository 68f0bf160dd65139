//! The retail data, repeated with fresh ids up to a number of rows.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::kill::{Kills, Run};
use crate::{root, topics};

/// Units per SKU and day, and counts of what became of the rows.
#[derive(Debug, Default, PartialEq)]
struct Effects {
    units: BTreeMap<(String, String), i64>,
    accepted: u64,
    duplicates: u64,
    dead_letters: u64,
}

/// Runs the rows with kills and without.
pub fn check(binary: &Path, rows: u64, kills: Kills) -> Result<()> {
    println!("{rows} rows, {} kills", kills.count);
    let source = root().join("../shared/data/retail");
    ensure!(source.is_dir(), "there is no {}; the retail data has to be there", source.display());
    let home = tempfile::tempdir()?;
    let files = home.path().join("files");
    std::fs::create_dir(&files)?;
    let expected = multiply(&source, &files, rows)?;
    let run = |data: &Path| Run {
        binary: binary.to_path_buf(),
        config: root().join("examples/retail.toml"),
        variables: vec![("RETAIL_FILES", files.clone()), ("RETAIL_DATA", data.to_path_buf())],
    };
    let [undisturbed, killed] = ["undisturbed", "killed"].map(|name| home.path().join(name));
    let whole = run(&undisturbed).finish()?;
    run(&killed).finish_after(kills, whole)?;
    let found = effects(&killed)?;
    ensure!(found == expected, "the tables differ from the recomputation");
    let [found_topics, expected_topics] = [&killed, &undisturbed].map(|data| topics::contents(data));
    let differences = topics::differences(&found_topics, &expected_topics);
    ensure!(differences.is_empty(), "the topics differ from those of a run without kills: {differences:#?}");
    println!(
        "equal: {} accepted, {} duplicates, {} dead letters, {} sums of units per SKU and day, {} topics",
        found.accepted,
        found.duplicates,
        found.dead_letters,
        found.units.len(),
        expected_topics.len()
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

/// What the tables hold, asked through Python.
fn effects(data: &Path) -> Result<Effects> {
    let script = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for row in db.execute('SELECT native_id, business_date, SUM(units) FROM sales_daily GROUP BY 1, 2'): print('u', *row, sep='\\t')
for row in db.execute('SELECT outcome, SUM(count) FROM data_quality GROUP BY 1'): print('q', *row, sep='\\t')
for row in db.execute('SELECT SUM(count) FROM dead_letters'): print('d', *row, sep='\\t')";
    let output = Command::new("python3").args(["-c", script]).arg(data.join("serving.db")).output()?;
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
