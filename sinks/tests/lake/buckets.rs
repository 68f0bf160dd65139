//! The lake in a bucket: rows once, whatever its server answers and whoever dies.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use skuflow_runtime::testing::s3::{S3, seaweedfs, versitygw};
use skuflow_sinks::lake::{Access, Address, BucketPlace, CATALOG_NAME, Keys, Place, Root, Step, TABLES, examine};
use skuflow_sinks::{Sink as _, SinkError};

use super::crashes::{SIGABRT, crash_at};
use super::proxy::{Fault, Proxy};
use super::reached::{access, keys};
use super::upkeep::{LATER, is_clean, is_put_together_and_tidied, upkeep};
use super::world::{SMALL, broker, identity, lake, land, pending, publish, records, rows, table_files, wait};

/// What the child is told: the server, the lake's name, and the folder of its catalog.
const BUCKET: &str = "SKUFLOW_TEST_BUCKET";
const CRASH: &str = "SKUFLOW_TEST_BUCKET_CRASH";

/// A lake of its own for each `name`, reached by `endpoint`; its catalog is in `dir`.
pub fn place(endpoint: &str, name: &str, dir: &Path) -> Place {
    let bucket = BucketPlace { bucket: S3::BUCKET.into(), prefix: format!("tests/{name}") };
    place_of(bucket, access(endpoint), dir.join(format!("{name}.db")))
}

