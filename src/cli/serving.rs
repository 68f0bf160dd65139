//! `skuflow serving`: who may do what with the serving tables, and what is done to them beside a run.

use clap::Subcommand;
use skuflow_runtime::clock::Clock;
use skuflow_sinks::serving::{Place, Upkeep, grants};

use super::{EXIT_DATA, EXIT_UNAVAILABLE, Failure, output, usage};
use crate::config::Loaded;

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
    /// Do now what a run does from time to time: drop the months whose `retention` is over, make the views of Postgres anew.
    Tend,
}

pub(super) fn serving(command: &Serving, loaded: &Loaded) -> Result<(), Failure> {
    match command {
        Serving::Grants { writer, reader, owner } => {
            rights(writer.as_deref(), reader.as_deref(), owner.as_deref(), loaded)
        }
        Serving::Tend => tend(loaded),
    }
}

fn tend(loaded: &Loaded) -> Result<(), Failure> {
    let mut is_any = false;
    for settings in loaded.config.sink.iter().filter_map(|sink| sink.serving.as_ref()) {
        let place = settings.place(&loaded.base).map_err(|reason| Failure::new(EXIT_DATA, &reason))?;
        let upkeep = Upkeep { place, retention: settings.retention };
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let event_loop = event_loop.map_err(|error| Failure::new(EXIT_UNAVAILABLE, &error.to_string()))?;
        let gone = event_loop.block_on(upkeep.round(Clock::System.now()));
        let gone = gone.map_err(|error| Failure::new(EXIT_UNAVAILABLE, &error.to_string()))?;
        output::text(&format!("{} is tended\n", upkeep.place));
        gone.iter().for_each(|month| output::text(&format!("gone: {month}\n")));
        is_any = true;
    }
    if is_any { Ok(()) } else { Err(usage("no sink has serving tables; add one with `serving = { url = … }`")) }
}

fn rights(writer: Option<&str>, reader: Option<&str>, owner: Option<&str>, loaded: &Loaded) -> Result<(), Failure> {
    if writer.is_none() && reader.is_none() {
        return Err(usage("name a role: --writer, --reader or both"));
    }
    let mut is_any = false;
    for settings in loaded.config.sink.iter().filter_map(|sink| sink.serving.as_ref()) {
        let place = settings.place(&loaded.base).map_err(|reason| Failure::new(EXIT_DATA, &reason))?;
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
