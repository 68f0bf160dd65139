//! The storage engine: what was acknowledged is there whole after anything, and what is not there is said.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use skuflow_runtime::storage::{
    Append, DirectoryLock, Engine, EngineError, Expect, Options, PartitionIndex, Put, StoredBatch, Txn,
};
use skuflow_runtime::testing::SmallDisk;

/// Small segments and rare checkpoints, so that files roll and the journal is what is read.
fn options() -> Options {
    Options { segment_bytes: 4096, checkpoint_interval: Duration::from_hours(1), ..Options::default() }
}

fn open(dir: &Path) -> Result<Engine, EngineError> {
    Engine::open(&DirectoryLock::acquire(dir)?, options())
}

fn fresh() -> (tempfile::TempDir, DirectoryLock, Engine) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let lock = DirectoryLock::acquire(dir.path()).expect("nobody else");
    let engine = Engine::open(&lock, options()).expect("a new directory");
    engine.create_topic("t", 2).expect("a new topic");
    (dir, lock, engine)
}

/// Transaction `number`: one batch for each of two partitions, and two pairs.
fn txn(number: u64) -> Txn {
    let append =
        |partition, text: String| Append { partition: PartitionIndex(partition), records: 2, payload: text.into() };
    let put = |key: String, value: String| Put { key: key.into(), value: Some(value.into()) };
    Txn {
        appends: vec![append(0, format!("a{number}")), append(1, format!("b{number}"))],
        puts: vec![put("last".into(), number.to_string()), put(format!("k{number}"), "v".into())],
        expect: Vec::new(),
        now_micros: number as i64,
    }
}

fn read_all(engine: &Engine, partition: u32) -> Result<Vec<StoredBatch>, EngineError> {
    let of = PartitionIndex(partition);
    let (mut from, next) = engine.offsets(of)?;
    let mut reader = engine.reader();
    let mut batches = Vec::new();
    while from < next {
        let read = reader.read(engine, of, from, 100)?;
        from = read.last().map_or(next, |last| last.base_offset + u64::from(last.records));
        batches.extend(read);
    }
    Ok(batches)
}

/// How many transactions of [`txn`] the engine holds, each whole and in order.
fn whole_transactions(engine: &Engine) -> Result<u64, EngineError> {
    let (a, b) = (read_all(engine, 0)?, read_all(engine, 1)?);
    assert_eq!(a.len(), b.len(), "a transaction is in both partitions or in none");
    for (number, (a, b)) in a.iter().zip(&b).enumerate() {
        assert_eq!(a.payload.as_ref(), format!("a{number}").as_bytes());
        assert_eq!(b.payload.as_ref(), format!("b{number}").as_bytes());
        assert_eq!(a.base_offset, number as u64 * 2);
        assert_eq!(engine.get(format!("k{number}").as_bytes())?.as_deref(), Some(b"v".as_slice()));
    }
    let last = engine.get(b"last")?.map(|value| String::from_utf8_lossy(&value).into_owned());
    assert_eq!(last, a.len().checked_sub(1).map(|last| last.to_string()));
    Ok(a.len() as u64)
}

fn commit(engine: &Engine, numbers: std::ops::Range<u64>) {
    for number in numbers {
        engine.commit(txn(number)).expect("the disk is fine");
    }
}

#[test]
fn committed_is_there_after_reopening_with_and_without_a_checkpoint() {
    let (_dir, lock, engine) = fresh();
    commit(&engine, 0..300);
    drop(engine);
    let engine = Engine::open(&lock, options()).expect("reopens from the journal");
    assert_eq!(whole_transactions(&engine).expect("readable"), 300);
    engine.checkpoint().expect("the disk is fine");
    commit(&engine, 300..320);
    drop(engine);
    let engine = Engine::open(&lock, options()).expect("reopens from the checkpoint and the journal");
    assert_eq!(whole_transactions(&engine).expect("readable"), 320);
    assert_eq!(engine.scan_prefix(b"k").expect("readable").len(), 320);
}

