//! Topics of made-up events, a lake that takes them, and who reads its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use iceberg::spec::{DataFile, Manifest, ManifestList, TableMetadata};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{Broker, Commit, Offset, Record, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::Control;
use skuflow_schemas::{
    Alert, Availability, BusinessDate, Catalog, Change, Currency, Decoder, Encoder, Envelope, Event, EventId, Features,
    Inventory, Money, Offer, Pack, QuantityRelation, Rank, Sale, SaleStatus, Severity, Timestamp,
};
use skuflow_sinks::batcher::Cut;
use skuflow_sinks::consume::{Consume, Form, Progress};
use skuflow_sinks::lake::{Access, Address, BucketPlace, Hook, Lake, Login, Place, Rest, Root, TABLES, Table};
use skuflow_sinks::{Batch, Identity, Incoming, Part, Range, Sink as _};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

pub const PARTITIONS: u32 = 3;
/// When the lake takes rows in.
pub const NOW: i64 = 1_790_000_000_000_000;
/// The first event's time: shortly before a midnight.
pub const BEGIN: i64 = 1_780_012_000_000_000;
/// From one event's time to the next.
pub const PACE: i64 = 7_000_000;

/// Small batches, so that there are many.
pub const SMALL: Cut = Cut { records_max: 20, bytes_max: usize::MAX, age_max: Duration::from_hours(1) };

thread_local! {
    /// The thread's event loop: connections of a lake go with theirs.
    static EVENT_LOOP: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    EVENT_LOOP.with(|event_loop| event_loop.block_on(future))
}

/// Where a lake is: a folder with its catalog, or a place.
pub trait Home {
    fn place(&self) -> Place;
}

impl Home for Path {
    fn place(&self) -> Place {
        Place::folder(self)
    }
}

impl Home for PathBuf {
    fn place(&self) -> Place {
        Place::folder(self)
    }
}

impl Home for Place {
    fn place(&self) -> Place {
        self.clone()
    }
}

fn money(minor: i64, code: &str, exponent: u8) -> Money {
    Money { minor, currency: Currency::parse(code).expect("three letters"), exponent }
}

/// Event `number` of a table: few keys, some of each optional value, and of each odd one.
pub fn event(table: &Table, number: u64) -> Event {
    let n = number as i64;
    let every = |nth: u64| number.is_multiple_of(nth);
    let late = if number % 11 == 3 { 3 * 86_400_000_000 } else { 0 };
    let envelope = Envelope {
        event_id: EventId(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()),
        ingested_at: Timestamp::from_micros(BEGIN + n * PACE + 1_000),
        customer: ["demo", "acme"][number as usize % 2].into(),
        source: "shop".into(),
        marketplace: "uk".into(),
        observed_at: Timestamp::from_micros(BEGIN + n * PACE - late),
        source_version: every(5).then(|| "v2".into()),
        cause_id: every(3).then_some(EventId([number as u8; 16])),
        ..Envelope::default()
    };
    let native_id = format!("L{}", number % 7).into();
    match table.name {
        "offers" => Event::Offer(Box::new(Offer {
            envelope,
            native_id,
            seller: (!every(4)).then(|| format!("Verkäufer „{}“", number % 5).into()),
            price: Some(if every(13) { money(i64::MAX, "JPY", 0) } else { money(n * 100 + 99, "GBP", 2) }),
            shipping: every(3).then(|| money(-1, "EUR", 6)),
            availability: [Availability::InStock, Availability::OutOfStock][number as usize % 2],
            stock_level: every(2).then_some(n),
            ranks: if every(6) { vec![Rank { category: "Büro".into(), rank: n }] } else { Vec::new() },
            rating: (number % 2 == 1).then(|| n as f64 / 3.0),
            suspect: if every(8) { vec!["magnitude-jump".into()] } else { Vec::new() },
            pack: every(9).then(|| Pack { quantity: 0.5, unit: "kg".into() }),
            ..Offer::default()
        })),
        "sales" => Event::Sale(Box::new(Sale {
            envelope,
            native_id,
            order_id: format!("O{}", number / 3).into(),
            line_id: format!("{}", number % 3).into(),
            units: n % 9 - 2,
            unit_price: Some(money(n * 10, "EUR", 3)),
            status: [SaleStatus::Completed, SaleStatus::Returned][number as usize % 2],
            business_date: BusinessDate(20_000 + n as i32 / 100),
            ..Sale::default()
        })),
        "inventory" => Event::Inventory(Box::new(Inventory {
            envelope,
            native_id,
            location: "LEJ1".into(),
            quantity: n % 50,
            relation: [QuantityRelation::Exact, QuantityRelation::AtLeast][number as usize % 2],
            ..Inventory::default()
        })),
        "catalog" => Event::Catalog(Box::new(Catalog {
            envelope,
            product: format!("P{}", number % 7).into(),
            ..Catalog::default()
        })),
        "features" => features(envelope, number),
        _ => Event::Alert(Box::new(Alert {
            envelope,
            product: format!("P{}", number % 7).into(),
            rule: "price-war".into(),
            severity: Severity::Critical,
            message: format!("Preis gefallen: {n} €").into(),
            value: every(2).then_some(n as f64),
            ..Alert::default()
        })),
    }
}

