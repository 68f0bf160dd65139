//! The market of the demo.

use std::path::Path;

use anyhow::{Result, ensure};
use skuflow::demo::{Market, make};

use crate::kill::{Kills, Run};
use crate::{recomputed, topics};

/// Runs a market with kills and without.
pub fn check(binary: &Path, market: Market, partitions: u32, kills: Kills) -> Result<()> {
    println!("{} products, {} days, {partitions} partitions, {} kills", market.products, market.days, kills.count);
    let home = tempfile::tempdir()?;
    let project = |name: &str| -> Result<Run> {
        let folder = home.path().join(name);
        make(&folder, market).map_err(anyhow::Error::msg)?;
        let config = folder.join("pipelines.toml");
        let text = std::fs::read_to_string(&config)?;
        std::fs::write(&config, text.replace("partitions = 4", &format!("partitions = {partitions}")))?;
        Ok(Run { binary: binary.to_path_buf(), config, variables: Vec::new() })
    };
    let whole = project("undisturbed")?.finish()?;
    project("killed")?.finish_after(kills, whole)?;
    let [undisturbed, killed] = ["undisturbed", "killed"].map(|name| home.path().join(name).join("data"));
    let (differences, compared) = recomputed::differences(&killed);
    ensure!(differences.is_empty(), "not what their inputs make: {differences:#?}");
    println!("equal: {compared} features and alerts, and the recomputation from their committed inputs");
    compare(&topics::logs(&killed), &topics::logs(&undisturbed), partitions)
}

/// With several partitions the copies for a product come from several tasks, whose turns are not the same in two runs; what
/// is there before them is.
fn compare(found: &topics::Logs, expected: &topics::Logs, partitions: u32) -> Result<()> {
    if partitions == 1 {
        let partings = topics::partings(found, expected);
        ensure!(partings.is_empty(), "other logs than those of a run without kills: {partings:#?}");
        println!("equal: {} logs, record by record, and those of a run without kills", expected.len());
        return Ok(());
    }
    let is_behind = |topic: &str| topic.starts_with("product-") || topic == "features.v1" || topic == "alerts.v1";
    let differences = topics::differences(&topics::counted(found), &topics::counted(expected));
    let (behind, before): (Vec<_>, Vec<_>) =
        differences.into_iter().partition(|difference| is_behind(difference.split(':').next().unwrap_or_default()));
    ensure!(before.is_empty(), "other observations than those of a run without kills: {before:#?}");
    println!("equal: the observations, and those of a run without kills; behind them: {behind:?}");
    Ok(())
}
