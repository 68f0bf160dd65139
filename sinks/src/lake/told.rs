//! What a lake tells other programs of its tables: beside its writers, and without a change.

use iceberg::spec::TableMetadata;
use serde_json::{Value, json};

use super::catalog::facts;
use super::commit::Open;
use super::place::Place;
use super::schema::fits;
use super::tables::{TABLES, Table};
use super::writer::foreign;
use crate::SinkError;

/// A table as its catalog has it.
pub struct Told {
    table: &'static Table,
    /// Where its metadata file is.
    pub location: String,
    metadata: TableMetadata,
}

/// A lake, for questions.
pub struct Teller {
    place: Place,
    open: Option<Open>,
}

impl Teller {
    /// Opens it; a lake that is not there yet has no tables.
    ///
    /// # Errors
    /// `Retry` where it cannot be read now, `Fatal` where it cannot be understood.
    pub async fn open(place: &Place) -> Result<Self, SinkError> {
        Ok(Self { place: place.clone(), open: Open::open_to_read(place).await? })
    }

    /// Whether there is a catalog.
    pub fn is_there(&self) -> bool {
        self.open.is_some()
    }

    /// The tables that are there.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub async fn tables(&mut self) -> Result<Vec<&'static Table>, SinkError> {
        let mut tables = Vec::new();
        for table in &TABLES {
            if let Some(open) = &mut self.open
                && open.catalog.pointer(table).await?.is_some()
            {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// A table; `None` where it is not there.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub async fn table(&mut self, table: &'static Table) -> Result<Option<Told>, SinkError> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let entry = open.catalog.load(table).await?;
        Ok(entry.map(|entry| Told { table, location: entry.location, metadata: entry.metadata }))
    }

    /// Whether a sink can write a table as it is: where it is not there yet, one can.
    ///
    /// # Errors
    /// Why a sink would refuse it; and see [`Self::open`].
    pub async fn fits(&mut self, table: &Table) -> Result<(), SinkError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(loaded) = open.load(table).await? else { return Ok(()) };
        fits(table, loaded.entry.metadata).map_err(|reason| foreign(table, &self.place, &reason))
    }
}

impl Told {
    /// What is in its metadata file.
    ///
    /// # Panics
    /// Never: what was read can be written.
    pub fn metadata(&self) -> Value {
        serde_json::to_value(&self.metadata).expect("what was read can be written")
    }

    /// Each column of each schema that the table had, as the rows of `skuflow_schemas` in a catalog in SQL.
    pub fn schemas(&self) -> Vec<Value> {
        let columns = facts::Known::nothing().facts(&self.metadata).columns.into_iter();
        let row = |column: facts::Column| {
            json!({
                "table_namespace": self.table.zone, "table_name": self.table.name,
                "schema_id": column.schema_id, "field_id": column.field_id, "column_name": column.name,
                "column_type": column.kind, "is_required": column.is_required,
            })
        };
        columns.map(row).collect()
    }

    /// Which records each commit took whose snapshot is there, the newest first, as the rows of `skuflow_lineage`.
    pub fn lineage(&self) -> Vec<Value> {
        let mut taken = facts::Known::nothing().facts(&self.metadata).taken;
        taken.sort_by_key(|taken| (-taken.sequence_number, taken.topic.clone(), taken.partition));
        let row = |taken: facts::Taken| {
            json!({
                "table_namespace": self.table.zone, "table_name": self.table.name,
                "sequence_number": taken.sequence_number, "snapshot_id": taken.snapshot_id, "commit_id": taken.commit_id,
                "writer": taken.writer, "schema_id": taken.schema_id, "committed_at_ms": taken.committed_at_ms,
                "topic": taken.topic, "topic_partition": taken.partition, "from_offset": taken.from,
                "to_offset": taken.to,
            })
        };
        taken.into_iter().map(row).collect()
    }
}