#[test]
fn commits_of_several_threads_are_contiguous() {
    let (_dir, _lock, engine) = fresh();
    let engine = Arc::new(engine);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = engine.clone();
            scope.spawn(move || {
                for number in 0..200 {
                    let payload = format!("{thread}:{number}").into_bytes();
                    let append = Append { partition: PartitionIndex(0), records: 3, payload };
                    engine.commit(Txn { appends: vec![append], ..Txn::default() }).expect("the disk is fine");
                }
            });
        }
    });
    let batches = read_all(&engine, 0).expect("readable");
    assert_eq!(batches.len(), 800);
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(batch.base_offset, number as u64 * 3);
    }
}

#[test]
fn an_expectation_that_does_not_hold_writes_nothing() {
    let (_dir, _lock, engine) = fresh();
    let guarded = |from: Option<&str>, to: &str| Txn {
        puts: vec![Put { key: b"at".to_vec(), value: Some(to.into()) }],
        expect: vec![Expect { key: b"at".to_vec(), value: from.map(Into::into) }],
        ..txn(0)
    };
    engine.commit(guarded(None, "1")).expect("nothing is stored");
    assert!(matches!(engine.commit(guarded(None, "1")), Err(EngineError::Conflict { .. })));
    assert_eq!(engine.offsets(PartitionIndex(0)).expect("open"), (0, 2));
    engine.commit(guarded(Some("1"), "2")).expect("1 is stored");
}

#[test]
fn a_second_process_is_refused_by_name() {
    let (dir, _lock, _engine) = fresh();
    let error = open(dir.path()).err().expect("in use").to_string();
    assert!(error.contains(&std::process::id().to_string()) && error.contains("in use"), "{error}");
}

#[test]
fn a_topic_keeps_its_partitions() {
    let (_dir, _lock, engine) = fresh();
    assert_eq!(engine.create_topic("t", 2).expect("idempotent"), engine.topics()[0]);
    assert!(matches!(engine.create_topic("t", 3), Err(EngineError::Fatal(_))));
}

#[test]
fn retention_drops_whole_segments_and_stays_dropped() {
    let (_dir, lock, engine) = fresh();
    commit(&engine, 0..600);
    engine.checkpoint().expect("the disk is fine");
    let of = PartitionIndex(0);
    let start = engine.drop_expired(of, 700, i64::MAX).expect("the disk is fine");
    assert!(start > 0 && start <= 700, "{start}");
    let error = engine.reader().read(&engine, of, 0, 100).expect_err("dropped");
    assert!(matches!(error, EngineError::OutOfRange { first, .. } if first == start));
    drop(engine);
    let engine = Engine::open(&lock, options()).expect("reopens");
    assert_eq!(engine.offsets(of).expect("open"), (start, 1200));
    assert_eq!(read_all(&engine, 0).expect("readable").len() as u64, (1200 - start) / 2);
}

/// What opening a damaged directory may end in: all that was acknowledged, or a refusal that says so.
fn all_or_refused(dir: &Path, acknowledged: u64, what: &str) -> bool {
    match open(dir).and_then(|engine| whole_transactions(&engine)) {
        Ok(found) => {
            assert_eq!(found, acknowledged, "{what}: less than acknowledged was served");
            false
        }
        Err(EngineError::Damaged(message)) => {
            assert!(message.contains("backup") || message.contains("remove it"), "{what}: says what to do: {message}");
            true
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("can be made");
    for entry in std::fs::read_dir(from).expect("readable").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("can be copied");
        }
    }
}

fn only_journal(dir: &Path) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(dir.join("journal")).expect("readable");
    files.next().expect("one file").expect("readable").path()
}

/// Commits, copies the directory as a kill would leave it, and lets `damage` loose on copies of it.
fn with_copies(count: u64, damage: impl Fn(&Path, &dyn Fn() -> tempfile::TempDir)) {
    let (dir, _lock, engine) = fresh();
    commit(&engine, 0..count);
    let image = tempfile::tempdir().expect("a temporary directory");
    copy(dir.path(), image.path());
    // A kill leaves the journal preallocated; its zeros are cut here so that every byte of the file is a frame's.
    let journal = only_journal(image.path());
    let bytes = std::fs::read(&journal).expect("readable");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("frames");
    std::fs::write(&journal, &bytes[..=used]).expect("writable");
    damage(image.path(), &|| {
        let victim = tempfile::tempdir().expect("a temporary directory");
        copy(image.path(), victim.path());
        victim
    });
}

