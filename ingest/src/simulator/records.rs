//! Events of observations: names, money, and what is wrong with the dirty ones.

use skuflow_schemas::{
    Availability, BusinessDate, Catalog, Condition, Currency, Envelope, Event, Fulfilment, Inventory, ListingRef,
    Money, Offer, Pack, QuantityRelation, Rank, Sale, SaleStatus, Text, Timestamp,
};

use super::cast::{Cast, LISTINGS, listing_of};
use super::config::Settings;
use super::noise::{Dirt, Form, Item};
use super::observation::{DAY, Fact, OWN, Offered, Seat, Sold, Terms};

/// The source that all events name.
const SOURCE: Text = Text::const_new("market");
/// Our own seller.
const OWN_SELLER: Text = Text::const_new("own-shop");
/// Where our goods lie.
const LOCATION: Text = Text::const_new("main");
/// A currency that there is not.
const NO_CURRENCY: &str = "XQZ";

/// The name of a competitor.
pub(super) fn seller_name(cast: &Cast, seat: Seat) -> Text {
    if seat == OWN { OWN_SELLER } else { Text::from(format!("seller-{:02}", cast.rival(seat).seller + 1)) }
}

/// What of a product's records is always the same.
struct Names {
    cast: Cast,
    marketplace: Text,
    category: Text,
    currency: Currency,
    country: Text,
    /// By seat.
    sellers: Vec<Text>,
}

/// Makes events.
pub(super) struct Records {
    customer: Text,
    start: Timestamp,
    products: Vec<Names>,
    no_currency: Currency,
}

impl Records {
    pub(super) fn new(settings: &Settings, customer: &str) -> Self {
        let currency = |code| Currency::parse(code).expect("three letters");
        let names = |number| {
            let cast = Cast::new(settings, number);
            Names {
                marketplace: Text::const_new(cast.market.name),
                category: Text::const_new(cast.category),
                currency: currency(cast.market.currency),
                country: Text::const_new(cast.market.country),
                sellers: (0..cast.seats()).map(|seat| seller_name(&cast, seat)).collect(),
                cast,
            }
        };
        Self {
            customer: customer.into(),
            start: settings.first_instant().unwrap_or_default(),
            products: (0..settings.products).map(names).collect(),
            no_currency: currency(NO_CURRENCY),
        }
    }

    /// The event of an item.
    pub(super) fn event(&self, item: &Item) -> Event {
        let names = &self.products[item.observation.product as usize];
        let at = item.observation.at;
        let envelope = Envelope {
            customer: self.customer.clone(),
            source: SOURCE,
            marketplace: names.marketplace.clone(),
            observed_at: self.start.plus_micros(at),
            ..Envelope::default()
        };
        let mut event = match item.observation.fact {
            Fact::Catalog(terms) => Event::Catalog(Box::new(names.catalog(envelope, &terms))),
            Fact::Offer(offered) => Event::Offer(Box::new(names.offer(envelope, &offered))),
            Fact::Sale(sold) => Event::Sale(Box::new(names.sale(envelope, &sold, at))),
            Fact::Stock(quantity) => Event::Inventory(Box::new(Inventory {
                envelope,
                native_id: names.cast.listings[0].clone(),
                location: LOCATION,
                quantity,
                relation: QuantityRelation::Exact,
                ..Inventory::default()
            })),
        };
        if let Form::Dirty(dirt) = item.form {
            self.soil(&mut event, dirt);
        }
        event
    }

