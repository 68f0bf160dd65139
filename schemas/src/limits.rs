//! Named maxima of the contract.

/// Most decimals a price may carry; more are refused, never rounded.
pub const MONEY_EXPONENT_MAX: u8 = 6;
/// Longest text a key part may have, in bytes before percent-encoding.
pub const KEY_PART_BYTES_MAX: usize = 1024;
/// Longest customer name, in bytes.
pub const CUSTOMER_BYTES_MAX: usize = 64;
/// Most bytes of an offending record that a connector's dead letter keeps.
pub const DEAD_LETTER_EXCERPT_BYTES_MAX: usize = 64 * 1024;
/// Largest record (key, value and headers together) that a topic takes, in bytes; as `max.message.bytes` on Kafka.
pub const RECORD_BYTES_MAX: usize = 10 * 1024 * 1024;
/// What a dead letter's headers may add to the record they describe, in bytes.
pub const DEAD_LETTER_OVERHEAD_BYTES_MAX: usize = 64 * 1024;
