//! `check --connect`: whether a run would find what it needs. Nothing is left behind.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde_json::{Value, json};
use skuflow_ingest::{Cursor, Poll};
use skuflow_runtime::broker::kafka::Examined;
use skuflow_sinks::SinkError;
use skuflow_sinks::lake::{Address, Place, Table, Teller, examine};
use skuflow_sinks::serving;

use crate::config::{Loaded, SinkConfig};
use crate::run::{cluster_subjects, cluster_topics, connector};

/// What every `SQLite` database begins with.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// One row per directory, cluster, topic, schema, input and database: what it is, and `ok` or why not.
pub fn connect(loaded: &Loaded) -> Vec<Value> {
    let config = &loaded.config;
    let row = |what: &str, found: Result<String, String>| {
        let about = found.as_ref().unwrap_or_else(|reason| reason);
        json!({ "what": what, "ok": found.is_ok(), "about": loaded.variables.conceal(about) })
    };
    let mut rows = vec![row("data directory", writable(&loaded.data_dir()).map(|()| "can be written".into()))];
    if let Some(kafka) = &config.broker.kafka {
        let topics = cluster_topics(loaded, kafka).map_err(|error| error.to_string());
        let mut found = service("cluster", topics, "topic", ["is as it must be", "can be made"]);
        if let Some(registry) = &kafka.registry {
            let subjects = cluster_subjects(loaded, registry);
            found.extend(service("registry", subjects, "schema", ["is registered", "can be registered"]));
        }
        rows.extend(found.into_iter().map(|(what, found)| row(&what, found)));
    }
    for settings in &config.connector {
        rows.push(row(&format!("connector:{}", settings.name), first_page(settings, loaded)));
    }
    for sink in &config.sink {
        let opened = match (&sink.serving, &sink.lake) {
            (Some(serving), _) => serving.place(&loaded.base).and_then(|place| served(&place)),
            (None, Some(lake)) => {
                let tables: Vec<_> = sink.from.iter().filter_map(|topic| Table::of_topic(topic)).collect();
                loaded.lake_place(lake).and_then(|place| kept(&place, &tables))
            }
            (None, None) => continue,
        };
        rows.push(row(&format!("sink:{}", sink.name), opened));
    }
    rows
}

/// What a service is found to be, and each of its parts, which are there or can be made.
fn service(
    name: &str,
    examined: Result<Examined, String>,
    part: &str,
    [there, absent]: [&str; 2],
) -> Vec<(String, Result<String, String>)> {
    let (answers, parts) = match examined {
        Ok(parts) => (Ok("answers".into()), parts),
        Err(reason) => (Err(reason), Vec::new()),
    };
    let about = |is_there| if is_there { there } else { absent }.to_owned();
    let parts = parts.into_iter().map(|(of, found)| (format!("{part}:{of}"), found.map(about)));
    [(name.to_owned(), answers)].into_iter().chain(parts).collect()
}

/// Whether files can be made in a folder or, where there is none yet, in the nearest one above it.
fn writable(folder: &Path) -> Result<(), String> {
    let nearest = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let nearest = nearest.filter(|nearest| !nearest.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = nearest.join(format!(".skuflow-check-{}", std::process::id()));
    File::create_new(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(|error| format!("{} cannot be written: {error}", nearest.display()))
}

/// Reads what a first page would hold, and publishes nothing.
fn first_page(settings: &crate::config::ConnectorConfig, loaded: &Loaded) -> Result<String, String> {
    let mut connector = connector(settings, loaded).map_err(|error| error.to_string())?;
    match connector.poll(&Cursor::new()).map_err(|error| error.to_string())? {
        Poll::Page(page) => Ok(format!("{} records in a first page", page.records.len())),
        Poll::Idle | Poll::Done => Ok("nothing there yet".into()),
    }
}

/// Whether the tables can be opened, or made.
fn served(place: &serving::Place) -> Result<String, String> {
    match place {
        serving::Place::Sqlite(path) => database(path),
        serving::Place::Postgres(server) => {
            let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let event_loop = event_loop.map_err(|error| error.to_string())?;
            event_loop.block_on(serving::examine(server)).map_err(|error| error.to_string())
        }
    }
}

/// What a run would do to the tables of each sink that serves them: where they are, of which version, and of which they will be.
pub fn tables(loaded: &Loaded) -> Vec<Value> {
    let sinks = loaded.config.sink.iter().filter_map(|sink| Some((sink, sink.serving.as_ref()?)));
    let row = |(sink, settings): (&SinkConfig, &serving::Config)| {
        let found = settings.place(&loaded.base).and_then(|place| {
            let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let event_loop = event_loop.map_err(|error| error.to_string())?;
            let versions = event_loop.block_on(serving::versions(&place)).map_err(|error| error.to_string())?;
            Ok((place.to_string(), versions))
        });
        let station = format!("sink:{}", sink.name);
        match found {
            Ok((place, [there, ours])) => json!({
                "station": station, "place": loaded.variables.conceal(&place), "version": there, "will_be": ours.max(there),
            }),
            Err(reason) => json!({
                "station": station, "place": loaded.variables.conceal(&reason), "version": null, "will_be": null,
            }),
        }
    };
    sinks.map(row).collect()
}

/// Whether the catalog of a lake answers, what it has, and whether that can be written; and, in a bucket, whether files can be
/// kept there.
fn kept(place: &Place, tables: &[&Table]) -> Result<String, String> {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let event_loop = event_loop.map_err(|error| error.to_string())?;
    let file = match &place.catalog {
        Address::Sqlite(path, _) => Some(database(path)?),
        _ => None,
    };
    let found = event_loop.block_on(catalog(place, tables)).map_err(|error| error.to_string())?;
    event_loop.block_on(examine(place)).map(|()| file.unwrap_or(found)).map_err(|error| error.to_string())
}

async fn catalog(place: &Place, tables: &[&Table]) -> Result<String, SinkError> {
    let mut teller = Teller::open(place).await?;
    for table in tables {
        teller.fits(table).await?;
    }
    Ok(if teller.is_there() {
        format!("{} answers and has {} tables", place.catalog, teller.tables().await?.len())
    } else {
        format!("{} answers; its tables can be made", place.catalog)
    })
}

fn database(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be opened: {error}", path.display());
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return writable(path.parent().unwrap_or(Path::new("."))).map(|()| "can be made".into());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut beginning = Vec::new();
    file.by_ref().take(SQLITE_MAGIC.len() as u64).read_to_end(&mut beginning).map_err(failed)?;
    if beginning.is_empty() || beginning == SQLITE_MAGIC {
        return Ok("can be opened".into());
    }
    Err(format!("{} is no SQLite database", path.display()))
}
