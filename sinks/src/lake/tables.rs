//! The tables, as data: what is in each, where it is and how it is divided.

use skuflow_schemas::{Event, Family};

use super::columns::{self, Column, Read};

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
    pub(super) division: Division,
}

/// A column, as it is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its type in Iceberg's words.
    pub kind: String,
    /// What it holds, a number in which unit.
    pub about: String,
    /// What it means that a row has no value; of a column that always has one, none.
    pub null: Option<String>,
    /// How the table's view shows it.
    pub shown: Shown,
}

/// How the view of a table shows a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As it is.
    AsIs,
    /// Text that is JSON, as such.
    AsJson,
    /// Not: others say the same, or it says where the row was read.
    Not,
}

/// What a table is divided by. Dates are those of event time, hours those in which the lake took rows in; both in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Division {
    CustomerDate,
    Date,
    SourceHour,
}

/// Raw tables hold records as they came, processed ones what is valid, once, and curated ones what was made of it.
pub static TABLES: [Table; 9] = [
    table(PROCESSED, "offers", "processed.offers", "processed/data_type=offers", "offers.v1", Family::Offer),
    table(PROCESSED, "sales", "processed.sales", "processed/data_type=sales", "sales.v1", Family::Sale),
    table(
        PROCESSED,
        "inventory",
        "processed.inventory",
        "processed/data_type=inventory",
        "inventory.v1",
        Family::Inventory,
    ),
    table(CURATED, "features", "curated.features", "curated/use_case=features", "features.v1", Family::Features),
    table(CURATED, "alerts", "curated.alerts", "curated/use_case=alerts", "alerts.v1", Family::Alert),
    table(RAW, "catalog", "raw.catalog", "raw/data_type=catalog", "raw.catalog.v1", Family::Catalog),
    table(RAW, "offers", "raw.offers", "raw/data_type=offers", "raw.offers.v1", Family::Offer),
    table(RAW, "sales", "raw.sales", "raw/data_type=sales", "raw.sales.v1", Family::Sale),
    table(RAW, "inventory", "raw.inventory", "raw/data_type=inventory", "raw.inventory.v1", Family::Inventory),
];

/// A zone, and what its tables are divided by.
type Zone = (&'static str, Division);

const RAW: Zone = ("raw", Division::SourceHour);
const PROCESSED: Zone = ("processed", Division::CustomerDate);
const CURATED: Zone = ("curated", Division::Date);

const fn table(
    (zone, division): Zone,
    name: &'static str,
    full_name: &'static str,
    folder: &'static str,
    topic: &'static str,
    family: Family,
) -> Table {
    Table { zone, name, full_name, folder, topic, family, division }
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

    /// What it is called where its zone is not said: raw tables have the names of processed ones.
    pub fn short_name(&self) -> &'static str {
        if self.is_raw() { self.full_name } else { self.name }
    }

    /// Whether it holds records as they came.
    pub fn is_raw(&self) -> bool {
        self.division == Division::SourceHour
    }

    /// The columns by which the rows of a file are sorted.
    pub(super) fn order(&self) -> &'static [&'static str] {
        match self.division {
            Division::CustomerDate => &["customer", "source", "marketplace", "native_id", "observed_at"],
            Division::Date => &["customer", "product", "observed_at"],
            Division::SourceHour => &["_partition", "_offset"],
        }
    }

    /// What its columns hold, in order.
    pub fn described(&self) -> Vec<Described> {
        let described = |column: Column| Described {
            shown: match column.read {
                Read::Minor(_) | Read::Exponent(_) => Shown::Not,
                _ if column.name.starts_with('_') && !self.is_raw() => Shown::Not,
                Read::Json(_) => Shown::AsJson,
                _ => Shown::AsIs,
            },
            kind: column.kind().to_string(),
            name: column.name,
            about: column.about,
            null: column.null,
        };
        self.columns().into_iter().map(described).collect()
    }

    /// What its view is called.
    pub fn view(&self) -> String {
        self.short_name().replace('.', "_")
    }

    /// Its columns, in order.
    pub(super) fn columns(&self) -> Vec<Column> {
        match self.family {
            _ if self.is_raw() => columns::raw_columns(),
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
        assert_eq!(Table::of_topic("quality.v1"), None);
    }
}
