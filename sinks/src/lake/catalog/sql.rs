//! A pointer per table in `SQLite` or Postgres, in the layout of Iceberg's JDBC catalog, so that `PyIceberg` reads it directly.

use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::str::FromStr as _;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::{MetadataLocation, TableUpdate};
use sqlx::any::{Any, AnyConnectOptions, install_default_drivers};
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Transaction};

use super::address::Address;
use super::dialect::{Dialect, POSTGRES, Remedy, SQLITE};
use super::facts::{self, Facts, Known};
use super::{Catalog, Entry, Swap};
use crate::SinkError;
use crate::lake::commit::failed as iceberg_failed;
use crate::lake::steps::{Step, Steps};
use crate::lake::storage::{Files, Folders, fault};
use crate::lake::tables::Table;
use crate::limits::{CATALOG_ANSWER_TIMEOUT, CATALOG_CONNECT_TIMEOUT};
use crate::sql;

/// The tables of the JDBC catalog as `PyIceberg` makes them.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL, PRIMARY KEY (catalog_name, namespace, property_key))";

/// A catalog in a database.
pub(super) struct Sql {
    database: Database,
    /// The catalog's name in the database's tables.
    name: String,
    /// None before it is needed, and after one failed: what is left on it is not known.
    connection: Option<AnyConnection>,
    files: Files,
    io: FileIO,
}

/// How a database is reached.
struct Database {
    dialect: &'static Dialect,
    url: String,
    /// As it is shown.
    shown: String,
    /// What a new connection is told.
    opening: &'static str,
}

/// Which table, in the words of a database: catalog, namespace, name.
type Key<'a> = [&'a str; 3];

impl Sql {
    /// Opens the catalog in a file, or makes it, and its folder.
    pub(super) async fn sqlite(path: &Path, name: &str, files: &Files) -> Result<Self, SinkError> {
        let mut unflushed = Folders::default();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let made = folder.map_or(Ok(()), |folder| unflushed.make(folder));
        made.and_then(|()| unflushed.flush()).map_err(|error| unmade(path, &error))?;
        let url = sqlite_url(path, "mode=rwc");
        let shown = path.display().to_string();
        Self::open(Database { dialect: &SQLITE, url, shown, opening: SQLITE.opening }, name, files).await
    }

    /// Opens the catalog in a file for a moment, beside its writers; `None` where there is none yet.
    pub(super) async fn sqlite_to_read(path: &Path, name: &str, files: &Files) -> Result<Option<Self>, SinkError> {
        if !path.exists() {
            return Ok(None);
        }
        // Where nobody has it open it is a plain file, of which a reader may neither make a log nor need one.
        let is_at_rest = !path.with_extension("db-wal").exists();
        let url = sqlite_url(path, if is_at_rest { "mode=ro&immutable=true" } else { "mode=ro" });
        let shown = path.display().to_string();
        Self::open_to_read(Database { dialect: &SQLITE, url, shown, opening: SQLITE.opening_to_read }, name, files)
            .await
    }

    /// Opens the catalog in a database of Postgres; its tables are made where they are missing.
    pub(super) async fn postgres(url: &reqwest::Url, name: &str, files: &Files) -> Result<Self, SinkError> {
        Self::open(postgres(url, name, POSTGRES.opening), name, files).await
    }

    /// Opens the catalog in a database of Postgres; `None` where it has no tables yet.
    pub(super) async fn postgres_to_read(
        url: &reqwest::Url,
        name: &str,
        files: &Files,
    ) -> Result<Option<Self>, SinkError> {
        Self::open_to_read(postgres(url, name, POSTGRES.opening_to_read), name, files).await
    }

    /// Whether the file at `location` is not there although the pointer is at it.
    async fn is_lost(&mut self, table: &Table, location: &str) -> Result<bool, SinkError> {
        let exists = async { self.io.new_input(location)?.exists().await };
        Ok(exists.await.is_ok_and(|exists| !exists) && self.pointer(table).await?.as_deref() == Some(location))
    }

