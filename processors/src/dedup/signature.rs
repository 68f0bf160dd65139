//! Who says what: two hashes that tell whether an observation changes anything.
//!
//! What is said has 64 bits: with a million sellers observed hourly for a year, two unlike observations of one seller in a
//! row hash alike with a chance of about 1 in 2 billion.
//!
//! Names have 48, as they are held only against the others of one listing or product, and are stored for each: of a million
//! listings with twenty sellers each, two sellers of one have the same name with a chance of about 1 in a million; of one
//! listing with as many sellers as are kept, 1 in 2 billion.

use skuflow_schemas::{Event, Inventory, Money, Offer, Text};

/// The two hashes: a name, and a word.
pub(super) struct Signature {
    pub(super) who: u64,
    pub(super) what: u64,
}

/// The signature of an event of a family in which observations may repeat; `None` for the others.
pub(super) fn signature(event: &Event) -> Option<Signature> {
    match event {
        Event::Offer(offer) => Some(offer_signature(offer)),
        Event::Inventory(inventory) => Some(inventory_signature(inventory)),
        _ => None,
    }
}

/// Name of who makes an offer on a listing: the seller, for goods of one condition, seen from one place. Of those that
/// differ in the seller alone, it differs from [`seller_name`] by the same bits.
pub(crate) fn who(offer: &Offer) -> u64 {
    let mut what = Fnv::new(0);
    what.word(offer.condition as u64);
    for part in [&offer.vantage.country, &offer.vantage.postal, &offer.vantage.membership] {
        what.text(part.as_ref());
    }
    seller_name(offer.seller.as_ref()) ^ what.name()
}

/// Name of a seller, or of nobody.
pub(crate) fn seller_name(seller: Option<&Text>) -> u64 {
    let mut name = Fnv::new(5);
    name.text(seller);
    name.name()
}

fn offer_signature(offer: &Offer) -> Signature {
    let mut what = Fnv::new(0);
    for amount in [&offer.price, &offer.shipping, &offer.landed_price, &offer.list_price] {
        what.money(amount.as_ref());
    }
    what.word(offer.availability as u64 | (offer.fulfilment as u64) << 8 | (offer.buy_box as u64) << 16);
    for number in [offer.stock_level, offer.offer_count, offer.review_count] {
        what.number(number);
    }
    for fraction in [offer.rating, offer.rating_best] {
        what.number(fraction.map(|fraction| fraction.to_bits() as i64));
    }
    for rank in &offer.ranks {
        what.text(Some(&rank.category));
        what.number(Some(rank.rank));
    }
    if let Some(pack) = &offer.pack {
        what.number(Some(pack.quantity.to_bits() as i64)); // less for the same price is another offer
        what.text(Some(&pack.unit));
    }
    offer.suspect.iter().for_each(|mark| what.text(Some(mark))); // a price without its mark is another word
    Signature { who: who(offer), what: what.finish() }
}

fn inventory_signature(inventory: &Inventory) -> Signature {
    let (mut who, mut what) = (Fnv::new(1), Fnv::new(1));
    who.text(Some(&inventory.location));
    what.number(Some(inventory.quantity));
    what.word(inventory.relation as u64);
    Signature { who: who.name(), what: what.finish() }
}

/// Stands for what is not said: a number that nobody says.
const ABSENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Word-wise FNV-1a with a final mix. Every bit that goes in is spelled out here, because the hashes are stored: a hash of
/// the standard library may change from version to version.
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new(seed: u64) -> Self {
        Self(0xcbf2_9ce4_8422_2325 ^ seed)
    }

    pub(crate) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    pub(crate) fn number(&mut self, number: Option<i64>) {
        self.word(number.map_or(ABSENT, i64::cast_unsigned));
    }

    pub(crate) fn text(&mut self, text: Option<&Text>) {
        let Some(text) = text else { return self.word(ABSENT) };
        self.word(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn money(&mut self, amount: Option<&Money>) {
        let Some(amount) = amount else { return self.word(ABSENT) };
        let micros = amount.micros();
        let code = amount.currency.as_str().bytes().fold(0, |code, byte| code << 8 | u64::from(byte));
        self.word(micros as u64);
        self.word((micros >> 64) as u64 ^ code << 32);
    }

    /// 48 bits, for what is told apart from few others.
    pub(crate) fn name(&self) -> u64 {
        self.finish() >> 16
    }

    pub(crate) fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use skuflow_schemas::Pack;

    use super::*;

    #[test]
    fn a_smaller_pack_at_the_same_price_is_another_offer() {
        let what = |quantity, unit: &str| {
            let offer = Offer { pack: Some(Pack { quantity, unit: unit.into() }), ..Offer::default() };
            let Signature { who, what } = offer_signature(&offer);
            (who, what)
        };
        let before = what(500.0, "g");
        assert_eq!(what(500.0, "g"), before);
        for (quantity, unit) in [(450.0, "g"), (500.0, "ml")] {
            let now = what(quantity, unit);
            assert!(now.0 == before.0 && now.1 != before.1, "{quantity} {unit}");
        }
    }
}
