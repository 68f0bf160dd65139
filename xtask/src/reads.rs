//! Reading the serving tables in Postgres while they are written: a year of history, an open loop of questions, and where it
//! saturates.
//!
//! A question's time counts from when it was to be asked: one that waits for a connection, or behind others, is slow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use skuflow_runtime::broker::TopicPartition;
use skuflow_runtime::testing::postgres::Postgres;
use skuflow_schemas::{Currency, Envelope, Event, EventId, ListingRef, Money, Offer, Timestamp};
use skuflow_sinks::serving::{Place, Reader, Server, Serving};
use skuflow_sinks::{Batch, Identity, Incoming, Part, Range, Sink as _, SinkError};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::peer::quantile;

const DATABASE: &str = "reads";
const LISTINGS: u64 = 100_000;
const PRODUCTS: u64 = 20_000;
const CONNECTIONS: u32 = 50;
/// How long batches wait, as a sink's do.
const BATCH_AGE: Duration = Duration::from_millis(500);
/// 2026-01-01, in seconds.
const YEAR: i64 = 1_767_225_600;
const DAY: i64 = 86_400;
/// Milliseconds.
const GOAL: f64 = 20.0;
/// A rate is too much when this share of the questions is not answered in its time.
const KEPT: f64 = 0.95;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Rows of price history.
    pub rows: u64,
    /// Questions per second.
    pub rate: u64,
    /// Offers written per second meanwhile, each a row of history and one of the last offers.
    pub writes: u64,
    /// How long.
    pub seconds: u64,
}

