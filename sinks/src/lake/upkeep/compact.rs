//! Small files become one.

use std::collections::HashSet;
use std::io;

use iceberg::spec::{DataFile, TableMetadata, Transform};
use parquet::file::metadata::ParquetMetaData;
use uuid::Uuid;

use super::files::{Live, has_deletes, live};
use super::merge::merge;
use super::plan::merges;
use super::{Deed, Upkeep};
use crate::SinkError;
use crate::lake::bounds::Facts;
use crate::lake::commit::{Committed, Loaded, Open};
use crate::lake::file::{Shape, described};
use crate::lake::ledger::{Note, NotedFile, PENDING};
use crate::lake::snapshot::{Change, Kind};
use crate::lake::steps::Step;
use crate::lake::storage::{Folders, fault};

impl Upkeep {
    /// Puts small files together, one commit per file that comes of it. What others did meanwhile is given up.
    ///
    /// # Errors
    /// See [`Self::round`].
    pub async fn compact(&mut self) -> Result<Vec<Deed>, SinkError> {
        let Some(mut open) = self.open().await? else { return Ok(Vec::new()) };
        let Some(Loaded { entry, .. }) = open.load(self.table).await? else { return Ok(Vec::new()) };
        if has_deletes(&open, &entry).await? {
            tracing::info!(
                table = self.table.full_name,
                "files stay as they are: another engine has deleted rows of them"
            );
            return Ok(Vec::new());
        }
        let live = live(&open, &entry).await?;
        let spec = entry.metadata.default_partition_spec();
        let mut deeds = Vec::new();
        for places in merges(&live, spec, self.now(), self.settings.files_min) {
            let inputs: Vec<Live> = places.iter().map(|place| live[*place].clone()).collect();
            let sum = |of: fn(&DataFile) -> u64| inputs.iter().map(|input| of(&input.file)).sum();
            let sums = [inputs.len() as u64, sum(DataFile::record_count), sum(DataFile::file_size_in_bytes)];
            self.stay(&open).await?;
            let part = spec.partition_to_path(inputs[0].file.partition(), entry.metadata.current_schema().clone());
            if self.is_dry || self.put_together(&mut open, &entry.metadata, &inputs).await? {
                deeds.push(self.deed("compact", part, sums));
            }
        }
        Ok(deeds)
    }

    /// Makes one file of some; `false` where another has changed them, or they are not ours to change.
    async fn put_together(
        &mut self,
        open: &mut Open,
        metadata: &TableMetadata,
        inputs: &[Live],
    ) -> Result<bool, SinkError> {
        let commit_id = Uuid::new_v4().to_string();
        let (folder, _) = inputs[0].file.file_path().rsplit_once('/').unwrap_or_default();
        let address = format!("{folder}/{commit_id}-0.parquet");
        let rows = inputs.iter().map(|input| input.file.record_count()).sum();
        let files = vec![NotedFile { path: address.clone(), rows }];
        let note = Note { files, ..Note::of(self.table, metadata, self.now()) };
        open.enter(PENDING, &commit_id, &note).await.map_err(fault)?;
        self.reach(Step::Pending)?;
        let file = match self.written(open, metadata, inputs, &address).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(folder, %error, "files are not put together");
                return Ok(false);
            }
            // Another has put them together, and their time has run out.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(SinkError::Retry(format!("table {}: {error}", self.table.full_name))),
        };
        self.reach(Step::Linked)?;
        let kind = Kind::Replace { removed: paths(inputs) };
        let (table_id, writer, now_ms) = (metadata.uuid(), self.name.as_str(), self.now() / 1_000);
        let change = Change { table_id, commit_id: &commit_id, writer, now_ms, added: vec![file], kind };
        let committed = open.commit(self.table, &change, &mut self.steps).await?;
        self.reach(Step::Over)?;
        Ok(committed == Committed::Now)
    }

    async fn written(
        &mut self,
        open: &Open,
        metadata: &TableMetadata,
        inputs: &[Live],
        address: &str,
    ) -> io::Result<DataFile> {
        let shape =
            Shape::of(self.table, metadata).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        let order = order(metadata)?;
        let mut sources = Vec::with_capacity(inputs.len());
        for input in inputs {
            sources.push(open.files.source(input.file.file_path()).await?);
        }
        let mut unflushed = Folders::default();
        let steps = &mut self.steps;
        let made = open.files.create(address, &mut unflushed, |out| {
            let merged: (ParquetMetaData, u64) = merge(sources, &shape, &order, out)?;
            steps.reach(Step::Staged).map(|()| merged)
        });
        let ((file, rows), bytes) = made.await?;
        unflushed.flush()?;
        let expected = inputs.iter().map(|input| input.file.record_count()).sum::<u64>();
        if rows != expected {
            let reason =
                format!("the files have {rows} rows, the table says {expected}; `skuflow lake fsck` says which");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let facts = Facts::of(&file, metadata.current_schema());
        described(metadata, address, inputs[0].file.partition().clone(), (rows, bytes), facts)
    }
}

pub(super) fn paths(live: &[Live]) -> HashSet<String> {
    live.iter().map(|live| live.file.file_path().to_owned()).collect()
}

/// The places of the columns that the table is sorted by.
fn order(metadata: &TableMetadata) -> io::Result<Vec<usize>> {
    let fields = metadata.current_schema().as_struct().fields();
    let place = |id| fields.iter().position(|field| field.id == id);
    let places = metadata.default_sort_order().fields.iter().map(|field| match field.transform {
        Transform::Identity => place(field.source_id),
        _ => None,
    });
    let places: Option<Vec<usize>> = places.collect();
    places.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the table is sorted by something else"))
}
