use super::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// So small that files are sealed, cleaned and dropped, and snapshots made, all the time.
const TINY: Sizes = Sizes { file_bytes: (300, 600), snapshot_bytes_min: 700, snapshot_key_bytes: 1 };
const KEYS: u64 = 30;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Keys that are listed, and others.
    fn key(&mut self) -> Vec<u8> {
        let kind = ["state/", "row/s/", "timer/"][self.below(3) as usize];
        format!("{kind}{}", self.below(KEYS / 3)).into_bytes()
    }

    fn changes(&mut self) -> Changes {
        let count = self.below(7);
        (0..count).map(|_| (self.key(), self.value())).collect()
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let value = vec![self.below(256) as u8; self.below(40) as usize];
        (self.below(3) > 0).then_some(value)
    }
}

/// In memory, where there is such a place: nothing here takes power away, and every write waits for the disk.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

fn open(dir: &Path) -> Result<(Pairs, Option<Vec<u8>>), EngineError> {
    Pairs::open(dir, TINY)
}

fn write(pairs: &Pairs, changes: &Changes, meta: u64) -> Result<(), EngineError> {
    let changes = changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
    pairs.write(changes, &meta.to_le_bytes())
}

fn change(model: &mut Model, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn all(pairs: &Pairs) -> Result<Model, EngineError> {
    Ok(pairs.scan(b"")?.into_iter().collect())
}

fn is_damage<T>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Damaged(reason)) if reason.contains("backup"))
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = directory();
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for path in names(from).expect("readable") {
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("can be copied");
    }
}

fn snapshot(dir: &Path) -> PathBuf {
    dir.join("state.index")
}

fn bytes_of(dir: &Path) -> u64 {
    paths(dir).expect("readable").iter().map(|number| std::fs::metadata(path(dir, *number)).expect("there").len()).sum()
}

/// Random changes and reopenings, with the snapshot, without, with an older or a damaged one, against a map.
#[test]
fn a_map_and_the_pairs_never_differ() {
    for seed in 1..=3 {
        let mut random = Random(seed);
        let dir = directory();
        let mut pairs = open(dir.path()).expect("a new directory").0;
        let (mut model, mut older, mut snapshots) = (Model::new(), Vec::new(), 0);
        for step in 0..250 {
            let at = format!("seed {seed}, step {step}");
            let changes = random.changes();
            change(&mut model, &changes);
            write(&pairs, &changes, step).expect("the disk is fine");
            if random.below(8) == 0 {
                drop(pairs);
                let path = snapshot(dir.path());
                snapshots += u64::from(path.exists());
                match (random.below(4), std::fs::read(&path)) {
                    (0, Ok(_)) => std::fs::remove_file(&path).expect("there"),
                    (1, Ok(mut bytes)) => {
                        let byte = random.below(bytes.len() as u64) as usize;
                        bytes[byte] ^= 1;
                        std::fs::write(&path, bytes).expect("writable");
                    }
                    (2, Ok(bytes)) => std::fs::write(&path, std::mem::replace(&mut older, bytes)).expect("writable"),
                    _ => {}
                }
                let (opened, meta) = open(dir.path()).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(meta, Some(step.to_le_bytes().to_vec()), "{at}");
                pairs = opened;
            }
            assert_eq!(all(&pairs).expect("readable"), model, "{at}");
            let timers = model.iter().filter(|(key, _)| key.starts_with(b"timer/"));
            let timers: Vec<_> = timers.map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(pairs.scan(b"timer/").expect("readable"), timers, "{at}");
            let key = random.key();
            assert_eq!(pairs.get(&key).expect("readable"), model.get(&key).cloned(), "{at}");
            let live: u64 = model.iter().map(|(key, value)| entry::pair_bytes(key, Some(value))).sum();
            assert_eq!(pairs.stored().index.live, live, "{at}");
            assert_eq!(pairs.head.lock().expect("alive").bytes, bytes_of(dir.path()), "{at}");
            assert!(bytes_of(dir.path()) <= live * 5 / 2 + 2 * TINY.file_bytes.1, "{at}");
        }
        let first = pairs.head.lock().expect("alive").first;
        assert!(first > 10 && snapshots > 5, "seed {seed}: {first} files dropped, {snapshots} snapshots");
    }
}

