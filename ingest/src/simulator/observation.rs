//! What happens in the market: small facts with their moment, before any record is made of them.

use skuflow_schemas::BuyBox;

pub(super) const MINUTE: i64 = 60_000_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// Somebody's place on a product: 0 is our own shop, the competitors follow.
pub(super) type Seat = usize;
/// The seat of our own shop.
pub(super) const OWN: Seat = 0;

/// A fact about a product, at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observation {
    /// Microseconds since the market began.
    pub(super) at: i64,
    /// Number of the product.
    pub(super) product: u32,
    /// Whether it says anything that the one before it (of the same kind and seat) did not.
    pub(super) news: bool,
    pub(super) fact: Fact,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fact {
    Catalog(Terms),
    Offer(Offered),
    Sale(Sold),
    /// Units of our own.
    Stock(i64),
}

/// What the catalog says of a product; amounts in minor units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) cost: i64,
    pub(super) floor: i64,
    pub(super) ceiling: i64,
    /// One bit per listing that is in it: bit 0 our own.
    pub(super) listings: u8,
}

impl Terms {
    pub(super) fn has(&self, listing: usize) -> bool {
        self.listings >> listing & 1 == 1
    }
}

/// An offer; amounts in minor units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offered {
    pub(super) seat: Seat,
    /// Price and shipping together.
    pub(super) landed: i64,
    /// The price before a promotion.
    pub(super) list: Option<i64>,
    pub(super) available: bool,
    pub(super) buy_box: BuyBox,
    /// How our own listing stands; only our own offer says it.
    pub(super) standing: Option<Standing>,
}

/// How a listing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) rank: i64,
    /// In hundredths of a star.
    pub(super) rating: i64,
    pub(super) reviews: i64,
}

/// An order line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sold {
    /// Number of the line within its product and hour.
    pub(super) number: i64,
    /// Negative: returned.
    pub(super) units: i64,
    pub(super) price: i64,
}
