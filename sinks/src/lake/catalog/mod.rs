//! Which metadata is a table's: the one thing of a lake that ever changes.

mod address;
mod dialect;
pub(super) mod facts;
mod rest;
mod sql;

use async_trait::async_trait;
use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;

use super::place::Place;
use super::steps::Steps;
use super::storage::Files;
use super::tables::Table;
use crate::SinkError;
pub use address::{Address, Config, Login, Rest};
use rest::RestCatalog;
use sql::Sql;

/// The file of a catalog in the lake's folder.
pub const CATALOG_FILE: &str = "catalog.db";
/// Its name in the catalog's tables, which readers give, where it has no other.
pub const CATALOG_NAME: &str = "lake";

/// A table as its catalog has it.
pub(super) struct Entry {
    /// The metadata file.
    pub(super) location: String,
    /// What is in it.
    pub(super) metadata: TableMetadata,
}

/// What a swap came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// The table is what we made of it.
    Won,
    /// Somebody else had changed it.
    Lost,
    /// There was no answer: it may be what we made of it.
    Unknown,
}

/// Holds the tables of a lake. Each change of a table is one compare-and-swap.
#[async_trait]
pub(super) trait Catalog: Send {
    /// Whether it says where tables are, and readers ask it: then their files stand in `data` and `metadata` there, and nothing
    /// of ours beside them.
    fn places_tables(&self) -> bool {
        false
    }

    /// The metadata file of a table; `None` where there is no such table.
    async fn pointer(&mut self, table: &Table) -> Result<Option<String>, SinkError>;

    /// The table; `None` where there is none.
    async fn load(&mut self, table: &Table) -> Result<Option<Entry>, SinkError>;

    /// Adds a table; one that is there already stays as it is.
    async fn create(&mut self, table: &Table, metadata: &TableMetadata) -> Result<(), SinkError>;

    /// Makes `changes` to a table if it still is what `entry` says.
    async fn swap(
        &mut self,
        table: &Table,
        entry: Entry,
        changes: Vec<TableUpdate>,
        steps: &mut Steps,
    ) -> Result<Swap, SinkError>;
}

/// The catalog at `place`, which is made where it is missing.
pub(super) async fn open(place: &Place, files: &Files) -> Result<Box<dyn Catalog>, SinkError> {
    Ok(match &place.catalog {
        Address::Sqlite(path, name) => Box::new(Sql::sqlite(path, name, files).await?),
        Address::Postgres(url, name) => Box::new(Sql::postgres(url, name, files).await?),
        Address::Rest(rest) => Box::new(RestCatalog::open(rest).await?),
    })
}

/// The catalog at `place` for who looks at it, beside its writers; `None` where there is none yet.
pub(super) async fn open_to_read(place: &Place, files: &Files) -> Result<Option<Box<dyn Catalog>>, SinkError> {
    let sql = match &place.catalog {
        Address::Rest(rest) => return Ok(Some(Box::new(RestCatalog::open(rest).await?))),
        Address::Sqlite(path, name) => Sql::sqlite_to_read(path, name, files).await?,
        Address::Postgres(url, name) => Sql::postgres_to_read(url, name, files).await?,
    };
    Ok(sql.map(|sql| Box::new(sql) as Box<dyn Catalog>))
}
