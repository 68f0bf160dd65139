//! Events of every kind: with all there is, with nothing, and drawn.

use serde_json::{Map, Number, Value};
use skuflow_schemas::{
    Alert, Availability, BusinessDate, BuyBox, Change, Condition, Currency, Envelope, Event, EventId, Evidence,
    Extraction, FEATURES, Family, Features, Fulfilment, Inventory, Money, Offer, Pack, QuantityRelation, REASONS, Rank,
    Role, Sale, SaleStatus, Severity, Text, Timestamp, Vantage,
};

use crate::lake::tables::{TABLES, Table};

const TEXTS: [&str; 7] = ["", "a", "Verkäufer „Ä“ 价格 🛒", "null", "\"quoted\\\"", "two\nlines\u{0}", "{\"a\":[1]}"];
const LONGS: [i64; 7] = [0, 1, -1, i64::MIN, i64::MAX, 1_000_000_000_000, 9_007_199_254_740_993];
// Neighbours of some of them are what a reader in a hurry takes them for.
const DOUBLES: [f64; 9] =
    [0.0, -0.1, f64::MIN, f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, 122.416_294_033_786_58, 1e23];
const TIMES: [i64; 5] = [0, -1, 1_780_012_000_000_001, i64::MIN, i64::MAX];
/// Event times have a day, which the catalog spells out, within 262 000 years.
const EVENT_TIMES: [i64; 4] = [-1, 1_780_012_000_000_001, -7_000_000_000_000_000_000, 7_000_000_000_000_000_001];
const DATES: [i32; 4] = [0, 20_000, i32::MIN, i32::MAX];

pub fn typed() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| !table.is_raw())
}

/// Event `number` of a table: the first has nothing that it need not have, the second everything.
pub fn drawn(table: &Table, number: u64) -> Event {
    let mut draw = Draw { number, state: number };
    match table.family {
        Family::Offer => Event::Offer(Box::new(draw.offer())),
        Family::Sale => Event::Sale(Box::new(draw.sale())),
        Family::Inventory => Event::Inventory(Box::new(draw.inventory())),
        Family::Features => Event::Features(Box::new(draw.features())),
        Family::Alert => Event::Alert(Box::new(draw.alert())),
        other => unreachable!("no table holds {}", other.name()),
    }
}

struct Draw {
    number: u64,
    state: u64,
}

impl Draw {
    /// A number below `end`, by splitmix64.
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// One of some names, the last of which says nothing.
    fn name<T: Copy>(&mut self, names: &[T]) -> T {
        let count = if self.number == 1 { names.len() - 1 } else { names.len() };
        self.of(&names[..count])
    }

    fn is(&mut self) -> bool {
        match self.number {
            0 => false,
            1 => true,
            _ => self.below(2) == 1,
        }
    }

    fn some<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Option<T> {
        self.is().then(|| make(self))
    }

    fn list<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = if self.is() { 1 + self.below(3) } else { 0 };
        (0..count).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> Text {
        if self.below(9) == 0 { "long ".repeat(400).into() } else { self.of(&TEXTS).into() }
    }

    fn long(&mut self) -> i64 {
        self.of(&LONGS)
    }

    fn double(&mut self) -> f64 {
        if self.is() { self.of(&DOUBLES) } else { self.below(usize::MAX) as f64 / 1e7 }
    }

    /// With more digits than a `DECIMAL(18,6)` has, now and then.
    fn money(&mut self) -> Money {
        let currency = Currency::parse(self.of(&["EUR", "JPY", "XTS"])).expect("three letters");
        Money { minor: self.long(), currency, exponent: self.of(&[0, 2, 3, 6]) }
    }

    fn id(&mut self) -> EventId {
        let half = |draw: &mut Self| (draw.below(usize::MAX) as u64).to_be_bytes();
        EventId([half(self), half(self)].concat().try_into().expect("16 bytes"))
    }

    fn envelope(&mut self) -> Envelope {
        Envelope {
            event_id: self.id(),
            ingested_at: Timestamp::from_micros(self.of(&TIMES)),
            customer: self.of(&["demo", "acme"]).into(),
            source: self.text(),
            marketplace: self.text(),
            observed_at: Timestamp::from_micros(self.of(&EVENT_TIMES)),
            source_event_id: self.some(Self::text),
            source_version: self.some(Self::text),
            cause_id: self.some(Self::id),
        }
    }

    fn availability(&mut self) -> Availability {
        use Availability::{
            Backorder, Discontinued, InStock, InStoreOnly, Limited, Low, MadeToOrder, OutOfStock, Preorder, Unknown,
        };
        self.name(&[
            InStock,
            Limited,
            Low,
            Backorder,
            Preorder,
            MadeToOrder,
            InStoreOnly,
            OutOfStock,
            Discontinued,
            Unknown,
        ])
    }

