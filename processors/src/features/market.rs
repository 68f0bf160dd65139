//! What is known of a product's market: the offers that stand, who makes them, and the catalog entry.

use skuflow_schemas::{
    Availability, BuyBox, Catalog, Change, Currency, Day, Envelope, Inventory, ListingRef, Money, Offer, Role, Text,
    Timestamp, Track,
};

use super::demand::Demand;
use super::history::{Asked, Heard, OwnOffer};
use super::past::{Again, Past};
use super::stored;
use crate::codec::{Damage, Reader, Writer};
use crate::dedup::{Fnv, seller_name, who};
use crate::validate::JUMP;
use crate::{AMOUNT_MICROS_MAX, GRACE_DAYS, OFFERS_PER_PRODUCT_MAX, Rows, STOCKS_PER_PRODUCT_MAX, State};

pub(super) const DAY: i64 = 86_400_000_000;
/// How long a seller who offers nothing is remembered, and how long one is new.
pub(super) const SELLER_MICROS: i64 = crate::WINDOW_DAYS as i64 * DAY;
/// Stars that ratings are scaled to.
const BEST: f64 = 5.0;
/// Sizes of packs that are believed.
const SIZES: std::ops::RangeInclusive<f64> = 1e-6..=1e9;
/// Parts of a whole in which amounts and ratings are kept.
pub(super) const MILLION: f64 = 1e6;

/// All that is known of a product.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Market {
    pub(super) customer: Text,
    pub(super) product: Text,
    /// Latest event time; none before the first observation. The catalog does not move it.
    pub(super) now: Option<Timestamp>,
    /// The latest time at which any of it was taken in.
    pub(super) taken_at: Timestamp,
    pub(super) entry: Option<Entry>,
    /// In which prices are compared: the entry's or, where it has none, that of the first own price.
    pub(super) currency: Option<Currency>,
    /// When both an entry and an offer were first known; whoever comes in the day after is no newcomer.
    pub(super) since: Option<Timestamp>,
    pub(super) offers: Vec<Standing>,
    pub(super) sellers: Vec<Seller>,
    pub(super) stocks: Vec<Stock>,
    pub(super) past: Past,
    pub(super) demand: Demand,
    /// Hash of the last figures that were given.
    pub(super) given: Option<u64>,
    /// When a timer is set for.
    pub(super) wake_at: Option<Timestamp>,
}

impl State for Market {
    const VERSION: u8 = 4;

    fn write(&self, into: &mut Writer<'_>) {
        stored::write(self, into);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        stored::read(from)
    }

    fn heap_bytes(&self) -> usize {
        let own = self.offers.iter().filter(|offer| offer.own.is_some()).count() * size_of::<OwnSaid>();
        self.offers.capacity() * size_of::<Standing>()
            + own
            + self.sellers.capacity() * size_of::<Seller>()
            + self.stocks.capacity() * size_of::<Stock>()
            + self.entry.as_ref().map_or(0, |entry| entry.own.capacity() * size_of::<u64>())
            + self.demand.heap_bytes()
    }
}

/// What matters of the catalog entry of a product that is active.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    /// When the product came into the catalog.
    pub(super) since: Timestamp,
    pub(super) cost: Option<Money>,
    /// The own listings.
    pub(super) own: Vec<u64>,
}

/// An offer that stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing {
    pub(super) listing: u64,
    /// Seller, condition and vantage.
    pub(super) who: u64,
    pub(super) seller: u64,
    pub(super) role: Role,
    pub(super) at: Timestamp,
    /// It holds until the source says otherwise.
    pub(super) is_change: bool,
    /// Landed price, in millionths.
    pub(super) landed: Option<i64>,
    pub(super) currency: Option<Currency>,
    pub(super) availability: Availability,
    pub(super) buy_box: BuyBox,
    /// Whether the price is below 95 % of the list price, where there is one.
    pub(super) is_discounted: Option<bool>,
    /// The last rating said, in millionths of a star of 5.
    pub(super) rating: Option<(Timestamp, u32)>,
    /// What matters of own offers only.
    pub(super) own: Option<Box<OwnSaid>>,
}

