//! The sink: one table of a lake.

use std::collections::BTreeMap;
use std::io;

use iceberg::TableCreation;
use iceberg::spec::{
    DataFile, FormatVersion, NestedField, NullOrder, Schema, SortDirection, SortField, SortOrder, TableMetadata,
    TableMetadataBuilder, Transform, Type, UnboundPartitionSpec,
};
use serde_json::json;
use skuflow_runtime::broker::{Offset, TopicPartition};
use skuflow_runtime::clock::Clock;
use uuid::Uuid;

use super::columns::Row;
use super::commit::{Committed, Loaded, Open, failed};
use super::file::{Shape, write_part};
use super::offsets::{Verdict, ranges};
use super::place::Place;
use super::plan::{Part, files};
use super::snapshot::Append;
use super::steps::{Hook, Step, Steps};
use super::storage::Folders;
use super::tables::Table;
use crate::limits::METADATA_FILES_KEPT;
use crate::{Batch, Identity, Incoming, Landed, Sink, SinkError};

/// A table of the lake in a folder.
pub struct Lake {
    name: String,
    place: Place,
    table: &'static Table,
    clock: Clock,
    identity: Identity,
    open: Option<Open>,
    steps: Steps,
}

/// A file that is to be.
struct Planned<'a> {
    address: String,
    part: Part,
    rows: Vec<Row<'a>>,
}

impl Lake {
    /// `table` of the lake at `place`, as written by the sink called `name`. Nothing is opened before it is needed.
    pub fn new(name: &str, place: Place, table: &'static Table, clock: Clock) -> Self {
        let (identity, open, steps) = (Identity::default(), None, Steps::default());
        Self { name: name.into(), place, table, clock, identity, open, steps }
    }

    /// Calls `hook` at each step of each landing.
    pub fn set_hook(&mut self, hook: Hook) {
        self.steps = Steps(Some(hook));
    }

    /// The table as it is; made where there is none.
    async fn load(&mut self) -> Result<(&mut Open, Loaded), SinkError> {
        if self.open.is_none() {
            self.open = Some(Open::open(&self.place).await?);
        }
        let (open, table) = (self.open.as_mut().expect("opened above"), self.table);
        if let Some(loaded) = open.load(table).await? {
            return Ok((open, loaded));
        }
        let metadata = created(table, open.files.address(table.folder));
        open.catalog.create(table, &metadata.map_err(|error| failed(table.full_name, &error))?).await?;
        let loaded = open.load(table).await?;
        let loaded = loaded.ok_or_else(|| SinkError::Retry(format!("table {} was taken away", table.full_name)))?;
        Ok((open, loaded))
    }

    fn shape(&self, loaded: &Loaded) -> Result<Shape, SinkError> {
        Shape::of(self.table, &loaded.entry.metadata).map_err(|reason| {
            SinkError::Fatal(format!(
                "table {} in {} is not one that this skuflow can write: {reason}; give the sink a new, empty `path`, which \
                 will be filled with what the topics still have",
                self.table.full_name,
                self.place
            ))
        })
    }

    /// What a call came to. After an error nothing stays open, and with it nothing that was not committed.
    fn settled<T>(&mut self, came_to: Result<T, SinkError>) -> Result<T, SinkError> {
        if came_to.is_err() {
            self.open = None;
        }
        came_to
    }

    async fn stored(&mut self, identity: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        self.identity = identity.clone();
        let table = self.table;
        let (open, loaded) = self.load().await?;
        open.hint(table).await?; // a writer that died may not have said it
        if let Some((cluster, topic)) = loaded.offsets.foreign(identity) {
            return Err(SinkError::Fatal(format!(
                "table {} in {} was filled from another data directory (topic {topic}, cluster {cluster}; this one is {}). To \
                 fill a lake from this directory, give the sink a new, empty `path`; to go on with the old one, bring its data \
                 directory back",
                table.full_name, self.place, identity.cluster_id
            )));
        }
        self.shape(&loaded)?;
        Ok(loaded.offsets.positions())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        let ingested_at = self.clock.now().micros();
        let rows = rows(self.table, batch, ingested_at)?;
        let (_, loaded) = self.load().await?;
        match loaded.offsets.judge(batch, &self.identity) {
            Verdict::Lands => {}
            Verdict::HasLanded => return Ok(Landed::default()),
            Verdict::Elsewhere(reason) => return Err(SinkError::Fenced(reason)),
        }
        let shape = self.shape(&loaded)?;
        let commit_id = Uuid::new_v4().to_string();
        let planned = plan(self.table, &loaded.entry.metadata, &commit_id, &rows);
        let Self { open: Some(open), steps, table, .. } = self else { unreachable!("opened by `load`") };
        let pended = open.pend(&commit_id, &ledger(table, ingested_at, batch, &planned)).await;
        pended.map_err(|error| unwritten(table, &error))?;
        let written = write_files(open, &loaded.entry.metadata, &shape, &planned, steps).await;
        let files = written.map_err(|error| unwritten(table, &error))?;
        let bytes = files.iter().map(DataFile::file_size_in_bytes).sum();
        let (file_count, row_count) = (files.len() as u64, rows.len() as u64);
        let (writer, identity) = (self.name.as_str(), &self.identity);
        let append = Append { commit_id: &commit_id, writer, batch, identity, files, now_ms: ingested_at / 1000 };
        let committed = open.commit(table, &append, steps).await?;
        steps.reach(Step::Over).map_err(|error| SinkError::Retry(error.to_string()))?;
        Ok(match committed {
            Committed::Before => Landed::default(),
            Committed::Now => {
                let rows = BTreeMap::from([(table.full_name, row_count)]);
                Landed { records: row_count, rows, files: file_count, bytes }
            }
        })
    }
}

