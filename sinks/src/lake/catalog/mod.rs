//! Which metadata is a table's: the one thing of a lake that ever changes.

mod sqlite;

use async_trait::async_trait;
use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;

use super::place::Place;
use super::steps::Steps;
use super::storage::Files;
use super::tables::Table;
use crate::SinkError;
pub use sqlite::CATALOG_FILE;
use sqlite::Sqlite;

/// Its name in the catalog's tables, which readers give.
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
    Ok(Box::new(Sqlite::open(&place.catalog(), files).await?))
}

/// The catalog at `place` for who looks at it, beside its writers; `None` where there is none yet.
pub(super) async fn open_to_read(place: &Place, files: &Files) -> Result<Option<Box<dyn Catalog>>, SinkError> {
    let sqlite = Sqlite::open_to_read(&place.catalog(), files).await?;
    Ok(sqlite.map(|sqlite| Box::new(sqlite) as Box<dyn Catalog>))
}
