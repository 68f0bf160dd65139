//! Family `catalog`: a customer's product and the listings that matter to it.

use serde::{Deserialize, Serialize};

use crate::{Envelope, Key, Money, Text, listing_id};

/// A customer's product; the last word per product counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Common fields.
    pub envelope: Envelope,
    /// The customer's own id of the product.
    pub product: Text,
    /// Its name.
    #[serde(default)]
    pub name: Option<Text>,
    /// Its category.
    #[serde(default)]
    pub category: Option<Text>,
    /// The currency in which its prices are compared; a three-letter code.
    #[serde(default)]
    pub currency: Option<Text>,
    /// What one unit costs us.
    #[serde(default)]
    pub cost: Option<Money>,
    /// Lowest price we want to ask.
    #[serde(default)]
    pub price_floor: Option<Money>,
    /// Highest price we want to ask.
    #[serde(default)]
    pub price_ceiling: Option<Money>,
    /// Listings that are ours.
    #[serde(default)]
    pub own: Vec<ListingRef>,
    /// Listings that compete.
    #[serde(default)]
    pub competitors: Vec<ListingRef>,
    /// False takes the product and all its listings out.
    #[serde(default = "yes")]
    pub active: bool,
}

fn yes() -> bool {
    true
}

/// Points at a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListingRef {
    /// The system that reports it.
    pub source: Text,
    /// The market.
    pub marketplace: Text,
    /// Its id there.
    pub native_id: Text,
    /// Whose offers on it are meant, where others sell on it too; null = everybody's. Others on an own listing compete.
    #[serde(default)]
    pub seller: Option<Text>,
}

impl ListingRef {
    /// Whether it is the same listing, whoever sells.
    pub fn is_listing(&self, other: &Self) -> bool {
        (&self.source, &self.marketplace, &self.native_id) == (&other.source, &other.marketplace, &other.native_id)
    }

    /// The key of the listing for `customer`.
    pub fn key(&self, customer: &str) -> Key {
        Key::new(customer, &listing_id(&self.source, &self.marketplace, &self.native_id))
    }
}
