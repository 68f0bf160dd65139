//! Which rows a batch becomes: pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use skuflow_schemas::{
    Alert, DeadLetter, Event, FEATURES, Features, Inventory, Money, Offer, Quality, Sale, Text, Track,
};

use super::tables::{ALERTS, COMPETITION, INVENTORY_LATEST, OFFERS_LATEST, PRICE_HISTORY, PRODUCT_FEATURES, Table};
use crate::Incoming;

/// The best rating where the source does not say.
const RATING_BEST: f64 = 5.0;

/// Rows, as JSON arrays in the order of their columns.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Of tables that take all of them.
    pub(super) by_table: BTreeMap<&'static Table, Vec<Value>>,
    /// Of tables that hold the last by time, by key.
    pub(super) latest: BTreeMap<&'static Table, BTreeMap<String, Word>>,
    pub(super) sale_lines: BTreeMap<LineKey, SaleLine>,
    pub(super) dead_letters: BTreeMap<(Text, Text), LetterSum>,
    pub(super) data_quality: BTreeMap<QualityKey, (i64, i64)>,
}

/// What the records of a batch come to under one key: first `retracted` removes what is stored and not later, then
/// `standing` takes the place of what is stored and not later. The same as landing them one by one, in their order.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) retracted: Option<Row>,
    pub(super) standing: Option<Row>,
}

/// A row, and its place in time.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Row {
    #[serde(skip)]
    rank: Rank,
    columns: Value,
}

/// Event time, then what tells apart rows of one time: the offset or the event id.
type Rank = (i64, u128);

/// Customer, source, order, line.
pub(super) type LineKey = (Text, Text, Text, Text);
/// Customer, source, family, hour, outcome, rule.
pub(super) type QualityKey = (Text, Text, Text, i64, &'static str, Text);

/// A word on an order line. The last by time stands; of one time, that of the highest event id: a line that moves to
/// another listing moves to another partition, and what arrives first from two of them is chance. What it says comes last,
/// for the same id from two places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SaleLine {
    pub(super) observed_at: i64,
    pub(super) event_id: String,
    pub(super) marketplace: Text,
    pub(super) native_id: Text,
    pub(super) business_date: String,
    pub(super) units: i64,
    pub(super) currency: Text,
    pub(super) revenue_micros: i64,
    pub(super) status: Text,
}

/// Dead letters of one topic and reason.
#[derive(Debug)]
pub(super) struct LetterSum {
    pub(super) count: i64,
    pub(super) first_at: i64,
    pub(super) last: LastLetter,
}

/// The last of some dead letters: by time; of one time, by where the record stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LastLetter {
    pub(super) at: i64,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) message: String,
}

