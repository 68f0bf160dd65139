//! `skuflow lake`: the tables of a config's lakes, what one is made of, statements for those who read them, and upkeep by hand.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use skuflow_runtime::clock::Clock;
use skuflow_schemas::Timestamp;
use skuflow_sinks::SinkError;
use skuflow_sinks::lake::{self, Look, Place, Root, SnapshotSeen, TABLES, look};

use super::upkeep::{Work, tend};
use super::{EXIT_DATA, EXIT_IO, EXIT_UNAVAILABLE, Failure, Format, athena, output, statements, usage};
use crate::config::{Loaded, SinkConfig};
use crate::printable::{printable, thousands};

#[derive(Subcommand)]
pub(super) enum Lake {
    /// List the tables: rows, files, and the latest commit.
    Ls,
    /// Show one table: columns, partitions, snapshots and files.
    Show {
        /// The table, like `offers` or `processed.offers`.
        table: String,
        /// How many snapshots and files, the latest first.
        #[arg(long, short = 'n', default_value_t = 10)]
        limit: usize,
    },
    /// Print statements that read the tables, with the paths of this config.
    Sql {
        /// Only this table.
        table: Option<String>,
        /// Only for this reader.
        #[arg(long, value_enum)]
        reader: Option<Reader>,
    },
    /// Put small files together, of days that are over, and tiny ones.
    Compact(Tend),
    /// Let rows go that are older than their zone keeps rows, and snapshots that nobody needs.
    Expire(Tend),
    /// Remove files that nobody can find any more.
    Gc(Tend),
    /// Compare what the tables say with what there is, and name each difference; exit with 65 if there are any.
    Fsck {
        /// Only this table.
        table: Option<String>,
    },
}

#[derive(Args)]
pub(super) struct Tend {
    /// Only this table.
    table: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Reader {
    DuckDb,
    PyIceberg,
    /// Commands of the AWS CLI that tell Athena where the tables are.
    Glue,
    Athena,
}

/// A table, in which lake it is, and the sink of the config that fills it.
pub(super) struct Seen {
    pub(super) place: Place,
    pub(super) look: Look,
    pub(super) sink: Option<String>,
}

/// Runs one of the commands.
pub(super) fn lake(command: &Lake, loaded: &Loaded, format: Format) -> Result<(), Failure> {
    let by_hand = |work, Tend { table, dry_run }: &Tend| tend(work, table.as_deref(), *dry_run, loaded, format);
    match command {
        Lake::Compact(of) => by_hand(Work::Compact, of),
        Lake::Expire(of) => by_hand(Work::Expire, of),
        Lake::Gc(of) => by_hand(Work::Gc, of),
        Lake::Fsck { table } => tend(Work::Fsck, table.as_deref(), true, loaded, format),
        Lake::Ls | Lake::Show { .. } | Lake::Sql { .. } => look_at(command, loaded, format),
    }
}

/// Shows what is there. Nothing is changed.
fn look_at(command: &Lake, loaded: &Loaded, format: Format) -> Result<(), Failure> {
    let wanted = match command {
        Lake::Ls | Lake::Compact(_) | Lake::Expire(_) | Lake::Gc(_) | Lake::Fsck { .. } => None,
        Lake::Show { table, .. } => Some(table.as_str()),
        Lake::Sql { table, .. } => table.as_deref(),
    };
    let name = wanted.map(full_name).transpose()?;
    let mut seen = look_at_all(loaded)?;
    seen.retain(|seen| name.is_none_or(|name| seen.look.table.full_name == name));
    if seen.is_empty() {
        let reason = format!("table {} is not in the lake yet", name.unwrap_or_default());
        return Err(Failure::new(EXIT_UNAVAILABLE, &reason));
    }
    match command {
        Lake::Ls => output::rows(&seen.iter().map(row).collect::<Vec<_>>(), format),
        Lake::Show { limit, .. } => seen.iter().for_each(|seen| show(seen, *limit, format)),
        Lake::Sql { reader, .. } => print_statements(&seen, *reader, format),
        Lake::Compact(_) | Lake::Expire(_) | Lake::Gc(_) | Lake::Fsck { .. } => {}
    }
    Ok(())
}

/// The table that is meant.
pub(super) fn full_name(name: &str) -> Result<&'static str, Failure> {
    let found = TABLES.iter().find(|table| table.short_name() == name || table.full_name == name);
    let names = || TABLES.each_ref().map(|table| table.full_name).join(", ");
    found
        .map(|table| table.full_name)
        .ok_or_else(|| usage(&format!("there is no table `{name}`; there are: {}", names())))
}

