//! The rules: data, one line of judgement each.

use skuflow_schemas::{
    Catalog, Currency, Event, KEY_PART_BYTES_MAX, ListingRef, MONEY_EXPONENT_MAX, Money, Offer, check_customer,
};

use super::{Action, Config, Prices};
use crate::{AMOUNT_MICROS_MAX, LISTINGS_PER_PRODUCT_MAX, OBSERVED_AT_MIN, UNITS_MAX};

/// A rule of `validate`.
pub struct Rule {
    /// Its id: stable, in dead letters, marks and config.
    pub id: &'static str,
    /// What happens unless the config says otherwise.
    pub default: Action,
    /// What it is about, in one line.
    pub about: &'static str,
    /// Why it objects to an event; `None` where it does not.
    pub(super) objects: fn(&Event, &Prices, &Config) -> Option<String>,
}

/// The rule whose objection keeps a price from being the last good one.
pub(crate) const JUMP: &str = "magnitude-jump";
/// Steps by which a misplaced decimal separator moves a price.
const MAGNITUDES: [i128; 3] = [10, 100, 1000];

/// All rules, in the order they are asked.
pub const RULES: &[Rule] = &[
    rule("customer-invalid", Action::Reject, "customer is [a-z0-9-]{1,64}", |event, _, _| {
        event.envelope().and_then(|envelope| check_customer(&envelope.customer).err()).map(|error| error.to_string())
    }),
    rule("id-empty", Action::Reject, "source and the native id, product or order are not empty", |event, _, _| {
        ids(event).find(|(_, text)| text.is_empty()).map(|(field, _)| format!("{field} is empty"))
    }),
    rule(
        "text-has-nul",
        Action::Reject,
        "texts that identify or name have no NUL, at which databases cut them off",
        |event, _, _| {
            let mut texts = key_parts(event).chain(descriptions(event));
            texts.find(|(_, text)| text.contains('\0')).map(|(field, _)| format!("{field} has a NUL in it"))
        },
    ),
    rule("exponent-invalid", Action::Reject, "amounts have at most 6 decimals", |event, _, _| {
        let fine = amounts(event).into_iter().find(|(_, money)| money.exponent > MONEY_EXPONENT_MAX);
        fine.map(|(field, money)| format!("{field} has {} decimals", money.exponent))
    }),
    rule(
        "amount-out-of-range",
        Action::Reject,
        "amounts are below a billion, units too, and what they come to",
        out_of_range,
    ),
    rule("text-too-long", Action::Reject, "parts of the key have at most 1024 bytes", |event, _, _| {
        let long = key_parts(event).find(|(_, text)| text.len() > KEY_PART_BYTES_MAX);
        long.map(|(field, text)| format!("{field} has {} bytes", text.len()))
    }),
    rule("past-timestamp", Action::Reject, "observed_at is not before 1990", |event, _, _| {
        let observed_at = event.envelope()?.observed_at;
        (observed_at < OBSERVED_AT_MIN).then(|| format!("observed at {observed_at}, before {OBSERVED_AT_MIN}"))
    }),
    rule(
        "future-timestamp",
        Action::Reject,
        "observed_at is not later than ingested_at by more than max_future",
        future,
    ),
    rule("currency-unknown", Action::Reject, "currencies are in ISO 4217", |event, _, _| {
        let unknown = amounts(event).into_iter().find(|(_, money)| money.currency.exponent().is_none());
        unknown.map(|(field, money)| format!("{field} is in {}, which ISO 4217 does not list", money.currency.as_str()))
    }),
    rule("price-not-positive", Action::Reject, "prices are above zero", |event, _, _| {
        let price = match event {
            Event::Offer(offer) => &offer.price,
            Event::Sale(sale) => &sale.unit_price,
            _ => return None,
        };
        price.filter(|price| price.minor <= 0).map(|price| format!("the price is {price}"))
    }),
    rule("rating-out-of-range", Action::Reject, "ratings are between 0 and the best there is", rating),
    rule("quantity-negative", Action::Reject, "stock is not below zero", |event, _, _| {
        let level = match event {
            Event::Inventory(inventory) => inventory.quantity,
            Event::Offer(offer) => offer.stock_level?,
            _ => return None,
        };
        (level < 0).then(|| format!("the stock is {level}"))
    }),
    rule("floor-above-ceiling", Action::Reject, "a product's price floor is not above its ceiling", |event, _, _| {
        let Event::Catalog(catalog) = event else { return None };
        let (floor, ceiling) = (catalog.price_floor?, catalog.price_ceiling?);
        let is_above = floor.currency == ceiling.currency && floor.micros() > ceiling.micros();
        is_above.then(|| format!("the floor {floor} is above the ceiling {ceiling}"))
    }),
    rule(
        "bounds-currency-mismatch",
        Action::Reject,
        "a product's price floor and ceiling are in the currency of its prices",
        bounds_currency,
    ),
    rule(
        "listings-invalid",
        Action::Reject,
        "a product's listings are its own or competing, and not too many",
        listings_invalid,
    ),
    rule("units-zero", Action::Suspect, "an order line sells or returns something", |event, _, _| {
        matches!(event, Event::Sale(sale) if sale.units == 0).then(|| "the order line has no units".into())
    }),
    rule("landed-price-mismatch", Action::Suspect, "landed price = price + shipping", |event, _, _| {
        let Event::Offer(offer) = event else { return None };
        let (price, shipping, landed) = (offer.price?, offer.shipping?, offer.landed_price?);
        let sum = price.plus(&shipping)?;
        let is_wrong = sum.currency == landed.currency && sum.micros() != landed.micros();
        is_wrong.then(|| format!("{price} and {shipping} shipping are not {landed}"))
    }),
    rule("currency-mismatch", Action::Suspect, "an offer's amounts are in one currency", |event, _, _| {
        let Event::Offer(_) = event else { return None };
        unlike(amounts(event).into_iter().map(|(field, money)| (field, money.currency)))
    }),
    rule(JUMP, Action::Suspect, "a price is not 10, 100 or 1000 times the last good one, or a part", jump),
];

