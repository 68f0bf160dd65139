//! The engine: commits in groups, checkpoints in the background, opens by replay.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::identity::{Identity, TopicMeta};
use super::journal::{self, Frame, Journal, PlacedAppend};
use super::limits::{
    CHECKPOINT_DIRTY_BYTES, CHECKPOINT_INTERVAL, CHECKPOINT_JOURNAL_BYTES, DIRTY_BOUND_FACTOR, FRAME_BYTES_MAX,
    SEGMENT_BYTES,
};
use super::pairs::Pair;
use super::segments::{self, PartitionLog, PartitionMeta, Place, StoredBatch};
use super::state::StateMap;
use super::{DirectoryLock, EngineError, PartitionIndex, Put, Txn, io};

/// Where a partition's log starts, once retention has moved it.
const START_PREFIX: &[u8] = b"\0start/";

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size at which a segment is sealed.
    pub segment_bytes: u64,
    /// Journal bytes after which a checkpoint is made.
    pub checkpoint_journal_bytes: u64,
    /// Bytes of changed pairs after which a checkpoint is made.
    pub checkpoint_dirty_bytes: usize,
    /// Time after which a checkpoint is made if anything changed.
    pub checkpoint_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            checkpoint_journal_bytes: CHECKPOINT_JOURNAL_BYTES,
            checkpoint_dirty_bytes: CHECKPOINT_DIRTY_BYTES,
            checkpoint_interval: CHECKPOINT_INTERVAL,
        }
    }
}

type CommitResult = Result<Vec<u64>, EngineError>;

/// A transaction that waits to be written.
struct Waiting {
    txn: Txn,
    result: Arc<OnceLock<CommitResult>>,
}

/// The engine of one directory.
pub struct Engine {
    shared: Arc<Shared>,
    checkpointer: Option<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    options: Options,
    queue: Mutex<Vec<Waiting>>,
    core: Mutex<Core>,
    partitions: RwLock<Vec<Arc<Mutex<PartitionLog>>>>,
    /// As in the identity; read without waiting for a commit.
    topics: RwLock<Arc<Vec<TopicMeta>>>,
    state: StateMap,
    poisoned: OnceLock<String>,
    /// Counts commits, and wakes who waits for one.
    version: Mutex<u64>,
    changed: Condvar,
    wanted: Mutex<Wanted>,
    wake: Condvar,
    /// Held while a checkpoint is made: one at a time.
    checkpointing: Mutex<()>,
}

/// What a checkpoint says about the rest of the directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// Transactions up to this one are in it.
    applied: u64,
    /// By partition index.
    partitions: Vec<PartitionMeta>,
}

struct Core {
    journal: Journal,
    identity: Identity,
    frames: Vec<u8>,
}

#[derive(Default)]
struct Wanted {
    checkpoint: bool,
    stop: bool,
}

impl Engine {
    /// Opens the directory: the last checkpoint, and the journal behind it.
    ///
    /// # Errors
    /// `Damaged` where anything acknowledged is missing; `Retry` where it cannot be opened now. Nothing is changed by a
    /// failed opening that a later one could not do without.
    pub fn open(owned: &DirectoryLock, options: Options) -> Result<Self, EngineError> {
        let dir = owned.dir().to_path_buf();
        let identity = Identity::open(&dir)?;
        // The pairs are made before the first acknowledgement, so a directory with a mark has them.
        if !StateMap::exists(&dir) && dir.join("high-water").exists() {
            return Err(EngineError::Damaged(format!(
                "the files state-*.log of {} are missing: the state and the positions of everything in the data directory are \
                 gone with them; restore the data directory from a backup",
                dir.display()
            )));
        }
        let (state, checkpoint) = StateMap::open::<Checkpoint>(&dir)?;
        let checkpoint = checkpoint.unwrap_or_default();
        // First that everything acknowledged is there, and only then is anything cut, removed or written.
        Journal::verify(&dir, checkpoint.applied)?;
        let mut logs = open_logs(&dir, &identity, &checkpoint, options.segment_bytes)?;
        let journal = Journal::open(&dir, checkpoint.applied, |frame| replay(frame, &mut logs, &state))?;
        for (index, log) in logs.iter_mut().enumerate() {
            let start = state.get(&start_key(index as u32))?.and_then(|bytes| bytes.try_into().ok());
            log.start_at(start.map_or(0, u64::from_le_bytes))?;
        }
        let shared = Arc::new(Shared {
            dir,
            options,
            queue: Mutex::default(),
            topics: RwLock::new(Arc::new(identity.topics.clone())),
            core: Mutex::new(Core { journal, identity, frames: Vec::new() }),
            partitions: RwLock::new(logs.into_iter().map(|log| Arc::new(Mutex::new(log))).collect()),
            state,
            poisoned: OnceLock::new(),
            version: Mutex::new(0),
            changed: Condvar::new(),
            wanted: Mutex::default(),
            wake: Condvar::new(),
            checkpointing: Mutex::default(),
        });
        lock(&shared.wanted).checkpoint = shared.is_checkpoint_due(&lock(&shared.core));
        let worker = shared.clone();
        let spawned = std::thread::Builder::new().name("checkpoint".into()).spawn(move || worker.checkpoint_loop());
        let checkpointer = spawned.map_err(|error| EngineError::Retry(error.to_string()))?;
        Ok(Self { shared, checkpointer: Some(checkpointer) })
    }

