//! Compares what a table says with what there is. Nothing is changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use iceberg::spec::{DataFile, Datum, TableMetadata};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaDataReader;
use serde::Serialize;
use serde_json::Value;
use skuflow_schemas::Timestamp;

use super::Upkeep;
use super::files::{Live, Missing, live, named_by};
use super::gc::{METADATA_SUFFIX, version};
use crate::SinkError;
use crate::lake::bounds::Facts;
use crate::lake::catalog::Entry;
use crate::lake::commit::{HINT, Open, failed};
use crate::lake::ledger::{EXPIRED, Entered, PENDING};
use crate::lake::offsets::{OFFSETS, Offsets};
use crate::lake::snapshot::{FROM, TO, lineage, undone};
use crate::lake::storage::{Listed, fault};
use crate::lake::tables::Table;
use crate::limits::FSCK_ROWS_MAX;

/// Something that is not as it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The table's full name.
    pub table: &'static str,
    /// What is wrong: `metadata`, `hint`, `positions`, `range`, `snapshot`, `totals`, `missing`, `size`, `file`, `rows`,
    /// `bounds`, `repeated`, `beyond`, `unreferenced` or `ledger`.
    pub what: &'static str,
    /// Where: a file, a snapshot, a partition of the topic.
    pub place: String,
    /// What was found, and what should be.
    pub detail: String,
}

/// What was found so far.
struct Found {
    table: &'static str,
    differences: Vec<Difference>,
}

impl Found {
    fn add(&mut self, what: &'static str, place: impl Into<String>, detail: impl Into<String>) {
        let (place, detail) = (place.into(), detail.into());
        self.differences.push(Difference { table: self.table, what, place, detail });
    }
}

/// Offsets of the rows, by partition.
type RowsSeen = BTreeMap<i64, Vec<i64>>;

impl Upkeep {
    /// Names every difference.
    ///
    /// # Errors
    /// See [`Self::round`].
    pub async fn fsck(&self) -> Result<Vec<Difference>, SinkError> {
        let mut found = Found { table: self.table.full_name, differences: Vec::new() };
        let Some(mut open) = Open::open_to_read(&self.place).await? else { return Ok(Vec::new()) };
        let Some(pointer) = open.catalog.pointer(self.table).await? else { return Ok(Vec::new()) };
        let Some((folder, _)) = pointer.rsplit_once("/metadata/") else {
            found.add("metadata", pointer, "it is not where the table's metadata belongs");
            return Ok(found.differences);
        };
        // In this order, so that what a commit makes meanwhile is in the ledger, or in the table.
        let mut listed = open.files.list(folder).await.map_err(fault)?;
        let (pending, expired) = (open.entries(PENDING).await?, open.entries(EXPIRED).await?);
        let entry = match open.catalog.load(self.table).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(Vec::new()),
            Err(error) => {
                found.add("metadata", pointer, error.to_string());
                return Ok(found.differences);
            }
        };
        if !open.catalog.places_tables() {
            hint(&open, &entry.location, &mut found).await;
        }
        positions(&entry.metadata, &mut found);
        let reached = snapshots(&open, &entry.metadata, &mut found).await;
        match live(&open, &entry).await {
            Ok(live) => contents(&open, &entry, &live, &listed, &mut found).await,
            Err(error) => found.add("snapshot", entry.location.clone(), error.to_string()),
        }
        let until = Timestamp::from_micros(self.grace_ends());
        let known = ledger(&open, (self.table, &entry.metadata), (&pending, &expired), until, &mut found).await?;
        if let Some(reached) = reached {
            if open.catalog.places_tables() {
                listed.retain(|file| !file.address.ends_with(METADATA_SUFFIX)); // the catalog's own
            }
            unreferenced(&entry, &listed, &reached, &known, until, &mut found);
        }
        Ok(found.differences)
    }
}

async fn hint(open: &Open, location: &str, found: &mut Found) {
    let Some((folder, name)) = location.rsplit_once('/') else { return };
    let address = format!("{folder}/{HINT}");
    let said = open.files.read(&address).await;
    let said = said.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    if name.strip_suffix(".metadata.json") != Some(said.as_str()) {
        found.add("hint", address, format!("it says {said:?}, the catalog {name}"));
    }
}

