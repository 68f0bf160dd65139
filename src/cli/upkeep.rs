//! `skuflow lake compact|expire|gc|fsck`: what upkeep does in a run, by hand.

use serde_json::{Value, json};
use skuflow_runtime::clock::Clock;
use skuflow_sinks::SinkError;
use skuflow_sinks::lake::{Table, Upkeep};

use super::lake::{failure, full_name, places};
use super::{EXIT_DATA, Failure, Format, output, usage};
use crate::config::Loaded;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Compact,
    Expire,
    Gc,
    Fsck,
}

/// Does it to the tables that the config's sinks fill, or to the one called `table`.
pub(super) fn tend(
    work: Work,
    table: Option<&str>,
    is_dry: bool,
    loaded: &Loaded,
    format: Format,
) -> Result<(), Failure> {
    let name = table.map(full_name).transpose()?;
    let upkeeps = upkeeps(loaded, name)?;
    if upkeeps.is_empty() {
        return Err(usage(&match name {
            Some(name) => format!("no sink of the config fills table {name}"),
            None => "the config has no lake; add a sink with `lake = { path = \"data/lake\" }`".to_owned(),
        }));
    }
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let event_loop = event_loop.map_err(|error| failure(&SinkError::Retry(error.to_string()), loaded))?;
    let mut rows = Vec::new();
    for upkeep in upkeeps {
        let upkeep = if is_dry { upkeep.dry() } else { upkeep };
        rows.extend(event_loop.block_on(done(work, upkeep)).map_err(|error| failure(&error, loaded))?);
    }
    output::rows(&rows, format);
    match (work, rows.len()) {
        (Work::Fsck, 1..) => Err(Failure::new(EXIT_DATA, &format!("{} differences", rows.len()))),
        _ => Ok(()),
    }
}

fn upkeeps(loaded: &Loaded, name: Option<&str>) -> Result<Vec<Upkeep>, Failure> {
    let mut upkeeps = Vec::new();
    for (sink, lake, place) in places(loaded)? {
        let tables = sink.from.iter().filter_map(|topic| Table::of_topic(topic));
        let wanted = tables.filter(|table| name.is_none_or(|name| name == table.full_name));
        upkeeps.extend(
            wanted.map(|table| Upkeep::new(&sink.name, place.clone(), table, lake.upkeep.clone(), Clock::System)),
        );
    }
    Ok(upkeeps)
}

async fn done(work: Work, mut upkeep: Upkeep) -> Result<Vec<Value>, SinkError> {
    let deeds = match work {
        Work::Compact => upkeep.compact().await?,
        Work::Expire => upkeep.expire().await?,
        Work::Gc => upkeep.gc().await?,
        Work::Fsck => return Ok(upkeep.fsck().await?.into_iter().map(|found| json!(found)).collect()),
    };
    Ok(deeds.into_iter().map(|deed| json!(deed)).collect())
}
