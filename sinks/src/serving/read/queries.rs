//! What is asked of the tables, in words that both databases know; `$1` and so on stand for what is given.

use skuflow_schemas::{BusinessDate, EventId, Text, Timestamp};

use super::record::{Column, Record, record};
use crate::serving::cells::{Kind, Row};

record! {
    /// A product and its last figures; prices are amounts of `currency`, not millionths.
    Product {
        /// The customer's own id.
        product: Text,
        /// Its name; none = not stated, or no catalog entry.
        name: Option<Text>,
        /// Its category; none = not stated.
        category: Option<Text>,
        /// 1 = tracked, 0 = taken out; none = no catalog entry.
        active: Option<i64>,
        /// ISO 4217, of all prices.
        currency: Option<Text>,
        /// Lowest landed price of the own offers.
        price: Option<f64>,
        /// Lowest landed price of competitors.
        competitor_price_min: Option<f64>,
        /// Their median.
        competitor_price_median: Option<f64>,
        /// Own price / median of competitors.
        price_index: Option<f64>,
        /// Competitors with an offer.
        competitors: Option<f64>,
        /// Stars of 5.
        rating: Option<f64>,
        /// Best sales rank.
        sales_rank: Option<f64>,
        /// Units.
        inventory: Option<f64>,
        /// 0 to 100.
        score: Option<f64>,
        /// Event time of the figures.
        observed_at: Timestamp,
        /// Alerts that nobody has resolved.
        open_alerts: i64,
    }
}
pub(super) const PRODUCT: &str = "
    SELECT figures.product, entry.name, entry.category, entry.active, figures.currency, product_price_current,
        competitor_price_min, competitor_price_median, price_index, competitor_count_active, product_rating_avg,
        product_sales_rank, product_inventory_level, score_overall, figures.observed_at,
        (SELECT count(*) FROM open_alerts WHERE customer = $1 AND product = $2)
    FROM product_features AS figures LEFT JOIN products AS entry USING (customer, product)
    WHERE figures.customer = $1 AND figures.product = $2";

record! {
    /// An observed price, in millionths of its currency.
    Price {
        /// Event time.
        observed_at: Timestamp,
        /// Of the offer; with `observed_at`, where a page goes on.
        event_id: EventId,
        /// Empty = the source names nobody.
        seller: Text,
        /// New, used, …
        condition: Text,
        /// ISO 4217.
        currency: Text,
        /// Of one unit, without shipping.
        price_micros: i64,
        /// None = unknown, 0 = free.
        shipping_micros: Option<i64>,
        /// In stock, …
        availability: Text,
        /// Rules that found it suspect; empty = none.
        suspect: Text,
    }
}
pub(super) const PRICES: &str = "
    SELECT observed_at, event_id, seller, condition, currency, price_micros, shipping_micros, availability, suspect
    FROM price_history
    WHERE customer = $1 AND source = $2 AND marketplace = $3 AND native_id = $4
        AND observed_at >= $5 AND observed_at < $6 AND (observed_at, event_id) > ($5, $7)
    ORDER BY observed_at, event_id LIMIT $8";

record! {
    /// A standing offer on a listing of a product or of its competitors; amounts in millionths of its currency.
    Rival {
        /// The system that said it.
        source: Text,
        /// The market.
        marketplace: Text,
        /// The listing.
        native_id: Text,
        /// Empty = the source names nobody.
        seller: Text,
        /// New, used, …
        condition: Text,
        /// From where it was looked at.
        vantage: Text,
        /// Own or competitor.
        role: Text,
        /// ISO 4217; none = no price.
        currency: Option<Text>,
        /// Of one unit, without shipping.
        price_micros: Option<i64>,
        /// Price and shipping.
        landed_price_micros: Option<i64>,
        /// In stock, …
        availability: Text,
        /// Won, lost, …
        buy_box: Text,
        /// Event time.
        observed_at: Timestamp,
    }
}
pub(super) const RIVALS: &str = "
    SELECT source, marketplace, native_id, seller, condition, vantage, role, currency, price_micros, landed_price_micros,
        availability, buy_box, observed_at
    FROM competition WHERE customer = $1 AND product = $2
    ORDER BY landed_price_micros IS NULL, landed_price_micros, source, marketplace, native_id, seller, condition, vantage";

record! {
    /// A product whose price changed; amounts of `currency`, not millionths.
    Mover {
        /// The customer's own id.
        product: Text,
        /// ISO 4217.
        currency: Option<Text>,
        /// At the end of the day.
        price: f64,
        /// At the end of `day_before`.
        price_before: f64,
        /// The last day before that has figures.
        day_before: BusinessDate,
        /// 0.1 = 10 % dearer.
        change: f64,
    }
}
pub(super) const MOVERS: &str = "
    SELECT product, currency, price, price_before, day_before, change FROM daily_movers
    WHERE customer = $1 AND day = $2 ORDER BY size DESC, product LIMIT $3";

record! {
    /// An alert that nobody has resolved.
    OpenAlert {
        /// Its id; with `observed_at`, where a page goes on.
        event_id: EventId,
        /// The product.
        product: Text,
        /// The rule that came true.
        rule: Text,
        /// Whom it is about; none = the rule is not about sellers.
        seller: Option<Text>,
        /// Info, warning or critical.
        severity: Text,
        /// In words.
        message: Text,
        /// How far it went.
        value: Option<f64>,
        /// Event time.
        observed_at: Timestamp,
        /// Open or acknowledged.
        state: Text,
    }
}
pub(super) const OPEN_ALERTS: &str = "
    SELECT event_id, product, rule, seller, severity, message, value, observed_at, state FROM open_alerts
    WHERE customer = $1 AND (observed_at, event_id) < ($2, $3)
    ORDER BY observed_at DESC, event_id DESC LIMIT $4";

record! {
    /// What became of the records of a source in some hours.
    SourceQuality {
        /// The source; empty = the records could not be read.
        source: Text,
        /// Offer, sale, …
        family: Text,
        /// Accepted, rejected, …
        outcome: Text,
        /// Of rejected and suspect ones; else empty.
        rule: Text,
        /// Records.
        count: i64,
        /// Latest event time among them.
        latest_observed_at: Timestamp,
    }
}
pub(super) const QUALITY: &str = "
    SELECT source, family, outcome, rule, CAST(sum(count) AS BIGINT), max(latest_observed_at) FROM data_quality
    WHERE customer = $1 AND hour >= $2 AND hour < $3
    GROUP BY source, family, outcome, rule ORDER BY source, family, outcome, rule";
