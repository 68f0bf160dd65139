//! The process ends at each step of a landing, as by a kill or a power cut; the next one goes on.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skuflow_runtime::testing::lake_readers;
use skuflow_sinks::lake::{Hook, Place, Step, TABLES};

use super::watch::{READERS, Watch};
use super::world::{SMALL, broker, lake, land, pointer, ready, records, rows};

pub const FOLDER: &str = "SKUFLOW_TEST_LAKE";
pub const CRASH: &str = "SKUFLOW_TEST_LAKE_CRASH";
pub const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
/// Records of the topic where the child crashes by itself, and where it is killed.
const COUNT: u64 = 200;
const COUNT_TO_KILL: u64 = 3_000;
/// How long a child that is to be killed may take until it has written something.
const STARTS_WITHIN: Duration = Duration::from_mins(1);

/// Not a test by itself: what the child runs, until it comes to a step for the n-th time.
#[test]
fn child_lands_until_it_crashes() {
    let (Ok(folder), Ok(crash)) = (std::env::var(FOLDER), std::env::var(CRASH)) else { return };
    let (crash, count) = crash.rsplit_once(':').expect("a step and two numbers");
    let count = count.parse().expect("a number");
    land(&broker(count), Path::new(&folder), &TABLES[0], SMALL, Some(crash_at(crash)));
}

/// Ends the process at a step, the n-th time, like `Staged:2`.
pub fn crash_at(crash: &str) -> Hook {
    let (name, times) = crash.split_once(':').expect("a step and a number");
    let mut left: u32 = times.parse().expect("a number");
    let step = Step::ALL.into_iter().find(|step| format!("{step:?}") == name).expect("a step");
    Box::new(move |at| {
        left -= u32::from(at == step);
        if left == 0 {
            std::process::abort();
        }
        Ok(())
    })
}

fn child(folder: &Path, crash: &str) -> Command {
    child_of("crashes::child_lands_until_it_crashes", folder, crash)
}

/// This program again, with one test of it.
pub fn child_of(test: &str, folder: &Path, crash: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args([test, "--exact", "--nocapture"]).env(FOLDER, folder).env(CRASH, crash).stdout(Stdio::null());
    command
}

/// Reads until told to stop: what is found is always whole, without a row twice, and never less than before.
fn read_all_the_time(folder: &Path, stop: &AtomicBool) -> usize {
    let (mut reads, mut before) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut rows = rows(folder, &TABLES[0]);
        let count = rows.len();
        rows.dedup();
        assert!(rows.len() == count && count >= before, "{count} rows, {before} before");
        (reads, before) = (reads + 1, count);
        std::thread::yield_now();
    }
    reads
}

/// Those who wait for it stop when this is gone.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does `work` while somebody reads all the time.
pub fn while_read(folder: &Path, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let until = Until(&stop);
        let reading = scope.spawn(|| read_all_the_time(folder, &stop));
        work();
        drop(until);
        assert!(reading.join().expect("no reader errs") > 0, "somebody read");
    });
}

/// How many rows `watch` finds, in each of its ways.
pub fn look(watch: &mut Watch, folder: &Path) -> Vec<u64> {
    let found = watch.look(&Place::folder(folder)).unwrap_or_else(|wrong| panic!("{wrong}"));
    found.values().map(|partitions| partitions.values().map(|[rows, ..]| rows).sum()).collect()
}

/// The readers there are: `DuckDB` and `PyIceberg`, or none.
pub fn watches() -> Vec<Watch> {
    let start = |python: String| READERS.map(|reader| Watch::start(&python, reader));
    lake_readers().into_iter().flat_map(start).collect()
}

#[test]
fn crashed_at_any_step_the_rows_are_those_of_the_topic() {
    let broker = broker(COUNT);
    let expected = records(&broker, &TABLES[0]);
    let mut watches = watches();
    for step in Step::ALL {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let folder = dir.path().join("lake");
        drop(ready(&broker, lake(&folder, &TABLES[0], None)));
        while_read(&folder, || {
            for times in 1..=3 {
                let status = child(&folder, &format!("{step:?}:{times}:{COUNT}")).status().expect("starts");
                assert_eq!(status.signal(), Some(SIGABRT), "{step:?}, time {times}: the child ended by itself");
                let there = rows(&folder, &TABLES[0]).len() as u64;
                for watch in &mut watches {
                    let found = look(watch, &folder);
                    assert!(
                        found.iter().all(|total| *total <= there),
                        "{step:?}: {found:?} rows, {there} are committed"
                    );
                }
            }
            land(&broker, &folder, &TABLES[0], SMALL, None);
        });
        assert_eq!(rows(&folder, &TABLES[0]), expected, "{step:?}");
        for watch in &mut watches {
            assert!(look(watch, &folder).iter().all(|total| *total == COUNT), "{step:?}");
        }
        let hint = folder.join("processed/data_type=offers/metadata/version-hint.text");
        let hint = std::fs::read_to_string(hint).expect("there");
        let pointer = pointer(&folder, &TABLES[0]).expect("made");
        assert!(pointer.ends_with(&format!("/{hint}.metadata.json")), "{hint} of {pointer}");
    }
}

#[test]
fn killed_at_any_moment_the_rows_are_those_of_the_topic() {
    const KILLS: u64 = 20;
    let broker = broker(COUNT_TO_KILL);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("lake");
    drop(ready(&broker, lake(&folder, &TABLES[0], None)));
    while_read(&folder, || {
        let metadata = folder.join("processed/data_type=offers/metadata");
        let files_made = || std::fs::read_dir(&metadata).expect("there").count();
        for kill in 0..KILLS {
            let mut running = child(&folder, &format!("Over:1000:{COUNT_TO_KILL}")).spawn().expect("starts");
            let (from, made) = (Instant::now(), files_made());
            while files_made() == made {
                assert!(from.elapsed() < STARTS_WITHIN, "kill {kill}: the child writes nothing");
                assert_eq!(running.try_wait().expect("it was started"), None, "kill {kill}: the child ended by itself");
                std::thread::park_timeout(Duration::from_millis(1));
            }
            std::thread::park_timeout(Duration::from_millis(kill * 7 % KILLS));
            running.kill().expect("it was started");
            let status = running.wait().expect("it was started");
            assert_eq!(status.signal(), Some(SIGKILL), "kill {kill}: the child ended by itself");
        }
        let before = rows(&folder, &TABLES[0]).len();
        let progress = land(&broker, &folder, &TABLES[0], SMALL, None);
        assert!(before > 0 && progress.records() > 0, "the kills came while it landed");
    });
    assert_eq!(rows(&folder, &TABLES[0]), records(&broker, &TABLES[0]));
}
