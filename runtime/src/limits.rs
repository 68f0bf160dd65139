//! Named maxima of the runtime.

pub use skuflow_processors::AHEAD_MAX;
pub use skuflow_schemas::RECORD_BYTES_MAX;
use skuflow_schemas::{DEAD_LETTER_OVERHEAD_BYTES_MAX, Span};

/// Bytes one fetch of a partition returns at most; one record larger than that is returned alone.
pub const FETCH_BYTES_MAX: usize = 1 << 20;
/// Records that one transaction consumes at most, per worker.
pub const TXN_RECORDS_MAX: usize = 50_000;
/// Bytes that one transaction produces at most, per worker; one record may exceed it.
pub const TXN_BYTES_MAX: usize = 12 << 20;
/// Records a worker processes before it polls again.
pub const RECORDS_PER_TURN_MAX: usize = 4_096;
/// Event time that a task goes ahead of the other tasks of its worker at most.
pub const TASKS_APART_MAX: Span = Span::from_millis(10_000);
/// Largest dead letter: the largest record and the headers that say what is wrong with it.
pub const DEAD_LETTER_BYTES_MAX: usize = RECORD_BYTES_MAX + DEAD_LETTER_OVERHEAD_BYTES_MAX;
/// Timers of a task that fire before a record, and behind it, at once; the rest fire before the next one, in turns.
pub const WAKES_PER_RECORD_MAX: usize = 10_000;
/// Bytes of decoded state a task's cache keeps, unless configured. What it does not hold is read from the page cache: with
/// four times as much a hundred thousand products are no faster.
pub const CACHE_BYTES_DEFAULT: usize = 4 << 20;
/// How long a member of a Kafka group may be silent, unless configured.
pub const SESSION_TIMEOUT_DEFAULT: Span = Span::from_millis(10_000);
/// How long a transaction on Kafka may stay open, unless configured.
pub const TRANSACTION_TIMEOUT_DEFAULT: Span = Span::from_millis(15_000);
/// Times a replayed record may come back to the dead letters before `dlq replay` leaves it alone.
pub const REPLAY_ATTEMPTS_MAX: u32 = 5;

const _: () = assert!(FETCH_BYTES_MAX < TXN_BYTES_MAX && RECORD_BYTES_MAX < TXN_BYTES_MAX);
/// A run of seen ids of at least this many bytes is never written again.
pub const RUN_BYTES_MIN: usize = 64 << 10;
/// Smaller runs of seen ids of one day that stand side by side before they are merged.
pub const OPEN_RUNS_MAX: usize = 64;
/// Bytes of one input that wait in a task before its fetching pauses.
pub const INPUT_BYTES_MAX: usize = 4 * FETCH_BYTES_MAX;
/// Time a call waits for records at most before its caller looks around again.
pub const POLL_MAX: std::time::Duration = std::time::Duration::from_millis(100);
/// First and longest pause between attempts at what may succeed later.
pub const BACKOFF_MIN: std::time::Duration = std::time::Duration::from_millis(20);
/// See [`BACKOFF_MIN`].
pub const BACKOFF_MAX: std::time::Duration = std::time::Duration::from_secs(2);
