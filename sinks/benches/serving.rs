//! What landing offers in Postgres costs beside the same upserts made row by row, and by statements of many rows.
//!
//! `cargo bench -p skuflow-sinks --bench serving [-- [offers]]`. Every side writes the same rows of `offers_latest` and
//! `price_history`, in transactions of as many offers, on one connection, with fsync on; each in a schema of its own that
//! the sink has made, empty at the beginning. Counted is the processor time of this process and of the server's.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use skuflow_runtime::broker::TopicPartition;
use skuflow_runtime::testing::postgres::Postgres;
use skuflow_schemas::{Currency, Envelope, Event, EventId, Money, Offer, Timestamp};
use skuflow_sinks::serving::{Place, Server, Serving};
use skuflow_sinks::{Batch, Identity, Incoming, Part, Range, Sink as _};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

const OFFERS: u64 = 200_000;
/// Offers of a transaction.
const BATCH: u64 = 5_000;
/// Every listing is offered this often.
const REPEATS: u64 = 4;
/// Rows of a statement of many rows, as Kafka Connect's JDBC sink has them by default (`batch.size`).
const MANY: usize = 3_000;
/// Parameters that a statement of Postgres may have.
const PARAMETERS_MAX: usize = 65_535;

const LATEST: [&str; 22] = [
    "customer",
    "source",
    "marketplace",
    "native_id",
    "seller",
    "condition",
    "vantage",
    "currency",
    "price_micros",
    "shipping_micros",
    "landed_price_micros",
    "list_price_micros",
    "availability",
    "stock_level",
    "buy_box",
    "rating",
    "rating_best",
    "review_count",
    "suspect",
    "observed_at",
    "event_id",
    "log_offset",
];
const LATEST_KEY: usize = 7;
const HISTORY: [&str; 13] = [
    "observed_at",
    "event_id",
    "customer",
    "source",
    "marketplace",
    "native_id",
    "seller",
    "condition",
    "currency",
    "price_micros",
    "shipping_micros",
    "availability",
    "suspect",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let count = arguments.first().map_or(OFFERS, |number| number.parse().expect("a number"));
    let postgres = Postgres::start().expect("Postgres is needed");
    let url = postgres.database("bench");
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    println!("{count} offers of {} listings, {BATCH} in a transaction", count / REPEATS);
    println!("{:<34}{:>10}{:>14}{:>14}{:>16}", "", "seconds", "client CPU", "server CPU", "offers/CPU-s");
    let mut ours = 0.0;
    for side in [Side::Sink, Side::Many, Side::Rows] {
        let schema = format!("side_{}", side as u8);
        let mut serving = Serving::new("bench", place(&url, &schema));
        event_loop.block_on(serving.positions(&identity())).expect("made");
        let mut connection = event_loop.block_on(connect(&url, &schema));
        // Partitions are made once in a month.
        event_loop.block_on(serving.land(&batch(0, 1))).expect("lands");
        let (client, server, began) = (cpu(std::process::id()), server_cpu(&postgres), Instant::now());
        for from in (1..=count).step_by(BATCH as usize) {
            let batch = batch(from, (from + BATCH).min(count + 1));
            event_loop.block_on(async {
                match side {
                    Side::Sink => {
                        serving.land(&batch).await.expect("lands");
                    }
                    Side::Many => by_statements(&mut connection, &batch, MANY).await.expect("upserts"),
                    Side::Rows => by_statements(&mut connection, &batch, 1).await.expect("upserts"),
                }
            });
        }
        let took = began.elapsed().as_secs_f64();
        let client = cpu(std::process::id()).saturating_sub(client).as_secs_f64();
        let server = server_cpu(&postgres).saturating_sub(server).as_secs_f64();
        let speed = count as f64 / (client + server);
        if side == Side::Sink {
            ours = speed;
        }
        println!(
            "{:<34}{took:>10.1}{client:>14.1}{server:>14.1}{speed:>16.0}   the sink is {:.1} times as fast",
            side.name(),
            ours / speed
        );
        let rows = event_loop.block_on(contents(&mut connection));
        println!("{:<34}{rows}", "");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Sink,
    Many,
    Rows,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Sink => "skuflow's sink",
            Self::Many => "INSERT of many rows ON CONFLICT",
            Self::Rows => "row by row, prepared",
        }
    }
}

fn place(url: &str, schema: &str) -> Place {
    let statement_timeout = Duration::from_mins(1);
    Place::Postgres(Server { url: url.parse().expect("a url"), schema: schema.into(), statement_timeout })
}

fn identity() -> Identity {
    Identity { cluster_id: "bench".into(), topic_ids: BTreeMap::from([("offers.v1".into(), "1".into())]) }
}

/// Offers `from..to` of a log: listings in turns, a second apart.
fn batch(from: u64, to: u64) -> Batch {
    let records = (from..to).map(|offset| Incoming::Event(Event::Offer(Box::new(offer(offset))), offset)).collect();
    let range = Range { from: (from > 0).then_some(from), to };
    Batch { parts: BTreeMap::from([(TopicPartition::new("offers.v1", 0), Part { range, records })]) }
}

fn offer(offset: u64) -> Offer {
    let listing = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (OFFERS / REPEATS);
    let observed_at = Timestamp::from_millis(1_790_000_000_000 + offset as i64 * 1000 / 100);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&offset.wrapping_mul(0xd134_2543_de82_ef95).to_be_bytes());
    id[8..].copy_from_slice(&offset.to_be_bytes());
    let currency = Currency::parse("GBP").expect("a currency");
    Offer {
        envelope: Envelope {
            event_id: EventId(id),
            customer: "demo".into(),
            source: "marketplace".into(),
            marketplace: "uk".into(),
            observed_at,
            ..Envelope::default()
        },
        native_id: format!("B{listing:09}").into(),
        price: Some(Money { minor: 100 + (offset % 5_000) as i64, currency, exponent: 2 }),
        stock_level: Some((offset % 900) as i64),
        ..Offer::default()
    }
}