/// The lakes of the config, each with the sink that fills it.
pub(super) fn places(loaded: &Loaded) -> Result<Vec<(&SinkConfig, &lake::Config, Place)>, Failure> {
    let of_sinks = loaded.config.sink.iter().filter_map(|sink| Some((sink, sink.lake.as_ref()?)));
    let places = of_sinks.map(|(sink, lake)| Ok((sink, lake, known(loaded.lake_place(lake)?))));
    let places: Result<Vec<_>, String> = places.collect();
    places.map_err(|reason| usage(&loaded.variables.conceal(&reason)))
}

/// A place as everybody knows it, wherever they are.
fn known(place: Place) -> Place {
    let root = match place.root {
        Root::Folder(folder) => Root::Folder(folder.canonicalize().unwrap_or(folder)),
        bucket @ Root::Bucket(..) => bucket,
    };
    Place { root, ..place }
}

/// The tables of all lakes of the config, at least one of which has a commit.
fn look_at_all(loaded: &Loaded) -> Result<Vec<Seen>, Failure> {
    let of_sinks = places(loaded)?;
    let mut places: Vec<&Place> = Vec::new();
    for (_, _, place) in &of_sinks {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() {
        return Err(usage("the config has no lake; add a sink with `lake = { path = \"data/lake\" }`"));
    }
    let mut all = Vec::new();
    for &place in &places {
        let fills = |topic: &str| {
            let mut sinks = of_sinks.iter().filter(|(_, _, of_sink)| of_sink == place);
            sinks.find(|(sink, ..)| sink.from.iter().any(|from| from == topic)).map(|(sink, ..)| sink.name.clone())
        };
        let looks = read(place).map_err(|error| failure(&error, loaded))?;
        all.extend(looks.into_iter().map(|look| Seen { place: place.clone(), sink: fills(look.table.topic), look }));
    }
    if all.iter().all(|seen| seen.look.snapshots.is_empty()) {
        let places = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let reason = format!("nothing was committed to the lake in {places} yet; `skuflow run` does");
        return Err(Failure::new(EXIT_UNAVAILABLE, &loaded.variables.conceal(&reason)));
    }
    Ok(all)
}

fn read(place: &Place) -> Result<Vec<Look>, SinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| SinkError::Retry(error.to_string()))?.block_on(look(place))
}

pub(super) fn failure(error: &SinkError, loaded: &Loaded) -> Failure {
    let exit = if matches!(error, SinkError::Retry(_)) { EXIT_IO } else { EXIT_DATA };
    Failure::new(exit, &loaded.variables.conceal(&error.to_string()))
}

/// A table in a line.
fn row(seen: &Seen) -> Value {
    let look = &seen.look;
    let committed = look.snapshots.first().map(|newest| newest.at);
    let age = committed.map(|at| (Clock::System.now().micros_since(at) / 1_000_000).max(0));
    json!({
        "zone": look.table.zone, "table": look.table.name, "rows": look.rows(), "files": look.files.len(),
        "bytes": look.bytes(), "snapshots": look.snapshots.len(), "committed_at": text(committed), "age_seconds": age,
        "latest_event": text(look.event_time().map(|(_, latest)| latest)), "sink": seen.sink,
    })
}

fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// A table in full, but for snapshots and files beyond `limit`.
fn show(seen: &Seen, limit: usize, format: Format) {
    let look = &seen.look;
    let columns = look.columns.iter().map(|column| {
        let optional = if column.is_required { "" } else { "?" };
        json!({ "column": column.name, "type": format!("{}{optional}", column.kind) })
    });
    let partitions = look.divided_by.iter().map(|(by, name)| json!({ "partition": name, "by": by }));
    let snapshots = look.snapshots.iter().take(limit).map(snapshot);
    let files = look.files.iter().take(limit).map(|file| {
        let within = file.path.strip_prefix(&look.folder).unwrap_or(&file.path).display().to_string();
        json!({
            "partition": file.part, "rows": file.rows, "bytes": file.bytes,
            "first_event": text(file.event_time.map(|(first, _)| first)),
            "last_event": text(file.event_time.map(|(_, last)| last)),
            "file": within,
        })
    });
    let parts: [(&str, Vec<Value>); 4] = [
        ("columns", columns.collect()),
        ("partitions", partitions.collect()),
        ("snapshots", snapshots.collect()),
        ("files", files.collect()),
    ];
    match format {
        Format::Json => output::json(&whole(seen, parts)),
        Format::Text => {
            output::text(&heading(look));
            for (name, rows) in parts {
                let all = match name {
                    "snapshots" => look.snapshots.len(),
                    "files" => look.files.len(),
                    _ => rows.len(),
                };
                let more =
                    if rows.len() < all { format!(" (the latest {} of {all})", rows.len()) } else { String::new() };
                output::text(&format!("\n{name}{more}\n"));
                output::rows(&rows, format);
            }
        }
    }
}

/// The line of the table, where it is, and its parts.
fn whole(seen: &Seen, parts: [(&str, Vec<Value>); 4]) -> Value {
    let [folder, metadata_file] = [&seen.look.folder, &seen.look.metadata_file].map(|path| path.display().to_string());
    let mut whole = Map::new();
    whole.insert("table".into(), row(seen));
    whole.insert("folder".into(), folder.into());
    whole.insert("metadata_file".into(), metadata_file.into());
    whole.extend(parts.map(|(name, rows)| (name.to_owned(), rows.into())));
    whole.into()
}

fn heading(look: &Look) -> String {
    let [rows, files, bytes] = [look.rows(), look.files.len() as u64, look.bytes()].map(thousands);
    let paths = [&look.folder, &look.metadata_file].map(|path| printable(&path.display().to_string()));
    let mut heading = format!("{}: {rows} rows in {files} files, {bytes} bytes\n", look.table.full_name);
    heading.push_str(&format!("folder    {}\nmetadata  {}\n", paths[0], paths[1]));
    if let Some((first, last)) = look.event_time() {
        heading.push_str(&format!("events    {first} to {last}\n"));
    }
    heading
}

/// A snapshot, with the offsets that it moved from and to.
fn snapshot(commit: &SnapshotSeen) -> Value {
    let moved = commit.to.as_object().into_iter().flatten();
    let moved: Map<String, Value> = moved.map(|(of, to)| (of.clone(), json!([commit.from[of], to]))).collect();
    json!({
        "snapshot": commit.id, "committed_at": commit.at.to_string(), "rows": commit.rows, "commit_id": commit.commit_id,
        "offsets": moved,
    })
}

fn print_statements(seen: &[Seen], reader: Option<Reader>, format: Format) {
    type Print = fn(&[Seen]) -> String;
    let printed: [(&str, Reader, Print); 4] = [
        ("duckdb", Reader::DuckDb, statements::duckdb),
        ("pyiceberg", Reader::PyIceberg, statements::pyiceberg),
        ("glue", Reader::Glue, athena::glue),
        ("athena", Reader::Athena, athena::athena),
    ];
    let wanted = |of: Reader| reader.is_none_or(|reader| reader == of);
    let printed = printed.map(|(name, of, print)| (name, wanted(of).then(|| print(seen))));
    match format {
        Format::Json => {
            let printed = printed.map(|(name, text)| (name.to_owned(), text.into()));
            output::json(&Value::Object(printed.into_iter().collect()));
        }
        Format::Text => {
            output::text(&printed.into_iter().filter_map(|(_, text)| text).collect::<Vec<_>>().join("\n"));
        }
    }
}
