//! The sink: one table of a lake.

use std::collections::BTreeMap;
use std::io;

use iceberg::spec::{DataFile, TableMetadata};
use skuflow_runtime::broker::{Offset, TopicPartition};
use skuflow_runtime::clock::Clock;
use uuid::Uuid;

use super::columns::{Content, Row};
use super::commit::{Committed, Loaded, Open, failed};
use super::file::{Shape, write_part};
use super::ledger::{Note, NotedFile, PENDING};
use super::offsets::{Verdict, ranges};
use super::place::Place;
use super::plan::{Part, files};
use super::schema::{additions, created};
use super::snapshot::{Change, Kind};
use super::steps::{Hook, Step, Steps};
use super::storage::{Folders, fault, unkept};
use super::tables::Table;
use crate::limits::COMMIT_TRIES_MAX;
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
            let loaded = widened(open, table, loaded, &self.place).await?;
            return Ok((open, loaded));
        }
        if open.is_taken(table).await? {
            return Err(SinkError::Fatal(format!(
                "table {} is in {} already, and this catalog does not know it: two that tend it would remove each other's rows. \
                 Bring back the catalog that does, or give the sink a new, empty `path`",
                table.full_name, self.place
            )));
        }
        let metadata = created(table, open.files.address(table.folder));
        open.catalog.create(table, &metadata.map_err(|error| failed(table.full_name, &error))?).await?;
        let loaded = open.load(table).await?;
        let loaded = loaded.ok_or_else(|| SinkError::Retry(format!("table {} was taken away", table.full_name)))?;
        Ok((open, loaded))
    }

    fn shape(&self, loaded: &Loaded) -> Result<Shape, SinkError> {
        Shape::of(self.table, &loaded.entry.metadata).map_err(|reason| foreign(self.table, &self.place, &reason))
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
        let Self { open: Some(open), steps, table, .. } = self else { unreachable!("opened by `load`") };
        let metadata = &loaded.entry.metadata;
        let planned = plan(table, &open.data_folder(metadata), &commit_id, &rows);
        let note = Note::of(table, metadata, ingested_at);
        let pended = open.enter(PENDING, &commit_id, &noted(note, batch, &planned)).await;
        pended.map_err(|error| unwritten(table, &error))?;
        let written = write_files(open, metadata, &shape, &planned, steps).await;
        let files = written.map_err(|error| unwritten(table, &error))?;
        let bytes = files.iter().map(DataFile::file_size_in_bytes).sum();
        let (file_count, row_count) = (files.len() as u64, rows.len() as u64);
        let (writer, identity) = (self.name.as_str(), &self.identity);
        let kind = Kind::Append { batch, identity };
        let (table_id, now_ms) = (metadata.uuid(), ingested_at / 1000);
        let change = Change { table_id, commit_id: &commit_id, writer, now_ms, added: files, kind };
        let committed = open.commit(table, &change, steps).await?;
        steps.reach(Step::Over).map_err(fault)?;
        Ok(match committed {
            Committed::Before | Committed::Gone => Landed::default(),
            Committed::Now => {
                let rows = BTreeMap::from([(table.full_name, row_count)]);
                Landed { records: row_count, rows, files: file_count, bytes }
            }
        })
    }
}

/// The table with all columns that this program writes: those that it lacks are added.
async fn widened(open: &mut Open, table: &Table, mut loaded: Loaded, place: &Place) -> Result<Loaded, SinkError> {
    for _ in 0..COMMIT_TRIES_MAX {
        let changes = additions(table, &loaded.entry.metadata).map_err(|reason| foreign(table, place, &reason))?;
        if changes.is_empty() {
            return Ok(loaded);
        }
        // Whatever comes of it, the table says which columns it has.
        open.catalog.swap(table, loaded.entry, changes, &mut Steps::default()).await?;
        let again = open.load(table).await?;
        loaded = again.ok_or_else(|| SinkError::Retry(format!("table {} was taken away", table.full_name)))?;
    }
    Err(SinkError::Retry(format!("columns of {} are changed all the time", table.full_name)))
}

/// Why a table is not written.
pub(super) fn foreign(table: &Table, place: &Place, reason: &str) -> SinkError {
    SinkError::Fatal(format!(
        "table {} in {place} is not one that this skuflow can write: {reason}; give the sink a new, empty `path`, which will \
         be filled with what the topics still have",
        table.full_name
    ))
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
            let (content, offset) = match record {
                Incoming::Event(event, offset) if table.takes(event) => (Content::Event(event), *offset),
                Incoming::Raw(raw) if table.is_raw() => (Content::Raw(raw), raw.offset),
                Incoming::Event(event, offset) => {
                    let (found, wanted) = (event.topic(), table.full_name);
                    return Err(SinkError::Fatal(format!(
                        "offset {offset} of {of} belongs to {found}, not in {wanted}"
                    )));
                }
                Incoming::Ended(_) => continue,
                Incoming::DeadLetter(..) | Incoming::Raw(_) => {
                    let wanted = table.full_name;
                    return Err(SinkError::Fatal(format!("{of} holds what does not belong in {wanted}")));
                }
            };
            rows.push(Row { content, topic: &of.topic, partition: of.partition, offset, ingested_at });
        }
    }
    Ok(rows)
}

/// The files that `rows` become, under names that no other commit gives.
fn plan<'a>(table: &Table, folder: &str, commit_id: &str, rows: &[Row<'a>]) -> Vec<Planned<'a>> {
    let planned = (0..).zip(files(table, rows)).map(|(number, (part, rows)): (usize, _)| {
        let address = format!("{folder}/{}/{commit_id}-{number}.parquet", part.folder());
        Planned { address, part, rows }
    });
    planned.collect()
}

/// What the ledger keeps of a commit.
fn noted(note: Note, batch: &Batch, planned: &[Planned<'_>]) -> Note {
    let [from, to] = ranges(batch).map(Some);
    let file = |file: &Planned<'_>| NotedFile { path: file.address.clone(), rows: file.rows.len() as u64 };
    let files = planned.iter().map(file).collect();
    Note { from, to, files, ..note }
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
    unkept(&format!("table {}", table.full_name), error)
}
