//! The files of a table: those in it, and those that any of its snapshots reaches.

use std::collections::{BTreeMap, HashSet};

use iceberg::io::FileIO;
use iceberg::spec::{DataFile, Datum, ManifestFile, ManifestList, PrimitiveLiteral, TableMetadata};

use crate::SinkError;
use crate::lake::catalog::Entry;
use crate::lake::commit::{Open, failed};
use crate::lake::snapshot::{data_files, stored};

/// The column that says when the lake took a row in.
const TAKEN_IN: &str = "_ingested_at";

/// A data file in the table.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) spec_id: i32,
    pub(super) sequence: i64,
    pub(super) file: DataFile,
    /// When the lake took in its newest row, microseconds, where that is known.
    pub(super) newest: Option<i64>,
}

/// The data files of the table's snapshot.
pub(super) async fn live(open: &Open, entry: &Entry) -> Result<Vec<Live>, SinkError> {
    read_live(&open.io, &entry.metadata).await.map_err(|error| failed(&entry.location, &error))
}

async fn read_live(io: &FileIO, metadata: &TableMetadata) -> iceberg::Result<Vec<Live>> {
    let taken_in = metadata.current_schema().field_id_by_name(TAKEN_IN);
    let micros = |datum: &Datum| match datum.literal() {
        PrimitiveLiteral::Long(micros) => Some(*micros),
        _ => None,
    };
    let mut live = Vec::new();
    for (spec_id, entry) in data_files(io, metadata).await? {
        let file = entry.data_file().clone();
        let newest = taken_in.and_then(|id| micros(file.upper_bounds().get(&id)?));
        live.push(Live { spec_id, sequence: entry.sequence_number().unwrap_or(0), file, newest });
    }
    live.sort_by(|one, other| (one.sequence, one.file.file_path()).cmp(&(other.sequence, other.file.file_path())));
    Ok(live)
}

/// Whether rows are removed by files that name them: other files cannot take the place of theirs.
pub(in crate::lake) async fn has_deletes(open: &Open, entry: &Entry) -> Result<bool, SinkError> {
    let manifests = stored(&open.io, &entry.metadata).await.map_err(|error| failed(&entry.location, &error))?;
    Ok(manifests.iter().any(|manifest| manifest.content == iceberg::spec::ManifestContentType::Deletes))
}

/// All addresses that a snapshot of the table reaches: manifest lists, manifests, data files, statistics.
pub(super) async fn reachable(open: &Open, entry: &Entry) -> Result<HashSet<String>, SinkError> {
    let metadata = &entry.metadata;
    let lists: Vec<String> = metadata.snapshots().map(|snapshot| snapshot.manifest_list().to_owned()).collect();
    let named = named_by(&open.io, metadata, &lists, Missing::Fails).await;
    let mut named: HashSet<String> = named.map_err(|error| failed(&entry.location, &error))?.into_keys().collect();
    named.extend(metadata.statistics_iter().map(|statistics| statistics.statistics_path.clone()));
    named.extend(metadata.partition_statistics_iter().map(|statistics| statistics.statistics_path.clone()));
    Ok(named)
}

/// What becomes of a manifest, or a list of them, that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Fails,
    /// It was removed, and before it all that it named.
    IsOver,
}

/// What an address holds. In the order of removal: what is named goes before what names it, so that it can be found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    /// Rows, and how many bytes of them.
    Rows(u64),
    Manifest,
    List,
}

/// What these manifest lists, and the manifests in them, name; they themselves included.
pub(super) async fn named_by(
    io: &FileIO,
    metadata: &TableMetadata,
    lists: &[String],
    missing: Missing,
) -> iceberg::Result<BTreeMap<String, Holds>> {
    let mut named = BTreeMap::new();
    for list in lists {
        let is_there = missing == Missing::Fails || io.new_input(list)?.exists().await?;
        if named.insert(list.clone(), Holds::List).is_some() || !is_there {
            continue;
        }
        let bytes = io.new_input(list)?.read().await?;
        for manifest in ManifestList::parse_with_version(&bytes, metadata.format_version())?.consume_entries() {
            if named.insert(manifest.manifest_path.clone(), Holds::Manifest).is_none() {
                name_files(io, &manifest, missing, &mut named).await?;
            }
        }
    }
    Ok(named)
}

/// The files that a manifest says are in the table; those that it says are gone are named by others before it.
async fn name_files(
    io: &FileIO,
    manifest: &ManifestFile,
    missing: Missing,
    named: &mut BTreeMap<String, Holds>,
) -> iceberg::Result<()> {
    if missing == Missing::IsOver && !io.new_input(&manifest.manifest_path)?.exists().await? {
        return Ok(());
    }
    let loaded = manifest.load_manifest(io).await?;
    let alive = loaded.entries().iter().filter(|entry| entry.is_alive() || missing == Missing::IsOver);
    named.extend(alive.map(|entry| (entry.file_path().to_owned(), Holds::Rows(entry.file_size_in_bytes()))));
    Ok(())
}
