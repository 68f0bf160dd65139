//! What was landed is read back, whatever it is.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, MAIN_BRANCH, ManifestListWriter, ManifestWriterBuilder,
    Operation, Schema, Snapshot, SnapshotReference, SnapshotRetention, Summary, UNASSIGNED_SEQUENCE_NUMBER,
};
use skuflow_runtime::clock::Clock;
use tempfile::TempDir;

use super::drawn::{drawn, typed};
use super::*;
use crate::lake::catalog::Swap;
use crate::lake::config::Upkeep as UpkeepSettings;
use crate::lake::snapshot::stored;
use crate::lake::steps::Steps;
use crate::lake::tables::TABLES;
use crate::lake::upkeep::Upkeep;
use crate::lake::writer::Lake;
use crate::{Batch, Incoming, Part, Sink as _};

const NOW: i64 = 1_790_000_000_000_000;
const HOUR: i64 = 3_600_000_000;

/// Events of a partition, as they were landed.
type Landed = Vec<(Offset, Event)>;

fn wait<T>(future: impl Future<Output = T>) -> T {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    event_loop.expect("an event loop").block_on(future)
}

fn identity(cluster: &str, topic_id: &str) -> Identity {
    let topic_ids = TABLES.iter().map(|table| (table.topic.to_owned(), topic_id.to_owned())).collect();
    Identity { cluster_id: cluster.into(), topic_ids }
}

fn clock(at: i64) -> Clock {
    Clock::Fixed(Arc::new(at.into()))
}

/// Events by partition, each where its offset is a bit more than that of the one before.
fn events(table: &Table, count: u64) -> BTreeMap<u32, Landed> {
    let mut events = BTreeMap::<u32, Landed>::new();
    for number in 0..count {
        let partition = (number % 5) as u32 % 3;
        events.entry(partition).or_default().push((number * 3 / 2 + 10, drawn(table, number)));
    }
    events
}

/// Lands `events` of a topic, a few offsets at a time.
async fn land(folder: &Path, table: &'static Table, topic: &str, events: &BTreeMap<u32, Landed>, offsets: usize) {
    let mut lake = Lake::new("test", Place::folder(folder), table, clock(NOW));
    let end = events.values().flatten().map(|(offset, _)| offset + 1).max().expect("some");
    let mut stored = lake.positions(&identity("c", "id")).await.expect("opens");
    for from in (0..end).step_by(offsets) {
        let to = end.min(from + offsets as Offset);
        let part = |(partition, events): (&u32, &Landed)| {
            let of = TopicPartition::new(topic, *partition);
            let taken = events.iter().filter(|(offset, _)| (from..to).contains(offset));
            let records = taken.map(|(offset, event)| Incoming::Event(event.clone(), *offset)).collect();
            let range = crate::Range { from: stored.get(&of).copied(), to };
            (of, Part { range, records })
        };
        let batch = Batch { parts: events.iter().map(part).collect() };
        lake.land(&batch).await.expect("lands");
        stored.extend(batch.parts.keys().map(|of| (of.clone(), to)));
    }
}

async fn open(folder: &Path, table: &'static Table) -> Events {
    Events::open(&Place::folder(folder), table, &identity("c", "id")).await.expect("readable").expect("there")
}

/// The pieces in which a range is handed over.
async fn pieces(events: &mut Events, of: &TopicPartition, range: Range<Offset>) -> Vec<Landed> {
    let mut pieces = Vec::new();
    let each = async |piece| {
        pieces.push(piece);
        Ok(())
    };
    events.read(of, range, each).await.expect("readable");
    pieces
}

/// Reads all partitions in windows of this length.
async fn check(folder: &Path, table: &'static Table, expected: &BTreeMap<u32, Landed>, window: Offset) {
    let mut events = open(folder, table).await;
    events.window = window;
    for (partition, expected) in expected {
        let of = TopicPartition::new(table.topic, *partition);
        let end = events.next_offset(&of).expect("landed");
        assert!(expected.last().is_some_and(|(offset, _)| *offset < end));
        let pieces = pieces(&mut events, &of, 0..Offset::MAX).await;
        let is_bounded = |piece: &Landed| piece.last().map_or(0, |last| last.0) - piece[0].0 < window;
        assert!(pieces.iter().all(is_bounded));
        let found = pieces.concat();
        assert_eq!(found.len(), expected.len(), "{of}");
        found.iter().zip(expected).for_each(|(found, expected)| assert_eq!(found, expected, "{of}"));
    }
}

