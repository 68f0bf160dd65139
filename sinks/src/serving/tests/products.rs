//! Products, listings and sellers, what is said of them day by day, and how long.

use skuflow_schemas::{Catalog, Features, Listing, ListingRef, Rank, Role, Span};

use super::*;
use crate::serving::Upkeep;

const DAY: i64 = 86_400;

fn catalog(product: &str, category: &str, second: i64) -> Event {
    Event::Catalog(Box::new(Catalog {
        envelope: envelope(second),
        product: product.into(),
        category: Some(category.into()),
        currency: Some("GBP".into()),
        cost: price(50),
        active: true,
        ..Catalog::default()
    }))
}

fn tracked(product: &str, native_id: &str, role: Role, second: i64) -> Event {
    let listing = ListingRef {
        source: "shop".into(),
        marketplace: "uk".into(),
        native_id: native_id.into(),
        ..ListingRef::default()
    };
    Event::Listing(Box::new(Listing { envelope: envelope(second), listing, product: product.into(), role }))
}

fn ended(event: &Event) -> Incoming {
    Incoming::Ended(event.key().as_str().into())
}

#[test]
fn a_product_and_its_listings_stand_until_they_end() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let products = "SELECT product || ' ' || category || ' ' || cost_currency || ' ' || cost_micros || ' ' || active \
        FROM products ORDER BY product";
    let entries = vec![catalog("P", "tea", 1), catalog("Q", "tea", 1), catalog("P", "coffee", 2)];
    land(&mut serving, &batch("catalog.v1", None, entries)).expect("lands");
    assert_eq!(query(&path, products), ["P coffee GBP 500000 1", "Q tea GBP 500000 1"]);
    // What the topic says last stands, whatever its event time: who writes it has decided.
    let words = vec![ended(&catalog("Q", "", 0)), Incoming::Event(catalog("P", "milk", 1), 4)];
    land(&mut serving, &of("catalog.v1", Some(3), words)).expect("lands");
    assert_eq!(query(&path, products), ["P milk GBP 500000 1"]);
    let words =
        vec![Incoming::Event(catalog("Q", "tea", 1), 5), ended(&catalog("P", "", 0)), ended(&catalog("Q", "", 0))];
    land(&mut serving, &of("catalog.v1", Some(5), words)).expect("lands");
    assert_eq!(query(&path, products), [""; 0]);

    let listings = "SELECT product || ' ' || native_id || ' ' || role FROM listings ORDER BY 1";
    let rows = [("P|x", "L", Role::Own), ("P|x", "M", Role::Competitor), ("Q", "M", Role::Own)];
    let rows = rows.map(|(product, native_id, role)| tracked(product, native_id, role, 1));
    land(&mut serving, &batch("listings.v1", None, rows.to_vec())).expect("lands");
    assert_eq!(query(&path, listings), ["P|x L own", "P|x M competitor", "Q M own"]);
    land(&mut serving, &of("listings.v1", Some(3), vec![ended(&rows[1]), ended(&rows[1])])).expect("lands");
    assert_eq!(query(&path, listings), ["P|x L own", "Q M own"]);
    serving.is_alike();
}

fn seen(seller: &str, rank: i64, reviews: Option<i64>, second: i64, id: u8) -> Event {
    let mut envelope = envelope(second);
    envelope.event_id = EventId([id; 16]);
    envelope.ingested_at = Timestamp::from_millis(second * 1000 + 1);
    Event::Offer(Box::new(Offer {
        envelope,
        native_id: "L".into(),
        seller: (!seller.is_empty()).then(|| seller.into()),
        price: price(100),
        ranks: vec![Rank { category: "tea".into(), rank }, Rank { category: "all".into(), rank: rank * 10 }],
        review_count: reviews,
        ..Offer::default()
    }))
}

