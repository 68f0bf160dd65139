//! Upkeep: the rows stay what the topics have, cell by cell, whatever is put together, let go and removed, and whoever reads.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use iceberg::spec::Operation;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::lake_readers;
use skuflow_schemas::Span;
use skuflow_sinks::lake::{Deed, Lake, Period, Place, Step, TABLES, Table, Tended, Upkeep, UpkeepConfig};
use skuflow_sinks::limits::SNAPSHOTS_KEPT;
use skuflow_sinks::{Sink as _, SinkError};

use super::crashes::{CRASH, FOLDER, SIGABRT, child_of, crash_at, look, watches, while_read};
use super::readers::find_the_topics;
use super::world::{
    Home, NOW, SMALL, batch, broker, identity, lake, land, path_of, pending, pointer, publish, ready, records, rows,
    table_files, wait,
};
use super::writers::{folder, meanwhile, once, parquet_files};

const HOUR: i64 = 3_600_000_000;
pub const DAY: i64 = 24 * HOUR;
/// When the days of the events are over, and the files are quiet.
pub const LATER: i64 = NOW + 2 * HOUR;
/// When the grace period of all that is on disk has ended; the rows are kept for longer.
pub const MUCH_LATER: i64 = NOW + 300 * DAY;

/// For two small files or more.
pub fn upkeep(home: &(impl Home + ?Sized), table: &'static Table, at: i64) -> Upkeep {
    let settings = UpkeepConfig { files_min: 2, ..UpkeepConfig::default() };
    upkeep_by(home, table, at, settings)
}

fn upkeep_by(home: &(impl Home + ?Sized), table: &'static Table, at: i64, settings: UpkeepConfig) -> Upkeep {
    Upkeep::new("test", home.place(), table, settings, Clock::Fixed(Arc::new(at.into())))
}

/// Each row of the table with all its cells, as text.
fn cells(folder: &Path, table: &Table) -> BTreeSet<String> {
    let mut cells = BTreeSet::new();
    for file in table_files(folder, table).map(|(_, files)| files).unwrap_or_default() {
        let open = std::fs::File::open(path_of(file.file_path())).expect("a file that is named is there");
        for batch in ParquetRecordBatchReaderBuilder::try_new(open).expect("whole").build().expect("readable") {
            let batch = batch.expect("readable");
            cells.extend((0..batch.num_rows()).map(|row| format!("{:?}", batch.slice(row, 1).columns())));
        }
    }
    cells
}

/// How many files each part of the table has.
fn parts(folder: &Path, table: &Table) -> BTreeMap<String, usize> {
    let mut parts = BTreeMap::new();
    for file in table_files(folder, table).map(|(_, files)| files).unwrap_or_default() {
        *parts.entry(format!("{:?}", file.partition())).or_default() += 1;
    }
    parts
}

fn sum(deeds: &[Deed], what: &str) -> [u64; 3] {
    let each = deeds.iter().filter(|deed| deed.what == what);
    each.fold([0; 3], |[count, rows, bytes], deed| [count + deed.count, rows + deed.rows, bytes + deed.bytes])
}

/// Removes what nobody can find any more, all of it.
fn collect(folder: &Path, table: &'static Table) {
    for at in [MUCH_LATER, MUCH_LATER + DAY] {
        wait(upkeep(folder, table, at).gc()).expect("done");
    }
    let left = |name: &str| std::fs::read_dir(folder.join(name)).map(Iterator::count).unwrap_or_default();
    assert_eq!([left("pending"), left("expired"), left("staged")], [0; 3]);
}

pub fn is_clean(home: &(impl Home + ?Sized), table: &'static Table) {
    let differences = wait(upkeep(home, table, MUCH_LATER).fsck()).expect("readable");
    assert_eq!(differences, [], "{}", table.full_name);
}

