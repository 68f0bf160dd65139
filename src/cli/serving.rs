//! `skuflow serving`: who may do what with the serving tables, and what is done to them beside a run.

use clap::Subcommand;
use serde_json::{Value, json};
use skuflow_runtime::clock::Clock;
use skuflow_sinks::lake::Table;
use skuflow_sinks::serving::{Config, Lakes, Place, Sinks, Upkeep, grants, rebuild, verify};
use tokio::runtime::{Builder, Runtime};

use super::{EXIT_DATA, EXIT_UNAVAILABLE, Failure, Format, failure, output, usage};
use crate::config::{Loaded, SinkConfig};
use crate::names::Names;
use crate::run::{RunError, open_broker};

#[derive(Subcommand)]
pub(super) enum Serving {
    /// Print the statements with which the owner of the tables gives a writer and a reader their rights.
    Grants {
        /// The role that the sink is to log in as: it writes rows, and can neither change nor drop tables.
        #[arg(long)]
        writer: Option<String>,
        /// A role that only reads.
        #[arg(long)]
        reader: Option<String>,
        /// The role that owns the tables; else the user in the sink's `url`.
        #[arg(long)]
        owner: Option<String>,
    },
    /// Compare the tables with what their topics make of them, row by row, up to where the sink is. Every difference is a line.
    /// What the log has lost is read from the config's lake, if that has it.
    Verify,
    /// Build the tables again from the topics, and from the config's lake what the log has lost, beside those that are there,
    /// and swap the two. The old ones stay, under another name; what became of alerts is taken along.
    Rebuild,
    /// Do now what a run does from time to time: drop the months whose `retention` is over, make the views of Postgres anew.
    Tend,
}

pub(super) fn serving(command: &Serving, loaded: &Loaded, format: Format) -> Result<(), Failure> {
    match command {
        Serving::Grants { writer, reader, owner } => {
            rights(writer.as_deref(), reader.as_deref(), owner.as_deref(), loaded)
        }
        Serving::Verify => verify_all(loaded, format),
        Serving::Rebuild => rebuild_all(loaded),
        Serving::Tend => tend(loaded),
    }
}

/// The sinks with serving tables, and where these are.
fn places(loaded: &Loaded) -> Result<Vec<(&SinkConfig, &Config, Place)>, Failure> {
    let mut places = Vec::new();
    for (sink, settings) in loaded.config.sink.iter().filter_map(|sink| Some((sink, sink.serving.as_ref()?))) {
        let place = settings.place(&loaded.base).map_err(|reason| Failure::new(EXIT_DATA, &reason))?;
        places.push((sink, settings, place));
    }
    Ok(places)
}

/// The tables of the config's lakes that hold events, by topic.
fn lakes(loaded: &Loaded) -> Result<Lakes, Failure> {
    let mut lakes = Lakes::new();
    for (sink, _, place) in super::lake::places(loaded)? {
        for name in &sink.from {
            if let Some(table) = Table::of_topic(name).filter(|table| !table.is_raw()) {
                lakes.entry(Names(&loaded.config).topic(name)).or_insert((place.clone(), table));
            }
        }
    }
    Ok(lakes)
}

fn note_restored(restored: &[String]) {
    if !restored.is_empty() {
        output::note(&format!("the log has lost its beginning; read from the lake: {}", restored.join(", ")));
    }
}

const NO_TABLES: &str = "no sink has serving tables; add one with `serving = { url = … }`";

fn away(error: &impl ToString, loaded: &Loaded) -> Failure {
    Failure::new(EXIT_UNAVAILABLE, &loaded.variables.conceal(&error.to_string()))
}

fn event_loop(loaded: &Loaded) -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| away(&error, loaded))
}

