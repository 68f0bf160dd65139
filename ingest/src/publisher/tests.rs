//! Pages over a broker whose commits go wrong: each is published once, with its cursor, or not at all.

use std::sync::atomic::AtomicI64;

use skuflow_runtime::broker::TopicPartition;
use skuflow_runtime::broker::memory::{Fault, FaultPlan, Memory};
use skuflow_schemas::{Envelope, Sale};

use super::*;

const PAGES: usize = 4;

/// Pages of three sales and a refused row; the cursor is the number of the next page.
struct Script;

impl Connector for Script {
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError> {
        let number = page_of(cursor);
        if usize::from(number) == PAGES {
            return Ok(Poll::Done);
        }
        let mut records: Vec<Mapped> = (0..3).map(|line| sale(&format!("{number}-{line}"), 0)).collect();
        records.insert(1, refused(number));
        Ok(Poll::Page(Page { records, changes: BTreeMap::from([("page".into(), Some(vec![number + 1]))]) }))
    }
}

fn page_of(cursor: &Cursor) -> u8 {
    cursor.get("page").map_or(0, |entry| entry[0])
}

fn sale(order: &str, padding: usize) -> Mapped {
    let envelope = Envelope { customer: "demo".into(), source: "shop".into(), ..Envelope::default() };
    let order_id = order.into();
    let line_id = "x".repeat(padding).into();
    let sale = Sale { envelope, native_id: "A".into(), order_id, line_id, ..Sale::default() };
    let spot = Spot { file: "a.csv".into(), number: 7, line: 9, byte_start: 100, byte_end: 200, sha256: [171; 32] };
    Mapped::Event(Event::Sale(Box::new(sale)), spot)
}

fn refused(number: u8) -> Mapped {
    let letter = DeadLetter {
        topic: "files".into(),
        partition: 0,
        offset: u64::from(number),
        group: "files".into(),
        stage: ErrorStage::Mapping,
        code: "row-malformed".into(),
        message: "no row".into(),
        attempt: 1,
        origin: None,
    };
    let excerpt = format!("row {number}").into_bytes();
    Mapped::Rejected(Box::new(RejectedRow { letter, excerpt, source: "shop".into(), customer: "demo".into() }))
}

fn broker(faults: FaultPlan) -> Memory {
    let broker = Memory::new("test");
    for topic in ["raw.sales.v1", "dlq.files", "quality.v1"] {
        broker.ensure_topic(topic, 1).expect("a new topic");
    }
    broker.set_faults(Some(faults));
    broker
}

fn publisher(broker: &Memory) -> Publisher {
    Publisher {
        name: "files".into(),
        transactional_id: "test-connector-files".into(),
        topics: HashMap::from([(Family::Sale, "raw.sales.v1".into())]),
        dead_letters: "dlq.files".into(),
        quality: "quality.v1".into(),
        broker: Arc::new(broker.clone()),
        clock: Clock::Fixed(Arc::new(AtomicI64::new(1_700_000_000_000_000))),
        control: Arc::default(),
        intake: Arc::default(),
    }
}

/// Everything that a reader of the broker can see.
fn committed(broker: &Memory) -> String {
    let mut shown = String::new();
    let mut reader = broker.reader().expect("memory");
    for topic in ["raw.sales.v1", "dlq.files", "quality.v1"] {
        for batch in reader.fetch(&TopicPartition::new(topic, 0), 0, usize::MAX).expect("memory") {
            for record in batch.from(batch.base_offset) {
                shown += &format!("{topic} {:?}\n", record.to_owned());
            }
        }
    }
    shown + &format!("{:?}", broker.all_state())
}

/// Records read, by reason of refusal, their bytes, records and bytes sent, pages, commits.
fn counted(intake: &Intake) -> (u64, BTreeMap<Text, u64>, [u64; 5]) {
    let sent = (intake.sent_records(), intake.sent_bytes());
    let commits = intake.commit_micros().count();
    (intake.read(), intake.rejected(), [intake.bytes(), sent.0, sent.1, intake.page_records().count(), commits])
}

#[test]
fn whatever_goes_wrong_at_a_commit_each_page_is_published_and_counted_once() {
    let whole = broker(Box::new(|_| None));
    let undisturbed = publisher(&whole);
    undisturbed.run(&mut Script).expect("nothing goes wrong");
    let (read, rejected, [bytes, sent, _, pages, commits]) = counted(&undisturbed.intake);
    assert_eq!((read, rejected), (16, BTreeMap::from([("row-malformed".into(), 4)])));
    assert_eq!((bytes, sent, pages, commits), (12 * 100, 16 + 4, 4, 4), "a count goes with each refused row");
    for fault in [Fault::Retry, Fault::Abort, Fault::Fenced, Fault::UnknownCommitted, Fault::UnknownLost] {
        let everywhere: Box<dyn Fn(u64) -> bool + Send> = Box::new(|number| number.is_multiple_of(2));
        let once_at = |at: usize| -> Box<dyn Fn(u64) -> bool + Send> { Box::new(move |number| number == at as u64) };
        for (what, hits) in (0..PAGES).map(|at| (at, once_at(at))).chain([(PAGES, everywhere)]) {
            let broken = broker(Box::new(move |number| hits(number).then_some(fault)));
            let publisher = publisher(&broken);
            publisher.run(&mut Script).expect("it goes on from the committed cursor");
            assert_eq!(committed(&broken), committed(&whole), "{fault:?} at {what}");
            assert_eq!(counted(&publisher.intake), counted(&undisturbed.intake), "{fault:?} at {what}");
        }
    }
}

