//! The two databases behind one face: a connection, its statements over rows, and what its errors mean.

mod postgres;
mod sqlite;

use skuflow_schemas::{EventId, Text, Timestamp};
use sqlx::SqliteConnection;
use sqlx::migrate::MigrateError;

use super::cells::{Cell, Kind, Row};
use super::place::{Place, Server};
use super::remedy;
use super::statements::{Dialect, Statement};
use super::tables::Table;
use crate::SinkError;
use crate::limits::{SERVING_CONNECT_TIMEOUT, SERVING_GRACE};
use crate::sql::late;

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
                let opened = tokio::time::timeout(SERVING_CONNECT_TIMEOUT, postgres::Connection::open(server, sink));
                let opened = opened.await.unwrap_or_else(|_| Err(late().into()));
                opened.map(|open| Self::Postgres(Box::new(open)))
            }
        };
        opened.map_err(|error| error.of(place))
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

    /// Makes room for rows of a table, outside of transactions.
    pub(super) async fn prepare(&mut self, table: &Table, rows: &[Row]) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(open) => open.make_months(table, rows).await,
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

    /// All rows of a table.
    #[cfg(test)]
    pub(super) async fn all(&mut self, table: &Table) -> sqlx::Result<Vec<Row>> {
        let kinds: Vec<Kind> = table.columns().map(super::tables::kind).collect();
        let none: &[Row] = &[];
        match self {
            Self::Sqlite(open) => sqlite::fetch(open, &table.all(), none, &kinds).await,
            Self::Postgres(open) => open.fetch(&table.all(), none, &kinds).await,
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

/// Whether the tables in Postgres can be opened, or made; nothing is changed.
///
/// # Errors
/// Why not, and what to do.
pub async fn examine(server: &Server) -> Result<String, SinkError> {
    let examined = tokio::time::timeout(SERVING_CONNECT_TIMEOUT, postgres::examine(server)).await;
    let place = Place::Postgres(server.clone());
    let examined = examined.unwrap_or_else(|_| Err(late().into())).map_err(|error| error.of(&place));
    Ok(format!("{place} {}", examined?))
}

/// Does what ends by itself after `patience`, or soon after.
async fn within<T>(patience: std::time::Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(patience + SERVING_GRACE, work).await.unwrap_or_else(|_| Err(late()))
}