fn features(envelope: Envelope, number: u64) -> Event {
    let n = number as i64;
    let change = Change { listing: "shop/uk/L1".into(), price: Some(money(n, "GBP", 2)), ..Change::default() };
    let mut features = Features {
        envelope,
        product: format!("P{}", number % 7).into(),
        change: number.is_multiple_of(2).then_some(change),
        ..Features::default()
    };
    features.values.price_index = Some(n as f64 / 7.0);
    Event::Features(Box::new(features))
}

/// A broker whose topics have `count` events each; the same each time.
pub fn broker(count: u64) -> Memory {
    let broker = Memory::new("c");
    for table in &TABLES {
        broker.ensure_topic(table.topic, PARTITIONS).expect("new");
    }
    for table in &TABLES {
        publish(&broker, table, 0..count);
    }
    broker
}

pub fn publish(broker: &Memory, table: &Table, numbers: std::ops::Range<u64>) {
    let mut producer = broker.producer("test").expect("open");
    for number in numbers {
        let mut value = Vec::new();
        Encoder.encode(&event(table, number), &mut value);
        let partition = Some((number % 7) as u32 % PARTITIONS);
        let headers: &[_] = if table.is_raw() { &[("run", b"7".as_slice())] } else { &[] };
        let record = Record { key: None, value: Some(&value), headers };
        producer.send(&table.topic.into(), partition, &record).expect("exists");
    }
    producer.commit(Commit::default()).expect("no faults");
}

pub fn lake(home: &(impl Home + ?Sized), table: &'static Table, hook: Option<Hook>) -> Lake {
    let clock = Clock::Fixed(Arc::new(NOW.into()));
    let mut lake = Lake::new("test", home.place(), table, clock);
    if let Some(hook) = hook {
        lake.set_hook(hook);
    }
    lake
}

/// Lands all there is for `table`.
pub fn land(
    broker: &Memory,
    home: &(impl Home + ?Sized),
    table: &'static Table,
    cut: Cut,
    hook: Option<Hook>,
) -> Arc<Progress> {
    let control = Arc::new(Control::new(true));
    let topics: Vec<Arc<str>> = vec![table.topic.into()];
    control.complete(&topics[0]);
    let progress = Arc::<Progress>::default();
    let broker = Arc::new(broker.clone());
    let form = if table.is_raw() { Form::Raw } else { Form::Event };
    let transactional_id = "lake".into();
    let consume = Consume {
        name: "lake".into(),
        topics,
        transactional_id,
        broker,
        form,
        cut,
        control,
        progress: progress.clone(),
    };
    wait(consume.run(&mut lake(home, table, hook))).expect("lands");
    progress
}

/// A record of a topic, by where it stands: partition, offset, id.
pub type RowId = (i64, i64, String);

/// The records of a topic.
pub fn records(broker: &Memory, table: &Table) -> Vec<RowId> {
    let row = |(of, event, offset): (u32, Event, Offset)| {
        let id = event.envelope().expect("has one").event_id.to_string();
        (i64::from(of), offset as i64, id)
    };
    events(broker, table).into_iter().map(row).collect()
}