#[test]
fn what_was_landed_is_read_back() {
    for table in typed() {
        let dir = TempDir::new().expect("a folder");
        let events = events(table, 80);
        wait(async {
            land(dir.path(), table, table.topic, &events, 50).await;
            for window in [1, 50, EVENTS_OFFSETS] {
                check(dir.path(), table, &events, window).await;
            }
        });
    }
}

#[test]
fn files_put_together_are_read_as_well() {
    for table in typed() {
        let dir = TempDir::new().expect("a folder");
        let events = events(table, 30);
        wait(async {
            land(dir.path(), table, table.topic, &events, 20).await;
            let mut before = open(dir.path(), table).await;
            let settings = UpkeepSettings { files_min: 2, ..UpkeepSettings::default() };
            let place = Place::folder(dir.path());
            let mut upkeep = Upkeep::new("test", place, table, settings, clock(NOW + 2 * HOUR));
            assert!(!upkeep.compact().await.expect("done").is_empty());
            check(dir.path(), table, &events, 13).await;
            assert!(open(dir.path(), table).await.held.len() < before.held.len());
            let of = TopicPartition::new(table.topic, 1);
            assert_eq!(pieces(&mut before, &of, 0..Offset::MAX).await.concat(), events[&1], "the snapshot as it was");
        });
    }
}

#[test]
fn a_range_is_read_and_nothing_else() {
    let (dir, table) = (TempDir::new().expect("a folder"), &TABLES[0]);
    let events = events(table, 40);
    // Another prefix of topics leads into the same table.
    let others = BTreeMap::from([(0, vec![(12, drawn(table, 1)), (13, drawn(table, 0))])]);
    wait(async {
        land(dir.path(), table, table.topic, &events, 20).await;
        land(dir.path(), table, "other.offers.v1", &others, 20).await;
        let mut lake = open(dir.path(), table).await;
        lake.window = 6;
        let of = TopicPartition::new(table.topic, 0);
        let end = lake.next_offset(&of).expect("landed");
        for range in [0..end, 0..11, 12..40, 40..end, 0..0, 20..20, end..end + 9, Offset::MAX - 1..Offset::MAX] {
            let expected: Landed = events[&0].iter().filter(|(offset, _)| range.contains(offset)).cloned().collect();
            assert_eq!(pieces(&mut lake, &of, range.clone()).await.concat(), expected, "{range:?}");
        }
        let of = TopicPartition::new("other.offers.v1", 0);
        assert_eq!(pieces(&mut lake, &of, 0..Offset::MAX).await.concat(), others[&0]);
        for unknown in [TopicPartition::new("other.offers.v1", 1), TopicPartition::new("sales.v1", 0)] {
            assert_eq!(lake.next_offset(&unknown), None);
            assert_eq!(pieces(&mut lake, &unknown, 0..Offset::MAX).await, Vec::<Landed>::new());
        }
    });
}

#[test]
fn what_stops_the_caller_stops_the_reading() {
    let (dir, table) = (TempDir::new().expect("a folder"), &TABLES[0]);
    wait(async {
        land(dir.path(), table, table.topic, &events(table, 40), 100).await;
        let mut lake = open(dir.path(), table).await;
        lake.window = 6;
        let mut calls = 0;
        let each = async |_| {
            calls += 1;
            Err(SinkError::Fenced("enough".into()))
        };
        let read = lake.read(&TopicPartition::new(table.topic, 0), 0..Offset::MAX, each).await;
        assert!(matches!(read, Err(SinkError::Fenced(_))));
        assert_eq!(calls, 1);
    });
}

