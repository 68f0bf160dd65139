//! The closed set of events.

use serde::Serialize;

use crate::id::{write_listing_key, write_product_key};
use crate::{
    Alert, Catalog, Envelope, EventId, Features, Inventory, Key, Listing, Offer, Quality, Sale, Text, Timestamp, Track,
};

/// A family of events: one schema, one Rust type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// [`Offer`]
    Offer,
    /// [`Sale`]
    Sale,
    /// [`Inventory`]
    Inventory,
    /// [`Catalog`]
    Catalog,
    /// [`Listing`]
    Listing,
    /// [`Quality`]
    Quality,
    /// [`Features`]
    Features,
    /// [`Alert`]
    Alert,
}

impl Family {
    /// Every family.
    pub const ALL: &[Self] = &[
        Self::Offer,
        Self::Sale,
        Self::Inventory,
        Self::Catalog,
        Self::Listing,
        Self::Quality,
        Self::Features,
        Self::Alert,
    ];

    /// The name, as in topics and schema files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Sale => "sale",
            Self::Inventory => "inventory",
            Self::Catalog => "catalog",
            Self::Listing => "listing",
            Self::Quality => "quality",
            Self::Features => "features",
            Self::Alert => "alert",
        }
    }

    /// The topic that connectors write the family to; `None` for what only stages make.
    pub fn raw_topic(self) -> Option<&'static str> {
        match self {
            Self::Offer => Some("raw.offers.v1"),
            Self::Sale => Some("raw.sales.v1"),
            Self::Inventory => Some("raw.inventory.v1"),
            Self::Catalog => Some("raw.catalog.v1"),
            Self::Listing | Self::Quality | Self::Features | Self::Alert => None,
        }
    }

    /// The family called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.name() == name)
    }
}

/// An event of any family. The large ones are boxed: an event moves between steps as a pointer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the types are documented")]
pub enum Event {
    Offer(Box<Offer>),
    Sale(Box<Sale>),
    Inventory(Box<Inventory>),
    Catalog(Box<Catalog>),
    Listing(Box<Listing>),
    Quality(Box<Quality>),
    Features(Box<Features>),
    Alert(Box<Alert>),
}

impl Event {
    /// Which family it belongs to.
    pub fn family(&self) -> Family {
        match self {
            Self::Offer(_) => Family::Offer,
            Self::Sale(_) => Family::Sale,
            Self::Inventory(_) => Family::Inventory,
            Self::Catalog(_) => Family::Catalog,
            Self::Listing(_) => Family::Listing,
            Self::Quality(_) => Family::Quality,
            Self::Features(_) => Family::Features,
            Self::Alert(_) => Family::Alert,
        }
    }

