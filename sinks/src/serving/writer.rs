//! Writes rows and positions to `SQLite`, in one transaction.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use skuflow_runtime::broker::{Offset, TopicPartition};
use skuflow_schemas::Text;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::remedy::{advice, migration_advice};
use super::rows::{LetterSum, LineKey, Rows, SaleLine, daily_changes};
use super::tables::{DATA_QUALITY, DEAD_LETTERS, SALE_LINES, SALES_DAILY, SINK_OFFSETS, Table};
use crate::limits::BUSY_TIMEOUT;
use crate::{Batch, Identity, Landed, Part, Sink, SinkError};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// The serving tables in a `SQLite` file.
pub struct Serving {
    name: String,
    path: PathBuf,
    identity: Identity,
    connection: Option<SqliteConnection>,
}

impl Serving {
    /// The tables in the file at `path` as seen by the sink called `name`. Nothing is opened before it is needed.
    pub fn new(name: &str, path: &Path) -> Self {
        Self { name: name.into(), path: path.into(), identity: Identity::default(), connection: None }
    }

    async fn connect(&mut self) -> Result<&mut SqliteConnection, SinkError> {
        if self.connection.is_none() {
            if let Some(folder) = self.path.parent() {
                let made = std::fs::create_dir_all(folder);
                made.map_err(|error| SinkError::Retry(format!("creating {}: {error}", folder.display())))?;
            }
            if self.path.is_dir() {
                let text = format!("{} is a folder: name a file in the sink's `url`", self.path.display());
                return Err(SinkError::Fatal(text));
            }
            let options = SqliteConnectOptions::new()
                .filename(&self.path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT);
            let mut connection = options.connect().await.map_err(|error| self.failed(&error))?;
            let migrated = migrate(&mut connection).await;
            migrated.map_err(|error| self.error(&error, migration_advice(&error)))?;
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("connected above"))
    }

    fn failed(&self, error: &sqlx::Error) -> SinkError {
        self.error(error, advice(error))
    }

    fn error(&self, error: &dyn std::error::Error, advice: Option<String>) -> SinkError {
        let text = format!("{}: {error}", self.path.display());
        match advice {
            None => SinkError::Retry(text),
            Some(advice) => SinkError::Fatal(format!("{text}; {advice}")),
        }
    }

    /// What a call came to. After an error the connection is dropped, and with it what was not committed.
    fn outcome<T>(&mut self, result: Result<T, WriteError>) -> Result<T, SinkError> {
        result.map_err(|error| {
            self.connection = None;
            match error {
                WriteError::Fenced(reason) => SinkError::Fenced(reason),
                WriteError::Sql(error) => self.failed(&error),
            }
        })
    }
}

impl Sink for Serving {
    async fn positions(&mut self, identity: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        self.identity = identity.clone();
        let name = self.name.clone();
        let rows = stored_positions(self.connect().await?, &name).await;
        let mut positions = BTreeMap::new();
        for (topic, partition, cluster, id, next) in self.outcome(rows)? {
            let known = identity.topic_ids.get(&topic);
            if cluster != identity.cluster_id || known.is_some_and(|known| *known != id) {
                return Err(SinkError::Fatal(format!(
                    "{} was filled from another data directory (topic {topic}, cluster {cluster}; this one is {}). To build \
                     the tables again from this directory, move the file away; to go on with the old data, bring its data \
                     directory back",
                    self.path.display(),
                    identity.cluster_id
                )));
            }
            positions.insert(TopicPartition::new(topic, partition), next as u64);
        }
        Ok(positions)
    }

    async fn land(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        let (name, identity) = (self.name.clone(), self.identity.clone());
        let landed = write(self.connect().await?, &name, &identity, batch).await;
        self.outcome(landed)
    }
}

/// Makes the tables, or brings them up to date: one process at a time, or two would make them.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    let mut alone = connection.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATIONS.run(&mut *alone).await?;
    Ok(alone.commit().await?)
}

/// Topic, partition, cluster, topic id, next offset.
type StoredPosition = (String, u32, String, String, i64);

async fn stored_positions(connection: &mut SqliteConnection, sink: &str) -> Result<Vec<StoredPosition>, WriteError> {
    let query = "SELECT topic, partition, cluster_id, topic_id, next_offset FROM sink_offsets WHERE sink = ?1";
    Ok(sqlx::query_as(query).bind(sink).fetch_all(connection).await?)
}

enum WriteError {
    Fenced(String),
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

async fn write(
    connection: &mut SqliteConnection,
    sink: &str,
    identity: &Identity,
    batch: &Batch,
) -> Result<Landed, WriteError> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    if !move_positions(connection, sink, identity, batch).await? {
        sqlx::query("ROLLBACK").execute(connection).await?;
        return Ok(Landed::default());
    }
    let mut landed = write_rows(connection, Rows::of(batch.records())).await?;
    landed.records = batch.records().count() as u64;
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(landed)
}

