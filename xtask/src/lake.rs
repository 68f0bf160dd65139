//! The lake of the demo's market, read while the run that writes it is killed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use skuflow::demo::Market;
use skuflow::records;
use skuflow_runtime::broker::Broker as _;
use skuflow_runtime::testing::lake_readers;
use skuflow_runtime::testing::postgres::postgres;
use skuflow_runtime::testing::s3::versitygw;
use skuflow_sinks::lake::{Place, TABLES, Table};

use crate::kill::{Kills, Run};
use crate::market::project;
use crate::reached::{VARIABLES, bucket, config};
use crate::watch::{Found, READERS, Watch};
use crate::{root, rows, topics};

/// The smallest commits that there may be.
const OFTEN: &str = r#"commit_interval = "1s", batch_bytes_max = "1MiB""#;
const USUAL: &str = r#"path = "data/lake""#;
/// How long the tables may take to be made.
const MADE_WITHIN: Duration = Duration::from_mins(2);

/// What is run.
pub struct Plan {
    pub market: Market,
    pub kills: Kills,
    /// Whether the lake is in a bucket, with its catalog in Postgres, rather than in a folder.
    pub in_a_bucket: bool,
}

/// A run that writes a lake.
struct Site {
    run: Run,
    data: PathBuf,
    place: Place,
    /// Where the lake's files can be seen.
    files: PathBuf,
}

impl Site {
    /// The project called `name` in `home`.
    fn new(binary: &Path, home: &Path, name: &str, plan: &Plan) -> Result<Self> {
        let data = home.join(name).join("data");
        let (place, files) = if plan.in_a_bucket {
            let server = versitygw().context("there has to be Go, which builds a server for the bucket")?;
            let postgres = postgres().context("there has to be a Postgres for the catalog")?;
            (bucket(server, name, &postgres.database(name)), server.folder().join(name))
        } else {
            (Place::folder(&data.join("lake")), data.join("lake"))
        };
        let lake = if plan.in_a_bucket { config(&place) } else { USUAL.to_owned() };
        let config = project(&home.join(name), plan.market, &[(USUAL, &format!("{lake}, {OFTEN}"))])?;
        let variables = VARIABLES.map(|(name, value)| (name, value.into())).to_vec();
        Ok(Self { run: Run { binary: binary.to_path_buf(), config, variables }, data, place, files })
    }
}

/// Runs a market without kills, to see how long that takes beside readers, and with kills.
pub fn check(binary: &Path, plan: &Plan) -> Result<()> {
    let Plan { market, kills, .. } = *plan;
    println!("{} products, {} days, {} kills, seed {}", market.products, market.days, kills.count, kills.seed);
    let python = lake_readers().context("there has to be a Python that reads the lake")?;
    let home = tempfile::tempdir()?;
    let mut watches = READERS.map(|reader| Watch::start(&python, reader));
    let undisturbed = Site::new(binary, home.path(), "undisturbed", plan)?;
    let whole = while_watched(&mut watches, &undisturbed, || undisturbed.run.finish())?;
    std::fs::remove_dir_all(&undisturbed.data)?;
    let killed = Site::new(binary, home.path(), "killed", plan)?;
    while_watched(&mut watches, &killed, || killed.run.finish_after(kills, whole))?;
    println!("{} commits were cut off between their first file and the swap", cut_off(&killed.files)?);
    compare(&python, &killed, &mut watches)
}

/// What comes of `work` while each reader looks at the lake, again and again.
fn while_watched<T>(watches: &mut [Watch], site: &Site, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = watches.iter_mut().map(|watch| {
            let mut looking =
                move || wait_for_tables(&site.files, stop).and_then(|()| look_until(stop, watch, &site.place));
            scope.spawn(move || looking().inspect_err(|wrong| println!("{wrong}")))
        });
        let watching: Vec<_> = watching.collect();
        let worked = work();
        stop.store(true, Ordering::Relaxed);
        for (reader, watching) in READERS.iter().zip(watching) {
            let looks = watching.join().expect("it does not panic")?;
            ensure!(looks > 0, "{reader} has not looked");
            println!("{reader} looked {looks} times at all tables meanwhile, and found nothing wrong");
        }
        worked
    })
}

/// Looks until `stop`; how often.
fn look_until(stop: &AtomicBool, watch: &mut Watch, lake: &Place) -> Result<u64> {
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        watch.look(lake).map_err(anyhow::Error::msg)?;
        looks += 1;
    }
    Ok(looks)
}

/// The tables that the project of a demo has.
fn filled() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| !table.is_raw())
}

/// Before there is a table there is nothing to read.
fn wait_for_tables(lake: &Path, stop: &AtomicBool) -> Result<()> {
    let until = Instant::now() + MADE_WITHIN;
    while !filled().all(|table| lake.join(table.folder).join("metadata/version-hint.text").exists()) {
        ensure!(!stop.load(Ordering::Relaxed) && Instant::now() < until, "not all tables are made");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Commits that the ledger of the lake knows and that never were.
fn cut_off(lake: &Path) -> Result<usize> {
    Ok(std::fs::read_dir(lake.join("pending"))?.count())
}

/// The rows of each table are the records of its topic: by their number, as each reader has it, and one by one, as `DuckDB`
/// shows them.
fn compare(python: &str, site: &Site, watches: &mut [Watch]) -> Result<()> {
    let broker = topics::open(&site.data);
    let mut found = Found::new();
    for watch in watches {
        found.extend(watch.look(&site.place).map_err(anyhow::Error::msg)?.clone());
    }
    ensure!(found.len() == 3 * filled().count(), "each table in three ways: {:?}", found.keys());
    for topic in broker.topics()? {
        let Some(table) = filled().find(|table| *table.topic == *topic.name) else { continue };
        let count = records::count(&broker, &topic)?;
        for (way, partitions) in found.iter().filter(|(way, _)| way.starts_with(&format!("{} by ", table.name))) {
            let rows: u64 = partitions.values().map(|[rows, ..]| rows).sum();
            ensure!(rows == count, "{rows} rows of {count} records, {way}");
        }
    }
    let tables: Vec<_> = filled().collect();
    rows::compare((python, &root()), (&site.place, &tables), &broker, &|said| println!("{said}"))
}
