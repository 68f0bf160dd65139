//! A lake whose tables are placed by a catalog of others: that of `SeaweedFS`, in table buckets, which take nothing but files of
//! tables.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use skuflow_runtime::testing::lake_readers;
use skuflow_runtime::testing::s3::seaweedfs;
use skuflow_sinks::lake::{BucketPlace, Place, Root, Step, TABLES, examine};
use skuflow_sinks::{Sink as _, SinkError};

use super::catalogs::pyiceberg;
use super::crashes::{SIGABRT, crash_at};
use super::proxy::{Fault, Proxy};
use super::reached::{access, placed};
use super::upkeep::{is_clean, is_put_together_and_tidied};
use super::world::{SMALL, broker, identity, lake, land, pending, publish, records, rows, table_files, wait};

/// A lake of its own, as `placed` wants it.
fn words() -> Option<[String; 3]> {
    let server = seaweedfs()?;
    let (url, warehouse) = server.catalog();
    Some([server.endpoint(), url, warehouse])
}

fn place([endpoint, url, warehouse]: &[String; 3]) -> Place {
    placed(endpoint, url, warehouse)
}

#[test]
fn tables_are_where_the_catalog_places_them_and_all_readers_find_their_rows() {
    let Some(words) = words() else { return };
    let (place, warehouse, broker) = (place(&words), &words[2], broker(60));
    wait(examine(&place)).expect("does what it must");
    for table in &TABLES {
        assert_eq!(land(&broker, &place, table, SMALL, None).records(), 60);
        publish(&broker, table, 60..80);
        assert_eq!(land(&broker, &place, table, SMALL, None).records(), 20, "it goes on where it ended");
        assert_eq!(rows(&place, table), records(&broker, table), "{}", table.full_name);
        let (metadata, _) = table_files(&place, table).expect("made");
        assert_eq!(metadata.location(), format!("{warehouse}/{}/{}", table.zone, table.name));
        is_clean(&place, table);
    }
    assert_eq!(pending(&place), Vec::<String>::new(), "nothing is on its way");
    let Some(python) = lake_readers() else { return };
    let names = TABLES.each_ref().map(|table| table.full_name);
    for what in [vec!["read"], [&["attached"], &names[..]].concat()] {
        let found = pyiceberg(&python, &place, &what);
        for table in &TABLES {
            assert_eq!(found[table.full_name], json!(records(&broker, table)), "{}: {}", what[0], table.full_name);
        }
    }
}

const PLACE: &str = "SKUFLOW_TEST_PLACED";
const CRASH: &str = "SKUFLOW_TEST_PLACED_CRASH";

/// Not a test by itself: what the child runs, until it comes to a step for the n-th time.
#[test]
fn child_lands_where_a_catalog_places_it_until_it_crashes() {
    let (Ok(words), Ok(crash)) = (std::env::var(PLACE), std::env::var(CRASH)) else { return };
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let place = place(&words.try_into().expect("three words"));
    land(&broker(60), &place, &TABLES[0], SMALL, Some(crash_at(&crash)));
}

#[test]
fn crashed_at_any_step_the_rows_are_those_of_the_topic() {
    let (broker, table) = (broker(60), &TABLES[0]);
    for step in Step::ALL {
        let Some(words) = words() else { return };
        let place = place(&words);
        let mut before = 0;
        for times in 1..=2 {
            let child = Command::new(std::env::current_exe().expect("this test"))
                .args(["rest::child_lands_where_a_catalog_places_it_until_it_crashes", "--exact", "--nocapture"])
                .env(PLACE, words.join(" "))
                .env(CRASH, format!("{step:?}:{times}"))
                .stdout(Stdio::null())
                .status();
            let signal = child.expect("starts").signal();
            assert_eq!(signal, Some(SIGABRT), "{step:?}, time {times}: the child ended by itself");
            let there = rows(&place, table);
            assert!(there.len() >= before, "{step:?}: nothing is gone");
            before = there.len();
        }
        land(&broker, &place, table, SMALL, None);
        assert_eq!(rows(&place, table), records(&broker, table), "{step:?}");
    }
}

/// All of them land all there is in the same table.
#[test]
fn of_two_to_four_writers_each_row_is_one_writers() {
    for writers in 2..=4 {
        let Some(words) = words() else { return };
        let (place, broker, table) = (place(&words), broker(60), &TABLES[2]);
        let progress: Vec<_> = std::thread::scope(|scope| {
            let land = || land(&broker, &place, table, SMALL, None).records();
            let running: Vec<_> = (0..writers).map(|_| scope.spawn(land)).collect();
            running.into_iter().map(|writer| writer.join().expect("it lands")).collect()
        });
        assert_eq!(rows(&place, table), records(&broker, table), "{writers} writers");
        assert_eq!(progress.iter().sum::<u64>(), 60, "each row is one writer's: {progress:?}");
    }
}

/// Every second commit comes to something else than is said of it, each time to another.
#[test]
fn whatever_the_catalog_answers_each_row_lands_once() {
    let Some([endpoint, url, warehouse]) = words() else { return };
    const FAULTS: [Fault; 5] =
        [Fault::Answered500, Fault::Answered409, Fault::Unanswered, Fault::Refused409, Fault::Dropped];
    let (commits, faults) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
    let counted = faults.clone();
    let proxy = Proxy::start(&url, move |method, path| {
        let is_commit = method == "POST" && path.ends_with("/tables/offers");
        let commit = is_commit.then(|| commits.fetch_add(1, Ordering::Relaxed))?;
        let fault = (commit % 2 == 1).then(|| counted.fetch_add(1, Ordering::Relaxed))?;
        Some(FAULTS[fault as usize % FAULTS.len()])
    });
    let (place, broker, table) = (placed(&endpoint, &proxy.endpoint(), &warehouse), broker(200), &TABLES[0]);
    land(&broker, &place, table, SMALL, None);
    assert_eq!(rows(&place, table), records(&broker, table));
    let faults = faults.load(Ordering::Relaxed);
    assert!(faults as usize > FAULTS.len(), "{faults} faults");
}

#[test]
fn files_are_put_together_and_removed_where_the_catalog_places_them() {
    let Some(words) = words() else { return };
    is_put_together_and_tidied(&place(&words));
}

/// The ledger is no file of a table.
#[test]
fn a_path_in_a_table_bucket_is_refused_with_what_to_do() {
    let Some(words) = words() else { return };
    let bucket = BucketPlace { bucket: words[2].replace("s3://", ""), prefix: "ledger".into() };
    let place = Place { root: Root::Bucket(bucket, access(&words[0])), ..place(&words) };
    let in_a_run = wait(lake(&place, &TABLES[0], None).positions(&identity(&broker(0)))).map(drop);
    for error in [in_a_run.expect_err("it cannot be"), wait(examine(&place)).expect_err("it cannot be")] {
        let said = error.to_string();
        assert!(matches!(error, SinkError::Fatal(_)) && said.contains("name another bucket in `path`"), "{said}");
    }
}