/// The positions, and the ranges that the snapshots took in, which have to follow upon each other up to them.
fn positions(metadata: &TableMetadata, found: &mut Found) {
    if let Some(last) = undone(metadata) {
        found.add("positions", last, "the table was put back behind this commit, its newest");
    }
    let offsets = Offsets::parse(metadata.properties().get(OFFSETS).map(String::as_str));
    let Some(offsets) = offsets else {
        found.add("positions", OFFSETS, "the property cannot be read");
        return;
    };
    let positions: BTreeMap<String, u64> =
        offsets.positions().into_iter().map(|(of, next)| (of.to_string(), next)).collect();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut snapshots: Vec<_> = lineage(metadata).collect();
    snapshots.reverse();
    for snapshot in snapshots {
        let said = |name: &str| {
            let text = snapshot.summary().additional_properties.get(name)?;
            serde_json::from_str::<BTreeMap<String, Value>>(text).ok()
        };
        let Some((from, to)) = said(FROM).zip(said(TO)) else { continue };
        for (of, to) in to {
            let from = from.get(&of).and_then(Value::as_u64);
            let end = ends.insert(of.clone(), to.as_u64().unwrap_or(0));
            if let Some(end) = end.filter(|end| from != Some(*end)) {
                let kind = if from.is_some_and(|from| from > end) { "a gap" } else { "an overlap" };
                let detail = format!("{kind} in {of}: it begins at {from:?}, the one before ended at {end}");
                found.add("range", format!("snapshot {}", snapshot.snapshot_id()), detail);
            }
        }
    }
    for (of, end) in ends {
        if positions.get(&of) != Some(&end) {
            let position = positions.get(&of);
            found.add("positions", of, format!("the position is {position:?}, the newest snapshot ended at {end}"));
        }
    }
}

/// All that the snapshots reach. One that cannot be read is a difference, and nobody knows then what it reaches.
async fn snapshots(open: &Open, metadata: &TableMetadata, found: &mut Found) -> Option<HashSet<String>> {
    let (mut reached, mut is_whole) = (HashSet::new(), true);
    let mut snapshots: Vec<_> = metadata.snapshots().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    for snapshot in snapshots {
        let list = [snapshot.manifest_list().to_owned()];
        match named_by(&open.io, metadata, &list, Missing::Fails).await {
            Ok(named) => reached.extend(named.into_keys()),
            Err(error) => {
                is_whole = false;
                found.add("snapshot", format!("snapshot {}", snapshot.snapshot_id()), error.to_string());
            }
        }
    }
    is_whole.then_some(reached)
}

/// The files of the table, and the rows in them.
async fn contents(open: &Open, entry: &Entry, live: &[Live], listed: &[Listed], found: &mut Found) {
    let metadata = &entry.metadata;
    let rows: u64 = live.iter().map(|live| live.file.record_count()).sum();
    let summary = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    let total = summary.and_then(|summary| summary.get("total-records")?.parse::<u64>().ok());
    if let Some(total) = total.filter(|total| *total != rows) {
        found.add("totals", entry.location.clone(), format!("the snapshot says {total} rows, its files have {rows}"));
    }
    let sizes: HashMap<&str, u64> = listed.iter().map(|file| (file.address.as_str(), file.bytes)).collect();
    let mut seen = (rows <= FSCK_ROWS_MAX).then(RowsSeen::new);
    for Live { file, .. } in live {
        let address = file.file_path();
        match sizes.get(address) {
            Some(bytes) if *bytes != file.file_size_in_bytes() => {
                let said = file.file_size_in_bytes();
                found.add("size", address, format!("it has {bytes} bytes, the table says {said}"));
            }
            _ => {}
        }
        match content(open, metadata, file, seen.as_mut()).await {
            Ok(wrong) => wrong.into_iter().for_each(|(what, detail)| found.add(what, address, detail)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => found.add("missing", address, "it is not there"),
            Err(error) => found.add("file", address, error.to_string()),
        }
    }
    repeated(metadata, seen.unwrap_or_default(), found);
}

/// What is wrong with a file. Notes the offsets of its rows in `seen`.
async fn content(
    open: &Open,
    metadata: &TableMetadata,
    file: &DataFile,
    seen: Option<&mut RowsSeen>,
) -> io::Result<Vec<(&'static str, String)>> {
    let source = open.files.source(file.file_path()).await?;
    let footer = ParquetMetaDataReader::new().parse_and_finish(&source)?;
    let mut wrong = Vec::new();
    let rows = footer.file_metadata().num_rows() as u64;
    if rows != file.record_count() {
        wrong.push(("rows", format!("it has {rows} rows, the table says {}", file.record_count())));
    }
    let facts = Facts::of(&footer, metadata.current_schema());
    let narrower = |said: &HashMap<i32, Datum>, are: &HashMap<i32, Datum>, is_within: fn(&Datum, &Datum) -> bool| {
        let mut ids: Vec<i32> = said.keys().copied().collect();
        ids.sort_unstable();
        let is_narrow = |id: &i32| are.get(id).is_some_and(|real| is_within(&said[id], real));
        let name = |id| metadata.current_schema().name_by_field_id(id).unwrap_or("?").to_owned();
        let each = ids.into_iter().filter(is_narrow);
        each.map(|id| format!("`{}` goes to {}, the table says {}", name(id), are[&id], said[&id])).collect::<Vec<_>>()
    };
    let lower = narrower(file.lower_bounds(), &facts.lower, |said, real| said > real);
    let upper = narrower(file.upper_bounds(), &facts.upper, |said, real| said < real);
    wrong.extend(lower.into_iter().chain(upper).map(|detail| ("bounds", detail)));
    if let Some(seen) = seen {
        note_offsets(source, seen)?;
    }
    Ok(wrong)
}

fn note_offsets(source: std::fs::File, seen: &mut RowsSeen) -> io::Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(source)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["_partition", "_offset"]);
    for batch in builder.with_projection(mask).build()? {
        let batch = batch.map_err(io::Error::other)?;
        let long = |name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        let Some((partitions, offsets)) = long("_partition").zip(long("_offset")) else { return Ok(()) };
        for (partition, offset) in partitions.values().iter().zip(offsets.values()) {
            seen.entry(*partition).or_default().push(*offset);
        }
    }
    Ok(())
}

