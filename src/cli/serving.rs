//! `skuflow serving`: who may do what with the serving tables in Postgres.

use clap::Subcommand;
use skuflow_sinks::serving::{Place, grants};

use super::{EXIT_DATA, Failure, output, usage};
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
}

pub(super) fn serving(command: &Serving, loaded: &Loaded) -> Result<(), Failure> {
    let Serving::Grants { writer, reader, owner } = command;
    if writer.is_none() && reader.is_none() {
        return Err(usage("name a role: --writer, --reader or both"));
    }
    let mut is_any = false;
    for settings in loaded.config.sink.iter().filter_map(|sink| sink.serving.as_ref()) {
        let place = settings.place(&loaded.base).map_err(|reason| Failure::new(EXIT_DATA, &reason))?;
        if let Place::Postgres(server) = place {
            let owner = owner.as_deref().unwrap_or(server.url.username());
            for statement in grants(&server.schema, owner, writer.as_deref(), reader.as_deref()) {
                output::text(&format!("{statement};\n"));
            }
            is_any = true;
        }
    }
    if is_any { Ok(()) } else { Err(usage("no sink has its tables in Postgres, and SQLite knows no roles")) }
}