#[test]
fn every_flipped_byte_of_the_journal_is_noticed() {
    with_copies(3, |image, victim| {
        let bytes = std::fs::read(only_journal(image)).expect("readable");
        let mut refused = 0;
        for at in 0..bytes.len() {
            let victim = victim();
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            std::fs::write(only_journal(victim.path()), flipped).expect("writable");
            refused += usize::from(all_or_refused(victim.path(), 3, &format!("byte {at} flipped")));
        }
        assert_eq!(refused, bytes.len(), "every byte of a frame counts");
    });
}

#[test]
fn a_truncated_journal_is_noticed_at_every_length() {
    with_copies(3, |image, victim| {
        let bytes = std::fs::read(only_journal(image)).expect("readable");
        for length in 0..bytes.len() {
            let victim = victim();
            std::fs::write(only_journal(victim.path()), &bytes[..length]).expect("writable");
            // The last byte of a frame may be a zero, which is there as well when it is not.
            let zeros = bytes[length..].iter().all(|byte| *byte == 0);
            assert!(all_or_refused(victim.path(), 3, &format!("cut at {length}")) || zeros);
        }
    });
}

#[test]
fn a_damaged_high_water_mark_is_refused_and_without_one_frames_decide() {
    with_copies(3, |image, victim| {
        for at in 0..12 {
            let victim = victim();
            let path = victim.path().join("high-water");
            let mut mark = std::fs::read(image.join("high-water")).expect("readable");
            mark[at] ^= 1;
            std::fs::write(path, mark).expect("writable");
            assert!(all_or_refused(victim.path(), 3, &format!("byte {at} of the mark")));
        }
        let victim = victim();
        std::fs::remove_file(victim.path().join("high-water")).expect("there");
        assert!(!all_or_refused(victim.path(), 3, "no mark"));
    });
}

/// The negative control of the two tests before: without the mark, a journal that lost its last frame opens as if nothing
/// were missing. That is what the mark is for.
#[test]
fn without_the_mark_a_lost_tail_would_not_be_noticed() {
    with_copies(3, |image, victim| {
        let bytes = std::fs::read(only_journal(image)).expect("readable");
        let victim = victim();
        std::fs::write(only_journal(victim.path()), &bytes[..bytes.len() - 40]).expect("writable");
        std::fs::remove_file(victim.path().join("high-water")).expect("there");
        let engine = open(victim.path()).expect("opens");
        assert_eq!(whole_transactions(&engine).expect("readable"), 2);
    });
}

#[test]
fn an_unfinished_tail_is_dropped() {
    with_copies(3, |image, victim| {
        let bytes = std::fs::read(only_journal(image)).expect("readable");
        let half_a_frame = bytes[..bytes.len() / 5].to_vec();
        for tail in [b"garbage".to_vec(), half_a_frame, vec![0; 100]] {
            let victim = victim();
            std::fs::write(only_journal(victim.path()), [bytes.clone(), tail].concat()).expect("writable");
            assert!(!all_or_refused(victim.path(), 3, "a tail"));
            let engine = open(victim.path()).expect("opens again");
            engine.commit(txn(3)).expect("goes on");
            assert_eq!(whole_transactions(&engine).expect("readable"), 4);
        }
    });
}

#[test]
fn damaged_segments_are_noticed() {
    let (dir, lock, engine) = fresh();
    commit(&engine, 0..300);
    engine.checkpoint().expect("the disk is fine");
    drop((engine, lock));
    let segment = std::fs::read_dir(dir.path().join("topics/t/0")).expect("readable").next();
    let segment = segment.expect("a segment").expect("readable").path();
    let bytes = std::fs::read(&segment).expect("readable");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&segment, flipped).expect("writable");
        assert!(all_or_refused(dir.path(), 300, &format!("byte {at} of a segment")));
    }
    std::fs::write(&segment, &bytes[..bytes.len() - 1]).expect("writable");
    assert!(all_or_refused(dir.path(), 300, "a truncated segment"));
    std::fs::remove_file(&segment).expect("there");
    assert!(all_or_refused(dir.path(), 300, "a missing segment"));
    std::fs::write(&segment, &bytes).expect("writable");
    assert!(!all_or_refused(dir.path(), 300, "mended"));
}

