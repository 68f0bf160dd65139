//! Family `inventory`: stock of a SKU at a location.

use serde::{Deserialize, Serialize};

use crate::{Envelope, Text, Track};

/// Stock of one of our own listings at one location; `observed_at` is the moment it was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Common fields.
    pub envelope: Envelope,
    /// The SKU.
    pub native_id: Text,
    /// The warehouse, shop or fulfilment centre.
    pub location: Text,
    /// Units that can be sold.
    pub quantity: i64,
    /// Whether `quantity` is exact or a lower bound ("10+").
    #[serde(default)]
    pub relation: QuantityRelation,
    /// Rules that found it suspect and let it pass.
    #[serde(default)]
    pub suspect: Vec<Text>,
    /// On a copy for a product: for which.
    #[serde(default)]
    pub track: Option<Track>,
}

/// How a stated quantity relates to the true one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuantityRelation {
    /// Exactly that many.
    Exact,
    /// That many or more.
    AtLeast,
    /// Nothing is said.
    #[default]
    #[serde(other)]
    Unknown,
}

impl QuantityRelation {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::AtLeast => "at_least",
            Self::Unknown => "unknown",
        }
    }
}