/// What matters of own offers only.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OwnSaid {
    /// Price without shipping, in millionths.
    pub(super) price: Option<i64>,
    /// How many kg, l or pieces one unit holds.
    pub(super) size: Option<f64>,
    /// The best of the ranks last said.
    pub(super) rank: Option<(Timestamp, i64)>,
    /// The count of reviews last said.
    pub(super) reviews: Option<(Timestamp, i64)>,
}

/// Somebody who offers or offered the product.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seller {
    pub(super) id: u64,
    /// When an offer of theirs was last observed.
    pub(super) last_at: Timestamp,
    /// When they came into the market.
    pub(super) entered_at: Option<Timestamp>,
    /// When they last lowered a price, as a competitor.
    pub(super) lowered_at: Option<Timestamp>,
}

/// A count of stock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stock {
    pub(super) listing: u64,
    pub(super) location: u64,
    pub(super) at: Timestamp,
    pub(super) quantity: i64,
}

impl Standing {
    pub(super) fn can_be_had(&self) -> bool {
        !matches!(self.availability, Availability::OutOfStock | Availability::Discontinued)
    }

    /// Whether what was said of it at `at` holds at `now`, where an observation stands for `active` microseconds.
    pub(super) fn holds(&self, at: Timestamp, now: Timestamp, active: i64) -> bool {
        self.is_change || now.micros_since(at) < active
    }

    fn own_offer(&self) -> OwnOffer {
        OwnOffer { listing: self.listing, who: self.who }
    }

    fn money(&self) -> Option<Money> {
        Some(money(self.landed?, self.currency?))
    }
}

impl Market {
    /// Takes the time of an observation. A day that begins completes those before it.
    pub(super) fn advance(&mut self, to: Timestamp, active: i64, rows: &mut dyn Rows) {
        if self.now.is_some_and(|now| to <= now) {
            return;
        }
        let (before, today) = (self.now.replace(to).map_or(to, |now| now).day(), to.day());
        if before != today {
            let from = Day(before.0.saturating_sub(GRACE_DAYS));
            self.past.relive(&Again { from, today, currency: self.currency, active }, rows);
            self.demand.prune(today, rows);
        }
        self.offers.retain(|offer| offer.holds(offer.at, to, active));
        if before != today {
            self.sellers.retain(|seller| is_present(seller, &self.offers, to));
        }
    }

    /// The latest event time; to be asked behind [`Self::advance`].
    fn time(&self) -> Timestamp {
        self.now.unwrap_or(Timestamp::MIN)
    }

    /// Takes an offer; gives what it changed of the one that stood.
    pub(super) fn hear_offer(
        &mut self,
        offer: &Offer,
        track: &Track,
        active: i64,
        rows: &mut dyn Rows,
    ) -> Option<Change> {
        let (listing, who) = (listing_of(&offer.envelope, &offer.native_id), who(offer));
        let found = self.offers.iter().position(|known| known.who == who && known.listing == listing);
        if track.retracted {
            let previous = found.map(|at| self.offers.remove(at))?;
            self.leave(&previous, rows);
            if previous.is_change {
                let (now, of) = (self.time(), previous.seller); // it held until now
                self.sellers.iter_mut().filter(|seller| seller.id == of).for_each(|seller| seller.last_at = now);
            }
            if self.offers.iter().all(|other| other.seller != previous.seller) {
                let sellers = self.sellers.iter_mut().filter(|seller| seller.id == previous.seller);
                sellers.for_each(|seller| (seller.entered_at, seller.lowered_at) = (None, None));
            }
            return Some(Change { listing: listing_id(offer), ..change(offer, None, Some(&previous)) });
        }
        if offer.suspect.iter().any(|rule| rule == JUMP) {
            return None; // a price that nobody has confirmed
        }
        let said = standing(offer, listing, who, track.role);
        if self.currency.is_none() && said.role == Role::Own && said.landed.is_some() {
            self.currency = said.currency;
        }
        let entered = self.meet(&said);
        self.remember(&said, active, rows);
        if !said.holds(said.at, self.time(), active) {
            return None;
        }
        let previous = match found {
            Some(at) if self.offers[at].at > said.at => {
                take_over(&mut self.offers[at], &said);
                return None;
            }
            Some(at) => Some(self.replace(at, said.clone(), rows)),
            None => {
                self.stand(said.clone());
                None
            }
        };
        let change = change(offer, Some(&said), previous.as_ref());
        Some(Change { listing: listing_id(offer), entered, ..change })
    }

