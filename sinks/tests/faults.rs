//! What befalls a sink from outside: it is killed, its disk is full, somebody has its file, its server is killed, its
//! connections are cut. The rows are those of a run that nothing befell, in `SQLite` and in Postgres.

#[path = "../../tests/common/oracle/tables.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod tables;

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{Broker, Commit, Header, Offset, Record, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::Control;
use skuflow_runtime::storage::Options;
use skuflow_runtime::testing::SmallDisk;
use skuflow_runtime::testing::postgres::{Postgres, postgres};
use skuflow_schemas::{
    Alert, Catalog, Currency, DeadLetter, Encoder, Envelope, ErrorStage, Event, EventId, Features, Inventory, Listing,
    ListingRef, Money, Offer, Outcome, Quality, Rank, Role, Sale, Text, Timestamp, Track,
};
use skuflow_sinks::batcher::Cut;
use skuflow_sinks::consume::{Consume, Form, Progress};
use skuflow_sinks::serving::{Place, Server, Serving};
use skuflow_sinks::{Batch, Identity, Landed, Sink, SinkError};
use sqlx::{ConnectOptions as _, Connection as _};
use tables::Tables;

const LETTERS: &str = "dlq.raw.offers.v1";
const TOPICS: [&str; 10] = [
    "catalog.v1",
    "listings.v1",
    "offers.v1",
    "sales.v1",
    "inventory.v1",
    "quality.v1",
    "product-offers.v1",
    "features.v1",
    "alerts.v1",
    LETTERS,
];
/// What no sink writes.
const NOT_OURS: &str = "alert_states";
const PARTITIONS: u32 = 3;
/// One behind each message, lost and come through.
const KILLS_BEHIND_MESSAGES: usize = 160;
/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Event `number`, and the partition of its listing or product: few of them, few order lines, and so few instants that many
/// are the same.
fn event(number: u64, random: &mut Random) -> (u32, Event) {
    let listing = random.below(7);
    let envelope = Envelope {
        event_id: EventId(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()),
        customer: "demo".into(),
        source: "shop".into(),
        marketplace: "uk".into(),
        observed_at: Timestamp::from_millis(random.below(4) as i64 * 86_400_000),
        ..Envelope::default()
    };
    let native_id = format!("L{listing}").into();
    let currency = Currency::parse("GBP").expect("known");
    let price = Some(Money { minor: random.below(900) as i64 + 1, currency, exponent: 2 });
    let product: Text = format!("P{listing}").into();
    let event = match number % 9 {
        0 => {
            let (seller, review_count) = (Some(format!("S{}", random.below(3)).into()), Some(number as i64));
            let ranks = vec![Rank { category: "tea".into(), rank: number as i64 }];
            Event::Offer(Box::new(Offer {
                envelope,
                native_id,
                price,
                seller,
                review_count,
                ranks,
                ..Offer::default()
            }))
        }
        1 => {
            let (order_id, units) = (format!("O{}", random.below(30)).into(), random.below(9) as i64 - 2);
            Event::Sale(Box::new(Sale { envelope, native_id, order_id, units, unit_price: price, ..Sale::default() }))
        }
        2 => {
            let quantity = random.below(50) as i64;
            Event::Inventory(Box::new(Inventory { envelope, native_id, quantity, ..Inventory::default() }))
        }
        3 => {
            let (outcome, hour) = (Outcome::Accepted, Timestamp::from_millis(random.below(3) as i64 * 3_600_000));
            let latest_observed_at = envelope.observed_at;
            Event::Quality(Box::new(Quality { outcome, hour, count: 1, latest_observed_at, ..Quality::default() }))
        }
        4 => {
            let track = Some(Track { product, role: Role::Competitor, retracted: random.below(4) == 0 });
            let seller = Some(format!("S{}", random.below(3)).into());
            Event::Offer(Box::new(Offer { envelope, native_id, seller, price, track, ..Offer::default() }))
        }
        5 => {
            let mut features = Features { envelope, product, ..Features::default() };
            features.values.price_index = Some(random.below(1000) as f64 / 7.0);
            features.values.product_price_current = Some(random.below(1000) as f64 / 100.0 + 1.0);
            Event::Features(Box::new(features))
        }
        6 => {
            let category = Some(format!("C{}", random.below(2)).into());
            Event::Catalog(Box::new(Catalog { envelope, product, category, active: true, ..Catalog::default() }))
        }
        7 => {
            let listing = ListingRef { native_id, ..ListingRef::default() };
            Event::Listing(Box::new(Listing { envelope, listing, product, role: Role::Own }))
        }
        _ => Event::Alert(Box::new(Alert { envelope, product, rule: "price-war".into(), ..Alert::default() })),
    };
    (listing as u32 % PARTITIONS, event)
}

fn letter(number: u64) -> DeadLetter {
    DeadLetter {
        topic: "raw.offers.v1".into(),
        partition: (number % 2) as u32,
        offset: number,
        group: "clean".into(),
        stage: ErrorStage::Processing,
        code: ["price-not-positive", "currency-unknown"][(number % 3 % 2) as usize].into(),
        message: format!("record {number}"),
        attempt: 1,
        origin: None,
    }
}

/// Publishes events `numbers`, a dead letter beside each fifth.
fn publish(broker: &dyn Broker, numbers: std::ops::Range<u64>, clock: &AtomicI64) {
    let mut random = Random(numbers.start + 11);
    let mut producer = broker.producer("test").expect("open");
    for number in numbers {
        let (partition, event) = event(number, &mut random);
        let mut value = Vec::new();
        Encoder.encode(&event, &mut value);
        let (key, has_ended) = (event.key(), matches!(event, Event::Catalog(_) | Event::Listing(_)) && number % 4 == 0);
        let record = Record { key: Some(key.as_str().as_bytes()), value: (!has_ended).then_some(&value), headers: &[] };
        producer.send(&event.topic().into(), Some(partition), &record).expect("exists");
        if number % 5 == 0 {
            let headers = letter(number).headers();
            let headers: Vec<Header<'_>> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let record = Record { key: None, value: Some(&value), headers: &headers };
            producer.send(&LETTERS.into(), Some(partition), &record).expect("exists");
        }
        if number % 100 == 99 {
            producer.commit(Commit::default()).expect("the disk is fine");
            clock.fetch_add(i64::from(number % 300 == 299), Ordering::Relaxed);
        }
    }
    producer.commit(Commit::default()).expect("the disk is fine");
}

fn make_topics(broker: &dyn Broker) {
    for topic in TOPICS {
        broker.ensure_topic(topic, PARTITIONS).expect("new");
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop").block_on(future)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// The tables, and what is done after each landing.
struct Hooked<F> {
    serving: Serving,
    landed: F,
}

impl<F: FnMut()> Sink for Hooked<F> {
    async fn positions(&mut self, identity: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        self.serving.positions(identity).await
    }

    async fn land(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        let landed = self.serving.land(batch).await?;
        (self.landed)();
        Ok(landed)
    }
}

/// Small batches, so that there are many.
const SMALL: Cut = Cut { records_max: 10, bytes_max: usize::MAX, age_max: Duration::from_hours(1) };

/// Lands all there is.
fn land(broker: Arc<dyn Broker>, place: &Place, cut: Cut, progress: Arc<Progress>, landed: impl FnMut()) {
    let control = Arc::new(Control::new(true));
    let topics: Vec<Arc<str>> = TOPICS.map(Into::into).into();
    for topic in &topics {
        control.complete(topic);
    }
    let transactional_id = "tables".into();
    let consume =
        Consume { name: "tables".into(), topics, transactional_id, broker, form: Form::Event, cut, control, progress };
    wait(consume.run(&mut Hooked { serving: Serving::new("tables", place.clone()), landed })).expect("lands");
}

/// Every row of every table and view.
fn rows(place: &Place) -> Tables {
    match place {
        Place::Sqlite(path) => tables::tables(path, &[]),
        Place::Postgres(server) => tables::in_postgres(server.url.as_str(), &server.schema, &[]),
    }
}

#[track_caller]
fn assert_same(found: &Tables, expected: &Tables, what: &str) {
    assert_eq!(expected.len(), 24, "{what}");
    for (table, rows) in expected.iter().filter(|(table, _)| *table != NOT_OURS) {
        assert!(!rows.is_empty(), "{what}: {table} is compared");
    }
    let differences = tables::differences(found, expected);
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

fn embedded(dir: &Path, clock: &Arc<AtomicI64>) -> Arc<Embedded> {
    Arc::new(Embedded::open(dir, Options::default(), Clock::Fixed(clock.clone())).expect("nobody else has it"))
}

const CHILD_DIR: &str = "SKUFLOW_TEST_SINK_DIR";
/// Set where its tables are in Postgres: the database.
const CHILD_URL: &str = "SKUFLOW_TEST_SINK_URL";

fn in_file(path: &Path) -> Place {
    Place::Sqlite(path.into())
}

fn in_postgres(url: &str) -> Place {
    let url = url.parse().expect("a url");
    Place::Postgres(Server { url, schema: "skuflow".into(), statement_timeout: Duration::from_secs(10) })
}

fn place_of_child(dir: &Path) -> Place {
    std::env::var(CHILD_URL).map_or_else(|_| in_file(&dir.join("serving.db")), |url| in_postgres(&url))
}

/// Not a test by itself: what the killed child runs. It says when it has landed a batch, and waits for a line to go on.
#[test]
fn child_lands_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let broker = embedded(&dir.join("log"), &Arc::default());
    land(broker, &place_of_child(dir), SMALL, Arc::default(), || {
        writeln!(std::io::stderr(), "landed").expect("the parent reads");
        std::io::stdin().read_line(&mut String::new()).expect("the parent writes");
    });
}

fn start_child(dir: &Path, place: &Place) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    if let Place::Postgres(server) = place {
        command.env(CHILD_URL, server.url.as_str());
    }
    command
        .args(["child_lands_until_it_is_killed", "--exact", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

#[test]
fn killed_at_any_moment_the_rows_are_those_of_one_run() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    is_killed_at_any_moment(dir.path(), &in_file(&dir.path().join("serving.db")), 5, 60);
}

#[test]
fn killed_at_any_moment_the_rows_in_postgres_are_those_of_one_run() {
    let Some(postgres) = postgres() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    is_killed_at_any_moment(dir.path(), &in_postgres(&postgres.database("killed")), 6, 30);
}

fn is_killed_at_any_moment(dir: &Path, place: &Place, seed: u64, kills: u64) {
    let (log, one_run, clock) = (dir.join("log"), in_file(&dir.join("one-run.db")), Arc::default());
    let broker = embedded(&log, &clock);
    make_topics(broker.as_ref());
    publish(broker.as_ref(), 0..3_000, &clock);
    land(broker, &one_run, Cut::default(), Arc::default(), || {});
    let mut random = Random(seed);
    for kill in 0..kills {
        let mut child = start_child(dir, place);
        let lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut landed = lines.map_while(Result::ok).filter(|line| line == "landed");
        let mut go_on = child.stdin.take().expect("piped");
        let landings = random.below(5);
        for _ in 0..landings {
            assert!(landed.next().is_some(), "seed {seed}, kill {kill}: the child ended by itself");
            go_on.write_all(b"\n").expect("the child reads");
        }
        // While it starts; or while it lands the next batch, or just after that.
        let moment = random.below(if landings == 0 { 40_000 } else { 6_000 });
        let end = Instant::now() + Duration::from_micros(moment);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        child.kill().expect("runs");
        assert!(!child.wait().expect("was started").success(), "seed {seed}, kill {kill}: the child ended by itself");
    }
    land(embedded(&log, &clock), place, SMALL, Arc::default(), || {});
    assert_same(&rows(place), &rows(&one_run), &format!("seed {seed}"));
}

/// Lands in a thread of its own; there is trouble of this kind until `mend` is called, and then it goes on by itself.
fn in_trouble(broker: &Memory, place: &Place, kinds: &[&str], mend: impl FnOnce()) {
    let progress = Arc::<Progress>::default();
    std::thread::scope(|scope| {
        let landing = scope.spawn(|| land(Arc::new(broker.clone()), place, SMALL, progress.clone(), || {}));
        until("trouble", || progress.trouble().is_some());
        let trouble = progress.trouble().expect("it lasts");
        mend();
        landing.join().expect("it goes on");
        assert!(kinds.iter().any(|kind| trouble.contains(kind)), "{trouble}");
    });
    assert_eq!(progress.trouble(), None);
}

fn memory() -> Memory {
    let broker = Memory::new("c");
    make_topics(&broker);
    publish(&broker, 0..1_000, &AtomicI64::default());
    broker
}

fn rows_of_one_run(broker: &Memory) -> Tables {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = in_file(&dir.path().join("one-run.db"));
    land(Arc::new(broker.clone()), &place, Cut::default(), Arc::default(), || {});
    rows(&place)
}

#[test]
fn a_file_that_another_writer_has_is_waited_for() {
    let (dir, broker) = (tempfile::tempdir().expect("a temporary directory"), memory());
    let database = dir.path().join("serving.db");
    for what in ["a new file", "known tables"] {
        let mut other = wait(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database).create_if_missing(true);
            let mut other = options.connect().await.expect("there");
            sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("nobody else has it");
            other
        });
        in_trouble(&broker, &in_file(&database), &["locked"], || {
            wait(async {
                sqlx::query("ROLLBACK").execute(&mut other).await.expect("begun");
                other.close().await.expect("open");
            });
        });
        assert_same(&rows(&in_file(&database)), &rows_of_one_run(&broker), what);
        publish(&broker, 1_000..1_200, &AtomicI64::default());
    }
}

#[test]
fn a_full_disk_under_the_tables_alone_is_waited_for() {
    let Some(disk) = SmallDisk::mount(4 << 20) else { return };
    let broker = memory();
    let (database, ballast) = (disk.path().join("serving.db"), disk.path().join("ballast"));
    for round in 0..3 {
        fill(&ballast);
        let kinds = ["is full", "I/O error", "unable to open"];
        in_trouble(&broker, &in_file(&database), &kinds, || std::fs::remove_file(&ballast).expect("there"));
        assert_same(&rows(&in_file(&database)), &rows_of_one_run(&broker), &format!("round {round}"));
        let from = 1_000 + 200 * round;
        publish(&broker, from..from + 200, &AtomicI64::default());
    }
}

#[test]
fn a_full_disk_under_a_server_is_waited_for() {
    let (Some(disk), Some(postgres)) = (SmallDisk::mount(48 << 20), Postgres::start()) else { return };
    let (folder, ballast) = (disk.path().join("database"), disk.path().join("ballast"));
    std::fs::create_dir(&folder).expect("some space");
    let (broker, place) = (memory(), in_postgres(&postgres.database_in("small", &folder)));
    for round in 0..3 {
        fill(&ballast);
        // The first time it has no tables yet, and cannot even note what it looked up of its catalog.
        let kinds: &[&str] = if round == 0 { &["No space left", "init file"] } else { &["No space left"] };
        in_trouble(&broker, &place, kinds, || std::fs::remove_file(&ballast).expect("there"));
        assert_same(&rows(&place), &rows_of_one_run(&broker), &format!("round {round}"));
        let from = 1_000 + 1_500 * round;
        publish(&broker, from..from + 1_500, &AtomicI64::default());
        postgres.run("small", "SELECT 1"); // it notes that again, as its catalog has changed
    }
}

/// Takes all the space there is.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).expect("some space");
    while file.write_all(&[1; 4096]).is_ok() {}
}

/// The server dies at any moment, as in a loss of power, and comes again.
#[test]
fn a_server_that_is_killed_is_waited_for() {
    let Some(mut postgres) = Postgres::start() else { return };
    let (broker, place) = (memory(), in_postgres(&postgres.database("crashes")));
    land(Arc::new(broker.clone()), &place, SMALL, Arc::default(), || {});
    for round in 0..3 {
        let from = 1_000 + 200 * round;
        publish(&broker, from..from + 200, &AtomicI64::default());
        postgres.kill();
        in_trouble(&broker, &place, &["refused"], || postgres.start_again());
        assert_same(&rows(&place), &rows_of_one_run(&broker), &format!("round {round}"));
    }
}

/// Lands while `befalls` is done again and again, for a while.
fn lands_while(broker: &Memory, place: &Place, mut befalls: impl FnMut()) {
    let mut random = Random(7);
    std::thread::scope(|scope| {
        let cut = Cut { records_max: 1, ..SMALL };
        let landing = scope.spawn(move || land(Arc::new(broker.clone()), place, cut, Arc::default(), || {}));
        for _ in 0..40 {
            std::thread::park_timeout(Duration::from_millis(10 + random.below(60)));
            befalls();
        }
        landing.join().expect("it lands");
    });
}

/// An operator ends its connections, between any two statements.
#[test]
fn connections_that_are_ended_are_opened_again() {
    let Some(postgres) = postgres() else { return };
    let (broker, place) = (memory(), in_postgres(&postgres.database("ended")));
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'skuflow tables' \
         AND datname = 'ended'";
    let mut ended = 0;
    lands_while(&broker, &place, || ended += postgres.run("ended", end).trim().parse::<u32>().expect("a number"));
    assert!(ended > 3, "{ended} connections were ended");
    assert_same(&rows(&place), &rows_of_one_run(&broker), "ended");
}

/// A network between us and a server; every connection through it can be cut.
struct Network {
    port: u16,
    connections: Arc<AtomicUsize>,
    through: Arc<Mutex<Vec<TcpStream>>>,
}

/// What becomes of a connection by itself.
#[derive(Clone)]
enum Cuts {
    Never,
    /// Behind one message more of every second connection, this process is killed. Of every other one the last message comes
    /// through.
    Kills(Arc<Mutex<Option<Child>>>),
    /// Of every second connection, each behind one message more to the server; of every second of these the last one comes
    /// through, and its answer does not. The others last for a landing or two, so that there is no waiting.
    Later,
}

impl Network {
    /// Lasts until the process ends.
    fn to(port: u16, cuts: Cuts) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let network = Self {
            port: listener.local_addr().expect("bound").port(),
            connections: Arc::default(),
            through: Arc::default(),
        };
        let (connections, through) = (network.connections.clone(), network.through.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let copy = |end: &TcpStream| end.try_clone().expect("open");
                through.lock().expect("nobody panics").extend([copy(&near), copy(&far)]);
                let number = connections.fetch_add(1, Ordering::Relaxed);
                let (mut from, mut to, cuts) = (copy(&far), copy(&near), cuts.clone());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = match cuts {
                        Cuts::Never => std::io::copy(&mut &near, &mut &far).map(|_| ()),
                        Cuts::Later if number % 2 == 0 => pass(&near, &far, 60, true),
                        Cuts::Later => pass(&near, &far, number / 4, number % 4 == 1),
                        Cuts::Kills(victim) => {
                            let passed = pass(&near, &far, number / 2, number % 2 == 1);
                            let mut victim = victim.lock().expect("nobody panics");
                            passed.and(victim.as_mut().map_or(Ok(()), Child::kill))
                        }
                    };
                    let _ = near.shutdown(Shutdown::Both).and(far.shutdown(Shutdown::Both));
                });
            }
        });
        network
    }

    /// What is at `direct`, through this network.
    fn before(&self, direct: &reqwest::Url) -> reqwest::Url {
        let mut through = direct.clone();
        through.set_port(Some(self.port)).expect("it has one");
        through
    }

    /// Cuts all connections; how many ends there were.
    fn cut(&self) -> usize {
        let through: Vec<TcpStream> = self.through.lock().expect("nobody panics").drain(..).collect();
        through.iter().filter(|end| end.shutdown(Shutdown::Both).is_ok()).count()
    }
}

