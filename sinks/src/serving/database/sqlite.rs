//! `SQLite`: one file, rows as one JSON text.

use std::path::Path;

use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor, Row as _, Sqlite};

use super::{Cell, EventId, Kind, OpenError, Place, Pool, Row, Statement, Text, Timestamp, as_json};
use crate::limits::BUSY_TIMEOUT;
use crate::serving::schema;

pub(super) async fn open(path: &Path) -> Result<SqliteConnection, OpenError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(sqlx::Error::Io)?;
    }
    if path.is_dir() {
        return Err(OpenError::Unfit("this is a folder: name a file in the sink's `url`".into()));
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await?;
    migrate(&mut connection).await?;
    Ok(connection)
}

/// Makes the tables, or brings them up to date: one process at a time, or two would make them.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    let mut alone = connection.begin_with("BEGIN IMMEDIATE").await?;
    schema::SQLITE.run(&mut *alone).await?;
    Ok(alone.commit().await?)
}

/// How many migrations were made.
pub(super) async fn version(place: &Place) -> Result<usize, OpenError> {
    let pool = Pool::open(place, 1).await?;
    let count = |rows: Vec<Row>| if let [Cell::Int(count)] = rows.concat()[..] { count as usize } else { 0 };
    let made = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    if count(pool.ask(made, &[], &[Kind::Int]).await?) == 0 {
        return Ok(0);
    }
    Ok(count(pool.ask("SELECT count(*) FROM _sqlx_migrations WHERE success", &[], &[Kind::Int]).await?))
}

/// Rows as one JSON text are as fast as multi-row VALUES of 50, 500 or 2000 rows (40-51 against 31-52 thousand rows/s of
/// `price_history`, release build, 2 loaded cores).
pub(super) async fn run(
    connection: &mut SqliteConnection,
    statement: &Statement,
    rows: &[impl AsRef<[Cell]>],
) -> sqlx::Result<u64> {
    // Made of names in `tables` alone; what records say is bound.
    let query = sqlx::query(AssertSqlSafe(statement.text.clone()));
    Ok(query.bind(as_json(rows)).execute(connection).await?.rows_affected())
}

pub(super) async fn fetch(
    connection: &mut SqliteConnection,
    statement: &Statement,
    rows: &[impl AsRef<[Cell]>],
    kinds: &[Kind],
) -> sqlx::Result<Vec<Row>> {
    let query = sqlx::query(AssertSqlSafe(statement.text.clone()));
    cells(&query.bind(as_json(rows)).fetch_all(connection).await?, kinds)
}

/// The text is made of our own words; what is `given` is bound.
pub(super) async fn ask<'e>(
    connection: impl Executor<'e, Database = Sqlite>,
    text: &str,
    given: &[Cell],
    kinds: &[Kind],
) -> sqlx::Result<Vec<Row>> {
    let mut query = sqlx::query(AssertSqlSafe(text));
    for cell in given {
        query = match cell {
            Cell::Null => query.bind(None::<&str>),
            Cell::Text(text) => query.bind(text.as_str()),
            Cell::Json(text) => query.bind(text.as_str()),
            Cell::Int(number) => query.bind(number),
            Cell::Real(number) => query.bind(number),
            Cell::Instant(at) => query.bind(at.micros()),
            Cell::Day(day) => query.bind(day.to_string()),
            Cell::Id(id) => query.bind(id.to_string()),
        };
    }
    cells(&query.fetch_all(connection).await?, kinds)
}

fn cells(rows: &[SqliteRow], kinds: &[Kind]) -> sqlx::Result<Vec<Row>> {
    rows.iter().map(|row| kinds.iter().enumerate().map(|(at, kind)| cell(row, at, *kind)).collect()).collect()
}

fn cell(row: &SqliteRow, at: usize, kind: Kind) -> sqlx::Result<Cell> {
    let text = || row.try_get::<Option<&str>, _>(at);
    let unfit = |text: &str| sqlx::Error::ColumnDecode {
        index: at.to_string(),
        source: format!("`{text}` is not what stands in this column").into(),
    };
    Ok(match kind {
        Kind::Text => text()?.map(Text::from).into(),
        Kind::Json => text()?.map_or(Cell::Null, |text| Cell::Json(text.into())),
        Kind::Int => row.try_get::<Option<i64>, _>(at)?.into(),
        Kind::Real => row.try_get::<Option<f64>, _>(at)?.into(),
        Kind::Instant => row.try_get::<Option<i64>, _>(at)?.map(Timestamp::from_micros).into(),
        Kind::Day => text()?.map(|text| text.parse().map_err(|_| unfit(text))).transpose()?.map(Cell::Day).into(),
        Kind::Id => text()?.map(|text| text.parse::<EventId>().map_err(|_| unfit(text))).transpose()?.into(),
    })
}
