//! Which files a batch becomes: pure.

use std::collections::{BTreeMap, HashMap};

use skuflow_schemas::{BusinessDate, Event, Text};

use super::columns::Row;
use super::tables::Table;

/// What a file holds: one part of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    /// Whose events; `None` where the table is not divided by customer.
    pub(super) customer: Option<Text>,
    /// The day of event time, UTC.
    pub(super) day: i32,
}

impl Part {
    fn of(table: &Table, row: &Row<'_>) -> Self {
        let customer = row.event.envelope().filter(|_| table.by_customer).map(|envelope| envelope.customer.clone());
        Self { customer, day: row.event.observed_at().day().0 }
    }

    /// Its folder under the table's, Hive-style.
    pub(super) fn folder(&self) -> String {
        let date = format!("date={}", encoded(&BusinessDate(self.day).to_string()));
        match &self.customer {
            Some(customer) => format!("customer={}/{date}", encoded(customer)),
            None => date,
        }
    }
}

/// The rows of each part, by key and in each key by event time, so that what belongs together is read together. Rows of one
/// time stay in the order of the log.
pub(super) fn files<'a>(table: &Table, rows: &[Row<'a>]) -> Vec<(Part, Vec<Row<'a>>)> {
    let ranks = key_ranks(rows);
    let mut parts: BTreeMap<Part, Vec<(u32, i64, usize)>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let order = (ranks[place], row.event.observed_at().micros(), place);
        parts.entry(Part::of(table, row)).or_default().push(order);
    }
    let sorted = |mut order: Vec<(u32, i64, usize)>| {
        order.sort_unstable();
        order.into_iter().map(|(_, _, place)| rows[place]).collect()
    };
    parts.into_iter().map(|(part, order)| (part, sorted(order))).collect()
}

/// Of each row, which place its key has among the keys: numbers sort faster than texts.
fn key_ranks(rows: &[Row<'_>]) -> Vec<u32> {
    let mut seen: HashMap<[&str; 4], u32> = HashMap::new();
    let numbers: Vec<u32> = rows
        .iter()
        .map(|row| {
            let next = seen.len() as u32;
            *seen.entry(key(row.event)).or_insert(next)
        })
        .collect();
    let mut keys: Vec<([&str; 4], u32)> = seen.into_iter().collect();
    keys.sort_unstable();
    let mut rank_of = vec![0; keys.len()];
    for (rank, (_, number)) in (0..).zip(&keys) {
        rank_of[*number as usize] = rank;
    }
    numbers.into_iter().map(|number| rank_of[number as usize]).collect()
}

/// What an event is about, as the columns of [`Table::key`] say it.
fn key(event: &Event) -> [&str; 4] {
    let (listing, product): (&str, &str) = match event {
        Event::Offer(offer) => (&offer.native_id, ""),
        Event::Sale(sale) => (&sale.native_id, ""),
        Event::Inventory(inventory) => (&inventory.native_id, ""),
        Event::Features(features) => ("", &features.product),
        Event::Alert(alert) => ("", &alert.product),
        Event::Catalog(_) | Event::Listing(_) | Event::Quality(_) => ("", ""),
    };
    match event.envelope() {
        Some(envelope) if product.is_empty() => [&envelope.customer, &envelope.source, &envelope.marketplace, listing],
        Some(envelope) => [&envelope.customer, product, "", ""],
        None => [""; 4],
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
    use skuflow_schemas::{Envelope, Features, Offer, Timestamp};

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
            .map(|(offset, event)| Row { event, topic: "t", partition: 0, offset, ingested_at: 0 })
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
        let folder = |customer: &str| Part { customer: Some(customer.into()), day: 0 }.folder();
        assert_eq!(folder("../x=1"), "customer=%2E%2E%2Fx%3D1/date=1970-01-01");
        assert_eq!(folder(""), "customer=__HIVE_DEFAULT_PARTITION__/date=1970-01-01");
        assert_eq!(Part { customer: None, day: i32::MIN }.folder(), "date=-0769-02-15");
    }
}