/// What is said instead of opening a table.
fn refused(folder: &Path, table: &'static Table, identity: &Identity) -> String {
    match wait(Events::open(&Place::folder(folder), table, identity)) {
        Err(SinkError::Fatal(reason)) => reason,
        other => panic!("{:?}", other.map(|events| events.is_some())),
    }
}

#[test]
fn rows_of_another_log_are_refused() {
    let (dir, table) = (TempDir::new().expect("a folder"), &TABLES[0]);
    wait(land(dir.path(), table, table.topic, &events(table, 10), 100));
    for other in [identity("d", "id"), identity("c", "made anew")] {
        let reason = refused(dir.path(), table, &other);
        assert!(reason.contains("processed.offers") && reason.contains("another data directory"), "{reason}");
        assert!(reason.contains("Name the lake that was filled from this one"), "{reason}");
    }
    assert!(refused(dir.path(), &TABLES[6], &identity("c", "id")).contains("raw.offers holds records as they came"));
}

#[test]
fn where_there_is_no_lake_none_is_made() {
    let (dir, table) = (TempDir::new().expect("a folder"), &TABLES[0]);
    let folder = dir.path().join("lake");
    let is_there =
        || wait(Events::open(&Place::folder(&folder), table, &identity("c", "id"))).expect("no error").is_some();
    assert!(!is_there());
    assert!(!folder.exists());
    wait(land(&folder, &TABLES[1], TABLES[1].topic, &events(&TABLES[1], 1), 100));
    assert!(!is_there(), "a table of sales alone");
}

#[test]
fn damage_is_told() {
    let (dir, table) = (TempDir::new().expect("a folder"), &TABLES[0]);
    let twice = BTreeMap::from([(0, vec![(3, drawn(table, 1)), (3, drawn(table, 2))])]);
    wait(async {
        land(dir.path(), table, table.topic, &twice, 100).await;
        let (mut lake, of) = (open(dir.path(), table).await, TopicPartition::new(table.topic, 0));
        let read = lake.read(&of, 0..Offset::MAX, async |_| Ok(())).await;
        let Err(SinkError::Fatal(reason)) = read else { panic!("{read:?}") };
        assert!(reason.contains("offset 3 of offers.v1/0 is in table processed.offers twice"), "{reason}");
        let mut lake = open(dir.path(), table).await;
        for file in &lake.held {
            std::fs::remove_file(file.address.trim_start_matches("file://")).expect("there");
        }
        let read = lake.read(&of, 0..Offset::MAX, async |_| Ok(())).await;
        let Err(SinkError::Retry(reason)) = read else { panic!("{read:?}") };
        assert!(reason.contains("processed.offers: file:///"), "{reason}");
    });
}

#[test]
fn windows_begin_where_files_have_something() {
    let held = |partitions, offsets| Held { address: String::new(), bytes: 0, partitions, offsets };
    let files = [held(0..=1, 50..=59), held(1..=1, 10..=20), held(0..=3, 90..=95)];
    let check = |partition, mut range: Range<Offset>, expected: &str| {
        let mut found = Vec::new();
        while let Some(window) = next_window(&files, partition, range.clone(), 8) {
            range.start = window.end;
            found.push(format!("{window:?}"));
        }
        assert_eq!(found.join(" "), expected, "partition {partition}");
    };
    check(0, 0..100, "50..58 58..66 90..98");
    check(1, 15..55, "15..23 50..55");
    check(3, 0..Offset::MAX, "90..98");
    check(4, 0..100, "");
    check(0, 60..90, "");
    check(0, 95..95, "");
    check(0, Range { start: 58, end: 50 }, "");
}

/// What another engine makes of the table.
async fn change(
    folder: &Path,
    table: &'static Table,
    updates: impl AsyncFnOnce(&Open, &TableMetadata) -> Vec<TableUpdate>,
) {
    let mut lake = Open::open(&Place::folder(folder)).await.expect("opens");
    let Loaded { entry, .. } = lake.load(table).await.expect("readable").expect("there");
    let updates = updates(&lake, &entry.metadata).await;
    let swap = lake.catalog.swap(table, entry, updates, &mut Steps::default()).await;
    assert_eq!(swap.expect("answers"), Swap::Won);
}