/// A commit that nobody ends is given up, and its files go; small ones become one.
pub fn is_put_together_and_tidied(place: &Place) {
    let (broker, table) = (broker(60), &TABLES[0]);
    let fails = once(Step::Linked, || Err(std::io::ErrorKind::TimedOut.into()));
    let mut fails = ready(&broker, lake(place, table, Some(fails)));
    wait(fails.land(&batch(&broker, table, 0, (None, 6)))).expect_err("it is to fail");
    assert_eq!(pending(place).len(), 1);
    land(&broker, place, table, SMALL, None);
    let files = || table_files(place, table).expect("made").1.len();
    let before = files();
    assert!(!wait(upkeep(place, table, LATER).compact()).expect("done").is_empty());
    assert!(files() < before, "{} files of {before}", files());
    for at in [MUCH_LATER, MUCH_LATER + DAY] {
        wait(upkeep(place, table, at).gc()).expect("done");
    }
    assert_eq!(pending(place), Vec::<String>::new());
    assert_eq!(rows(place, table), records(&broker, table));
    is_clean(place, table);
}

#[test]
fn files_put_together_have_the_same_cells() {
    let (_dir, folder) = folder();
    let broker = broker(200);
    for table in &TABLES {
        land(&broker, &folder, table, SMALL, None);
        let (before, files) = (cells(&folder, table), parts(&folder, table));
        assert_eq!(before.len(), 200);
        // Late rows are in files of their own, days before; raw rows are all of one hour.
        let part_count = if table.is_raw() { 1 } else { 4 };
        assert!(files.len() >= part_count && files.values().all(|count| *count > 1), "{files:?}");
        let dry = wait(upkeep(&folder, table, LATER).dry().compact()).expect("readable");
        assert_eq!(parts(&folder, table), files, "a dry run changes nothing");
        let deeds = wait(upkeep(&folder, table, LATER).compact()).expect("done");
        assert_eq!(deeds, dry);
        assert_eq!(sum(&deeds, "compact")[..2], [files.values().sum::<usize>() as u64, 200]);
        assert_eq!(cells(&folder, table), before, "{}", table.full_name);
        assert!(parts(&folder, table).values().all(|count| *count == 1), "one file a part");
        let (metadata, files) = table_files(&folder, table).expect("made");
        let summary = metadata.current_snapshot().expect("made").summary();
        assert_eq!(summary.operation, Operation::Replace);
        let total = |name: &str| summary.additional_properties.get(name).and_then(|total| total.parse().ok());
        assert_eq!([total("total-records"), total("total-data-files")], [Some(200), Some(files.len())]);
        assert_eq!(wait(upkeep(&folder, table, LATER).compact()).expect("done"), [], "nothing is left to do");
        publish(&broker, table, 200..250);
        assert_eq!(land(&broker, &folder, table, SMALL, None).records(), 50, "the sink goes on where it ended");
        assert_eq!(wait(upkeep(&folder, table, NOW + HOUR - 1).compact()).expect("done"), [], "files are too new");
        wait(upkeep(&folder, table, LATER).compact()).expect("done");
        assert!(cells(&folder, table).is_superset(&before));
        assert_eq!(rows(&folder, table), records(&broker, table));
        is_clean(&folder, table);
    }
    assert!(pending(&folder).is_empty());
    let Some(python) = lake_readers() else { return };
    find_the_topics(&python, &folder, &broker, (TABLES.len(), 250));
}

/// The table gets a column; files from before do not have it.
#[test]
fn files_of_an_older_schema_have_nulls() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let location = path_of(&pointer(&folder, table).expect("made"));
    let mut metadata: Value = serde_json::from_slice(&std::fs::read(&location).expect("there")).expect("JSON");
    let id = metadata["last-column-id"].as_i64().expect("a number") + 1;
    metadata["last-column-id"] = id.into();
    let fields = metadata["schemas"][0]["fields"].as_array_mut().expect("a list");
    fields.insert(3, json!({ "id": id, "name": "remark", "required": false, "type": "string" }));
    std::fs::write(&location, metadata.to_string()).expect("writable");
    publish(&broker, table, 60..150);
    land(&broker, &folder, table, SMALL, None);
    wait(upkeep(&folder, table, LATER).compact()).expect("done");
    assert_eq!(rows(&folder, table), records(&broker, table));
    for file in table_files(&folder, table).expect("made").1 {
        let nulls = i32::try_from(id).ok().and_then(|id| file.null_value_counts().get(&id).copied());
        assert_eq!(nulls, Some(file.record_count()), "{}", file.file_path());
    }
    is_clean(&folder, table);
    let Some(python) = lake_readers() else { return };
    find_the_topics(&python, &folder, &broker, (1, 150));
}

