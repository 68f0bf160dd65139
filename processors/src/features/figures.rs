//! The figures, from what is known; see [`skuflow_schemas::FEATURES`] for what each is.

use skuflow_schemas::{Availability, BuyBox, Day, Feature, Reason, Role, Timestamp, Vector};

use super::history::{latest_per_listing, mean};
use super::market::{DAY, MILLION, Market, SELLER_MICROS, Standing};
use super::past::round_log;

const NO_SOURCE: Feature = Err(Reason::NoSource);

/// The figures of `market` at the moment `now`, where what is said stands for `active` microseconds.
pub(super) fn figures(market: &Market, now: Timestamp, active: i64) -> Vector {
    let view = View { market, now, today: now.day(), active };
    let past = &market.past;
    let (price, unit_price) = view.price();
    let (rating, rank) = (view.rating(), view.rank());
    let (minimum, median) = view.competitor_prices();
    let (level, velocity) = (view.inventory(), view.velocity());
    let days_of_stock = both(level, velocity).map(|(level, velocity)| level / velocity);
    let price_index = both(price, median).map(|(own, twice)| (2 * own) as f64 / twice as f64);
    let score_price = price_index.map(|index| ((2.0 - index) * 50.0).clamp(0.0, 100.0));
    let score_quality = rating.map(|rating| rating / 5.0 * 100.0);
    let score_popularity = rank.map(|rank| round_log((100.0 - 20.0 * rank.log10()).clamp(0.0, 100.0)));
    Vector {
        product_price_current: price.map(whole),
        product_unit_price: unit_price,
        product_price_avg_7d: past.price_avg_7d.ok_or(Reason::TooShort),
        product_price_avg_30d: past.price_avg_30d.ok_or(Reason::TooShort),
        product_price_volatility_7d: past.volatility_7d.ok_or(Reason::TooShort),
        product_price_volatility: past.volatility_30d.ok_or(Reason::TooShort),
        product_rating_avg: rating,
        product_rating_change_7d: view.rating_change(rating),
        product_review_count: view.reviews(),
        product_sales_rank: rank,
        product_rank_change_7d: view.rank_change(rank),
        product_inventory_level: level,
        product_days_of_stock: days_of_stock,
        product_margin: view.margin(price),
        product_buybox_won: view.buy_box(),
        competitor_price_min: minimum.map(whole),
        competitor_price_median: median.map(|twice| twice as f64 / (2.0 * MILLION)),
        competitor_count_active: view.competitors_active(),
        competitor_price_drops_24h: view.price_drops(),
        competitor_buybox_share: view.buy_box_share(),
        competitor_rating_avg: view.competitor_rating(),
        demand_units_1d: view.units_of_last_day(),
        demand_sales_velocity_7d: velocity,
        demand_returns_7d: view.returns(),
        demand_mean_28d: view.mean_demand(),
        demand_search_volume: NO_SOURCE,
        demand_conversion_rate: NO_SOURCE,
        demand_seasonality_index: view.seasonality(),
        demand_trend_30d: view.trend(),
        market_sentiment_score: NO_SOURCE,
        market_promotion_intensity: view.promotion(),
        market_new_entrants_30d: view.new_entrants(),
        market_stockout_rate: view.stockout_rate(),
        external_weather_temp: NO_SOURCE,
        external_holiday_proximity: NO_SOURCE,
        external_cpi: NO_SOURCE,
        external_social_mentions: NO_SOURCE,
        price_gap: both(price, minimum).map(|(own, minimum)| whole(own - minimum)),
        price_index,
        score_price_competitiveness: score_price,
        score_quality,
        score_popularity,
        score_overall: overall([score_price, score_quality, score_popularity]),
    }
}

/// Two figures, or why the first that is null is so.
fn both<T>(one: Result<T, Reason>, other: Result<T, Reason>) -> Result<(T, T), Reason> {
    Ok((one?, other?))
}

fn overall(scores: [Feature; 3]) -> Feature {
    let known = scores.iter().flatten();
    match known.clone().count() {
        0 => scores[0],
        count => Ok(known.sum::<f64>() / count as f64),
    }
}

/// Millionths as a figure.
fn whole(millionths: i64) -> f64 {
    millionths as f64 / MILLION
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
}

struct View<'a> {
    market: &'a Market,
    now: Timestamp,
    today: Day,
    active: i64,
}

