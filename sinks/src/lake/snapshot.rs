//! What a commit changes of a table: its files in a new snapshot, and the positions; now and then also what has become
//! too much.

use std::collections::{HashMap, HashSet};

use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, MAIN_BRANCH, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestList,
    ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation, Snapshot, SnapshotReference,
    SnapshotRetention, SnapshotSummaryCollector, Summary, TableMetadata, UNASSIGNED_SEQUENCE_NUMBER,
};
use iceberg::{Error, ErrorKind, Result, TableUpdate};
use uuid::Uuid;

use super::offsets::{OFFSETS, Offsets, ranges};
use crate::limits::{MANIFEST_FILES_MAX, SNAPSHOTS_KEPT, TIDY_EVERY};
use crate::{Batch, Identity};

/// The property of a table that names its newest commit by a lake.
const LAST_COMMIT: &str = "skuflow.last-commit";
/// In the summary of a snapshot: which commit made it.
pub(super) const COMMIT_ID: &str = "skuflow.commit-id";
pub(super) const WRITER: &str = "skuflow.writer";
pub(super) const FROM: &str = "skuflow.from";
pub(super) const TO: &str = "skuflow.to";

/// What a commit makes of a table.
pub(super) struct Change<'a> {
    /// The table that it was made for.
    pub(super) table_id: Uuid,
    pub(super) commit_id: &'a str,
    /// Who commits: a sink.
    pub(super) writer: &'a str,
    pub(super) now_ms: i64,
    pub(super) added: Vec<DataFile>,
    pub(super) kind: Kind<'a>,
}

/// What becomes of the rows. Only an append moves the positions.
pub(super) enum Kind<'a> {
    /// Those of a batch come.
    Append { batch: &'a Batch, identity: &'a Identity },
    /// They stand in other files than these.
    Replace { removed: HashSet<String> },
    /// Those of these files go.
    Delete { removed: HashSet<String> },
}

impl Kind<'_> {
    fn removed(&self) -> Option<&HashSet<String>> {
        match self {
            Self::Append { .. } => None,
            Self::Replace { removed } | Self::Delete { removed } => Some(removed),
        }
    }
}

/// How a table's metadata is changed.
pub(super) struct Changes {
    pub(super) updates: Vec<TableUpdate>,
    /// The manifest lists of the snapshots that expire by it.
    pub(super) manifest_lists: Vec<String>,
}

/// Whether a snapshot that the table stands on is of this commit.
pub(super) fn has_commit(metadata: &TableMetadata, commit_id: &str) -> bool {
    lineage(metadata).filter_map(commit_of).any(|known| known == commit_id)
}

/// The newest commit of a sink, where somebody has put the table back behind it: its positions would pass over rows. Commits
/// that move no positions may be put back.
pub(super) fn undone(metadata: &TableMetadata) -> Option<&str> {
    let last = metadata.properties().get(LAST_COMMIT)?;
    let of_sink = |snapshot: &Snapshot| snapshot.summary().operation == Operation::Append;
    let is_undone = match lineage(metadata).filter(|snapshot| of_sink(snapshot)).find_map(commit_of) {
        Some(newest) => newest != last,
        // Nothing of ours: undone if the table's history is whole, and else expired.
        None => lineage(metadata).last().is_none_or(|first| first.parent_snapshot_id().is_none()),
    };
    is_undone.then_some(last)
}

pub(super) fn commit_of(snapshot: &Snapshot) -> Option<&String> {
    snapshot.summary().additional_properties.get(COMMIT_ID)
}

/// The table's snapshot, the one before it, and so on as far as they are kept.
pub(super) fn lineage(metadata: &TableMetadata) -> impl Iterator<Item = &Snapshot> {
    let first = metadata.current_snapshot().map(AsRef::as_ref);
    std::iter::successors(first, |snapshot| {
        snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id)).map(AsRef::as_ref)
    })
}

