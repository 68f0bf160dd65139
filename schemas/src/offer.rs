//! Family `offer`: what a seller asks for a listing at one moment.

use serde::{Deserialize, Serialize};

use crate::{Envelope, Money, Role, Text};

/// A seller's offer on a listing, as observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Common fields.
    pub envelope: Envelope,
    /// The listing's id in its marketplace.
    pub native_id: Text,
    /// Who sells; null where the source names nobody (one seller per listing).
    #[serde(default)]
    pub seller: Option<Text>,
    /// Price of one unit, without shipping.
    #[serde(default)]
    pub price: Option<Money>,
    /// Shipping; null = unknown, zero = free.
    #[serde(default)]
    pub shipping: Option<Money>,
    /// Price plus shipping as the source states it.
    #[serde(default)]
    pub landed_price: Option<Money>,
    /// The struck-out or recommended price.
    #[serde(default)]
    pub list_price: Option<Money>,
    /// Whether and how it can be had.
    #[serde(default)]
    pub availability: Availability,
    /// Units left, where the source says so.
    #[serde(default)]
    pub stock_level: Option<i64>,
    /// Condition of the goods.
    #[serde(default)]
    pub condition: Condition,
    /// Who ships.
    #[serde(default)]
    pub fulfilment: Fulfilment,
    /// Whether this offer holds the Buy Box.
    #[serde(default)]
    pub buy_box: BuyBox,
    /// Offers standing on the listing.
    #[serde(default)]
    pub offer_count: Option<i64>,
    /// Sales ranks, one per category.
    #[serde(default)]
    pub ranks: Vec<Rank>,
    /// Mean rating, in stars of `rating_best`.
    #[serde(default)]
    pub rating: Option<f64>,
    /// The best rating there is; null = 5.
    #[serde(default)]
    pub rating_best: Option<f64>,
    /// Reviews so far.
    #[serde(default)]
    pub review_count: Option<i64>,
    /// From where it was looked at.
    #[serde(default)]
    pub vantage: Vantage,
    /// How it was read.
    #[serde(default)]
    pub extraction: Option<Extraction>,
    /// Ids of the rules that found it suspect and let it pass.
    #[serde(default)]
    pub suspect: Vec<Text>,
    /// On a copy for a product: for which, and in what role.
    #[serde(default)]
    pub track: Option<Track>,
    /// How much of the goods one unit holds.
    #[serde(default)]
    pub pack: Option<Pack>,
}

/// How much of the goods one unit holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pack {
    /// How much.
    pub quantity: f64,
    /// Of what: g, kg, ml, l or piece.
    pub unit: Text,
}

/// Whether and how an offer can be had. Fetch failures are no event, never `out_of_stock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Availability {
    InStock,
    Limited,
    Low,
    Backorder,
    Preorder,
    MadeToOrder,
    InStoreOnly,
    OutOfStock,
    Discontinued,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Availability {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::InStock => "in_stock",
            Self::Limited => "limited",
            Self::Low => "low",
            Self::Backorder => "backorder",
            Self::Preorder => "preorder",
            Self::MadeToOrder => "made_to_order",
            Self::InStoreOnly => "in_store_only",
            Self::OutOfStock => "out_of_stock",
            Self::Discontinued => "discontinued",
            Self::Unknown => "unknown",
        }
    }
}

/// Condition of the goods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Condition {
    New,
    OpenBox,
    Refurbished,
    Used,
    Damaged,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Condition {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::New => "new",
            Self::OpenBox => "open_box",
            Self::Refurbished => "refurbished",
            Self::Used => "used",
            Self::Damaged => "damaged",
        }
    }
}

/// Who ships the goods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Fulfilment {
    Marketplace,
    Seller,
    Digital,
    Pickup,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Fulfilment {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Marketplace => "marketplace",
            Self::Seller => "seller",
            Self::Digital => "digital",
            Self::Pickup => "pickup",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether an offer holds the Buy Box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum BuyBox {
    Won,
    Lost,
    None,
    #[default]
    #[serde(other)]
    Unknown,
}

impl BuyBox {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// A sales rank within a category; 1 is best.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rank {
    /// The category, in the source's words.
    pub category: Text,
    /// The rank.
    pub rank: i64,
}

/// From where a page was looked at; prices differ by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vantage {
    /// ISO 3166 country.
    #[serde(default)]
    pub country: Option<Text>,
    /// Postal code.
    #[serde(default)]
    pub postal: Option<Text>,
    /// Membership or loyalty tier.
    #[serde(default)]
    pub membership: Option<Text>,
}

/// How an observation was read out of its source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extraction {
    /// The method: api, file, json-ld, microdata, site-rule …
    pub method: Text,
    /// How sure the method is, 0 to 1.
    #[serde(default)]
    pub confidence: Option<f64>,
}

/// Marks an event as the copy that a product gets because it owns or competes with the listing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// The customer's product.
    pub product: Text,
    /// What the listing is to the product.
    #[serde(default)]
    pub role: Role,
    /// True when the product no longer tracks the listing: the event takes back the copies before it.
    #[serde(default)]
    pub retracted: bool,
}
