//! How a market is stored: what an offer shares with the one before it is a bit, and a seller names an offer of theirs.

use std::cell::Cell;

use skuflow_schemas::Timestamp;

use super::demand::Demand;
use super::market::{Entry, Market, OwnSaid, Seller, Standing, Stock};
use super::past::Past;
use crate::codec::{Bits, Choice, Damage, Reader, Writer};

/// Offers behind that of the seller before among which a seller's own is looked for.
const NEAR: usize = 63;
const NEAR_BITS: u32 = 6;

pub(super) fn write(market: &Market, into: &mut Writer<'_>) {
    into.text(Some(&market.customer));
    into.text(Some(&market.product));
    let bits = Bits::default()
        .flag(market.now.is_some())
        .flag(market.entry.is_some())
        .flag(market.currency.is_some())
        .flag(market.given.is_some())
        .flag(market.wake_at.is_some())
        .flag(market.since.is_some());
    into.number(bits.number());
    into.time(market.taken_at);
    [market.now, market.wake_at, market.since].into_iter().flatten().for_each(|at| into.time(at));
    market.currency.into_iter().for_each(|currency| into.currency(currency));
    market.given.into_iter().for_each(|given| into.word(given));
    if let Some(entry) = &market.entry {
        write_entry(entry, into);
    }
    write_offers(&market.offers, into);
    write_sellers(&market.sellers, &market.offers, into);
    into.number(market.stocks.len() as u64);
    for stock in &market.stocks {
        into.name(stock.listing);
        into.name(stock.location);
        into.time(stock.at);
        into.signed(stock.quantity);
    }
    market.past.write(into);
    market.demand.write(into);
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<Market, Damage> {
    let (customer, product) = (from.text()?.unwrap_or_default(), from.text()?.unwrap_or_default());
    let mut bits = Bits::of(from.number()?);
    let (has_now, has_entry, has_currency) = (bits.is(), bits.is(), bits.is());
    let (has_given, has_wake, has_since) = (bits.is(), bits.is(), bits.is());
    let taken_at = from.time()?;
    let now = has_now.then(|| from.time()).transpose()?;
    let wake_at = has_wake.then(|| from.time()).transpose()?;
    let since = has_since.then(|| from.time()).transpose()?;
    let currency = has_currency.then(|| from.currency()).transpose()?;
    let given = has_given.then(|| from.word()).transpose()?;
    let entry = has_entry.then(|| read_entry(from)).transpose()?;
    let offers = from.list(|from, before: &[Standing]| read_offer(before.last(), from))?;
    let sellers = read_sellers(&offers, from)?;
    let stocks = from.list(|from, _| {
        Ok(Stock { listing: from.name()?, location: from.name()?, at: from.time()?, quantity: from.signed()? })
    })?;
    let (past, demand) = (Past::read(from)?, Demand::read(from)?);
    Ok(Market {
        customer,
        product,
        now,
        taken_at,
        entry,
        currency,
        since,
        offers,
        sellers,
        stocks,
        past,
        demand,
        given,
        wake_at,
    })
}

fn write_entry(entry: &Entry, into: &mut Writer<'_>) {
    into.time(entry.since);
    into.number(entry.cost.is_some().into());
    if let Some(cost) = &entry.cost {
        into.money(cost);
    }
    into.number(entry.own.len() as u64);
    entry.own.iter().for_each(|listing| into.name(*listing));
}

fn read_entry(from: &mut Reader<'_>) -> Result<Entry, Damage> {
    let since = from.time()?;
    let cost = if from.number()? == 0 { None } else { Some(from.money()?) };
    Ok(Entry { since, cost, own: from.list(|from, _| from.name())? })
}

fn write_offers(offers: &[Standing], into: &mut Writer<'_>) {
    into.number(offers.len() as u64);
    let mut before = None;
    for offer in offers {
        write_offer(offer, before, into);
        before = Some(offer);
    }
}

fn write_offer(offer: &Standing, before: Option<&Standing>, into: &mut Writer<'_>) {
    let is_listing = before.is_some_and(|before| before.listing == offer.listing);
    let is_condition = before.is_some_and(|before| before.who ^ before.seller == offer.who ^ offer.seller);
    let is_currency = before.is_some_and(|before| before.currency == offer.currency);
    let bits = Bits::default()
        .and(offer.role.number(), 2)
        .flag(is_listing)
        .flag(is_condition)
        .flag(is_currency)
        .and(said(offer.rating, offer.at), 2)
        .and(offer.buy_box.number(), 2)
        .and(offer.availability.number(), 4)
        .flag(offer.own.is_some())
        .and(offer.is_discounted.map_or(0, |is_discounted| 1 + u64::from(is_discounted)), 2)
        .flag(offer.is_change)
        .flag(offer.seller == offer.listing)
        .flag(offer.currency.is_some() && !is_currency);
    into.number(bits.number());
    if !is_listing {
        into.name(offer.listing);
    }
    if offer.seller != offer.listing {
        into.name(offer.seller);
    }
    if !is_condition {
        into.name(offer.who ^ offer.seller);
    }
    if let Some(currency) = offer.currency.filter(|_| !is_currency) {
        into.currency(currency);
    }
    into.time(offer.at);
    into.amount(offer.landed);
    write_said(offer.rating.map(|(at, rating)| (at, rating.into())), offer.at, into);
    if let Some(own) = &offer.own {
        let bits = Bits::default().and(said(own.rank, offer.at), 2).and(said(own.reviews, offer.at), 2);
        into.number(bits.number());
        into.amount(own.price);
        into.figure(own.size);
        write_said(own.rank, offer.at, into);
        write_said(own.reviews, offer.at, into);
    }
}

fn read_offer(before: Option<&Standing>, from: &mut Reader<'_>) -> Result<Standing, Damage> {
    const NONE_BEFORE: Damage = "an offer is like the one before, and there is none";
    let mut bits = Bits::of(from.number()?);
    let role = Choice::of(bits.take(2))?;
    let (is_listing, is_condition, is_currency) = (bits.is(), bits.is(), bits.is());
    let rating_said = bits.take(2);
    let (buy_box, availability) = (Choice::of(bits.take(2))?, Choice::of(bits.take(4))?);
    let is_own = bits.is();
    let is_discounted = bits.take(2).checked_sub(1).map(|is_discounted| is_discounted != 0);
    let (is_change, is_listing_seller, has_currency) = (bits.is(), bits.is(), bits.is());
    let shared = |is_shared: bool| if is_shared { before.ok_or(NONE_BEFORE).map(Some) } else { Ok(None) };
    let listing = match shared(is_listing)? {
        Some(before) => before.listing,
        None => from.name()?,
    };
    let seller = if is_listing_seller { listing } else { from.name()? };
    let condition = match shared(is_condition)? {
        Some(before) => before.who ^ before.seller,
        None => from.name()?,
    };
    let currency = match shared(is_currency)? {
        Some(before) => before.currency,
        None => has_currency.then(|| from.currency()).transpose()?,
    };
    let at = from.time()?;
    let landed = from.amount()?;
    let rating = match read_said(rating_said, at, from)? {
        Some((at, rating)) => read_rating(Some(rating))?.map(|rating| (at, rating)),
        None => None,
    };
    let own = is_own.then(|| read_own(at, from).map(Box::new)).transpose()?;
    let who = condition ^ seller;
    Ok(Standing {
        listing,
        who,
        seller,
        role,
        at,
        is_change,
        landed,
        currency,
        availability,
        buy_box,
        is_discounted,
        rating,
        own,
    })
}

fn read_own(at: Timestamp, from: &mut Reader<'_>) -> Result<OwnSaid, Damage> {
    let mut bits = Bits::of(from.number()?);
    let (rank_said, reviews_said) = (bits.take(2), bits.take(2));
    let (price, size) = (from.amount()?, from.figure()?);
    let (rank, reviews) = (read_said(rank_said, at, from)?, read_said(reviews_said, at, from)?);
    Ok(OwnSaid { price, size, rank, reviews })
}

/// Whether it is not said (0), at `at` (1), or at another time (2).
fn said<T>(word: Option<(Timestamp, T)>, at: Timestamp) -> u64 {
    word.map_or(0, |(said_at, _)| if said_at == at { 1 } else { 2 })
}

fn write_said(word: Option<(Timestamp, i64)>, at: Timestamp, into: &mut Writer<'_>) {
    let Some((said_at, said)) = word else { return };
    if said_at != at {
        into.time(said_at);
    }
    into.amount(Some(said));
}

fn read_said(said: u64, at: Timestamp, from: &mut Reader<'_>) -> Result<Option<(Timestamp, i64)>, Damage> {
    let said_at = match said {
        0 => return Ok(None),
        1 => at,
        _ => from.time()?,
    };
    Ok(from.amount()?.map(|said| (said_at, said)))
}

/// Sellers come about in the order of their first offers.
fn write_sellers(sellers: &[Seller], offers: &[Standing], into: &mut Writer<'_>) {
    into.number(sellers.len() as u64);
    let mut next = 0;
    for seller in sellers {
        let mut ahead = offers[next..].iter().chain(&offers[..next]).take(NEAR);
        let near = ahead.position(|offer| offer.seller == seller.id);
        let at = near.map(|skipped| around(next + skipped, offers));
        let is_offered_last = at.is_some_and(|at| offers[at].at == seller.last_at);
        let bits = Bits::default()
            .flag(seller.entered_at.is_some())
            .flag(seller.lowered_at.is_some())
            .flag(is_offered_last)
            .and(near.map_or(0, |skipped| skipped as u64 + 1), NEAR_BITS);
        into.number(bits.number());
        match at {
            Some(at) => next = around(at + 1, offers),
            None => into.name(seller.id),
        }
        if !is_offered_last {
            into.time(seller.last_at);
        }
        [seller.entered_at, seller.lowered_at].into_iter().flatten().for_each(|at| into.time(at));
    }
}

fn read_sellers(offers: &[Standing], from: &mut Reader<'_>) -> Result<Vec<Seller>, Damage> {
    let next = Cell::new(0);
    from.list(|from, _| {
        let mut bits = Bits::of(from.number()?);
        let (has_entered, has_lowered, is_offered_last) = (bits.is(), bits.is(), bits.is());
        let offer = match bits.take(NEAR_BITS).checked_sub(1) {
            Some(skipped) => {
                let at = around(next.get() + skipped as usize, offers);
                next.set(around(at + 1, offers));
                Some(offers.get(at).ok_or("a seller has an offer that there is not")?)
            }
            None => None,
        };
        let id = offer.map_or_else(|| from.name(), |offer| Ok(offer.seller))?;
        let last_at = match offer {
            Some(offer) if is_offered_last => offer.at,
            _ => from.time()?,
        };
        let entered_at = has_entered.then(|| from.time()).transpose()?;
        let lowered_at = has_lowered.then(|| from.time()).transpose()?;
        Ok(Seller { id, last_at, entered_at, lowered_at })
    })
}

/// Place `at` of the offers, behind whose last the first comes again.
fn around(at: usize, offers: &[Standing]) -> usize {
    if at < offers.len() { at } else { at - offers.len() }
}

/// A rating, which is a small amount.
pub(super) fn read_rating(millionths: Option<i64>) -> Result<Option<u32>, Damage> {
    millionths.map(u32::try_from).transpose().map_err(|_| "a rating is too large, or negative")
}