/// The changes that make `change` the table's newest snapshot, `offsets` being its positions so far; `None` where a file that
/// it removes is not in the table. Writes the snapshot's manifests, under names with `tag`.
pub(super) async fn changes(
    io: &FileIO,
    metadata: &TableMetadata,
    change: &Change<'_>,
    offsets: &Offsets,
    tag: &str,
) -> Result<Option<Changes>> {
    let is_tidy = metadata.next_sequence_number() % TIDY_EVERY == 0;
    let snapshot_id = new_id(metadata);
    let mut manifests = Manifests { io, metadata, snapshot_id, tag, count: 0 };
    let mut list = stored(io, metadata).await?;
    list.retain(names_files);
    let mut gone = Vec::new();
    if let Some(removed) = change.kind.removed() {
        (list, gone) = manifests.without(list, removed).await?;
        if gone.len() < removed.len() {
            return Ok(None);
        }
    }
    if is_tidy {
        // What this commit wrote stays as it is: a manifest that no list names would be found by nobody.
        let (fresh, old): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|manifest| manifest.added_snapshot_id == snapshot_id);
        list = manifests.merged(old).await?;
        list.extend(fresh);
    }
    if !change.added.is_empty() {
        let mut writer = manifests.begin(metadata.default_partition_spec_id())?;
        for file in &change.added {
            writer.add_file(file.clone(), UNASSIGNED_SEQUENCE_NUMBER)?; // it takes that of the snapshot
        }
        list.insert(0, writer.write_manifest_file().await?);
    }
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(change.now_ms.max(metadata.last_updated_ms())) // a clock that was put back stops no commit
        .with_manifest_list(manifests.list(list).await?)
        .with_summary(summary(metadata, change, &gone))
        .with_schema_id(metadata.current_schema_id())
        .build();
    let retention = SnapshotRetention::branch(None, None, None);
    let reference = SnapshotReference::new(snapshot_id, retention);
    let mut updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference },
    ];
    if let Kind::Append { batch, identity } = &change.kind {
        let moved = offsets.moved(batch, identity);
        let properties = [(OFFSETS.into(), moved.to_text()), (LAST_COMMIT.into(), change.commit_id.into())];
        updates.push(TableUpdate::SetProperties { updates: HashMap::from(properties) });
    }
    let mut changes = Changes { updates, manifest_lists: Vec::new() };
    if is_tidy {
        let age_ms = snapshot_age_ms(metadata);
        changes.expire(metadata, SNAPSHOTS_KEPT - 1, (change.now_ms, age_ms)); // and the new one
    }
    Ok(Some(changes))
}

impl Changes {
    /// Lets the snapshots expire that are neither among the last `count`, nor younger than `age_ms`, nor named by anybody; says
    /// how many.
    pub(super) fn expire(&mut self, metadata: &TableMetadata, count: usize, (now_ms, age_ms): (i64, i64)) -> usize {
        let snapshot_ids = expired(metadata, count, now_ms.max(metadata.last_updated_ms()) - age_ms);
        let number = snapshot_ids.len();
        if number > 0 {
            let lists = snapshot_ids.iter().filter_map(|id| metadata.snapshot_by_id(*id));
            self.manifest_lists.extend(lists.map(|snapshot| snapshot.manifest_list().to_owned()));
            self.updates.push(TableUpdate::RemoveSnapshots { snapshot_ids });
        }
        number
    }
}

/// How long snapshots stay at least, as other engines call it too.
pub(super) const SNAPSHOT_AGE: &str = "history.expire.max-snapshot-age-ms";

fn snapshot_age_ms(metadata: &TableMetadata) -> i64 {
    metadata.properties().get(SNAPSHOT_AGE).and_then(|age| age.parse().ok()).unwrap_or(0)
}

/// Whether a manifest has a file that is in the table, as far as it says.
fn names_files(manifest: &ManifestFile) -> bool {
    manifest.added_files_count != Some(0) || manifest.existing_files_count != Some(0)
}

fn new_id(metadata: &TableMetadata) -> i64 {
    let ids = std::iter::repeat_with(|| (Uuid::new_v4().as_u64_pair().0 >> 1) as i64);
    ids.into_iter().find(|id| metadata.snapshot_by_id(*id).is_none()).expect("there are more ids than snapshots")
}

/// The manifests of the table's snapshot.
pub(super) async fn stored(io: &FileIO, metadata: &TableMetadata) -> Result<Vec<ManifestFile>> {
    let Some(snapshot) = metadata.current_snapshot() else { return Ok(Vec::new()) };
    let bytes = io.new_input(snapshot.manifest_list())?.read().await?;
    let list = ManifestList::parse_with_version(&bytes, metadata.format_version())?;
    Ok(list.consume_entries().into_iter().collect())
}

