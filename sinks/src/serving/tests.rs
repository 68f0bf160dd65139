//! Rows and positions land together, once; what is later wins.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{Broker, Commit, Record, TopicPartition};
use skuflow_runtime::stage::Control;
use skuflow_schemas::{
    Currency, DeadLetter, Encoder, Envelope, ErrorStage, Event, EventId, Money, Offer, Outcome, Quality, Sale,
    Timestamp,
};
use sqlx::{ConnectOptions as _, Row as _};

mod market;
mod postgres;
mod products;
mod twin;
mod whole;

use self::twin::Twin;
use super::{Place, Serving};
use crate::batcher::Cut;
use crate::consume::{Consume, Form, Progress};
use crate::{Batch, Identity, Incoming, Landed, Part, Range, Sink, SinkError};

/// One event loop for all: an open connection belongs to it.
fn wait<T>(future: impl Future<Output = T>) -> T {
    static EVENT_LOOP: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    EVENT_LOOP.get_or_init(|| build().expect("an event loop")).block_on(future)
}

fn identity(cluster: &str) -> Identity {
    let topics = [
        "catalog.v1",
        "listings.v1",
        "sales.v1",
        "offers.v1",
        "product-offers.v1",
        "features.v1",
        "alerts.v1",
        "quality.v1",
        "dlq.raw.offers.v1",
    ];
    Identity {
        cluster_id: cluster.into(),
        topic_ids: topics.map(|topic| (topic.to_owned(), format!("id-{topic}"))).into(),
    }
}

fn open(path: &Path) -> Twin {
    let mut serving = Twin::new(path);
    serving.positions(&identity("c")).expect("opens");
    serving
}

fn in_sqlite(path: &Path) -> Serving {
    Serving::new("tables", Place::Sqlite(path.into()))
}

fn batch(topic: &str, from: Option<u64>, events: Vec<Event>) -> Batch {
    let offsets = from.unwrap_or(0)..;
    of(topic, from, events.into_iter().zip(offsets).map(|(event, offset)| Incoming::Event(event, offset)).collect())
}

fn of(topic: &str, from: Option<u64>, records: Vec<Incoming>) -> Batch {
    let range = Range { from, to: from.unwrap_or(0) + records.len() as u64 };
    Batch { parts: BTreeMap::from([(TopicPartition::new(topic, 0), Part { range, records })]) }
}

fn land(serving: &mut Twin, batch: &Batch) -> Result<Landed, SinkError> {
    serving.land(batch)
}

fn query(path: &Path, text: &'static str) -> Vec<String> {
    wait(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("there");
        let rows = sqlx::query(text).fetch_all(&mut connection).await.expect("a query");
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    })
}

fn envelope(second: i64) -> Envelope {
    Envelope {
        event_id: EventId([second as u8; 16]),
        customer: "demo".into(),
        source: "shop".into(),
        marketplace: "uk".into(),
        observed_at: Timestamp::from_millis(second * 1000),
        ..Envelope::default()
    }
}

fn price(cents: i64) -> Option<Money> {
    Currency::parse("GBP").ok().map(|currency| Money { minor: cents, currency, exponent: 2 })
}

fn sale(line: &str, sku: &str, units: i64, second: i64) -> Event {
    Event::Sale(Box::new(Sale {
        envelope: envelope(second),
        native_id: sku.into(),
        order_id: "O".into(),
        line_id: line.into(),
        units,
        unit_price: price(150),
        ..Sale::default()
    }))
}

fn offer(cents: i64, second: i64) -> Event {
    Event::Offer(Box::new(Offer {
        envelope: envelope(second),
        native_id: "L".into(),
        price: price(cents),
        ..Offer::default()
    }))
}

const DAILY: &str = "SELECT native_id || ' ' || units || ' ' || units_sold || ' ' || units_returned || ' ' || revenue_micros \
    || ' ' || order_lines FROM sales_daily ORDER BY native_id";

