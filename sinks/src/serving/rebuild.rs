//! Builds the tables again from their topics, and from a lake, beside those that are there, and swaps the two. Killed at any
//! moment it leaves one or the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skuflow_runtime::broker::{Broker, TopicPartition};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::again::{Lakes, Sources, unread};
use super::cells::{Cell, Kind};
use super::database::Database;
use super::place::{Place, Server};
use super::rights::{self, FUNCTIONS};
use super::writer::Serving;
use crate::limits::{BUSY_TIMEOUT, SERVING_UPKEEP_TIMEOUT};
use crate::{Sink as _, SinkError};

/// Sinks by name, and the topics that each reads.
pub type Sinks = BTreeMap<String, Vec<Arc<str>>>;

/// What was built.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// Where the tables are that were there before.
    pub before: String,
    /// What was read from a lake, as the log does not have all of it any more: offsets by partition.
    pub restored: Vec<String>,
    /// What neither has, and the new tables lack.
    pub missing: Vec<String>,
}

/// Builds the tables at `place` again, as `sinks` fill them from their topics; what the log has lost is read from `lakes`. A sink
/// that lands meanwhile goes on in the new tables, from where they are.
///
/// # Errors
/// Why it was not done, and what to do; the tables are as they were.
pub async fn rebuild(place: &Place, sinks: &Sinks, broker: &dyn Broker, lakes: &Lakes) -> Result<Rebuilt, SinkError> {
    let (anew, before) = (beside(place, "anew"), beside(place, "before"));
    make_room(&anew, &before).await?;
    let mut sources = Sources::new(broker, lakes)?;
    let topics = broker.topics().map_err(unread)?;
    for (sink, reads) in sinks {
        let mut serving = Serving::new(sink, anew.clone());
        serving.positions(&sources.identity).await?;
        for topic in topics.iter().filter(|topic| reads.contains(&topic.name)) {
            for number in 0..topic.partitions {
                sources.land(&TopicPartition::new(topic.name.clone(), number), None, &mut serving).await?;
            }
        }
    }
    match (place, &anew, &before) {
        (Place::Postgres(there), Place::Postgres(anew), Place::Postgres(before)) => {
            swap_schemas(place, there, anew, &before.schema).await?;
        }
        (Place::Sqlite(there), Place::Sqlite(anew), Place::Sqlite(before)) => {
            swap_files(place, there, anew, before).await?;
        }
        _ => unreachable!("all three are in one database"),
    }
    Ok(Rebuilt { before: before.to_string(), restored: sources.restored, missing: sources.missing })
}