fn verify_all(loaded: &Loaded, format: Format) -> Result<(), Failure> {
    let places = places(loaded)?;
    if places.is_empty() {
        return Err(usage(NO_TABLES));
    }
    let broker = open_broker(loaded).map_err(|error| failure(&RunError::Open(error), &loaded.variables))?;
    let (event_loop, lakes) = (event_loop(loaded)?, lakes(loaded)?);
    let mut rows: Vec<Value> = Vec::new();
    let mut verified_before: Vec<String> = Vec::new();
    for (_, _, place) in places {
        if verified_before.contains(&place.tables()) {
            continue; // sinks may share it
        }
        verified_before.push(place.tables());
        let verified = event_loop.block_on(verify(&place, &*broker, &lakes));
        let verified = verified.map_err(|error| away(&error, loaded))?;
        note_restored(&verified.restored);
        if !verified.missing.is_empty() {
            let missing = verified.missing.join(", ");
            output::note(&format!(
                "the log has lost {missing}: sums are not compared, nor rows that only the tables have"
            ));
        }
        output::note(&format!("{place}: {} rows compared, {} differ", verified.rows, verified.differences.len()));
        rows.extend(verified.differences.iter().map(|difference| json!(difference)));
    }
    output::rows(&rows, format);
    match rows.len() {
        0 => Ok(()),
        count => Err(Failure::new(EXIT_DATA, &format!("{count} differences"))),
    }
}

fn rebuild_all(loaded: &Loaded) -> Result<(), Failure> {
    let mut by_place: Vec<(Place, Sinks)> = Vec::new();
    for (sink, _, place) in places(loaded)? {
        let reads = Names(&loaded.config).topics(&sink.from);
        match by_place.iter_mut().find(|(known, _)| known.tables() == place.tables()) {
            Some((_, sinks)) => drop(sinks.insert(sink.name.clone(), reads)),
            None => by_place.push((place, Sinks::from([(sink.name.clone(), reads)]))),
        }
    }
    if by_place.is_empty() {
        return Err(usage(NO_TABLES));
    }
    let broker = open_broker(loaded).map_err(|error| failure(&RunError::Open(error), &loaded.variables))?;
    let (event_loop, lakes) = (event_loop(loaded)?, lakes(loaded)?);
    for (place, sinks) in by_place {
        let rebuilt = event_loop.block_on(rebuild(&place, &sinks, &*broker, &lakes));
        let rebuilt = rebuilt.map_err(|error| away(&error, loaded))?;
        output::text(&format!("{place} is built again; what was there is {}\n", rebuilt.before));
        note_restored(&rebuilt.restored);
        if !rebuilt.missing.is_empty() {
            output::note(&format!("the log has lost {}, and so have the new tables", rebuilt.missing.join(", ")));
        }
        if matches!(place, Place::Postgres(_)) {
            output::note("rights are those of a new schema: `skuflow serving grants` prints the statements");
        }
    }
    Ok(())
}

fn tend(loaded: &Loaded) -> Result<(), Failure> {
    let (places, event_loop) = (places(loaded)?, event_loop(loaded)?);
    if places.is_empty() {
        return Err(usage(NO_TABLES));
    }
    for (_, settings, place) in places {
        let upkeep = Upkeep { place, retention: settings.retention };
        let gone = event_loop.block_on(upkeep.round(Clock::System.now())).map_err(|error| away(&error, loaded))?;
        output::text(&format!("{} is tended\n", upkeep.place));
        for month in gone {
            output::text(&format!("gone: {month}\n"));
        }
    }
    Ok(())
}

fn rights(writer: Option<&str>, reader: Option<&str>, owner: Option<&str>, loaded: &Loaded) -> Result<(), Failure> {
    if writer.is_none() && reader.is_none() {
        return Err(usage("name a role: --writer, --reader or both"));
    }
    let mut is_any = false;
    for (_, _, place) in places(loaded)? {
        if let Place::Postgres(server) = place {
            let owner = owner.unwrap_or(server.url.username());
            for statement in grants(&server.schema, owner, writer, reader) {
                output::text(&format!("{statement};\n"));
            }
            is_any = true;
        }
    }
    if is_any { Ok(()) } else { Err(usage("no sink has its tables in Postgres, and SQLite knows no roles")) }
}
