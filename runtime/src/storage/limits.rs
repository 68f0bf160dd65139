//! Named maxima and defaults of the storage engine.

use std::time::Duration;

/// Size at which a segment of a partition is sealed.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Journal bytes after which a checkpoint is made; bounds the time that opening takes.
pub const CHECKPOINT_JOURNAL_BYTES: u64 = 128 << 20;
/// Bytes of changed pairs after which a checkpoint is made; bounds memory.
pub const CHECKPOINT_DIRTY_BYTES: usize = 48 << 20;
/// Time after which a checkpoint is made if anything changed.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);
/// Commits wait while changed pairs exceed this many times [`CHECKPOINT_DIRTY_BYTES`].
pub const DIRTY_BOUND_FACTOR: usize = 2;
/// Sizes between which a file of the log of pairs is sealed.
pub const LOG_BYTES_MIN: u64 = 4 << 20;
/// See [`LOG_BYTES_MIN`].
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// How many times the bytes that live the log may take before its oldest file is written again.
pub const LOG_LIVE_FACTOR: u64 = 2;
/// Bytes of the oldest file that are looked through for each byte that is written. At twice the live bytes it keeps up: of two
/// that are looked at one is dead.
pub const LOG_CLEAN_FACTOR: u64 = 2;
/// Bytes of the log that are written at a time.
pub const LOG_WRITE_BYTES: usize = 1 << 20;
/// Log behind the last snapshot of the index at which the next one is made; with so much for each key, a tenth of what is
/// written is snapshots.
pub const SNAPSHOT_BYTES_MIN: u64 = 64 << 20;
/// See [`SNAPSHOT_BYTES_MIN`].
pub const SNAPSHOT_KEY_BYTES: u64 = 256;
/// Changes that the index takes at a time, while readers wait.
pub const INDEX_CHANGES: usize = 4096;
/// Largest journal frame that is believed; anything longer is damage.
pub const FRAME_BYTES_MAX: u32 = 1 << 30;
/// Journal space that is allocated ahead at a time.
pub const JOURNAL_ALLOCATION_BYTES: u64 = 16 << 20;
/// Distance of entries in a segment's index.
pub const INDEX_BYTES: u64 = 64 << 10;
