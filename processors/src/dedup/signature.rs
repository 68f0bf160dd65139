//! Who says what: two hashes that tell whether an observation changes anything.
//!
//! 64 bits each: with a million sellers observed hourly for a year, two unlike observations of one seller in a row hash
//! alike with a chance of about 1 in 2 billion.

use std::hash::{Hash, Hasher};

use skuflow_schemas::{Event, Inventory, Money, Offer};

/// The two hashes.
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

fn offer_signature(offer: &Offer) -> Signature {
    let who = hash(|state| {
        (0_u8, &offer.seller, offer.condition.name()).hash(state);
        (&offer.vantage.country, &offer.vantage.postal, &offer.vantage.membership).hash(state);
    });
    let what = hash(|state| {
        for amount in [&offer.price, &offer.shipping, &offer.landed_price, &offer.list_price] {
            money(amount.as_ref(), state);
        }
        (offer.availability as u8, offer.fulfilment as u8, offer.buy_box as u8).hash(state);
        (offer.stock_level, offer.offer_count, offer.review_count).hash(state);
        (offer.rating.map(f64::to_bits), offer.rating_best.map(f64::to_bits)).hash(state);
        for rank in &offer.ranks {
            (&rank.category, rank.rank).hash(state);
        }
    });
    Signature { who, what }
}

fn inventory_signature(inventory: &Inventory) -> Signature {
    let who = hash(|state| (1_u8, &inventory.location).hash(state));
    let what = hash(|state| (inventory.quantity, inventory.relation as u8).hash(state));
    Signature { who, what }
}

fn money(amount: Option<&Money>, state: &mut Fnv) {
    amount.map(|amount| (amount.micros(), amount.currency.as_str())).hash(state);
}

fn hash(feed: impl FnOnce(&mut Fnv)) -> u64 {
    let mut state = Fnv(0xcbf2_9ce4_8422_2325);
    feed(&mut state);
    state.finish()
}

/// Word-wise FNV-1a with a final mix: the same on every machine and in every version, which std's hashers do not promise.
struct Fnv(u64);

impl Fnv {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