    async fn open(database: Database, name: &str, files: &Files) -> Result<Self, SinkError> {
        let mut catalog = Self::new(database, name, files);
        let mut connection = catalog.connection().await?;
        let made = within(make(&mut connection, catalog.database.dialect)).await;
        catalog.keep(connection, made)?;
        Ok(catalog)
    }

    async fn open_to_read(database: Database, name: &str, files: &Files) -> Result<Option<Self>, SinkError> {
        let mut catalog = Self::new(database, name, files);
        let mut connection = catalog.connection().await?;
        let query = sqlx::query_scalar::<_, i64>(catalog.database.dialect.has_catalog);
        let is_made = within(query.fetch_one(&mut connection)).await;
        let is_made = catalog.keep(connection, is_made)? == 1;
        Ok(is_made.then_some(catalog))
    }

    fn new(database: Database, name: &str, files: &Files) -> Self {
        Self { database, name: name.into(), connection: None, files: files.clone(), io: files.file_io() }
    }

    /// The connection, or a new one. It is put back by [`Self::keep`].
    async fn connection(&mut self) -> Result<AnyConnection, SinkError> {
        if let Some(open) = self.connection.take() {
            return Ok(open);
        }
        let connected = sql::within(CATALOG_CONNECT_TIMEOUT, self.database.connect()).await;
        connected.map_err(|error| self.database.failed(&error))
    }

    /// Keeps a connection on which nothing failed.
    fn keep<T>(&mut self, connection: AnyConnection, came_to: sqlx::Result<T>) -> Result<T, SinkError> {
        let came_to = came_to.map_err(|error| self.database.failed(&error));
        self.connection = came_to.is_ok().then_some(connection);
        came_to
    }
}

#[async_trait]
impl Catalog for Sql {
    async fn pointer(&mut self, table: &Table) -> Result<Option<String>, SinkError> {
        let mut connection = self.connection().await?;
        let query = sqlx::query_scalar(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3",
        );
        let query = query.bind(self.name.clone()).bind(table.zone).bind(table.name);
        let found = within(query.fetch_optional(&mut connection)).await;
        self.keep(connection, found)
    }

    async fn load(&mut self, table: &Table) -> Result<Option<Entry>, SinkError> {
        let Some(location) = self.pointer(table).await? else { return Ok(None) };
        match TableMetadata::read_from(&self.io, &location).await {
            Ok(metadata) => Ok(Some(Entry { location, metadata })),
            Err(error) => Err(if self.is_lost(table, &location).await? {
                SinkError::Fatal(format!(
                    "{location} is not there, and the catalog knows table {} by it: bring it back from a copy, or give the sink a \
                     new, empty `path`, which will be filled with what the topics still have",
                    table.full_name
                ))
            } else {
                iceberg_failed(&location, &error)
            }),
        }
    }

    async fn create(&mut self, table: &Table, metadata: &TableMetadata) -> Result<(), SinkError> {
        let location = MetadataLocation::new_with_metadata(metadata.location(), metadata);
        let written = metadata.write_to(&self.io, &location).await;
        let location = location.to_string();
        written.map_err(|error| iceberg_failed(&location, &error))?;
        let facts = Known::nothing().facts(metadata);
        let mut connection = self.connection().await?;
        let name = self.name.clone();
        let begin = self.database.dialect.begin;
        let added = within(add(&mut connection, begin, [&name, table.zone, table.name], &location, &facts)).await;
        self.keep(connection, added)
    }

