//! The tables, as data.

use skuflow_schemas::FEATURES;

use super::cells::Kind;

/// A table. Its columns stand in this order in the migrations and in every row: the key first, then what is said.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) key: &'static [&'static str],
    pub(super) says: &'static [&'static str],
    pub(super) rule: Rule,
}

/// What becomes of a row whose key is there already.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Nothing: the two are one event.
    First,
    /// It takes the place, as its writer has decided.
    Replace,
    /// It takes the place if it is later by these columns.
    Latest([&'static str; 2]),
    /// The two become one, column by column.
    Merge(&'static [Merged]),
}

/// What a column becomes of two.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Merged {
    Sum(&'static str),
    Least(&'static str),
    Greatest(&'static str),
    /// Of the two rows, what that says whose columns, in this order, are greater.
    Last(&'static [&'static str]),
}

use Merged::{Greatest, Last, Least, Sum};

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
    key: &["observed_at", "event_id"],
    says: &[
        "customer", "source", "marketplace", "native_id", "seller", "condition", "currency", "price_micros",
        "shipping_micros", "availability", "suspect",
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
    rule: Rule::Merge(&[
        Sum("units"),
        Sum("units_sold"),
        Sum("units_returned"),
        Sum("revenue_micros"),
        Sum("order_lines"),
    ]),
};

pub(super) static INVENTORY_LATEST: Table = Table {
    name: "inventory_latest",
    key: &["customer", "source", "marketplace", "native_id", "location"],
    says: &["quantity", "relation", "observed_at", "event_id", "log_offset"],
    rule: BY_OFFSET,
};

#[rustfmt::skip]
pub(super) static PRODUCTS: Table = Table {
    name: "products",
    key: &["record_key"],
    says: &[
        "customer", "product", "name", "category", "currency", "cost_currency", "cost_micros", "price_floor_micros",
        "price_ceiling_micros", "active", "observed_at", "event_id",
    ],
    rule: Rule::Replace,
};

#[rustfmt::skip]
pub(super) static LISTINGS: Table = Table {
    name: "listings",
    key: &["record_key"],
    says: &[
        "customer", "product", "source", "marketplace", "native_id", "seller", "role", "observed_at", "cause_id",
    ],
    rule: Rule::Replace,
};

pub(super) static SELLERS: Table = Table {
    name: "sellers",
    key: &["customer", "source", "marketplace", "seller"],
    says: &["offers", "first_observed_at", "latest_observed_at"],
    rule: Rule::Merge(&[Sum("offers"), Least("first_observed_at"), Greatest("latest_observed_at")]),
};

pub(super) static RANK_HISTORY: Table = Table {
    name: "rank_history",
    key: &["observed_at", "event_id", "rank_category"],
    says: &["customer", "source", "marketplace", "native_id", "sales_rank"],
    rule: Rule::First,
};

pub(super) static REVIEW_DAILY: Table = Table {
    name: "review_daily",
    key: &["customer", "source", "marketplace", "native_id", "day"],
    says: &["rating", "rating_best", "review_count", "observed_at", "event_id", "log_offset"],
    rule: BY_OFFSET,
};

pub(super) static PRODUCT_FEATURES: Table =
    Table { name: "product_features", key: &["customer", "product"], says: &FIGURES_AND_MORE, rule: BY_OFFSET };

pub(super) static PRODUCT_FEATURES_DAILY: Table = Table {
    name: "product_features_daily",
    key: &["customer", "product", "day"],
    says: &FIGURES_AND_MORE,
    rule: BY_OFFSET,
};

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
    rule: Rule::Merge(&[
        Sum("count"),
        Least("first_at"),
        Last(&["last_at", "last_partition", "last_offset", "message"]),
    ]),
};

pub(super) static DATA_QUALITY: Table = Table {
    name: "data_quality",
    key: &["customer", "source", "family", "hour", "outcome", "rule"],
    says: &["count", "latest_observed_at"],
    rule: Rule::Merge(&[Sum("count"), Greatest("latest_observed_at")]),
};

pub(super) static SINK_OFFSETS: Table = Table {
    name: "sink_offsets",
    key: &["sink", "topic", "partition"],
    says: &["cluster_id", "topic_id", "next_offset"],
    rule: Rule::Replace,
};

pub(super) static HISTORY_MONTHS: Table = Table {
    name: "history_months",
    key: &["history", "month"],
    says: &["latest_ingested_at", "dropped_before"],
    rule: Rule::Merge(&[Greatest("latest_ingested_at")]),
};

/// No sink writes it.
pub(super) static ALERT_STATES: Table = Table {
    name: "alert_states",
    key: &["event_id"],
    says: &["state", "changed_at", "changed_by", "note"],
    rule: Rule::Replace,
};

/// Every table.
pub(super) static ALL: [&Table; 19] = [
    &PRODUCTS,
    &LISTINGS,
    &SELLERS,
    &OFFERS_LATEST,
    &PRICE_HISTORY,
    &RANK_HISTORY,
    &REVIEW_DAILY,
    &SALE_LINES,
    &SALES_DAILY,
    &INVENTORY_LATEST,
    &PRODUCT_FEATURES,
    &PRODUCT_FEATURES_DAILY,
    &COMPETITION,
    &ALERTS,
    &ALERT_STATES,
    &DEAD_LETTERS,
    &DATA_QUALITY,
    &HISTORY_MONTHS,
    &SINK_OFFSETS,
];

/// Tables that retention shortens, by the month of `observed_at`, in which Postgres keeps their rows apart.
pub(super) static HISTORIES: [&Table; 4] = [&PRICE_HISTORY, &RANK_HISTORY, &REVIEW_DAILY, &PRODUCT_FEATURES_DAILY];

/// What a column holds: a name means the same in every table.
pub(super) fn kind(column: &str) -> Kind {
    match column {
        "observed_at" | "first_observed_at" | "latest_observed_at" | "latest_ingested_at" | "dropped_before" => {
            Kind::Instant
        }
        "first_at" | "last_at" | "changed_at" | "hour" => Kind::Instant,
        "event_id" | "cause_id" | "dedup_key" => Kind::Id,
        "business_date" | "day" | "month" => Kind::Day,
        "evidence" | "nulls" => Kind::Json,
        "price_micros" | "shipping_micros" | "landed_price_micros" | "list_price_micros" | "revenue_micros" => {
            Kind::Int
        }
        "cost_micros" | "price_floor_micros" | "price_ceiling_micros" | "active" | "offers" | "sales_rank" => Kind::Int,
        "units" | "units_sold" | "units_returned" | "order_lines" | "quantity" | "stock_level" | "review_count" => {
            Kind::Int
        }
        "count" | "partition" | "last_partition" | "log_offset" | "last_offset" | "next_offset" | "from_offset" => {
            Kind::Int
        }
        "rating" | "rating_best" | "value" => Kind::Real,
        _ if FEATURES.iter().any(|figure| figure.name == column) => Kind::Real,
        _ => Kind::Text,
    }
}

impl Table {
    /// In the order in which they stand in the table.
    pub(super) fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.key.iter().chain(self.says).copied()
    }

    /// Where a column stands in a row.
    pub(super) fn place(&self, column: &str) -> usize {
        self.columns().position(|known| known == column).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