/// A refusal changes nothing: with the file back, everything is there.
#[test]
fn a_missing_file_is_refused_and_brings_nothing_down_with_it() {
    let (dir, lock, engine) = fresh();
    commit(&engine, 0..300);
    engine.checkpoint().expect("the disk is fine");
    commit(&engine, 300..310);
    drop((engine, lock));
    for name in ["state-00000001.log", "identity.json"] {
        let (path, aside) = (dir.path().join(name), dir.path().join("aside"));
        std::fs::rename(&path, &aside).expect("there");
        assert!(matches!(open(dir.path()), Err(EngineError::Damaged(_))), "{name}");
        std::fs::rename(&aside, &path).expect("there");
        assert!(!all_or_refused(dir.path(), 310, name));
    }
}

/// An older copy of the state under a newer journal has lost what the journal had handed over.
#[test]
fn an_old_state_file_is_refused_and_the_right_one_finds_everything() {
    let (dir, lock, engine) = fresh();
    commit(&engine, 0..100);
    engine.checkpoint().expect("the disk is fine");
    drop((engine, lock));
    let (path, new) = (dir.path().join("state-00000001.log"), dir.path().join("new"));
    let old = std::fs::read(&path).expect("there");
    let engine = open(dir.path()).expect("opens");
    commit(&engine, 100..200);
    engine.checkpoint().expect("the disk is fine");
    drop(engine);
    std::fs::rename(&path, &new).expect("there");
    std::fs::write(&path, old).expect("writable");
    assert!(matches!(open(dir.path()), Err(EngineError::Damaged(_))));
    std::fs::rename(&new, &path).expect("there");
    assert!(!all_or_refused(dir.path(), 200, "the right state"));
}

#[test]
fn checkpoints_of_several_threads_follow_each_other() {
    let (_dir, lock, engine) = fresh();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..20).for_each(|_| engine.checkpoint().expect("the disk is fine")));
        }
        commit(&engine, 0..200);
    });
    drop(engine);
    let engine = Engine::open(&lock, options()).expect("reopens");
    assert_eq!(whole_transactions(&engine).expect("readable"), 200);
}

#[test]
fn what_could_not_be_read_back_is_not_taken() {
    let (_dir, _lock, engine) = fresh();
    let append = |partition, records| Append { partition: PartitionIndex(partition), records, payload: vec![1] };
    for bad in [append(9, 1), append(0, 0)] {
        assert!(matches!(engine.commit(Txn { appends: vec![bad], ..Txn::default() }), Err(EngineError::Fatal(_))));
    }
    commit(&engine, 0..1);
}

/// Random commits, reads, checkpoints, crashes and reopenings against a model in memory.
#[test]
fn a_model_and_the_engine_never_differ() {
    for seed in 1..=5_u64 {
        let mut random = seed;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (dir, lock, engine) = fresh();
        let (mut engine, mut lock) = (Some(engine), Some(lock));
        let mut dir = dir;
        let mut pairs = std::collections::BTreeMap::new();
        let mut logs: [Vec<Vec<u8>>; 2] = Default::default();
        for step in 0..300 {
            let open = engine.as_ref().expect("open");
            match next(20) {
                0 => open.checkpoint().expect("the disk is fine"),
                1 => {
                    drop(engine.take());
                    engine = Some(Engine::open(lock.as_ref().expect("held"), options()).expect("reopens"));
                }
                2 => {
                    // What a kill leaves: a copy of the files as they are.
                    let image = tempfile::tempdir().expect("a temporary directory");
                    copy(dir.path(), image.path());
                    drop((engine.take(), lock.take()));
                    dir = image;
                    lock = Some(DirectoryLock::acquire(dir.path()).expect("a copy"));
                    let opened = Engine::open(lock.as_ref().expect("held"), options());
                    engine = Some(opened.unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}")));
                }
                _ => {
                    let mut txn = Txn::default();
                    for _ in 0..next(4) {
                        let (partition, payload) = (next(2), vec![next(256) as u8; 1 + next(600) as usize]);
                        logs[partition as usize].push(payload.clone());
                        txn.appends.push(Append { partition: PartitionIndex(partition as u32), records: 1, payload });
                    }
                    for _ in 0..next(4) {
                        let key = vec![next(30) as u8];
                        let value = (next(3) > 0).then(|| vec![next(256) as u8; next(50) as usize]);
                        match &value {
                            Some(value) => pairs.insert(key.clone(), value.clone()),
                            None => pairs.remove(&key),
                        };
                        txn.puts.push(Put { key, value });
                    }
                    open.commit(txn).expect("the disk is fine");
                }
            }
            let open = engine.as_ref().expect("open");
            let all: Vec<_> = pairs.clone().into_iter().collect();
            let stored = open.scan_prefix(b"").expect("readable");
            assert_eq!(stored, all, "seed {seed}, step {step}");
            for (number, log) in logs.iter().enumerate().filter(|(_, log)| !log.is_empty()) {
                let from = next(log.len() as u64);
                let read = open.reader().read(open, PartitionIndex(number as u32), from, 2000).expect("readable");
                for batch in read {
                    assert_eq!(batch.payload.as_ref(), log[batch.base_offset as usize], "seed {seed}, step {step}");
                }
            }
        }
    }
}