const fn rule(
    id: &'static str,
    default: Action,
    about: &'static str,
    objects: fn(&Event, &Prices, &Config) -> Option<String>,
) -> Rule {
    Rule { id, default, about, objects }
}

/// A text of an event, by the name of its field.
type Named<'a> = (&'static str, &'a str);

/// The texts without which it would not be known what an event is about.
fn ids(event: &Event) -> impl Iterator<Item = Named<'_>> {
    let source = ("source", event.envelope().map_or("-", |envelope| envelope.source.as_str()));
    let ids = match event {
        Event::Offer(e) => [source, ("native_id", &e.native_id), source, source],
        Event::Sale(e) => [source, ("native_id", &e.native_id), ("order_id", &e.order_id), ("line_id", &e.line_id)],
        Event::Inventory(e) => [source, ("native_id", &e.native_id), ("location", &e.location), source],
        Event::Catalog(e) => [source, ("product", &e.product), source, source],
        Event::Listing(e) => [source, ("product", &e.product), source, source],
        Event::Quality(_) | Event::Features(_) | Event::Alert(_) => [source; 4],
    };
    let of_listings = listings(event)
        .flat_map(|listing| [("a listing's source", &*listing.source), ("a listing's native_id", &*listing.native_id)]);
    ids.into_iter().chain(of_listings)
}

/// The texts that go into keys.
fn key_parts(event: &Event) -> impl Iterator<Item = Named<'_>> {
    let marketplace = event.envelope().map_or("", |envelope| envelope.marketplace.as_str());
    let of_listings = listings(event).map(|listing| ("a listing's marketplace", &*listing.marketplace));
    ids(event).chain([("marketplace", marketplace)]).chain(of_listings)
}

/// Other texts that go into tables as they are.
fn descriptions(event: &Event) -> impl Iterator<Item = Named<'_>> {
    let described = match event {
        Event::Offer(offer) => {
            let Offer { seller, vantage, .. } = offer.as_ref();
            [
                ("seller", seller),
                ("vantage.country", &vantage.country),
                ("vantage.postal", &vantage.postal),
                ("vantage.membership", &vantage.membership),
            ]
        }
        Event::Catalog(entry) => {
            let Catalog { name, category, currency, .. } = entry.as_ref();
            [("name", name), ("category", category), ("currency", currency), ("", &None)]
        }
        _ => [("", &None); 4],
    };
    described.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?)))
}

/// The listings that an event points at.
fn listings(event: &Event) -> impl Iterator<Item = &ListingRef> {
    let (own, competitors): (&[_], &[_]) = match event {
        Event::Catalog(entry) => (&entry.own, &entry.competitors),
        Event::Listing(row) => (std::slice::from_ref(&row.listing), &[]),
        _ => (&[], &[]),
    };
    own.iter().chain(competitors)
}

fn amounts(event: &Event) -> impl IntoIterator<Item = (&'static str, Money)> {
    let named = match event {
        Event::Offer(e) => [
            ("price", e.price),
            ("shipping", e.shipping),
            ("landed_price", e.landed_price),
            ("list_price", e.list_price),
        ],
        Event::Sale(e) => [("unit_price", e.unit_price), ("", None), ("", None), ("", None)],
        Event::Catalog(e) => {
            [("cost", e.cost), ("price_floor", e.price_floor), ("price_ceiling", e.price_ceiling), ("", None)]
        }
        _ => [("", None); 4],
    };
    named.into_iter().filter_map(|(field, money)| Some((field, money?)))
}

fn out_of_range(event: &Event, _: &Prices, _: &Config) -> Option<String> {
    if let Some((field, money)) = amounts(event).into_iter().find(|(_, money)| money.micros().abs() > AMOUNT_MICROS_MAX)
    {
        return Some(format!("{field} is {money}"));
    }
    let Event::Sale(sale) = event else { return None };
    let revenue = i128::from(sale.units) * sale.unit_price.map_or(0, |price| price.micros());
    let beyond = sale.units.unsigned_abs() > UNITS_MAX || revenue.abs() > AMOUNT_MICROS_MAX;
    beyond.then(|| format!("{} units are not sold on one order line", sale.units))
}