    async fn swap(
        &mut self,
        table: &Table,
        Entry { location: old, metadata }: Entry,
        changes: Vec<TableUpdate>,
        steps: &mut Steps,
    ) -> Result<Swap, SinkError> {
        let described = describe(&self.io, &old, metadata, changes).await;
        let Described { location: new, expired, facts } = described.map_err(|error| iceberg_failed(&old, &error))?;
        steps.reach(Step::Described).map_err(fault)?;
        let mut connection = self.connection().await?;
        let (name, begin) = (self.name.clone(), self.database.dialect.begin);
        let key = [name.as_str(), table.zone, table.name];
        let pointed = point(&mut connection, begin, key, (&old, &new), &facts);
        // Without an answer in time nobody knows how far it came.
        let pointed = tokio::time::timeout(CATALOG_ANSWER_TIMEOUT, pointed).await.unwrap_or(Ok(Swap::Unknown));
        if let Ok(Swap::Unknown) = pointed {
            return Ok(Swap::Unknown); // the connection goes with what is left on it
        }
        let swap = self.keep(connection, pointed)?;
        if swap == Swap::Won {
            remove(&self.files, &expired).await;
        }
        Ok(swap)
    }
}

/// Removes metadata files that no metadata file remembers.
async fn remove(files: &Files, expired: &[String]) {
    for old in expired {
        if let Err(error) = files.delete(old).await {
            tracing::warn!(old, %error, "an old metadata file stays");
        }
    }
}

/// A metadata file that the pointer may move to.
struct Described {
    location: String,
    /// Metadata files that it does not remember any more.
    expired: Vec<String>,
    facts: Facts,
}

/// Writes the metadata file behind the one at `location`.
async fn describe(
    io: &FileIO,
    location: &str,
    metadata: TableMetadata,
    changes: Vec<TableUpdate>,
) -> iceberg::Result<Described> {
    let known = Known::of(&metadata);
    let mut builder = metadata.into_builder(Some(location.into()));
    for change in changes {
        builder = change.apply(builder)?;
    }
    let built = builder.build()?;
    let next = MetadataLocation::from_str(location)?.with_next_version().with_new_metadata(&built.metadata);
    built.metadata.write_to(io, &next).await?;
    let expired = built.expired_metadata_logs.into_iter().map(|log| log.metadata_file).collect();
    Ok(Described { location: next.to_string(), expired, facts: known.facts(&built.metadata) })
}

impl Database {
    async fn connect(&self) -> sqlx::Result<AnyConnection> {
        install_default_drivers();
        let mut connection = AnyConnectOptions::from_str(&self.url)?.connect().await?;
        sqlx::raw_sql(self.opening).execute(&mut connection).await?;
        Ok(connection)
    }

    /// By what it says: some things pass by themselves.
    fn failed(&self, error: &sqlx::Error) -> SinkError {
        let text = format!("{}: {error}", self.shown);
        match (self.dialect.remedy)(error) {
            Remedy::Wait => SinkError::Retry(text),
            Remedy::Do(what) => SinkError::Fatal(format!("{text}; {what}")),
        }
    }
}

/// Makes the tables that are missing.
async fn make(connection: &mut AnyConnection, dialect: &Dialect) -> sqlx::Result<()> {
    // Who may not make any is not asked to where all of them are there.
    if sqlx::query_scalar::<_, i64>(dialect.has_all).fetch_one(&mut *connection).await? < 4 {
        let tables = format!("{}{TABLES};{}", dialect.alone, facts::TABLES);
        sqlx::raw_sql(sqlx::AssertSqlSafe(tables)).execute(connection).await?;
    }
    Ok(())
}

/// Adds a table whose metadata file is at `location`, unless there is one of its name.
async fn add(
    connection: &mut AnyConnection,
    begin: &'static str,
    key: Key<'_>,
    location: &str,
    facts: &Facts,
) -> sqlx::Result<()> {
    let [catalog, namespace, name] = key;
    let mut alone = connection.begin_with(begin).await?;
    sqlx::query("INSERT INTO iceberg_namespace_properties VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING")
        .bind(catalog.to_owned())
        .bind(namespace.to_owned())
        .execute(&mut *alone)
        .await?;
    let insert = "INSERT INTO iceberg_tables VALUES ($1, $2, $3, $4, NULL, 'TABLE') ON CONFLICT DO NOTHING";
    let insert = sqlx::query(insert).bind(catalog.to_owned()).bind(namespace.to_owned()).bind(name.to_owned());
    if insert.bind(location.to_owned()).execute(&mut *alone).await?.rows_affected() == 1 {
        note(&mut alone, key, facts).await?;
    }
    alone.commit().await
}

