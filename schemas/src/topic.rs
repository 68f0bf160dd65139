//! The topic catalogue: what is written where, and how long it is kept.

use crate::{Family, Span};

/// What happens to old records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Dropped after a time.
    DeleteAfter(Span),
    /// The last value of each key is kept.
    Compact,
    /// Kept until somebody drops it.
    Keep,
}

/// A topic of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// The name, without a configured prefix.
    pub name: &'static str,
    /// What its records are.
    pub family: Family,
    /// How long they stay.
    pub cleanup: Cleanup,
    /// What it is for, in one line.
    pub about: &'static str,
}

/// `dlq.<topic>` holds the dead letters of a topic or a connector.
pub const DEAD_LETTER_PREFIX: &str = "dlq.";
/// `late.<topic>` holds copies of records that came too late for a window of their key.
pub const LATE_PREFIX: &str = "late.";

const WEEK: Cleanup = Cleanup::DeleteAfter(Span::from_days(7));
const MONTH: Cleanup = Cleanup::DeleteAfter(Span::from_days(30));

/// All topics there are, in the order of an event's journey.
pub const TOPICS: &[TopicSpec] = &[
    spec("raw.catalog.v1", Family::Catalog, WEEK, "products as customers send them"),
    spec("raw.offers.v1", Family::Offer, WEEK, "offers as connectors read them"),
    spec("raw.sales.v1", Family::Sale, WEEK, "order lines as connectors read them"),
    spec("raw.inventory.v1", Family::Inventory, WEEK, "stock as connectors read it"),
    spec("catalog.v1", Family::Catalog, Cleanup::Compact, "the last valid word on each product"),
    spec("listings.v1", Family::Listing, Cleanup::Compact, "which products track which listings"),
    spec("offers.v1", Family::Offer, MONTH, "valid, new offers by listing"),
    spec("sales.v1", Family::Sale, MONTH, "valid, new order lines by listing"),
    spec("inventory.v1", Family::Inventory, MONTH, "valid, new stock by listing"),
    spec("product-offers.v1", Family::Offer, WEEK, "a copy of each offer per product that tracks it"),
    spec("product-sales.v1", Family::Sale, WEEK, "a copy of each order line per product"),
    spec("product-inventory.v1", Family::Inventory, WEEK, "a copy of each stock count per product"),
    spec("features.v1", Family::Features, MONTH, "figures per product, whenever one changes"),
    spec("alerts.v1", Family::Alert, MONTH, "rules that came true, as CloudEvents"),
    spec("quality.v1", Family::Quality, MONTH, "what became of the records, by source, family and hour"),
];

const fn spec(name: &'static str, family: Family, cleanup: Cleanup, about: &'static str) -> TopicSpec {
    TopicSpec { name, family, cleanup, about }
}

/// The topic called `name`.
pub fn topic(name: &str) -> Option<&'static TopicSpec> {
    TOPICS.iter().find(|topic| topic.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<family>.v<N>`, dots as separators, hyphens inside words, never `_` (which collides with `.` in metric names).
    #[test]
    fn names_keep_the_convention() {
        for topic in TOPICS {
            let (stem, version) = topic.name.rsplit_once(".v").expect("ends in a version");
            assert!(version.parse::<u32>().is_ok(), "{}", topic.name);
            assert!(stem.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'.'), "{}", topic.name);
        }
    }
}
