//! Which files a batch becomes: pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use skuflow_schemas::{BusinessDate, Envelope, Event, Text};

use super::columns::{Content, Row};
use super::tables::{Division, Table};

const HOUR: i64 = 3_600_000_000;

/// What a file holds: one part of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) division: Division,
    /// The customer or the source; `None` where the table is not divided so, or a record does not say it.
    pub(super) whose: Option<Text>,
    /// The day or the hour since the epoch.
    pub(super) time: i32,
}

impl Part {
    /// Its folder under the table's, Hive-style.
    pub(super) fn folder(&self) -> String {
        let date = |day| encoded(&BusinessDate(day).to_string());
        let whose = encoded(self.whose.as_deref().unwrap_or_default());
        match self.division {
            Division::CustomerDate => format!("customer={whose}/date={}", date(self.time)),
            Division::Date => format!("date={}", date(self.time)),
            Division::SourceHour => {
                let (day, hour) = (self.time.div_euclid(24), self.time.rem_euclid(24));
                let day = date(day);
                let mut parts = day.rsplitn(3, '-');
                let mut part = || parts.next().unwrap_or_default();
                let (day, month, year) = (part(), part(), part());
                format!("source={whose}/year={year}/month={month}/day={day}/hour={hour:02}")
            }
        }
    }
}

/// Where a row belongs in its file: the number of its key, event time, its place in the batch.
type Order = (u32, i64, usize);

/// The rows of each part, by key and in each key by event time, so that what belongs together is read together. Rows of one
/// time stay in the order of the log, and so do records as they came.
pub(super) fn files<'a>(table: &Table, rows: &[Row<'a>]) -> Vec<(Part, Vec<Row<'a>>)> {
    let mut numbers: HashMap<Key<'a>, u32> = HashMap::new();
    let mut parts: BTreeMap<(Option<&str>, i32), Vec<Order>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let (whose, time, order) = match row.content {
            Content::Event(event) => {
                let (key, time, next) = (Key::of(event), event.observed_at(), numbers.len() as u32);
                let customer = key.0[0].filter(|_| table.division == Division::CustomerDate);
                let number = *numbers.entry(key).or_insert(next);
                (customer, time.day().0, (number, time.micros(), place))
            }
            Content::Raw(raw) => {
                let source = raw.envelope.as_ref().map(|envelope| envelope.source.as_str());
                (source, row.ingested_at.div_euclid(HOUR) as i32, (0, 0, place))
            }
        };
        parts.entry((whose, time)).or_default().push(order);
    }
    let ranks = ranks(numbers);
    let sorted = |mut order: Vec<Order>| {
        for (number, _, _) in &mut order {
            *number = ranks.get(*number as usize).copied().unwrap_or(0);
        }
        order.sort_unstable();
        order.into_iter().map(|(_, _, place)| rows[place]).collect()
    };
    let part =
        |(whose, time): (Option<&str>, i32)| Part { division: table.division, whose: whose.map(Text::from), time };
    parts.into_iter().map(|(key, order)| (part(key), sorted(order))).collect()
}

/// Of each key's number, which place the key has among the keys: numbers sort faster than texts.
fn ranks(numbers: HashMap<Key<'_>, u32>) -> Vec<u32> {
    let mut keys: Vec<(Key<'_>, u32)> = numbers.into_iter().collect();
    keys.sort_unstable();
    let mut ranks = vec![0; keys.len()];
    for (rank, (_, number)) in (0..).zip(&keys) {
        ranks[*number as usize] = rank;
    }
    ranks
}

/// What an event is about, as the columns of [`Table::order`] say it. Where there are fewer it is `None`, not `""`: an empty text
/// that has no place in memory takes some processors a hundred times as long to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a>([Option<&'a str>; 4]);

impl Hash for Key<'_> {
    /// Of what differs most: the listing or the product.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [_, product, _, listing] = self.0;
        listing.or(product).hash(state);
    }
}

