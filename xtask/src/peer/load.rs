//! The market that both programs are given: offers of twenty sellers on listings that are a product each, the first of them us.
//!
//! Of a hundred records three are delivered again, five say nothing new, and one in two hundred is wrong; the others each
//! change something. Everything is a function of the number of products.

use anyhow::{Result, ensure};
use skuflow_schemas::{
    Availability, BuyBox, Catalog, Condition, Currency, Encoder, Envelope, Event, Fulfilment, Listing, ListingRef,
    Money, Offer, Rank, Role, Text, Timestamp,
};

use super::cluster::Sender;

pub const RAW: &str = "raw.offers.v1";
pub const LISTINGS: &str = "listings.v1";
pub const CATALOG: &str = "catalog.v1";
const SELLERS: usize = 20;
/// 2023-11-14T22:13:20Z.
const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Event time in which each offer is looked at once, on average.
const LOOK_MICROS: u64 = 16 * 3_600_000_000;
/// Delivered again is what came this many records before, or less.
const AGAIN: usize = 65_536;

/// A record to be sent.
pub struct Made {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// What its figures can be told by: product and event time; none where it gives none.
    pub figures: Option<(u32, i64)>,
}

/// See the module.
pub struct Market {
    random: u64,
    products: usize,
    /// Of each offer the price in cents, and how often it has changed.
    offers: Vec<(u32, u32)>,
    sent: Vec<(Vec<u8>, Vec<u8>)>,
    number: u64,
}

impl Market {
    pub fn new(products: usize) -> Self {
        let mut market = Self { random: 42, products, offers: Vec::new(), sent: Vec::new(), number: 0 };
        for _ in 0..products {
            let cents = 1_000 + market.below(50_000) as u32;
            market.offers.extend((0..SELLERS as u32).map(|seller| (cents + cents / 200 * seller, 0)));
        }
        market
    }

