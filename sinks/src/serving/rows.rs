//! Which rows a batch becomes: pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use skuflow_schemas::{
    Alert, BusinessDate, Catalog, DeadLetter, Envelope, Event, EventId, FEATURES, Features, Inventory, Listing, Money,
    Offer, Quality, Reason, Sale, Text, Timestamp, Track,
};

use super::cells::{Cell, Row, row};
use super::history::month;
use super::tables::{
    ALERTS, COMPETITION, DATA_QUALITY, DEAD_LETTERS, HISTORY_MONTHS, INVENTORY_LATEST, LISTINGS, Merged, OFFERS_LATEST,
    PRICE_HISTORY, PRODUCT_FEATURES, PRODUCT_FEATURES_DAILY, PRODUCTS, RANK_HISTORY, REVIEW_DAILY, Rule, SELLERS,
    Table,
};
use crate::Incoming;
use crate::limits::LETTER_KEY_CHARS_MAX;

/// The best rating where the source does not say.
const RATING_BEST: f64 = 5.0;

/// Rows, by the tables they are for.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Of tables that take all of them.
    pub(super) by_table: BTreeMap<&'static Table, Vec<Row>>,
    /// Of tables that hold the last by time, in the order in which it was said, see [`words`].
    pub(super) latest: BTreeMap<&'static Table, Vec<Said>>,
    /// Of tables that hold what their topic says last, by key: nothing where that is that the key has ended.
    pub(super) last: BTreeMap<&'static Table, BTreeMap<Text, Option<Row>>>,
    /// Of tables that merge rows, by key: what the batch comes to.
    pub(super) merged: BTreeMap<&'static Table, BTreeMap<Vec<Cell>, Row>>,
    pub(super) sale_lines: BTreeMap<LineKey, SaleLine>,
    /// By history and day, when the last of its rows came in.
    ingested: BTreeMap<(&'static Table, BusinessDate), Timestamp>,
}

/// That a row stands, or that it takes back what is not later.
#[derive(Debug)]
pub(super) struct Said {
    row: Ranked,
    stands: bool,
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

impl Word {
    fn hear(&mut self, Said { row, stands }: Said) {
        if stands {
            keep_later(&mut self.standing, row);
        } else {
            self.standing.take_if(|known| known.rank <= row.rank);
            keep_later(&mut self.retracted, row);
        }
    }

