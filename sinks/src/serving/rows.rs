//! Which rows a batch becomes: pure.

use std::collections::BTreeMap;

use skuflow_schemas::{
    Alert, BusinessDate, DeadLetter, Event, EventId, FEATURES, Features, Inventory, Money, Offer, Quality, Reason,
    Sale, Text, Timestamp, Track,
};

use super::cells::{Cell, Row, row};
use super::tables::{ALERTS, COMPETITION, INVENTORY_LATEST, OFFERS_LATEST, PRICE_HISTORY, PRODUCT_FEATURES, Table};
use crate::Incoming;

/// The best rating where the source does not say.
const RATING_BEST: f64 = 5.0;

/// Rows, by the tables they are for.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Of tables that take all of them.
    pub(super) by_table: BTreeMap<&'static Table, Vec<Row>>,
    /// Of tables that hold the last by time, by key.
    pub(super) latest: BTreeMap<&'static Table, BTreeMap<Vec<Text>, Word>>,
    pub(super) sale_lines: BTreeMap<LineKey, SaleLine>,
    pub(super) dead_letters: BTreeMap<(Text, Text), LetterSum>,
    pub(super) data_quality: BTreeMap<QualityKey, (i64, Timestamp)>,
}

/// What the records of a batch come to under one key: first `retracted` removes what is stored and not later, then
/// `standing` takes the place of what is stored and not later. The same as landing them one by one, in their order.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) retracted: Option<Ranked>,
    pub(super) standing: Option<Ranked>,
}

/// A row, and its place in time.
#[derive(Debug)]
pub(super) struct Ranked {
    pub(super) row: Row,
    rank: Rank,
}

/// Event time, then what tells apart rows of one time.
type Rank = (Timestamp, u64);

/// Customer, source, order, line.
pub(super) type LineKey = (Text, Text, Text, Text);
/// Customer, source, family, hour, outcome, rule.
pub(super) type QualityKey = (Text, Text, Text, Timestamp, &'static str, Text);

/// A word on an order line. The last by time stands; of one time, that of the highest event id: a line that moves to
/// another listing moves to another partition, and what arrives first from two of them is chance. What it says comes last,
/// for the same id from two places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SaleLine {
    pub(super) observed_at: Timestamp,
    pub(super) event_id: EventId,
    pub(super) marketplace: Text,
    pub(super) native_id: Text,
    pub(super) business_date: BusinessDate,
    pub(super) units: i64,
    pub(super) currency: Text,
    pub(super) revenue_micros: i64,
    pub(super) status: Text,
}

/// Dead letters of one topic and reason.
#[derive(Debug)]
pub(super) struct LetterSum {
    pub(super) count: i64,
    pub(super) first_at: Timestamp,
    pub(super) last: LastLetter,
}

