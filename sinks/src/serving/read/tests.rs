//! The questions have the same answers in both databases, and an index each.

use std::path::Path;
use std::time::Duration;

use skuflow_runtime::testing::postgres::{Postgres, postgres};

use super::*;
use crate::serving::Server;
use crate::serving::cells::{Kind, row};
use crate::serving::database::Database;
use crate::serving::statements::Dialect;

const DAY: i64 = 86_400_000_000;
/// Of 2026-01-01.
const YEAR: i64 = 20_454 * DAY;

fn wait<T>(future: impl Future<Output = T>) -> T {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    event_loop.expect("an event loop").block_on(future)
}

/// Fills the tables with a year: 2 000 prices of each of 20 listings, 20 products with figures of each day, and more.
const FILL: [&str; 7] = [
    "INSERT INTO price_history SELECT AT(YEAR + n * 86400 / 110), ID(n), 'demo', 'shop', 'uk', 'L' || (n % 20), 'S' || (n % 3), \
         'new', 'GBP', 1000000 + n % 7 * 10000, NULL, 'in_stock', '' FROM NUMBERS",
    "INSERT INTO products SELECT 'demo/P' || n, 'demo', 'P' || n, 'Product ' || n, 'tea', 'GBP', NULL, NULL, NULL, NULL, 1, \
         AT(YEAR), ID(n) FROM NUMBERS WHERE n < 20",
    "INSERT INTO product_features (customer, product, product_price_current, price_index, currency, nulls, observed_at, \
         event_id, log_offset) SELECT 'demo', 'P' || n, 1.5, 0.9, 'GBP', '{}'JSON, AT(YEAR), ID(n), n FROM NUMBERS WHERE n < 2000",
    "INSERT INTO product_features_daily (customer, product, day, product_price_current, currency, nulls, observed_at, \
         event_id, log_offset) SELECT 'demo', 'P' || (n % 20), DAY(n / 20), 1.5 + n % 20 * (n / 20 % 2), 'GBP', '{}'JSON, \
         AT(YEAR + n / 20 * 86400), ID(n), n FROM NUMBERS WHERE n < 7300",
    "INSERT INTO competition SELECT 'demo', 'P' || (n / 10), 'shop', 'uk', 'L' || (n % 10), 'S', 'new', '//', 'competitor', 'GBP', \
         1000000 + n, NULL, CASE WHEN n % 10 < 9 THEN 1000000 + n END, NULL, 'in_stock', 'unknown', AT(YEAR), NULL, n \
         FROM NUMBERS WHERE n < 20000",
    "INSERT INTO alerts SELECT ID(n), 'demo', 'P' || (n % 20), 'price-war', NULL, 'critical', 'war', 0.5, ID(n % 20), '[]'JSON, \
         AT(YEAR + n * 600), NULL FROM NUMBERS WHERE n < 20000",
    "INSERT INTO data_quality SELECT 'demo', 'shop', 'offer', AT(YEAR + n * 3600), 'accepted', '', n, AT(YEAR + n * 3600) \
         FROM NUMBERS WHERE n < 8760",
];

/// The statement in the words of a database.
fn in_words(statement: &str, dialect: Dialect) -> String {
    let words: [(&str, &str); 7] = match dialect {
        Dialect::Sqlite => [
            (
                "NUMBERS",
                "(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 39999) SELECT n FROM c)",
            ),
            ("DAY(n / 20)", "date('2026-01-01', (n / 20) || ' days')"),
            ("AT(", "1000000 * ("),
            ("ID(n % 20)", "printf('%032d', n % 20)"),
            ("ID(n)", "printf('%032d', n)"),
            ("JSON", ""),
            ("YEAR", "1767225600"),
        ],
        Dialect::Postgres => [
            ("NUMBERS", "(SELECT n::bigint FROM generate_series(0, 39999) AS n) AS numbers"),
            ("DAY(n / 20)", "DATE '2026-01-01' + (n / 20)::int"),
            ("AT(", "to_timestamp("),
            ("ID(n % 20)", "lpad((n % 20)::text, 32, '0')::uuid"),
            ("ID(n)", "lpad(n::text, 32, '0')::uuid"),
            ("JSON", "::jsonb"),
            ("YEAR", "1767225600"),
        ],
    };
    words.iter().fold(statement.to_owned(), |text, (word, meaning)| text.replace(word, meaning))
}