    /// Commits a transaction: on return it is on disk and visible. Transactions of several threads share a write and an
    /// fsync. Returns the base offsets of its appends.
    ///
    /// # Errors
    /// `Conflict`: nothing was written. `Unknown`: open anew and look.
    pub fn commit(&self, txn: Txn) -> CommitResult {
        let shared = &self.shared;
        shared.check_txn(&txn)?;
        shared.wait_for_room();
        let result = Arc::new(OnceLock::new());
        lock(&shared.queue).push(Waiting { txn, result: result.clone() });
        let mut core = lock(&shared.core);
        if result.get().is_none() {
            // Whoever comes first writes for all that wait.
            let group = std::mem::take(&mut *lock(&shared.queue));
            shared.commit_group(&mut core, group);
        }
        drop(core);
        result.get().cloned().expect("the group that held it has answered")
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.shared.check_poison()?;
        self.shared.state.get(key)
    }

    /// All pairs whose key starts with `prefix`, in key order.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
        self.shared.check_poison()?;
        self.shared.state.scan(prefix)
    }

    /// Identity of the directory.
    pub fn cluster_id(&self) -> String {
        lock(&self.shared.core).identity.cluster_id.clone()
    }

    /// All topics.
    pub fn topics(&self) -> Arc<Vec<TopicMeta>> {
        self.shared.topics.read().expect("no holder panics").clone()
    }

    /// Makes a topic unless there is one with the same number of partitions.
    ///
    /// # Errors
    /// `Fatal` where it has another number.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<TopicMeta, EngineError> {
        self.shared.check_poison()?;
        let mut core = lock(&self.shared.core);
        if let Some(topic) = core.identity.topics.iter().find(|topic| topic.name == name) {
            return if topic.partitions == partitions {
                Ok(topic.clone())
            } else {
                Err(EngineError::Fatal(format!(
                    "topic {name} has {} partitions, the config says {partitions}: the number is fixed when a topic is made",
                    topic.partitions
                )))
            };
        }
        let topic = core.identity.add(&self.shared.dir, name, partitions)?;
        let mut logs = self.shared.partitions.write().expect("no holder panics");
        for number in 0..partitions {
            let (dir, name) = place(&self.shared.dir, &topic, number);
            let log = PartitionLog::open(dir, name, &PartitionMeta::default(), self.shared.options.segment_bytes)?;
            logs.push(Arc::new(Mutex::new(log)));
        }
        *self.shared.topics.write().expect("no holder panics") = Arc::new(core.identity.topics.clone());
        Ok(topic)
    }

    /// First and next offset of a partition.
    pub fn offsets(&self, of: PartitionIndex) -> Result<(u64, u64), EngineError> {
        let log = self.shared.partition(of)?;
        let log = lock(&log);
        Ok((log.start, log.next))
    }

    /// Bytes of a partition's segments.
    pub fn partition_bytes(&self, of: PartitionIndex) -> Result<u64, EngineError> {
        let log = self.shared.partition(of)?;
        let bytes = lock(&log).bytes();
        Ok(bytes)
    }

    /// A reader; it remembers where it was in each partition.
    pub fn reader(&self) -> EngineReader {
        EngineReader { places: HashMap::new() }
    }

    /// Drops the segments of a partition that end at or before `limit` and were last written before `before_micros`.
    /// The new start is on record before the first file goes, so a crash in between leaves nothing undone.
    pub fn drop_expired(&self, of: PartitionIndex, limit: u64, before_micros: i64) -> Result<u64, EngineError> {
        let log = self.shared.partition(of)?;
        let locked = lock(&log);
        let (start, before) = (locked.droppable(limit, before_micros), locked.start);
        drop(locked);
        if start > before {
            let put = Put { key: start_key(of.0), value: Some(start.to_le_bytes().to_vec()) };
            self.commit(Txn { puts: vec![put], ..Txn::default() })?;
            let dropped = lock(&log).drop_before(start);
            dropped.map_err(|error| self.shared.poison(&format!("dropping old segments: {error}")))?;
        }
        Ok(start)
    }

    /// Waits until something was committed since `seen`, or `timeout`; returns what to give as `seen` next.
    pub fn wait_for_change(&self, seen: u64, timeout: Duration) -> u64 {
        let version = lock(&self.shared.version);
        if *version != seen || timeout.is_zero() {
            return *version;
        }
        self.shared.changed.wait_timeout(version, timeout).map_or(seen, |(version, _)| *version)
    }

    /// Why the engine is closed, if it is.
    pub fn poisoned(&self) -> Option<&str> {
        self.shared.poisoned.get().map(String::as_str)
    }

    /// Makes a checkpoint now.
    pub fn checkpoint(&self) -> Result<(), EngineError> {
        self.shared.checkpoint()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        lock(&self.shared.wanted).stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.checkpointer.take() {
            let _a_panic_was_reported_there = thread.join();
        }
    }
}

