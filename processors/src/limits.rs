//! Named maxima of the steps.

use skuflow_schemas::{Span, Timestamp};

/// Sellers of one listing whose last offer is kept; the one observed longest ago gives way. What was sent of an offer that
/// gave way is not sent again nor taken back when the catalog changes: it stands until it is no longer active.
pub const SELLERS_PER_LISTING_MAX: usize = 512;
/// Products that may track one listing.
pub const PRODUCTS_PER_LISTING_MAX: usize = 1_024;
/// Listings that one product may own or compete with, together.
pub const LISTINGS_PER_PRODUCT_MAX: usize = 4_096;
/// Days that windows reach back, plus the days of grace for late records.
pub const WINDOW_DAYS: i32 = 30;
/// Days after which a window is dropped, on top of [`WINDOW_DAYS`].
pub const GRACE_DAYS: i32 = 7;
/// [`GRACE_DAYS`] in microseconds.
pub const GRACE_MICROS: i64 = Span::from_days(GRACE_DAYS as i64).micros();
/// Event time that is believed to be ahead of the moment a record was taken in; beyond it a record has no place in time.
pub const AHEAD_MAX: Span = Span::from_days(1);
/// Largest amount, and largest value of an order line: a billion, in millionths. Thousands of them still add up in 64 bits.
pub const AMOUNT_MICROS_MAX: i128 = 1_000_000_000_000_000;
/// 1990-01-01T00:00:00Z: no record that is older was observed by any shop system. A clock that was never set says 1970.
pub const OBSERVED_AT_MIN: Timestamp = Timestamp::from_millis(631_152_000_000);
/// Longest reason of a refusal, in bytes; what is beyond is cut off.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Most units of an order line.
pub const UNITS_MAX: u64 = 1_000_000_000;
/// Longest expression of a rule, in bytes: so deep, and no deeper, can it be nested.
pub const EXPRESSION_BYTES_MAX: usize = 2_048;
/// Longest message of an alert, in bytes; what is beyond is cut off.
pub const MESSAGE_BYTES_MAX: usize = 1_024;
/// Offers that stand for one product; the one observed longest ago gives way. The sellers that it remembers, too.
pub const OFFERS_PER_PRODUCT_MAX: usize = 2_048;
/// Own offers of one product whose past is kept; the one last heard of longest ago gives way.
pub const OWN_OFFERS_PER_PRODUCT_MAX: usize = 64;
/// Observations of one own offer that are kept for late corrections of its days; the oldest give way.
pub const OBSERVATIONS_PER_OFFER_MAX: usize = 1_024;
/// Listings and locations of one product whose stock is kept; the one counted longest ago gives way.
pub const STOCKS_PER_PRODUCT_MAX: usize = 1_024;
/// Order lines of one product in one of its [`LINE_ROWS_PER_PRODUCT`] rows, kept for their corrections; the oldest give way.
pub const LINES_PER_ROW_MAX: usize = 4_096;
/// Bytes of what was heard of a product's own offers and Buy Box since its history was last written; then it is.
pub const HEARD_BYTES_MAX: usize = 16 << 10;
/// Rows over which the order lines of a product are spread.
pub const LINE_ROWS_PER_PRODUCT: u64 = 64;