pub fn events(broker: &Memory, table: &Table) -> Vec<(u32, Event, Offset)> {
    let mut reader = broker.reader().expect("open");
    let mut events = Vec::new();
    for partition in 0..PARTITIONS {
        let of = TopicPartition::new(table.topic, partition);
        let (mut next, end) = broker.offsets(&of).expect("exists");
        while next < end {
            for fetched in reader.fetch(&of, next, 1 << 20).expect("there") {
                for record in fetched.from(next) {
                    next = record.offset + 1;
                    let event = Decoder.decode(record.value.expect("no tombstones")).expect("ours");
                    events.push((partition, event, record.offset));
                }
            }
        }
    }
    events
}

/// A batch of the records `from..to` of a partition, for a store at `from`.
pub fn batch(broker: &Memory, table: &Table, partition: u32, (from, to): (Option<Offset>, Offset)) -> Batch {
    let first = from.unwrap_or(0);
    let events = events(broker, table).into_iter();
    let records = events.filter(|(of, _, offset)| *of == partition && (first..to).contains(offset));
    let records = records.map(|(_, event, offset)| Incoming::Event(event, offset)).collect();
    let part = Part { range: Range { from, to }, records };
    Batch { parts: BTreeMap::from([(TopicPartition::new(table.topic, partition), part)]) }
}

pub fn identity(broker: &Memory) -> Identity {
    let topics = broker.topics().expect("some");
    let topic_ids = topics.into_iter().map(|topic| (topic.name.to_string(), topic.id)).collect();
    Identity { cluster_id: broker.cluster_id().expect("it has one"), topic_ids }
}

/// Opens `lake` for `broker`.
pub fn ready(broker: &Memory, mut lake: Lake) -> Lake {
    wait(lake.positions(&identity(broker))).expect("opens");
    lake
}

/// Where the catalog says that the table is.
pub fn pointer(home: &(impl Home + ?Sized), table: &Table) -> Option<String> {
    const QUERY: &str = "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3";
    match home.place().catalog {
        Address::Sqlite(path, name) => {
            if !path.exists() {
                return None;
            }
            wait(async {
                let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(10));
                let mut connection = options.connect().await.expect("there");
                let query = sqlx::query_scalar(QUERY).bind(name).bind(table.zone).bind(table.name);
                query.fetch_optional(&mut connection).await.expect("a query")
            })
        }
        Address::Postgres(url, name) => wait(async {
            let mut connection = PgConnection::connect(url.as_str()).await.expect("there");
            let query = sqlx::query_scalar(QUERY).bind(name).bind(table.zone).bind(table.name);
            let found = query.fetch_optional(&mut connection).await;
            found.unwrap_or_else(|error| {
                let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
                assert_eq!(code.as_deref(), Some("42P01"), "{error}"); // there is no such table yet
                None
            })
        }),
        Address::Rest(rest) => wait(location(&rest, table)),
    }
}

/// Asks a REST catalog where a table is; one of the test's own lets everybody look.
async fn location(rest: &Rest, table: &Table) -> Option<String> {
    let client = reqwest::Client::new();
    let base = format!("{}/v1", rest.url.as_str().trim_end_matches('/'));
    let mut token = None;
    if let Some(Login::Client { id, secret, .. }) = &rest.entry {
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=catalog");
        let request = client.post(format!("{base}/oauth/tokens")).body(form);
        let request = request.header("x-look", "1").header("content-type", "application/x-www-form-urlencoded");
        let given: Value = request.send().await.expect("it listens").json().await.expect("JSON");
        token = given["access_token"].as_str().map(str::to_owned);
    }
    let ask = async |path: String| {
        let request = client.get(format!("{base}/{path}")).header("x-look", "1");
        let request = token.iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        request.send().await.expect("it listens").json::<Value>().await.expect("JSON")
    };
    let warehouse = rest.warehouse.iter().map(|warehouse| format!("?warehouse={warehouse}"));
    let config = ask(format!("config{}", warehouse.collect::<String>())).await;
    let prefix = config["overrides"]["prefix"].as_str().expect("a prefix").to_owned();
    let found = ask(format!("{prefix}/namespaces/{}/tables/{}", table.zone, table.name)).await;
    found["metadata-location"].as_str().map(str::to_owned)
}

