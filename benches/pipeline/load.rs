//! What the stages are given: offers that each change something.

use std::sync::Arc;

use skuflow_runtime::broker::{Broker, Commit, Producer, Record};
use skuflow_schemas::{
    Availability, BuyBox, Catalog, Condition, Currency, Encoder, Envelope, Event, Fulfilment, Listing, ListingRef,
    Money, Offer, Rank, Role, Text, Timestamp,
};

use crate::stages::{CATALOG, LISTINGS, RAW};

/// When the first offer is observed.
const BEGIN_MILLIS: i64 = 1_700_000_000_000;
/// Who offers on a listing of the market; the first is us.
const SELLERS: u64 = 20;
const HOUR_MICROS: u64 = 3_600_000_000;

/// Offers of many sellers on many listings, in random order.
#[derive(Clone, Copy)]
pub enum Load {
    /// Eight sellers on listings that nobody tracks, a millisecond apart.
    Offers,
    /// Twenty sellers, one of them us, on listings that are a product each; each offer is observed about once an hour.
    Market,
}

impl Load {
    /// Publishes the tables, and `records` offers from number `from` on.
    pub fn publish(self, broker: &dyn Broker, records: u64, from: u64, listings: u64) {
        let mut sender = Sender { producer: broker.producer("load").expect("open"), value: Vec::new() };
        if let Self::Market = self {
            (0..listings).for_each(|number| sender.send_tables(number));
        }
        let mut random = 42_u64;
        for number in from..from + records {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let offer = match self {
                Self::Offers => offer(number, random, listings),
                Self::Market => market_offer(number, random, listings),
            };
            sender.send(RAW, Event::Offer(Box::new(offer)));
        }
        sender.producer.commit(Commit::default()).expect("the disk is fine");
    }
}

struct Sender {
    producer: Box<dyn Producer>,
    value: Vec<u8>,
}

impl Sender {
    fn send(&mut self, topic: &str, mut event: Event) {
        let id = event.compute_id();
        event.envelope_mut().expect("it has one").event_id = id;
        self.value.clear();
        Encoder.encode(&event, &mut self.value);
        let key = event.key();
        let record = Record { key: Some(key.as_str().as_bytes()), value: Some(&self.value), headers: &[] };
        self.producer.send(&Arc::from(topic), None, &record).expect("exists");
        if self.producer.pending_bytes() > 4 << 20 {
            self.producer.commit(Commit::default()).expect("the disk is fine");
        }
    }

    /// The catalog entry of a product, and the listing that it is.
    fn send_tables(&mut self, number: u64) {
        let envelope = envelope(Timestamp::from_millis(BEGIN_MILLIS - 1));
        let listing = ListingRef {
            source: envelope.source.clone(),
            marketplace: envelope.marketplace.clone(),
            native_id: native_id(number),
            seller: Some(seller(0)),
        };
        let product: Text = format!("P{number:09}").into();
        let entry = Catalog {
            envelope: envelope.clone(),
            product: product.clone(),
            currency: Some("EUR".into()),
            cost: Some(euro(7_000)),
            price_floor: Some(euro(9_000)),
            price_ceiling: Some(euro(11_000)),
            own: vec![listing.clone()],
            active: true,
            ..Catalog::default()
        };
        self.send(CATALOG, Event::Catalog(Box::new(entry)));
        self.send(LISTINGS, Event::Listing(Box::new(Listing { envelope, listing, product, role: Role::Own })));
    }
}

fn envelope(observed_at: Timestamp) -> Envelope {
    Envelope {
        customer: "demo".into(),
        source: "market".into(),
        marketplace: "de".into(),
        observed_at,
        ingested_at: observed_at,
        ..Envelope::default()
    }
}

fn euro(cents: i64) -> Money {
    Money { minor: cents, currency: Currency::parse("EUR").expect("three letters"), exponent: 2 }
}

fn native_id(number: u64) -> Text {
    format!("B{number:09}").into()
}

fn seller(number: u64) -> Text {
    format!("seller-{number}").into()
}

fn offer(number: u64, random: u64, listings: u64) -> Offer {
    let cents = 1000 + (random >> 40) as i64 % 200;
    Offer {
        envelope: envelope(Timestamp::from_millis(BEGIN_MILLIS + number as i64)),
        native_id: native_id((random >> 20) % listings),
        seller: Some(seller(random >> 61)),
        price: Some(euro(cents)),
        shipping: Some(euro(399)),
        landed_price: Some(euro(cents + 399)),
        list_price: Some(euro(1999)),
        availability: Availability::InStock,
        stock_level: Some((random >> 50) as i64),
        condition: Condition::New,
        fulfilment: Fulfilment::Seller,
        buy_box: BuyBox::Lost,
        offer_count: Some(5),
        ranks: vec![Rank { category: "kitchen".into(), rank: (random >> 45) as i64 }],
        rating: Some(4.5),
        review_count: Some(number as i64 % 1000),
        ..Offer::default()
    }
}

/// Prices within 3 % of those before, one in sixteen within 20 %; one offer in twenty has the Buy Box.
fn market_offer(number: u64, random: u64, listings: u64) -> Offer {
    let who = (random >> 16) % SELLERS;
    let spread = if random >> 60 == 0 { 2_000 } else { 300 };
    let cents = 10_000 + 10 * who as i64 + ((random >> 40) % spread) as i64 - spread as i64 / 2;
    let micros = (number * HOUR_MICROS / (listings * SELLERS)) as i64;
    Offer {
        envelope: envelope(Timestamp::from_millis(BEGIN_MILLIS).plus_micros(micros)),
        seller: Some(seller(who)),
        price: Some(euro(cents)),
        shipping: Some(euro(399)),
        landed_price: Some(euro(cents + 399)),
        list_price: Some(euro(12_000)),
        buy_box: if (random >> 33).is_multiple_of(SELLERS) { BuyBox::Won } else { BuyBox::Lost },
        ..offer(number, random, listings)
    }
}