    /// Notes who offers; whether they are new to the market.
    fn meet(&mut self, said: &Standing) -> bool {
        if self.since.is_none()
            && let Some(entry) = &self.entry
        {
            self.since = Some(entry.since.max(self.time()));
        }
        let is_discovered = self.since.is_some_and(|since| said.at.micros_since(since) >= DAY);
        let (entered_at, now) = (is_discovered.then_some(said.at), self.time());
        match self.sellers.iter_mut().find(|seller| seller.id == said.seller) {
            Some(seller) if is_present(seller, &self.offers, now) => {
                seller.last_at = seller.last_at.max(said.at);
                false
            }
            Some(seller) => {
                (seller.last_at, seller.entered_at) = (said.at, entered_at);
                is_discovered
            }
            None => {
                if self.sellers.len() == OFFERS_PER_PRODUCT_MAX {
                    let oldest = (0..self.sellers.len()).min_by_key(|at| self.sellers[*at].last_at).unwrap_or(0);
                    self.sellers.remove(oldest);
                }
                self.sellers.push(Seller { id: said.seller, last_at: said.at, entered_at, lowered_at: None });
                is_discovered
            }
        }
    }

    /// Notes what has a past; completed days that it is about are made again.
    fn remember(&mut self, said: &Standing, active: i64, rows: &mut dyn Rows) {
        let heard = match (&said.own, said.role) {
            (Some(own), _) => {
                let asked = Asked {
                    landed: said.landed,
                    currency: said.currency,
                    can_be_had: said.can_be_had(),
                    holds_box: said.buy_box == BuyBox::Won,
                };
                let (rating, rank) = (said.rating.map(|(_, rating)| rating), own.rank.map(|(_, rank)| rank));
                Heard::Asked { offer: said.own_offer(), at: said.at, is_change: said.is_change, asked, rating, rank }
            }
            (None, Role::Competitor) if said.buy_box == BuyBox::Won => {
                Heard::CompetitorWon { at: said.at, is_change: said.is_change }
            }
            _ => return,
        };
        self.past.hear(&heard, rows);
        self.relive(said.at.day(), active, rows);
    }

    /// Makes the completed days of grace again, from `from` on.
    fn relive(&mut self, from: Day, active: i64, rows: &mut dyn Rows) {
        let today = self.time().day();
        if from < today {
            let from = from.max(Day(today.0.saturating_sub(GRACE_DAYS)));
            self.past.relive(&Again { from, today, currency: self.currency, active }, rows);
        }
    }

    /// An offer that stood stands no more for what it was, from now on.
    fn leave(&mut self, offer: &Standing, rows: &mut dyn Rows) {
        let at = self.time();
        let heard = match offer.role {
            Role::Own => Heard::TakenBack { offer: offer.own_offer(), at },
            Role::Competitor if offer.buy_box == BuyBox::Won => Heard::CompetitorLeft { won: offer.at, at },
            _ => return,
        };
        self.past.hear(&heard, rows);
    }

    /// Lets `said` stand instead of offer number `at`, which it gives.
    fn replace(&mut self, at: usize, mut said: Standing, rows: &mut dyn Rows) -> Standing {
        take_over(&mut said, &self.offers[at]);
        let previous = std::mem::replace(&mut self.offers[at], said.clone());
        if previous.role != said.role {
            self.leave(&previous, rows);
        }
        let both = [previous.role, said.role] == [Role::Competitor; 2] && previous.currency == said.currency;
        let lowered = |(before, now): (i64, i64)| now * 100 < before * 99;
        if both && previous.landed.zip(said.landed).is_some_and(lowered) {
            for seller in self.sellers.iter_mut().filter(|seller| seller.id == said.seller) {
                seller.lowered_at = seller.lowered_at.max(Some(said.at));
            }
        }
        previous
    }