/// Compares and sets the positions; `false` where the whole batch had landed before.
async fn move_positions(
    connection: &mut SqliteConnection,
    sink: &str,
    identity: &Identity,
    batch: &Batch,
) -> Result<bool, WriteError> {
    let mut behind = 0;
    for (of, Part { range, .. }) in &batch.parts {
        let query = "SELECT next_offset FROM sink_offsets WHERE sink = ?1 AND topic = ?2 AND partition = ?3";
        let stored = sqlx::query_scalar(query).bind(sink).bind(of.topic.as_ref()).bind(of.partition);
        let stored = stored.fetch_optional(&mut *connection).await?.map(|next: i64| next as u64);
        if stored.is_some_and(|stored| range.to <= stored) {
            behind += 1;
        } else if stored != range.from {
            return Err(WriteError::Fenced(format!("{of} is at {stored:?}, the batch begins at {:?}", range.from)));
        }
    }
    if behind > 0 {
        let whole = behind == batch.parts.len();
        return if whole { Ok(false) } else { Err(WriteError::Fenced("a part of the batch has landed before".into())) };
    }
    let rows = batch.parts.iter().map(|(of, Part { range, .. })| {
        let id = identity.topic_ids.get(of.topic.as_ref());
        json!([sink, of.topic.as_ref(), of.partition, identity.cluster_id, id, range.to])
    });
    insert(connection, &SINK_OFFSETS, &rows.collect::<Vec<_>>()).await?;
    Ok(true)
}

async fn write_rows(connection: &mut SqliteConnection, rows: Rows) -> Result<Landed, WriteError> {
    let mut written = BTreeMap::new();
    for (table, rows) in rows.by_table {
        written.insert(table.name, insert(connection, table, &rows).await?);
    }
    for (table, words) in &rows.latest {
        let retracted: Vec<_> = words.values().filter_map(|word| word.retracted.as_ref()).collect();
        let standing: Vec<_> = words.values().filter_map(|word| word.standing.as_ref()).collect();
        run(connection, table.retract(), &retracted).await?;
        written.insert(table.name, insert(connection, table, &standing).await?);
    }
    written.extend(write_sales(connection, rows.sale_lines).await?);
    let letters = rows.dead_letters.iter().map(|((topic, code), LetterSum { count, first_at, last })| {
        json!([topic, code, count, first_at, last.at, last.partition, last.offset, last.message])
    });
    written.insert(DEAD_LETTERS.name, insert(connection, &DEAD_LETTERS, &letters.collect::<Vec<_>>()).await?);
    let quality = rows.data_quality.iter().map(|((customer, source, family, hour, outcome, rule), (count, latest))| {
        json!([customer, source, family, hour, outcome, rule, count, latest])
    });
    written.insert(DATA_QUALITY.name, insert(connection, &DATA_QUALITY, &quality.collect::<Vec<_>>()).await?);
    written.retain(|_, count| *count > 0);
    Ok(Landed { rows: written, ..Landed::default() })
}

async fn write_sales(
    connection: &mut SqliteConnection,
    mut lines: BTreeMap<LineKey, SaleLine>,
) -> Result<Vec<(&'static str, u64)>, WriteError> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Value> = lines.keys().map(|key| json!([key.0, key.1, key.2, key.3])).collect();
    let query = sqlx::query(AssertSqlSafe(SALE_LINES.select()));
    let stored = query.bind(text(&keys)).fetch_all(&mut *connection).await?;
    let stored: BTreeMap<LineKey, SaleLine> = stored.iter().map(stored_line).collect::<Result<_, _>>()?;
    lines.retain(|key, line| stored.get(key).is_none_or(|known| known < line));
    let days = daily_changes(&lines, &stored);
    let written = lines.iter().map(|((customer, source, order, line), row)| {
        json!([
            customer,
            source,
            order,
            line,
            row.marketplace,
            row.native_id,
            row.business_date,
            row.units,
            row.currency,
            row.revenue_micros,
            row.status,
            row.observed_at,
            row.event_id
        ])
    });
    let lines = insert(connection, &SALE_LINES, &written.collect::<Vec<_>>()).await?;
    let touched = insert(connection, &SALES_DAILY, &days).await?;
    run(connection, SALES_DAILY.delete("stored.order_lines = 0"), &days).await?;
    Ok(vec![(SALE_LINES.name, lines), (SALES_DAILY.name, touched)])
}

fn stored_line(row: &sqlx::sqlite::SqliteRow) -> Result<(LineKey, SaleLine), sqlx::Error> {
    let text = |name: &str| row.try_get::<&str, _>(name).map(Text::from);
    let key = (text("customer")?, text("source")?, text("order_id")?, text("line_id")?);
    let line = SaleLine {
        observed_at: row.try_get("observed_at")?,
        event_id: row.try_get("event_id")?,
        marketplace: text("marketplace")?,
        native_id: text("native_id")?,
        business_date: row.try_get("business_date")?,
        units: row.try_get("units")?,
        currency: text("currency")?,
        revenue_micros: row.try_get("revenue_micros")?,
        status: text("status")?,
    };
    Ok((key, line))
}

async fn insert(connection: &mut SqliteConnection, table: &Table, rows: &[impl Serialize]) -> Result<u64, WriteError> {
    run(connection, table.insert(), rows).await
}

/// Runs one statement over all rows; returns how many it wrote. Rows as one JSON text are as fast as multi-row VALUES of
/// 50, 500 or 2000 rows (40-51 against 31-52 thousand rows/s of `price_history`, release build, 2 loaded cores).
async fn run(connection: &mut SqliteConnection, statement: String, rows: &[impl Serialize]) -> Result<u64, WriteError> {
    if rows.is_empty() {
        return Ok(0);
    }
    // Made of names in `tables` alone; what records say is bound.
    let query = sqlx::query(AssertSqlSafe(statement));
    Ok(query.bind(text(rows)).execute(connection).await?.rows_affected())
}

fn text(rows: &[impl Serialize]) -> String {
    serde_json::to_string(rows).unwrap_or_default()
}