    fn buy_box(&mut self) -> BuyBox {
        self.name(&[BuyBox::Won, BuyBox::Lost, BuyBox::None, BuyBox::Unknown])
    }

    fn offer(&mut self) -> Offer {
        use Condition::{Damaged, New, OpenBox, Refurbished, Unknown, Used};
        Offer {
            envelope: self.envelope(),
            native_id: self.text(),
            seller: self.some(Self::text),
            price: self.some(Self::money),
            shipping: self.some(Self::money),
            landed_price: self.some(Self::money),
            list_price: self.some(Self::money),
            availability: self.availability(),
            stock_level: self.some(Self::long),
            condition: self.name(&[New, OpenBox, Refurbished, Used, Damaged, Unknown]),
            fulfilment: self.name(&[
                Fulfilment::Marketplace,
                Fulfilment::Seller,
                Fulfilment::Digital,
                Fulfilment::Pickup,
                Fulfilment::Unknown,
            ]),
            buy_box: self.buy_box(),
            offer_count: self.some(Self::long),
            ranks: self.list(|draw| Rank { category: draw.text(), rank: draw.long() }),
            rating: self.some(Self::double),
            rating_best: self.some(|_| f64::INFINITY),
            review_count: self.some(Self::long),
            vantage: Vantage {
                country: self.some(Self::text),
                postal: self.some(Self::text),
                membership: self.some(Self::text),
            },
            extraction: self
                .some(|draw| Extraction { method: draw.text(), confidence: draw.some(|_| f64::NEG_INFINITY) }),
            suspect: self.list(Self::text),
            track: None,
            pack: self.some(|draw| Pack { quantity: draw.double(), unit: draw.text() }),
        }
    }

    fn sale(&mut self) -> Sale {
        use SaleStatus::{Cancelled, Completed, Pending, Returned, Unknown};
        Sale {
            envelope: self.envelope(),
            native_id: self.text(),
            order_id: self.text(),
            line_id: self.text(),
            units: self.long(),
            unit_price: self.some(Self::money),
            status: self.name(&[Pending, Completed, Cancelled, Returned, Unknown]),
            business_date: BusinessDate(self.of(&DATES)),
            suspect: self.list(Self::text),
            track: None,
        }
    }

    fn inventory(&mut self) -> Inventory {
        use QuantityRelation::{AtLeast, Exact, Unknown};
        Inventory {
            envelope: self.envelope(),
            native_id: self.text(),
            location: self.text(),
            quantity: self.long(),
            relation: self.name(&[Exact, AtLeast, Unknown]),
            suspect: self.list(Self::text),
            track: None,
        }
    }

    fn alert(&mut self) -> Alert {
        Alert {
            envelope: self.envelope(),
            product: self.text(),
            rule: self.text(),
            severity: self.name(&[Severity::Info, Severity::Warning, Severity::Critical, Severity::Unknown]),
            message: self.text(),
            seller: self.some(Self::text),
            dedup_key: self.id(),
            value: self.some(Self::double),
            evidence: self.list(|draw| Evidence {
                name: draw.text(),
                value: draw.some(Self::double),
                previous: draw.some(Self::double),
            }),
        }
    }

    fn features(&mut self) -> Features {
        let (mut values, mut reasons) = (Map::new(), Map::new());
        for spec in FEATURES {
            let value = self.some(Self::double).map(|value| Number::from_f64(value).expect("finite"));
            let reason = if value.is_some() { "present" } else { self.of(REASONS).0 };
            values.insert(spec.name.into(), value.map_or(Value::Null, Value::Number));
            reasons.insert(spec.name.into(), reason.into());
        }
        let mut features = Features {
            envelope: self.envelope(),
            product: self.text(),
            currency: self.some(Self::text),
            values: serde_json::from_value(values.into()).expect("figures"),
            reasons: serde_json::from_value(reasons.into()).expect("reasons"),
            change: self.some(Self::change),
        };
        if features.values.price_gap.is_some() {
            features.values.price_gap = Some(f64::NEG_INFINITY);
        }
        features
    }

    fn change(&mut self) -> Change {
        Change {
            listing: self.text(),
            seller: self.some(Self::text),
            role: self.name(&[Role::Own, Role::Competitor, Role::Unknown]),
            price: self.some(Self::money),
            previous_price: self.some(Self::money),
            availability: self.availability(),
            previous_availability: self.availability(),
            buy_box: self.buy_box(),
            previous_buy_box: self.buy_box(),
            entered: self.is(),
        }
    }
}