/// Passes messages on, `some` and, where it `comes_through`, one more.
fn pass(mut near: &TcpStream, mut far: &TcpStream, some: usize, comes_through: bool) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..some + usize::from(comes_through) {
        let bytes = near.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        far.write_all(&buffer[..bytes])?;
    }
    if !comes_through {
        let _ = near.read(&mut buffer)?; // it is lost
    }
    Ok(())
}

/// The connection is gone behind any message, from the first of a landing to its COMMIT, whether that has come through or not.
#[test]
fn a_connection_that_is_cut_behind_any_statement_loses_and_repeats_nothing() {
    let Some(postgres) = postgres() else { return };
    let broker = memory();
    let direct: reqwest::Url = postgres.database("statements").parse().expect("a url");
    land(Arc::new(broker.clone()), &in_postgres(direct.as_str()), SMALL, Arc::default(), || {});
    publish(&broker, 1_000..2_500, &AtomicI64::default());
    let network = Network::to(direct.port().expect("its port"), Cuts::Later);
    let (place, cut) = (in_postgres(network.before(&direct).as_str()), Cut { records_max: 4, ..SMALL });
    land(Arc::new(broker.clone()), &place, cut, Arc::default(), || {});
    let connections = network.connections.load(Ordering::Relaxed);
    assert!(connections > 100, "{connections} connections, of which each second was cut one message later");
    assert_same(&rows(&in_postgres(direct.as_str())), &rows_of_one_run(&broker), "cut");
}