#[test]
fn a_batch_lands_once_and_only_where_the_last_one_ended() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("new/folder/serving.db");
    let mut serving = open(&path);
    let first = batch("sales.v1", None, vec![sale("1", "A", 2, 1), sale("2", "A", -1, 2)]);
    assert_eq!(land(&mut serving, &first).expect("lands").rows["sale_lines"], 2);
    assert_eq!(land(&mut serving, &first).expect("a no-op"), Landed::default());
    for (from, what) in [(Some(1), "an overlap"), (Some(3), "a gap"), (None, "a new beginning")] {
        let mut wrong = batch("sales.v1", from, vec![sale("9", "A", 9, 9); 3]);
        for part in wrong.parts.values_mut() {
            part.range.from = from;
        }
        assert!(matches!(land(&mut serving, &wrong), Err(SinkError::Fenced(_))), "{what}");
    }
    let mut zombie = open(&path);
    let next = batch("sales.v1", Some(2), vec![sale("3", "B", 1, 3)]);
    land(&mut serving, &next).expect("lands");
    assert_eq!(land(&mut zombie, &next).expect("landed before"), Landed::default());
    let late = batch("sales.v1", Some(2), vec![sale("3", "B", 1, 3), sale("4", "B", 1, 3)]);
    assert!(matches!(land(&mut zombie, &late), Err(SinkError::Fenced(_))));
    assert_eq!(query(&path, DAILY), ["A 1 2 1 1500000 2", "B 1 1 0 1500000 1"]);
}

#[test]
fn a_corrected_order_line_moves_the_sums_by_the_difference() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let batches: [(u64, Vec<Event>, &[&str]); 5] = [
        (0, vec![sale("1", "A", 2, 10), sale("2", "A", 1, 10)], &["A 3 3 0 4500000 2"]),
        (2, vec![sale("1", "A", 5, 20)], &["A 6 6 0 9000000 2"]),
        (3, vec![sale("1", "A", 9, 15)], &["A 6 6 0 9000000 2"]), // older than what is known
        (4, vec![sale("1", "B", 5, 30), sale("1", "B", 4, 29)], &["A 1 1 0 1500000 1", "B 5 5 0 7500000 1"]),
        (6, vec![sale("2", "B", 1, 40)], &["B 6 6 0 9000000 2"]), // nothing is left of A
    ];
    for (from, events, expected) in batches {
        land(&mut serving, &batch("sales.v1", (from > 0).then_some(from), events)).expect("lands");
        assert_eq!(query(&path, DAILY), expected);
    }
}

/// Two partitions have no order between them: of one time, the same line stands whichever comes first.
#[test]
fn lines_of_one_time_from_several_partitions_come_to_the_same_in_any_order() {
    let words = || {
        let mut words = [sale("1", "A", 2, 10), sale("1", "B", 3, 10), sale("1", "C", 4, 10), sale("1", "C", 4, 9)];
        for (number, word) in (0..).zip(&mut words) {
            word.envelope_mut().expect("a sale").event_id = EventId([[7, 9, 8, 10][number]; 16]);
        }
        words
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 1, 0], [1, 3, 0, 2], [0, 2, 3, 1]] {
        for batch_size in 1..=4 {
            let path = dir.path().join(format!("{order:?}-{batch_size}.db"));
            let mut serving = open(&path);
            for numbers in order.chunks(batch_size) {
                let mut parts = BTreeMap::new();
                for number in numbers {
                    let records = vec![Incoming::Event(words()[*number].clone(), 0)];
                    let range = Range { from: None, to: 1 };
                    parts.insert(TopicPartition::new("sales.v1", *number as u32), Part { range, records });
                }
                land(&mut serving, &Batch { parts }).expect("lands");
            }
            assert_eq!(query(&path, DAILY), ["B 3 3 0 4500000 1"], "{order:?} by {batch_size}");
        }
    }
}

/// 8 of 10 is not 8 of 5.
#[test]
fn a_rating_keeps_its_scale() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let rated = |seller: &str, rating_best| {
        let Event::Offer(mut offer) = offer(100, 1) else { panic!("an offer") };
        (offer.seller, offer.rating, offer.rating_best) = (Some(seller.into()), Some(4.0), rating_best);
        Event::Offer(offer)
    };
    land(&mut open(&path), &batch("offers.v1", None, vec![rated("a", None), rated("b", Some(10.0))])).expect("lands");
    let ratings = query(&path, "SELECT rating || ' of ' || rating_best FROM offers_latest ORDER BY seller");
    assert_eq!(ratings, ["4.0 of 5.0", "4.0 of 10.0"]);
}

