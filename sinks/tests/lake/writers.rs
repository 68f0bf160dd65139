//! Several writers, lost answers, and commits of others between ours.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use iceberg::spec::DataFile;
use serde_json::{Value, json};
use skuflow_runtime::broker::TopicPartition;
use skuflow_runtime::testing::SmallDisk;
use skuflow_sinks::batcher::Cut;
use skuflow_sinks::lake::{Address, CATALOG_FILE, CATALOG_NAME, Hook, Place, Step, TABLES};
use skuflow_sinks::{Landed, Sink as _, SinkError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::world::{
    SMALL, batch, broker, identity, lake, land, path_of, pending, pointer, publish, ready, records, rows, table_files,
    wait,
};

/// Calls `then` the first time that a landing is at `step`.
pub fn once(step: Step, then: impl FnOnce() -> io::Result<()> + Send + 'static) -> Hook {
    let mut then = Some(then);
    Box::new(move |at| if at == step { then.take().map_or(Ok(()), |then| then()) } else { Ok(()) })
}

/// What another writer does at `step`, with an event loop of its own.
pub fn meanwhile(step: Step, then: impl FnOnce() + Send + 'static) -> Hook {
    once(step, || {
        std::thread::scope(|scope| scope.spawn(then).join().expect("it lands"));
        Ok(())
    })
}

pub fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("lake");
    (dir, folder)
}

pub fn parquet_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("readable").flatten();
    let count = |path: PathBuf| {
        if path.is_dir() { parquet_files(&path) } else { usize::from(path.extension().is_some_and(|e| e == "parquet")) }
    };
    entries.map(|entry| count(entry.path())).sum()
}

#[test]
fn every_table_has_the_rows_of_its_topic() {
    let (_dir, folder) = folder();
    let broker = broker(200);
    for table in &TABLES {
        let progress = land(&broker, &folder, table, SMALL, None);
        assert_eq!(progress.records(), 200);
        assert_eq!(progress.rows(), BTreeMap::from([(table.full_name, 200)]));
        assert_eq!(rows(&folder, table), records(&broker, table), "{}", table.full_name);
        let (_, files) = table_files(&folder, table).expect("made");
        assert_eq!(progress.files(), files.len() as u64);
        assert_eq!(progress.file_bytes(), files.iter().map(DataFile::file_size_in_bytes).sum::<u64>());
        publish(&broker, table, 200..250);
        assert_eq!(land(&broker, &folder, table, SMALL, None).records(), 50, "it goes on where it ended");
        assert_eq!(rows(&folder, table), records(&broker, table), "{}", table.full_name);
    }
    assert!(pending(&folder).is_empty(), "nothing is on its way");
}

#[test]
fn the_same_batch_lands_once() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    let first = batch(&broker, table, 0, (None, 5));
    let mut lake = ready(&broker, lake(&folder, table, None));
    assert_eq!(wait(lake.land(&first)).expect("lands").records, 5);
    assert_eq!(wait(lake.land(&first)).expect("had landed"), Landed::default());
    assert_eq!(rows(&folder, table), records(&broker, table)[..5]);
}

/// A writer at `step` while another lands everything: the rows are there once, and the slower one notices.
#[test]
fn of_two_writers_of_one_batch_one_lands() {
    for step in [Step::Pending, Step::Staged, Step::Linked, Step::Listed, Step::Described] {
        let (_dir, folder) = folder();
        let (broker, table) = (broker(30), &TABLES[1]);
        let (other, there) = (broker.clone(), folder.clone());
        let hook = meanwhile(step, move || drop(land(&other, &there, &TABLES[1], SMALL, None)));
        let first = batch(&broker, table, 0, (None, 5));
        let mut slow = ready(&broker, lake(&folder, table, Some(hook)));
        assert_eq!(wait(slow.land(&first)).expect("had landed"), Landed::default(), "{step:?}");
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}");
        let pending = pending(&folder);
        assert!(
            pending.len() == 1 && pending[0].contains(".parquet"),
            "the ledger knows what nobody names: {pending:?}"
        );
        let (_, files) = table_files(&folder, table).expect("made");
        assert!(step == Step::Pending || parquet_files(&folder) > files.len(), "nothing is deleted on doubt");
    }
}