/// Rows that are there more than once, and rows beyond the positions.
fn repeated(metadata: &TableMetadata, seen: RowsSeen, found: &mut Found) {
    let offsets = Offsets::parse(metadata.properties().get(OFFSETS).map(String::as_str)).unwrap_or_default();
    let positions = offsets.positions();
    for (partition, mut offsets) in seen {
        offsets.sort_unstable();
        let place = format!("partition {partition}");
        let mut twice = offsets.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        if let Some(first) = twice.next() {
            let count = 1 + twice.count();
            found.add("repeated", place.clone(), format!("{count} rows are there again, the first of offset {first}"));
        }
        let position = positions.iter().find(|(of, _)| i64::from(of.partition) == partition).map(|(_, next)| *next);
        let last = offsets.last().copied().unwrap_or(-1);
        if position.is_some_and(|position| last >= position as i64) {
            let position = position.unwrap_or_default();
            found.add("beyond", place, format!("there is a row of offset {last}, the position is {position}"));
        }
    }
}

/// What the ledger knows: addresses, and ids of commits that are in the names of what they make.
#[derive(Default)]
struct Known {
    addresses: HashSet<String>,
    commits: Vec<String>,
}

async fn ledger(
    open: &Open,
    (table, metadata): (&Table, &TableMetadata),
    (pending, expired): (&[Entered], &[Entered]),
    until: Timestamp,
    found: &mut Found,
) -> Result<Known, SinkError> {
    let mut known = Known::default();
    for entered in pending.iter().chain(expired) {
        let Some(note) = &entered.note else {
            found.add("ledger", entered.address.clone(), "the entry cannot be read");
            continue;
        };
        if !note.is_of(table, metadata) {
            continue;
        }
        known.commits.push(entered.name.clone());
        known.addresses.extend(note.files.iter().map(|file| file.path.clone()));
        let named = named_by(&open.io, metadata, &note.manifest_lists, Missing::IsOver).await;
        known.addresses.extend(named.map_err(|error| failed(&entered.address, &error))?.into_keys());
    }
    for Entered { address, note, .. } in pending {
        let begun_at = note.as_ref().filter(|note| note.is_of(table, metadata)).map(|note| note.begun_at);
        if let Some(begun_at) = begun_at.map(Timestamp::from_micros).filter(|begun_at| *begun_at <= until) {
            let detail = format!("a commit has been on its way since {begun_at}; `skuflow lake gc` gives it up");
            found.add("ledger", address.clone(), detail);
        }
    }
    Ok(known)
}

/// Files that nobody names, old enough not to be on their way.
fn unreferenced(
    entry: &Entry,
    listed: &[Listed],
    reached: &HashSet<String>,
    known: &Known,
    until: Timestamp,
    found: &mut Found,
) {
    let Entry { location, metadata } = entry;
    let mut named: HashSet<&str> = reached.iter().chain(&known.addresses).map(String::as_str).collect();
    named.insert(location);
    named.extend(metadata.metadata_log().iter().map(|log| log.metadata_file.as_str()));
    named.extend(metadata.statistics_iter().map(|statistics| statistics.statistics_path.as_str()));
    named.extend(metadata.partition_statistics_iter().map(|statistics| statistics.statistics_path.as_str()));
    let is_known = |address: &str| {
        let is_next = version(address).zip(version(location)).is_some_and(|(version, newest)| version > newest);
        let of_commit = known.commits.iter().any(|commit| address.contains(commit.as_str()));
        named.contains(address) || is_next || of_commit || address.ends_with(HINT)
    };
    let mut lost: Vec<&Listed> =
        listed.iter().filter(|file| file.modified <= until && !is_known(&file.address)).collect();
    lost.sort();
    for file in lost {
        found.add("unreferenced", file.address.clone(), format!("nothing names it; it has {} bytes", file.bytes));
    }
}