/// Cuts what each write wrote at every byte, with what the write removed still there: it is the state before, and goes on.
#[test]
fn a_write_is_whole_or_was_not() {
    let mut random = Random(3);
    let dir = directory();
    let pairs = open(dir.path()).expect("a new directory").0;
    let mut model = Model::new();
    for step in 0..70_u64 {
        let (before, image) = (model.clone(), copy(dir.path()));
        let (number, length) = {
            let head = pairs.head.lock().expect("alive");
            (head.number, head.length)
        };
        let changes = random.changes();
        change(&mut model, &changes);
        write(&pairs, &changes, step).expect("the disk is fine");
        let after = copy(dir.path());
        let head = std::fs::read(path(after.path(), number)).expect("not dropped");
        if let Ok(next) = std::fs::read(path(after.path(), number + 1)) {
            std::fs::write(path(image.path(), number + 1), next).expect("writable");
        }
        for cut in length as usize..=head.len() {
            let (expected, at) =
                (if cut == head.len() { &model } else { &before }, format!("step {step}, cut at {cut}"));
            std::fs::write(path(image.path(), number), &head[..cut]).expect("writable");
            let (opened, meta) = open(image.path()).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(&all(&opened).expect("readable"), expected, "{at}");
            let marked = if cut == head.len() { Some(step) } else { step.checked_sub(1) };
            assert_eq!(meta, marked.map(|step| step.to_le_bytes().to_vec()), "{at}");
            drop(opened);
            if random.below(50) == 0 {
                let victim = copy(image.path());
                let opened = open(victim.path()).expect("it did a moment ago").0;
                let (mut expected, changes) = (expected.clone(), random.changes());
                change(&mut expected, &changes);
                write(&opened, &changes, 0).expect("the disk is fine");
                drop(opened);
                let opened = open(victim.path()).unwrap_or_else(|error| panic!("{at}, gone on: {error}")).0;
                assert_eq!(all(&opened).expect("readable"), expected, "{at}, gone on");
            }
        }
    }
    assert!(pairs.head.lock().expect("alive").first > 3, "files were dropped");
}

/// A directory, and the state after each of its writes.
fn written(seed: u64) -> (tempfile::TempDir, Vec<Model>) {
    let mut random = Random(seed);
    let dir = directory();
    let pairs = open(dir.path()).expect("a new directory").0;
    let mut states = Vec::new();
    let mut model = Model::new();
    // The last writes are in one file, and dropped none: what is lost of them is not noticed by what is missing elsewhere.
    let (mut begun, mut last_writes) = ((0, 0), 0);
    while states.len() < 100 || last_writes < 3 {
        let changes = random.changes();
        change(&mut model, &changes);
        write(&pairs, &changes, states.len() as u64).expect("the disk is fine");
        states.push(model.clone());
        let head = pairs.head.lock().expect("alive");
        last_writes = if begun == (head.first, head.number) { last_writes + 1 } else { 0 };
        begun = (head.first, head.number);
    }
    assert!(snapshot(dir.path()).exists() && pairs.head.lock().expect("alive").first > 1);
    (dir, states)
}

/// Opens a directory that is not as it was written: the number of the write whose state it has, which it has whole.
fn found(dir: &Path, states: &[Model]) -> Result<usize, EngineError> {
    let (pairs, meta) = open(dir)?;
    let write = u64::from_le_bytes(meta.expect("there was one").try_into().expect("eight bytes")) as usize;
    assert_eq!(all(&pairs)?, states[write], "the state of write {write}");
    Ok(write)
}

#[test]
fn every_flipped_byte_is_noticed() {
    let (dir, states) = written(1);
    let last = states.len() - 1;
    for with_snapshot in [true, false] {
        if !with_snapshot {
            std::fs::remove_file(snapshot(dir.path())).expect("there");
        }
        let mut unnoticed = 0;
        for number in paths(dir.path()).expect("readable") {
            let path = path(dir.path(), number);
            let bytes = std::fs::read(&path).expect("readable");
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                std::fs::write(&path, &flipped).expect("writable");
                match found(dir.path(), &states) {
                    // What is dead is not read where there is a snapshot.
                    Ok(write) if with_snapshot && write == last => {}
                    // The last mark, as if it had not yet been written.
                    Ok(write) if write == last - 1 => unnoticed += 1,
                    other => assert!(is_damage(&other), "file {number}, byte {at}: {other:?}"),
                }
            }
            std::fs::write(&path, &bytes).expect("writable");
        }
        assert!(unnoticed <= 41, "a mark has 41 bytes, {unnoticed} bytes were not noticed");
    }
}

#[test]
fn a_file_that_is_missing_or_cut_is_noticed() {
    let (dir, states) = written(2);
    let numbers = paths(dir.path()).expect("readable");
    let length = |number: u32| std::fs::metadata(path(dir.path(), number)).expect("there").len();
    let last = numbers.iter().copied().rfind(|number| length(*number) > 0);
    for number in numbers {
        let path = path(dir.path(), number);
        let bytes = std::fs::read(&path).expect("readable");
        std::fs::remove_file(&path).expect("there");
        assert!(is_damage(&open(dir.path())), "file {number} is missing");
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).expect("writable");
            match found(dir.path(), &states) {
                // All that lived of it was written again already.
                Ok(write) if write == states.len() - 1 => {}
                // Where the log ends only its owner can tell.
                Ok(_) if Some(number) == last => {}
                other => assert!(is_damage(&other), "file {number}, cut at {length}: {other:?}"),
            }
        }
        std::fs::write(&path, &bytes).expect("writable");
    }
    assert_eq!(found(dir.path(), &states).expect("mended"), states.len() - 1);
}