/// The process is killed behind any message, from the first of a connection to the COMMITs of its first landings.
#[test]
fn killed_behind_any_statement_the_rows_are_those_of_one_run() {
    let Some(postgres) = postgres() else { return };
    let (dir, clock) = (tempfile::tempdir().expect("a temporary directory"), Arc::default());
    let direct: reqwest::Url = postgres.database("kills").parse().expect("a url");
    let (log, one_run, victim) =
        (dir.path().join("log"), in_file(&dir.path().join("one-run.db")), Arc::<Mutex<Option<Child>>>::default());
    let broker = embedded(&log, &clock);
    make_topics(broker.as_ref());
    publish(broker.as_ref(), 0..3_000, &clock);
    land(broker, &one_run, Cut::default(), Arc::default(), || {});
    let network = Network::to(direct.port().expect("its port"), Cuts::Kills(victim.clone()));
    let (place, mut landings) = (in_postgres(network.before(&direct).as_str()), Vec::new());
    for kill in 0..KILLS_BEHIND_MESSAGES {
        let mut slot = victim.lock().expect("nobody panics");
        let child = slot.insert(start_child(dir.path(), &place));
        drop(child.stdin.take()); // it waits for nothing
        let lines = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
        drop(slot);
        landings.push(lines.map_while(Result::ok).filter(|line| line == "landed").count());
        let child = victim.lock().expect("nobody panics").take();
        let ended = child.expect("only killed").wait().expect("was started");
        assert!(!ended.success(), "kill {kill}: the child ended by itself");
    }
    assert!(landings.iter().filter(|landed| **landed > 0).count() > 5, "behind which there was none: {landings:?}");
    let direct = in_postgres(direct.as_str());
    land(embedded(&log, &clock), &direct, SMALL, Arc::default(), || {});
    assert_same(&rows(&direct), &rows(&one_run), "killed");
}

