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