#[test]
fn a_snapshot_only_saves_time_but_knows_what_has_to_be_there() {
    let (dir, states) = written(4);
    let bytes = std::fs::read(snapshot(dir.path())).expect("there");
    let is_whole = || found(dir.path(), &states).expect("the log is whole") == states.len() - 1;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        std::fs::write(snapshot(dir.path()), flipped).expect("writable");
        assert!(is_whole(), "byte {at}");
        std::fs::write(snapshot(dir.path()), &bytes[..at]).expect("writable");
        assert!(is_whole(), "cut at {at}");
    }
    std::fs::write(snapshot(dir.path()), bytes).expect("writable");
    let older = directory();
    let pairs = open(older.path()).expect("a new directory").0;
    write(&pairs, &Random(1).changes(), 0).expect("the disk is fine");
    drop(pairs);
    std::fs::copy(snapshot(dir.path()), snapshot(older.path())).expect("can be copied");
    assert!(is_damage(&open(older.path())), "the log is older than its index");
}

#[test]
fn one_at_a_time_has_it_open_and_what_is_of_another_kind_is_refused() {
    let dir = directory();
    let pairs = open(dir.path()).expect("a new directory");
    assert!(matches!(open(dir.path()), Err(EngineError::Retry(reason)) if reason.contains("still open")));
    drop(pairs);
    open(dir.path()).expect("it was closed");
    let dir = directory();
    std::fs::write(dir.path().join("state.redb"), "of another version").expect("writable");
    assert!(matches!(open(dir.path()), Err(EngineError::Damaged(reason)) if reason.contains("state.redb")));
    assert!(!exists(dir.path()), "nothing was begun");
}

/// Readers see each key's values in their order while files are written anew and dropped under them.
#[test]
fn readers_go_on_while_it_is_written() {
    let dir = directory();
    let pairs = open(dir.path()).expect("a new directory").0;
    let keys: Vec<Vec<u8>> = (0..KEYS).map(|key| format!("state/{key}").into_bytes()).collect();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let mut seen = vec![0; keys.len()];
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                for (key, seen) in keys.iter().zip(&mut seen) {
                    let value = pairs.get(key).expect("readable");
                    let value = value.map_or(0, |value| u64::from_le_bytes(value.try_into().expect("eight bytes")));
                    assert!(value >= *seen, "{value} after {seen}");
                    *seen = value;
                }
            }
        };
        scope.spawn(reader);
        let mut random = Random(5);
        for step in 0..300_u64 {
            let value = step.to_le_bytes().to_vec();
            let changed = keys.iter().filter(|_| random.below(4) == 0);
            let changes = changed.map(|key| (key.clone(), Some(value.clone()))).collect();
            write(&pairs, &changes, step).expect("the disk is fine");
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(pairs.head.lock().expect("alive").first > 5, "files were dropped");
}

/// A full disk: what was acknowledged is there, nothing more is written, and it goes on once there is room.
#[test]
fn a_full_disk_loses_nothing() {
    for seed in 1..=8 {
        let Some(disk) = crate::testing::SmallDisk::mount(300 << 10) else { return };
        let ballast = disk.path().join("ballast");
        std::fs::write(&ballast, vec![1; 150 << 10]).expect("some space");
        let sizes = Sizes { file_bytes: (10_000, 20_000), ..TINY };
        let (pairs, mut random, mut acknowledged) = (Pairs::open(disk.path(), sizes), Random(seed), Model::new());
        let pairs = pairs.expect("a new directory").0;
        let mut fill = |pairs: &Pairs, acknowledged: &mut Model, steps: u64| {
            for step in 0..steps {
                let mut changes = random.changes();
                changes.insert(format!("state/{step}").into_bytes(), Some(vec![1; random.below(9000) as usize]));
                write(pairs, &changes, step)?;
                change(acknowledged, &changes);
            }
            Ok(())
        };
        let error: EngineError = fill(&pairs, &mut acknowledged, 1000).expect_err("the disk is full");
        assert!(matches!(error, EngineError::Unknown(_)), "seed {seed}: {error}");
        assert!(matches!(write(&pairs, &Changes::new(), 0), Err(EngineError::Unknown(_))), "it is closed");
        assert_eq!(all(&pairs).expect("readable"), acknowledged, "seed {seed}, still open");
        drop(pairs);
        let pairs = Pairs::open(disk.path(), sizes).expect("opening takes no room").0;
        assert_eq!(all(&pairs).expect("readable"), acknowledged, "seed {seed}, opened again");
        std::fs::remove_file(&ballast).expect("there");
        fill(&pairs, &mut acknowledged, 10).expect("there is room");
        drop(pairs);
        let pairs = Pairs::open(disk.path(), sizes).expect("opens").0;
        assert_eq!(all(&pairs).expect("readable"), acknowledged, "seed {seed}, gone on");
    }
}