impl View<'_> {
    fn own(&self) -> impl Iterator<Item = &Standing> + Clone {
        self.market.offers.iter().filter(|offer| offer.role == Role::Own)
    }

    /// The competitors' offers; they are known with a catalog entry only.
    fn competitors(&self) -> Result<impl Iterator<Item = &Standing> + Clone, Reason> {
        self.market.entry.as_ref().ok_or(Reason::NoCatalog)?;
        Ok(self.market.offers.iter().filter(|offer| offer.role == Role::Competitor))
    }

    /// Why none of `offers` has a price that can be compared.
    fn no_price<'a>(&self, mut offers: impl Iterator<Item = &'a Standing>, nobody: Reason) -> Reason {
        let Some(first) = offers.next() else { return nobody };
        let is_other = |offer: &Standing| offer.landed.is_some() && offer.currency != self.market.currency;
        let is_other = self.market.currency.is_some() && (is_other(first) || offers.any(is_other));
        if is_other { Reason::OtherCurrency } else { Reason::NotStated }
    }

    /// Of each listing what was last said, where it still stands.
    fn last_said<'a, T: Copy + Ord>(
        &self,
        offers: impl Iterator<Item = &'a Standing>,
        said: impl Fn(&Standing) -> Option<(Timestamp, T)>,
    ) -> Vec<T> {
        let said = offers.filter_map(|offer| {
            let (at, value) = said(offer)?;
            offer.holds(at, self.now, self.active).then_some((offer.listing, (at, value)))
        });
        latest_per_listing(said)
    }

    fn comparable(&self, offer: &Standing) -> Option<i64> {
        let currency = self.market.currency?;
        offer.landed.filter(|_| offer.currency == Some(currency))
    }

    /// The current own price in millionths, and what a kg, l or piece costs at it.
    fn price(&self) -> (Result<i64, Reason>, Feature) {
        let offered = self.own().filter(|offer| offer.can_be_had());
        let priced = offered.clone().filter_map(|offer| Some((self.comparable(offer)?, offer)));
        let Some(price) = priced.clone().map(|(price, _)| price).min() else {
            let why = self.no_price(offered, Reason::NoOwnOffer);
            return (Err(why), Err(why));
        };
        let lowest = priced.filter(|(landed, _)| *landed == price);
        let per_unit = lowest.filter_map(|(_, offer)| {
            let own = offer.own.as_ref()?;
            Some(whole(own.price?) / own.size?)
        });
        (Ok(price), per_unit.min_by(f64::total_cmp).ok_or(Reason::NotStated))
    }

    fn rating(&self) -> Feature {
        mean(self.last_said(self.own(), |offer| offer.rating))
            .map(|rating| whole(rating.into()))
            .ok_or(Reason::NotObserved)
    }

    fn rating_change(&self, rating: Feature) -> Feature {
        let rating = rating?;
        let highest = self.market.past.rating_max_7d;
        highest.map(|highest| rating - whole(highest.into())).ok_or(Reason::TooShort)
    }

    fn reviews(&self) -> Feature {
        let said = self.last_said(self.own(), |offer| offer.own.as_ref()?.reviews);
        said.into_iter().max().map(|count| count as f64).ok_or(Reason::NotObserved)
    }

    fn rank(&self) -> Feature {
        let said = self.last_said(self.own(), |offer| offer.own.as_ref()?.rank);
        said.into_iter().min().map(|rank| rank as f64).ok_or(Reason::NotObserved)
    }

    fn rank_change(&self, rank: Feature) -> Feature {
        let rank = rank?;
        let before = self.market.past.rank_first_7d;
        before.map(|before| rank / before as f64 - 1.0).ok_or(Reason::TooShort)
    }

    fn inventory(&self) -> Feature {
        let own = self.market.entry.as_ref().map(|entry| entry.own.as_slice());
        let is_own = |listing: &u64| own.is_none_or(|own| own.binary_search(listing).is_ok());
        let stocks = self.market.stocks.iter().filter(|stock| is_own(&stock.listing));
        let level = stocks.fold(None, |sum: Option<i64>, stock| Some(sum.unwrap_or(0).saturating_add(stock.quantity)));
        level.map(|level| level as f64).ok_or(Reason::NotObserved)
    }

    fn margin(&self, price: Result<i64, Reason>) -> Feature {
        let cost = self.market.entry.as_ref().ok_or(Reason::NoCatalog)?.cost.ok_or(Reason::NotStated)?;
        let price = price?;
        if Some(cost.currency) != self.market.currency {
            return Err(Reason::OtherCurrency);
        }
        Ok((i128::from(price) - cost.micros()) as f64 / price as f64)
    }

    fn buy_box(&self) -> Feature {
        let said = self.own().map(|offer| offer.buy_box).filter(|said| *said != BuyBox::Unknown);
        let won = said.map(|said| said == BuyBox::Won).reduce(|one, other| one || other);
        won.map(|won| f64::from(u8::from(won))).ok_or(Reason::NotObserved)
    }

    /// The lowest and twice the median price, in millionths.
    fn competitor_prices(&self) -> (Result<i64, Reason>, Result<i64, Reason>) {
        let offered = match self.competitors() {
            Ok(offers) => offers.filter(|offer| offer.can_be_had()),
            Err(why) => return (Err(why), Err(why)),
        };
        let mut prices: Vec<i64> = offered.clone().filter_map(|offer| self.comparable(offer)).collect();
        prices.sort_unstable();
        let Some(minimum) = prices.first() else {
            let why = self.no_price(offered, Reason::NoCompetitor);
            return (Err(why), Err(why));
        };
        (Ok(*minimum), Ok(prices[(prices.len() - 1) / 2] + prices[prices.len() / 2]))
    }

    fn competitors_active(&self) -> Feature {
        let mut sellers: Vec<u64> =
            self.competitors()?.filter(|offer| offer.can_be_had()).map(|offer| offer.seller).collect();
        sellers.sort_unstable();
        sellers.dedup();
        Ok(sellers.len() as f64)
    }

    fn price_drops(&self) -> Feature {
        self.sellers(DAY, |seller| seller.lowered_at)
    }

    fn new_entrants(&self) -> Feature {
        self.sellers(SELLER_MICROS, |seller| seller.entered_at)
    }

    /// Sellers of whom it was so in the last `micros`.
    fn sellers(&self, micros: i64, when: impl Fn(&super::market::Seller) -> Option<Timestamp>) -> Feature {
        self.market.entry.as_ref().ok_or(Reason::NoCatalog)?;
        let moments = self.market.sellers.iter().filter_map(when);
        Ok(moments.filter(|at| self.now.micros_since(*at) < micros).count() as f64)
    }

    fn buy_box_share(&self) -> Feature {
        self.market.entry.as_ref().ok_or(Reason::NoCatalog)?;
        self.market.past.buy_box_lost_30d.ok_or(Reason::NotObserved)
    }

    fn competitor_rating(&self) -> Feature {
        mean(self.last_said(self.competitors()?, |offer| offer.rating))
            .map(|rating| whole(rating.into()))
            .ok_or(Reason::NotObserved)
    }

    fn units_of_last_day(&self) -> Feature {
        if self.market.demand.days_since_first(self.today) == 0 {
            return Err(Reason::NoSales);
        }
        Ok(self.market.demand.units(self.today, 1..=1) as f64)
    }

    fn velocity(&self) -> Feature {
        let units = self.market.demand.units(self.today, 1..=7);
        if units == 0 {
            return Err(Reason::NoSales);
        }
        let days = self.market.demand.days_since_first(self.today).min(7);
        let away = self.market.past.away_micros(days);
        Ok(units as f64 / ((i64::from(days) * DAY - away).max(DAY) as f64 / DAY as f64))
    }

    fn returns(&self) -> Feature {
        let demand = &self.market.demand;
        match (demand.units(self.today, 1..=7), demand.returned(self.today, 1..=7)) {
            (0, 0) => Err(Reason::NoSales),
            (_, returned) => Ok(returned as f64),
        }
    }

    fn mean_demand(&self) -> Feature {
        let demand = &self.market.demand;
        demand.first.ok_or(Reason::NoSales)?;
        let days = (demand.days_since_first(self.today) - 1).min(28);
        if days < 14 {
            return Err(Reason::TooShort);
        }
        Ok(demand.units(self.today, 2..=29) as f64 / f64::from(days))
    }

    fn seasonality(&self) -> Feature {
        let sum = self.sold_in(28)?;
        let weekday: i64 =
            (0..4).map(|week| 1 + 7 * week).map(|day| self.market.demand.units(self.today, day..=day)).sum();
        Ok((weekday as f64 / 4.0) / (sum as f64 / 28.0))
    }

    fn trend(&self) -> Feature {
        let sum = self.sold_in(30)?;
        let last = self.market.demand.units(self.today, 1..=15);
        Ok((last - (sum - last)) as f64 / sum as f64)
    }

    /// Units of the last `days` completed days, where all of them are since the first sale.
    fn sold_in(&self, days: i32) -> Result<i64, Reason> {
        let demand = &self.market.demand;
        demand.first.ok_or(Reason::NoSales)?;
        if demand.days_since_first(self.today) < days {
            return Err(Reason::TooShort);
        }
        Some(demand.units(self.today, 1..=days)).filter(|units| *units > 0).ok_or(Reason::NoSales)
    }

    fn promotion(&self) -> Feature {
        let offers = self.competitors()?;
        let stated = offers.clone().filter_map(|offer| offer.is_discounted);
        if offers.clone().next().is_none() {
            return Err(Reason::NoCompetitor);
        }
        if stated.clone().next().is_none() {
            return Err(Reason::NotStated);
        }
        Ok(share(stated.filter(|is_discounted| *is_discounted).count(), offers.count()))
    }

    fn stockout_rate(&self) -> Feature {
        let offers = self.competitors()?;
        if offers.clone().next().is_none() {
            return Err(Reason::NoCompetitor);
        }
        let said = offers.map(|offer| offer.availability).filter(|said| *said != Availability::Unknown);
        match said.clone().count() {
            0 => Err(Reason::NotObserved),
            all => Ok(share(said.filter(|said| *said == Availability::OutOfStock).count(), all)),
        }
    }
}