    fn soil(&self, event: &mut Event, dirt: Dirt) {
        if dirt == Dirt::Future
            && let Some(envelope) = event.envelope_mut()
        {
            envelope.observed_at = envelope.observed_at.plus_micros(36_525 * DAY);
        }
        let price = match event {
            Event::Offer(offer) => {
                if dirt == Dirt::EmptyId {
                    offer.native_id = Text::default();
                }
                (offer.landed_price, offer.list_price) = (None, None);
                &mut offer.price
            }
            Event::Sale(sale) => {
                sale.order_id.push_str("-x");
                if dirt == Dirt::EmptyId {
                    sale.native_id = Text::default();
                }
                &mut sale.unit_price
            }
            Event::Inventory(stock) => {
                match dirt {
                    Dirt::EmptyId => stock.native_id = Text::default(),
                    Dirt::NotPositive => stock.quantity = -1,
                    _ => {}
                }
                return;
            }
            _ => return,
        };
        let Some(price) = price else { return };
        match dirt {
            Dirt::NotPositive => price.minor = -(price.minor % 2), // zero, or below
            Dirt::Hundredfold => price.minor *= 100,
            Dirt::Currency => price.currency = self.no_currency,
            Dirt::Future | Dirt::EmptyId => {}
        }
    }
}

impl Names {
    fn money(&self, minor: i64) -> Money {
        Money { minor, currency: self.currency, exponent: 2 }
    }

    fn catalog(&self, envelope: Envelope, terms: &Terms) -> Catalog {
        let cast = &self.cast;
        let reference = |listing: usize| ListingRef {
            source: SOURCE,
            marketplace: self.marketplace.clone(),
            native_id: cast.listings[listing].clone(),
            seller: (listing == 0).then_some(OWN_SELLER), // others sell on our listing too
        };
        Catalog {
            envelope,
            product: cast.product.clone(),
            name: Some(Text::from(format!("Product {}", cast.product))),
            category: Some(self.category.clone()),
            currency: Some(Text::const_new(cast.market.currency)),
            cost: Some(self.money(terms.cost)),
            price_floor: Some(self.money(terms.floor)),
            price_ceiling: Some(self.money(terms.ceiling)),
            own: vec![reference(0)],
            competitors: (1..LISTINGS).filter(|listing| terms.has(*listing)).map(reference).collect(),
            active: true,
        }
    }

    fn offer(&self, envelope: Envelope, offered: &Offered) -> Offer {
        let Offered { seat, landed, list, available, buy_box, standing } = *offered;
        let shipping = self.cast.shipping(seat);
        let rank = |rank| vec![Rank { category: self.category.clone(), rank }];
        let mut offer = Offer {
            envelope,
            native_id: self.cast.listings[listing_of(seat)].clone(),
            seller: Some(self.sellers[seat].clone()),
            price: Some(self.money(landed - shipping.unwrap_or_default())),
            shipping: shipping.map(|shipping| self.money(shipping)),
            landed_price: shipping.map(|_| self.money(landed)),
            list_price: list.map(|list| self.money(list)),
            availability: if available { Availability::InStock } else { Availability::OutOfStock },
            condition: Condition::New,
            fulfilment: if seat % 2 == 0 { Fulfilment::Seller } else { Fulfilment::Marketplace },
            buy_box,
            pack: self.cast.grams.map(|grams| Pack { quantity: grams as f64, unit: Text::const_new("g") }),
            ..Offer::default()
        };
        offer.vantage.country = Some(self.country.clone());
        if let Some(standing) = standing {
            offer.ranks = rank(standing.rank);
            offer.rating = Some(standing.rating as f64 / 100.0);
            offer.review_count = Some(standing.reviews);
        }
        offer
    }

    fn sale(&self, envelope: Envelope, sold: &Sold, at: i64) -> Sale {
        let first_day = envelope.observed_at.plus_micros(-at).day().0;
        Sale {
            native_id: self.cast.listings[0].clone(),
            order_id: Text::from(format!("{}-{}-{}", self.cast.product, at / super::observation::HOUR, sold.number)),
            line_id: Text::const_new("1"),
            units: sold.units,
            unit_price: Some(self.money(sold.price)),
            status: if sold.units < 0 { SaleStatus::Returned } else { SaleStatus::Completed },
            business_date: BusinessDate(first_day + (at / DAY) as i32),
            envelope,
            ..Sale::default()
        }
    }
}