fn place_of(bucket: BucketPlace, access: Access, catalog: PathBuf) -> Place {
    Place { root: Root::Bucket(bucket, access), catalog: Address::Sqlite(catalog, CATALOG_NAME.into()) }
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn every_table_in_a_bucket_has_the_rows_of_its_topic() {
    for server in [seaweedfs(), versitygw()].into_iter().flatten() {
        let dir = dir();
        let place = place(&server.endpoint(), "tables", dir.path());
        wait(examine(&place)).expect("does what it must");
        let broker = broker(60);
        for table in &TABLES {
            assert_eq!(land(&broker, &place, table, SMALL, None).records(), 60);
            assert_eq!(rows(&place, table), records(&broker, table), "{}", table.full_name);
            publish(&broker, table, 60..80);
            assert_eq!(land(&broker, &place, table, SMALL, None).records(), 20, "it goes on where it ended");
            assert_eq!(rows(&place, table), records(&broker, table), "{}", table.full_name);
        }
    }
}

/// Not a test by itself: what the child runs, until it comes to a step for the n-th time.
#[test]
fn child_lands_in_a_bucket_until_it_crashes() {
    let (Ok(bucket), Ok(crash)) = (std::env::var(BUCKET), std::env::var(CRASH)) else { return };
    let [endpoint, name, dir] = bucket.split(' ').collect::<Vec<_>>()[..] else { panic!("three words") };
    let place = place(endpoint, name, Path::new(dir));
    land(&broker(60), &place, &TABLES[0], SMALL, Some(crash_at(&crash)));
}

#[test]
fn crashed_at_any_step_the_rows_in_the_bucket_are_those_of_the_topic() {
    let Some(server) = seaweedfs() else { return };
    let (dir, broker, table) = (dir(), broker(60), &TABLES[0]);
    for step in Step::ALL {
        let name = format!("crash-{step:?}");
        let place = place(&server.endpoint(), &name, dir.path());
        for times in 1..=2 {
            let child = Command::new(std::env::current_exe().expect("this test"))
                .args(["buckets::child_lands_in_a_bucket_until_it_crashes", "--exact", "--nocapture"])
                .env(BUCKET, format!("{} {name} {}", server.endpoint(), dir.path().display()))
                .env(CRASH, format!("{step:?}:{times}"))
                .stdout(Stdio::null())
                .status();
            let status = child.expect("starts");
            assert_eq!(status.signal(), Some(SIGABRT), "{step:?}, time {times}: the child ended by itself");
            let there = rows(&place, table);
            assert_eq!(there, there_of(&records(&broker, table), &there), "{step:?}: each once, and of the topic");
        }
        land(&broker, &place, table, SMALL, None);
        assert_eq!(rows(&place, table), records(&broker, table), "{step:?}");
    }
}

#[test]
fn files_in_a_bucket_are_put_together_and_removed() {
    for server in [seaweedfs(), versitygw()].into_iter().flatten() {
        let dir = dir();
        is_put_together_and_tidied(&place(&server.endpoint(), "upkeep", dir.path()));
    }
}

/// Those of `all` that are among `some`.
fn there_of<T: PartialEq + Clone>(all: &[T], some: &[T]) -> Vec<T> {
    all.iter().filter(|one| some.contains(one)).cloned().collect()
}

/// Every third PUT, also of the version hint, comes to something else than is said of it, each time to another.
#[test]
fn whatever_is_answered_the_rows_are_there_once() {
    let Some(server) = seaweedfs() else { return };
    const FAULTS: [Fault; 5] =
        [Fault::Answered500, Fault::Answered409, Fault::Unanswered, Fault::Refused409, Fault::Dropped];
    let (puts, faults) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
    let counted = faults.clone();
    let proxy = Proxy::start(&server.endpoint(), move |method, _| {
        let put = (method == "PUT").then(|| puts.fetch_add(1, Ordering::Relaxed))?;
        let fault = (put % 3 == 2).then(|| counted.fetch_add(1, Ordering::Relaxed))?;
        Some(FAULTS[fault as usize % FAULTS.len()])
    });
    let (dir, broker) = (dir(), broker(60));
    let place = place(&proxy.endpoint(), "faults", dir.path());
    for table in &TABLES[..2] {
        land(&broker, &place, table, SMALL, None);
        assert_eq!(rows(&place, table), records(&broker, table), "{}", table.full_name);
    }
    assert_eq!(pending(&place), Vec::<String>::new(), "each was looked up, and no batch began anew");
    let faults = faults.load(Ordering::Relaxed);
    assert!(faults as usize > 2 * FAULTS.len(), "{faults} faults");
}

/// Every third object comes as half of it.
#[test]
fn objects_that_come_in_halves_are_read_again() {
    let Some(server) = seaweedfs() else { return };
    let (gets, cut) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
    let counted = cut.clone();
    let proxy = Proxy::start(&server.endpoint(), move |method, path| {
        let is_object = method == "GET" && !path.contains("list-type");
        let get = is_object.then(|| gets.fetch_add(1, Ordering::Relaxed))?;
        (get % 3 == 2).then(|| counted.fetch_add(1, Ordering::Relaxed)).map(|_| Fault::Cut)
    });
    let (dir, broker, table) = (dir(), broker(60), &TABLES[0]);
    let [halved, whole] = [proxy.endpoint(), server.endpoint()].map(|endpoint| place(&endpoint, "halves", dir.path()));
    land(&broker, &halved, table, SMALL, None);
    let before = table_files(&whole, table).expect("made").1.len();
    let deeds = (0..20).find_map(|_| wait(upkeep(&halved, table, LATER).compact()).ok());
    assert!(!deeds.expect("what came in halves comes whole").is_empty());
    assert!(table_files(&whole, table).expect("made").1.len() < before);
    assert_eq!(rows(&whole, table), records(&broker, table));
    assert!(cut.load(Ordering::Relaxed) > 5, "some came in halves");
    is_clean(&whole, table);
}

/// The server answers nothing for more requests than one landing may make again.
#[test]
fn while_the_server_is_away_nothing_is_lost() {
    let Some(server) = seaweedfs() else { return };
    const AWAY: std::ops::Range<u32> = 20..60;
    let requests = Arc::new(AtomicU32::new(0));
    let counted = requests.clone();
    let proxy = Proxy::start(&server.endpoint(), move |_, _| {
        AWAY.contains(&counted.fetch_add(1, Ordering::Relaxed)).then_some(Fault::Dropped)
    });
    let (dir, broker, table) = (dir(), broker(60), &TABLES[1]);
    let place = place(&proxy.endpoint(), "away", dir.path());
    land(&broker, &place, table, SMALL, None);
    assert_eq!(rows(&place, table), records(&broker, table));
    assert!(requests.load(Ordering::Relaxed) > AWAY.end, "it was away and came back");
}

/// What a lake at `place` says: in a run and when it is checked.
fn refused(place: &Place) -> String {
    let broker = broker(0);
    let in_a_run = wait(lake(place, &TABLES[0], None).positions(&identity(&broker))).expect_err("it cannot be");
    let checked = wait(examine(place)).expect_err("it cannot be");
    for error in [&in_a_run, &checked] {
        assert!(matches!(error, SinkError::Fatal(_)), "{error}");
    }
    checked.to_string()
}

#[test]
fn what_cannot_be_is_said_with_what_to_do() {
    for server in [seaweedfs(), versitygw()].into_iter().flatten() {
        let dir = dir();
        let with = |bucket: &str, keys: Keys| {
            let place = BucketPlace { bucket: bucket.into(), prefix: "refused".into() };
            let access = Access { keys: Some(keys), ..access(&server.endpoint()) };
            refused(&place_of(place, access, dir.path().join("refused.db")))
        };
        let said = with("nobucket", keys());
        assert!(said.contains("NoSuchBucket") && said.contains("make the bucket"), "{said}");
        let said = with(S3::BUCKET, Keys { secret: "wrong".into(), ..keys() });
        assert!(said.contains("SignatureDoesNotMatch") && said.contains("set `access_key_id`"), "{said}");
        let said = with(S3::BUCKET, Keys { id: "nobody".into(), ..keys() });
        assert!(said.contains("set `access_key_id`") && said.contains(&server.endpoint()), "{said}");
    }
}

/// Nothing tells that a server is away from one that is not there.
#[test]
fn a_server_that_is_not_there_may_come() {
    let dir = dir();
    let nobody = place("http://127.0.0.1:1", "nobody", dir.path());
    let away = wait(examine(&nobody)).expect_err("nobody is there");
    assert!(matches!(&away, SinkError::Retry(said) if said.contains("http://127.0.0.1:1: ")), "{away}");
}

/// All of them land all there is in the same table.
fn race(server: &S3, writers: usize) {
    let (dir, broker, table) = (dir(), broker(60), &TABLES[2]);
    let place = place(&server.endpoint(), &format!("race-{writers}"), dir.path());
    let progress: Vec<_> = std::thread::scope(|scope| {
        let land = || land(&broker, &place, table, SMALL, None).records();
        let running: Vec<_> = (0..writers).map(|_| scope.spawn(land)).collect();
        running.into_iter().map(|writer| writer.join().expect("it lands")).collect()
    });
    assert_eq!(rows(&place, table), records(&broker, table));
    assert_eq!(progress.iter().sum::<u64>(), 60, "each row is one writer's: {progress:?}");
}

#[test]
fn of_four_writers_on_seaweedfs_each_row_is_one_writers() {
    if let Some(server) = seaweedfs() {
        race(server, 4);
    }
}

#[test]
fn of_sixteen_writers_on_versitygw_each_row_is_one_writers() {
    if let Some(server) = versitygw() {
        race(server, 16);
    }
}