    /// The common fields; `None` for counts, which are no observation.
    pub fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Offer(offer) => Some(&offer.envelope),
            Self::Sale(sale) => Some(&sale.envelope),
            Self::Inventory(inventory) => Some(&inventory.envelope),
            Self::Catalog(catalog) => Some(&catalog.envelope),
            Self::Listing(listing) => Some(&listing.envelope),
            Self::Features(features) => Some(&features.envelope),
            Self::Alert(alert) => Some(&alert.envelope),
            Self::Quality(_) => None,
        }
    }

    /// The common fields, to write.
    pub fn envelope_mut(&mut self) -> Option<&mut Envelope> {
        match self {
            Self::Offer(offer) => Some(&mut offer.envelope),
            Self::Sale(sale) => Some(&mut sale.envelope),
            Self::Inventory(inventory) => Some(&mut inventory.envelope),
            Self::Catalog(catalog) => Some(&mut catalog.envelope),
            Self::Listing(listing) => Some(&mut listing.envelope),
            Self::Features(features) => Some(&mut features.envelope),
            Self::Alert(alert) => Some(&mut alert.envelope),
            Self::Quality(_) => None,
        }
    }

    /// Event time.
    pub fn observed_at(&self) -> Timestamp {
        match self {
            Self::Quality(quality) => quality.hour,
            _ => self.envelope().map_or(Timestamp::MIN, |envelope| envelope.observed_at),
        }
    }

    /// The topic that a stage publishes it on.
    pub fn topic(&self) -> &'static str {
        match self {
            Self::Offer(e) if e.track.is_some() => "product-offers.v1",
            Self::Offer(_) => "offers.v1",
            Self::Sale(e) if e.track.is_some() => "product-sales.v1",
            Self::Sale(_) => "sales.v1",
            Self::Inventory(e) if e.track.is_some() => "product-inventory.v1",
            Self::Inventory(_) => "inventory.v1",
            Self::Catalog(_) => "catalog.v1",
            Self::Listing(_) => "listings.v1",
            Self::Quality(_) => "quality.v1",
            Self::Features(_) => "features.v1",
            Self::Alert(_) => "alerts.v1",
        }
    }

    /// The key under which it travels: by product for catalog entries and for copies, else by listing.
    pub fn key(&self) -> Key {
        let mut key = String::new();
        self.write_key(&mut key);
        Key::from(key)
    }

    /// Appends the key under which it travels.
    pub fn write_key(&self, into: &mut String) {
        match self {
            Self::Offer(e) => entity_key(&e.envelope, e.track.as_ref(), &e.native_id, into),
            Self::Sale(e) => entity_key(&e.envelope, e.track.as_ref(), &e.native_id, into),
            Self::Inventory(e) => entity_key(&e.envelope, e.track.as_ref(), &e.native_id, into),
            Self::Catalog(e) => write_product_key(&e.envelope.customer, &e.product, into),
            Self::Listing(e) => into.push_str(e.listing.key(&e.envelope.customer).row(&e.product).as_str()),
            Self::Quality(e) => write_product_key(&e.customer, &e.source, into),
            Self::Features(e) => write_product_key(&e.envelope.customer, &e.product, into),
            Self::Alert(e) => write_product_key(&e.envelope.customer, &e.product, into),
        }
    }

    /// Computes the event's identity from its dedup tuple.
    ///
    /// Idempotent: the same observation, fetched again, gives the same id.
    pub fn compute_id(&self) -> EventId {
        match self {
            Self::Offer(offer) => offer_id(offer),
            Self::Sale(e) => id_of(
                &e.envelope,
                Family::Sale,
                &[e.order_id.as_bytes(), e.line_id.as_bytes(), &e.envelope.observed_at.micros().to_le_bytes()],
            ),
            Self::Inventory(e) => id_of(
                &e.envelope,
                Family::Inventory,
                &[
                    e.envelope.marketplace.as_bytes(),
                    e.native_id.as_bytes(),
                    e.location.as_bytes(),
                    &e.envelope.observed_at.micros().to_le_bytes(),
                ],
            ),
            Self::Catalog(e) => id_of(
                &e.envelope,
                Family::Catalog,
                &[e.product.as_bytes(), &e.envelope.observed_at.micros().to_le_bytes()],
            ),
            Self::Listing(e) => id_of(
                &e.envelope,
                Family::Listing,
                &[
                    e.envelope.cause_id.unwrap_or_default().0.as_slice(),
                    e.listing.source.as_bytes(),
                    e.listing.marketplace.as_bytes(),
                    e.listing.native_id.as_bytes(),
                    e.product.as_bytes(),
                ],
            ),
            Self::Features(e) => id_of(
                &e.envelope,
                Family::Features,
                &[
                    e.envelope.cause_id.unwrap_or_default().0.as_slice(),
                    e.product.as_bytes(),
                    &e.envelope.observed_at.micros().to_le_bytes(),
                ],
            ),
            Self::Alert(e) => id_of(
                &e.envelope,
                Family::Alert,
                &[
                    e.envelope.cause_id.unwrap_or_default().0.as_slice(),
                    e.rule.as_bytes(),
                    e.product.as_bytes(),
                    e.seller.as_deref().unwrap_or_default().as_bytes(),
                    &e.envelope.observed_at.micros().to_le_bytes(),
                ],
            ),
            Self::Quality(_) => EventId::default(),
        }
    }
}

fn entity_key(envelope: &Envelope, track: Option<&Track>, native_id: &str, into: &mut String) {
    match track {
        Some(track) => write_product_key(&envelope.customer, &track.product, into),
        None => write_listing_key(&envelope.customer, &envelope.source, &envelope.marketplace, native_id, into),
    }
}

fn id_of(envelope: &Envelope, family: Family, tuple: &[&[u8]]) -> EventId {
    let mut parts: [&[u8]; 10] = [&[]; 10];
    parts[0] = envelope.source.as_bytes();
    parts[1] = envelope.source_event_id.as_deref().unwrap_or_default().as_bytes();
    parts[2..2 + tuple.len()].copy_from_slice(tuple);
    EventId::of(family, &envelope.customer, &parts[..2 + tuple.len()])
}

fn offer_id(offer: &Offer) -> EventId {
    let vantage = &offer.vantage;
    let text = |part: &Option<Text>| part.clone().unwrap_or_default();
    let (country, postal, membership) = (text(&vantage.country), text(&vantage.postal), text(&vantage.membership));
    id_of(
        &offer.envelope,
        Family::Offer,
        &[
            offer.envelope.marketplace.as_bytes(),
            offer.native_id.as_bytes(),
            offer.seller.as_deref().unwrap_or_default().as_bytes(),
            offer.condition.name().as_bytes(),
            country.as_bytes(),
            postal.as_bytes(),
            membership.as_bytes(),
            &offer.envelope.observed_at.micros().to_le_bytes(),
        ],
    )
}