impl Rows {
    /// The rows of `records`.
    pub(super) fn of<'a>(records: impl Iterator<Item = &'a Incoming>) -> Self {
        let mut rows = Self::default();
        for record in records {
            match record {
                Incoming::Event(Event::Offer(offer), offset) => match &offer.track {
                    Some(track) => rows.copy(offer, track, *offset),
                    None => rows.offer(offer, *offset),
                },
                Incoming::Event(Event::Sale(sale), _) => rows.sale(sale),
                Incoming::Event(Event::Inventory(inventory), offset) => rows.inventory(inventory, *offset),
                Incoming::Event(Event::Quality(quality), _) => rows.quality(quality),
                Incoming::Event(Event::Features(features), offset) => rows.features(features, *offset),
                Incoming::Event(Event::Alert(alert), _) => rows.alert(alert),
                Incoming::Event(Event::Catalog(_) | Event::Listing(_), _) => {}
                Incoming::DeadLetter(letter, at) => rows.dead_letter(letter, at.micros()),
                Incoming::Raw(_) => {}
            }
        }
        rows
    }

    fn add(&mut self, table: &'static Table, row: Value) {
        self.by_table.entry(table).or_default().push(row);
    }

    fn keep_latest(&mut self, table: &'static Table, rank: Rank, columns: Value) {
        keep_later(&mut self.word(table, &columns).standing, Row { rank, columns });
    }

    fn take_back(&mut self, table: &'static Table, rank: Rank, columns: Value) {
        let word = self.word(table, &columns);
        word.standing.take_if(|known| known.rank <= rank);
        keep_later(&mut word.retracted, Row { rank, columns });
    }

    fn word(&mut self, table: &'static Table, columns: &Value) -> &mut Word {
        let key = columns.as_array().map(|columns| &columns[..table.key.len()]);
        let key = serde_json::to_string(&key).unwrap_or_default();
        self.latest.entry(table).or_default().entry(key).or_default()
    }

    fn offer(&mut self, offer: &Offer, offset: u64) {
        let e = &offer.envelope;
        let seller = offer.seller.clone().unwrap_or_default();
        let currency = offer.price.as_ref().map(|price| price.currency.as_str().to_owned());
        let suspect = offer.suspect.join(",");
        let micros = e.observed_at.micros();
        let row = json!([
            e.customer,
            e.source,
            e.marketplace,
            offer.native_id,
            seller,
            offer.condition.name(),
            vantage(offer),
            currency,
            amount(offer.price.as_ref()),
            amount(offer.shipping.as_ref()),
            amount(offer.landed_price.as_ref()),
            amount(offer.list_price.as_ref()),
            name(&offer.availability),
            offer.stock_level,
            name(&offer.buy_box),
            offer.rating,
            offer.rating_best.unwrap_or(RATING_BEST),
            offer.review_count,
            suspect,
            micros,
            e.event_id,
            offset
        ]);
        self.keep_latest(&OFFERS_LATEST, (micros, offset.into()), row);
        if offer.price.is_some() {
            self.add(
                &PRICE_HISTORY,
                json!([
                    e.event_id,
                    e.customer,
                    e.source,
                    e.marketplace,
                    offer.native_id,
                    seller,
                    offer.condition.name(),
                    micros,
                    currency,
                    amount(offer.price.as_ref()),
                    amount(offer.shipping.as_ref()),
                    name(&offer.availability),
                    suspect
                ]),
            );
        }
    }

    /// The copy of an offer for a product that tracks its listing.
    fn copy(&mut self, offer: &Offer, track: &Track, offset: u64) {
        let e = &offer.envelope;
        let micros = e.observed_at.micros();
        let row = json!([
            e.customer,
            track.product,
            e.source,
            e.marketplace,
            offer.native_id,
            offer.seller.clone().unwrap_or_default(),
            offer.condition.name(),
            vantage(offer),
            name(&track.role),
            offer.price.as_ref().map(|price| price.currency.as_str()),
            amount(offer.price.as_ref()),
            amount(offer.shipping.as_ref()),
            amount(landed_price(offer).as_ref()),
            amount(offer.list_price.as_ref()),
            name(&offer.availability),
            name(&offer.buy_box),
            micros,
            e.cause_id,
            offset
        ]);
        let rank = (micros, offset.into());
        if track.retracted {
            self.take_back(&COMPETITION, rank, row);
        } else {
            self.keep_latest(&COMPETITION, rank, row);
        }
    }

    fn features(&mut self, features: &Features, offset: u64) {
        let e = &features.envelope;
        let (values, reasons) = (features.values.in_order(), features.reasons.in_order());
        let nulls = FEATURES.iter().zip(&values).zip(&reasons).filter(|((_, value), _)| value.is_none());
        let nulls: Map<String, Value> = nulls.map(|((spec, _), why)| (spec.name.into(), name(why))).collect();
        let micros = e.observed_at.micros();
        let mut row = vec![json!(e.customer), json!(features.product)];
        row.extend(values.map(|value| json!(value)));
        row.extend([
            json!(features.currency),
            json!(nulls),
            json!(micros),
            json!(e.cause_id),
            json!(e.event_id),
            json!(offset),
        ]);
        self.keep_latest(&PRODUCT_FEATURES, (micros, u128::from(offset)), row.into());
    }

    fn alert(&mut self, alert: &Alert) {
        let e = &alert.envelope;
        let row = json!([
            e.event_id,
            e.customer,
            alert.product,
            alert.rule,
            alert.seller,
            alert.severity.name(),
            alert.message,
            alert.value,
            alert.dedup_key,
            alert.evidence,
            e.observed_at.micros(),
            e.cause_id
        ]);
        self.add(&ALERTS, row);
    }

    fn sale(&mut self, sale: &Sale) {
        let e = &sale.envelope;
        let price = sale.unit_price.as_ref();
        let line = SaleLine {
            observed_at: e.observed_at.micros(),
            event_id: e.event_id.to_string(),
            marketplace: e.marketplace.clone(),
            native_id: sale.native_id.clone(),
            business_date: sale.business_date.to_string(),
            units: sale.units,
            currency: price.map_or_else(Text::default, |price| price.currency.as_str().into()),
            revenue_micros: price.map_or(0, |price| saturate(price.micros() * i128::from(sale.units))),
            status: name(&sale.status).as_str().unwrap_or_default().into(),
        };
        let key = (e.customer.clone(), e.source.clone(), sale.order_id.clone(), sale.line_id.clone());
        if self.sale_lines.get(&key).is_none_or(|known| *known < line) {
            self.sale_lines.insert(key, line);
        }
    }

    fn inventory(&mut self, inventory: &Inventory, offset: u64) {
        let e = &inventory.envelope;
        let micros = e.observed_at.micros();
        let row = json!([
            e.customer,
            e.source,
            e.marketplace,
            inventory.native_id,
            inventory.location,
            inventory.quantity,
            name(&inventory.relation),
            micros,
            e.event_id,
            offset
        ]);
        self.keep_latest(&INVENTORY_LATEST, (micros, offset.into()), row);
    }

    fn dead_letter(&mut self, letter: &DeadLetter, at: i64) {
        let (partition, offset, message) = (letter.partition, letter.offset, letter.message.clone());
        let last = LastLetter { at, partition, offset, message };
        let key = (letter.topic.clone(), letter.code.clone());
        let fresh = || LetterSum { count: 0, first_at: at, last: last.clone() };
        let sum = self.dead_letters.entry(key).or_insert_with(fresh);
        sum.count += 1;
        sum.first_at = sum.first_at.min(at);
        if last > sum.last {
            sum.last = last;
        }
    }

    fn quality(&mut self, quality: &Quality) {
        let (hour, latest) = (quality.hour.micros(), quality.latest_observed_at.micros());
        let (customer, source, family) = (quality.customer.clone(), quality.source.clone(), quality.family.clone());
        let key = (customer, source, family, hour, quality.outcome.name(), quality.rule.clone());
        let sum = self.data_quality.entry(key).or_insert((0, latest));
        sum.0 += quality.count;
        sum.1 = sum.1.max(latest);
    }
}