/// Reads partitions in order; remembers where it was.
#[derive(Default)]
pub struct EngineReader {
    places: HashMap<PartitionIndex, Place>,
}

impl EngineReader {
    /// Batches of `of` from the one that holds `from` on, about `bytes_max` of them, at least one; none at the end.
    ///
    /// # Errors
    /// `OutOfRange`; `Damaged` where a checksum is wrong.
    pub fn read(
        &mut self,
        engine: &Engine,
        of: PartitionIndex,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredBatch>, EngineError> {
        engine.shared.check_poison()?;
        let log = engine.shared.partition(of)?;
        let place = self.places.entry(of).or_default();
        let mut locked = lock(&log);
        let Some(window) = locked.window(from, place)? else { return Ok(Vec::new()) };
        let name = locked.name().to_owned();
        drop(locked);
        let (batches, next) = segments::read(&window, bytes_max, &name)?;
        *place = next;
        Ok(batches)
    }
}

impl Shared {
    fn commit_group(&self, core: &mut Core, group: Vec<Waiting>) {
        let outcome = self.check_poison().and_then(|()| self.write_group(core, &group));
        let placed = match outcome {
            Ok(placed) => placed,
            Err(error) => {
                for waiting in &group {
                    let _answered_before = waiting.result.set(Err(error.clone()));
                }
                return;
            }
        };
        let applied = self.apply_group(group, placed);
        *lock(&self.version) += 1;
        self.changed.notify_all();
        if applied && self.is_checkpoint_due(core) {
            lock(&self.wanted).checkpoint = true;
            self.wake.notify_all();
        }
    }

    /// Writes the frames of all transactions whose expectations hold: one write, one fsync.
    fn write_group(&self, core: &mut Core, group: &[Waiting]) -> Result<Vec<CommitResult>, EngineError> {
        let logs = self.partitions.read().expect("no holder panics");
        let mut next: HashMap<u32, u64> = HashMap::new();
        let mut changed: HashMap<&[u8], Option<&[u8]>> = HashMap::new();
        let (mut frames, durable) = (std::mem::take(&mut core.frames), core.journal.durable());
        frames.clear();
        let mut last = durable;
        let mut placed = Vec::with_capacity(group.len());
        for Waiting { txn, .. } in group {
            if let Some(conflict) = self.conflict(txn, &changed)? {
                placed.push(Err(conflict));
                continue;
            }
            let mut appends = Vec::with_capacity(txn.appends.len());
            for append in &txn.appends {
                let index = append.partition.0;
                let log = logs.get(index as usize).ok_or_else(|| unknown(append.partition))?;
                let next = next.entry(index).or_insert_with(|| lock(log).next);
                let (records, payload) = (append.records, append.payload.as_slice());
                appends.push(PlacedAppend { partition: index, base_offset: *next, records, payload });
                *next += u64::from(records);
            }
            changed.extend(txn.puts.iter().map(|put| (put.key.as_slice(), put.value.as_deref())));
            last += 1;
            journal::encode(&mut frames, last, durable, txn.now_micros, &appends, &txn.puts);
            placed.push(Ok(appends.iter().map(|append| append.base_offset).collect()));
        }
        if last > durable {
            let written = core.journal.append(&frames, last);
            written.map_err(|error| self.poison(&format!("writing the journal: {error}")))?;
        }
        core.frames = frames;
        Ok(placed)
    }