#[test]
fn sellers_ranks_and_reviews_are_those_of_the_offers() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let offers = vec![
        seen("S", 3, Some(7), DAY + 20, 1),
        seen("S", 2, None, DAY + 30, 2),
        seen("T", 1, Some(6), DAY + 10, 3),
        seen("", 4, Some(9), 2 * DAY, 4),
    ];
    land(&mut serving, &batch("offers.v1", None, offers)).expect("lands");
    land(&mut serving, &batch("offers.v1", Some(4), vec![seen("S", 5, Some(8), DAY + 5, 5)])).expect("lands");
    let sellers = "SELECT seller || ' ' || offers || ' ' || (first_observed_at / 1000000) || ' ' || \
        (latest_observed_at / 1000000) FROM sellers ORDER BY 1";
    assert_eq!(query(&path, sellers), ["S 3 86405 86430", "T 1 86410 86410"]);
    let ranks = "SELECT (observed_at / 1000000) || ' ' || rank_category || ' ' || sales_rank FROM rank_history \
        WHERE rank_category = 'tea' ORDER BY observed_at";
    let expected = ["86405 tea 5", "86410 tea 1", "86420 tea 3", "86430 tea 2", "172800 tea 4"];
    assert_eq!(query(&path, ranks), expected);
    let reviews = "SELECT day || ' ' || review_count || ' ' || typeof(rating) FROM review_daily ORDER BY day";
    assert_eq!(query(&path, reviews), ["1970-01-02 7 null", "1970-01-03 9 null"], "the last that says one");
    serving.is_alike();
}

fn priced(product: &str, price: f64, second: i64, id: u8) -> Event {
    let mut features = Features { envelope: envelope(second), product: product.into(), ..Features::default() };
    features.envelope.event_id = EventId([id; 16]);
    features.currency = Some("GBP".into());
    features.values.product_price_current = Some(price);
    features.values.price_index = (price < 5.0).then_some(price);
    Event::Features(Box::new(features))
}

/// Views, which Postgres keeps, say the same in both.
#[test]
fn views_tell_of_categories_places_and_changes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let entries = [("A", "tea"), ("B", "tea"), ("C", "tea"), ("D", "milk"), ("E", "milk")];
    let entries = entries.map(|(product, category)| catalog(product, category, 1));
    land(&mut serving, &batch("catalog.v1", None, entries.into())).expect("lands");
    let figures = vec![
        priced("A", 2.0, DAY, 1),
        priced("A", 3.0, DAY + 1, 2),
        priced("A", 1.5, 3 * DAY, 3),
        priced("B", 1.0, DAY, 4),
        priced("C", 7.0, DAY, 5),
        priced("D", 1.0, DAY, 6),
        priced("D", 1.1, 2 * DAY, 7),
        priced("E", 2.2, DAY, 8),
        priced("Z", 9.0, DAY, 9), // tracked by nobody
    ];
    land(&mut serving, &batch("features.v1", None, figures)).expect("lands");
    let ranges = "SELECT category || ' ' || currency || ' ' || products || ' ' || price_min || ' ' || price_median || ' ' || \
        price_max FROM category_price_ranges ORDER BY 1";
    assert_eq!(query(&path, ranges), ["milk GBP 2 1.1 1.65 2.2", "tea GBP 3 1.0 1.5 7.0"]);
    let places = "SELECT product || ' ' || coalesce(price_place, '-') || ' ' || coalesce(score_place, '-') \
        FROM market_position ORDER BY product";
    assert_eq!(query(&path, places), ["A 2 -", "B 1 -", "C - -", "D 1 -", "E 2 -"]);
    let movers = "SELECT day || ' ' || product || ' ' || price_before || ' ' || price || ' ' || day_before || ' ' || \
        round(change, 3) FROM daily_movers ORDER BY 1";
    assert_eq!(query(&path, movers), ["1970-01-03 D 1.0 1.1 1970-01-02 0.1", "1970-01-04 A 3.0 1.5 1970-01-02 -0.5"]);
    let last = "SELECT product || ' ' || day || ' ' || product_price_current FROM product_features_daily \
        WHERE product = 'A' ORDER BY day";
    assert_eq!(query(&path, last), ["A 1970-01-02 3.0", "A 1970-01-04 1.5"]);
    serving.is_alike();
}

