//! Named maxima of the connectors.

/// Records of one page at most.
pub const PAGE_RECORDS_MAX: usize = 5_000;
/// Bytes of records that one page takes in, roughly.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// Largest record of a file; longer ones are dead letters, read past without being held in memory.
pub const ROW_BYTES_MAX: usize = 10 << 20;
/// Largest file of one JSON document; NDJSON and CSV files have no limit.
pub const JSON_DOCUMENT_BYTES_MAX: usize = 256 << 20;
/// Bytes of a file's beginning that tell it from another of the same name.
pub const FINGERPRINT_BYTES: usize = 4 << 10;
/// Bytes read from a file at a time.
pub const READ_BYTES: usize = 256 << 10;
/// Files that one page notes as read at most.
pub const PAGE_FILES_MAX: usize = 5_000;
/// Entries of a cursor beyond which files that are gone are forgotten. More: a file that comes back late is not read again;
/// less: less memory.
pub const FILES_REMEMBERED_MAX: usize = 100_000;
/// Bytes of a file that are hashed at a time; those of the last block are hashed again when it grows.
pub const HASH_BLOCK_BYTES: u64 = 64 << 10;
/// Products of a simulated market: each takes some 6 KiB of memory.
pub const SIMULATED_PRODUCTS_MAX: u32 = 100_000;
/// Sellers of a simulated market at least: a product meets as many, so that price wars have their three.
pub const SIMULATED_SELLERS_MIN: u32 = 7;
/// Sellers of a simulated market at most.
pub const SIMULATED_SELLERS_MAX: u32 = 10_000;
/// Days of a simulated market.
pub const SIMULATED_DAYS_MAX: u32 = 3_650;