    /// Refuses what could not be read back.
    fn check_txn(&self, txn: &Txn) -> Result<(), EngineError> {
        let partitions = self.partitions.read().expect("no holder panics").len();
        for append in &txn.appends {
            if append.partition.0 as usize >= partitions {
                return Err(unknown(append.partition));
            }
            if append.records == 0 {
                return Err(EngineError::Fatal("a batch without records".into()));
            }
        }
        let appended: usize = txn.appends.iter().map(|append| append.payload.len() + 32).sum();
        let put: usize = txn.puts.iter().map(|put| put.key.len() + put.value.as_ref().map_or(0, Vec::len) + 16).sum();
        if appended + put > FRAME_BYTES_MAX as usize {
            return Err(EngineError::Fatal(format!("a transaction of {} bytes is too large", appended + put)));
        }
        Ok(())
    }

    fn conflict(&self, txn: &Txn, changed: &HashMap<&[u8], Option<&[u8]>>) -> Result<Option<EngineError>, EngineError> {
        for expect in &txn.expect {
            let holds = match changed.get(expect.key.as_slice()) {
                Some(value) => *value == expect.value.as_deref(),
                None => self.state.get(&expect.key)? == expect.value,
            };
            if !holds {
                let key = String::from_utf8_lossy(&expect.key).into_owned();
                return Ok(Some(EngineError::Conflict { key }));
            }
        }
        Ok(None)
    }

    /// Makes committed transactions visible and answers them; `false` where that failed.
    fn apply_group(&self, group: Vec<Waiting>, placed: Vec<CommitResult>) -> bool {
        let logs = self.partitions.read().expect("no holder panics");
        for (Waiting { txn, result }, placed) in group.into_iter().zip(placed) {
            // Once one failed, the rest of the group is on disk too, but nobody can see it before the next opening.
            let answer = self.check_poison().and(placed).and_then(|bases| {
                for (append, base) in txn.appends.iter().zip(&bases) {
                    let mut log = lock(&logs[append.partition.0 as usize]);
                    let appended = log.append(*base, append.records, txn.now_micros, &append.payload);
                    appended.map_err(|error| self.poison(&format!("writing {}: {error}", log.name())))?;
                }
                self.state.apply(txn.puts);
                Ok(bases)
            });
            let _answered_once = result.set(answer);
        }
        self.poisoned.get().is_none()
    }

    fn is_checkpoint_due(&self, core: &Core) -> bool {
        let (journal, dirty) = (core.journal.bytes, self.state.dirty_bytes());
        journal > self.options.checkpoint_journal_bytes || dirty > self.options.checkpoint_dirty_bytes
    }

    fn wait_for_room(&self) {
        let bound = self.options.checkpoint_dirty_bytes * DIRTY_BOUND_FACTOR;
        while self.state.changed_bytes() > bound && self.poisoned.get().is_none() {
            let version = lock(&self.version);
            let _timed_out = self.changed.wait_timeout(version, Duration::from_millis(10));
        }
    }

    fn checkpoint_loop(&self) {
        let mut last = Instant::now();
        loop {
            let mut wanted = lock(&self.wanted);
            while !wanted.stop && !wanted.checkpoint && last.elapsed() < self.options.checkpoint_interval {
                let left = self.options.checkpoint_interval.saturating_sub(last.elapsed());
                match self.wake.wait_timeout(wanted, left) {
                    Ok((guard, _)) => wanted = guard,
                    Err(_) => return,
                }
            }
            let stop = wanted.stop;
            wanted.checkpoint = false;
            drop(wanted);
            if self.poisoned.get().is_some() || self.checkpoint().is_err() || stop {
                return;
            }
            last = Instant::now();
        }
    }