#[test]
fn a_late_offer_never_overwrites_a_newer_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let latest = "SELECT CAST(price_micros AS TEXT) FROM offers_latest";
    land(&mut serving, &batch("offers.v1", None, vec![offer(300, 30), offer(200, 20)])).expect("lands");
    assert_eq!(query(&path, latest), ["3000000"], "within a batch");
    land(&mut serving, &batch("offers.v1", Some(2), vec![offer(100, 10)])).expect("lands");
    assert_eq!(query(&path, latest), ["3000000"], "in a later batch");
    land(&mut serving, &batch("offers.v1", Some(3), vec![offer(400, 30)])).expect("lands");
    assert_eq!(query(&path, latest), ["4000000"], "of one time, the later record");
    assert_eq!(query(&path, "SELECT CAST(COUNT(*) AS TEXT) FROM price_history"), ["3"], "by event id");
}

#[test]
fn counts_add_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut serving = open(&path);
    let count = |count, latest| {
        let latest_observed_at = Timestamp::from_micros(latest);
        let outcome = Outcome::Accepted;
        Event::Quality(Box::new(Quality { outcome, count, latest_observed_at, ..Quality::default() }))
    };
    land(&mut serving, &batch("quality.v1", None, vec![count(3, 5), count(4, 2)])).expect("lands");
    land(&mut serving, &batch("quality.v1", Some(2), vec![count(10, 4)])).expect("lands");
    let sums = query(&path, "SELECT outcome || ' ' || count || ' ' || latest_observed_at FROM data_quality");
    assert_eq!(sums, ["accepted 17 5"]);
}

fn letter(offset: u64, message: &str, at: i64) -> Incoming {
    let letter = DeadLetter {
        topic: "raw.offers.v1".into(),
        partition: 1,
        offset,
        group: "clean".into(),
        stage: ErrorStage::Processing,
        code: "price-not-positive".into(),
        message: message.into(),
        attempt: 1,
        origin: None,
    };
    Incoming::DeadLetter(Box::new(letter), Timestamp::from_micros(at))
}

/// The latest by time is told, wherever it stands in a batch and whichever batch comes first.
#[test]
fn the_last_dead_letter_is_told_with_its_place() {
    let batches = |from: Option<u64>, records: Vec<Incoming>| {
        let range = Range { from, to: from.unwrap_or(0) + records.len() as u64 };
        Batch { parts: BTreeMap::from([(TopicPartition::new("dlq.raw.offers.v1", 0), Part { range, records })]) }
    };
    let all = || vec![letter(7, "b", 20), letter(9, "d", 30), letter(8, "c", 30), letter(5, "a", 10)];
    let dir = tempfile::tempdir().expect("a temporary directory");
    for rotated in 0..4 {
        for cut in 1..4 {
            let path = dir.path().join(format!("{rotated}-{cut}.db"));
            let mut serving = open(&path);
            let mut first = all();
            first.rotate_left(rotated);
            let second = first.split_off(cut);
            land(&mut serving, &batches(None, first)).expect("lands");
            land(&mut serving, &batches(Some(cut as u64), second)).expect("lands");
            let text = "SELECT count || ' ' || first_at || ' ' || last_at || ' ' || last_partition || ' ' || last_offset \
                || ' ' || message FROM dead_letters";
            assert_eq!(query(&path, text), ["4 10 30 1 9 d"], "rotated by {rotated}, cut at {cut}");
        }
    }
}

