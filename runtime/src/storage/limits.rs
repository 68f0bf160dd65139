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
/// Pages of the key-value store that are cached.
pub const STATE_CACHE_BYTES: usize = 32 << 20;
/// Largest journal frame that is believed; anything longer is damage.
pub const FRAME_BYTES_MAX: u32 = 1 << 30;
/// Journal space that is allocated ahead at a time.
pub const JOURNAL_ALLOCATION_BYTES: u64 = 16 << 20;
/// Distance of entries in a segment's index.
pub const INDEX_BYTES: u64 = 64 << 10;
