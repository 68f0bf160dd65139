//! Family `features`: one vector of figures per product, a new one whenever one of them changes.

use serde::{Deserialize, Serialize};

use crate::{Availability, BuyBox, Envelope, Money, Role, Text};

/// A figure, or why there is none.
pub type Feature = Result<f64, Reason>;

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSpec {
    /// Its name.
    pub name: &'static str,
    /// Its unit; `price` is the currency of the catalog entry.
    pub unit: &'static str,
    /// The stretch of event time it looks at.
    pub window: &'static str,
    /// How it is computed.
    pub formula: &'static str,
    /// When there is none.
    pub null: &'static str,
}

/// Why a figure is null; never is it 0 instead. See [`REASONS`] for what each says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented in REASONS")]
pub enum Reason {
    Present,
    NoSource,
    NoCatalog,
    NoOwnOffer,
    NoCompetitor,
    OtherCurrency,
    NotObserved,
    TooShort,
    NoSales,
    NotStated,
    #[default]
    #[serde(other)]
    Unknown,
}

/// What the reasons say, by their names on the wire.
pub const REASONS: &[(&str, &str)] = &[
    ("present", "it is not null"),
    ("no_source", "no connector gives what it is made of"),
    ("no_catalog", "there is no catalog entry, so neither a currency nor who owns what"),
    ("no_own_offer", "the product's own listings have no offer that stands"),
    ("no_competitor", "no competitor has an offer that stands"),
    ("other_currency", "prices are in another currency than the catalog entry's"),
    ("not_observed", "nobody has said it yet"),
    ("too_short", "too little was observed in the window"),
    ("no_sales", "nothing was sold in the window"),
    ("not_stated", "the catalog entry or the offer lacks what it is made of"),
    ("unknown", "of a later version of this schema"),
];

// In the table, an observation stands for the step's `active_within`, then what it said is not known any more. An offer can be
// had unless it is out of stock or discontinued. Landed price = price + shipping; shipping that is not said is 0. Days are in
// UTC; a day is corrected by what comes up to 7 days late. The catalog entry of a product that is not active is none.