/// The data files of the table's snapshot, each with the partition spec that it was written by.
pub(super) async fn data_files(io: &FileIO, metadata: &TableMetadata) -> Result<Vec<(i32, ManifestEntryRef)>> {
    let mut files = Vec::new();
    for manifest in stored(io, metadata).await? {
        let loaded = manifest.load_manifest(io).await?;
        let data = loaded.entries().iter().filter(|entry| entry.is_alive());
        let data = data.filter(|entry| entry.content_type() == DataContentType::Data);
        files.extend(data.map(|entry| (manifest.partition_spec_id, entry.clone())));
    }
    Ok(files)
}

/// Writes the manifests of a snapshot.
struct Manifests<'a> {
    io: &'a FileIO,
    metadata: &'a TableMetadata,
    snapshot_id: i64,
    tag: &'a str,
    count: usize,
}

impl Manifests<'_> {
    fn begin(&mut self, spec_id: i32) -> Result<ManifestWriter> {
        let path = format!("{}/metadata/{}-m{}.avro", self.metadata.location(), self.tag, self.count);
        self.count += 1;
        let spec = self.metadata.partition_spec_by_id(spec_id);
        let spec = spec.ok_or_else(|| Error::new(ErrorKind::DataInvalid, "a partition spec is missing"))?;
        let (schema, spec) = (self.metadata.current_schema().clone(), spec.as_ref().clone());
        let output = self.io.new_output(path)?;
        Ok(ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec).build_v2_data())
    }

    /// The manifests without the files of these addresses, and those files. Manifests that name none of them stay as they are.
    async fn without(
        &mut self,
        list: Vec<ManifestFile>,
        removed: &HashSet<String>,
    ) -> Result<(Vec<ManifestFile>, Vec<DataFile>)> {
        let (mut kept, mut gone) = (Vec::with_capacity(list.len()), Vec::with_capacity(removed.len()));
        for manifest in list {
            if manifest.content != ManifestContentType::Data || gone.len() == removed.len() {
                kept.push(manifest);
                continue;
            }
            let loaded = manifest.load_manifest(self.io).await?;
            let alive = || loaded.entries().iter().filter(|entry| entry.is_alive());
            if !alive().any(|entry| removed.contains(entry.file_path())) {
                kept.push(manifest);
                continue;
            }
            let mut writer = self.begin(manifest.partition_spec_id)?;
            for entry in alive() {
                let (file, sequence) = (entry.data_file().clone(), entry.sequence_number().ok_or_else(lost)?);
                if removed.contains(entry.file_path()) {
                    gone.push(file.clone());
                    writer.add_delete_file(file, sequence, entry.file_sequence_number)?;
                } else {
                    let added_by = entry.snapshot_id().ok_or_else(lost)?;
                    writer.add_existing_file(file, added_by, sequence, entry.file_sequence_number)?;
                }
            }
            kept.push(writer.write_manifest_file().await?);
        }
        Ok((kept, gone))
    }

    /// The same files in fewer manifests: the small ones become one.
    async fn merged(&mut self, list: Vec<ManifestFile>) -> Result<Vec<ManifestFile>> {
        let (small, mut kept) = small_ones(list, self.metadata.default_partition_spec_id());
        if small.is_empty() {
            return Ok(kept);
        }
        let mut writer = self.begin(self.metadata.default_partition_spec_id())?;
        for manifest in small {
            for entry in manifest.load_manifest(self.io).await?.entries().iter().filter(|entry| entry.is_alive()) {
                writer.add_existing_file(
                    entry.data_file().clone(),
                    entry.snapshot_id().ok_or_else(lost)?,
                    entry.sequence_number().ok_or_else(lost)?,
                    entry.file_sequence_number,
                )?;
            }
        }
        kept.insert(0, writer.write_manifest_file().await?);
        Ok(kept)
    }

    /// Writes the list of all manifests of the snapshot; says where.
    async fn list(&self, manifests: Vec<ManifestFile>) -> Result<String> {
        let path = format!("{}/metadata/snap-{}-{}.avro", self.metadata.location(), self.snapshot_id, self.tag);
        let output = self.io.new_output(&path)?.writer().await?;
        let (parent, number) = (self.metadata.current_snapshot_id(), self.metadata.next_sequence_number());
        let mut list = ManifestListWriter::v2(output, self.snapshot_id, parent, number);
        list.add_manifests(manifests.into_iter())?;
        list.close().await?;
        Ok(path)
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::DataInvalid, "a manifest names a file without saying which snapshot added it")
}