#[test]
fn tables_that_do_not_belong_here_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    land(&mut open(&path), &batch("sales.v1", None, vec![sale("1", "A", 2, 1)])).expect("lands");
    let refused = |identity: &Identity| match Twin::new(&path).positions(identity) {
        Err(SinkError::Fatal(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(refused(&identity("another")).contains("move the file away"));
    let mut recreated = identity("c");
    recreated.topic_ids.insert("sales.v1".into(), "another".into());
    assert!(refused(&recreated).contains("move the file away"));
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, "not a database, but long enough to be looked at as one ".repeat(100)).expect("writable");
    match wait(in_sqlite(&garbage).positions(&identity("c"))) {
        Err(SinkError::Fatal(reason)) => assert!(reason.contains("move the file away"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tables_of_a_newer_program_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    open(&path);
    query(
        &path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', true, x'00', 0) RETURNING 'done'",
    );
    match wait(in_sqlite(&path).positions(&identity("c"))) {
        Err(SinkError::Fatal(reason)) => assert!(reason.contains("use a newer skuflow"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

fn refusal(result: Result<impl std::fmt::Debug, SinkError>) -> String {
    match result {
        Err(SinkError::Fatal(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn execute(path: &Path, text: &'static str) {
    wait(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("there");
        sqlx::raw_sql(text).execute(&mut connection).await.expect("a statement");
    });
}

/// What no patience mends ends the sink, and says what to do.
#[test]
fn tables_that_were_changed_by_hand_are_refused() {
    for (change, part) in [
        ("DROP TABLE sale_lines", "no such table: sale_lines"),
        ("ALTER TABLE sale_lines DROP COLUMN status", "13 values"),
        ("ALTER TABLE sales_daily ADD COLUMN margin INTEGER NOT NULL DEFAULT 0", "11 values"),
        ("UPDATE _sqlx_migrations SET checksum = x'00'", "another build"),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("serving.db");
        open(&path);
        execute(&path, change);
        let mut serving = in_sqlite(&path);
        let reason = match wait(serving.positions(&identity("c"))) {
            Ok(_) => {
                let batch = batch("sales.v1", None, vec![sale("1", "A", 2, 1)]);
                let first = wait(serving.land(&batch));
                assert!(matches!(first, Err(SinkError::Retry(_))), "they are looked at once more: {first:?}");
                refusal(wait(serving.land(&batch)))
            }
            refused => refusal(refused),
        };
        assert!(reason.contains(part) && reason.contains("move the file away"), "{change}: {reason}");
    }
}

#[test]
fn a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    open(&path);
    execute(&path, "PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[4096..].fill(0x55);
    std::fs::write(&path, bytes).expect("writable");
    let reason = refusal(wait(in_sqlite(&path).positions(&identity("c"))));
    assert!(reason.contains("malformed") && reason.contains("move the file away"), "{reason}");
}

#[test]
fn a_folder_in_its_place_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let reason = refusal(wait(in_sqlite(dir.path()).positions(&identity("c"))));
    assert!(reason.contains("name a file"), "{reason}");
}

/// Several sinks may share a file, and all of them make its tables.
#[test]
fn tables_are_made_once_by_many() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("serving.db");
        std::thread::scope(|scope| {
            let open = || match wait(in_sqlite(&path).positions(&identity("c"))) {
                Ok(_) | Err(SinkError::Retry(_)) => {}
                Err(other) => panic!("{other}"),
            };
            let threads = [0, 1, 2].map(|_| scope.spawn(open));
            assert!(threads.into_iter().all(|thread| thread.join().is_ok()), "it opens, or tries again");
        });
        open(&path);
    }
}

/// A broker with three order lines on `sales.v1`.
fn broker() -> Memory {
    let broker = Memory::new("c");
    broker.ensure_topic("sales.v1", 1).expect("new");
    publish(&broker);
    broker
}

fn publish(broker: &Memory) {
    let mut producer = broker.producer("test").expect("open");
    let topic: Arc<str> = "sales.v1".into();
    for line in ["1", "2", "3"] {
        let mut value = Vec::new();
        Encoder.encode(&sale(line, "A", 1, 1), &mut value);
        producer.send(&topic, None, &Record { key: Some(b"k"), value: Some(&value), headers: &[] }).expect("exists");
        producer.commit(Commit::default()).expect("no faults");
    }
}

/// What feeds a sink all that is there.
fn consumer(broker: &Memory, name: &str) -> Consume {
    let control = Arc::new(Control::new(true));
    control.complete(&"sales.v1".into());
    Consume {
        form: Form::Event,
        name: name.into(),
        topics: vec!["sales.v1".into()],
        transactional_id: name.into(),
        broker: Arc::new(broker.clone()),
        cut: Cut::default(),
        control,
        progress: Arc::new(Progress::default()),
    }
}

fn consume(broker: &Memory, path: &Path) -> (Result<(), String>, u64) {
    let consume = consumer(broker, "tables");
    let ended = wait(consume.run(&mut in_sqlite(path)));
    (ended, consume.progress.records())
}

#[test]
fn what_is_there_is_consumed_and_a_gap_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let broker = broker();
    assert_eq!(consume(&broker, &path), (Ok(()), 3));
    assert_eq!(consume(&broker, &path), (Ok(()), 0), "a second time there is nothing new");
    assert_eq!(query(&path, DAILY), ["A 3 3 0 4500000 3"]);
    let of = TopicPartition::new("sales.v1", 0);
    broker.drop_before(&of, 2).expect("exists");
    let new = dir.path().join("new.db");
    assert_eq!(consume(&broker, &new), (Ok(()), 1), "a new store takes what there is");
    publish(&broker);
    broker.drop_before(&of, 5).expect("exists");
    let reason = consume(&broker, &path).0.expect_err("records are gone");
    assert!(reason.contains("offsets 3..5 of sales.v1/0") && reason.contains("holds 5..6"), "{reason}");
}
