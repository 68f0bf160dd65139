//! The tables, as data, and the statements that follow from it: pure.

use skuflow_schemas::FEATURES;

/// A table. Its columns stand in this order in the migrations and in every row: the key first, then what is said.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) key: &'static [&'static str],
    pub(super) says: &'static [&'static str],
    rule: Rule,
}

/// What becomes of a row whose key is there already.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// Nothing: the two are one event.
    First,
    /// It takes the place, as its writer has decided.
    Replace,
    /// It takes the place if it is later by these columns.
    Latest([&'static str; 2]),
    /// The two become one, by these assignments.
    Merge(&'static str),
}

const BY_OFFSET: Rule = Rule::Latest(["observed_at", "log_offset"]);

#[rustfmt::skip]
pub(super) static OFFERS_LATEST: Table = Table {
    name: "offers_latest",
    key: &["customer", "source", "marketplace", "native_id", "seller", "condition", "vantage"],
    says: &[
        "currency", "price_micros", "shipping_micros", "landed_price_micros", "list_price_micros", "availability",
        "stock_level", "buy_box", "rating", "rating_best", "review_count", "suspect", "observed_at", "event_id",
        "log_offset",
    ],
    rule: BY_OFFSET,
};

#[rustfmt::skip]
pub(super) static PRICE_HISTORY: Table = Table {
    name: "price_history",
    key: &["event_id"],
    says: &[
        "customer", "source", "marketplace", "native_id", "seller", "condition", "observed_at", "currency",
        "price_micros", "shipping_micros", "availability", "suspect",
    ],
    rule: Rule::First,
};

#[rustfmt::skip]
pub(super) static SALE_LINES: Table = Table {
    name: "sale_lines",
    key: &["customer", "source", "order_id", "line_id"],
    says: &[
        "marketplace", "native_id", "business_date", "units", "currency", "revenue_micros", "status", "observed_at",
        "event_id",
    ],
    rule: Rule::Replace,
};

pub(super) static SALES_DAILY: Table = Table {
    name: "sales_daily",
    key: &["customer", "source", "marketplace", "native_id", "business_date", "currency"],
    says: &["units", "units_sold", "units_returned", "revenue_micros", "order_lines"],
    rule: Rule::Merge(
        "units = units + excluded.units, units_sold = units_sold + excluded.units_sold,
        units_returned = units_returned + excluded.units_returned,
        revenue_micros = revenue_micros + excluded.revenue_micros, order_lines = order_lines + excluded.order_lines",
    ),
};

pub(super) static INVENTORY_LATEST: Table = Table {
    name: "inventory_latest",
    key: &["customer", "source", "marketplace", "native_id", "location"],
    says: &["quantity", "relation", "observed_at", "event_id", "log_offset"],
    rule: BY_OFFSET,
};

pub(super) static PRODUCT_FEATURES: Table =
    Table { name: "product_features", key: &["customer", "product"], says: &FIGURES_AND_MORE, rule: BY_OFFSET };

/// One column per figure, in the order of [`FEATURES`], then what else a vector says.
const FIGURES_AND_MORE: [&str; FEATURES.len() + 6] = {
    let mut names = [""; FEATURES.len() + 6];
    let mut at = 0;
    while at < FEATURES.len() {
        names[at] = FEATURES[at].name;
        at += 1;
    }
    [names[at], names[at + 1], names[at + 2]] = ["currency", "nulls", "observed_at"];
    [names[at + 3], names[at + 4], names[at + 5]] = ["cause_id", "event_id", "log_offset"];
    names
};

#[rustfmt::skip]
pub(super) static COMPETITION: Table = Table {
    name: "competition",
    key: &["customer", "product", "source", "marketplace", "native_id", "seller", "condition", "vantage"],
    says: &[
        "role", "currency", "price_micros", "shipping_micros", "landed_price_micros", "list_price_micros",
        "availability", "buy_box", "observed_at", "cause_id", "log_offset",
    ],
    rule: BY_OFFSET,
};

#[rustfmt::skip]
pub(super) static ALERTS: Table = Table {
    name: "alerts",
    key: &["event_id"],
    says: &[
        "customer", "product", "rule", "seller", "severity", "message", "value", "dedup_key", "evidence",
        "observed_at", "cause_id",
    ],
    rule: Rule::First,
};

pub(super) static DEAD_LETTERS: Table = Table {
    name: "dead_letters",
    key: &["topic", "code"],
    says: &["count", "first_at", "last_at", "last_partition", "last_offset", "message"],
    rule: Rule::Merge(
        "count = count + excluded.count, first_at = min(first_at, excluded.first_at),
        (last_at, last_partition, last_offset, message) = (
            SELECT dead_letters.last_at, dead_letters.last_partition, dead_letters.last_offset, dead_letters.message
            UNION ALL SELECT excluded.last_at, excluded.last_partition, excluded.last_offset, excluded.message
            ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1)",
    ),
};

pub(super) static DATA_QUALITY: Table = Table {
    name: "data_quality",
    key: &["customer", "source", "family", "hour", "outcome", "rule"],
    says: &["count", "latest_observed_at"],
    rule: Rule::Merge(
        "count = count + excluded.count, latest_observed_at = max(latest_observed_at, excluded.latest_observed_at)",
    ),
};

pub(super) static SINK_OFFSETS: Table = Table {
    name: "sink_offsets",
    key: &["sink", "topic", "partition"],
    says: &["cluster_id", "topic_id", "next_offset"],
    rule: Rule::Replace,
};

impl Table {
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.key.iter().chain(self.says).copied()
    }

    /// Writes the rows of parameter 1, by the table's rule. It names no columns: a table with others is refused.
    pub(super) fn insert(&self) -> String {
        let values = listed(self.columns().enumerate().map(|(at, _)| format!("value->>{at}")));
        let replace = || listed(self.says.iter().map(|column| format!("{column} = excluded.{column}")));
        let name = self.name;
        let then = match &self.rule {
            Rule::First => "NOTHING".into(),
            Rule::Replace => format!("UPDATE SET {}", replace()),
            Rule::Latest([at, tie]) => {
                format!("UPDATE SET {} WHERE (excluded.{at}, excluded.{tie}) > ({name}.{at}, {name}.{tie})", replace())
            }
            Rule::Merge(assignments) => format!("UPDATE SET {assignments}"),
        };
        format!("INSERT INTO {name} SELECT {values} FROM json_each(?1) WHERE true ON CONFLICT DO {then}")
    }

    /// Finds the stored rows that have the keys of those of parameter 1.
    pub(super) fn select(&self) -> String {
        format!("SELECT stored.* {}", self.stored())
    }

    /// Removes the stored rows that have the keys of those of parameter 1, where `condition` holds.
    pub(super) fn delete(&self, condition: &str) -> String {
        let (name, key) = (self.name, listed(self.key));
        let found = listed(self.key.iter().map(|column| format!("stored.{column}")));
        format!("DELETE FROM {name} WHERE ({key}) IN (SELECT {found} {} WHERE {condition})", self.stored())
    }

    /// Removes the stored rows that the rows of parameter 1 take back: those that are not later.
    pub(super) fn retract(&self) -> String {
        let Rule::Latest(order) = &self.rule else { unreachable!("{} does not hold the last by time", self.name) };
        let place = |column: &&str| self.columns().position(|known| known == *column).unwrap_or_default();
        let taken_back = listed(order.iter().map(|column| format!("new.value->>{}", place(column))));
        let stored = listed(order.iter().map(|column| format!("stored.{column}")));
        self.delete(&format!("({stored}) <= ({taken_back})"))
    }

    fn stored(&self) -> String {
        let same = self.key.iter().enumerate().map(|(at, column)| format!("stored.{column} = new.value->>{at}"));
        let same: Vec<String> = same.collect();
        format!("FROM json_each(?1) AS new CROSS JOIN {} AS stored ON {}", self.name, same.join(" AND "))
    }
}

fn listed(parts: impl IntoIterator<Item = impl ToString>) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
