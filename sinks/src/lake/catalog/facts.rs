//! What a change of a table tells who asks later: its schemas, and which records each commit took: pure.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{Snapshot, TableMetadata};

use crate::lake::snapshot::{COMMIT_ID, FROM, TO, WRITER};
use crate::limits::LINEAGE_COMMITS_KEPT;

/// The tables beside the catalog's. `skuflow_schemas` has a row per schema of a table and column; `skuflow_lineage` one per
/// commit and partition that it took records of: those from `from_offset` (null: the first there was) up to, without,
/// `to_offset`.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS skuflow_schemas (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
        schema_id INTEGER NOT NULL, field_id INTEGER NOT NULL, column_name VARCHAR(255) NOT NULL,
        column_type VARCHAR(255) NOT NULL, is_required BOOLEAN NOT NULL,
        PRIMARY KEY (catalog_name, table_namespace, table_name, schema_id, field_id));
    CREATE TABLE IF NOT EXISTS skuflow_lineage (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
        sequence_number BIGINT NOT NULL, snapshot_id BIGINT NOT NULL, commit_id VARCHAR(255) NOT NULL,
        writer VARCHAR(255) NOT NULL, schema_id INTEGER, committed_at_ms BIGINT NOT NULL,
        topic VARCHAR(255) NOT NULL, topic_partition INTEGER NOT NULL, from_offset BIGINT, to_offset BIGINT NOT NULL,
        PRIMARY KEY (catalog_name, table_namespace, table_name, sequence_number, topic, topic_partition))";

/// What to add to those tables, and which rows of the lineage to take away.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::lake) struct Facts {
    pub(in crate::lake) columns: Vec<Column>,
    pub(in crate::lake) taken: Vec<Taken>,
    /// Rows of commits up to this one are too many.
    pub(in crate::lake) forgotten: i64,
    /// Rows of commits from this one on are of a history that somebody put back.
    pub(in crate::lake) undone: i64,
}

/// A column of a new schema.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lake) struct Column {
    pub(in crate::lake) schema_id: i32,
    pub(in crate::lake) field_id: i32,
    pub(in crate::lake) name: String,
    pub(in crate::lake) kind: String,
    pub(in crate::lake) is_required: bool,
}

/// Records of a partition that a new commit took.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lake) struct Taken {
    pub(in crate::lake) sequence_number: i64,
    pub(in crate::lake) snapshot_id: i64,
    pub(in crate::lake) commit_id: String,
    pub(in crate::lake) writer: String,
    pub(in crate::lake) schema_id: Option<i32>,
    pub(in crate::lake) committed_at_ms: i64,
    pub(in crate::lake) topic: String,
    pub(in crate::lake) partition: i32,
    pub(in crate::lake) from: Option<i64>,
    pub(in crate::lake) to: i64,
}

/// The schemas and snapshots that a table had before.
pub(in crate::lake) struct Known {
    schemas: HashSet<i32>,
    snapshots: HashSet<i64>,
    last_sequence_number: i64,
}

impl Known {
    /// Nothing: the table is new.
    pub(in crate::lake) fn nothing() -> Self {
        Self { schemas: HashSet::new(), snapshots: HashSet::new(), last_sequence_number: 0 }
    }

    pub(in crate::lake) fn of(metadata: &TableMetadata) -> Self {
        Self {
            schemas: metadata.schemas_iter().map(|schema| schema.schema_id()).collect(),
            snapshots: metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).collect(),
            last_sequence_number: metadata.last_sequence_number(),
        }
    }

    /// What is new in `metadata`.
    pub(in crate::lake) fn facts(&self, metadata: &TableMetadata) -> Facts {
        let schemas = metadata.schemas_iter().filter(|schema| !self.schemas.contains(&schema.schema_id()));
        let columns = schemas.flat_map(|schema| {
            schema.as_struct().fields().iter().map(|field| Column {
                schema_id: schema.schema_id(),
                field_id: field.id,
                name: field.name.clone(),
                kind: field.field_type.to_string(),
                is_required: field.required,
            })
        });
        let snapshots = metadata.snapshots().filter(|snapshot| !self.snapshots.contains(&snapshot.snapshot_id()));
        Facts {
            columns: columns.collect(),
            taken: snapshots.flat_map(|snapshot| taken(snapshot)).collect(),
            forgotten: metadata.last_sequence_number() - LINEAGE_COMMITS_KEPT,
            undone: self.last_sequence_number + 1,
        }
    }
}

/// The records that a snapshot of ours took, by partition.
fn taken(snapshot: &Snapshot) -> Vec<Taken> {
    let said = |name: &str| snapshot.summary().additional_properties.get(name);
    let offsets = |name: &str| -> BTreeMap<String, Option<i64>> {
        said(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let Some(commit_id) = said(COMMIT_ID) else { return Vec::new() };
    let from = offsets(FROM);
    let taken = offsets(TO).into_iter().filter_map(|(of, to)| {
        let (topic, partition) = of.rsplit_once('/')?;
        Some(Taken {
            sequence_number: snapshot.sequence_number(),
            snapshot_id: snapshot.snapshot_id(),
            commit_id: commit_id.clone(),
            writer: said(WRITER).cloned().unwrap_or_default(),
            schema_id: snapshot.schema_id(),
            committed_at_ms: snapshot.timestamp_ms(),
            topic: topic.into(),
            partition: partition.parse().ok()?,
            from: from.get(&of).copied().flatten(),
            to: to?,
        })
    });
    taken.collect()
}
