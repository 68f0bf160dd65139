//! Which metadata file is a table's: a pointer per table in `SQLite`, in the layout of Iceberg's JDBC catalog, so that
//! `PyIceberg` reads it directly. Beside it stand the commits that are on their way.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::tables::Table;
use crate::SinkError;
use crate::limits::CATALOG_BUSY_TIMEOUT;

/// Its name in the catalog's tables, which readers give.
pub const CATALOG_NAME: &str = "lake";

/// Its file in the lake's folder.
pub const CATALOG_FILE: &str = "catalog.db";

/// The tables of the JDBC catalog as `PyIceberg` makes them, and the ledger: files of a commit are in it before they are
/// made, and leave it with the swap, so that what nobody will ever name can be found without listing folders.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL, PRIMARY KEY (catalog_name, namespace, property_key));
    CREATE TABLE IF NOT EXISTS lake_pending (
        commit_id TEXT PRIMARY KEY, table_name TEXT NOT NULL, begun_at INTEGER NOT NULL, body TEXT NOT NULL) STRICT";

/// What a swap came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// The pointer is ours.
    Won,
    /// Somebody else had moved it.
    Lost,
    /// There was no answer: it may be ours.
    Unknown,
}

/// A catalog in a file.
pub(super) struct Catalog {
    path: PathBuf,
    connection: SqliteConnection,
}

impl Catalog {
    /// Opens the catalog at `path`, or makes it.
    pub(super) async fn open(path: &Path) -> Result<Self, SinkError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(CATALOG_BUSY_TIMEOUT);
        let mut connection = options.connect().await.map_err(|error| failed(path, &error))?;
        let made = sqlx::raw_sql(TABLES).execute(&mut connection).await;
        made.map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.into(), connection })
    }

    /// Opens the catalog at `path` for a moment, beside its writers; `None` where there is none yet.
    pub(super) async fn open_to_read(path: &Path) -> Result<Option<Self>, SinkError> {
        if !path.exists() {
            return Ok(None);
        }
        // Where nobody has it open it is a plain file, of which a reader may neither make a log nor need one.
        let is_at_rest = !path.with_extension("db-wal").exists();
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(is_at_rest);
        let options = options.busy_timeout(CATALOG_BUSY_TIMEOUT);
        let mut connection = options.connect().await.map_err(|error| failed(path, &error))?;
        let is_made = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = 'iceberg_tables'");
        let is_made = is_made.fetch_optional(&mut connection).await.map_err(|error| failed(path, &error))?;
        Ok(is_made.map(|_| Self { path: path.into(), connection }))
    }

    /// The metadata file of a table; `None` where there is no such table.
    pub(super) async fn pointer(&mut self, table: &Table) -> Result<Option<String>, SinkError> {
        let query = sqlx::query_scalar(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3",
        );
        let found = query.bind(CATALOG_NAME).bind(table.zone).bind(table.name).fetch_optional(&mut self.connection);
        found.await.map_err(|error| failed(&self.path, &error))
    }

    /// Adds a table; one that is there already stays as it is.
    pub(super) async fn create(&mut self, table: &Table, location: &str) -> Result<(), SinkError> {
        let created = async {
            let mut alone = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let namespace = "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?1, ?2, 'exists', 'true')";
            sqlx::query(namespace).bind(CATALOG_NAME).bind(table.zone).execute(&mut *alone).await?;
            let insert = "INSERT OR IGNORE INTO iceberg_tables VALUES (?1, ?2, ?3, ?4, NULL, 'TABLE')";
            let insert = sqlx::query(insert).bind(CATALOG_NAME).bind(table.zone).bind(table.name).bind(location);
            insert.execute(&mut *alone).await?;
            alone.commit().await
        };
        created.await.map_err(|error| failed(&self.path, &error))
    }

    /// Notes what a commit is about to make.
    pub(super) async fn pend(
        &mut self,
        commit_id: &str,
        table: &Table,
        begun_at: i64,
        body: &str,
    ) -> Result<(), SinkError> {
        let insert = sqlx::query("INSERT INTO lake_pending VALUES (?1, ?2, ?3, ?4)");
        let insert = insert.bind(commit_id).bind(table.full_name).bind(begun_at).bind(body);
        insert.execute(&mut self.connection).await.map(drop).map_err(|error| failed(&self.path, &error))
    }

    /// Moves a table's pointer from `old` to `new` if it is at `old`, and with it takes the commit out of the ledger.
    pub(super) async fn swap(
        &mut self,
        table: &Table,
        (old, new): (&str, &str),
        commit_id: &str,
    ) -> Result<Swap, SinkError> {
        let begun = async {
            let mut alone = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let update = sqlx::query(
                "UPDATE iceberg_tables SET metadata_location = ?1, previous_metadata_location = ?2
                 WHERE catalog_name = ?3 AND table_namespace = ?4 AND table_name = ?5 AND metadata_location = ?2",
            );
            let update = update.bind(new).bind(old).bind(CATALOG_NAME).bind(table.zone).bind(table.name);
            if update.execute(&mut *alone).await?.rows_affected() == 0 {
                return Ok(None);
            }
            sqlx::query("DELETE FROM lake_pending WHERE commit_id = ?1").bind(commit_id).execute(&mut *alone).await?;
            Ok(Some(alone))
        };
        match begun.await.map_err(|error| failed(&self.path, &error))? {
            None => Ok(Swap::Lost),
            Some(alone) => Ok(alone.commit().await.map_or(Swap::Unknown, |()| Swap::Won)),
        }
    }
}

/// By result code, see <https://www.sqlite.org/rescode.html>: some pass by themselves.
fn failed(path: &Path, error: &sqlx::Error) -> SinkError {
    let text = format!("{}: {error}", path.display());
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    match (error, code.map(|code| code & 0xff)) {
        // busy, locked, no memory, IO error, full, cannot open, lock protocol, schema changed meanwhile
        (_, Some(5 | 6 | 7 | 10 | 13 | 14 | 15 | 17)) | (sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed, _) => {
            SinkError::Retry(text)
        }
        // what is left of a transaction that failed, and goes with the connection
        (sqlx::Error::InvalidSavePointStatement, _) => SinkError::Retry(text),
        (_, Some(3 | 8 | 23)) => {
            SinkError::Fatal(format!("{text}; make the file and its folder writable for the user that runs skuflow"))
        }
        _ => SinkError::Fatal(format!(
            "{text}; bring the catalog back from a copy, or give the sink a new, empty `path`, which will be filled with what \
             the topics still have"
        )),
    }
}