fn keep_later(slot: &mut Option<Row>, row: Row) {
    if slot.as_ref().is_none_or(|known| known.rank <= row.rank) {
        *slot = Some(row);
    }
}

/// From where it was looked at, as one text.
fn vantage(offer: &Offer) -> String {
    let v = &offer.vantage;
    [&v.country, &v.postal, &v.membership].map(|part| part.as_deref().unwrap_or_default()).join("/")
}

/// Price and shipping, unknown shipping as 0; none without a price, or with shipping in another currency.
fn landed_price(offer: &Offer) -> Option<Money> {
    let price = offer.price?;
    offer.shipping.map_or(Some(price), |shipping| price.plus(&shipping))
}

/// What order lines change in the daily sums: those of the stored lines they replace go, theirs come.
pub(super) fn daily_changes(lines: &BTreeMap<LineKey, SaleLine>, stored: &BTreeMap<LineKey, SaleLine>) -> Vec<Value> {
    let mut sums: BTreeMap<[Text; 6], [i64; 5]> = BTreeMap::new();
    let mut add = |key: &LineKey, line: &SaleLine, sign: i64| {
        let day = Text::from(line.business_date.as_str());
        let cell = [&key.0, &key.1, &line.marketplace, &line.native_id, &day, &line.currency].map(Clone::clone);
        let sum = sums.entry(cell).or_default();
        let change = [line.units, line.units.max(0), line.units.saturating_neg().max(0), line.revenue_micros, 1];
        sum.iter_mut().zip(change).for_each(|(sum, change)| *sum = sum.saturating_add(sign.saturating_mul(change)));
    };
    for (key, line) in lines {
        add(key, line, 1);
        if let Some(known) = stored.get(key) {
            add(key, known, -1);
        }
    }
    sums.into_iter()
        .map(|(key, sum)| {
            json!([key[0], key[1], key[2], key[3], key[4], key[5], sum[0], sum[1], sum[2], sum[3], sum[4]])
        })
        .collect()
}

fn amount(money: Option<&Money>) -> Option<i64> {
    money.map(|money| saturate(money.micros()))
}

/// An amount beyond 9 trillion in one field is nothing a shop has; it stays at the bound rather than wrap.
fn saturate(micros: i128) -> i64 {
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// The wire name of a value of a closed set.
fn name(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