/// The rows of a file are sorted as the sink sorts them, and its bounds are those of its rows.
#[test]
fn files_put_together_are_sorted() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(300), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    wait(upkeep(&folder, table, LATER).compact()).expect("done");
    for file in table_files(&folder, table).expect("made").1 {
        let open = std::fs::File::open(path_of(file.file_path())).expect("there");
        let mut keys = Vec::new();
        for batch in ParquetRecordBatchReaderBuilder::try_new(open).expect("whole").build().expect("readable") {
            let batch = batch.expect("readable");
            let text = |name: &str, row| format!("{:?}", batch.column_by_name(name).expect("there").slice(row, 1));
            keys.extend((0..batch.num_rows()).map(|row| (text("native_id", row), text("observed_at", row))));
        }
        assert!(keys.is_sorted() && keys.len() > 1, "{keys:?}");
        assert_eq!(file.sort_order_id(), Some(1));
    }
}

/// Not a test by itself: what the child runs, until it comes to a step for the n-th time.
#[test]
fn child_compacts_until_it_crashes() {
    let (Ok(folder), Ok(crash)) = (std::env::var(FOLDER), std::env::var(CRASH)) else { return };
    let mut upkeep = upkeep(Path::new(&folder), &TABLES[0], LATER);
    upkeep.set_hook(crash_at(&crash));
    wait(upkeep.compact()).expect("done");
}

#[test]
fn crashed_at_any_step_of_a_compaction_the_rows_are_those_of_the_topic() {
    const COUNT: u64 = 120;
    let (broker, table) = (broker(COUNT), &TABLES[0]);
    let expected = records(&broker, table);
    let mut watches = watches();
    for step in Step::ALL {
        let (_dir, folder) = folder();
        land(&broker, &folder, table, SMALL, None);
        while_read(&folder, || {
            for times in 1..=2 {
                let mut child =
                    child_of("upkeep::child_compacts_until_it_crashes", &folder, &format!("{step:?}:{times}"));
                let status = child.status().expect("starts");
                assert_eq!(status.signal(), Some(SIGABRT), "{step:?}, time {times}: the child ended by itself");
                for watch in &mut watches {
                    assert!(look(watch, &folder).iter().all(|total| *total == COUNT), "{step:?}");
                }
            }
            wait(upkeep(&folder, table, LATER).compact()).expect("done");
        });
        assert_eq!(rows(&folder, table), expected, "{step:?}");
        assert!(parts(&folder, table).values().all(|count| *count == 1), "{step:?}");
        // What the crashes left behind is removed when its time has come, and nothing else is.
        assert_eq!(wait(upkeep(&folder, table, LATER).gc()).expect("done"), [], "{step:?}: it is too early");
        collect(&folder, table);
        assert_eq!(rows(&folder, table), expected, "{step:?}");
        is_clean(&folder, table);
        for watch in &mut watches {
            assert!(look(watch, &folder).iter().all(|total| *total == COUNT), "{step:?}");
        }
    }
}