/// A place of its own next to another.
fn beside(place: &Place, what: &str) -> Place {
    match place {
        Place::Sqlite(path) => Place::Sqlite(with(path, &format!(".{what}"))),
        Place::Postgres(server) => {
            let statement_timeout = server.statement_timeout.max(SERVING_UPKEEP_TIMEOUT);
            Place::Postgres(Server { schema: format!("{}_{what}", server.schema), statement_timeout, ..server.clone() })
        }
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Removes what a rebuild that was killed has left; what was there before an earlier one is for somebody to remove.
async fn make_room(anew: &Place, before: &Place) -> Result<(), SinkError> {
    let in_the_way = |remove: String| SinkError::Fatal(format!("{before} is there from an earlier time: {remove}"));
    match (anew, before) {
        (Place::Sqlite(anew), Place::Sqlite(before)) => {
            if before.exists() {
                return Err(in_the_way("move the file away".into()));
            }
            for ending in ["", "-wal", "-shm"] {
                match std::fs::remove_file(with(anew, ending)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(of_file(anew, &error)),
                    _ => {}
                }
            }
            Ok(())
        }
        (Place::Postgres(of), Place::Postgres(old)) => {
            let failed = |error: sqlx::Error| anew.failed(&error);
            let mut database = Database::bare(of).await.map_err(failed)?;
            let is_there = format!("to_regnamespace('{}') IS NOT NULL", old.schema);
            if holds(&mut database, &is_there).await.map_err(failed)? {
                return Err(in_the_way(format!("DROP SCHEMA {} CASCADE", old.schema)));
            }
            let drop = format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", of.schema);
            database.ask(&drop, &[], &[]).await.map(|_| ()).map_err(failed)
        }
        _ => Ok(()),
    }
}

/// Whether Postgres says so.
async fn holds(database: &mut Database, condition: &str) -> sqlx::Result<bool> {
    let found = database.ask(&format!("SELECT ({condition})::int::bigint"), &[], &[Kind::Int]).await?;
    Ok(found.concat() == [Cell::Int(1)])
}

async fn swap_schemas(place: &Place, there: &Server, anew: &Server, before: &str) -> Result<(), SinkError> {
    let failed = |error: sqlx::Error| place.failed(&error);
    let mut database = Database::bare(anew).await.map_err(failed)?;
    let (there, anew) = (&there.schema, &anew.schema);
    let states = format!("to_regclass('{there}.alert_states') IS NOT NULL");
    let has_states = holds(&mut database, &states).await.map_err(failed)?;
    // Who is landing holds a lock there from its first statement on; who comes later looks for the table again, and finds ours.
    let is_used = format!("to_regclass('{there}.sink_offsets') IS NOT NULL");
    let lock = format!("LOCK TABLE \"{there}\".sink_offsets IN ACCESS EXCLUSIVE MODE");
    let lock = holds(&mut database, &is_used).await.map_err(failed)?.then_some(lock);
    let mut statements = vec!["SELECT refresh_views()::text".to_owned()];
    statements.extend(lock);
    if has_states {
        statements.push(format!("INSERT INTO \"{anew}\".alert_states SELECT * FROM \"{there}\".alert_states"));
    }
    statements.extend([
        format!("ALTER SCHEMA \"{there}\" RENAME TO \"{before}\""),
        format!("ALTER SCHEMA \"{anew}\" RENAME TO \"{there}\""),
    ]);
    statements.extend(FUNCTIONS.map(|function| rights::settle(function, there)));
    database.begin().await.map_err(failed)?;
    for statement in statements {
        database.ask(&statement, &[], &[]).await.map_err(failed)?;
    }
    database.commit().await.map_err(failed)
}

async fn swap_files(place: &Place, there: &Path, anew: &Path, before: &Path) -> Result<(), SinkError> {
    let failed = |error: sqlx::Error| place.failed(&error);
    if there.exists() {
        let mut old = open(there).await.map_err(failed)?;
        let attach = sqlx::query("ATTACH ?1 AS anew").bind(anew.display().to_string());
        attach.execute(&mut old).await.map_err(failed)?;
        let states = sqlx::query_scalar("SELECT count(*) FROM main.sqlite_master WHERE name = 'alert_states'");
        let states: i64 = states.fetch_one(&mut old).await.map_err(failed)?;
        if states > 0 {
            let copy = "INSERT INTO anew.alert_states SELECT * FROM main.alert_states";
            sqlx::raw_sql(copy).execute(&mut old).await.map_err(failed)?;
        }
        old.close().await.map_err(failed)?;
        settle(place, there).await?;
    }
    settle(place, anew).await?;
    if there.exists() {
        // A second name, so that there is a file at every moment; where there are none, another name.
        std::fs::hard_link(there, before)
            .or_else(|_| std::fs::rename(there, before))
            .map_err(|error| of_file(there, &error))?;
    }
    std::fs::rename(anew, there).map_err(|error| of_file(anew, &error))
}

async fn open(path: &Path) -> sqlx::Result<sqlx::SqliteConnection> {
    SqliteConnectOptions::new().filename(path).connect().await
}

/// Brings what is in a file's log into the file, so that it can be renamed: nobody else may have it open. Our own connections
/// take a moment to end.
async fn settle(place: &Place, path: &Path) -> Result<(), SinkError> {
    let failed = |error: sqlx::Error| place.failed(&error);
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        let mut file = open(path).await.map_err(failed)?;
        // Without a log, who has it open is found out.
        let mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode = DELETE").fetch_one(&mut file).await;
        file.close().await.map_err(failed)?;
        let is_in_use =
            |error: &sqlx::Error| error.as_database_error().is_some_and(|error| error.message().contains("locked"));
        match mode {
            Ok(mode) if mode == "delete" => return Ok(()),
            Err(error) if !is_in_use(&error) => return Err(failed(error)),
            _ if Instant::now() > until => {
                return Err(SinkError::Retry(format!("{place}: another process has it open; stop the run")));
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn of_file(path: &Path, error: &std::io::Error) -> SinkError {
    SinkError::Retry(format!("{}: {error}", path.display()))
}