/// The other landed less than the whole batch, so its rows are neither all there nor all missing.
#[test]
fn a_batch_whose_beginning_has_landed_is_fenced() {
    for (step, partitions) in [(Step::Linked, [0, 0]), (Step::Described, [0, 0]), (Step::Linked, [0, 1])] {
        let (_dir, folder) = folder();
        let (broker, table) = (broker(60), &TABLES[2]);
        let mut whole = batch(&broker, table, partitions[0], (None, 9));
        whole.parts.extend(batch(&broker, table, partitions[1], (None, 9)).parts);
        let (other, there) = (broker.clone(), folder.clone());
        let hook = meanwhile(step, move || {
            let mut other_lake = ready(&other, lake(&there, &TABLES[2], None));
            let landed = wait(other_lake.land(&batch(&other, &TABLES[2], 0, (None, 4))));
            assert_eq!(landed.expect("lands").records, 4);
        });
        let mut slow = ready(&broker, lake(&folder, table, Some(hook)));
        let fenced = wait(slow.land(&whole)).expect_err("somebody else landed here");
        assert!(matches!(&fenced, SinkError::Fenced(reason) if reason.contains("Some(4)")), "{fenced}");
        assert_eq!(rows(&folder, table), records(&broker, table)[..4]);
        land(&broker, &folder, table, SMALL, None);
        assert_eq!(rows(&folder, table), records(&broker, table));
    }
}

#[test]
fn writers_of_other_partitions_do_not_fence_each_other() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[3]);
    let (other, there) = (broker.clone(), folder.clone());
    let hook = meanwhile(Step::Described, move || {
        let mut other_lake = ready(&other, lake(&there, &TABLES[3], None));
        assert_eq!(wait(other_lake.land(&batch(&other, &TABLES[3], 1, (None, 7)))).expect("lands").records, 7);
    });
    let mut ours = ready(&broker, lake(&folder, table, Some(hook)));
    assert_eq!(wait(ours.land(&batch(&broker, table, 0, (None, 6)))).expect("lands").records, 6);
    let positions = wait(ours.positions(&identity(&broker))).expect("readable");
    let position = |partition| positions.get(&TopicPartition::new(table.topic, partition)).copied();
    assert_eq!([position(0), position(1), position(2)], [Some(6), Some(7), None]);
    let expected: Vec<_> = records(&broker, table)
        .into_iter()
        .filter(|(partition, offset, _)| (*partition == 0 && *offset < 6) || (*partition == 1 && *offset < 7))
        .collect();
    assert_eq!(rows(&folder, table), expected);
}

/// The swap happened, its answer did not come.
#[test]
fn a_lost_answer_is_looked_up() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    let hook = once(Step::Swapped, || Err(io::ErrorKind::TimedOut.into()));
    let progress = land(&broker, &folder, table, SMALL, Some(hook));
    assert_eq!(progress.records(), 60, "what landed is counted");
    assert_eq!(rows(&folder, table), records(&broker, table));
    assert!(pending(&folder).is_empty());
}

/// A failure at any step: the batch is landed again.
#[test]
fn a_failure_at_any_step_is_tried_again() {
    for step in Step::ALL {
        let (_dir, folder) = folder();
        let (broker, table) = (broker(60), &TABLES[4]);
        land(&broker, &folder, table, SMALL, Some(once(step, || Err(io::ErrorKind::StorageFull.into()))));
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}");
    }
}

#[test]
fn a_lake_of_another_data_directory_is_refused() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(20), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let mut other = identity(&broker);
    other.cluster_id = "d".into();
    let refused = wait(lake(&folder, table, None).positions(&other)).expect_err("it is another one");
    let SinkError::Fatal(reason) = refused else { panic!("{refused}") };
    assert!(reason.contains("cluster c; this one is d") && reason.contains("empty `path`"), "{reason}");
}

/// There is one of the same name.
#[test]
fn a_topic_that_was_made_anew_is_refused() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(20), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let mut anew = identity(&broker);
    anew.topic_ids.insert(table.topic.into(), "another".into());
    let refused = wait(lake(&folder, table, None).positions(&anew)).expect_err("it is another one");
    assert!(matches!(&refused, SinkError::Fatal(reason) if reason.contains(table.topic)), "{refused}");
    assert_eq!(rows(&folder, table), records(&broker, table), "nothing was passed over, nothing lost");
}

/// Pointer and positions go back together, so what came since is taken from the topic again.
#[test]
fn a_catalog_that_is_restored_from_a_copy_gets_the_rows_again() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(60), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let [catalog, copy] = [CATALOG_FILE, "copy.db"].map(|name| folder.join(name));
    wait(async {
        let mut connection = SqliteConnectOptions::new().filename(&catalog).connect().await.expect("there");
        let kept = sqlx::query("VACUUM INTO $1").bind(copy.display().to_string()).execute(&mut connection).await;
        kept.expect("a new file");
        connection.close().await.expect("nothing is open");
    });
    publish(&broker, table, 60..120);
    land(&broker, &folder, table, SMALL, None);
    // Who closes it last puts its log into it, in a thread of its own.
    let log = folder.join(format!("{CATALOG_FILE}-wal"));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while log.exists() && std::time::Instant::now() < until {
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    std::fs::copy(&copy, &catalog).expect("nobody has it open");
    assert_eq!(rows(&folder, table).len(), 60);
    publish(&broker, table, 120..130);
    land(&broker, &folder, table, SMALL, None);
    assert_eq!(rows(&folder, table), records(&broker, table));
}