#[test]
fn rows_land_while_files_are_put_together() {
    for step in [Step::Pending, Step::Staged, Step::Linked, Step::Listed, Step::Described] {
        let (_dir, folder) = folder();
        let (broker, table) = (broker(60), &TABLES[0]);
        land(&broker, &folder, table, SMALL, None);
        publish(&broker, table, 60..100);
        let (other, there) = (broker.clone(), folder.clone());
        let mut upkeep = upkeep(&folder, table, LATER);
        upkeep.set_hook(meanwhile(step, move || {
            assert_eq!(land(&other, &there, &TABLES[0], SMALL, None).records(), 40);
        }));
        assert!(!wait(upkeep.compact()).expect("done").is_empty(), "{step:?}");
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}");
        collect(&folder, table);
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}");
        is_clean(&folder, table);
    }
}

#[test]
fn of_two_compactions_at_a_time_one_wins() {
    for step in [Step::Pending, Step::Staged, Step::Linked, Step::Listed, Step::Described] {
        let (_dir, folder) = folder();
        let (broker, table) = (broker(60), &TABLES[1]);
        land(&broker, &folder, table, SMALL, None);
        let there = folder.clone();
        let mut slow = upkeep(&folder, table, LATER);
        slow.set_hook(meanwhile(step, move || {
            assert!(!wait(upkeep(&there, &TABLES[1], LATER).compact()).expect("done").is_empty());
        }));
        assert_eq!(wait(slow.compact()).expect("done"), [], "{step:?}");
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}");
        let files = table_files(&folder, table).expect("made").1.len();
        assert!(parts(&folder, table).values().all(|count| *count == 1));
        assert!(
            !pending(&folder).is_empty() && parquet_files(&folder) > files,
            "{step:?}: nothing is deleted on doubt"
        );
        collect(&folder, table);
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}");
        is_clean(&folder, table);
    }
}

#[test]
fn a_lost_answer_to_a_compaction_is_looked_up() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let mut upkeep = upkeep(&folder, table, LATER);
    upkeep.set_hook(once(Step::Swapped, || Err(std::io::ErrorKind::TimedOut.into())));
    let deeds = wait(upkeep.compact()).expect("done");
    assert_eq!(sum(&deeds, "compact")[1], 60, "what was done is said");
    assert_eq!(rows(&folder, table), records(&broker, table));
    assert!(pending(&folder).is_empty());
}

/// Puts the table back by some snapshots.
fn put_back(folder: &Path, table: &Table, count: usize) {
    let location = path_of(&pointer(folder, table).expect("made"));
    let mut metadata: Value = serde_json::from_slice(&std::fs::read(&location).expect("there")).expect("JSON");
    for _ in 0..count {
        let current = metadata["current-snapshot-id"].clone();
        let snapshots = metadata["snapshots"].as_array().expect("a list");
        let snapshot = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == current).expect("there");
        let parent = snapshot["parent-snapshot-id"].clone();
        metadata["current-snapshot-id"] = parent.clone();
        metadata["refs"]["main"]["snapshot-id"] = parent;
    }
    std::fs::write(&location, metadata.to_string()).expect("writable");
}

#[test]
fn a_compaction_may_be_put_back_and_a_landing_may_not() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let deeds = wait(upkeep(&folder, table, LATER).compact()).expect("done").len();
    assert!(deeds > 1);
    put_back(&folder, table, deeds);
    assert_eq!(rows(&folder, table), records(&broker, table));
    wait(lake(&folder, table, None).positions(&identity(&broker))).expect("the positions are those of the rows");
    put_back(&folder, table, 1);
    for refused in [
        wait(lake(&folder, table, None).positions(&identity(&broker))).map(drop),
        wait(upkeep(&folder, table, LATER).compact()).map(drop),
        wait(upkeep(&folder, table, LATER).gc()).map(drop),
    ] {
        let refused = refused.expect_err("rows are missing");
        assert!(matches!(&refused, SinkError::Fatal(reason) if reason.contains("current again")), "{refused}");
    }
}

/// A lake whose clock is `at`.
fn lake_at(folder: &Path, table: &'static Table, at: i64) -> Lake {
    Lake::new("test", Place::folder(folder), table, Clock::Fixed(Arc::new(at.into())))
}

