//! The two databases behind one face: a connection, its statements over rows, and what its errors mean.

mod pool;
mod postgres;
mod sqlite;

use skuflow_schemas::{BusinessDate, EventId, Text, Timestamp};
use sqlx::SqliteConnection;
use sqlx::migrate::MigrateError;

pub(super) use self::pool::Pool;
use super::cells::{Cell, Kind, Row};
use super::place::{Place, Server};
use super::statements::{Dialect, Statement};
use super::tables::Table;
use super::{remedy, schema};
use crate::SinkError;
use crate::limits::SERVING_CONNECT_TIMEOUT;
use crate::sql::within;

/// An open database whose tables are there.
pub(super) enum Database {
    Sqlite(SqliteConnection),
    Postgres(Box<postgres::Connection>),
}

/// Why a database is not opened.
pub(super) enum OpenError {
    Sql(sqlx::Error),
    Tables(MigrateError),
    /// In words, with what to do.
    Unfit(String),
}

impl OpenError {
    fn of(self, place: &Place) -> SinkError {
        match self {
            Self::Sql(error) => place.failed(&error),
            Self::Tables(error) => place.error(&error, remedy::of_tables(&error, place.dialect())),
            Self::Unfit(reason) => SinkError::Fatal(format!("{place}: {reason}")),
        }
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<MigrateError> for OpenError {
    fn from(error: MigrateError) -> Self {
        Self::Tables(error)
    }
}

impl Database {
    /// Opens it for the sink called `sink`; its tables are made, or brought up to date.
    pub(super) async fn open(place: &Place, sink: &str) -> Result<Self, SinkError> {
        let opened = match place {
            Place::Sqlite(path) => sqlite::open(path).await.map(Self::Sqlite),
            Place::Postgres(server) => {
                postgres::Connection::open(server, sink).await.map(|open| Self::Postgres(Box::new(open)))
            }
        };
        opened.map_err(|error| error.of(place))
    }

    /// A database of Postgres, whatever tables are there.
    pub(super) async fn bare(server: &Server) -> sqlx::Result<Self> {
        within(SERVING_CONNECT_TIMEOUT, postgres::Connection::bare(server))
            .await
            .map(|open| Self::Postgres(Box::new(open)))
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.say(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        })
        .await
    }

    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        self.say("COMMIT").await
    }

    pub(super) async fn rollback(&mut self) -> sqlx::Result<()> {
        self.say("ROLLBACK").await
    }

    /// A word without rows. `SQLite` has ended some failed transactions by itself.
    async fn say(&mut self, word: &'static str) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(open) => sqlx::query(word).execute(open).await.map(|_| ()),
            Self::Postgres(open) => open.say(word).await,
        }
    }

    /// Makes room for rows of some months of a history, outside of transactions.
    pub(super) async fn prepare(&mut self, history: &'static Table, months: &[BusinessDate]) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(open) => open.make_months(history.name, months).await,
        }
    }

    /// Runs a statement over all rows; returns how many it wrote.
    pub(super) async fn run(&mut self, statement: &Statement, rows: &[impl AsRef<[Cell]>]) -> sqlx::Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Sqlite(open) => sqlite::run(open, statement, rows).await,
            Self::Postgres(open) => open.run(statement, rows).await,
        }
    }

    /// Adds rows whose keys are not there: in Postgres, one that is makes it fail.
    pub(super) async fn append(&mut self, table: &'static Table, rows: &[impl AsRef<[Cell]>]) -> sqlx::Result<u64> {
        match self {
            Self::Postgres(open) if !rows.is_empty() => open.copy(table, rows).await,
            _ => self.run(&table.insert(self.dialect()), rows).await,
        }
    }

    /// All rows of a table.
    #[cfg(test)]
    pub(super) async fn all(&mut self, table: &Table) -> sqlx::Result<Vec<Row>> {
        let kinds: Vec<Kind> = table.columns().map(super::tables::kind).collect();
        self.ask(&format!("SELECT * FROM {}", table.name), &[], &kinds).await
    }

    /// What a query finds, as rows of `kinds`; `given` stand for `$1` and so on.
    pub(super) async fn ask(&mut self, query: &str, given: &[Cell], kinds: &[Kind]) -> sqlx::Result<Vec<Row>> {
        match self {
            Self::Sqlite(open) => sqlite::ask(open, query, given, kinds).await,
            Self::Postgres(open) => open.ask(query, given, kinds).await,
        }
    }

    /// What a statement over all rows finds, as rows of `kinds`.
    pub(super) async fn fetch(
        &mut self,
        statement: &Statement,
        rows: &[impl AsRef<[Cell]>],
        kinds: &[Kind],
    ) -> sqlx::Result<Vec<Row>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Sqlite(open) => sqlite::fetch(open, statement, rows, kinds).await,
            Self::Postgres(open) => open.fetch(statement, rows, kinds).await,
        }
    }
}

/// Of which version the tables at a place are, 0 where there are none, and of which a run makes them; nothing is changed.
///
/// # Errors
/// Why they cannot be looked at, and what to do.
pub async fn versions(place: &Place) -> Result<[usize; 2], SinkError> {
    let there = match place {
        Place::Sqlite(path) if !path.exists() => Ok(0),
        Place::Sqlite(_) => sqlite::version(place).await,
        Place::Postgres(server) => within(SERVING_CONNECT_TIMEOUT, postgres::version(server)).await,
    };
    Ok([there.map_err(|error| error.of(place))?, schema::SQLITE.iter().count()])
}

/// Whether the tables in Postgres can be opened, or made; nothing is changed.
///
/// # Errors
/// Why not, and what to do.
pub async fn examine(server: &Server) -> Result<String, SinkError> {
    let place = Place::Postgres(server.clone());
    let examined = within(SERVING_CONNECT_TIMEOUT, postgres::examine(server)).await.map_err(|error| error.of(&place));
    Ok(format!("{place} {}", examined?))
}

/// Rows as one JSON text of arrays.
fn as_json(rows: &[impl AsRef<[Cell]>]) -> String {
    let rows: Vec<&[Cell]> = rows.iter().map(AsRef::as_ref).collect();
    serde_json::to_string(&rows).unwrap_or_default()
}