    fn checkpoint(&self) -> Result<(), EngineError> {
        let _one_at_a_time = lock(&self.checkpointing);
        self.check_poison()?;
        let mut core = lock(&self.core);
        if core.journal.is_covered() {
            return Ok(());
        }
        let rolled = core.journal.roll();
        rolled.map_err(|error| self.poison(&format!("beginning a journal file: {error}")))?;
        self.state.freeze();
        let mut checkpoint = Checkpoint { applied: core.journal.durable(), partitions: Vec::new() };
        let mut unsynced = Vec::new();
        for log in self.partitions.read().expect("no holder panics").iter() {
            let mut log = lock(log);
            checkpoint.partitions.push(log.meta());
            unsynced.push(log.take_unsynced());
        }
        let covered = core.journal.covered();
        drop(core);
        let synced = unsynced.iter().try_for_each(|(files, dir)| segments::sync(files, dir.as_deref()));
        synced.map_err(|error| self.poison(&format!("syncing segments: {error}")))?;
        self.state.write_frozen(&checkpoint).map_err(|error| self.poison(&error.to_string()))?;
        let dropped = covered.and_then(|(dir, files)| {
            files.iter().try_for_each(std::fs::remove_file)?;
            super::identity::sync_dir(&dir)
        });
        dropped.map_err(|error| self.poison(&format!("dropping journal files: {error}")))?;
        self.changed.notify_all();
        Ok(())
    }

    fn partition(&self, of: PartitionIndex) -> Result<Arc<Mutex<PartitionLog>>, EngineError> {
        let logs = self.partitions.read().expect("no holder panics");
        logs.get(of.0 as usize).cloned().ok_or_else(|| unknown(of))
    }

    fn check_poison(&self) -> Result<(), EngineError> {
        self.poisoned.get().map_or(Ok(()), |reason| Err(EngineError::Unknown(reason.clone())))
    }

    fn poison(&self, reason: &str) -> EngineError {
        let reason = format!("{}: {reason}", self.dir.display());
        let _the_first_reason_counts = self.poisoned.set(reason.clone());
        self.changed.notify_all();
        EngineError::Unknown(reason)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

fn unknown(of: PartitionIndex) -> EngineError {
    EngineError::Fatal(format!("there is no partition {}", of.0))
}

fn start_key(partition: u32) -> Vec<u8> {
    [START_PREFIX, &partition.to_be_bytes()].concat()
}

fn place(dir: &std::path::Path, topic: &TopicMeta, number: u32) -> (PathBuf, String) {
    (dir.join("topics").join(&topic.name).join(number.to_string()), format!("{}/{number}", topic.name))
}

fn open_logs(
    dir: &std::path::Path,
    identity: &Identity,
    checkpoint: &Checkpoint,
    segment_bytes: u64,
) -> Result<Vec<PartitionLog>, EngineError> {
    let mut logs = Vec::new();
    for topic in &identity.topics {
        for number in 0..topic.partitions {
            let known = checkpoint.partitions.get(logs.len()).cloned().unwrap_or_default();
            let (dir, name) = place(dir, topic, number);
            logs.push(PartitionLog::open(dir, name, &known, segment_bytes)?);
        }
    }
    if checkpoint.partitions.len() > logs.len() {
        return Err(EngineError::Damaged(
            "identity.json knows fewer topics than the checkpoint; restore the data directory from a backup".into(),
        ));
    }
    Ok(logs)
}

fn replay(frame: Frame, logs: &mut [PartitionLog], state: &StateMap) -> Result<(), EngineError> {
    for append in &frame.appends {
        let log = logs.get_mut(append.partition as usize).ok_or_else(|| {
            EngineError::Damaged(format!("the journal writes to partition {}, which no topic has", append.partition))
        })?;
        if log.next != append.base_offset {
            return Err(EngineError::Damaged(format!(
                "transaction {} continues {} at offset {}, which is at {}",
                frame.sequence,
                log.name(),
                append.base_offset,
                log.next
            )));
        }
        log.append(append.base_offset, append.records, frame.time_micros, &append.payload)
            .map_err(|error| EngineError::Retry(io("replaying into", log.dir(), &error)))?;
    }
    state.apply(frame.puts.into_iter().map(|(key, value)| Put { key, value }));
    Ok(())
}