/// What the ledger says of commits that are on their way, up to a thousand.
pub fn pending(home: &(impl Home + ?Sized)) -> Vec<String> {
    let place = home.place();
    let addresses: Vec<String> = match &place.root {
        Root::Folder(folder) => {
            let entries = std::fs::read_dir(folder.join("pending")).into_iter().flatten();
            entries.map(|entry| entry.expect("readable").path().display().to_string()).collect()
        }
        Root::Bucket(bucket, access) => {
            let folder = object_store::path::Path::parse(format!("{}/pending", bucket.prefix)).expect("a name");
            let listed = wait(store(bucket, access).list_with_delimiter(Some(&folder))).expect("answers");
            let commits = listed.objects.iter().filter(|object| object.size > 0); // SeaweedFS also names the emptied folder
            commits.map(|object| format!("s3://{}/{}", bucket.bucket, object.location)).collect()
        }
    };
    let text = |address: &String| String::from_utf8(read(&place, address).into()).expect("JSON");
    addresses.iter().map(text).collect()
}

pub fn path_of(address: &str) -> PathBuf {
    address.strip_prefix("file://").unwrap_or(address).into()
}

/// What is in the file at an address.
fn read(place: &Place, address: &str) -> Bytes {
    match &place.root {
        Root::Folder(_) => std::fs::read(path_of(address)).expect("a file that is named is there").into(),
        Root::Bucket(bucket, access) => {
            let (name, key) = address.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).expect("in a bucket");
            let bucket = BucketPlace { bucket: name.into(), ..bucket.clone() }; // a catalog may place tables in another
            let (store, key) = (store(&bucket, access), object_store::path::Path::parse(key).expect("a name"));
            wait(async {
                store.get(&key).await.expect("an object that is named is there").bytes().await.expect("whole")
            })
        }
    }
}

fn store(bucket: &BucketPlace, Access { endpoint, keys, .. }: &Access) -> AmazonS3 {
    let (endpoint, keys) = (endpoint.as_ref().expect("a server"), keys.as_ref().expect("credentials"));
    let store = AmazonS3Builder::new().with_endpoint(endpoint).with_allow_http(true).with_bucket_name(&bucket.bucket);
    store.with_access_key_id(&keys.id).with_secret_access_key(&keys.secret).build().expect("complete")
}

/// The table's metadata, and the files that it names.
pub fn table_files(home: &(impl Home + ?Sized), table: &Table) -> Option<(TableMetadata, Vec<DataFile>)> {
    let (place, location) = (home.place(), pointer(home, table)?);
    let metadata: TableMetadata = serde_json::from_slice(&read(&place, &location)).expect("readable");
    let mut files = Vec::new();
    if let Some(snapshot) = metadata.current_snapshot() {
        let list = ManifestList::parse_with_version(&read(&place, snapshot.manifest_list()), metadata.format_version());
        for manifest in list.expect("a list").consume_entries() {
            let manifest = Manifest::parse_avro(&read(&place, &manifest.manifest_path)).expect("a manifest");
            files.extend(manifest.entries().iter().filter(|e| e.is_alive()).map(|e| e.data_file().clone()));
        }
    }
    Some((metadata, files))
}

/// The rows of a table as a reader finds them, in order.
pub fn rows(home: &(impl Home + ?Sized), table: &Table) -> Vec<RowId> {
    let place = home.place();
    let mut rows = Vec::new();
    for file in table_files(&place, table).map(|(_, files)| files).unwrap_or_default() {
        let before = rows.len();
        let whole = read(&place, file.file_path());
        let reader = ParquetRecordBatchReaderBuilder::try_new(whole).expect("whole").build().expect("readable");
        for batch in reader {
            let batch = batch.expect("readable");
            let long = |name: &str| batch.column_by_name(name).expect("there").as_primitive::<Int64Type>();
            let (partitions, offsets) = (long("_partition"), long("_offset"));
            let ids = batch.column_by_name("event_id").expect("there").as_string::<i32>();
            rows.extend(
                (0..batch.num_rows()).map(|row| (partitions.value(row), offsets.value(row), ids.value(row).to_owned())),
            );
        }
        assert_eq!((rows.len() - before) as u64, file.record_count(), "{}", file.file_path());
    }
    rows.sort();
    rows
}