    /// The key that it is about.
    fn key(&self, table: &Table) -> Option<&[Cell]> {
        self.standing.as_ref().or(self.retracted.as_ref()).map(|row| row.key(table))
    }
}

impl Ranked {
    fn key(&self, table: &Table) -> &[Cell] {
        &self.row[..table.key.len()]
    }
}

/// What the rows of a table come to, a word per key, in the order of keys.
pub(super) fn words(table: &Table, mut said: Vec<Said>) -> Vec<Word> {
    said.sort_by(|one, other| one.row.key(table).cmp(other.row.key(table))); // of one key, they stay in their order
    let mut words: Vec<Word> = Vec::new();
    for said in said {
        match words.last_mut() {
            Some(word) if word.key(table) == Some(said.row.key(table)) => word.hear(said),
            _ => {
                let mut word = Word::default();
                word.hear(said);
                words.push(word);
            }
        }
    }
    words
}

/// Event time, then what tells apart rows of one time.
type Rank = (Timestamp, u64);

/// Customer, source, order, line.
pub(super) type LineKey = (Text, Text, Text, Text);

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
                Incoming::Event(event @ Event::Catalog(entry), _) => rows.product(event, entry),
                Incoming::Event(event @ Event::Listing(listing), _) => rows.listing(event, listing),
                Incoming::Ended(key) => rows.ended(key),
                Incoming::DeadLetter(letter, at) => rows.dead_letter(letter, *at),
                Incoming::Raw(_) => {}
            }
        }
        for ((history, day), at) in rows.ingested.clone() {
            if let Some(month) = month(day) {
                rows.merge(&HISTORY_MONTHS, row![history.name, month, at, None::<Timestamp>]);
            }
        }
        rows
    }

    /// The months of which there are rows, by history.
    pub(super) fn months(&self) -> BTreeMap<&'static Table, Vec<BusinessDate>> {
        let mut months: BTreeMap<_, Vec<BusinessDate>> = BTreeMap::new();
        for (history, day) in self.ingested.keys() {
            if let Some(month) = month(*day) {
                let months = months.entry(*history).or_default();
                if months.last() != Some(&month) {
                    months.push(month);
                }
            }
        }
        months
    }

    fn add(&mut self, table: &'static Table, row: Row) {
        self.by_table.entry(table).or_default().push(row);
    }

    fn keep_latest(&mut self, table: &'static Table, rank: Rank, row: Row) {
        self.latest.entry(table).or_default().push(Said { row: Ranked { row, rank }, stands: true });
    }

    fn take_back(&mut self, table: &'static Table, rank: Rank, row: Row) {
        self.latest.entry(table).or_default().push(Said { row: Ranked { row, rank }, stands: false });
    }

    fn merge(&mut self, table: &'static Table, row: Row) {
        let Rule::Merge(columns) = &table.rule else { unreachable!("{} does not merge rows", table.name) };
        match self.merged.entry(table).or_default().entry(row[..table.key.len()].into()) {
            Entry::Vacant(place) => drop(place.insert(row)),
            Entry::Occupied(mut known) => columns.iter().for_each(|merged| merged.of_two(table, known.get_mut(), &row)),
        }
    }

    /// Notes a row of a history.
    fn came_in(&mut self, history: &'static Table, e: &Envelope) {
        let latest = self.ingested.entry((history, day(e.observed_at))).or_insert(e.ingested_at);
        *latest = e.ingested_at.max(*latest);
    }

    fn say_last(&mut self, table: &'static Table, event: &Event, said: Row) {
        let key = Text::from(event.key().as_str());
        let row = row![&key].into_iter().chain(said).collect();
        self.last.entry(table).or_default().insert(key, Some(row));
    }

    /// Tables of ours have no key in common, see [`skuflow_schemas::Key`].
    fn ended(&mut self, key: &Text) {
        if key.contains('\0') {
            return; // no key of a row, and none that Postgres takes
        }
        for table in [&PRODUCTS, &LISTINGS] {
            self.last.entry(table).or_default().insert(key.clone(), None);
        }
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
            self.came_in(&PRICE_HISTORY, e);
        }
        self.of_listing(offer, offset);
    }

    /// What an offer says of its seller and of its listing, whatever the price.
    fn of_listing(&mut self, offer: &Offer, offset: u64) {
        let e = &offer.envelope;
        if let Some(seller) = &offer.seller {
            let seen = row![&e.customer, &e.source, &e.marketplace, seller, 1_i64, e.observed_at, e.observed_at];
            self.merge(&SELLERS, seen);
        }
        for rank in &offer.ranks {
            let said = row![
                e.observed_at,
                e.event_id,
                &rank.category,
                &e.customer,
                &e.source,
                &e.marketplace,
                &offer.native_id,
                rank.rank,
            ];
            self.add(&RANK_HISTORY, said);
            self.came_in(&RANK_HISTORY, e);
        }
        if offer.rating.is_some() || offer.review_count.is_some() {
            let said = row![
                &e.customer,
                &e.source,
                &e.marketplace,
                &offer.native_id,
                day(e.observed_at),
                offer.rating,
                offer.rating_best.unwrap_or(RATING_BEST),
                offer.review_count,
                e.observed_at,
                e.event_id,
                offset,
            ];
            self.keep_latest(&REVIEW_DAILY, (e.observed_at, offset), said);
            self.came_in(&REVIEW_DAILY, e);
        }
    }

    fn product(&mut self, event: &Event, entry: &Catalog) {
        let e = &entry.envelope;
        let cost_currency = entry.cost.as_ref().map(|cost| Text::from(cost.currency.as_str()));
        let said = row![
            &e.customer,
            &entry.product,
            &entry.name,
            &entry.category,
            &entry.currency,
            cost_currency,
            amount(entry.cost.as_ref()),
            amount(entry.price_floor.as_ref()),
            amount(entry.price_ceiling.as_ref()),
            i64::from(entry.active),
            e.observed_at,
            e.event_id,
        ];
        self.say_last(&PRODUCTS, event, said);
    }

    fn listing(&mut self, event: &Event, row: &Listing) {
        let (e, listing) = (&row.envelope, &row.listing);
        let said = row![
            &e.customer,
            &row.product,
            &listing.source,
            &listing.marketplace,
            &listing.native_id,
            &listing.seller,
            row.role.name(),
            e.observed_at,
            e.cause_id,
        ];
        self.say_last(&LISTINGS, event, said);
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
        let mut said: Row = values.map(Cell::from).into();
        said.extend(row![&features.currency, Cell::json(&nulls), e.observed_at, e.cause_id, e.event_id, offset]);
        let rank = (e.observed_at, offset);
        let of_day = row![&e.customer, &features.product, day(e.observed_at)];
        self.keep_latest(&PRODUCT_FEATURES_DAILY, rank, of_day.into_iter().chain(said.iter().cloned()).collect());
        self.came_in(&PRODUCT_FEATURES_DAILY, e);
        let of_product = row![&e.customer, &features.product];
        self.keep_latest(&PRODUCT_FEATURES, rank, of_product.into_iter().chain(said).collect());
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
        let short = |text: &str| plain(text).chars().take(LETTER_KEY_CHARS_MAX).collect::<String>();
        let row = row![
            short(&letter.topic),
            short(&letter.code),
            1_i64,
            at,
            at,
            letter.partition,
            letter.offset,
            plain(&letter.message),
        ];
        self.merge(&DEAD_LETTERS, row);
    }

    fn quality(&mut self, quality: &Quality) {
        let row = row![
            &quality.customer,
            &quality.source,
            &quality.family,
            quality.hour,
            quality.outcome.name(),
            &quality.rule,
            quality.count,
            quality.latest_observed_at,
        ];
        self.merge(&DATA_QUALITY, row);
    }
}

impl Merged {
    /// What [`super::statements`] makes of a row that is stored and one that comes.
    fn of_two(&self, table: &Table, known: &mut [Cell], row: &[Cell]) {
        match self {
            Self::Sum(column) => {
                let at = table.place(column);
                if let (Cell::Int(sum), Cell::Int(more)) = (&mut known[at], &row[at]) {
                    *sum += more;
                }
            }
            Self::Least(column) | Self::Greatest(column) => {
                let at = table.place(column);
                if (row[at] < known[at]) == matches!(self, Self::Least(_)) {
                    known[at] = row[at].clone();
                }
            }
            Self::Last(columns) => {
                let places = || columns.iter().map(|column| table.place(column));
                if places().map(|at| &known[at]).lt(places().map(|at| &row[at])) {
                    places().for_each(|at| known[at] = row[at].clone());
                }
            }
        }
    }
}

/// The UTC day of an instant.
pub(super) fn day(at: Timestamp) -> BusinessDate {
    BusinessDate(at.day().0)
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
