//! Who plays: what of a product stays as it is, a pure function of the settings and its number.

use skuflow_schemas::Text;

use super::config::Settings;
use super::observation::Seat;
use super::random::{Purpose, Random};

/// A marketplace; shops sell in it between 06:00 and 21:00 UTC, when its date is that of UTC.
pub(super) struct Market {
    pub(super) name: &'static str,
    pub(super) currency: &'static str,
    pub(super) country: &'static str,
}

const MARKETS: [Market; 4] = [
    Market { name: "de", currency: "EUR", country: "DE" },
    Market { name: "fr", currency: "EUR", country: "FR" },
    Market { name: "uk", currency: "GBP", country: "GB" },
    Market { name: "pl", currency: "PLN", country: "PL" },
];
const CATEGORIES: [&str; 6] = ["audio", "garden", "kitchen", "office", "sports", "toys"];

/// Listings that may matter to a product: its own, and three that compete.
pub(super) const LISTINGS: usize = 4;
/// The competing listing that some products drop.
pub(super) const DROPPED: usize = 2;
/// The competing listing that some products add.
pub(super) const ADDED: usize = 3;
/// Our own listing for our own seat and some competitors.
const LISTING_OF: [usize; SEATS_MAX] = [0, 0, 0, 1, 2, 0, 3, 1, 0, 1];
/// On which listing a seat's offer stands.
pub(super) fn listing_of(seat: Seat) -> usize {
    LISTING_OF[seat]
}

/// Our own seat, and at most nine competitors.
pub(super) const SEATS_MAX: usize = 10;
/// The competitor on the listing that is added.
pub(super) const SEAT_ADDED: Seat = 6;

/// How a competitor sets prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// A little below the cheapest, down to its floor; then back up.
    Undercut,
    /// Towards the cheapest, at a distance.
    Follow,
    /// At random around its usual price.
    Wander,
    /// Its usual price, with promotions.
    Promote,
}

/// A competitor on a product.
pub(super) struct Rival {
    /// Number of the seller.
    pub(super) seller: u32,
    pub(super) strategy: Strategy,
    /// Shipping in minor units; `None`: not said.
    pub(super) shipping: Option<i64>,
    /// Its usual landed price.
    pub(super) usual: i64,
}

/// What of a product stays as it is.
pub(super) struct Cast {
    pub(super) product: Text,
    pub(super) category: &'static str,
    pub(super) market: &'static Market,
    pub(super) listings: [Text; LISTINGS],
    /// The usual landed price of our own offer.
    pub(super) usual: i64,
    pub(super) cost: i64,
    pub(super) floor: i64,
    pub(super) ceiling: i64,
    /// Units sold on a usual day.
    pub(super) demand: f64,
    pub(super) rank: i64,
    pub(super) rating: i64,
    /// Grams in a unit, where listings say so.
    pub(super) grams: Option<i64>,
    /// By seat, from 1 on.
    rivals: Vec<Rival>,
}

impl Cast {
    pub(super) fn new(settings: &Settings, product: u32) -> Self {
        let mut random = Random::of(settings.seed, Purpose::Cast, product, 0);
        let spread = random.fraction();
        let usual = 1_000 + (spread * spread * 19_000.0) as i64;
        let cost = usual * random.between(48, 68) / 100;
        let busy = random.fraction();
        let rivals = random.between(7, 9).min(i64::from(settings.sellers));
        let first = random.below(i64::from(settings.sellers));
        let rivals = (1..=rivals).map(|seat| {
            let seller = ((first + seat) % i64::from(settings.sellers)) as u32;
            Rival::new(seller, usual, &mut random)
        });
        let name = |suffix: &str| Text::from(format!("L{product:05}{suffix}"));
        Self {
            rivals: rivals.collect(),
            product: format!("P{product:05}").into(),
            category: CATEGORIES[product as usize % CATEGORIES.len()],
            market: &MARKETS[random.below(MARKETS.len() as i64) as usize],
            listings: [name(""), name("-a"), name("-b"), name("-c")],
            usual,
            cost,
            floor: cost * random.between(107, 115) / 100,
            ceiling: usual * random.between(112, 135) / 100,
            demand: 18.0 + busy * busy * 50.0,
            rank: random.between(400, 20_000),
            rating: random.between(390, 470),
            grams: random.one_in(2).then(|| random.between(1, 20) * 50),
        }
    }

    /// Our own seat and those of the competitors.
    pub(super) fn seats(&self) -> usize {
        self.rivals.len() + 1
    }

    /// The competitor on a seat from 1 on.
    pub(super) fn rival(&self, seat: Seat) -> &Rival {
        &self.rivals[seat - 1]
    }

    /// Shipping of a seat's offer: ours is free.
    pub(super) fn shipping(&self, seat: Seat) -> Option<i64> {
        if seat == 0 { Some(0) } else { self.rival(seat).shipping }
    }

    /// The competitor who is kept back until a newcomer is planted.
    pub(super) fn reserve(&self) -> Seat {
        self.rivals.len()
    }
}

impl Rival {
    fn new(seller: u32, usual: i64, random: &mut Random) -> Self {
        let strategy = [Strategy::Undercut, Strategy::Follow, Strategy::Wander, Strategy::Promote];
        let shipping = match random.below(4) {
            0 => None,
            1 => Some(random.between(199, 499)),
            _ => Some(0),
        };
        Self {
            seller,
            strategy: strategy[random.below(4) as usize],
            shipping,
            usual: usual * random.between(94, 112) / 100,
        }
    }
}
