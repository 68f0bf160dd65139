//! What landing offers in Postgres costs beside the same upserts made row by row, by statements of many rows, of an array per
//! column, and by COPY into tables beside.
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
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

const OFFERS: u64 = 200_000;
/// Offers of a transaction.
const BATCH: u64 = 5_000;
/// Every listing is offered this often on average.
const REPEATS: u64 = 4;
const LISTINGS: u64 = OFFERS / REPEATS;
/// Rows of a statement of many rows, as Kafka Connect's JDBC sink has them by default (`batch.size`).
const MANY: usize = 3_000;
/// Parameters that a statement of Postgres may have.
const PARAMETERS_MAX: usize = 65_535;
/// Rows of such a statement as its driver has made them of a batch for years (`reWriteBatchedInserts`).
const REWRITTEN: usize = 128;

/// Every side this often, in turns, but for the slowest.
const ROUNDS: usize = 3;
const SIDES: [Side; 6] = [Side::Sink, Side::Arrays, Side::Copy, Side::Rows(MANY), Side::Rows(REWRITTEN), Side::Rows(1)];

/// A column, and its type.
type Column = (&'static str, &'static str);

const LATEST: [Column; 22] = [
    ("customer", "text"),
    ("source", "text"),
    ("marketplace", "text"),
    ("native_id", "text"),
    ("seller", "text"),
    ("condition", "text"),
    ("vantage", "text"),
    ("currency", "text"),
    ("price_micros", "bigint"),
    ("shipping_micros", "bigint"),
    ("landed_price_micros", "bigint"),
    ("list_price_micros", "bigint"),
    ("availability", "text"),
    ("stock_level", "bigint"),
    ("buy_box", "text"),
    ("rating", "float8"),
    ("rating_best", "float8"),
    ("review_count", "bigint"),
    ("suspect", "text"),
    ("observed_at", "timestamptz"),
    ("event_id", "uuid"),
    ("log_offset", "bigint"),
];
const LATEST_KEY: usize = 7;
const HISTORY: [Column; 13] = [
    ("observed_at", "timestamptz"),
    ("event_id", "uuid"),
    ("customer", "text"),
    ("source", "text"),
    ("marketplace", "text"),
    ("native_id", "text"),
    ("seller", "text"),
    ("condition", "text"),
    ("currency", "text"),
    ("price_micros", "bigint"),
    ("shipping_micros", "bigint"),
    ("availability", "text"),
    ("suspect", "text"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let count = arguments.first().map_or(OFFERS, |number| number.parse().expect("a number"));
    let postgres = Postgres::start().expect("Postgres is needed");
    let url = postgres.database("bench");
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    println!("{count} offers of {LISTINGS} listings, {BATCH} in a transaction; the best of {ROUNDS}");
    println!("{:<34}{:>10}{:>14}{:>14}{:>16}", "", "seconds", "client CPU", "server CPU", "offers/CPU-s");
    let mut best: [Option<Cost>; SIDES.len()] = [const { None }; SIDES.len()];
    for round in 0..ROUNDS {
        for (number, side) in SIDES.into_iter().enumerate() {
            if side == Side::Rows(1) && round > 0 {
                continue; // it takes a minute
            }
            let schema = format!("side_{number}_{round}");
            let cost = event_loop.block_on(measure(&postgres, &url, &schema, side, count));
            if best[number].as_ref().is_none_or(|known| cost.cpu() < known.cpu()) {
                best[number] = Some(cost);
            }
            postgres.run("bench", &format!("DROP SCHEMA {schema} CASCADE"));
        }
    }
    let ours = best[0].as_ref().map_or(0.0, Cost::cpu);
    for (side, cost) in SIDES.into_iter().zip(best.iter().flatten()) {
        let Cost { seconds, client, server, rows } = cost;
        println!(
            "{:<34}{seconds:>10.1}{client:>14.2}{server:>14.2}{:>16.0}   the sink is {:.2} times as fast; {rows}",
            side.name(),
            count as f64 / cost.cpu(),
            cost.cpu() / ours
        );
    }
}

/// What landing all offers took.
struct Cost {
    seconds: f64,
    client: f64,
    server: f64,
    /// What they came to.
    rows: String,
}

impl Cost {
    fn cpu(&self) -> f64 {
        self.client + self.server
    }
}

async fn measure(postgres: &Postgres, url: &str, schema: &str, side: Side, count: u64) -> Cost {
    let mut serving = Serving::new("bench", place(url, schema));
    serving.positions(&identity()).await.expect("made");
    let mut connection = connect(url, schema).await;
    // Partitions are made once in a month.
    serving.land(&batch(0, 1)).await.expect("lands");
    postgres.run("bench", "CHECKPOINT");
    let (client, server, began) = (cpu(std::process::id()), server_cpu(postgres), Instant::now());
    for from in (1..=count).step_by(BATCH as usize) {
        let batch = batch(from, (from + BATCH).min(count + 1));
        if side == Side::Sink {
            serving.land(&batch).await.expect("lands");
        } else {
            upsert(&mut connection, &batch, side).await.expect("upserts");
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let client = cpu(std::process::id()).saturating_sub(client).as_secs_f64();
    let server = server_cpu(postgres).saturating_sub(server).as_secs_f64();
    Cost { seconds, client, server, rows: contents(&mut connection).await }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Sink,
    /// A statement takes an array per column.
    Arrays,
    /// A table beside is filled by COPY, and a statement takes its rows.
    Copy,
    /// A statement takes so many rows.
    Rows(usize),
}

impl Side {
    fn name(self) -> String {
        match self {
            Self::Sink => "skuflow's sink".into(),
            Self::Arrays => "UNNEST of an array per column".into(),
            Self::Copy => "COPY, then INSERT from there".into(),
            Self::Rows(1) => "row by row, prepared".into(),
            Self::Rows(rows) => format!("INSERT of {rows} rows at a time"),
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

/// Offers `from..to` of a log: a hundred a second, of listings here and there.
fn batch(from: u64, to: u64) -> Batch {
    let records = (from..to).map(|offset| Incoming::Event(Event::Offer(Box::new(offer(offset))), offset)).collect();
    let range = Range { from: (from > 0).then_some(from), to };
    Batch { parts: BTreeMap::from([(TopicPartition::new("offers.v1", 0), Part { range, records })]) }
}

fn offer(offset: u64) -> Offer {
    let listing = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LISTINGS;
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

/// What stands in a column; instants in microseconds since 2000.
#[derive(Clone, Debug)]
enum Value {
    Null,
    Text(String),
    Int(i64),
    Real(f64),
    Instant(i64),
    Id([u8; 16]),
}

use Value::{Id, Instant as At, Int, Null, Real, Text};

fn latest(offer: &Offer, offset: u64) -> Vec<Value> {
    let e = &offer.envelope;
    let number = |number: Option<i64>| number.map_or(Null, Int);
    let key = [&e.customer, &e.source, &e.marketplace, &offer.native_id].map(|text| Text(text.to_string()));
    let more = [
        Text(offer.seller.as_deref().unwrap_or_default().into()),
        Text(offer.condition.name().into()),
        Text("//".into()),
        Text("GBP".into()),
        number(micros(offer)),
        Null,
        Null,
        Null,
        Text(offer.availability.name().into()),
        Null,
        Text(offer.buy_box.name().into()),
        offer.rating.map_or(Null, Real),
        Real(5.0),
        number(offer.review_count),
        Text(String::new()),
        At(instant(offer)),
        Id(e.event_id.0),
        Int(offset as i64),
    ];
    key.into_iter().chain(more).collect()
}

fn history(offer: &Offer) -> Vec<Value> {
    let e = &offer.envelope;
    let listing = [&e.customer, &e.source, &e.marketplace, &offer.native_id].map(|text| Text(text.to_string()));
    let more = [
        Text(offer.seller.as_deref().unwrap_or_default().into()),
        Text(offer.condition.name().into()),
        Text("GBP".into()),
        micros(offer).map_or(Null, Int),
        Null,
        Text(offer.availability.name().into()),
        Text(String::new()),
    ];
    [At(instant(offer)), Id(e.event_id.0)].into_iter().chain(listing).chain(more).collect()
}

/// The same rows as the sink's, in one transaction.
async fn upsert(connection: &mut PgConnection, batch: &Batch, side: Side) -> sqlx::Result<()> {
    let offers: Vec<(&Offer, u64)> = batch
        .records()
        .filter_map(|record| match record {
            Incoming::Event(Event::Offer(offer), offset) => Some((offer.as_ref(), *offset)),
            _ => None,
        })
        .collect();
    // A statement may not write a row twice: the last of each listing stands, as the sink has it.
    let last: BTreeMap<&str, (&Offer, u64)> = offers.iter().map(|pair| (pair.0.native_id.as_str(), *pair)).collect();
    let last: Vec<(&Offer, u64)> = if side == Side::Rows(1) { offers.clone() } else { last.into_values().collect() };
    let last: Vec<Vec<Value>> = last.into_iter().map(|(offer, offset)| latest(offer, offset)).collect();
    let told: Vec<Vec<Value>> = offers.iter().map(|(offer, _)| history(offer)).collect();
    let key = listed(LATEST[..LATEST_KEY].iter().map(|(name, _)| (*name).to_owned()));
    let set = listed(LATEST[LATEST_KEY..].iter().map(|(name, _)| format!("{name} = excluded.{name}")));
    let later = format!(
        "({key}) DO UPDATE SET {set} WHERE (excluded.observed_at, excluded.log_offset) > (offers_latest.observed_at, \
         offers_latest.log_offset)"
    );
    let mut transaction = connection.begin().await?;
    insert(&mut transaction, side, ("offers_latest", &LATEST, &later), &last).await?;
    let once = "(observed_at, event_id) DO NOTHING";
    insert(&mut transaction, side, ("price_history", &HISTORY, once), &told).await?;
    sqlx::query("UPDATE sink_offsets SET next_offset = next_offset + 1").execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn insert(
    connection: &mut PgConnection,
    side: Side,
    (table, columns, conflict): (&str, &[Column], &str),
    rows: &[Vec<Value>],
) -> sqlx::Result<()> {
    let names = listed(columns.iter().map(|(name, _)| (*name).to_owned()));
    let statement =
        |source: String| AssertSqlSafe(format!("INSERT INTO {table} ({names}) {source} ON CONFLICT {conflict}"));
    match side {
        Side::Sink => {}
        Side::Arrays => {
            let arrays = columns.iter().zip(1..).map(|((_, sql_type), at)| format!("${at}::{sql_type}[]"));
            let mut query = sqlx::query(statement(format!("SELECT * FROM UNNEST({}) WHERE true", listed(arrays))));
            for at in 0..columns.len() {
                query = bind_column(query, columns[at].1, rows.iter().map(|row| &row[at]));
            }
            query.execute(connection).await?;
        }
        Side::Copy => {
            let beside = format!(
                "CREATE TEMP TABLE IF NOT EXISTS beside_{table} ON COMMIT DELETE ROWS AS SELECT {names} FROM {table} LIMIT 0"
            );
            sqlx::raw_sql(AssertSqlSafe(beside)).execute(&mut *connection).await?;
            let copy = format!("COPY beside_{table} FROM STDIN (FORMAT binary)");
            let mut copy = connection.copy_in_raw(&copy).await?;
            copy.send(binary(rows)).await?;
            copy.finish().await?;
            let query = sqlx::query(statement(format!("SELECT * FROM beside_{table} WHERE true")));
            query.execute(connection).await?;
        }
        Side::Rows(many) => {
            for some in rows.chunks(many.min(PARAMETERS_MAX / columns.len())) {
                let mut query = sqlx::query(statement(values(columns, some.len())));
                for (value, (_, sql_type)) in some.iter().flat_map(|row| row.iter().zip(columns)) {
                    query = match (value, *sql_type) {
                        (Text(text), _) => query.bind(text),
                        (Int(number), _) => query.bind(number),
                        (Real(number), _) => query.bind(number),
                        (At(micros), _) => query.bind(Stamp(*micros)),
                        (Id(id), _) => query.bind(Uuid::from_bytes(*id)),
                        (Null, "text") => query.bind(None::<&str>),
                        (Null, "float8") => query.bind(None::<f64>),
                        (Null, _) => query.bind(None::<i64>),
                    };
                }
                query.execute(&mut *connection).await?;
            }
        }
    }
    Ok(())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

fn bind_column<'q>(query: Query<'q>, sql_type: &str, values: impl Iterator<Item = &'q Value>) -> Query<'q> {
    let text = |value: &'q Value| if let Text(text) = value { Some(text.as_str()) } else { None };
    let int = |value: &Value| if let Int(number) = value { Some(*number) } else { None };
    let real = |value: &Value| if let Real(number) = value { Some(*number) } else { None };
    let id = |value: &Value| if let Id(id) = value { Some(Uuid::from_bytes(*id)) } else { None };
    match sql_type {
        "text" => query.bind(values.map(text).collect::<Vec<_>>()),
        "bigint" => query.bind(values.map(int).collect::<Vec<_>>()),
        "float8" => query.bind(values.map(real).collect::<Vec<_>>()),
        "uuid" => query.bind(values.map(id).collect::<Vec<_>>()),
        _ => query.bind(
            values.map(|value| if let At(micros) = value { Stamp(*micros) } else { Stamp(0) }).collect::<Vec<_>>(),
        ),
    }
}

/// Rows as COPY takes them.
fn binary(rows: &[Vec<Value>]) -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        bytes.extend((row.len() as i16).to_be_bytes());
        for value in row {
            let mut put = |value: &[u8]| {
                bytes.extend((value.len() as i32).to_be_bytes());
                bytes.extend(value);
            };
            match value {
                Null => bytes.extend((-1_i32).to_be_bytes()),
                Text(text) => put(text.as_bytes()),
                Int(number) | At(number) => put(&number.to_be_bytes()),
                Real(number) => put(&number.to_be_bytes()),
                Id(id) => put(id),
            }
        }
    }
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

fn micros(offer: &Offer) -> Option<i64> {
    offer.price.map(|price| price.micros() as i64)
}

fn instant(offer: &Offer) -> i64 {
    offer.envelope.observed_at.micros() - 946_684_800_000_000
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn values(columns: &[Column], rows: usize) -> String {
    let mut text = String::from("VALUES ");
    let mut number = 0;
    for row in 0..rows {
        text += if row == 0 { "(" } else { ", (" };
        for at in 0..columns.len() {
            number += 1;
            let _ = write!(text, "{}${number}", if at == 0 { "" } else { ", " });
        }
        text += ")";
    }
    text
}

/// `TIMESTAMPTZ`.
struct Stamp(i64);

impl sqlx::Type<sqlx::Postgres> for Stamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Stamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for Stamp {
    fn encode_by_ref(&self, into: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        sqlx::Encode::<sqlx::Postgres>::encode(self.0, into)
    }
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
