//! Who owes what: events with ids of their own, and what has to become of each.
//!
//! The files are made here and known here; nothing of this asks the product.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use skuflow_schemas::{Decoder, Event, Timestamp};

/// Event time between two events.
const STEP_S: u64 = 20;
/// 2026-01-01, in seconds since 1970.
const BEGIN_S: u64 = 1_767_225_600;
const SHOPS: [&str; 3] = ["ours", "alpha", "beta"];
const PRODUCTS: u64 = 60;
/// Lines of each kind from which one is given again.
const RECENT: usize = 200;
/// An offer that says the same is unchanged for as long as this, well within the step's heartbeat.
const UNCHANGED_S: u64 = 6 * 3_600;

/// Numbers that a seed gives.
pub struct Random(pub u64);

impl Random {
    /// The next one, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// How often each id has to be where.
#[derive(Debug, Default)]
pub struct Obligations {
    /// In the topics of what connectors read: every delivery.
    pub read: BTreeMap<String, u64>,
    /// In the topics of what is clean, once.
    pub accepted: BTreeMap<String, u64>,
    /// In the dead letters of stages: every delivery.
    pub refused: BTreeMap<String, u64>,
    /// Lines in the dead letters of connectors.
    pub unreadable: BTreeMap<String, u64>,
    /// Deliveries that end as a count.
    pub unchanged: u64,
    pub duplicates: u64,
}

/// Makes events, and notes what has to become of them.
pub struct Ledger {
    random: Random,
    number: u64,
    /// Of each listing: its price in pence, and when it changed.
    prices: BTreeMap<String, (u64, u64)>,
    recent: [VecDeque<(String, String)>; 2],
    pub due: Obligations,
}

/// Lines of two files.
#[derive(Default)]
pub struct Chunk {
    pub offers: String,
    pub orders: String,
}

impl Ledger {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            number: 0,
            prices: BTreeMap::new(),
            recent: Default::default(),
            due: Obligations::default(),
        }
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.number
    }

    /// The products and who else sells them, known before anything is seen.
    pub fn catalog() -> String {
        let mut text = String::new();
        for product in 0..PRODUCTS {
            let listings = SHOPS.map(|shop| format!(r#"{{"shop": "{shop}", "id": "{shop}-{product}"}}"#)).join(", ");
            let entry = format!(r#""sku": "P-{product}", "floor": 1.00, "ceiling": 900.00, "listings": [{listings}]"#);
            writeln!(text, r#"{{"updated": "2025-12-01T00:00:00Z", {entry}}}"#).expect("memory");
        }
        text
    }

    /// The next `count` events.
    pub fn chunk(&mut self, count: u64) -> Chunk {
        let mut chunk = Chunk::default();
        for _ in 0..count {
            self.number += 1;
            match self.random.below(100) {
                0..=3 => self.again(&mut chunk),
                4 => self.unreadable(&mut chunk),
                5..=24 => self.sale(&mut chunk),
                _ => self.offer(&mut chunk),
            }
        }
        chunk
    }

    /// A price that is another one, the same one, or none.
    fn offer(&mut self, chunk: &mut Chunk) {
        let at = BEGIN_S + self.number * STEP_S;
        let (product, shop) = (self.random.below(PRODUCTS), SHOPS[self.random.below(3) as usize]);
        let listing = format!("{shop}-{product}");
        let known = self.prices.get(&listing).copied();
        let kind = self.random.below(100);
        let price = match known {
            _ if kind < 2 => 0,
            Some((price, since)) if kind < 20 && at - since < UNCHANGED_S => price,
            _ => {
                let steps = [100, 97, 92, 88].map(|percent| (1_000 + 50 * product) * percent / 100);
                let others: Vec<u64> =
                    steps.into_iter().filter(|price| known.is_none_or(|known| known.0 != *price)).collect();
                others[self.random.below(others.len() as u64) as usize]
            }
        };
        let time = Timestamp::from_micros(at as i64 * 1_000_000);
        let id = format!("{listing}@{time}");
        let amount = format!("{}.{:02}", price / 100, price % 100);
        let said = format!(r#""price": {amount}, "currency": "GBP", "stock": "in stock""#);
        let line = format!(r#"{{"seen": "{time}", "seller": "{shop}", "listing": "{listing}", {said}}}"#);
        if price == 0 {
            add(&mut self.due.refused, &id);
        } else if known.is_some_and(|known| known.0 == price) {
            self.due.unchanged += 1;
        } else {
            self.prices.insert(listing, (price, at));
            add(&mut self.due.accepted, &id);
        }
        add(&mut self.due.read, &id);
        writeln!(chunk.offers, "{line}").expect("memory");
        if price > 0 {
            remember(&mut self.recent[0], (id, line));
        }
    }

    fn sale(&mut self, chunk: &mut Chunk) {
        let time = Timestamp::from_micros((BEGIN_S + self.number * STEP_S) as i64 * 1_000_000);
        let (product, units) = (self.random.below(PRODUCTS), 1 + self.random.below(5));
        let is_wrong = self.random.below(100) < 2;
        let id = format!("{}/1", self.number);
        let price = if is_wrong { "-1.00" } else { "9.99" };
        let line = format!(
            r#"{{"order": "{}", "line": "1", "sku": "ours-{product}", "quantity": {units}, "price": {price}, "time": "{time}"}}"#,
            self.number
        );
        add(if is_wrong { &mut self.due.refused } else { &mut self.due.accepted }, &id);
        add(&mut self.due.read, &id);
        writeln!(chunk.orders, "{line}").expect("memory");
        if !is_wrong {
            remember(&mut self.recent[1], (id, line));
        }
    }

    /// What was delivered before, once more.
    fn again(&mut self, chunk: &mut Chunk) {
        let family = self.random.below(2) as usize;
        let Some(at) = self.recent[family].len().checked_sub(1) else { return self.unreadable(chunk) };
        let (id, line) = &self.recent[family][self.random.below(at as u64 + 1) as usize];
        add(&mut self.due.read, id);
        self.due.duplicates += 1;
        writeln!(if family == 0 { &mut chunk.offers } else { &mut chunk.orders }, "{line}").expect("memory");
    }

    fn unreadable(&mut self, chunk: &mut Chunk) {
        let line = format!(r#"{{"seen": "never", "number": {}}}"#, self.number);
        writeln!(chunk.offers, "{line}").expect("memory");
        add(&mut self.due.unreadable, &line);
    }
}

/// The id of an event, as the ledger has it; none where it is not the ledger's.
pub fn id(value: &[u8]) -> Option<String> {
    match Decoder.decode(value).ok()? {
        Event::Offer(offer) => Some(format!("{}@{}", offer.native_id, offer.envelope.observed_at)),
        Event::Sale(sale) => Some(format!("{}/{}", sale.order_id, sale.line_id)),
        _ => None,
    }
}

pub fn add(counts: &mut BTreeMap<String, u64>, id: &str) {
    *counts.entry(id.to_owned()).or_default() += 1;
}

fn remember(recent: &mut VecDeque<(String, String)>, event: (String, String)) {
    recent.push_back(event);
    if recent.len() > RECENT {
        recent.pop_front();
    }
}
