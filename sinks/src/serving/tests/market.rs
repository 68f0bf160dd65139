//! The tables of products in their market.

use skuflow_schemas::{Alert, Evidence, FEATURES, Features, Role, Severity, Track};

use super::*;

fn copy(product: &str, seller: &str, cents: i64, second: i64, retracted: bool) -> Event {
    let mut envelope = envelope(second);
    envelope.cause_id = Some(envelope.event_id);
    Event::Offer(Box::new(Offer {
        envelope,
        native_id: "L".into(),
        seller: Some(seller.into()),
        price: price(cents),
        shipping: price(5),
        track: Some(Track { product: product.into(), role: Role::Competitor, retracted }),
        ..Offer::default()
    }))
}

fn features(product: &str, index: f64, second: i64, id: u8) -> Event {
    let mut features = Features { envelope: envelope(second), product: product.into(), ..Features::default() };
    features.envelope.event_id = EventId([id; 16]);
    features.values.price_index = Some(index);
    Event::Features(Box::new(features))
}

fn alert(product: &str, second: i64) -> Event {
    let evidence = vec![Evidence { name: "price_gap".into(), value: Some(0.5), previous: None }];
    let (rule, message, severity) = ("price-war".into(), "it's \"war\"".into(), Severity::Critical);
    let (envelope, product, seller) = (envelope(second), product.into(), Some("S".into()));
    Event::Alert(Box::new(Alert { envelope, product, rule, severity, message, seller, evidence, ..Alert::default() }))
}

const STANDING: &str = "SELECT product || ' ' || seller || ' ' || role || ' ' || landed_price_micros || ' ' || \
    cause_id FROM competition ORDER BY 1";

#[test]
fn an_offer_stands_until_it_is_taken_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let ten = "P S competitor 1050000 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
    let twenty = "P S competitor 2050000 14141414141414141414141414141414";
    let other = "Q S competitor 1050000 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
    let steps: [(&str, Vec<Event>, &[&str]); 7] = [
        ("two products", vec![copy("P", "S", 100, 10, false), copy("Q", "S", 100, 10, false)], &[ten, other]),
        ("a newer one", vec![copy("P", "S", 200, 20, false)], &[twenty, other]),
        ("an older one", vec![copy("P", "S", 150, 15, false)], &[twenty, other]),
        ("taken back before it was newer", vec![copy("P", "S", 100, 10, true)], &[twenty, other]),
        ("taken back at its own time", vec![copy("P", "S", 200, 20, true)], &[other]),
        ("tracked again", vec![copy("P", "S", 200, 20, false)], &[twenty, other]),
        ("again, in one batch", vec![copy("P", "S", 200, 20, true), copy("P", "S", 100, 10, false)], &[ten, other]),
    ];
    let mut next = 0;
    for (what, events, expected) in steps {
        let count = events.len() as u64;
        land(&mut serving, &batch("product-offers.v1", (next > 0).then_some(next), events)).expect("lands");
        assert_eq!(query(&path, STANDING), expected, "{what}");
        next += count;
    }
    assert_eq!(query(&path, "SELECT native_id FROM offers_latest"), [""; 0], "copies are no offers of their own");
}

#[test]
fn the_last_figures_of_a_product_stand() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let figures = "SELECT price_index || ' ' || typeof(price_index) || ' ' || typeof(price_gap) || ' ' || \
        (SELECT COUNT(*) FROM json_each(nulls)) FROM product_features";
    let nulls = FEATURES.len() - 1;
    for (from, index, second, id, expected) in [
        (None, 1.0, 20, 5, 1.0),
        (Some(1), 0.1, 30, 5, 0.1),
        (Some(2), 0.7, 10, 9, 0.1),
        (Some(3), 0.8, 29, 4, 0.1),
        (Some(4), 0.9, 30, 4, 0.9),
    ] {
        land(&mut serving, &batch("features.v1", from, vec![features("P", index, second, id)])).expect("lands");
        assert_eq!(query(&path, figures), [format!("{expected:?} real null {nulls}")], "after {index}");
    }
}

#[test]
fn an_alert_is_one_row() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    land(&mut serving, &batch("alerts.v1", None, vec![alert("P", 1), alert("P", 2), alert("P", 1)])).expect("lands");
    land(&mut serving, &batch("alerts.v1", Some(3), vec![alert("P", 2)])).expect("lands");
    let alerts = "SELECT observed_at || ' ' || severity || ' ' || message || ' ' || seller || ' ' || \
        json_extract(evidence, '$[0].value') || ' ' || typeof(value) FROM alerts ORDER BY observed_at";
    let said = "critical it's \"war\" S 0.5 null";
    assert_eq!(query(&path, alerts), [format!("1000000 {said}"), format!("2000000 {said}")]);
}