/// Tables that had a history before it was known when its rows came in: as if they came in now.
#[test]
fn a_history_that_was_there_before_stays() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let made = "SELECT group_concat('DROP ' || type || ' IF EXISTS ' || name, ';') FROM (SELECT * FROM sqlite_master \
        WHERE name IN ('products', 'listings', 'sellers', 'rank_history', 'review_daily', 'product_features_daily', \
        'history_months', 'alert_states', 'open_alerts', 'category_price_ranges', 'market_position', 'daily_movers', \
        'alerts_by_time', 'offers_latest_by_seller', 'data_quality_by_hour') ORDER BY type DESC)";
    let offers = vec![seen("S", 1, None, DAY, 1), seen("S", 1, None, 40 * DAY, 2)];
    let mut serving = in_sqlite(&path);
    wait(serving.positions(&identity("c"))).expect("opens");
    wait(serving.land(&batch("offers.v1", None, offers))).expect("lands");
    drop(serving);
    let drops = query(&path, made).remove(0) + "; DELETE FROM _sqlx_migrations WHERE version >= 3";
    execute(&path, drops.leak());
    wait(in_sqlite(&path).positions(&identity("c"))).expect("is brought up to date");
    let months = "SELECT month || ' ' || (latest_ingested_at > 1700000000000000) FROM history_months ORDER BY month";
    assert_eq!(query(&path, months), ["1970-01-01 1", "1970-02-01 1"]);
}

/// Months go when the last of their rows came in long ago, whatever their event time; others stay.
#[test]
fn histories_are_as_long_as_retention() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    // Rows of January 1970, which came in at once; of February, one of which came in late; and of 1971.
    let mut late = seen("S", 1, Some(1), 40 * DAY, 3);
    late.envelope_mut().expect("an offer").ingested_at = Timestamp::from_millis(399 * DAY * 1000);
    let offers = vec![
        seen("S", 1, Some(1), DAY, 1),
        seen("S", 1, Some(1), 39 * DAY, 2),
        late,
        seen("S", 1, Some(1), 400 * DAY, 4),
    ];
    land(&mut serving, &batch("offers.v1", None, offers)).expect("lands");
    land(&mut serving, &batch("features.v1", None, vec![priced("P", 1.0, DAY, 1)])).expect("lands");
    let now = Timestamp::from_millis(401 * DAY * 1000);
    let mut gone = Vec::new();
    for retention in [None, Some(Span::from_days(400)), Some(Span::from_days(30)), Some(Span::from_days(30))] {
        let rounds = serving.places().into_iter().map(|place| wait(Upkeep { place, retention }.round(now)));
        let mut rounds: Vec<_> = rounds.map(|round| round.expect("a round")).collect();
        let last = rounds.pop().expect("a place");
        assert!(rounds.iter().all(|round| *round == last), "{rounds:?} and {last:?}");
        gone.push(last);
        serving.is_alike();
    }
    let january =
        |histories: &[&str]| -> Vec<String> { histories.iter().map(|history| format!("{history} 1970-01")).collect() };
    let first = january(&["product_features_daily"]); // came in at the beginning of time
    let then = january(&["price_history", "rank_history", "review_daily"]);
    assert_eq!(gone, [vec![], first, then, vec![]]);
    let left = "SELECT (observed_at / 86400000000) || '' FROM price_history ORDER BY observed_at";
    assert_eq!(query(&path, left), ["39", "40", "400"]);
    assert_eq!(query(&path, "SELECT native_id FROM offers_latest"), ["L"], "what is last stays");
    // What comes again is there again.
    land(&mut serving, &batch("offers.v1", Some(4), vec![seen("S", 1, Some(1), DAY, 1)])).expect("lands");
    assert_eq!(query(&path, left), ["1", "39", "40", "400"]);
}
