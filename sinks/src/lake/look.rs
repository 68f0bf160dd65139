//! What is in a lake, for who looks at it: beside its writers, and without a change.

use std::path::PathBuf;

use iceberg::io::FileIO;
use iceberg::spec::{DataFile, Datum, Literal, PartitionField, PrimitiveLiteral, Struct, TableMetadata, Transform};
use serde_json::Value;
use skuflow_schemas::{BusinessDate, Timestamp};

use super::catalog::Entry;
use super::commit::{Open, failed};
use super::place::Place;
use super::snapshot::{COMMIT_ID, FROM, TO, data_files};
use super::storage::path_of;
use super::tables::{TABLES, Table};
use crate::SinkError;

/// The column of event time, by whose days tables are divided.
const EVENT_TIME: &str = "observed_at";

/// A table as its pointer shows it.
#[derive(Debug)]
pub struct Look {
    /// Which table.
    pub table: &'static Table,
    /// Its folder.
    pub folder: PathBuf,
    /// The metadata file that the pointer names.
    pub metadata_file: PathBuf,
    /// Its columns, in order.
    pub columns: Vec<ColumnSeen>,
    /// What it is divided by, in order: like `day(observed_at)`, and its name in paths.
    pub divided_by: Vec<(String, String)>,
    /// Its snapshots, the newest first.
    pub snapshots: Vec<SnapshotSeen>,
    /// Its data files, the latest event time first.
    pub files: Vec<FileSeen>,
}

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub struct ColumnSeen {
    /// Its name.
    pub name: String,
    /// Its type in Iceberg's words.
    pub kind: String,
    /// Whether each row has a value.
    pub is_required: bool,
}

/// A snapshot.
#[derive(Debug)]
pub struct SnapshotSeen {
    /// Its id.
    pub id: i64,
    /// When it was committed.
    pub at: Timestamp,
    /// Rows that it added.
    pub rows: u64,
    /// The commit of a lake sink that made it; of others there is none.
    pub commit_id: Option<String>,
    /// Next offsets by topic and partition before it, null where there were none.
    pub from: Value,
    /// Next offsets by topic and partition after it.
    pub to: Value,
}

/// A data file.
#[derive(Debug)]
pub struct FileSeen {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The part of the table that it belongs to, like `customer=demo/date=2025-03-01`.
    pub part: String,
    /// The earliest and the latest event time in it, where that is known.
    pub event_time: Option<(Timestamp, Timestamp)>,
}

impl Look {
    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The earliest and the latest event time.
    pub fn event_time(&self) -> Option<(Timestamp, Timestamp)> {
        let times = || self.files.iter().filter_map(|file| file.event_time);
        times().map(|(first, _)| first).min().zip(times().map(|(_, last)| last).max())
    }
}

/// The tables of the lake at `place`, in the order of [`TABLES`]; none where there is no lake yet.
///
/// # Errors
/// `Retry` where something cannot be read now, `Fatal` where it cannot be understood.
pub async fn look(place: &Place) -> Result<Vec<Look>, SinkError> {
    let Some(Open { mut catalog, io, .. }) = Open::open_to_read(place).await? else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for table in &TABLES {
        entries.extend(catalog.load(table).await?.map(|entry| (table, entry)));
    }
    drop(catalog);
    let mut looks = Vec::new();
    for (table, entry) in entries {
        let seen = look_at(&io, table, &entry).await;
        looks.push(seen.map_err(|error| failed(&entry.location, &error))?);
    }
    Ok(looks)
}

async fn look_at(io: &FileIO, table: &'static Table, Entry { location, metadata }: &Entry) -> iceberg::Result<Look> {
    let schema = metadata.current_schema();
    let columns = schema.as_struct().fields().iter().map(|field| ColumnSeen {
        name: field.name.clone(),
        kind: field.field_type.to_string(),
        is_required: field.required,
    });
    let name_of = |id: i32| schema.name_by_field_id(id).unwrap_or_default().to_owned();
    let divided_by = metadata.default_partition_spec().fields().iter().map(|field| {
        let by = format!("{}({})", field.transform, name_of(field.source_id));
        (by, field.name.clone())
    });
    let mut snapshots: Vec<_> = metadata.snapshots().collect();
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.sequence_number()));
    let snapshots = snapshots.into_iter().map(|snapshot| {
        let said = |name: &str| snapshot.summary().additional_properties.get(name);
        let offsets = |name: &str| said(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        SnapshotSeen {
            id: snapshot.snapshot_id(),
            at: Timestamp::from_millis(snapshot.timestamp_ms()),
            rows: said("added-records").and_then(|rows| rows.parse().ok()).unwrap_or(0),
            commit_id: said(COMMIT_ID).cloned(),
            from: offsets(FROM),
            to: offsets(TO),
        }
    });
    Ok(Look {
        table,
        folder: path_of(metadata.location()).into(),
        metadata_file: path_of(location).into(),
        columns: columns.collect(),
        divided_by: divided_by.collect(),
        snapshots: snapshots.collect(),
        files: files(io, metadata).await?,
    })
}

/// The data files of the table's snapshot.
async fn files(io: &FileIO, metadata: &TableMetadata) -> iceberg::Result<Vec<FileSeen>> {
    let event_time = metadata.current_schema().field_id_by_name(EVENT_TIME);
    let mut files = Vec::new();
    for (spec_id, entry) in data_files(io, metadata).await? {
        let fields = metadata.partition_spec_by_id(spec_id).map(|spec| spec.fields()).unwrap_or_default();
        files.push(shown(entry.data_file(), fields, event_time));
    }
    files.sort_by(|one, other| (other.event_time, &other.path).cmp(&(one.event_time, &one.path)));
    Ok(files)
}

fn shown(file: &DataFile, fields: &[PartitionField], event_time: Option<i32>) -> FileSeen {
    let micros = |datum: Option<&Datum>| match datum?.literal() {
        PrimitiveLiteral::Long(micros) => Some(Timestamp::from_micros(*micros)),
        _ => None,
    };
    let (lower, upper) = (file.lower_bounds(), file.upper_bounds());
    FileSeen {
        path: path_of(file.file_path()).into(),
        rows: file.record_count(),
        bytes: file.file_size_in_bytes(),
        part: part(fields, file.partition()),
        event_time: event_time.and_then(|id| micros(lower.get(&id)).zip(micros(upper.get(&id)))),
    }
}

/// Names and values of a partition, days and hours as Iceberg writes them.
fn part(fields: &[PartitionField], values: &Struct) -> String {
    let values = fields.iter().zip(values.iter()).map(|(field, value)| match value {
        Some(Literal::Primitive(PrimitiveLiteral::Int(hour))) if field.transform == Transform::Hour => {
            format!("{}-{:02}", BusinessDate(hour.div_euclid(24)), hour.rem_euclid(24))
        }
        Some(Literal::Primitive(PrimitiveLiteral::Int(day))) => BusinessDate(*day).to_string(),
        Some(Literal::Primitive(PrimitiveLiteral::String(text))) => text.clone(),
        Some(other) => format!("{other:?}"),
        None => "null".to_owned(),
    });
    let parts = fields.iter().zip(values).map(|(field, value)| format!("{}={value}", field.name));
    parts.collect::<Vec<_>>().join("/")
}