    fn below(&mut self, count: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % count as u64) as usize
    }

    /// Sends the catalog, and the listing that each product is.
    pub fn send_tables(&self, sender: &Sender) -> Result<()> {
        let envelope = envelope(BEGIN.plus_micros(-1));
        for number in 0..self.products {
            let listing = ListingRef {
                source: envelope.source.clone(),
                marketplace: envelope.marketplace.clone(),
                native_id: native_id(number),
                seller: Some(seller(0)),
            };
            let entry = Catalog {
                envelope: envelope.clone(),
                product: product(number),
                currency: Some("EUR".into()),
                cost: Some(euro(700)),
                own: vec![listing.clone()],
                active: true,
                ..Catalog::default()
            };
            let row = Listing { envelope: envelope.clone(), listing, product: product(number), role: Role::Own };
            for (topic, event) in
                [(CATALOG, Event::Catalog(Box::new(entry))), (LISTINGS, Event::Listing(Box::new(row)))]
            {
                let (key, value) = encoded(event);
                sender.send(topic, &key, &value)?;
            }
        }
        sender.flush()
    }

    /// The next record.
    pub fn next(&mut self) -> Made {
        self.number += 1;
        let kind = self.below(1_000);
        if kind < 30 && self.sent.len() == AGAIN {
            let again = self.below(AGAIN);
            let (key, value) = self.sent[again].clone();
            return Made { key, value, figures: None };
        }
        let at = self.below(self.products * SELLERS);
        let is_wrong = (30..35).contains(&kind);
        if kind >= 85 || is_wrong {
            self.change(at);
        }
        let micros = self.number as i64 * (LOOK_MICROS / (self.products * SELLERS) as u64) as i64;
        let observed_at = BEGIN.plus_micros(micros);
        let mut offer = self.offer(at, observed_at);
        if is_wrong {
            self.spoil(&mut offer);
        }
        let (key, value) = encoded(Event::Offer(Box::new(offer)));
        if self.sent.len() < AGAIN {
            self.sent.push((key.clone(), value.clone()));
        } else {
            self.sent[(self.number % AGAIN as u64) as usize] = (key.clone(), value.clone());
        }
        Made { key, value, figures: Some(((at / SELLERS) as u32, observed_at.micros())) }
    }

    /// Another price, within 3 % or, once in sixteen times, within 20 % of the one before.
    fn change(&mut self, at: usize) {
        let spread = if self.below(16) == 0 { 0.2 } else { 0.03 };
        let share = self.below(2_000_001) as f64 / 1e6 - 1.0;
        let (cents, changes) = self.offers[at];
        let cents = (f64::from(cents) * (1.0 + spread * share)).round().clamp(500.0, 200_000.0);
        self.offers[at] = (cents as u32, changes + 1);
    }

    fn offer(&self, at: usize, observed_at: Timestamp) -> Offer {
        let (cents, changes) = self.offers[at];
        let mixed =
            (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(changes).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16;
        let is_out = mixed.is_multiple_of(40);
        Offer {
            envelope: envelope(observed_at),
            native_id: native_id(at / SELLERS),
            seller: Some(seller(at % SELLERS)),
            price: Some(euro(cents)),
            shipping: Some(euro(399)),
            landed_price: Some(euro(cents + 399)),
            list_price: Some(euro(cents / 9 * 10)),
            availability: if is_out { Availability::OutOfStock } else { Availability::InStock },
            stock_level: Some((mixed >> 8) as i64 % 500),
            condition: Condition::New,
            fulfilment: if at.is_multiple_of(3) { Fulfilment::Marketplace } else { Fulfilment::Seller },
            buy_box: if (mixed >> 4).is_multiple_of(SELLERS as u64) { BuyBox::Won } else { BuyBox::Lost },
            offer_count: Some(SELLERS as i64),
            ranks: vec![Rank { category: "kitchen".into(), rank: 1 + (mixed >> 12) as i64 % 100_000 }],
            rating: Some((30 + (at % 20) as u64 + (mixed >> 20) % 2) as f64 / 10.0),
            review_count: Some(i64::from(changes) * 3 + at as i64 % 1_000),
            ..Offer::default()
        }
    }

    fn spoil(&mut self, offer: &mut Offer) {
        match self.below(4) {
            0 => offer.price = Some(euro(0)),
            1 => offer.price = Some(Money { currency: Currency::parse("QQQ").expect("three letters"), ..euro(999) }),
            2 => offer.rating = Some(9.9),
            _ => offer.envelope.observed_at = offer.envelope.observed_at.plus_micros(100 * 86_400_000_000),
        }
    }
}

/// Publishes the tables and `records` offers.
pub fn publish(market: &mut Market, sender: &Sender, records: u64) -> Result<()> {
    for topic in [RAW, LISTINGS, CATALOG] {
        sender.ensure_topic(topic)?;
    }
    market.send_tables(sender)?;
    let mut bytes = 0;
    for _ in 0..records {
        let made = market.next();
        bytes += made.value.len();
        sender.send(RAW, &made.key, &made.value)?;
    }
    sender.flush()?;
    ensure!(records > 0, "no records");
    println!("{records} offers of {} bytes on average, {} products", bytes as u64 / records, market.products);
    Ok(())
}

/// The number of a product.
pub fn number_of(product: &str) -> Option<u32> {
    product.strip_prefix('P')?.parse().ok()
}

fn encoded(mut event: Event) -> (Vec<u8>, Vec<u8>) {
    let id = event.compute_id();
    event.envelope_mut().expect("it has one").event_id = id;
    let mut value = Vec::with_capacity(256);
    Encoder.encode(&event, &mut value);
    (event.key().as_str().as_bytes().to_vec(), value)
}

fn envelope(observed_at: Timestamp) -> Envelope {
    Envelope {
        customer: "demo".into(),
        source: "market".into(),
        marketplace: "de".into(),
        observed_at,
        ingested_at: observed_at.plus_micros(2_000_000),
        ..Envelope::default()
    }
}

fn euro(cents: u32) -> Money {
    Money { minor: i64::from(cents), currency: Currency::parse("EUR").expect("three letters"), exponent: 2 }
}

fn product(number: usize) -> Text {
    format!("P{number:09}").into()
}

fn native_id(number: usize) -> Text {
    format!("B{number:09}").into()
}

fn seller(number: usize) -> Text {
    format!("seller-{number:05}").into()
}