async fn connect(url: &str, schema: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.expect("there");
    let path = format!("SET search_path = {schema}; SET timezone = 'UTC'");
    sqlx::raw_sql(AssertSqlSafe(path)).execute(&mut connection).await.expect("made");
    connection
}

/// The same rows by prepared statements of up to `many` rows, in one transaction.
async fn by_statements(connection: &mut PgConnection, batch: &Batch, many: usize) -> sqlx::Result<()> {
    let offers: Vec<(&Offer, u64)> = batch
        .records()
        .filter_map(|record| match record {
            Incoming::Event(Event::Offer(offer), offset) => Some((offer.as_ref(), *offset)),
            _ => None,
        })
        .collect();
    // A statement may not write a row twice: the last of each listing stands, as the sink has it.
    let latest: BTreeMap<&str, (&Offer, u64)> = offers.iter().map(|pair| (pair.0.native_id.as_str(), *pair)).collect();
    let latest: Vec<_> = latest.into_values().collect();
    let latest = if many == 1 { &offers } else { &latest };
    let mut transaction = connection.begin().await?;
    for some in latest.chunks(many.min(PARAMETERS_MAX / LATEST.len())) {
        let mut query = sqlx::query(AssertSqlSafe(upsert_latest(some.len())));
        for (offer, offset) in some {
            let e = &offer.envelope;
            query = query.bind(e.customer.as_str()).bind(e.source.as_str()).bind(e.marketplace.as_str());
            query = query
                .bind(offer.native_id.as_str())
                .bind(offer.seller.as_deref().unwrap_or_default())
                .bind(offer.condition.name());
            query = query.bind("//").bind("GBP").bind(micros(offer)).bind(None::<i64>).bind(None::<i64>);
            query = query.bind(None::<i64>).bind(offer.availability.name()).bind(None::<i64>);
            query = query.bind(offer.buy_box.name()).bind(offer.rating).bind(5.0).bind(offer.review_count).bind("");
            query = query.bind(instant(offer)).bind(e.event_id.to_string()).bind(*offset as i64);
        }
        query.execute(&mut *transaction).await?;
    }
    for some in offers.chunks(many.min(PARAMETERS_MAX / HISTORY.len())) {
        let mut query = sqlx::query(AssertSqlSafe(insert_history(some.len())));
        for (offer, _) in some {
            let e = &offer.envelope;
            query = query.bind(instant(offer)).bind(e.event_id.to_string()).bind(e.customer.as_str());
            query = query.bind(e.source.as_str()).bind(e.marketplace.as_str()).bind(offer.native_id.as_str());
            query = query
                .bind(offer.seller.as_deref().unwrap_or_default())
                .bind(offer.condition.name())
                .bind("GBP")
                .bind(micros(offer));
            query = query.bind(None::<i64>).bind(offer.availability.name()).bind("");
        }
        query.execute(&mut *transaction).await?;
    }
    sqlx::query("UPDATE sink_offsets SET next_offset = next_offset + 1").execute(&mut *transaction).await?;
    transaction.commit().await
}

fn micros(offer: &Offer) -> Option<i64> {
    offer.price.map(|price| price.micros() as i64)
}

/// Seconds since 1970: the driver's own types for instants are features that the program does not have.
fn instant(offer: &Offer) -> f64 {
    offer.envelope.observed_at.millis() as f64 / 1000.0
}

fn upsert_latest(rows: usize) -> String {
    let key = LATEST[..LATEST_KEY].join(", ");
    let set: Vec<String> = LATEST[LATEST_KEY..].iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO offers_latest ({}) VALUES {} ON CONFLICT ({key}) DO UPDATE SET {} WHERE (excluded.observed_at, \
         excluded.log_offset) > (offers_latest.observed_at, offers_latest.log_offset)",
        LATEST.join(", "),
        values(&LATEST, rows),
        set.join(", ")
    )
}

fn insert_history(rows: usize) -> String {
    format!(
        "INSERT INTO price_history ({}) VALUES {} ON CONFLICT (observed_at, event_id) DO NOTHING",
        HISTORY.join(", "),
        values(&HISTORY, rows)
    )
}

fn values(columns: &[&str], rows: usize) -> String {
    let mut text = String::new();
    let mut number = 0;
    for row in 0..rows {
        text += if row == 0 { "(" } else { ", (" };
        for (at, column) in columns.iter().enumerate() {
            number += 1;
            let separator = if at == 0 { "" } else { ", " };
            let _ = match *column {
                "observed_at" => write!(text, "{separator}to_timestamp(${number})"),
                "event_id" => write!(text, "{separator}${number}::text::uuid"),
                _ => write!(text, "{separator}${number}"),
            };
        }
        text += ")";
    }
    text
}

/// That all sides come to the same.
async fn contents(connection: &mut PgConnection) -> String {
    let query = "SELECT count(*)::text || ' rows of offers_latest, ' || (SELECT count(*) FROM price_history) || \
         ' of price_history, sum of prices ' || sum(price_micros) FROM offers_latest";
    sqlx::query(query).fetch_one(connection).await.expect("a query").get(0)
}

/// Processor time of a process, in 10 ms ticks.
fn cpu(process: u32) -> Duration {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return Duration::ZERO };
    let behind_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum())
}

/// Processor time of the server: of all its processes, which stay while connections do.
fn server_cpu(postgres: &Postgres) -> Duration {
    let root = postgres.process();
    let parent = |process: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = processes.filter(|process| *process == root || parent(*process) == Some(root));
    ours.map(cpu).sum()
}