#[test]
fn rows_go_when_the_newest_of_their_file_is_old_enough() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    for (from, to, at) in [(None, 8, NOW), (Some(8), 14, NOW + 10 * DAY)] {
        let mut lake = ready(&broker, lake_at(&folder, table, at));
        wait(lake.land(&batch(&broker, table, 0, (from, to)))).expect("lands");
    }
    let kept = |days| UpkeepConfig { processed_kept: Period(Some(Span::from_days(days))), ..UpkeepConfig::default() };
    let expire = |at, settings| wait(upkeep_by(&folder, table, at, settings).expire()).expect("done");
    assert_eq!(expire(NOW + 20 * DAY, kept(20)), [], "not yet older");
    assert_eq!(expire(NOW + 900 * DAY, UpkeepConfig { processed_kept: Period(None), ..kept(1) }), [], "forever");
    let dry = wait(upkeep_by(&folder, table, NOW + 20 * DAY + 1, kept(20)).dry().expire()).expect("done");
    assert_eq!(rows(&folder, table).len(), 14, "a dry run changes nothing");
    let deeds = expire(NOW + 20 * DAY + 1, kept(20));
    assert_eq!((sum(&deeds, "delete rows")[1], &deeds), (8, &dry));
    let left = &records(&broker, table)[8..14];
    assert_eq!(rows(&folder, table), left);
    let (metadata, _) = table_files(&folder, table).expect("made");
    assert_eq!(metadata.current_snapshot().expect("made").summary().operation, Operation::Delete);
    // The files are there for those who found them before, until the snapshots are gone and the grace period is over.
    is_clean(&folder, table);
    let mut lake = ready(&broker, lake_at(&folder, table, NOW + 21 * DAY));
    wait(lake.land(&batch(&broker, table, 0, (Some(14), 20)))).expect("the positions did not move");
    assert_eq!(rows(&folder, table), records(&broker, table)[8..20]);
    is_clean(&folder, table);
}

/// A table of many small commits, put together now and then.
fn many_commits(folder: &Path, table: &'static Table, commits: u64) -> skuflow_runtime::broker::memory::Memory {
    let broker = broker(3 * commits);
    let mut lake = ready(&broker, lake(folder, table, None));
    for next in 1..=commits {
        wait(lake.land(&batch(&broker, table, 0, ((next > 1).then(|| next - 1), next)))).expect("lands");
        if next % 50 == 0 {
            wait(upkeep(folder, table, LATER).compact()).expect("done");
        }
    }
    broker
}

#[test]
fn what_expired_is_removed_after_the_grace_period_and_nothing_else() {
    const COMMITS: u64 = 150;
    let (_dir, folder) = folder();
    let table = &TABLES[2];
    let broker = many_commits(&folder, table, COMMITS);
    let expected = records(&broker, table)[..COMMITS as usize].to_vec();
    let before = parquet_files(&folder);
    assert_eq!(wait(upkeep(&folder, table, LATER).gc()).expect("done"), [], "the grace period goes on");
    let deeds = wait(upkeep(&folder, table, MUCH_LATER).expire()).expect("done");
    assert!(sum(&deeds, "expire snapshots")[0] > 0, "{deeds:?}");
    let (metadata, _) = table_files(&folder, table).expect("made");
    assert_eq!(metadata.snapshots().len(), SNAPSHOTS_KEPT);
    let dry = wait(upkeep(&folder, table, MUCH_LATER + DAY).dry().gc()).expect("done");
    assert_eq!(parquet_files(&folder), before, "a dry run changes nothing");
    let deeds = wait(upkeep(&folder, table, MUCH_LATER + DAY).gc()).expect("done");
    assert_eq!(deeds, dry);
    let [removed, _, bytes] = sum(&deeds, "remove files");
    assert!(removed > 0 && bytes > 0 && parquet_files(&folder) < before, "{deeds:?}");
    assert_eq!(rows(&folder, table), expected);
    is_clean(&folder, table);
    assert_eq!(wait(upkeep(&folder, table, MUCH_LATER + DAY).gc()).expect("done"), [], "once");
    // Each snapshot that is kept can still be read.
    let (metadata, _) = table_files(&folder, table).expect("made");
    let oldest = metadata.snapshots().min_by_key(|snapshot| snapshot.sequence_number()).expect("some").snapshot_id();
    let back = std::iter::successors(metadata.current_snapshot(), |snapshot| {
        snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id))
    });
    put_back(&folder, table, back.take_while(|snapshot| snapshot.snapshot_id() != oldest).count());
    assert!(rows(&folder, table).len() < expected.len());
}