/// The smallest manifests, as many as may become one, and the others. One alone stays as it is.
fn small_ones(list: Vec<ManifestFile>, spec_id: i32) -> (Vec<ManifestFile>, Vec<ManifestFile>) {
    let files = |manifest: &ManifestFile| {
        let count = |count: Option<u32>| count.map(u64::from);
        // One that does not say how many files it names is not small.
        count(manifest.added_files_count).zip(count(manifest.existing_files_count)).map(|(added, old)| added + old)
    };
    let of_ours = |manifest: &ManifestFile| {
        manifest.content == ManifestContentType::Data && manifest.partition_spec_id == spec_id
    };
    let mut sizes: Vec<u64> = list.iter().filter(|manifest| of_ours(manifest)).filter_map(files).collect();
    sizes.sort_unstable();
    let mut total = 0;
    let fitting = sizes.iter().take_while(|size| {
        total += **size;
        total <= MANIFEST_FILES_MAX
    });
    let fitting = fitting.count();
    if fitting < 2 {
        return (Vec::new(), list);
    }
    let limit = sizes[fitting - 1];
    let mut left = fitting;
    list.into_iter().partition(|manifest| {
        let takes = left > 0 && of_ours(manifest) && files(manifest).is_some_and(|files| files <= limit);
        left -= usize::from(takes);
        takes
    })
}

/// Snapshots behind the last `count`, but for those after `since_ms`, and those that somebody has given a name.
fn expired(metadata: &TableMetadata, count: usize, since_ms: i64) -> Vec<i64> {
    let mut kept: HashSet<i64> = lineage(metadata).take(count).map(Snapshot::snapshot_id).collect();
    kept.extend(named(metadata));
    let goes = |snapshot: &Snapshot| !kept.contains(&snapshot.snapshot_id()) && snapshot.timestamp_ms() <= since_ms;
    metadata.snapshots().filter(|snapshot| goes(snapshot)).map(|snapshot| snapshot.snapshot_id()).collect()
}

/// Snapshots that branches and tags point at; the library tells them in its JSON alone.
fn named(metadata: &TableMetadata) -> Vec<i64> {
    let json = serde_json::to_value(metadata).unwrap_or_default();
    let refs = json.get("refs").and_then(|refs| refs.as_object());
    refs.into_iter().flatten().filter_map(|(_, points)| points.get("snapshot-id")?.as_i64()).collect()
}

/// What the snapshot says of itself, totals included.
fn summary(metadata: &TableMetadata, change: &Change<'_>, gone: &[DataFile]) -> Summary {
    let mut collected = SnapshotSummaryCollector::default();
    let parts = || (metadata.current_schema().clone(), metadata.default_partition_spec().clone());
    for file in &change.added {
        collected.add_file(file, parts().0, parts().1);
    }
    for file in gone {
        collected.remove_file(file, parts().0, parts().1);
    }
    let mut properties = collected.build();
    let before = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    let number = |properties: Option<&HashMap<String, String>>, name: &str| {
        properties.and_then(|properties| properties.get(name)?.parse::<u64>().ok()).unwrap_or(0)
    };
    for (total, added, removed) in [
        ("total-data-files", "added-data-files", "deleted-data-files"),
        ("total-records", "added-records", "deleted-records"),
        ("total-files-size", "added-files-size", "removed-files-size"),
        ("total-delete-files", "added-delete-files", "removed-delete-files"),
        ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
        ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
    ] {
        let sum = number(before, total) + number(Some(&properties), added);
        let left = sum.saturating_sub(number(Some(&properties), removed));
        properties.insert(total.into(), left.to_string());
    }
    for (name, value) in [(COMMIT_ID, change.commit_id), (WRITER, change.writer)] {
        properties.insert(name.into(), value.into());
    }
    let operation = match &change.kind {
        Kind::Append { batch, .. } => {
            properties.extend([FROM, TO].map(str::to_owned).into_iter().zip(ranges(batch)));
            Operation::Append
        }
        Kind::Replace { .. } => Operation::Replace,
        Kind::Delete { .. } => Operation::Delete,
    };
    Summary { operation, additional_properties: properties }
}