/// Tables that were made before there were products in them keep their rows.
#[test]
fn older_tables_are_brought_up_to_date() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    land(&mut open(&path), &batch("offers.v1", None, vec![offer(100, 1)])).expect("lands");
    execute(
        &path,
        "DROP VIEW product_prices; DROP TABLE product_features; DROP TABLE competition; DROP TABLE alerts; \
         DELETE FROM _sqlx_migrations WHERE version = 2",
    );
    land(&mut open(&path), &batch("alerts.v1", None, vec![alert("P", 1)])).expect("lands");
    assert_eq!(query(&path, "SELECT product FROM alerts UNION ALL SELECT native_id FROM offers_latest"), ["P", "L"]);
}

/// The history of a listing before a product tracked it is the product's, and no longer when it is dropped.
#[test]
fn the_prices_of_a_product_are_those_of_the_listings_it_tracks() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let prices = "SELECT product || ' ' || role || ' ' || (observed_at / 1000000) || ' ' || landed_price_micros \
        FROM product_prices ORDER BY product, observed_at";
    land(&mut serving, &batch("offers.v1", None, vec![offer(100, 1), offer(200, 2)])).expect("lands");
    assert_eq!(query(&path, prices), [""; 0]);
    let tracked = [copy("P", "S", 200, 2, false), copy("P", "T", 200, 2, false), copy("Q", "S", 200, 2, false)];
    land(&mut serving, &batch("product-offers.v1", None, tracked.into())).expect("lands");
    let of = |product: &str| [1, 2].map(|second| format!("{product} competitor {second} {second}000000"));
    assert_eq!(query(&path, prices), [of("P"), of("Q")].concat(), "once for each product, whoever sells");
    land(&mut serving, &batch("product-offers.v1", Some(3), vec![copy("Q", "S", 200, 2, true)])).expect("lands");
    assert_eq!(query(&path, prices), of("P"));
}

/// Partitions come in any order, cut anywhere: only within a partition there is an order.
#[test]
fn shuffled_arrival_gives_the_same_tables() {
    let mut random = 3_u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    let mut logs: BTreeMap<TopicPartition, Vec<Event>> = BTreeMap::new();
    for number in 0..240 {
        let (partition, second) = (below(3), below(5) as i64);
        let (product, seller) = (format!("P{partition}{}", below(2)), ["S", "T"][below(2)]);
        let mut event = match number % 4 {
            0 => features(&product, number as f64, second, number as u8),
            1 => alert(&product, second),
            _ => copy(&product, seller, number, second, below(4) == 0),
        };
        event.envelope_mut().expect("no count").event_id = EventId([number as u8; 16]);
        logs.entry(TopicPartition::new(event.topic(), partition as u32)).or_default().push(event);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tables = [
        "SELECT json_array(product, seller, price_micros, observed_at, log_offset) FROM competition ORDER BY 1",
        "SELECT json_array(product, price_index, nulls, observed_at, event_id) FROM product_features ORDER BY 1",
        "SELECT json_array(event_id, product, observed_at) FROM alerts ORDER BY 1",
    ];
    let mut expected = None;
    for round in 0..20 {
        let path = dir.path().join(format!("{round}.db"));
        let mut serving = open(&path);
        let mut landed: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        while landed.values().sum::<usize>() < 240 {
            let mut parts = BTreeMap::new();
            for (of, events) in &logs {
                let from = landed.get(of).copied().unwrap_or(0);
                let to = (from + if round == 0 { 240 } else { below(20).saturating_sub(12) }).min(events.len());
                if from < to {
                    let records = (from..to).map(|at| Incoming::Event(events[at].clone(), at as u64)).collect();
                    let range = Range { from: (from > 0).then_some(from as u64), to: to as u64 };
                    parts.insert(of.clone(), Part { range, records });
                    landed.insert(of, to);
                }
            }
            land(&mut serving, &Batch { parts }).expect("lands");
        }
        let rows: Vec<_> = tables.into_iter().map(|table| query(&path, table)).collect();
        assert!(rows.iter().all(|rows| rows.len() > 4), "{rows:?}");
        assert_eq!(&rows, expected.get_or_insert_with(|| rows.clone()), "round {round}");
    }
}