#[test]
fn columns_may_come_and_go() {
    let (dir, table) = (TempDir::new().expect("a folder"), &TABLES[0]);
    let without_pack = async |_: &Open, metadata: &TableMetadata| {
        let fields = metadata.current_schema().as_struct().fields().iter();
        let fields = fields.filter(|field| !field.name.starts_with("pack_")).cloned();
        let schema = Schema::builder().with_fields(fields).build().expect("a schema");
        vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }]
    };
    let mut expected = BTreeMap::from([(0, vec![(0, drawn(table, 1)), (5, drawn(table, 1))])]);
    wait(async {
        land(dir.path(), table, table.topic, &BTreeMap::from([(0, vec![expected[&0][0].clone()])]), 1).await;
        change(dir.path(), table, without_pack).await;
        let of = TopicPartition::new(table.topic, 0);
        let found = pieces(&mut open(dir.path(), table).await, &of, 0..Offset::MAX).await.concat();
        let Event::Offer(first) = &mut expected.get_mut(&0).expect("there")[0].1 else {
            unreachable!("it is an offer")
        };
        assert!(first.pack.take().is_some());
        assert_eq!(found, expected[&0][..1]);
        // A column that is added has another id than that of the same name before it.
        land(dir.path(), table, table.topic, &expected, 1).await;
        check(dir.path(), table, &expected, EVENTS_OFFSETS).await;
    });
}

/// A manifest that names a file by which rows are deleted, in a snapshot after the newest.
async fn deletes(lake: &Open, metadata: &TableMetadata) -> Vec<TableUpdate> {
    const ID: i64 = 7;
    let path = |name: &str| format!("{}/metadata/{name}", metadata.location());
    let output = |name: &str| lake.io.new_output(path(name)).expect("an address");
    let (schema, spec) = (metadata.current_schema().clone(), metadata.default_partition_spec().as_ref().clone());
    let partition = data_files(&lake.io, metadata).await.expect("readable")[0].1.data_file().partition().clone();
    let mut manifest = ManifestWriterBuilder::new(output("m.avro"), Some(ID), schema, spec).build_v2_deletes();
    let file = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path("deletes.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(metadata.default_partition_spec_id())
        .record_count(1)
        .file_size_in_bytes(1)
        .build();
    manifest.add_file(file.expect("complete"), UNASSIGNED_SEQUENCE_NUMBER).expect("it fits");
    let manifest = manifest.write_manifest_file().await.expect("written");
    let (number, parent) = (metadata.next_sequence_number(), metadata.current_snapshot_id());
    let list = output("list.avro").writer().await.expect("opens");
    let mut list = ManifestListWriter::v2(list, ID, parent, number);
    let manifests = stored(&lake.io, metadata).await.expect("readable").into_iter().chain([manifest]);
    list.add_manifests(manifests).expect("they fit");
    list.close().await.expect("written");
    let summary = Summary { operation: Operation::Delete, additional_properties: HashMap::new() };
    let snapshot = Snapshot::builder()
        .with_snapshot_id(ID)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(number)
        .with_timestamp_ms(metadata.last_updated_ms())
        .with_manifest_list(path("list.avro"))
        .with_summary(summary)
        .with_schema_id(metadata.current_schema_id())
        .build();
    let reference = SnapshotReference::new(ID, SnapshotRetention::branch(None, None, None));
    vec![TableUpdate::AddSnapshot { snapshot }, TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference }]
}

#[test]
fn rows_that_another_engine_has_deleted_do_not_come_back() {
    let (dir, table) = (TempDir::new().expect("a folder"), &TABLES[0]);
    wait(async {
        land(dir.path(), table, table.topic, &events(table, 5), 100).await;
        change(dir.path(), table, deletes).await;
    });
    let reason = refused(dir.path(), table, &identity("c", "id"));
    assert!(reason.contains("another engine has deleted rows of table processed.offers"), "{reason}");
}