/// Fills the tables, asks, and says how long answers take.
pub fn measure(load: Load) -> Result<()> {
    let postgres = Postgres::start().context("Postgres is needed")?;
    let url = postgres.database(DATABASE);
    let server = Server { url: url.parse()?, schema: "skuflow".into(), statement_timeout: Duration::from_mins(10) };
    let place = Place::Postgres(server);
    let event_loop = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut serving = Serving::new("tables", place.clone());
    event_loop.block_on(serving.positions(&identity()))?;
    let began = Instant::now();
    event_loop.block_on(fill(&url, load.rows))?;
    let size = postgres.run(DATABASE, &format!("SELECT pg_size_pretty(pg_database_size('{DATABASE}'))"));
    println!(
        "{} prices of {LISTINGS} listings in 12 months, {PRODUCTS} products, {} of disk, filled in {:.0} s",
        load.rows,
        size.trim(),
        began.elapsed().as_secs_f64()
    );
    println!("one page of prices of a month:\n{}", event_loop.block_on(plan(&url))?);
    let reader = event_loop.block_on(Reader::open(&place, CONNECTIONS))?;
    let is_over = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writer = {
        let (is_over, written) = (is_over.clone(), written.clone());
        std::thread::spawn(move || write(serving, load.writes, &is_over, &written))
    };
    let warm_up = Load { seconds: 10, ..load };
    event_loop.block_on(ask(&reader, warm_up));
    let (before, began) = (written.load(Ordering::Relaxed), Instant::now());
    let answers = event_loop.block_on(ask(&reader, load));
    let rows = (written.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    println!(
        "{} questions/s for {} s over {CONNECTIONS} connections, {rows:.0} offers/s landed meanwhile",
        load.rate, load.seconds
    );
    answers.print();
    let mut last = load.rate;
    for rate in std::iter::successors(Some(load.rate * 2), |rate| Some(rate * 3 / 2)) {
        let answers = event_loop.block_on(ask(&reader, Load { rate, seconds: 10, ..load }));
        let (p95, rate_kept) = (quantile(&answers.sorted(), 0.95), answers.count() as f64 / (rate * 10) as f64);
        println!("{rate:>6} questions/s: p95 {p95:.1} ms, {:.0} % answered in time", rate_kept * 100.0);
        if p95 > GOAL || rate_kept < KEPT {
            break;
        }
        last = rate;
    }
    println!("saturation: {last} questions/s are the most of these with p95 <= {GOAL} ms");
    is_over.store(true, Ordering::Relaxed);
    writer.join().expect("the writer")?;
    Ok(())
}

fn identity() -> Identity {
    Identity { cluster_id: "reads".into(), topic_ids: BTreeMap::from([("offers.v1".into(), "1".into())]) }
}

/// Rows as a year leaves them. The index of the history is built when its rows are there.
async fn fill(url: &str, rows: u64) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let each = rows / LISTINGS;
    let month = |history: &str, months: &str| format!("SELECT make_months('{history}', ARRAY[{months}]::date[])");
    let months: Vec<String> = (1..=12).map(|month| format!("'2026-{month:02}-01'")).collect();
    let months = months.join(", ");
    let index = "price_history_by_listing";
    let definition = format!("SELECT pg_get_indexdef('skuflow.{index}'::regclass)");
    let definition: String = sqlx::query_scalar(sqlx::AssertSqlSafe(definition)).fetch_one(&mut connection).await?;
    let definition = definition.replace(" ON ONLY ", " ON "); // of all partitions
    let statements = [
        "SET search_path = skuflow; SET timezone = 'UTC'; SET synchronous_commit = off; SET maintenance_work_mem = '1GB'".into(),
        month("price_history", &months),
        month("product_features_daily", &months),
        format!("DROP INDEX {index}"),
        format!(
            "INSERT INTO price_history SELECT to_timestamp({YEAR} + (n / {LISTINGS}) * (365 * {DAY} / {each}) + n % 3600),
                 lpad(to_hex(n), 32, '0')::uuid, 'demo', 'shop', 'uk', 'L' || (n % {LISTINGS}), 'S' || (n % 500), 'new', 'GBP',
                 1000000 + (n * 7919) % 90000000, NULL, 'in_stock', ''
             FROM generate_series(0::bigint, {rows} - 1) AS n"
        ),
        definition,
        format!(
            "INSERT INTO products SELECT 'demo/P' || n, 'demo', 'P' || n, 'Product ' || n, 'category ' || n % 50, 'GBP', NULL,
                 NULL, NULL, NULL, 1, to_timestamp({YEAR}), lpad(to_hex(n), 32, '0')::uuid
             FROM generate_series(0, {PRODUCTS} - 1) AS n"
        ),
        format!(
            "INSERT INTO product_features (customer, product, product_price_current, competitor_price_min, price_index,
                 score_overall, currency, nulls, observed_at, event_id, log_offset)
             SELECT 'demo', 'P' || n, 10 + n % 90, 9 + n % 80, 0.9 + n % 30 / 100.0, n % 100, 'GBP', '{{}}',
                 to_timestamp({YEAR}), lpad(to_hex(n), 32, '0')::uuid, n
             FROM generate_series(0, {PRODUCTS} - 1) AS n"
        ),
        format!(
            "INSERT INTO product_features_daily (customer, product, day, product_price_current, currency, nulls, observed_at,
                 event_id, log_offset)
             SELECT 'demo', 'P' || n % 2000, DATE '2026-01-01' + n / 2000, 10 + (n * 31) % 90, 'GBP', '{{}}',
                 to_timestamp({YEAR} + n / 2000 * {DAY}), lpad(to_hex(n), 32, '0')::uuid, n
             FROM generate_series(0, 730000 - 1) AS n"
        ),
        format!(
            "INSERT INTO competition SELECT 'demo', 'P' || n / 10, 'shop', 'uk', 'L' || (n * 7) % {LISTINGS}, 'S' || n % 500,
                 'new', '//', 'competitor', 'GBP', 1000000 + n, NULL, 1000000 + n, NULL, 'in_stock', 'unknown',
                 to_timestamp({YEAR}), NULL, n FROM generate_series(0, {PRODUCTS} * 10 - 1) AS n"
        ),
        format!(
            "INSERT INTO alerts SELECT lpad(to_hex(n), 32, '0')::uuid, 'demo', 'P' || n % {PRODUCTS}, 'price-war', NULL,
                 'critical', 'a war', 0.5, lpad(to_hex(n % 1000), 32, '0')::uuid, '[]', to_timestamp({YEAR} + n * 100), NULL
             FROM generate_series(0, 300000 - 1) AS n"
        ),
        format!(
            "INSERT INTO data_quality SELECT 'demo', 'shop ' || n % 5, 'offer', to_timestamp({YEAR} + n / 10 * 3600),
                 CASE WHEN n % 10 < 5 THEN 'accepted' ELSE 'rejected' END, '', n, to_timestamp({YEAR} + n / 10 * 3600)
             FROM generate_series(0, 87600 - 1) AS n"
        ),
        "SELECT refresh_views()".into(),
        "VACUUM ANALYZE".into(),
        "CHECKPOINT".into(),
    ];
    for statement in statements {
        for statement in statement.split("; ") {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
        }
    }
    connection.close().await
}

/// How Postgres answers the question for a page of prices.
async fn plan(url: &str) -> Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql("SET search_path = skuflow; SET timezone = 'UTC'").execute(&mut connection).await?;
    let question = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM price_history WHERE customer = 'demo' \
        AND source = 'shop' AND marketplace = 'uk' AND native_id = 'L77' AND observed_at >= '2026-05-01' \
        AND observed_at < '2026-06-01' ORDER BY observed_at, event_id LIMIT 50";
    let lines = sqlx::query(question).fetch_all(&mut connection).await?;
    Ok(lines.iter().map(|line| line.get::<String, _>(0)).collect::<Vec<_>>().join("\n"))
}