#[test]
fn a_publisher_that_is_fenced_twice_without_a_commit_stops_and_the_other_one_goes_on() {
    let whole = broker(Box::new(|_| None));
    publisher(&whole).run(&mut Script).expect("nothing goes wrong");
    for at in 0..PAGES as u64 {
        let broken = broker(Box::new(move |number| (at..at + 2).contains(&number).then_some(Fault::Fenced)));
        let fenced = publisher(&broken);
        let error = fenced.run(&mut Script).expect_err("fatal").to_string();
        assert!(error.contains("another process took over"), "{error}");
        assert_eq!(fenced.intake.read(), at * 4, "what was committed counts");
        publisher(&broken).run(&mut Script).expect("the other one");
        assert_eq!(committed(&broken), committed(&whole), "fenced at {at}");
    }
}

/// The pages of [`Script`] before this one.
struct UpTo(u8);

impl Connector for UpTo {
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError> {
        if page_of(cursor) == self.0 { Ok(Poll::Done) } else { Script.poll(cursor) }
    }
}

/// The pages of [`Script`]; with page 1 in hand it is held up once, and another process publishes those before this one.
struct Overtaken(Memory, Option<u8>);

impl Connector for Overtaken {
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError> {
        if let Some(until) = self.1.take_if(|_| page_of(cursor) == 1) {
            publisher(&self.0).run(&mut UpTo(until)).expect("the other one");
        }
        Script.poll(cursor)
    }
}

#[test]
fn a_publisher_that_is_overtaken_stops_where_the_other_has_published_and_else_goes_on() {
    let whole = broker(Box::new(|_| None));
    publisher(&whole).run(&mut Script).expect("nothing goes wrong");
    for until in 1..=PAGES as u8 {
        let broker = broker(Box::new(|_| None));
        let overtaken = publisher(&broker);
        let outcome = overtaken.run(&mut Overtaken(broker.clone(), Some(until)));
        if until == 1 {
            outcome.expect("the other one has only come and gone");
            assert_eq!(overtaken.intake.read(), 16);
        } else {
            let error = outcome.expect_err("fatal").to_string();
            assert!(error.contains("another process took over"), "{error}");
        }
        publisher(&broker).run(&mut Script).expect("the other one goes on");
        assert_eq!(committed(&broker), committed(&whole), "overtaken up to {until}");
    }
}

/// Once an event of 11 MB between two small ones.
struct Large;

impl Connector for Large {
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError> {
        let records = vec![sale("1", 0), sale("2", 11_000_000), sale("3", 0)];
        let changes = BTreeMap::from([("page".into(), Some(vec![1]))]);
        Ok(if cursor.is_empty() { Poll::Page(Page { records, changes }) } else { Poll::Done })
    }
}

#[test]
fn an_event_that_no_topic_takes_is_a_dead_letter_and_the_rest_goes_on() {
    let broker = broker(Box::new(|_| None));
    let publisher = publisher(&broker);
    publisher.run(&mut Large).expect("it goes on");
    let found = (publisher.intake.read(), publisher.intake.rejected());
    assert_eq!(found, (3, BTreeMap::from([("record-too-large".into(), 1)])));
    let seen = committed(&broker);
    assert_eq!(seen.matches("raw.sales.v1 ").count(), 2);
    let mut reader = broker.reader().expect("memory");
    let batches = reader.fetch(&TopicPartition::new("dlq.files", 0), 0, usize::MAX).expect("memory");
    let [batch] = &batches[..] else { panic!("one transaction") };
    let records: Vec<_> = batch.from(batch.base_offset).collect();
    let [record] = &records[..] else { panic!("one letter") };
    let letter = DeadLetter::from_headers(record.headers()).expect("a letter");
    let origin = letter.origin.expect("it says where it stood");
    assert_eq!((origin.file.as_str(), origin.line, origin.byte_start, origin.byte_end), ("a.csv", 9, 100, 200));
    assert_eq!((letter.offset, origin.sha256.as_str()), (7, "ab".repeat(32).as_str()));
    assert!(letter.message.contains("bytes are not kept"), "{}", letter.message);
    assert_eq!(record.to_owned().value.as_deref(), Some(b"".as_slice()));
}
