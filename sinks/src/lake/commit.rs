//! A commit: the loop around guard, snapshot and swap.

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::{ErrorKind, MetadataLocation, TableUpdate};
use uuid::Uuid;

use super::catalog::{CATALOG_FILE, Catalog, Swap};
use super::offsets::{OFFSETS, Offsets, Verdict};
use super::snapshot::{Append, has_commit, undone, updates};
use super::steps::{Step, Steps};
use super::storage::Local;
use super::tables::Table;
use crate::SinkError;
use crate::limits::COMMIT_TRIES_MAX;

/// A table as the pointer has it.
pub(super) struct Loaded {
    pub(super) location: String,
    pub(super) metadata: TableMetadata,
    pub(super) offsets: Offsets,
}

/// What a commit came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// The rows are in the table, by this commit.
    Now,
    /// They had been before it.
    Before,
}

/// An open lake.
pub(super) struct Open {
    pub(super) catalog: Catalog,
    pub(super) storage: Local,
    io: FileIO,
}

impl Open {
    /// Opens the lake in the folder `path`, or makes one.
    pub(super) async fn open(path: &Path) -> Result<Self, SinkError> {
        let storage = Local::open(path);
        let storage = storage.map_err(|error| SinkError::Retry(format!("opening {}: {error}", path.display())))?;
        let catalog = Catalog::open(&path.join(CATALOG_FILE)).await?;
        let io = storage.file_io();
        Ok(Self { catalog, storage, io })
    }

    /// The table as it is; `None` where there is none.
    pub(super) async fn load(&mut self, table: &Table) -> Result<Option<Loaded>, SinkError> {
        let Some(location) = self.catalog.pointer(table).await? else { return Ok(None) };
        let read = TableMetadata::read_from(&self.io, &location).await;
        let metadata = read.map_err(|error| failed(&location, &error))?;
        let offsets = Offsets::parse(metadata.properties().get(OFFSETS).map(String::as_str));
        let Some(offsets) = offsets else {
            return Err(SinkError::Fatal(format!("{location}: its property `{OFFSETS}` cannot be read")));
        };
        if let Some(last) = undone(&metadata) {
            return Err(SinkError::Fatal(format!(
                "{location}: somebody has put table {} back behind its newest commit ({last}), so its positions would pass over \
                 rows. Make the snapshot of that commit current again, or give the sink a new, empty `path`, which will be \
                 filled with what the topics still have",
                table.full_name
            )));
        }
        Ok(Some(Loaded { location, metadata, offsets }))
    }

    /// Makes the table.
    pub(super) async fn create(&mut self, table: &Table, metadata: TableMetadata) -> Result<(), SinkError> {
        let location = MetadataLocation::new_with_metadata(metadata.location(), &metadata);
        let written = metadata.write_to(&self.io, &location).await;
        written.map_err(|error| failed(&location.to_string(), &error))?;
        self.catalog.create(table, &location.to_string()).await
    }

    /// Makes `append` the newest snapshot of `table`, once: what is in the way is tried again, what had no answer is looked
    /// up. Files that are not committed stay, they may be named by then; the ledger knows them.
    ///
    /// # Errors
    /// `Fenced` where the table does not end where the batch begins.
    pub(super) async fn commit(
        &mut self,
        table: &Table,
        append: &Append<'_>,
        steps: &mut Steps,
    ) -> Result<Committed, SinkError> {
        for attempt in 0..COMMIT_TRIES_MAX {
            let loaded = self.load(table).await?;
            let Some(Loaded { location, metadata, offsets }) = loaded else {
                return Err(SinkError::Fenced(format!("table {} was taken away", table.full_name)));
            };
            if has_commit(&metadata, append.commit_id) {
                self.hint(table).await?;
                return Ok(Committed::Now);
            }
            match offsets.judge(append.batch, append.identity) {
                Verdict::Lands => {}
                Verdict::HasLanded => return Ok(Committed::Before),
                Verdict::Elsewhere(reason) => return Err(SinkError::Fenced(reason)),
            }
            let tag = format!("{}-{attempt}", append.commit_id);
            let changes = updates(&self.io, &metadata, append, &offsets, &tag).await;
            let changes = changes.map_err(|error| failed(&location, &error))?;
            steps.reach(Step::Listed).map_err(|error| SinkError::Retry(error.to_string()))?;
            let described = self.describe(&location, metadata, changes).await;
            let (new, expired) = described.map_err(|error| failed(&location, &error))?;
            steps.reach(Step::Described).map_err(|error| SinkError::Retry(error.to_string()))?;
            let swap = self.catalog.swap(table, (&location, &new), append.commit_id).await?;
            if steps.reach(Step::Swapped).map_or(Swap::Unknown, |()| swap) == Swap::Won {
                self.remove(&expired).await;
                self.hint(table).await?;
                return Ok(Committed::Now);
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(SinkError::Retry(format!("{COMMIT_TRIES_MAX} commits to {} lost against others", table.full_name)))
    }

    /// Writes the metadata file behind the one at `location`; says where, and which old ones it does not remember any more.
    async fn describe(
        &self,
        location: &str,
        metadata: TableMetadata,
        changes: Vec<TableUpdate>,
    ) -> iceberg::Result<(String, Vec<String>)> {
        let mut builder: TableMetadataBuilder = metadata.into_builder(Some(location.into()));
        for change in changes {
            builder = change.apply(builder)?;
        }
        let built = builder.build()?;
        let next = MetadataLocation::from_str(location)?.with_next_version().with_new_metadata(&built.metadata);
        built.metadata.write_to(&self.io, &next).await?;
        let expired = built.expired_metadata_logs.into_iter().map(|log| log.metadata_file).collect();
        Ok((next.to_string(), expired))
    }

    /// Removes metadata files that no metadata file remembers.
    async fn remove(&self, expired: &[String]) {
        for old in expired {
            if let Err(error) = self.io.delete(old).await {
                tracing::warn!(old, %error, "an old metadata file stays");
            }
        }
    }

    /// Says beside the metadata files which one it is, for readers without a catalog. Two writers may say it in any order,
    /// so it is said until it is what the pointer says.
    pub(super) async fn hint(&mut self, table: &Table) -> Result<(), SinkError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let Some(pointer) = self.catalog.pointer(table).await? else { return Ok(()) };
            let Some((folder, name)) = pointer.rsplit_once('/') else { return Ok(()) };
            let version = name.strip_suffix(".metadata.json").unwrap_or(name);
            let written = self.storage.replace(&format!("{folder}/version-hint.text"), version);
            written.map_err(|error| SinkError::Retry(format!("version hint of {}: {error}", table.full_name)))?;
            if self.catalog.pointer(table).await?.as_ref() == Some(&pointer) {
                return Ok(());
            }
        }
        Ok(()) // others commit faster than it can be said, and say it
    }
}

/// Longer with each try, and not the same for two writers.
fn pause(attempt: u32) -> Duration {
    let random = u64::from(Uuid::new_v4().as_bytes()[0]);
    Duration::from_micros((1_000 << attempt.min(8)) * (256 + random) / 256)
}

/// What cannot be understood stays so, everything else may pass.
pub(super) fn failed(what: &str, error: &iceberg::Error) -> SinkError {
    let text = format!("{what}: {error}");
    match error.kind() {
        ErrorKind::DataInvalid | ErrorKind::FeatureUnsupported => SinkError::Fatal(text),
        _ => SinkError::Retry(text),
    }
}