impl Sink for Lake {
    async fn positions(&mut self, identity: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        let stored = self.stored(identity).await;
        self.settled(stored)
    }

    async fn land(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        let landed = self.write(batch).await;
        self.settled(landed)
    }
}

/// The rows of a batch.
fn rows<'a>(table: &Table, batch: &'a Batch, ingested_at: i64) -> Result<Vec<Row<'a>>, SinkError> {
    let mut rows = Vec::with_capacity(batch.records().count());
    for (of, part) in &batch.parts {
        for record in &part.records {
            let (event, offset) = match record {
                Incoming::Event(event, offset) if table.takes(event) => (event, *offset),
                Incoming::Event(event, offset) => {
                    let (found, wanted) = (event.topic(), table.full_name);
                    return Err(SinkError::Fatal(format!(
                        "offset {offset} of {of} belongs to {found}, not in {wanted}"
                    )));
                }
                Incoming::DeadLetter(..) => {
                    return Err(SinkError::Fatal(format!("{of} holds dead letters, for which the lake has no table")));
                }
            };
            rows.push(Row { event, topic: &of.topic, partition: of.partition, offset, ingested_at });
        }
    }
    Ok(rows)
}

/// The files that `rows` become, under names that no other commit gives.
fn plan<'a>(table: &Table, metadata: &TableMetadata, commit_id: &str, rows: &[Row<'a>]) -> Vec<Planned<'a>> {
    let planned = (0..).zip(files(table, rows)).map(|(number, (part, rows)): (usize, _)| {
        let address = format!("{}/{}/{commit_id}-{number}.parquet", metadata.location(), part.folder());
        Planned { address, part, rows }
    });
    planned.collect()
}

/// What the ledger keeps of a commit.
fn ledger(table: &Table, begun_at: i64, batch: &Batch, planned: &[Planned<'_>]) -> String {
    let [from, to] = ranges(batch);
    let files: Vec<_> = planned.iter().map(|file| json!({ "path": file.address, "rows": file.rows.len() })).collect();
    json!({ "table": table.full_name, "begun_at": begun_at, "from": from, "to": to, "files": files }).to_string()
}

/// One file after the other: of all of them, one row group is held in memory.
async fn write_files(
    open: &Open,
    metadata: &TableMetadata,
    shape: &Shape,
    planned: &[Planned<'_>],
    steps: &mut Steps,
) -> io::Result<Vec<DataFile>> {
    steps.reach(Step::Pending)?;
    let (mut files, mut unflushed) = (Vec::with_capacity(planned.len()), Folders::default());
    for Planned { address, part, rows } in planned {
        let place = (&open.files, &mut unflushed);
        let written = write_part(place, metadata, shape, (address, part, rows), || steps.reach(Step::Staged));
        files.push(written.await?);
    }
    unflushed.flush()?;
    steps.reach(Step::Linked)?;
    Ok(files)
}

fn unwritten(table: &Table, error: &io::Error) -> SinkError {
    let text = format!("table {}: {error}", table.full_name);
    if error.kind() == io::ErrorKind::InvalidData { SinkError::Fatal(text) } else { SinkError::Retry(text) }
}

/// A new table.
pub(super) fn created(table: &Table, location: String) -> iceberg::Result<TableMetadata> {
    let columns = table.columns();
    let fields = (1..).zip(&columns).map(|(id, column)| {
        let kind = Type::Primitive(column.kind());
        let field = NestedField::new(id, &column.name, kind, column.is_required);
        std::sync::Arc::new(field)
    });
    let id_of = |name: &str| (1..).zip(&columns).find(|(_, column)| column.name == name).map_or(0, |(id, _)| id);
    let mut spec = UnboundPartitionSpec::builder();
    if table.by_customer {
        spec = spec.add_partition_field(id_of("customer"), "customer", Transform::Identity)?;
    }
    let spec = spec.add_partition_field(id_of("observed_at"), "date", Transform::Day)?.build();
    let mut order = SortOrder::builder();
    for name in table.key().iter().chain(&["observed_at"]) {
        order.with_sort_field(
            SortField::builder()
                .source_id(id_of(name))
                .transform(Transform::Identity)
                .direction(SortDirection::Ascending)
                .null_order(NullOrder::First)
                .build(),
        );
    }
    let properties = [
        ("write.parquet.compression-codec", "zstd".into()),
        ("write.metadata.previous-versions-max", METADATA_FILES_KEPT.to_string()),
        ("write.metadata.delete-after-commit.enabled", "true".to_owned()),
    ];
    let creation = TableCreation::builder()
        .name(table.name.into())
        .location(location)
        .schema(Schema::builder().with_fields(fields).build()?)
        .partition_spec(spec)
        .sort_order(order.with_order_id(1).build_unbound()?)
        .properties(properties.map(|(name, value)| (name.to_owned(), value)))
        .format_version(FormatVersion::V2)
        .build();
    Ok(TableMetadataBuilder::from_table_creation(creation)?.build()?.metadata)
}