/// The last of some dead letters: by time; of one time, by where the record stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LastLetter {
    pub(super) at: Timestamp,
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
                Incoming::DeadLetter(letter, at) => rows.dead_letter(letter, *at),
                Incoming::Raw(_) => {}
            }
        }
        rows
    }

    fn add(&mut self, table: &'static Table, row: Row) {
        self.by_table.entry(table).or_default().push(row);
    }

    fn keep_latest(&mut self, table: &'static Table, rank: Rank, row: Row) {
        keep_later(&mut self.word(table, &row).standing, Ranked { row, rank });
    }

    fn take_back(&mut self, table: &'static Table, rank: Rank, row: Row) {
        let word = self.word(table, &row);
        word.standing.take_if(|known| known.rank <= rank);
        keep_later(&mut word.retracted, Ranked { row, rank });
    }

    fn word(&mut self, table: &'static Table, row: &Row) -> &mut Word {
        let key = row[..table.key.len()].iter().map(|cell| match cell {
            Cell::Text(text) => text.clone(),
            _ => unreachable!("the key of {} is text", table.name),
        });
        let key = key.collect();
        self.latest.entry(table).or_default().entry(key).or_default()
    }

    fn offer(&mut self, offer: &Offer, offset: u64) {
        let e = &offer.envelope;
        let seller = offer.seller.clone().unwrap_or_default();
        let currency = offer.price.as_ref().map(|price| Text::from(price.currency.as_str()));
        let suspect = Text::from(offer.suspect.join(","));
        let latest = row![
            &e.customer,
            &e.source,
            &e.marketplace,
            &offer.native_id,
            &seller,
            offer.condition.name(),
            vantage(offer),
            &currency,
            amount(offer.price.as_ref()),
            amount(offer.shipping.as_ref()),
            amount(offer.landed_price.as_ref()),
            amount(offer.list_price.as_ref()),
            offer.availability.name(),
            offer.stock_level,
            offer.buy_box.name(),
            offer.rating,
            offer.rating_best.unwrap_or(RATING_BEST),
            offer.review_count,
            &suspect,
            e.observed_at,
            e.event_id,
            offset,
        ];
        self.keep_latest(&OFFERS_LATEST, (e.observed_at, offset), latest);
        if offer.price.is_some() {
            let said = row![
                e.observed_at,
                e.event_id,
                &e.customer,
                &e.source,
                &e.marketplace,
                &offer.native_id,
                seller,
                offer.condition.name(),
                currency,
                amount(offer.price.as_ref()),
                amount(offer.shipping.as_ref()),
                offer.availability.name(),
                suspect,
            ];
            self.add(&PRICE_HISTORY, said);
        }
    }

    /// The copy of an offer for a product that tracks its listing.
    fn copy(&mut self, offer: &Offer, track: &Track, offset: u64) {
        let e = &offer.envelope;
        let row = row![
            &e.customer,
            &track.product,
            &e.source,
            &e.marketplace,
            &offer.native_id,
            offer.seller.clone().unwrap_or_default(),
            offer.condition.name(),
            vantage(offer),
            track.role.name(),
            offer.price.as_ref().map(|price| Text::from(price.currency.as_str())),
            amount(offer.price.as_ref()),
            amount(offer.shipping.as_ref()),
            amount(landed_price(offer).as_ref()),
            amount(offer.list_price.as_ref()),
            offer.availability.name(),
            offer.buy_box.name(),
            e.observed_at,
            e.cause_id,
            offset,
        ];
        let rank = (e.observed_at, offset);
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
        let nulls: BTreeMap<&str, &Reason> = nulls.map(|((spec, _), why)| (spec.name, why)).collect();
        let mut row = row![&e.customer, &features.product];
        row.extend(values.map(Cell::from));
        row.extend(row![&features.currency, Cell::json(&nulls), e.observed_at, e.cause_id, e.event_id, offset,]);
        self.keep_latest(&PRODUCT_FEATURES, (e.observed_at, offset), row);
    }

    fn alert(&mut self, alert: &Alert) {
        let e = &alert.envelope;
        let row = row![
            e.event_id,
            &e.customer,
            &alert.product,
            &alert.rule,
            &alert.seller,
            alert.severity.name(),
            &alert.message,
            alert.value,
            alert.dedup_key,
            Cell::json(&alert.evidence),
            e.observed_at,
            e.cause_id,
        ];
        self.add(&ALERTS, row);
    }

    fn sale(&mut self, sale: &Sale) {
        let e = &sale.envelope;
        let price = sale.unit_price.as_ref();
        let line = SaleLine {
            observed_at: e.observed_at,
            event_id: e.event_id,
            marketplace: e.marketplace.clone(),
            native_id: sale.native_id.clone(),
            business_date: sale.business_date,
            units: sale.units,
            currency: price.map_or_else(Text::default, |price| price.currency.as_str().into()),
            revenue_micros: price.map_or(0, |price| saturate(price.micros() * i128::from(sale.units))),
            status: sale.status.name().into(),
        };
        let key = (e.customer.clone(), e.source.clone(), sale.order_id.clone(), sale.line_id.clone());
        if self.sale_lines.get(&key).is_none_or(|known| *known < line) {
            self.sale_lines.insert(key, line);
        }
    }

    fn inventory(&mut self, inventory: &Inventory, offset: u64) {
        let e = &inventory.envelope;
        let row = row![
            &e.customer,
            &e.source,
            &e.marketplace,
            &inventory.native_id,
            &inventory.location,
            inventory.quantity,
            inventory.relation.name(),
            e.observed_at,
            e.event_id,
            offset,
        ];
        self.keep_latest(&INVENTORY_LATEST, (e.observed_at, offset), row);
    }

    fn dead_letter(&mut self, letter: &DeadLetter, at: Timestamp) {
        // A letter about a text with a NUL tells of it; Postgres takes none.
        let plain = |text: &str| text.replace('\0', "\u{fffd}");
        let message = plain(&letter.message);
        let (partition, offset) = (letter.partition, letter.offset);
        let last = LastLetter { at, partition, offset, message };
        let key = (plain(&letter.topic).into(), plain(&letter.code).into());
        let fresh = || LetterSum { count: 0, first_at: at, last: last.clone() };
        let sum = self.dead_letters.entry(key).or_insert_with(fresh);
        sum.count += 1;
        sum.first_at = sum.first_at.min(at);
        if last > sum.last {
            sum.last = last;
        }
    }

    fn quality(&mut self, quality: &Quality) {
        let (hour, latest) = (quality.hour, quality.latest_observed_at);
        let (customer, source, family) = (quality.customer.clone(), quality.source.clone(), quality.family.clone());
        let key = (customer, source, family, hour, quality.outcome.name(), quality.rule.clone());
        let sum = self.data_quality.entry(key).or_insert((0, latest));
        sum.0 += quality.count;
        sum.1 = sum.1.max(latest);
    }
}

fn keep_later(slot: &mut Option<Ranked>, row: Ranked) {
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
pub(super) fn daily_changes(lines: &BTreeMap<LineKey, SaleLine>, stored: &BTreeMap<LineKey, SaleLine>) -> Vec<Row> {
    let mut sums: BTreeMap<(LineKey, BusinessDate, Text), [i64; 5]> = BTreeMap::new();
    let mut add = |key: &LineKey, line: &SaleLine, sign: i64| {
        let listing = (key.0.clone(), key.1.clone(), line.marketplace.clone(), line.native_id.clone());
        let sum = sums.entry((listing, line.business_date, line.currency.clone())).or_default();
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
        .map(|((listing, day, currency), [units, sold, returned, revenue, lines])| {
            let (customer, source, marketplace, native_id) = listing;
            row![customer, source, marketplace, native_id, day, currency, units, sold, returned, revenue, lines]
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

#[cfg(test)]
mod tests;