#[test]
fn snapshots_that_are_young_or_named_stay() {
    let (_dir, folder) = folder();
    let table = &TABLES[2];
    many_commits(&folder, table, 120);
    let location = path_of(&pointer(&folder, table).expect("made"));
    let mut metadata: Value = serde_json::from_slice(&std::fs::read(&location).expect("there")).expect("JSON");
    let snapshots = metadata["snapshots"].as_array().expect("a list");
    let (count, oldest) = (snapshots.len(), snapshots.iter().min_by_key(|one| one["sequence-number"].as_i64()));
    let oldest = oldest.expect("some")["snapshot-id"].clone();
    metadata["refs"]["audit"] = json!({ "snapshot-id": oldest, "type": "tag" });
    std::fs::write(&location, metadata.to_string()).expect("writable");
    let settings = UpkeepConfig { snapshots_kept: Span::from_days(1), ..UpkeepConfig::default() };
    assert_eq!(wait(upkeep_by(&folder, table, LATER, settings.clone()).expire()).expect("done"), [], "they are young");
    let deeds = wait(upkeep_by(&folder, table, MUCH_LATER, settings).expire()).expect("done");
    assert_eq!(sum(&deeds, "expire snapshots")[0] as usize, count - SNAPSHOTS_KEPT - 1);
    collect(&folder, table);
    let (metadata, _) = table_files(&folder, table).expect("made");
    let tagged = metadata.snapshot_by_id(oldest.as_i64().expect("an id")).expect("it is named");
    assert!(path_of(tagged.manifest_list()).exists());
    is_clean(&folder, table);
}

/// Who found the files before may read to the end of the grace period.
#[test]
fn a_reader_that_came_before_reads_to_its_end() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(100), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let found: Vec<PathBuf> =
        table_files(&folder, table).expect("made").1.iter().map(|file| path_of(file.file_path())).collect();
    let tended = Tended::default();
    for hours in 2..24 {
        let deeds = wait(upkeep(&folder, table, NOW + hours * HOUR).round(&tended)).expect("done");
        assert!(deeds.is_some(), "nobody else is at it");
        assert!(found.iter().all(|file| file.exists()), "hour {hours}");
    }
    assert_eq!(tended.compacted_files.load(Ordering::Relaxed) as usize, found.len());
    assert_eq!(tended.last_round.load(Ordering::Relaxed), NOW + 23 * HOUR);
    assert_eq!(tended.files.load(Ordering::Relaxed) as usize, parts(&folder, table).len());
    assert_eq!(rows(&folder, table), records(&broker, table));
}

/// A landing at each step, while somebody removes what is out of reach.
#[test]
fn a_commit_that_is_young_keeps_its_files() {
    for step in Step::ALL {
        let (_dir, folder) = folder();
        let (broker, table) = (broker(60), &TABLES[0]);
        let there = folder.clone();
        let hook = meanwhile(step, move || {
            wait(upkeep(&there, &TABLES[0], NOW + DAY - 1).gc()).expect("done");
        });
        let mut slow = ready(&broker, lake(&folder, table, Some(hook)));
        let landed = wait(slow.land(&batch(&broker, table, 0, (None, 5)))).expect("it is left alone");
        assert_eq!(landed.records, 5, "{step:?}");
        assert_eq!(rows(&folder, table), records(&broker, table)[..5], "{step:?}");
        is_clean(&folder, table);
    }
}