impl<'a> Key<'a> {
    fn of(event: &'a Event) -> Self {
        let listing = |envelope: &'a Envelope, native_id: &'a str| {
            Self([&envelope.customer, &envelope.source, &envelope.marketplace, native_id].map(Some))
        };
        let product =
            |envelope: &'a Envelope, product: &'a str| Self([Some(&envelope.customer), Some(product), None, None]);
        match event {
            Event::Offer(offer) => listing(&offer.envelope, &offer.native_id),
            Event::Sale(sale) => listing(&sale.envelope, &sale.native_id),
            Event::Inventory(inventory) => listing(&inventory.envelope, &inventory.native_id),
            Event::Features(features) => product(&features.envelope, &features.product),
            Event::Alert(alert) => product(&alert.envelope, &alert.product),
            Event::Catalog(_) | Event::Listing(_) | Event::Quality(_) => Self([None; 4]), // no table takes them
        }
    }
}

/// A value as part of a path: what has a meaning there is written as `%` and two hex digits, nothing as Hive has it.
fn encoded(value: &str) -> String {
    if value.is_empty() {
        return "__HIVE_DEFAULT_PARTITION__".into();
    }
    let mut path = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use skuflow_schemas::{Features, Offer, Timestamp};

    use super::*;
    use crate::lake::tables::TABLES;

    const DAY: i64 = 86_400_000_000;

    fn offer(customer: &str, listing: &str, at: i64) -> Event {
        let envelope =
            Envelope { customer: customer.into(), observed_at: Timestamp::from_micros(at), ..Envelope::default() };
        Event::Offer(Box::new(Offer { envelope, native_id: listing.into(), ..Offer::default() }))
    }

    /// Folders, and the offsets in each.
    fn check(table: &Table, events: &[Event], expected: &[(&str, &[u64])]) {
        let rows: Vec<Row<'_>> = (0..)
            .zip(events)
            .map(|(offset, event)| Row {
                content: Content::Event(event),
                topic: "t",
                partition: 0,
                offset,
                ingested_at: 0,
            })
            .collect();
        let files = files(table, &rows);
        let found: Vec<(String, Vec<u64>)> =
            files.iter().map(|(part, rows)| (part.folder(), rows.iter().map(|row| row.offset).collect())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(folder, offsets)| ((*folder).to_owned(), offsets.to_vec())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_per_customer_and_day_sorted_by_key_then_time() {
        let events = [
            offer("b", "L1", 5),
            offer("a", "L2", 9),
            offer("a", "L1", 9),
            offer("a", "L1", 7),
            offer("a", "L1", DAY),
            offer("a", "L1", 7),
            offer("a", "L1", -1),
        ];
        check(
            &TABLES[0],
            &events,
            &[
                ("customer=a/date=1969-12-31", &[6]),
                ("customer=a/date=1970-01-01", &[3, 5, 2, 1]),
                ("customer=a/date=1970-01-02", &[4]),
                ("customer=b/date=1970-01-01", &[0]),
            ],
        );
    }

    #[test]
    fn curated_tables_are_divided_by_date_alone() {
        let features = |customer: &str| {
            let envelope = Envelope { customer: customer.into(), ..Envelope::default() };
            Event::Features(Box::new(Features { envelope, ..Features::default() }))
        };
        check(&TABLES[3], &[features("b"), features("a")], &[("date=1970-01-01", &[1, 0])]);
    }

    #[test]
    fn what_has_a_meaning_in_a_path_is_encoded() {
        let folder =
            |customer: &str| Part { division: Division::CustomerDate, whose: Some(customer.into()), time: 0 }.folder();
        assert_eq!(folder("../x=1"), "customer=%2E%2E%2Fx%3D1/date=1970-01-01");
        assert_eq!(folder(""), "customer=__HIVE_DEFAULT_PARTITION__/date=1970-01-01");
        assert_eq!(Part { division: Division::Date, whose: None, time: i32::MIN }.folder(), "date=day%20-2147483648");
        let hour =
            |source: Option<&str>, time| Part { division: Division::SourceHour, whose: source.map(Text::from), time };
        let expected = "source=shop%20A/year=1970/month=01/day=03/hour=02";
        assert_eq!(hour(Some("shop A"), 50).folder(), expected);
        let expected = "source=__HIVE_DEFAULT_PARTITION__/year=1969/month=12/day=31/hour=23";
        assert_eq!(hour(None, -1).folder(), expected);
    }
}