const CHILD_DIR: &str = "SKUFLOW_STORAGE_CHILD";

/// Not a test by itself: what the killed child runs.
#[test]
fn child_writes_until_it_is_killed() {
    use std::io::Write as _;
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let lock = DirectoryLock::acquire(Path::new(&dir)).expect("the parent has let go");
    let frequent = Options { checkpoint_journal_bytes: 20_000, segment_bytes: 4096, ..Options::default() };
    let engine = Engine::open(&lock, frequent).expect("opens");
    engine.create_topic("t", 2).expect("exists");
    let next = engine.offsets(PartitionIndex(0)).expect("open").1 / 2;
    for number in next..next + 100_000 {
        engine.commit(txn(number)).expect("the disk is fine");
        writeln!(std::io::stderr(), "acknowledged {number}").expect("the parent reads");
    }
}

#[test]
fn killed_at_any_moment_everything_acknowledged_is_there() {
    use std::io::BufRead as _;
    let seed = 7_u64;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut random = seed;
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["child_writes_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let acks = random >> 54; // up to 1023
        let mut lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut acknowledged = None;
        for line in lines.by_ref().map_while(Result::ok).take(acks as usize + 1) {
            acknowledged =
                line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok()).or(acknowledged);
        }
        child.kill().expect("runs");
        child.wait().expect("was started");
        for line in lines.map_while(Result::ok) {
            acknowledged =
                line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok()).or(acknowledged);
        }
        let engine = open(dir.path()).unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
        let found = whole_transactions(&engine).expect("readable");
        let expected = acknowledged.map_or(0, |last| last + 1);
        assert!(found >= expected, "seed {seed}, round {round}: {found} of {expected} acknowledged transactions");
    }
}

#[test]
fn a_full_disk_loses_nothing_and_recovers_when_space_returns() {
    let Some(disk) = SmallDisk::mount(24 << 20) else { return };
    let dir = disk.path().join("data");
    let lock = DirectoryLock::acquire(&dir).expect("nobody else");
    let mut engine = Engine::open(&lock, options()).expect("there is space");
    engine.create_topic("t", 2).expect("there is space");
    let ballast = disk.path().join("ballast");
    let mut acknowledged = 0;
    for round in 0..3 {
        std::fs::write(&ballast, vec![1; 22 << 20])
            .or_else(|_| std::fs::write(&ballast, vec![1; 1 << 20]))
            .expect("some space");
        // Fill what is left, then commit until it fails.
        let mut rest = std::fs::OpenOptions::new().append(true).open(&ballast).expect("there");
        while std::io::Write::write_all(&mut rest, &[1; 4096]).is_ok() {}
        drop(rest);
        let error = loop {
            match engine.commit(txn(acknowledged)) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, EngineError::Unknown(_)), "round {round}: {error}");
        drop(engine);
        if let Err(error) = Engine::open(&lock, options()) {
            assert!(matches!(error, EngineError::Retry(_) | EngineError::Unknown(_)), "round {round}: {error}");
        }
        std::fs::remove_file(&ballast).expect("there");
        engine = Engine::open(&lock, options()).expect("space is back");
        let found = whole_transactions(&engine).expect("readable");
        assert!(found == acknowledged || found == acknowledged + 1, "round {round}: {found} of {acknowledged}");
        acknowledged = found;
        engine.commit(txn(acknowledged)).expect("goes on");
        acknowledged += 1;
    }
}