    fn stand(&mut self, said: Standing) {
        if self.offers.len() == OFFERS_PER_PRODUCT_MAX {
            let oldest = (0..self.offers.len()).min_by_key(|at| self.offers[*at].at).unwrap_or(0);
            self.offers.remove(oldest);
        }
        self.offers.push(said);
    }

    /// Takes a count of stock.
    pub(super) fn hear_stock(&mut self, inventory: &Inventory) {
        let mut location = Fnv::new(3);
        location.text(Some(&inventory.location));
        let (listing, location) = (listing_of(&inventory.envelope, &inventory.native_id), location.name());
        let at = inventory.envelope.observed_at;
        let said = Stock { listing, location, at, quantity: inventory.quantity };
        match self.stocks.iter_mut().find(|known| known.listing == listing && known.location == location) {
            Some(known) if known.at > at => {}
            Some(known) => *known = said,
            None => {
                if self.stocks.len() == STOCKS_PER_PRODUCT_MAX {
                    let oldest = (0..self.stocks.len()).min_by_key(|at| self.stocks[*at].at).unwrap_or(0);
                    self.stocks.remove(oldest);
                }
                self.stocks.push(said);
            }
        }
    }

    /// Takes the catalog entry; one that is not active is none.
    pub(super) fn hear_entry(&mut self, entry: &Catalog, active: i64, rows: &mut dyn Rows) {
        if !entry.active {
            return self.end_entry();
        }
        let since = self.entry.as_ref().map_or(entry.envelope.observed_at, |known| known.since);
        let mut own: Vec<u64> = entry.own.iter().map(listing_hash).collect();
        own.sort_unstable();
        let now = self.time();
        let is_known = |seller: &Seller| is_present(seller, &self.offers, now);
        if self.since.is_none() && self.sellers.iter().any(is_known) {
            self.since = Some(since.max(now));
        }
        self.entry = Some(Entry { since, cost: entry.cost, own });
        let stated = entry.currency.as_deref().and_then(|code| Currency::parse(code).ok());
        if stated.is_some() && stated != self.currency {
            self.currency = stated;
            self.past.forget_prices(now.day(), rows);
            self.relive(Day(i32::MIN), active, rows);
        }
    }

    /// The product is in the catalog no more.
    pub(super) fn end_entry(&mut self) {
        (self.entry, self.since) = (None, None);
    }

    /// Whether time alone may change a figure.
    pub(super) fn changes_with_time(&self) -> bool {
        let idle = self.offers.is_empty() && self.sellers.is_empty();
        !(idle && !self.past.is_known && self.demand.is_empty())
    }
}

/// Whether somebody is in the market: they offer, or did not long ago.
fn is_present(seller: &Seller, offers: &[Standing], now: Timestamp) -> bool {
    now.micros_since(seller.last_at) < SELLER_MICROS || offers.iter().any(|offer| offer.seller == seller.id)
}

/// Lets an offer keep what another observation of it said later, or alone.
fn take_over(one: &mut Standing, other: &Standing) {
    if one.role != other.role {
        return;
    }
    one.rating = later(one.rating, other.rating);
    if let (Some(own), Some(said)) = (&mut one.own, &other.own) {
        own.rank = later(own.rank, said.rank);
        own.reviews = later(own.reviews, said.reviews);
    }
}

/// The later of two words; of two of one moment the first.
fn later<T>(one: Option<(Timestamp, T)>, other: Option<(Timestamp, T)>) -> Option<(Timestamp, T)> {
    match (one, other) {
        (Some(one), Some(other)) if other.0 > one.0 => Some(other),
        (None, other) => other,
        (one, _) => one,
    }
}