/// Declares the figures: the fields of values and reasons, and the table that documents them.
macro_rules! features {
    ($($name:ident: $unit:literal, $window:literal, $formula:literal, $null:literal;)+) => {
        /// The figures of a product at one moment; see [`FEATURES`] for what each is.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[expect(missing_docs, reason = "documented in FEATURES")]
        pub struct Vector {
            $(pub $name: Feature,)+
        }

        /// The values of a [`Vector`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "documented in FEATURES")]
        pub struct Values {
            $(#[serde(default)] pub $name: Option<f64>,)+
        }

        /// Why the values are null.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "documented in FEATURES")]
        pub struct Reasons {
            $(#[serde(default)] pub $name: Reason,)+
        }

        /// All figures, in the order of the fields.
        pub const FEATURES: &[FeatureSpec] = &[
            $(FeatureSpec {
                name: stringify!($name),
                unit: $unit,
                window: $window,
                formula: $formula,
                null: $null,
            },)+
        ];

        impl Vector {
            /// The values, and why they are null.
            pub fn split(&self) -> (Values, Reasons) {
                let reason = |feature: Feature| feature.err().unwrap_or(Reason::Present);
                (Values { $($name: self.$name.ok(),)+ }, Reasons { $($name: reason(self.$name),)+ })
            }
        }

        impl Values {
            /// The values, in the order of [`FEATURES`].
            pub fn in_order(&self) -> [Option<f64>; FEATURES.len()] {
                [$(self.$name,)+]
            }

            /// What reads each value, in the order of [`FEATURES`].
            pub const READ: [fn(&Self) -> Option<f64>; FEATURES.len()] = [$(|values| values.$name,)+];
        }

        impl Reasons {
            /// The reasons, in the order of [`FEATURES`].
            pub fn in_order(&self) -> [Reason; FEATURES.len()] {
                [$(self.$name,)+]
            }
        }

        crate::codec::wire::record!(Values { $($name),+ });
        crate::codec::wire::record!(Reasons { $($name),+ });
    };
}

features! {
    product_price_current: "price", "now", "lowest landed price of the own offers that stand and can be had", "no such offer, or in another currency";
    product_unit_price: "price per kg, l or piece", "now", "price without shipping of that offer / its size", "no such offer, or no size stated";
    product_price_avg_7d: "price", "last 7 completed days", "mean of product_price_current, weighted by time", "never known in the window";
    product_price_avg_30d: "price", "last 30 completed days", "mean of product_price_current, weighted by time", "never known in the window";
    product_price_volatility_7d: "1", "last 7 completed days", "standard deviation (of a sample) of the logarithms of its changes from daily last value to daily last value", "fewer than 3 days with a value";
    product_price_volatility: "1", "last 30 completed days", "standard deviation (of a sample) of the logarithms of its changes from daily last value to daily last value", "fewer than 3 days with a value";
    product_rating_avg: "stars of 5", "now", "mean over own listings of the last rating said, scaled to 5", "nobody has said one that stands";
    product_rating_change_7d: "stars of 5", "last 7 completed days", "product_rating_avg - its highest daily last value in the window", "no such day with a value";
    product_review_count: "reviews", "now", "highest over own listings of the last count said", "nobody has said one that stands";
    product_sales_rank: "rank, 1 is best", "now", "best over own listings of the ranks last said, whatever their category", "nobody has said one that stands";
    product_rank_change_7d: "1", "last 7 completed days", "product_sales_rank / its daily last value of 7 days ago or, where there is none, the earliest later one - 1", "no such day with a value";
    product_inventory_level: "units", "now", "sum over own listings and their locations of the last stock counted, however long ago", "nobody has said one";
    product_days_of_stock: "days", "7 days", "product_inventory_level / demand_sales_velocity_7d", "no stock said, or nothing sold";
    product_margin: "1", "now", "(product_price_current - cost) / product_price_current", "no price, or no cost in the catalog entry";
    product_buybox_won: "1 = won, 0 = not", "now", "whether an own offer that stands says to have won it", "none says whether";
    competitor_price_min: "price", "now", "lowest landed price of competitors' offers that stand and can be had", "no catalog entry, no such offer, or all in other currencies";
    competitor_price_median: "price", "now", "median landed price of competitors' offers that stand and can be had", "no catalog entry, no such offer, or all in other currencies";
    competitor_count_active: "sellers", "now", "competitors with an offer that stands and can be had", "no catalog entry";
    competitor_price_drops_24h: "sellers", "24 hours", "competitors who lowered the landed price of an offer that stood by more than 1 %", "no catalog entry";
    competitor_buybox_share: "1, an estimate", "last 30 completed days", "share of the time in which a competitor held the Buy Box, of the time in which somebody was known to: who was last said to, and of own offers still is", "no catalog entry, or nobody was known to";
    competitor_rating_avg: "stars of 5", "now", "mean over competing listings of the last rating said, scaled to 5", "no catalog entry, or nobody has said one that stands";
    demand_units_1d: "units", "last completed day", "units sold, without returns", "nothing was sold before today";
    demand_sales_velocity_7d: "units per day", "last 7 completed days", "units sold, without returns / days since the first sale in which the product could be had (not: own offers stood, and none could), at least 1", "no sale in the window";
    demand_returns_7d: "units", "last 7 completed days", "units returned", "no sale or return in the window";
    demand_mean_28d: "units per day", "the 28 days before the last completed day", "mean of the units sold per day since the first sale, without returns", "nothing was sold yet, or fewer than 14 such days";
    demand_search_volume: "searches", "-", "not computed", "no connector gives searches";
    demand_conversion_rate: "1", "-", "not computed", "no connector gives visits";
    demand_seasonality_index: "1", "last 28 completed days", "mean units of the weekday of the last completed day / mean units of all days", "fewer than 28 days since the first sale, or nothing sold";
    demand_trend_30d: "1", "last 30 completed days", "(units of the last 15 completed days - units of the 15 before) / (their sum)", "fewer than 30 days since the first sale, or nothing sold";
    market_sentiment_score: "1", "-", "not computed", "no connector gives reviews' texts";
    market_promotion_intensity: "1", "now", "share of the competitors' offers that stand whose price is below 95 % of their list price", "no catalog entry, no such offer, or none states a list price";
    market_new_entrants_30d: "sellers", "30 days", "sellers who came in the window, had no offer in the 30 days before and are still tracked, not counting the first day on which product and market were known", "no catalog entry";
    market_stockout_rate: "1", "now", "share of the competitors' offers that stand and say whether that are out of stock", "no catalog entry, or none says";
    external_weather_temp: "°C", "-", "not computed", "no connector gives weather";
    external_holiday_proximity: "days", "-", "not computed", "no connector gives holidays";
    external_cpi: "index", "-", "not computed", "no connector gives price indices";
    external_social_mentions: "mentions", "-", "not computed", "no connector gives mentions";
    price_gap: "price", "now", "product_price_current - competitor_price_min", "one of them is null";
    price_index: "1", "now", "product_price_current / competitor_price_median", "one of them is null";
    score_price_competitiveness: "0 to 100", "now", "clamp((2 - price_index) * 50, 0, 100)", "price_index is null";
    score_quality: "0 to 100", "now", "product_rating_avg / 5 * 100", "product_rating_avg is null";
    score_popularity: "0 to 100", "now", "clamp(100 - 20 * log10(product_sales_rank), 0, 100)", "product_sales_rank is null";
    score_overall: "0 to 100", "now", "mean of the other scores that are not null", "all of them are null";
}

/// A product's figures at one moment: given when one of them changed, or a seller's price, availability or Buy Box did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Common fields; `cause_id` is the event that changed a figure, empty where only time did; `observed_at` is the moment of
    /// the figures: the product's latest event time, which is later than the cause's where that came late.
    pub envelope: Envelope,
    /// The product.
    pub product: Text,
    /// Currency of all prices: the catalog entry's or, where that states none, of the first own price.
    #[serde(default)]
    pub currency: Option<Text>,
    /// The figures.
    #[serde(default)]
    pub values: Values,
    /// Why they are null.
    #[serde(default)]
    pub reasons: Reasons,
    /// The offer that changed, where one did.
    #[serde(default)]
    pub change: Option<Change>,
}

/// What changed of a seller's offer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Listing id of the offer.
    pub listing: Text,
    /// Who sells; null where the source names nobody.
    #[serde(default)]
    pub seller: Option<Text>,
    /// What the listing is to the product.
    #[serde(default)]
    pub role: Role,
    /// Landed price now.
    #[serde(default)]
    pub price: Option<Money>,
    /// Landed price before.
    #[serde(default)]
    pub previous_price: Option<Money>,
    /// Availability now.
    #[serde(default)]
    pub availability: Availability,
    /// Availability before.
    #[serde(default)]
    pub previous_availability: Availability,
    /// Buy Box now.
    #[serde(default)]
    pub buy_box: BuyBox,
    /// Buy Box before.
    #[serde(default)]
    pub previous_buy_box: BuyBox,
    /// The seller had no offer on the product in the last 30 days; the product is in the catalog, and both it and its market
    /// have been known for a day.
    #[serde(default)]
    pub entered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_documented() {
        let schema: serde_json::Value =
            serde_json::from_str(crate::schema_json(crate::Family::Features)).expect("JSON");
        let find = |fields: &serde_json::Value, name: &str| {
            fields.as_array().and_then(|fields| fields.iter().find(|field| field["name"] == name)).cloned()
        };
        let reasons = find(&schema["fields"], "reasons").expect("a field");
        let symbols = &reasons["type"]["fields"][0]["type"]["symbols"];
        let mut symbols: Vec<String> = serde_json::from_value(symbols.clone()).expect("names");
        let mut documented: Vec<&str> = REASONS.iter().map(|(name, _)| *name).collect();
        for name in &documented {
            let reason: Reason = serde_json::from_value((*name).into()).expect("a reason");
            assert_eq!(serde_json::to_value(reason).expect("a name"), *name);
        }
        symbols.sort_unstable();
        documented.sort_unstable();
        assert_eq!(symbols, documented);
    }
}
