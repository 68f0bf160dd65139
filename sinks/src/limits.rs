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
