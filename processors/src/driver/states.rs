//! What the states of the steps take, and what becomes of damaged ones.

use std::fmt::Debug;

use skuflow_schemas::{Availability, BuyBox, Currency, Money, Offer};

use super::*;

/// 2024-01-01T00:00:00Z, as in scenarios.
const START: Timestamp = Timestamp::from_millis(1_704_067_200_000);
const LOOK_MICROS: u64 = 180_000_000;
const LOOKS_PER_DAY: u64 = 480;

/// The states of both stages of a product, with days of offers, of one of twenty sellers each; each changes something.
fn market(days: u64) -> [Kept; 2] {
    let [mut clean, mut compete] = [Kept::default(), Kept::default()];
    let [clean_steps, compete_steps] = [steps("clean"), steps("alerts")];
    let tables = [
        "row 0d00:00 B000000001 P000000001 own source=market listing.source=market listing.seller=seller-0",
        "entry 0d00:00 P000000001 source=market currency=EUR cost=70.00EUR price_floor=90.00EUR price_ceiling=110.00EUR",
    ];
    let tables = tables.map(|line| script::parse(line).expect("is a record"));
    process(&clean_steps, &mut clean, &tables[0]);
    process(&compete_steps, &mut compete, &tables[1]);
    let mut random = 42;
    for look in 0..days * LOOKS_PER_DAY {
        let message = message_of("raw.offers.v1", &offer(look, next(&mut random)));
        let copies = process(&clean_steps, &mut clean, &message);
        for copy in copies.iter().filter(|copy| copy.topic == "product-offers.v1") {
            process(&compete_steps, &mut compete, copy);
        }
    }
    [clean, compete]
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random
}

fn offer(look: u64, random: u64) -> Event {
    let euro =
        |cents| Some(Money { minor: cents, currency: Currency::parse("EUR").expect("three letters"), exponent: 2 });
    let who = (random >> 16) % 20;
    let spread = if random >> 60 == 0 { 2_000 } else { 300 };
    let cents = 10_000 + 10 * who as i64 + ((random >> 40) % spread) as i64 - spread as i64 / 2;
    let at = START.plus_micros((look * LOOK_MICROS + random % LOOK_MICROS) as i64);
    let envelope = Envelope {
        customer: "demo".into(),
        source: "market".into(),
        marketplace: "de".into(),
        observed_at: at,
        ingested_at: at,
        ..Envelope::default()
    };
    let mut event = Event::Offer(Box::new(Offer {
        envelope,
        native_id: "B000000001".into(),
        seller: Some(format!("seller-{who}").into()),
        price: euro(cents),
        shipping: euro(399),
        list_price: euro(12_000),
        availability: Availability::InStock,
        stock_level: Some((random >> 50) as i64),
        buy_box: if (random >> 33).is_multiple_of(20) { BuyBox::Won } else { BuyBox::Lost },
        rating: Some(4.5),
        review_count: Some(look as i64 % 1000),
        ..Offer::default()
    }));
    let id = event.compute_id();
    event.envelope_mut().expect("an offer has one").event_id = id;
    event
}

/// A product's state is written with each of its records, and most of it is twenty sellers of whom one changed.
#[test]
fn states_of_twenty_sellers_are_small() {
    let [clean, compete] = market(30);
    let bytes = |kept: &Kept, at: usize| {
        let mut of_step = kept.states.iter().filter(|(place, _)| place.0 == at);
        of_step.next().map_or(0, |(_, bytes)| bytes.len())
    };
    let most = [
        ("validate", bytes(&clean, 0), 300),
        ("dedup", bytes(&clean, 1), 410),
        ("route", bytes(&clean, 2), 260),
        ("features", bytes(&compete, 0), 670),
        ("alerts", bytes(&compete, 1), 330),
    ];
    for (step, bytes, most) in most {
        assert!((most / 2..=most).contains(&bytes), "{step}: {bytes} bytes");
    }
}

/// All states that a stage has in its scenarios.
fn stored(stage: &str, at: usize) -> BTreeSet<Vec<u8>> {
    let mut stored = BTreeSet::new();
    for scenario in scenarios().filter(|scenario| scenario.stage == stage) {
        let mut kept = Kept::default();
        for input in &scenario.inputs {
            process(&steps(stage), &mut kept, input);
            stored.extend(kept.states.iter().filter(|(place, _)| place.0 == at).map(|(_, bytes)| bytes.clone()));
        }
    }
    stored
}

fn encoded<S: State>(state: &S) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(state, &mut bytes);
    bytes
}

/// Bytes that end early are refused. Bytes that were changed are refused, or are a state like any: what is written of it is
/// read back.
fn endures<S: State + Debug>(stage: &str, at: usize, seed: u64) {
    let (mut random, mut refused, mut other) = (seed, 0, 0);
    for bytes in stored(stage, at) {
        let state = load::<S>(Some(&bytes));
        assert_eq!(encoded(&state), bytes, "{state:?}");
        for end in 0..bytes.len() {
            assert!(codec::decode::<S>(&bytes[..end]).is_err(), "{end} bytes of {state:?}");
        }
        for _ in 0..50 {
            let mut damaged = bytes.clone();
            for _ in 0..=next(&mut random) >> 62 {
                let place = (next(&mut random) >> 33) as usize % damaged.len();
                damaged[place] ^= 1 << (next(&mut random) >> 61);
            }
            let Ok(state) = codec::decode::<S>(&damaged) else {
                refused += 1;
                continue;
            };
            other += 1;
            let again = codec::decode::<S>(&encoded(&state));
            assert_eq!(again.as_ref().map(encoded), Ok(encoded(&state)), "seed {seed}: {state:?}");
            // A number that is none is not what it is itself.
            assert!(state != state.clone() || again == Ok(state), "seed {seed}: {damaged:?}");
        }
    }
    assert!(refused > 0 && other > 0, "{stage} {at}: {refused} refused, {other} not");
}

#[test]
fn damaged_states_are_refused_or_are_states() {
    for seed in [1, 2] {
        endures::<validate::Prices>("clean", 0, seed);
        endures::<dedup::LastPassed>("clean", 1, seed);
        endures::<route::Tracked>("clean", 2, seed);
        endures::<catalog::LastWord>("catalog", 1, seed);
        endures::<features::Market>("alerts", 0, seed);
        endures::<features::Market>("compete", 0, seed);
        endures::<alerts::Watched>("alerts", 1, seed);
    }
}