/// Two catalogs that know one folder would each remove what only the other names.
#[test]
fn a_table_that_its_catalog_does_not_know_is_refused() {
    let (_dir, folder) = folder();
    let (broker, table) = (broker(20), &TABLES[0]);
    land(&broker, &folder, table, SMALL, None);
    let ours = Place::folder(&folder);
    let catalog = Address::Sqlite(folder.with_extension("other.db"), CATALOG_NAME.into());
    let other = Place { catalog, ..ours.clone() };
    let refused = wait(lake(&other, table, None).positions(&identity(&broker))).expect_err("it is another's");
    assert!(matches!(&refused, SinkError::Fatal(reason) if reason.contains("does not know it")), "{refused}");
    assert_eq!(rows(&ours, table), records(&broker, table));
    land(&broker, &other, &TABLES[1], SMALL, None);
    assert_eq!(rows(&other, &TABLES[1]), records(&broker, &TABLES[1]), "a table that is nowhere yet is made");
}

#[test]
fn events_of_another_family_are_refused() {
    let (_dir, folder) = folder();
    let broker = broker(20);
    let sales = batch(&broker, &TABLES[1], 0, (None, 3));
    let mut offers = ready(&broker, lake(&folder, &TABLES[0], None));
    let refused = wait(offers.land(&sales)).expect_err("they are sales");
    assert!(matches!(&refused, SinkError::Fatal(reason) if reason.contains("sales.v1")), "{refused}");
    assert!(rows(&folder, &TABLES[0]).is_empty());
}

/// Somebody makes an older snapshot current, which moves the rows and not the positions.
#[test]
fn a_table_that_was_put_back_is_refused() {
    let (broker, table) = (broker(60), &TABLES[0]);
    for snapshots_back in [1, 2] {
        let (_dir, folder) = folder();
        land(&broker, &folder, table, Cut { records_max: 30, ..SMALL }, None);
        let location = path_of(&pointer(&folder, table).expect("made"));
        let mut metadata: Value = serde_json::from_slice(&std::fs::read(&location).expect("there")).expect("JSON");
        if snapshots_back == 1 {
            let snapshots = metadata["snapshots"].as_array().expect("a list");
            let first = snapshots.iter().find(|snapshot| snapshot["parent-snapshot-id"].is_null()).expect("there");
            let first = first["snapshot-id"].clone();
            assert_ne!(metadata["current-snapshot-id"], first);
            metadata["current-snapshot-id"] = first.clone();
            metadata["refs"]["main"]["snapshot-id"] = first;
        } else {
            metadata["current-snapshot-id"] = Value::Null;
            metadata["refs"] = json!({});
        }
        std::fs::write(&location, metadata.to_string()).expect("writable");
        let refused = wait(lake(&folder, table, None).positions(&identity(&broker))).expect_err("rows are missing");
        assert!(matches!(&refused, SinkError::Fatal(reason) if reason.contains("current again")), "{refused}");
    }
}

/// More space comes free each time, so that it gives out at another step each time.
#[test]
fn on_a_full_disk_it_says_where_and_lands_when_there_is_space() {
    const PAGE: usize = 4096;
    let Some(disk) = SmallDisk::mount(4 << 20) else { return };
    let (broker, table, folder) = (broker(20), &TABLES[0], disk.path().join("lake"));
    let first = batch(&broker, table, 0, (None, 5));
    let mut lake = lake(&folder, table, None);
    let mut ballast = std::fs::File::create(disk.path().join("ballast")).expect("there is space");
    let mut pages = 0;
    while ballast.write_all(&[1; PAGE]).is_ok() {
        pages += 1;
    }
    let mut failures = 0;
    loop {
        let came_to = wait(async {
            lake.positions(&identity(&broker)).await?;
            lake.land(&first).await
        });
        match came_to {
            Ok(_) => break,
            Err(SinkError::Retry(reason)) => {
                assert!(reason.contains(&disk.path().display().to_string()), "{reason}");
            }
            Err(other) => panic!("after {failures} failures: {other}"),
        }
        failures += 1;
        pages -= failures;
        ballast.set_len((pages * PAGE) as u64).expect("less");
    }
    assert!(failures > 5, "{failures} failures");
    assert_eq!(rows(&folder, table), records(&broker, table)[..5]);
}
