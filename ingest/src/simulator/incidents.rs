//! What is planted: for each product at most one incident in so many days, a pure function of seed, product and day.

use super::config::Settings;
use super::observation::Seat;
use super::random::{Purpose, Random};

/// A rule of the market's alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the ids are the names")]
pub enum Rule {
    CompetitorPriceDrop,
    PriceWar,
    CompetitorOutOfStock,
    NewCompetitor,
    OwnPriceBelowFloor,
    OwnPriceAboveCeiling,
    BuyBoxLost,
    RankDrop,
    RatingDrop,
    StockOutSoon,
    MarginLow,
    DemandSpike,
    DemandDrop,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 13] = [
        Self::CompetitorPriceDrop,
        Self::PriceWar,
        Self::CompetitorOutOfStock,
        Self::NewCompetitor,
        Self::OwnPriceBelowFloor,
        Self::OwnPriceAboveCeiling,
        Self::BuyBoxLost,
        Self::RankDrop,
        Self::RatingDrop,
        Self::StockOutSoon,
        Self::MarginLow,
        Self::DemandSpike,
        Self::DemandDrop,
    ];

    /// The id, as in alerts.
    pub fn id(self) -> &'static str {
        match self {
            Self::CompetitorPriceDrop => "competitor-price-drop",
            Self::PriceWar => "price-war",
            Self::CompetitorOutOfStock => "competitor-out-of-stock",
            Self::NewCompetitor => "new-competitor",
            Self::OwnPriceBelowFloor => "own-price-below-floor",
            Self::OwnPriceAboveCeiling => "own-price-above-ceiling",
            Self::BuyBoxLost => "buy-box-lost",
            Self::RankDrop => "rank-drop",
            Self::RatingDrop => "rating-drop",
            Self::StockOutSoon => "stock-out-soon",
            Self::MarginLow => "margin-low",
            Self::DemandSpike => "demand-spike",
            Self::DemandDrop => "demand-drop",
        }
    }

    /// Whether it is about something that happens, not about something that lasts.
    pub(super) fn is_move(self) -> bool {
        matches!(self, Self::CompetitorPriceDrop | Self::CompetitorOutOfStock | Self::NewCompetitor | Self::BuyBoxLost)
    }

    /// The first day on which an incident can be told from the usual.
    fn first_day(self) -> i64 {
        match self {
            Self::CompetitorPriceDrop | Self::CompetitorOutOfStock | Self::BuyBoxLost => 1,
            Self::DemandSpike | Self::DemandDrop => 16,
            Self::RankDrop | Self::RatingDrop | Self::StockOutSoon => 8,
            _ => 2,
        }
    }
}

/// Something that is planted on a product. Sizes lie around the rule's threshold, so not every one of them crosses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) rule: Rule,
    /// Whom it is about, where the rule is about sellers.
    pub(super) seat: Option<Seat>,
    /// When a crossing may come of it, in microseconds since the market began: from then on …
    pub(super) from: i64,
    /// … and before then.
    pub(super) until: i64,
}

/// What is to be planted on a product on `day`, and in which hour of it.
pub(super) fn planned(settings: &Settings, product: u32, day: i64) -> Option<(Rule, i64)> {
    let every = i64::from(settings.incident_days);
    if every == 0 {
        return None;
    }
    let block = day.div_euclid(every);
    let mut random = Random::of(settings.seed, Purpose::Incidents, product, block);
    if day.rem_euclid(every) != random.below(every - 4) {
        return None; // the last four days of a block are left to what goes on
    }
    let possible = Rule::ALL.iter().filter(|rule| rule.first_day() <= day).count() as i64;
    let chosen = random.below(possible.max(1)) as usize;
    let rule = Rule::ALL.into_iter().filter(|rule| rule.first_day() <= day).nth(chosen)?;
    Some((rule, random.between(6, 20)))
}
