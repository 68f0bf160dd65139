//! The contract: what travels on skuflow's topics.
//!
//! ```text
//!   .avsc files ──▶ Codec ◀── Rust types (Offer, Sale, Inventory, Catalog, Listing, Quality)
//!                     │                        │
//!            framed bytes on a topic     EventId, Key, Money, Timestamp
//! ```
//!
//! Pure data and pure functions: no clock, no files, no network. Everything else depends on this crate, it depends on
//! nothing of ours.

mod alert;
mod catalog;
mod codec;
mod dead_letter;
mod envelope;
mod event;
mod features;
mod id;
mod inventory;
mod limits;
mod listing;
mod money;
mod offer;
mod quality;
mod sale;
mod time;
mod topic;
mod units;

pub use alert::{Alert, Evidence, Severity};
pub use catalog::{Catalog, ListingRef};
pub use codec::{
    DecodeError, Decoder, Encoder, REGISTRY_ID_MAX, body_hash, carried_id, content_hash, registry_id, release_of,
    schema_id, schema_json,
};
pub use dead_letter::{ATTEMPT_HEADER, DeadLetter, ErrorStage, HEADER_PREFIX, Origin};
pub use envelope::{CHANGE, Envelope};
pub use event::{Event, Family};
pub use features::{Change, FEATURES, Feature, FeatureSpec, Features, REASONS, Reason, Reasons, Values, Vector};
pub use id::{CustomerError, EventId, IdParseError, Key, Text, check_customer, listing_id, sha256};
pub use inventory::{Inventory, QuantityRelation};
pub use limits::*;
pub use listing::{Listing, Role};
pub use money::{Currency, Money, MoneyError};
pub use offer::{Availability, BuyBox, Condition, Extraction, Fulfilment, Offer, Pack, Rank, Track, Vantage};
pub use quality::{Outcome, Quality};
pub use sale::{Sale, SaleStatus};
pub use time::{BusinessDate, Day, Timestamp};
pub use topic::{Cleanup, DEAD_LETTER_PREFIX, LATE_PREFIX, TOPICS, TopicSpec, topic};
pub use units::{ByteSize, Span, UnitError};