#[test]
fn a_server_that_only_reads_for_now_is_waited_for() {
    let Some(postgres) = postgres() else { return };
    let (broker, place) = (memory(), in_postgres(&postgres.database("reads")));
    land(Arc::new(broker.clone()), &place, SMALL, Arc::default(), || {});
    publish(&broker, 1_000..1_200, &AtomicI64::default());
    let set = |how: &str| postgres.run("postgres", &format!("ALTER DATABASE reads {how}"));
    set("SET default_transaction_read_only = on");
    in_trouble(&broker, &place, &["read-only"], || drop(set("RESET default_transaction_read_only")));
    assert_same(&rows(&place), &rows_of_one_run(&broker), "read-only");
}

#[test]
fn a_network_that_is_cut_loses_and_repeats_nothing() {
    let Some(postgres) = postgres() else { return };
    let broker = memory();
    let direct: reqwest::Url = postgres.database("network").parse().expect("a url");
    let network = Network::to(direct.port().expect("its port"), Cuts::Never);
    let through = network.before(&direct);
    let mut cuts = 0;
    lands_while(&broker, &in_postgres(through.as_str()), || cuts += network.cut());
    assert!(cuts > 6, "{cuts} ends of connections were cut");
    assert_same(&rows(&in_postgres(direct.as_str())), &rows_of_one_run(&broker), "cut");
}
