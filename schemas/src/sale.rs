//! Family `sale`: one order line.

use serde::{Deserialize, Serialize};

use crate::{BusinessDate, Envelope, Money, Text, Track};

/// An order line as the shop books it; a line that is corrected comes again with a later `updated_at`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sale {
    /// Common fields.
    pub envelope: Envelope,
    /// What was sold: the id of our own listing in its marketplace (SKU).
    pub native_id: Text,
    /// The order.
    pub order_id: Text,
    /// The line within the order.
    pub line_id: Text,
    /// Units; negative = returned.
    pub units: i64,
    /// Price of one unit as charged.
    #[serde(default)]
    pub unit_price: Option<Money>,
    /// Where the order stands.
    #[serde(default)]
    pub status: SaleStatus,
    /// The day in the marketplace's own time zone.
    pub business_date: BusinessDate,
    /// Rules that found it suspect and let it pass.
    #[serde(default)]
    pub suspect: Vec<Text>,
    /// On a copy for a product: for which.
    #[serde(default)]
    pub track: Option<Track>,
}

/// Where an order line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum SaleStatus {
    Pending,
    Completed,
    Cancelled,
    Returned,
    #[default]
    #[serde(other)]
    Unknown,
}

impl SaleStatus {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Returned => "returned",
            Self::Unknown => "unknown",
        }
    }
}
