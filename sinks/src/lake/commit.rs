//! A commit: the loop around guard, snapshot and swap.

use std::time::Duration;

use iceberg::ErrorKind;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use uuid::Uuid;

use super::catalog::{self, Catalog, Entry, Swap};
use super::ledger::{EXPIRED, Note};
use super::offsets::{OFFSETS, Offsets, Verdict};
use super::place::Place;
use super::snapshot::{Change, Changes, Kind, changes, has_commit, undone};
use super::steps::{Step, Steps};
use super::storage::{Files, fault, unkept};
use super::tables::Table;
use crate::SinkError;
use crate::limits::COMMIT_TRIES_MAX;

/// A table that commits may be made to.
pub(super) struct Loaded {
    pub(super) entry: Entry,
    pub(super) offsets: Offsets,
}

/// What a commit came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// The rows are in the table, by this commit.
    Now,
    /// They had been before it.
    Before,
    /// A file that was to go is not in the table any more: somebody else was faster.
    Gone,
}

/// An open lake.
pub(super) struct Open {
    pub(super) catalog: Box<dyn Catalog>,
    pub(super) files: Files,
    pub(super) io: FileIO,
}

/// What says beside the metadata files which of them is the table's.
pub(super) const HINT: &str = "version-hint.text";

impl Open {
    /// Opens the lake at `place`, or makes one.
    pub(super) async fn open(place: &Place) -> Result<Self, SinkError> {
        let files = Files::open(place)?;
        let catalog = catalog::open(place, &files).await?;
        let io = files.file_io();
        Ok(Self { catalog, files, io })
    }

    /// The lake at `place` for who looks at it; `None` where there is none yet.
    pub(super) async fn open_to_read(place: &Place) -> Result<Option<Self>, SinkError> {
        let files = Files::open_to_read(place)?;
        let io = files.file_io();
        Ok(catalog::open_to_read(place, &files).await?.map(|catalog| Self { catalog, files, io }))
    }

    /// The table as it is; `None` where there is none.
    pub(super) async fn load(&mut self, table: &Table) -> Result<Option<Loaded>, SinkError> {
        let Some(entry) = self.catalog.load(table).await? else { return Ok(None) };
        let Entry { location, metadata } = &entry;
        if !self.files.reach(metadata.location()) {
            return Err(SinkError::Fatal(format!(
                "{location}: the catalog has placed table {} at {}, where the sink's `path` does not lead: give the sink a \
                 `path` of the same kind, a folder or \"s3://bucket/lake\"",
                table.full_name,
                metadata.location()
            )));
        }
        let offsets = Offsets::parse(metadata.properties().get(OFFSETS).map(String::as_str));
        let Some(offsets) = offsets else {
            return Err(SinkError::Fatal(format!("{location}: its property `{OFFSETS}` cannot be read")));
        };
        if let Some(last) = undone(metadata) {
            return Err(SinkError::Fatal(format!(
                "{location}: somebody has put table {} back behind its newest commit ({last}), so its positions would pass over \
                 rows. Make the snapshot of that commit current again, or give the sink a new, empty `path`, which will be \
                 filled with what the topics still have",
                table.full_name
            )));
        }
        Ok(Some(Loaded { entry, offsets }))
    }

    /// The folder of a table's data files, divided into parts. A catalog that places tables wants them in `data`.
    pub(super) fn data_folder(&self, metadata: &TableMetadata) -> String {
        let location = metadata.location().trim_end_matches('/');
        if self.catalog.places_tables() { format!("{location}/data") } else { location.to_owned() }
    }