fn places(dir: &Path) -> Vec<Place> {
    static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let in_postgres = |postgres: &Postgres| {
        let url = postgres.database(&format!("reads{number}")).parse().expect("a url");
        Place::Postgres(Server { url, schema: "skuflow".into(), statement_timeout: Duration::from_mins(1) })
    };
    [Some(Place::Sqlite(dir.join("serving.db"))), postgres().map(in_postgres)].into_iter().flatten().collect()
}

/// Both, filled.
fn filled(dir: &Path) -> Vec<Place> {
    let places = places(dir);
    for place in &places {
        wait(async {
            let mut database = Database::open(place, "fills").await.expect("opens");
            let months: Vec<_> = (1..=12).map(|month| format!("2026-{month:02}-01").parse().expect("a day")).collect();
            for history in crate::serving::tables::HISTORIES {
                database.prepare(history, &months).await.expect("made");
            }
            for statement in FILL {
                let statement = in_words(statement, database.dialect());
                database.ask(&statement, &[], &[]).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
            if database.dialect() == Dialect::Postgres {
                database.ask("SELECT refresh_views()::text", &[], &[]).await.expect("refreshed");
            }
            database.ask("ANALYZE", &[], &[]).await.expect("looked at");
        });
    }
    places
}

/// All answers, as text.
async fn answers(place: &Place) -> Vec<String> {
    let reader = Reader::open(place, 2).await.expect("opens");
    let listing =
        ListingRef { source: "shop".into(), marketplace: "uk".into(), native_id: "L7".into(), ..ListingRef::default() };
    let span = Timestamp::from_micros(YEAR + 31 * DAY)..Timestamp::from_micros(YEAR + 59 * DAY);
    let (mut after, mut prices) = (None, Vec::new());
    loop {
        let page = reader.prices("demo", &listing, span.clone(), after, 50).await.expect("answers");
        assert!(page.rows.len() <= 50);
        prices.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(prices.is_sorted_by_key(|price| (price.observed_at, price.event_id)));
    assert!(prices.iter().all(|price| span.contains(&price.observed_at)));
    assert_eq!(prices.len(), 28 * 110 / 20, "each once");
    let alerts = reader.open_alerts("demo", None, 3).await.expect("answers");
    let older = reader.open_alerts("demo", alerts.next, 3).await.expect("answers");
    let day = "2026-05-04".parse().expect("a day");
    vec![
        format!("{prices:?}"),
        format!("{:?} {:?}", alerts.rows, older.rows),
        format!("{:?}", reader.product("demo", "P3").await.expect("answers")),
        format!("{:?}", reader.product("demo", "P1999").await.expect("answers")),
        format!("{:?}", reader.product("demo", "none").await.expect("answers")),
        format!("{:?}", reader.rivals("demo", "P3").await.expect("answers")),
        format!("{:?}", reader.movers("demo", day, 5).await.expect("answers")),
        format!("{:?}", reader.quality("demo", span).await.expect("answers")),
    ]
}

#[test]
fn both_databases_give_the_same_answers() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut all: Vec<Vec<String>> = filled(dir.path()).iter().map(|place| wait(answers(place))).collect();
    let last = all.pop().expect("one");
    for (one, other) in all.iter().flatten().zip(&last) {
        assert_eq!(one, other);
    }
    let [_, alerts, product, stranger, nobody, rivals, movers, quality] = &last[..] else { panic!("eight answers") };
    assert!(alerts.contains("severity: \"critical\""), "{alerts}");
    assert!(product.contains("name: Some(\"Product 3\")") && product.contains("open_alerts: 1000"), "{product}");
    assert!(stranger.contains("name: None") && stranger.contains("open_alerts: 0"), "{stranger}");
    assert_eq!(nobody, "None");
    assert_eq!(rivals.matches("Rival {").count(), 10);
    assert!(rivals.find("landed_price_micros: None") > rivals.rfind("Rival {"), "without a price comes last: {rivals}");
    assert!(movers.starts_with("[Mover { product: \"P19\"") && movers.matches("Mover {").count() == 5, "{movers}");
    assert!(quality.contains("count: 725424"), "{quality}");
}

/// Every question, and what it is asked with.
fn questions() -> [(&'static str, Vec<Cell>); 6] {
    let text = |text: &'static str| Cell::from(text);
    let (from, to) = (Timestamp::from_micros(YEAR + 31 * DAY), Timestamp::from_micros(YEAR + 59 * DAY));
    let id = EventId::default();
    let listing = [text("demo"), text("shop"), text("uk"), text("L7")];
    [
        (PRODUCT, row![text("demo"), text("P3")]),
        (PRICES, listing.into_iter().chain(row![from, to, id, 50_i64]).collect()),
        (RIVALS, row![text("demo"), text("P3")]),
        (MOVERS, row![text("demo"), "2026-05-04".parse::<BusinessDate>().expect("a day"), 5_i64]),
        (OPEN_ALERTS, row![text("demo"), to, id, 50_i64]),
        (QUALITY, row![text("demo"), from, to]),
    ]
}

/// How a question is answered.
async fn plan(pool: &Pool, question: &str, given: &[Cell]) -> String {
    let lines = match pool {
        Pool::Sqlite(_) => {
            let kinds = [Kind::Int, Kind::Int, Kind::Int, Kind::Text];
            pool.ask(&format!("EXPLAIN QUERY PLAN {question}"), given, &kinds).await
        }
        Pool::Postgres(..) => pool.ask(&format!("EXPLAIN {question}"), given, &[Kind::Text]).await,
    };
    let lines = lines.expect("a plan").into_iter().filter_map(|mut row| match row.pop() {
        Some(Cell::Text(line)) => Some(line.to_string()),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Tables and views that grow with time, and with products; `SQLite` shows them by the names that a question gives them.
const GROWING: [&str; 7] =
    ["price_history", "product_features", "figures", "competition", "alert", "data_quality", "daily_movers"];

/// Whether a plan goes through a whole one of them, or a part of it.
fn goes_through_a_table(plan: &str) -> bool {
    plan.lines().any(|line| {
        let scanned = line.split_once("Seq Scan on ").or_else(|| line.split_once("SCAN "));
        scanned.is_some_and(|(_, name)| {
            GROWING.iter().any(|growing| name.starts_with(growing) && !name.starts_with("alert_states"))
        })
    })
}

#[test]
fn every_question_has_an_index() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for place in filled(dir.path()) {
        let pool = wait(async {
            let pool = Pool::open(&place, 1).await.expect("opens");
            for (question, given) in questions() {
                let plan = plan(&pool, question, &given).await;
                assert!(!goes_through_a_table(&plan), "{place}: {question}\n{plan}");
            }
            let (question, given) = &questions()[1];
            let prices = plan(&pool, question, given).await;
            if place.dialect() == Dialect::Postgres {
                assert!(prices.contains("price_history_2026_02") && !prices.contains("2026_01"), "one month: {prices}");
            }
            pool
        });
        // The control: without its index the question goes through the table, and that is seen.
        wait(async {
            let mut database = Database::open(&place, "spoils").await.expect("opens");
            database.ask("DROP INDEX price_history_by_listing", &[], &[]).await.expect("dropped");
            let (question, given) = &questions()[1];
            let plan = plan(&pool, question, given).await;
            let is_slow = match place.dialect() {
                Dialect::Postgres => goes_through_a_table(&plan) || plan.contains("_pkey"),
                Dialect::Sqlite => !plan.contains("price_history_by_listing"),
            };
            assert!(is_slow, "{place}: {plan}");
        });
    }
}
