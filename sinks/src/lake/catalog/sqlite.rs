//! A pointer per table in `SQLite`, in the layout of Iceberg's JDBC catalog, so that `PyIceberg` reads it directly.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::{MetadataLocation, TableUpdate};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{CATALOG_NAME, Catalog, Entry, Swap};
use crate::SinkError;
use crate::lake::commit::failed as iceberg_failed;
use crate::lake::steps::{Step, Steps};
use crate::lake::storage::Files;
use crate::lake::tables::Table;
use crate::limits::CATALOG_BUSY_TIMEOUT;

/// Its file in the lake's folder.
pub const CATALOG_FILE: &str = "catalog.db";

/// The tables of the JDBC catalog as `PyIceberg` makes them.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL, PRIMARY KEY (catalog_name, namespace, property_key))";

/// A catalog in a file.
pub(super) struct Sqlite {
    path: PathBuf,
    connection: SqliteConnection,
    files: Files,
    io: FileIO,
}

impl Sqlite {
    /// Opens the catalog at `path`, or makes it.
    pub(super) async fn open(path: &Path, files: &Files) -> Result<Self, SinkError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(CATALOG_BUSY_TIMEOUT);
        let mut connection = options.connect().await.map_err(|error| failed(path, &error))?;
        let made = sqlx::raw_sql(TABLES).execute(&mut connection).await;
        made.map_err(|error| failed(path, &error))?;
        Ok(Self::new(path, connection, files))
    }

    fn new(path: &Path, connection: SqliteConnection, files: &Files) -> Self {
        Self { path: path.into(), connection, files: files.clone(), io: files.file_io() }
    }

    /// Opens the catalog at `path` for a moment, beside its writers; `None` where there is none yet.
    pub(super) async fn open_to_read(path: &Path, files: &Files) -> Result<Option<Self>, SinkError> {
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
        Ok(is_made.map(|_| Self::new(path, connection, files)))
    }

    /// Adds a table whose metadata file is at `location`.
    async fn add(&mut self, table: &Table, location: &str) -> sqlx::Result<()> {
        let mut alone = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let namespace = "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?1, ?2, 'exists', 'true')";
        sqlx::query(namespace).bind(CATALOG_NAME).bind(table.zone).execute(&mut *alone).await?;
        let insert = "INSERT OR IGNORE INTO iceberg_tables VALUES (?1, ?2, ?3, ?4, NULL, 'TABLE')";
        let insert = sqlx::query(insert).bind(CATALOG_NAME).bind(table.zone).bind(table.name).bind(location);
        insert.execute(&mut *alone).await?;
        alone.commit().await
    }

    /// Moves a table's pointer from `old` to `new` if it is at `old`.
    async fn point(&mut self, table: &Table, (old, new): (&str, &str)) -> sqlx::Result<Swap> {
        let mut alone = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let update = sqlx::query(
            "UPDATE iceberg_tables SET metadata_location = ?1, previous_metadata_location = ?2
             WHERE catalog_name = ?3 AND table_namespace = ?4 AND table_name = ?5 AND metadata_location = ?2",
        );
        let update = update.bind(new).bind(old).bind(CATALOG_NAME).bind(table.zone).bind(table.name);
        if update.execute(&mut *alone).await?.rows_affected() == 0 {
            return Ok(Swap::Lost);
        }
        Ok(alone.commit().await.map_or(Swap::Unknown, |()| Swap::Won))
    }

    /// Removes metadata files that no metadata file remembers.
    async fn remove(&self, expired: &[String]) {
        for old in expired {
            if let Err(error) = self.files.delete(old).await {
                tracing::warn!(old, %error, "an old metadata file stays");
            }
        }
    }
}

#[async_trait]
impl Catalog for Sqlite {
    async fn pointer(&mut self, table: &Table) -> Result<Option<String>, SinkError> {
        let query = sqlx::query_scalar(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3",
        );
        let found = query.bind(CATALOG_NAME).bind(table.zone).bind(table.name).fetch_optional(&mut self.connection);
        found.await.map_err(|error| failed(&self.path, &error))
    }

    async fn load(&mut self, table: &Table) -> Result<Option<Entry>, SinkError> {
        let Some(location) = self.pointer(table).await? else { return Ok(None) };
        let read = TableMetadata::read_from(&self.io, &location).await;
        let metadata = read.map_err(|error| iceberg_failed(&location, &error))?;
        Ok(Some(Entry { location, metadata }))
    }

    async fn create(&mut self, table: &Table, metadata: &TableMetadata) -> Result<(), SinkError> {
        let location = MetadataLocation::new_with_metadata(metadata.location(), metadata);
        let written = metadata.write_to(&self.io, &location).await;
        written.map_err(|error| iceberg_failed(&location.to_string(), &error))?;
        let added = self.add(table, &location.to_string()).await;
        added.map_err(|error| failed(&self.path, &error))
    }

    async fn swap(
        &mut self,
        table: &Table,
        Entry { location: old, metadata }: Entry,
        changes: Vec<TableUpdate>,
        steps: &mut Steps,
    ) -> Result<Swap, SinkError> {
        let described = describe(&self.io, &old, metadata, changes).await;
        let (new, expired) = described.map_err(|error| iceberg_failed(&old, &error))?;
        steps.reach(Step::Described).map_err(|error| SinkError::Retry(error.to_string()))?;
        let swap = self.point(table, (&old, &new)).await.map_err(|error| failed(&self.path, &error))?;
        if swap == Swap::Won {
            self.remove(&expired).await;
        }
        Ok(swap)
    }
}

/// Writes the metadata file behind the one at `location`; says where, and which old ones it does not remember any more.
async fn describe(
    io: &FileIO,
    location: &str,
    metadata: TableMetadata,
    changes: Vec<TableUpdate>,
) -> iceberg::Result<(String, Vec<String>)> {
    let mut builder = metadata.into_builder(Some(location.into()));
    for change in changes {
        builder = change.apply(builder)?;
    }
    let built = builder.build()?;
    let next = MetadataLocation::from_str(location)?.with_next_version().with_new_metadata(&built.metadata);
    built.metadata.write_to(io, &next).await?;
    let expired = built.expired_metadata_logs.into_iter().map(|log| log.metadata_file).collect();
    Ok((next.to_string(), expired))
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
