//! Writes rows and positions to `SQLite`, in one transaction.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skuflow_runtime::broker::{Offset, TopicPartition};
use skuflow_schemas::Text;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};

use super::remedy::{advice, migration_advice};
use super::rows::{LetterSum, LineKey, Rows, SaleLine, daily_changes};
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

const OFFERS_LATEST: &str = "
    INSERT INTO offers_latest
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
           value->>10, value->>11, value->>12, value->>13, value->>14, value->>15, value->>16, value->>17, value->>18,
           value->>19, value->>20, value->>21
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET
        currency = excluded.currency, price_micros = excluded.price_micros, shipping_micros = excluded.shipping_micros,
        landed_price_micros = excluded.landed_price_micros, list_price_micros = excluded.list_price_micros,
        availability = excluded.availability, stock_level = excluded.stock_level, buy_box = excluded.buy_box,
        rating = excluded.rating, rating_best = excluded.rating_best, review_count = excluded.review_count,
        suspect = excluded.suspect,
        observed_at = excluded.observed_at, event_id = excluded.event_id, log_offset = excluded.log_offset
    WHERE (excluded.observed_at, excluded.log_offset) > (offers_latest.observed_at, offers_latest.log_offset)";

const PRICE_HISTORY: &str = "
    INSERT INTO price_history
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
           value->>10, value->>11, value->>12
    FROM json_each(?1) WHERE true
    ON CONFLICT DO NOTHING";

const SALE_LINES: &str = "
    INSERT INTO sale_lines
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
           value->>10, value->>11, value->>12
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET
        marketplace = excluded.marketplace, native_id = excluded.native_id, business_date = excluded.business_date,
        units = excluded.units, currency = excluded.currency, revenue_micros = excluded.revenue_micros,
        status = excluded.status, observed_at = excluded.observed_at, event_id = excluded.event_id";

const STORED_LINES: &str = "
    SELECT l.* FROM json_each(?1) AS k CROSS JOIN sale_lines AS l
    ON l.customer = k.value->>0 AND l.source = k.value->>1 AND l.order_id = k.value->>2 AND l.line_id = k.value->>3";

const SALES_DAILY: &str = "
    INSERT INTO sales_daily
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
           value->>10
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET
        units = units + excluded.units, units_sold = units_sold + excluded.units_sold,
        units_returned = units_returned + excluded.units_returned,
        revenue_micros = revenue_micros + excluded.revenue_micros, order_lines = order_lines + excluded.order_lines";

const EMPTY_DAYS: &str = "
    DELETE FROM sales_daily WHERE order_lines = 0 AND (customer, source, marketplace, native_id, business_date, currency)
    IN (SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?1))";

const INVENTORY_LATEST: &str = "
    INSERT INTO inventory_latest
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET
        quantity = excluded.quantity, relation = excluded.relation, observed_at = excluded.observed_at,
        event_id = excluded.event_id, log_offset = excluded.log_offset
    WHERE (excluded.observed_at, excluded.log_offset) > (inventory_latest.observed_at, inventory_latest.log_offset)";

const DEAD_LETTERS: &str = "
    INSERT INTO dead_letters
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET
        count = count + excluded.count, first_at = min(first_at, excluded.first_at),
        (last_at, last_partition, last_offset, message) = (
            SELECT dead_letters.last_at, dead_letters.last_partition, dead_letters.last_offset, dead_letters.message
            UNION ALL SELECT excluded.last_at, excluded.last_partition, excluded.last_offset, excluded.message
            ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1)";

const DATA_QUALITY: &str = "
    INSERT INTO data_quality
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7
    FROM json_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET
        count = count + excluded.count, latest_observed_at = max(latest_observed_at, excluded.latest_observed_at)";

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
    let query = "INSERT INTO sink_offsets SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5
        FROM json_each(?1) WHERE true ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset";
    insert(connection, query, rows.collect()).await?;
    Ok(true)
}

async fn write_rows(connection: &mut SqliteConnection, rows: Rows) -> Result<Landed, WriteError> {
    let mut landed = Landed::default();
    let offers = rows.offers_latest.into_values().map(|ranked| ranked.row).collect();
    landed.rows.insert("offers_latest", insert(connection, OFFERS_LATEST, offers).await?);
    landed.rows.insert("price_history", insert(connection, PRICE_HISTORY, rows.price_history).await?);
    let changed = write_sales(connection, rows.sale_lines).await?;
    landed.rows.extend(changed);
    let inventory = rows.inventory_latest.into_values().map(|ranked| ranked.row).collect();
    landed.rows.insert("inventory_latest", insert(connection, INVENTORY_LATEST, inventory).await?);
    let letters = rows.dead_letters.iter().map(|((topic, code), LetterSum { count, first_at, last })| {
        json!([topic, code, count, first_at, last.at, last.partition, last.offset, last.message])
    });
    landed.rows.insert("dead_letters", insert(connection, DEAD_LETTERS, letters.collect()).await?);
    let quality = rows.data_quality.iter().map(|((customer, source, family, hour, outcome, rule), (count, latest))| {
        json!([customer, source, family, hour, outcome, rule, count, latest])
    });
    landed.rows.insert("data_quality", insert(connection, DATA_QUALITY, quality.collect()).await?);
    landed.rows.retain(|_, count| *count > 0);
    Ok(landed)
}

async fn write_sales(
    connection: &mut SqliteConnection,
    mut lines: BTreeMap<LineKey, SaleLine>,
) -> Result<Vec<(&'static str, u64)>, WriteError> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Value> = lines.keys().map(|key| json!([key.0, key.1, key.2, key.3])).collect();
    let keys = serde_json::to_string(&keys).unwrap_or_default();
    let stored = sqlx::query(STORED_LINES).bind(keys).fetch_all(&mut *connection).await?;
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
    let lines = insert(connection, SALE_LINES, written.collect()).await?;
    let touched = insert(connection, SALES_DAILY, days.clone()).await?;
    insert(connection, EMPTY_DAYS, days).await?;
    Ok(vec![("sale_lines", lines), ("sales_daily", touched)])
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

/// Runs one statement over all rows; returns how many it wrote. Rows as one JSON text are as fast as multi-row VALUES of
/// 50, 500 or 2000 rows (40-51 against 31-52 thousand rows/s of `price_history`, release build, 2 loaded cores).
async fn insert(connection: &mut SqliteConnection, query: &'static str, rows: Vec<Value>) -> Result<u64, WriteError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let rows = serde_json::to_string(&rows).unwrap_or_default();
    Ok(sqlx::query(query).bind(rows).execute(connection).await?.rows_affected())
}
