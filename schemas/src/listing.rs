//! Family `listing`: which products track a listing; a table with one row per listing and product.

use serde::{Deserialize, Serialize};

use crate::{Envelope, ListingRef, Text};

/// One row: a product owns or competes with a listing. A tombstone (no value) ends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Common fields; `cause_id` is the catalog entry.
    pub envelope: Envelope,
    /// The listing.
    pub listing: ListingRef,
    /// The product.
    pub product: Text,
    /// What the listing is to the product.
    #[serde(default)]
    pub role: Role,
}

/// What a listing is to a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Ours.
    Own,
    /// A competitor's.
    Competitor,
    /// Not said.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Role {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Competitor => "competitor",
            Self::Unknown => "unknown",
        }
    }
}