fn future(event: &Event, _: &Prices, config: &Config) -> Option<String> {
    let envelope = event.envelope()?;
    let ahead = envelope.observed_at.micros_since(envelope.ingested_at);
    let too_far = ahead > config.max_future.micros();
    too_far.then(|| format!("observed at {}, but taken in at {}", envelope.observed_at, envelope.ingested_at))
}

fn rating(event: &Event, _: &Prices, _: &Config) -> Option<String> {
    const BEST: f64 = 5.0;
    let Event::Offer(offer) = event else { return None };
    let best = offer.rating_best.unwrap_or(BEST);
    if !best.is_finite() {
        return Some(format!("the best rating is {best}"));
    }
    let rating = offer.rating?;
    let sane = rating >= 0.0 && rating <= best; // false for NaN too
    (!sane).then(|| format!("rated {rating} out of {best}"))
}

fn listings_invalid(event: &Event, _: &Prices, _: &Config) -> Option<String> {
    let Event::Catalog(catalog) = event else { return None };
    let Catalog { own, competitors, .. } = catalog.as_ref();
    let count = own.len() + competitors.len();
    if count > LISTINGS_PER_PRODUCT_MAX {
        return Some(format!("{count} listings are more than {LISTINGS_PER_PRODUCT_MAX}"));
    }
    let known: std::collections::HashSet<_> = own.iter().collect();
    let both = competitors.iter().find(|listing| known.contains(listing))?;
    Some(format!("listing {} is both its own and a competitor's", both.native_id))
}

/// Nothing is converted, so amounts of unlike currencies are compared with nothing, and stand for nothing together.
fn unlike(currencies: impl IntoIterator<Item = (&'static str, Currency)>) -> Option<String> {
    let mut currencies = currencies.into_iter();
    let (first, currency) = currencies.next()?;
    let (field, other) = currencies.find(|(_, other)| *other != currency)?;
    Some(format!("{first} is in {}, {field} in {}", currency.as_str(), other.as_str()))
}

/// What the goods cost may be in any currency: nothing is refused for it.
fn bounds_currency(event: &Event, _: &Prices, _: &Config) -> Option<String> {
    let Event::Catalog(entry) = event else { return None };
    let compared = entry.currency.as_deref().and_then(|code| Currency::parse(code).ok());
    let bound = |amount: &Option<Money>| amount.map(|amount| amount.currency);
    let stated = [
        ("the product", compared),
        ("price_floor", bound(&entry.price_floor)),
        ("price_ceiling", bound(&entry.price_ceiling)),
    ];
    unlike(stated.into_iter().filter_map(|(field, currency)| Some((field, currency?))))
}

fn jump(event: &Event, prices: &Prices, _: &Config) -> Option<String> {
    let Event::Offer(offer) = event else { return None };
    let (price, known) = (offer.price?, prices.of(offer)?);
    let last = known.price;
    if price.currency != last.currency || known.is_said_again(&price, offer.envelope.observed_at) {
        return None;
    }
    let (now, before) = (price.micros(), last.micros());
    let near = |a: i128, b: i128| (a - b).abs() * 100 <= b.abs(); // within 1 %
    let jumped = MAGNITUDES.iter().any(|factor| near(now, before * factor) || near(now * factor, before));
    jumped.then(|| format!("{price} after {last}"))
}

#[cfg(test)]
mod tests {
    use skuflow_schemas::{Currency, Sale};

    use super::*;

    fn objection(sale: Sale) -> Option<&'static str> {
        let event = Event::Sale(Box::new(sale));
        let objects = |rule: &&Rule| (rule.objects)(&event, &Prices::default(), &Config::default()).is_some();
        RULES.iter().find(objects).map(|rule| rule.id)
    }

    fn sale(units: i64, minor: i64) -> Sale {
        let currency = Currency::parse("EUR").expect("three letters");
        let mut sale =
            Sale { native_id: "A".into(), order_id: "1".into(), line_id: "1".into(), units, ..Sale::default() };
        (sale.envelope.customer, sale.envelope.source) = ("demo".into(), "shop".into());
        (sale.envelope.observed_at, sale.envelope.ingested_at) = (OBSERVED_AT_MIN, OBSERVED_AT_MIN);
        sale.unit_price = Some(Money { minor, currency, exponent: 2 });
        sale
    }

    #[test]
    fn what_tables_could_not_hold_is_refused() {
        assert_eq!(objection(sale(-3, 999)), None);
        for (units, minor) in [(1, i64::MAX), (i64::MIN, 1), (1_000_000_000, 100_000)] {
            assert_eq!(objection(sale(units, minor)), Some("amount-out-of-range"), "{units} x {minor}");
        }
        let cut_off = Sale { native_id: "A\0x".into(), ..sale(1, 1) };
        assert_eq!(objection(cut_off), Some("text-has-nul"));
    }
}