    /// Makes `change` the newest snapshot of `table`, once: what is in the way is tried again, what had no answer is looked
    /// up. Files that are not committed stay, they may be named by then; the ledger knows them.
    ///
    /// # Errors
    /// `Fenced` where the table does not end where the batch begins, or the ledger has given the commit up.
    pub(super) async fn commit(
        &mut self,
        table: &Table,
        change: &Change<'_>,
        steps: &mut Steps,
    ) -> Result<Committed, SinkError> {
        for attempt in 0..COMMIT_TRIES_MAX {
            let loaded = self.load(table).await?;
            let Some(Loaded { entry, offsets }) = loaded else {
                return Err(SinkError::Fenced(format!("table {} was taken away", table.full_name)));
            };
            if entry.metadata.uuid() != change.table_id {
                return Err(SinkError::Fenced(format!("table {} was taken away, and made anew", table.full_name)));
            }
            if has_commit(&entry.metadata, change.commit_id) {
                return self.committed(table, change, attempt).await;
            }
            if let Kind::Append { batch, identity } = &change.kind {
                match offsets.judge(batch, identity) {
                    Verdict::Lands => {}
                    Verdict::HasLanded => return Ok(Committed::Before),
                    Verdict::Elsewhere(reason) => return Err(SinkError::Fenced(reason)),
                }
            }
            if !self.is_pending(change.commit_id).await? {
                let reason = format!("the ledger has given up commit {}, its files may be gone", change.commit_id);
                return Err(SinkError::Fenced(reason));
            }
            let tag = format!("{}-{attempt}", change.commit_id);
            let changes = changes(&self.io, &entry.metadata, change, &offsets, &tag).await;
            let Some(changes) = changes.map_err(|error| failed(&entry.location, &error))? else {
                return Ok(Committed::Gone);
            };
            steps.reach(Step::Listed).map_err(fault)?;
            let swap = self.swap(table, (entry, &tag), changes, change.now_ms, steps).await?;
            if steps.reach(Step::Swapped).map_or(Swap::Unknown, |()| swap) == Swap::Won {
                return self.committed(table, change, attempt + 1).await;
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(SinkError::Retry(format!("{COMMIT_TRIES_MAX} commits to {} lost against others", table.full_name)))
    }

    /// Makes `changes`, and enters before into the ledger, under `tag`, what they put out of reach.
    pub(super) async fn swap(
        &mut self,
        table: &Table,
        (entry, tag): (Entry, &str),
        changes: Changes,
        now_ms: i64,
        steps: &mut Steps,
    ) -> Result<Swap, SinkError> {
        if !changes.manifest_lists.is_empty() {
            let note = Note::of(table, &entry.metadata, now_ms * 1_000);
            let note = Note { manifest_lists: changes.manifest_lists, ..note };
            self.enter(EXPIRED, tag, &note).await.map_err(fault)?;
        }
        self.catalog.swap(table, entry, changes.updates, steps).await
    }

    /// A commit that took one try leaves nothing behind but what the table names.
    async fn committed(&mut self, table: &Table, change: &Change<'_>, tries: u32) -> Result<Committed, SinkError> {
        if tries <= 1 {
            self.settle(change.commit_id).await;
        }
        self.hint(table).await?;
        Ok(Committed::Now)
    }

    /// Whether there is a table of another catalog where `table` would be made.
    pub(super) async fn is_taken(&mut self, table: &Table) -> Result<bool, SinkError> {
        let hint = self.files.address(&format!("{}/metadata/{HINT}", table.folder));
        match self.files.read(&hint).await {
            Ok(_) => Ok(self.catalog.pointer(table).await?.is_none()), // else it is made by now
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault(error)),
        }
    }

    /// Says beside the metadata files which one it is, for readers without a catalog. Two writers may say it in any order,
    /// so it is said until it is what the pointer says.
    pub(super) async fn hint(&mut self, table: &Table) -> Result<(), SinkError> {
        if self.catalog.places_tables() {
            return Ok(());
        }
        for _ in 0..COMMIT_TRIES_MAX {
            let Some(pointer) = self.catalog.pointer(table).await? else { return Ok(()) };
            let Some((folder, name)) = pointer.rsplit_once('/') else { return Ok(()) };
            let version = name.strip_suffix(".metadata.json").unwrap_or(name);
            let written = self.files.replace(&format!("{folder}/{HINT}"), version).await;
            written.map_err(|error| unkept(&format!("version hint of {}", table.full_name), &error))?;
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
