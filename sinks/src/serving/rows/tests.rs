//! However records are cut into batches, they come to the same.

use skuflow_schemas::{Envelope, EventId, Reason, Timestamp};

use super::*;

fn copy(seller: u64, second: i64, retracted: bool, offset: u64) -> Incoming {
    let envelope = Envelope { observed_at: Timestamp::from_millis(second * 1000), ..Envelope::default() };
    let track = Some(Track { product: "P".into(), retracted, ..Track::default() });
    let seller = Some(format!("S{seller}").into());
    Incoming::Event(Event::Offer(Box::new(Offer { envelope, seller, track, ..Offer::default() })), offset)
}

fn keyed(table: &Table, said: Vec<Said>) -> Vec<(Vec<Cell>, Word)> {
    words(table, said).into_iter().map(|word| (word.key(table).expect("it has one").to_vec(), word)).collect()
}

/// What the statements do to a table: by key, the place in time of its row.
fn land(stored: &mut BTreeMap<Vec<Cell>, Rank>, rows: Rows) {
    for (key, word) in rows.latest.into_iter().flat_map(|(table, said)| keyed(table, said)) {
        let retracted = word.retracted.map(|row| row.rank);
        if stored.get(&key).is_some_and(|known| Some(*known) <= retracted) {
            stored.remove(&key);
        }
        if let Some(row) = word.standing
            && stored.get(&key).is_none_or(|known| *known < row.rank)
        {
            stored.insert(key, row.rank);
        }
    }
}

#[test]
fn copies_and_retractions_come_to_the_same_however_they_are_cut() {
    let mut random = 5_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut seen = [false; 2];
    for round in 0..500 {
        let records: Vec<_> = (0..12).map(|offset| copy(below(2), below(5) as i64, below(3) == 0, offset)).collect();
        let (mut singly, mut cut) = (BTreeMap::new(), BTreeMap::new());
        for record in &records {
            land(&mut singly, Rows::of([record].into_iter()));
        }
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (batch, left) = rest.split_at(1 + below(rest.len() as u64) as usize);
            land(&mut cut, Rows::of(batch.iter()));
            rest = left;
        }
        assert_eq!(cut, singly, "round {round}");
        seen[usize::from(singly.len() < 2)] = true;
    }
    assert_eq!(seen, [true; 2], "some offers stand, some do not");
}

#[test]
fn a_copy_is_no_offer_of_its_own() {
    let rows = Rows::of([copy(1, 1, false, 0)].iter());
    assert_eq!(rows.latest.keys().map(|table| table.name).collect::<Vec<_>>(), ["competition"]);
    assert!(rows.by_table.is_empty());
}

#[test]
fn a_figure_is_a_number_or_null_with_a_reason() {
    let mut features = Features { product: "P".into(), ..Features::default() };
    features.values.price_index = Some(0.1);
    features.values.score_quality = Some(0.0);
    features.reasons.price_gap = Reason::NoCompetitor;
    (features.reasons.price_index, features.reasons.score_quality) = (Reason::Present, Reason::Present);
    features.envelope.event_id = EventId([7; 16]);
    let record = Incoming::Event(Event::Features(Box::new(features)), 3);
    let mut rows = Rows::of([record].iter());
    let words = words(&PRODUCT_FEATURES, rows.latest.remove(&PRODUCT_FEATURES).expect("some"));
    let [word] = &words[..] else { panic!("a product") };
    let row = &word.standing.as_ref().expect("its figures").row;
    let said = |name: &str| row[PRODUCT_FEATURES.place(name)].clone();
    let figures = [said("price_index"), said("score_quality"), said("price_gap")];
    assert_eq!(figures, [Cell::Real(0.1), Cell::Real(0.0), Cell::Null]);
    let Cell::Json(nulls) = said("nulls") else { panic!("an object") };
    let nulls: BTreeMap<String, String> = serde_json::from_str(&nulls).expect("an object");
    assert_eq!(nulls.len(), FEATURES.len() - 2, "0 is a figure");
    assert_eq!(nulls["price_gap"], "no_competitor");
    assert_eq!(row.len(), PRODUCT_FEATURES.columns().count());
}

#[test]
fn the_landed_price_is_price_and_shipping() {
    let money = |text, currency| {
        let currency = skuflow_schemas::Currency::parse(currency).expect("known");
        Some(Money::parse(text, '.', currency).expect("an amount"))
    };
    for (price, shipping, landed) in [
        (money("2.50", "GBP"), money("1.05", "GBP"), Some(3_550_000)),
        (money("2.50", "GBP"), None, Some(2_500_000)),
        (money("2.50", "GBP"), money("1.05", "EUR"), None),
        (None, money("1.05", "GBP"), None),
    ] {
        let offer = Offer { price, shipping, landed_price: money("9", "GBP"), ..Offer::default() };
        assert_eq!(amount(landed_price(&offer).as_ref()), landed);
    }
}