/// Lands offers of now, at a rate, until it is over.
fn write(mut serving: Serving, rate: u64, is_over: &AtomicBool, written: &AtomicU64) -> Result<(), SinkError> {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let event_loop = event_loop.map_err(|error| SinkError::Retry(error.to_string()))?;
    event_loop.block_on(serving.positions(&identity()))?;
    let (began, mut next) = (Instant::now(), 0);
    while !is_over.load(Ordering::Relaxed) {
        std::thread::park_timeout(BATCH_AGE);
        let to = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        let records = (next..to).map(|offset| Incoming::Event(Event::Offer(Box::new(offer(offset))), offset));
        let part = Part { range: Range { from: (next > 0).then_some(next), to }, records: records.collect() };
        let batch = Batch { parts: BTreeMap::from([(TopicPartition::new("offers.v1", 0), part)]) };
        event_loop.block_on(serving.land(&batch))?;
        written.store(to, Ordering::Relaxed);
        next = to;
    }
    Ok(())
}

fn offer(offset: u64) -> Offer {
    let currency = Currency::parse("GBP").expect("a currency");
    let mut id = [0xaa; 16];
    id[8..].copy_from_slice(&offset.to_be_bytes());
    let observed_at = Timestamp::from_millis((YEAR + 364 * DAY) * 1000 + offset as i64);
    Offer {
        envelope: Envelope {
            event_id: EventId(id),
            customer: "demo".into(),
            source: "shop".into(),
            marketplace: "uk".into(),
            observed_at,
            ingested_at: observed_at,
            ..Envelope::default()
        },
        native_id: format!("L{}", offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LISTINGS).into(),
        seller: Some(format!("S{}", offset % 500).into()),
        price: Some(Money { minor: 100 + (offset % 5_000) as i64, currency, exponent: 2 }),
        ..Offer::default()
    }
}

/// The questions, in turns.
const QUESTIONS: [&str; 6] = ["product", "prices", "rivals", "movers", "open alerts", "quality"];

/// How many milliseconds each question took.
struct Answers([Vec<f64>; QUESTIONS.len()]);

impl Answers {
    fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Of all, in order.
    fn sorted(&self) -> Vec<f64> {
        sorted(self.0.concat())
    }

    fn print(&self) {
        println!("{:<14}{:>8}{:>10}{:>10}{:>10}{:>10}", "", "count", "p50 ms", "p95 ms", "p99 ms", "max ms");
        let all = ("all", self.sorted());
        let each = QUESTIONS.into_iter().zip(self.0.iter().cloned().map(sorted));
        for (name, times) in each.chain([all]) {
            let at = |share| quantile(&times, share);
            println!(
                "{name:<14}{:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.1}",
                times.len(),
                at(0.5),
                at(0.95),
                at(0.99),
                at(1.0)
            );
        }
    }
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_unstable_by(f64::total_cmp);
    times
}

/// Asks at a rate, whether or not answers come; those that have come a second after the last question count.
async fn ask(reader: &Reader, load: Load) -> Answers {
    let times: Arc<[Mutex<Vec<f64>>; QUESTIONS.len()]> = Arc::default();
    let began = tokio::time::Instant::now();
    for number in 0..load.rate * load.seconds {
        let due = began + Duration::from_nanos(number * 1_000_000_000 / load.rate);
        tokio::time::sleep_until(due).await;
        let (reader, times) = (reader.clone(), times.clone());
        tokio::spawn(async move {
            if question(&reader, number).await.is_ok() {
                let which = number as usize % QUESTIONS.len();
                times[which].lock().expect("no holder panics").push(due.elapsed().as_secs_f64() * 1000.0);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Answers(std::array::from_fn(|which| times[which].lock().expect("no holder panics").clone()))
}

async fn question(reader: &Reader, number: u64) -> Result<(), SinkError> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let product = format!("P{}", mixed % PRODUCTS);
    let day = (mixed % 330) as i64;
    let at = |day: i64| Timestamp::from_millis((YEAR + day * DAY) * 1000);
    match number % QUESTIONS.len() as u64 {
        0 => drop(reader.product("demo", &product).await?),
        1 => {
            let native_id = format!("L{}", mixed % LISTINGS).into();
            let listing = ListingRef { source: "shop".into(), marketplace: "uk".into(), native_id, seller: None };
            drop(reader.prices("demo", &listing, at(day)..at(day + 30), None, 50).await?);
        }
        2 => drop(reader.rivals("demo", &product).await?),
        3 => {
            let day = skuflow_schemas::BusinessDate((YEAR / DAY + day) as i32);
            drop(reader.movers("demo", day, 20).await?);
        }
        4 => drop(reader.open_alerts("demo", None, 50).await?),
        _ => drop(reader.quality("demo", at(day)..at(day + 7)).await?),
    }
    Ok(())
}