/// The offer that an observation says.
fn standing(offer: &Offer, listing: u64, who: u64, role: Role) -> Standing {
    let at = offer.envelope.observed_at;
    let landed = landed_price(offer);
    let price = offer.price.and_then(micros);
    let list = offer.list_price.filter(|list| offer.price.is_some_and(|price| price.currency == list.currency));
    let size = offer.pack.as_ref().and_then(|pack| {
        let units = match pack.unit.as_str() {
            "kg" | "l" | "piece" => 1.0,
            "g" | "ml" => 1e3,
            _ => return None,
        };
        SIZES.contains(&pack.quantity).then_some(pack.quantity / units)
    });
    let rank = offer.ranks.iter().map(|rank| rank.rank).filter(|rank| *rank > 0).min();
    let reviews = offer.review_count.filter(|count| *count >= 0);
    let own = OwnSaid { price, size, rank: rank.map(|rank| (at, rank)), reviews: reviews.map(|count| (at, count)) };
    Standing {
        listing,
        who,
        seller: seller(offer, listing),
        role,
        at,
        is_change: offer.envelope.is_change(),
        landed: landed.and_then(micros),
        currency: landed.map(|landed| landed.currency),
        availability: offer.availability,
        buy_box: offer.buy_box,
        is_discounted: price.zip(list.and_then(micros)).map(|(price, list)| price * 100 < list * 95),
        rating: rating(offer).map(|rating| (at, rating)),
        own: (role == Role::Own).then(|| Box::new(own)),
    }
}

/// Price and shipping, or what the source states where these do not add up to anything.
fn landed_price(offer: &Offer) -> Option<Money> {
    let sum = offer.price.and_then(|price| match &offer.shipping {
        Some(shipping) => price.plus(shipping),
        None => Some(price),
    });
    sum.or(offer.landed_price).filter(|landed| micros(*landed).is_some())
}

/// An amount in millionths; none where `validate` would not let it pass.
fn micros(amount: Money) -> Option<i64> {
    let micros = amount.micros();
    (1..=2 * AMOUNT_MICROS_MAX).contains(&micros).then_some(micros as i64)
}

/// An amount with as few decimals as it needs, and no fewer than its currency has.
fn money(micros: i64, currency: Currency) -> Money {
    let least = currency.exponent().unwrap_or(0);
    let mut money = Money { minor: micros, currency, exponent: 6 };
    while money.exponent > least && money.minor % 10 == 0 {
        (money.minor, money.exponent) = (money.minor / 10, money.exponent - 1);
    }
    money
}

/// The rating in millionths of a star of 5.
fn rating(offer: &Offer) -> Option<u32> {
    let (rating, best) = (offer.rating?, offer.rating_best.unwrap_or(BEST));
    let stars = rating / best * BEST;
    ((0.0..=BEST).contains(&stars)).then(|| (stars * MILLION).round() as u32)
}

/// What changed of an offer, as far as the two tell.
fn change(offer: &Offer, now: Option<&Standing>, previous: Option<&Standing>) -> Change {
    Change {
        seller: offer.seller.clone(),
        role: now.or(previous).map_or(Role::Unknown, |offer| offer.role),
        price: now.and_then(Standing::money),
        previous_price: previous.and_then(Standing::money),
        availability: now.map_or(Availability::Unknown, |offer| offer.availability),
        previous_availability: previous.map_or(Availability::Unknown, |offer| offer.availability),
        buy_box: now.map_or(BuyBox::Unknown, |offer| offer.buy_box),
        previous_buy_box: previous.map_or(BuyBox::Unknown, |offer| offer.buy_box),
        ..Change::default()
    }
}

fn listing_id(offer: &Offer) -> Text {
    let Envelope { source, marketplace, .. } = &offer.envelope;
    skuflow_schemas::listing_id(source, marketplace, &offer.native_id)
}

fn listing_hash(listing: &ListingRef) -> u64 {
    hash_of([&listing.source, &listing.marketplace, &listing.native_id])
}

fn listing_of(envelope: &Envelope, native_id: &Text) -> u64 {
    hash_of([&envelope.source, &envelope.marketplace, native_id])
}

fn hash_of(parts: [&Text; 3]) -> u64 {
    let mut hash = Fnv::new(4);
    for part in parts {
        hash.text(Some(part));
    }
    hash.name()
}

/// Who sells, under one name everywhere; where nobody is named, each listing has a seller of its own.
fn seller(offer: &Offer, listing: u64) -> u64 {
    if offer.seller.is_some() { seller_name(offer.seller.as_ref()) } else { listing }
}
