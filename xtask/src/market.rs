//! The market of the demo.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use skuflow::demo::{Market, make};

use crate::kill::{Kills, Run};
use crate::{recomputed, topics};

/// The project of the demo in `folder`, with changes to its config; where that is.
pub fn project(folder: &Path, market: Market, changes: &[(&str, &str)]) -> Result<PathBuf> {
    make(folder, market).map_err(anyhow::Error::msg)?;
    let config = folder.join("pipelines.toml");
    let mut text = std::fs::read_to_string(&config)?;
    for (before, after) in changes {
        ensure!(text.matches(before).count() == 1, "the demo's config has no `{before}`, or several");
        text = text.replace(before, after);
    }
    std::fs::write(&config, text)?;
    Ok(config)
}

/// Runs a market with kills and without.
pub fn check(binary: &Path, market: Market, partitions: u32, kills: Kills) -> Result<()> {
    println!("{} products, {} days, {partitions} partitions, {} kills", market.products, market.days, kills.count);
    let home = tempfile::tempdir()?;
    let count = format!("partitions = {partitions}");
    let project = |name: &str| -> Result<Run> {
        let config = project(&home.path().join(name), market, &[("partitions = 4", &count)])?;
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
