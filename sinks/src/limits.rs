//! Named maxima of the sinks.

use std::time::Duration;

/// Records of one batch at most.
pub const BATCH_RECORDS_MAX: usize = 20_000;
/// Bytes of one batch, roughly.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// Age at which a batch is landed however small it is, unless configured.
pub const BATCH_AGE: Duration = Duration::from_millis(500);
/// How long a statement waits for another process that has the database, before the sink drops its batch and begins anew.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Records of a batch that may become dead letters because the store does not take them; of more, the store is at fault.
pub const REFUSED_MAX: usize = 100;
/// How long a Postgres may take to let us in, and to bring its tables up to date.
pub const SERVING_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a statement may take there, unless configured.
pub const SERVING_STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a statement of its upkeep may take at least.
pub const SERVING_UPKEEP_TIMEOUT: Duration = Duration::from_mins(10);
/// How much longer than that we wait for its answer.
pub const SERVING_GRACE: Duration = Duration::from_secs(5);
/// Characters of a dead letter's topic and of its code that are told: of more, Postgres could make no key.
pub const LETTER_KEY_CHARS_MAX: usize = 300;
/// Records of one commit to a table of the lake at most; all of them are held in memory until then.
pub const LAKE_RECORDS_MAX: usize = 262_144;
/// Bytes of their values at most, unless configured; decoded they take about five times as much.
pub const LAKE_BYTES_MAX: u64 = 32 << 20;
/// Rows of one row group of a lake's file at most: what readers share out among processors.
pub const ROW_GROUP_ROWS_MAX: usize = 262_144;
/// Bytes of a row group, roughly; it is held in memory until it is full.
pub const ROW_GROUP_BYTES_MAX: usize = 64 << 20;
/// Rows that are turned into columns at a time.
pub const ENCODE_ROWS_MAX: usize = 1_024;
/// How long a catalog may take to let us in.
pub const CATALOG_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to answer. It gives up waiting for another writer before that.
pub const CATALOG_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Commits of a table whose lineage the catalog keeps: of ten weeks, at one a minute.
pub const LINEAGE_COMMITS_KEPT: i64 = 100_000;
/// How often a commit that lost against another one, or had no answer, is tried before the batch begins anew.
pub const COMMIT_TRIES_MAX: u32 = 20;
/// Of how many commits one expires snapshots and merges manifests.
pub const TIDY_EVERY: i64 = 20;
/// Snapshots that stay when others expire.
pub const SNAPSHOTS_KEPT: usize = 100;
/// Metadata files that stay when others are removed: a reader that has found one has that many commits to open it.
pub const METADATA_FILES_KEPT: usize = 100;
/// Files that one manifest names, roughly; a manifest that has this many is not merged any more.
pub const MANIFEST_FILES_MAX: u64 = 1_000;
/// Bytes of a file for a bucket that are held in memory while it is written; more are on disk.
pub const SPOOL_BYTES_MAX: usize = 8 << 20;
/// Bytes of an object that is put in one call; of more it is put in parts.
pub const PUT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a part.
pub const PUT_PART_BYTES: u64 = 8 << 20;
/// How often an object is put that is not there afterwards.
pub const PUT_TRIES_MAX: u32 = 4;
/// How long a call to S3 may take.
pub const S3_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a connection to S3 may take.
pub const S3_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a call is made again that a server or a connection failed.
pub const S3_RETRIES_MAX: usize = 5;
/// From the first call to the last one that is made again.
pub const S3_RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two of them, from and up to.
pub const S3_BACKOFF: Duration = Duration::from_millis(50);
/// See [`S3_BACKOFF`].
pub const S3_BACKOFF_MAX: Duration = Duration::from_secs(3);
/// A file below this is small: it is put together with others when its day is over.
pub const SMALL_FILE_BYTES: u64 = 32 << 20;
/// A file below this is put together with others while its day goes on, each time that files of the day are.
pub const TINY_FILE_BYTES: u64 = 4 << 20;
/// Bytes of the files that become one at most, roughly those of the file that they become.
pub const COMPACT_BYTES_MAX: u64 = 256 << 20;
/// Files that become one at most: all of them are open at a time, with `ENCODE_ROWS_MAX` rows of each.
pub const MERGE_FILES_MAX: usize = 128;
/// How long a file and its part of the table are left alone before the file is put together with others, in microseconds.
pub const QUIET_MICROS: i64 = 3_600_000_000;
/// Offsets of a partition whose events are read back from a table at a time; they are in memory together.
pub const EVENTS_OFFSETS: u64 = 100_000;
/// Bytes of the files that stay open from one of these pieces to the next: those of a bucket are copies on disk.
pub const EVENTS_BYTES_MAX: u64 = 1 << 30;
/// How many they are at most.
pub const EVENTS_FILES_MAX: usize = 64;
/// Rows of a table whose offsets `fsck` compares one by one at most, 8 bytes each.
pub const FSCK_ROWS_MAX: u64 = 1 << 25;
/// How long who tends a lake may be silent before another takes over, in microseconds.
pub const LEASE_MICROS: i64 = 600_000_000;

const _: () = assert!(PUT_PART_BYTES >= 5 << 20, "what S3 allows");
const _: () =
    assert!(TINY_FILE_BYTES < SMALL_FILE_BYTES && SMALL_FILE_BYTES < COMPACT_BYTES_MAX && MERGE_FILES_MAX > 1);
const _: () = assert!(ENCODE_ROWS_MAX <= ROW_GROUP_ROWS_MAX && TIDY_EVERY > 0);
