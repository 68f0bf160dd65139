//! The last offer of a seller, encoded: it is written with every commit of its listing and read only when the catalog changes.

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Condition, Offer, Text, Timestamp, Vantage};

/// An offer, and what tells it from those of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LastOffer {
    seller: Option<Text>,
    condition: Condition,
    vantage: Vantage,
    pub(super) observed_at: Timestamp,
    offer: Encoded,
}

impl LastOffer {
    pub(super) fn new(offer: &Offer) -> Self {
        Self {
            seller: offer.seller.clone(),
            condition: offer.condition,
            vantage: offer.vantage.clone(),
            observed_at: offer.envelope.observed_at,
            offer: Encoded(postcard::to_stdvec(offer).expect("plain data")),
        }
    }

    /// Whether it is an offer of the same seller, condition and vantage.
    pub(super) fn is_of(&self, offer: &Offer) -> bool {
        self.seller == offer.seller && self.condition == offer.condition && self.vantage == offer.vantage
    }

    pub(super) fn offer(&self) -> Offer {
        postcard::from_bytes(&self.offer.0).expect("encoded above, and guarded by the version of the state")
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.offer.0.capacity()
    }
}

/// Bytes that are copied whole, not one by one.
#[derive(Clone, Debug, PartialEq)]
struct Encoded(Vec<u8>);

impl Serialize for Encoded {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Encoded;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
                Ok(Encoded(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