/// The same when its time has run out, twice: the commit is given up, its files are gone, so that it must not happen; the batch
/// lands anew. One that has happened is seen.
#[test]
fn a_commit_that_was_given_up_does_not_happen() {
    for step in Step::ALL {
        let (_dir, folder) = folder();
        let (broker, table) = (broker(60), &TABLES[0]);
        let there = folder.clone();
        let hook = meanwhile(step, move || collect(&there, &TABLES[0]));
        let mut slow = ready(&broker, lake(&folder, table, Some(hook)));
        let came_to = wait(slow.land(&batch(&broker, table, 0, (None, 5))));
        let has_happened = matches!(step, Step::Swapped | Step::Over);
        assert_eq!(came_to.is_ok(), has_happened, "{step:?}: {came_to:?}");
        assert_eq!(rows(&folder, table).len(), if has_happened { 5 } else { 0 }, "{step:?}");
        land(&broker, &folder, table, SMALL, None);
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}");
        if let Err(SinkError::Fenced(reason)) = came_to {
            assert!(reason.contains("given up"), "{step:?}: {reason}");
        }
    }
}

#[test]
fn one_tends_a_table_at_a_time() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let tended = Tended::default();
    let there = folder.clone();
    let mut first = upkeep(&folder, table, LATER);
    first.set_hook(once(Step::Linked, move || {
        std::thread::scope(|scope| {
            let there = &there;
            let second = move |at| wait(upkeep(there, &TABLES[0], at).round(&Tended::default())).expect("done");
            scope.spawn(move || assert_eq!(second(LATER), None, "another is at it")).join().expect("waits");
            scope
                .spawn(move || assert!(second(LATER + HOUR).is_some(), "it has been silent for long"))
                .join()
                .expect("done");
        });
        Ok(())
    }));
    let deeds = wait(first.round(&tended)).expect("done").expect("it was first");
    assert_eq!(rows(&folder, table), records(&broker, table), "{deeds:?}");
    assert!(wait(upkeep(&folder, table, LATER).round(&tended)).expect("done").is_some(), "nobody is at it");
}

/// Each file that comes of others takes nine of the ten minutes of a turn.
#[test]
fn who_takes_long_keeps_the_turn() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(200), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let time = Arc::new(AtomicI64::new(LATER));
    let settings = UpkeepConfig { files_min: 2, ..UpkeepConfig::default() };
    let mut first = Upkeep::new("test", folder.place(), table, settings, Clock::Fixed(time.clone()));
    let (there, tries) = (folder.clone(), Arc::new(AtomicU64::new(0)));
    let counted = tries.clone();
    first.set_hook(Box::new(move |step| {
        if step == Step::Linked {
            let now = time.fetch_add(9 * HOUR / 60, Ordering::Relaxed) + 9 * HOUR / 60;
            std::thread::scope(|scope| {
                let second = || wait(upkeep(&there, &TABLES[0], now).round(&Tended::default())).expect("done");
                assert_eq!(scope.spawn(second).join().expect("waits"), None, "the first is at it");
            });
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }));
    let deeds = wait(first.round(&Tended::default())).expect("done").expect("nobody is at it");
    assert!(tries.load(Ordering::Relaxed) > 2, "longer than a turn: {deeds:?}");
    assert_eq!(rows(&folder, table), records(&broker, table));
}

#[test]
fn a_lake_that_is_not_there_needs_no_upkeep() {
    let (_dir, folder) = folder();
    for mut upkeep in [upkeep(&folder, &TABLES[0], LATER), upkeep(&folder, &TABLES[0], LATER).dry()] {
        assert_eq!(wait(upkeep.round(&Tended::default())).expect("nothing to do"), Some(Vec::new()));
        assert_eq!(wait(upkeep.fsck()).expect("nothing to see"), []);
    }
    assert!(!folder.exists(), "nothing is made");
}
