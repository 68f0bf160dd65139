//! The tables, as data: what is in each, where it is and how it is divided.

use skuflow_schemas::{Event, Family};

use super::columns::{self, Column};

/// A table of the lake. Each takes the events of one topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its zone, which is its namespace in the catalog.
    pub zone: &'static str,
    /// Its name in the zone.
    pub name: &'static str,
    /// Zone and name.
    pub full_name: &'static str,
    /// Its folder under the lake's, Hive-style.
    pub folder: &'static str,
    /// The topic it takes, by its name in the catalogue of topics.
    pub topic: &'static str,
    pub(super) family: Family,
    /// Whether it is divided by customer before it is by date.
    pub(super) by_customer: bool,
}

/// Processed tables are divided by data type, customer and date, curated ones by use case and date. The date is that of event
/// time, in UTC.
pub static TABLES: [Table; 5] = [
    processed("offers", "processed.offers", "processed/data_type=offers", "offers.v1", Family::Offer),
    processed("sales", "processed.sales", "processed/data_type=sales", "sales.v1", Family::Sale),
    processed("inventory", "processed.inventory", "processed/data_type=inventory", "inventory.v1", Family::Inventory),
    curated("features", "curated.features", "curated/use_case=features", "features.v1", Family::Features),
    curated("alerts", "curated.alerts", "curated/use_case=alerts", "alerts.v1", Family::Alert),
];

const fn processed(
    name: &'static str,
    full_name: &'static str,
    folder: &'static str,
    topic: &'static str,
    family: Family,
) -> Table {
    Table { zone: "processed", name, full_name, folder, topic, family, by_customer: true }
}

const fn curated(
    name: &'static str,
    full_name: &'static str,
    folder: &'static str,
    topic: &'static str,
    family: Family,
) -> Table {
    Table { zone: "curated", name, full_name, folder, topic, family, by_customer: false }
}

impl Table {
    /// The table that takes `topic`, by its name in the catalogue of topics.
    pub fn of_topic(topic: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.topic == topic)
    }

    /// Whether it takes the event; copies for products are not among them.
    pub(super) fn takes(&self, event: &Event) -> bool {
        event.topic() == self.topic
    }

    /// The columns by which the rows of a file are sorted, before event time.
    pub(super) fn key(&self) -> &'static [&'static str] {
        if self.by_customer { &["customer", "source", "marketplace", "native_id"] } else { &["customer", "product"] }
    }

    /// Its columns, in order.
    pub(super) fn columns(&self) -> Vec<Column> {
        match self.family {
            Family::Offer => columns::offers(),
            Family::Sale => columns::sales(),
            Family::Inventory => columns::inventory(),
            Family::Features => columns::features(),
            Family::Alert => columns::alerts(),
            other => unreachable!("no table holds {}", other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use skuflow_schemas::topic;

    use super::*;

    #[test]
    fn each_table_takes_a_topic_of_its_own() {
        for table in &TABLES {
            assert_eq!(table.full_name, format!("{}.{}", table.zone, table.name));
            assert!(table.folder.starts_with(table.zone) && table.folder.ends_with(&format!("={}", table.name)));
            assert_eq!(topic(table.topic).map(|topic| topic.family), Some(table.family), "{}", table.topic);
            assert_eq!(Table::of_topic(table.topic), Some(table));
        }
        assert_eq!(Table::of_topic("raw.offers.v1"), None);
    }
}
