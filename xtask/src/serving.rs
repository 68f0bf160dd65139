//! The serving tables in Postgres beside those in `SQLite`, while the run is killed, the server is killed, and connections
//! are ended, at seeded moments: both have the same rows, and the tables are those of the topics.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use skuflow::demo::Market;
use skuflow_runtime::testing::postgres::Postgres;

use crate::kill::{Kills, Run};
use crate::oracle::tables;
use crate::{market, recomputed};

const DATABASE: &str = "market";
const SINK: &str = "[[sink]]\nname = \"tables\"";
const FROM: &str = r#"["catalog.v1", "listings.v1", "offers.v1", "sales.v1", "inventory.v1", "product-offers.v1", "features.v1", "alerts.v1", "quality.v1"]"#;

/// Runs a market with kills.
pub fn check(binary: &Path, market: Market, kills: Kills) -> Result<()> {
    println!("{} products, {} days, {} kills, seed {}", market.products, market.days, kills.count, kills.seed);
    let mut server = Postgres::start().context("Postgres is needed")?;
    let home = tempfile::tempdir()?;
    let project = |name: &str, database: &str, server: &Postgres| -> Result<Run> {
        let url = server.database(database);
        let twin = format!("[[sink]]\nname = \"twin\"\nfrom = {FROM}\nserving = {{ url = \"{url}\" }}\n\n{SINK}");
        let config = market::project(&home.path().join(name), market, &[(SINK, &twin)])?;
        Ok(Run { binary: binary.to_path_buf(), config, variables: Vec::new() })
    };
    let whole = project("undisturbed", "undisturbed", &server)?.finish()?;
    let run = project("killed", DATABASE, &server)?;
    println!("one run without kills takes {whole:?}");
    let mut random = kills.seed;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound.max(1)
    };
    let share = whole.as_micros() as u64 * 3 / kills.count;
    let mut befell = [0_u64; 4];
    let mut child = run.start()?;
    for _ in 0..kills.count {
        let until = Instant::now() + Duration::from_micros(10_000 + below(share));
        while Instant::now() < until && child.try_wait()?.is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the run fails");
            befell[3] += 1;
            child = run.start()?;
            continue;
        }
        match below(5) {
            0 => {
                server.kill();
                server.start_again();
                befell[1] += 1;
            }
            1 => {
                let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'market' AND \
                     pid <> pg_backend_pid()";
                server.run(DATABASE, end);
                befell[2] += 1;
            }
            _ => {
                child.kill()?;
                child.wait()?;
                befell[0] += 1;
                child = run.start()?;
            }
        }
    }
    let [killed, servers, ended, idle] = befell;
    println!(
        "{killed} runs killed, {servers} servers killed, {ended} times connections ended; {idle} times it had finished"
    );
    ensure!(child.wait()?.success(), "the run fails");
    run.finish()?;
    let data = home.path().join("killed/data");
    let landed = tables::in_postgres(&server.url(DATABASE), "skuflow", &[tables::POSITIONS]);
    let differences = tables::differences(&landed, &tables::tables(&data.join("serving.db"), &[tables::POSITIONS]));
    ensure!(differences.is_empty(), "in Postgres, and in SQLite: {differences:#?}");
    let (differences, compared) = recomputed::differences(&data);
    ensure!(differences.is_empty(), "not what their inputs make: {differences:#?}");
    let rows: usize = landed.values().map(Vec::len).sum();
    println!("equal: {rows} rows in both databases; {compared} features and alerts, and the recomputation");
    Ok(())
}