/// Moves a table's pointer from `old` to `new` if it is at `old`.
async fn point(
    connection: &mut AnyConnection,
    begin: &'static str,
    key: Key<'_>,
    (old, new): (&str, &str),
    facts: &Facts,
) -> sqlx::Result<Swap> {
    let [catalog, namespace, name] = key.map(str::to_owned);
    let mut alone = connection.begin_with(begin).await?;
    let update = sqlx::query(
        "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2
         WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $2",
    );
    let update = update.bind(new.to_owned()).bind(old.to_owned()).bind(catalog).bind(namespace).bind(name);
    if update.execute(&mut *alone).await?.rows_affected() == 0 {
        alone.rollback().await?;
        return Ok(Swap::Lost);
    }
    note(&mut alone, key, facts).await?;
    Ok(alone.commit().await.map_or(Swap::Unknown, |()| Swap::Won))
}

/// Mirrors what is new of a table.
async fn note(alone: &mut Transaction<'_, Any>, key: Key<'_>, facts: &Facts) -> sqlx::Result<()> {
    let [catalog, namespace, name] = key.map(str::to_owned);
    for column in &facts.columns {
        let insert = "INSERT INTO skuflow_schemas VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(&catalog).bind(&namespace).bind(&name);
        let insert = insert.bind(column.schema_id).bind(column.field_id).bind(&column.name);
        insert.bind(&column.kind).bind(column.is_required).execute(&mut **alone).await?;
    }
    if facts.taken.is_empty() {
        return Ok(());
    }
    let forget = "DELETE FROM skuflow_lineage WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
         AND (sequence_number <= $4 OR sequence_number >= $5)";
    let forget = sqlx::query(forget).bind(&catalog).bind(&namespace).bind(&name);
    forget.bind(facts.forgotten).bind(facts.undone).execute(&mut **alone).await?;
    for taken in &facts.taken {
        let insert = "INSERT INTO skuflow_lineage VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let insert = sqlx::query(insert).bind(&catalog).bind(&namespace).bind(&name);
        let insert = insert.bind(taken.sequence_number).bind(taken.snapshot_id).bind(&taken.commit_id);
        let insert = insert.bind(&taken.writer).bind(taken.schema_id).bind(taken.committed_at_ms);
        let insert = insert.bind(&taken.topic).bind(taken.partition).bind(taken.from).bind(taken.to);
        insert.execute(&mut **alone).await?;
    }
    Ok(())
}

/// Why there is no folder for the catalog at `path`.
fn unmade(path: &Path, error: &io::Error) -> SinkError {
    let text = format!("the folder of {}: {error}", path.display());
    match error.kind() {
        ErrorKind::AlreadyExists
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::ReadOnlyFilesystem => SinkError::Fatal(format!(
            "{text}; make it, writable for the user that runs skuflow, or correct the catalog's `url`"
        )),
        _ => SinkError::Retry(text),
    }
}

async fn within<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    sql::within(CATALOG_ANSWER_TIMEOUT, work).await
}

fn postgres(url: &reqwest::Url, name: &str, opening: &'static str) -> Database {
    let shown = Address::Postgres(url.clone(), name.into()).to_string();
    let mut url = url.clone();
    if !url.query_pairs().any(|(name, _)| name == "application_name") {
        url.query_pairs_mut().append_pair("application_name", "skuflow");
    }
    Database { dialect: &POSTGRES, url: url.into(), shown, opening }
}

/// The file as a URL, in which any byte of its path is the path's.
fn sqlite_url(path: &Path, options: &str) -> String {
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            url.push(char::from(*byte));
        } else {
            write!(url, "%{byte:02X}").expect("a string takes everything");
        }
    }
    url + "?" + options
}
