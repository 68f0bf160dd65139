//! The real worker over the memory broker, with faults at every commit: what is committed never changes by a byte.

#![allow(clippy::type_complexity, clippy::unnecessary_wraps, reason = "records and fields as they are")]

use std::sync::Arc;

use skuflow_processors::codec::{Damage, Reader, Writer};
use skuflow_processors::{
    Context, Input, Output, Processor, State, Stated, Timer, alerts, catalog, dedup, features, route, validate,
};
use skuflow_schemas::{
    Availability, Catalog, Currency, Encoder, Envelope, Event, Family, ListingRef, Money, Offer, Outcome, Sale, Text,
    Timestamp,
};

use super::{Control, InputSpec, StageError, StageSettings, StageSpec, Step, Tally, Worker, step};
use crate::broker::embedded::Embedded;
use crate::broker::memory::{Fault, FaultPlan, Memory};
use crate::broker::{Broker, Commit, Member, Record, StateChange, TopicPartition};
use crate::clock::Clock;
use crate::limits::WAKES_PER_RECORD_MAX;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + second * 1000)
}

fn envelope(second: i64) -> Envelope {
    Envelope {
        customer: "demo".into(),
        source: "shop".into(),
        marketplace: "de".into(),
        observed_at: at(second),
        ingested_at: at(1000),
        ..Envelope::default()
    }
}

fn money(minor: i64) -> Option<Money> {
    Some(Money { minor, currency: Currency::parse("EUR").expect("three letters"), exponent: 2 })
}

fn offer(listing: u64, seller: &str, second: i64, cents: i64) -> Event {
    Event::Offer(Box::new(Offer {
        envelope: envelope(second),
        native_id: format!("L{listing}").into(),
        seller: Some(seller.into()),
        price: money(cents),
        availability: Availability::InStock,
        ..Offer::default()
    }))
}

fn sale(listing: u64, line: u64, second: i64, cents: i64) -> Event {
    Event::Sale(Box::new(Sale {
        envelope: envelope(second),
        native_id: format!("L{listing}").into(),
        order_id: "O".into(),
        line_id: line.to_string().into(),
        units: 1,
        unit_price: money(cents),
        ..Sale::default()
    }))
}

fn product(name: &str, own: u64, competitor: u64, second: i64) -> Event {
    let listing = |number| ListingRef {
        source: "shop".into(),
        marketplace: "de".into(),
        native_id: format!("L{number}").into(),
        seller: None,
    };
    Event::Catalog(Box::new(Catalog {
        envelope: envelope(second),
        product: name.into(),
        own: vec![listing(own)],
        competitors: vec![listing(competitor)],
        active: true,
        ..Catalog::default()
    }))
}

/// Sends events to their raw topics, two to a transaction.
fn publish(broker: &dyn Broker, events: &[Event]) {
    let mut producer = broker.producer("test").expect("open");
    for (index, event) in events.iter().enumerate() {
        let mut event = event.clone();
        let id = event.compute_id();
        if let Some(envelope) = event.envelope_mut() {
            envelope.event_id = id;
        }
        let mut value = Vec::new();
        Encoder.encode(&event, &mut value);
        let topic: Arc<str> = event.family().raw_topic().expect("an observation").into();
        let key = event.key();
        let record = Record { key: Some(key.as_str().as_bytes()), value: Some(&value), headers: &[] };
        producer.send(&topic, None, &record).expect("exists");
        if index % 2 == 1 {
            producer.commit(Commit::default()).expect("no faults yet");
        }
    }
    producer.commit(Commit::default()).expect("no faults yet");
}

const TOPICS: &[&str] = &[
    "raw.offers.v1",
    "raw.sales.v1",
    "raw.inventory.v1",
    "raw.catalog.v1",
    "catalog.v1",
    "listings.v1",
    "offers.v1",
    "sales.v1",
    "inventory.v1",
    "product-offers.v1",
    "product-sales.v1",
    "product-inventory.v1",
    "quality.v1",
];

fn cluster(partitions: u32) -> Memory {
    let broker = Memory::new("test").with_markers();
    make_topics(&broker, partitions);
    broker
}

fn make_topics(broker: &dyn Broker, partitions: u32) {
    for topic in TOPICS {
        for name in [(*topic).to_owned(), format!("dlq.{topic}"), format!("late.{topic}")] {
            broker.ensure_topic(&name, partitions).expect("new");
        }
    }
}

fn spec(name: &str, inputs: &[(&str, Family)], steps: Vec<Arc<dyn Step>>, cache_bytes: usize) -> Arc<StageSpec> {
    Arc::new(StageSpec {
        name: name.into(),
        group: format!("test-{name}"),
        inputs: inputs.iter().map(|(topic, family)| InputSpec { topic: (*topic).into(), family: *family }).collect(),
        steps,
        outputs: TOPICS.iter().map(|topic| ((*topic).into(), (*topic).into())).collect(),
        quality_topic: "quality.v1".into(),
        settings: StageSettings { commit_interval: std::time::Duration::ZERO, cache_bytes, ..StageSettings::default() },
    })
}

fn clean(cache_bytes: usize) -> Arc<StageSpec> {
    let steps = vec![
        step(validate::Validate::new(validate::Config::default())),
        step(dedup::Dedup::new(dedup::Config::default())),
        step(route::Route::new(route::Config::default())),
    ];
    let inputs = [("raw.offers.v1", Family::Offer), ("raw.sales.v1", Family::Sale), ("listings.v1", Family::Listing)];
    spec("clean", &inputs, steps, cache_bytes)
}

fn catalog_stage() -> Arc<StageSpec> {
    let steps = vec![
        step(validate::Validate::new(validate::Config::default())),
        step(catalog::Catalog::new(catalog::Config::default())),
    ];
    spec("catalog", &[("raw.catalog.v1", Family::Catalog)], steps, 1 << 20)
}

/// Runs a stage to its end, with faults.
fn run(broker: &Memory, spec: &Arc<StageSpec>, faults: Option<FaultPlan>) -> Arc<Tally> {
    broker.set_faults(faults);
    let tally = run_calmly(Arc::new(broker.clone()), spec);
    broker.set_faults(None);
    tally
}

/// Runs a stage to its end.
fn run_calmly(broker: Arc<dyn Broker>, spec: &Arc<StageSpec>) -> Arc<Tally> {
    try_run(broker, spec).expect("nothing fatal")
}

fn try_run(broker: Arc<dyn Broker>, spec: &Arc<StageSpec>) -> Result<Arc<Tally>, StageError> {
    let control = Arc::new(Control::new(true));
    for topic in TOPICS {
        control.complete(&Arc::from(*topic));
    }
    let worker = Worker {
        spec: spec.clone(),
        broker,
        member: Member { id: format!("test-{}-0", spec.name), index: 0, count: 1 },
        control,
        tally: Arc::default(),
    };
    let tally = worker.tally.clone();
    worker.run().map(|()| tally)
}

/// Every record of every topic but the counts, whose cut into transactions depends on the commits.
fn contents(broker: &dyn Broker) -> Vec<(String, u32, Option<Vec<u8>>, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    let mut names: Vec<_> =
        broker.topics().expect("open").into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    names.sort();
    let mut reader = broker.reader().expect("open");
    for (name, partitions) in names.into_iter().filter(|(name, _)| name.as_ref() != "quality.v1") {
        for number in 0..partitions {
            let of = TopicPartition::new(name.clone(), number);
            let (mut from, next) = broker.offsets(&of).expect("exists");
            while from < next {
                for batch in reader.fetch(&of, from, usize::MAX).expect("in range") {
                    all.extend(batch.from(from).map(|record| {
                        let own = record.to_owned();
                        (name.to_string(), number, own.key, own.value)
                    }));
                    from = batch.next_offset();
                }
            }
        }
    }
    all
}

fn input() -> Vec<Event> {
    let mut events = vec![product("P1", 1, 2, 5), product("P2", 2, 3, 60)];
    for round in 0..40_i64 {
        let listing = 1 + (round as u64 * 7) % 4;
        events.push(offer(listing, "s1", round * 3, 1000 + round));
        events.push(offer(listing, "s2", round * 3, 900));
        events.push(sale(listing, round as u64, round * 3, 500));
        if round % 5 == 0 {
            events.push(offer(listing, "s1", round * 3, 1000 + round)); // a repeat
            events.push(offer(listing, "s3", round * 3, 0)); // refused
            events.push(offer(listing, "s1", round * 3 - 86_400 * 60, 999)); // long ago
        }
    }
    events.push(product("P1", 4, 3, 70));
    events
}

struct Run {
    contents: Vec<(String, u32, Option<Vec<u8>>, Option<Vec<u8>>)>,
    state: Vec<(String, Vec<u8>, Vec<u8>)>,
}

fn whole_run(partitions: u32, cache_bytes: usize, faults: impl Fn() -> Option<FaultPlan>) -> Run {
    let broker = cluster(partitions);
    publish(&broker, &input());
    run(&broker, &catalog_stage(), faults());
    run(&broker, &clean(cache_bytes), faults());
    // Runs of seen ids are cut at commits: they are told apart by what they hold, not by how.
    let mut seen: Vec<(String, Vec<u8>, Vec<u8>)> = Vec::new();
    let mut state = Vec::new();
    for (owner, key, value) in broker.all_state() {
        if key.starts_with(b"seen/") {
            seen.extend(value.chunks(24).map(|id| (owner.clone(), key[..7].to_vec(), id.to_vec())));
        } else {
            state.push((owner, key, value));
        }
    }
    seen.sort();
    state.extend(seen);
    Run { contents: contents(&broker), state }
}

#[test]
fn faults_at_any_commit_change_nothing() {
    let calm = whole_run(2, 1 << 20, || None);
    assert!(calm.contents.iter().any(|(topic, ..)| topic == "dlq.raw.offers.v1"), "something was refused");
    assert!(calm.contents.iter().any(|(topic, ..)| topic == "late.raw.offers.v1"), "something was late");
    assert!(calm.contents.iter().any(|(topic, .., value)| topic == "listings.v1" && value.is_none()), "a row ended");
    for seed in 1..=20_u64 {
        let faulty = whole_run(2, 1 << 20, || {
            let mut random = seed;
            Some(Box::new(move |_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match random >> 60 {
                    0 => Some(Fault::Abort),
                    1 => Some(Fault::Retry),
                    2 => Some(Fault::Fenced),
                    3 => Some(Fault::UnknownCommitted),
                    4 => Some(Fault::UnknownLost),
                    _ => None,
                }
            }))
        });
        assert_eq!(calm.contents, faulty.contents, "seed {seed}: records differ");
        assert_eq!(calm.state, faulty.state, "seed {seed}: state differs");
    }
}

#[test]
fn every_other_commit_aborted_changes_nothing() {
    let calm = whole_run(1, 1 << 20, || None);
    let aborted = whole_run(1, 1 << 20, || Some(Box::new(|number| number.is_multiple_of(2).then_some(Fault::Abort))));
    assert_eq!(calm.contents, aborted.contents);
    assert_eq!(calm.state, aborted.state);
}

/// Every record is a transaction of its own, and each is aborted once: in memory that ends as on disk without any abort,
/// byte for byte, counts and runs of seen ids included.
#[test]
fn an_abort_after_every_record_ends_as_the_engine_does() {
    let one_by_one = |stage: Arc<StageSpec>| {
        let mut stage = Arc::into_inner(stage).expect("is new");
        stage.settings.transaction_records = 1;
        Arc::new(stage)
    };
    let whole = |broker: &dyn Broker, run: &dyn Fn(&Arc<StageSpec>) -> Arc<Tally>| {
        make_topics(broker, 1);
        publish(broker, &input());
        let records = [catalog_stage(), clean(1 << 20)].map(|stage| run(&one_by_one(stage)).commits());
        let owners = ["task:test-catalog/0", "task:test-clean/0"];
        let state = owners.map(|owner| broker.state(owner).expect("open").scan(b"").expect("readable"));
        (records, contents(broker), state)
    };
    let memory = Memory::new("test");
    let every_other = || -> FaultPlan { Box::new(|number| number.is_multiple_of(2).then_some(Fault::Abort)) };
    let aborted = whole(&memory, &|stage| run(&memory, stage, Some(every_other())));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let embedded = Embedded::open(dir.path(), crate::storage::Options::default(), Clock::System).expect("new");
    let calm = whole(&embedded, &|stage| run_calmly(Arc::new(embedded.clone()), stage));
    assert!(calm.0.iter().sum::<u64>() > 100, "commits: {:?}", calm.0);
    assert_eq!(aborted, calm);
}

/// A cache that holds next to nothing reads every state back from what is committed.
#[test]
fn the_size_of_the_cache_changes_nothing() {
    let (large, small) = (whole_run(1, 1 << 20, || None), whole_run(1, 1, || None));
    assert_eq!(large.contents, small.contents);
    assert_eq!(large.state, small.state);
}

#[test]
fn every_record_is_counted_once() {
    let broker = cluster(2);
    publish(&broker, &input());
    run(&broker, &catalog_stage(), None);
    let mut number = 0;
    let tally = run(
        &broker,
        &clean(1 << 20),
        Some(Box::new(move |_| {
            number += 1;
            (number % 3 == 0).then_some(Fault::UnknownCommitted)
        })),
    );
    let committed = contents(&broker);
    let read =
        committed.iter().filter(|(topic, ..)| topic == "raw.offers.v1" || topic == "raw.sales.v1").count() as u64;
    let dead = committed.iter().filter(|(topic, ..)| topic.starts_with("dlq.")).count() as u64;
    let clean = committed.iter().filter(|(topic, ..)| topic == "offers.v1" || topic == "sales.v1").count() as u64;
    let quality = |outcome: Outcome| -> u64 {
        let mut total = 0;
        let mut reader = broker.reader().expect("open");
        for number in 0..2 {
            let of = TopicPartition::new("quality.v1", number);
            let (mut from, next) = broker.offsets(&of).expect("exists");
            while from < next {
                for batch in reader.fetch(&of, from, usize::MAX).expect("in range") {
                    for record in batch.from(from) {
                        if let Ok(Event::Quality(q)) = skuflow_schemas::Decoder.decode(record.value.unwrap_or_default())
                            && q.outcome == outcome
                            && q.family != "catalog"
                        {
                            total += q.count as u64;
                        }
                    }
                    from = batch.next_offset();
                }
            }
        }
        total
    };
    assert_eq!(quality(Outcome::Accepted), clean);
    assert_eq!(quality(Outcome::Rejected), dead);
    assert_eq!(
        read,
        clean + dead + quality(Outcome::Duplicate) + quality(Outcome::Unchanged) + quality(Outcome::Conflicting)
    );
    assert!(tally.failures() > 0, "faults happened");
}

/// Records and bytes of the topics that `is_wanted` names.
fn size(broker: &dyn Broker, is_wanted: &dyn Fn(&str) -> bool) -> (u64, u64) {
    let (mut records, mut bytes) = (0, 0);
    let mut reader = broker.reader().expect("open");
    for topic in broker.topics().expect("open").into_iter().filter(|topic| is_wanted(&topic.name)) {
        for number in 0..topic.partitions {
            let of = TopicPartition::new(topic.name.clone(), number);
            for batch in reader.fetch(&of, 0, usize::MAX).expect("in range") {
                records += u64::from(batch.records);
                bytes += batch.bytes.len() as u64;
            }
        }
    }
    (records, bytes)
}

#[test]
fn a_stage_counts_what_is_committed_and_nothing_else() {
    let is_input = |topic: &str| matches!(topic, "raw.offers.v1" | "raw.sales.v1" | "listings.v1");
    for faults in [None, Some(Fault::Abort), Some(Fault::UnknownLost)] {
        let broker = cluster(2);
        let events: Vec<Event> = (0..40)
            .flat_map(|n| [offer(n % 7, "s", n as i64, 100 + n as i64), sale(n % 5, n, n as i64, n as i64 % 3)])
            .collect();
        publish(&broker, &events);
        let plan = faults.map(|fault| -> FaultPlan { Box::new(move |number| (number % 3 == 1).then_some(fault)) });
        let mut stage = Arc::into_inner(clean(1 << 20)).expect("nobody else has it");
        stage.settings.transaction_records = 9;
        let tally = run(&broker, &Arc::new(stage), plan);
        assert_eq!((tally.records(), tally.bytes()), size(&broker, &is_input), "{faults:?}");
        assert_eq!((tally.sent_records(), tally.sent_bytes()), size(&broker, &|topic| !is_input(topic)), "{faults:?}");
        assert_eq!(tally.failures() > 0, faults.is_some(), "{faults:?}");
        assert_eq!((tally.unready(), tally.commits() > 5), (None, true), "{faults:?}");
        assert!(tally.held().keys > 0 && tally.held().ids > 60, "{:?}", tally.held());
    }
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_with_its_bytes() {
    let broker = cluster(1);
    let mut producer = broker.producer("test").expect("open");
    let topic: Arc<str> = "raw.offers.v1".into();
    let poison: [(Option<&[u8]>, Option<&[u8]>); 6] = [
        (Some(b"demo/x"), None),
        (Some(b"demo/x"), Some(b"")),
        (Some(b"demo/x"), Some(b"{\"json\": true}")),
        (Some(b"demo/x"), Some(&[0, 0, 0, 0, 99, 1])),
        (Some(b"demo/x"), Some(&[0, 0, 0, 0, 1, 7])),
        (None, Some(b"no key")),
    ];
    for (key, value) in poison {
        producer.send(&topic, None, &Record { key, value, headers: &[("mine", b"kept")] }).expect("exists");
    }
    producer.commit(Commit::default()).expect("no faults");
    publish(&broker, &[offer(1, "s", 1, 100)]);
    let tally = run(&broker, &clean(1 << 20), None);
    let mut reader = broker.reader().expect("open");
    let of = TopicPartition::new("dlq.raw.offers.v1", 0);
    let batches = reader.fetch(&of, 0, usize::MAX).expect("in range");
    let letters: Vec<_> = batches.iter().flat_map(|batch| batch.iter().collect::<Vec<_>>()).collect();
    assert_eq!(letters.len(), poison.len());
    for (letter, (key, value)) in letters.iter().zip(poison) {
        assert_eq!((letter.key, letter.value), (key, value), "bytes are kept");
        assert!(letter.headers().any(|header| header == ("mine", b"kept".as_slice())));
        assert!(skuflow_schemas::DeadLetter::from_headers(letter.headers()).is_some());
    }
    assert_eq!(tally.outcome(Outcome::Accepted), 1, "the rest goes on");
}

/// A step that wakes itself an hour of event time after each record of a key.
struct Alarm;

#[derive(Clone, Debug, Default, PartialEq)]
struct Rung(u32);

impl State for Rung {
    const VERSION: u8 = 1;

    fn write(&self, into: &mut Writer<'_>) {
        into.number(self.0.into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        from.number().map(|number| Self(number as u32))
    }
}

impl Processor for Alarm {
    type State = Rung;

    fn name(&self) -> &'static str {
        "alarm"
    }

    fn apply(&self, input: Input, state: &mut Stated<Rung>, context: &mut Context<'_>) {
        if let Some(event) = input.event() {
            context.outbox.wake_at(event.observed_at().plus_micros(3_600_000_000));
        }
        state.0 += 0;
        context.forward(input);
    }

    fn wake(&self, timer: &Timer, state: &mut Stated<Rung>, context: &mut Context<'_>) {
        state.0 += 1;
        let mut woken = sale(9, u64::from(state.0), 0, 1);
        if let Event::Sale(sale) = &mut woken {
            sale.order_id = timer.key.clone();
            sale.status = skuflow_schemas::SaleStatus::Pending;
            sale.native_id = Text::from(timer.due.to_string());
        }
        context.forward(Output::made(woken));
    }
}

#[test]
fn timers_fire_in_order_before_the_record_that_makes_them_due_and_survive_faults() {
    let events = || vec![sale(1, 1, 0, 5), sale(2, 2, 10, 5), sale(1, 3, 3605, 5), sale(3, 4, 9000, 5)];
    let outcome = |faults: Option<FaultPlan>| {
        let broker = cluster(1);
        publish(&broker, &events());
        run(&broker, &spec("alarm", &[("raw.sales.v1", Family::Sale)], vec![step(Alarm)], 1 << 20), faults);
        let published = contents(&broker).into_iter().filter(|(topic, ..)| topic == "sales.v1");
        let published: Vec<String> = published
            .filter_map(|(.., value)| match skuflow_schemas::Decoder.decode(&value?) {
                Ok(Event::Sale(sale)) if sale.status == skuflow_schemas::SaleStatus::Pending => {
                    Some(format!("wake {}", sale.order_id))
                }
                Ok(Event::Sale(sale)) => Some(format!("sale {}", sale.line_id)),
                _ => None,
            })
            .collect();
        (published, broker.all_state())
    };
    let (calm, state) = outcome(None);
    let one = "wake demo/shop:de:L1";
    assert_eq!(calm, ["sale 1", "sale 2", one, "sale 3", "wake demo/shop:de:L2", one, "sale 4"]);
    let faulty = outcome(Some(Box::new(|number| (number % 2 == 0).then_some(Fault::UnknownLost))));
    assert_eq!((calm, state), faulty);
}

/// Every scenario of the steps once more through the real task: the same outcome, whatever is aborted or lost.
#[test]
fn scenarios_come_out_of_a_task_as_they_say() {
    use skuflow_processors::driver::{Scenario, report, scenarios};
    let through_a_task = |scenario: &Scenario, faults: Option<FaultPlan>| {
        let broker = Memory::new("test");
        let names: Vec<&str> = skuflow_schemas::TOPICS.iter().map(|topic| topic.name).collect();
        for name in names.iter().flat_map(|name| [(*name).to_owned(), format!("dlq.{name}"), format!("late.{name}")]) {
            broker.ensure_topic(&name, 1).expect("new");
        }
        let mut producer = broker.producer("test").expect("open");
        for input in &scenario.inputs {
            let record = Record { key: Some(input.key.as_bytes()), value: input.value.as_deref(), headers: &[] };
            producer.send(&input.topic.as_str().into(), None, &record).expect("exists");
        }
        producer.commit(Commit::default()).expect("no faults yet");
        let figures = step(features::Features::new(features::Config::default()));
        let by_product = &[
            ("product-offers.v1", Family::Offer),
            ("product-sales.v1", Family::Sale),
            ("product-inventory.v1", Family::Inventory),
            ("catalog.v1", Family::Catalog),
        ];
        let (steps, inputs): (_, &[(&str, Family)]) = match scenario.stage {
            "catalog" => (catalog_stage().steps.clone(), &[("raw.catalog.v1", Family::Catalog)]),
            "compete" => (vec![figures], by_product),
            "alerts" => (vec![figures, step(alerts::Alerts::new(alerts::Rules::market().into()))], by_product),
            _ => (
                clean(1 << 20).steps.clone(),
                &[
                    ("raw.offers.v1", Family::Offer),
                    ("raw.sales.v1", Family::Sale),
                    ("raw.inventory.v1", Family::Inventory),
                    ("listings.v1", Family::Listing),
                ],
            ),
        };
        let is_output = |topic: &str| inputs.iter().all(|(input, _)| *input != topic);
        let spec = Arc::new(StageSpec {
            outputs: names.iter().filter(|name| is_output(name)).map(|name| ((*name).into(), (*name).into())).collect(),
            ..Arc::into_inner(spec(scenario.stage, inputs, steps, 1 << 20)).expect("is new")
        });
        run(&broker, &spec, faults);
        report(&published(&broker, &is_output))
    };
    for scenario in scenarios() {
        assert_eq!(through_a_task(&scenario, None), scenario.expected, "{}", scenario.name);
        for fault in [Fault::Abort, Fault::UnknownCommitted, Fault::UnknownLost, Fault::Fenced] {
            let every_other: FaultPlan = Box::new(move |number| number.is_multiple_of(2).then_some(fault));
            assert_eq!(through_a_task(&scenario, Some(every_other)), scenario.expected, "{}", scenario.name);
        }
    }
}

/// The records of the topics that `is_output`, with the reasons of dead letters.
fn published(broker: &Memory, is_output: &dyn Fn(&str) -> bool) -> Vec<skuflow_processors::driver::Message> {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let mut all = Vec::new();
    let mut reader = broker.reader().expect("open");
    for topic in broker.topics().expect("open").into_iter().filter(|topic| is_output(&topic.name)) {
        let of = TopicPartition::new(topic.name.clone(), 0);
        let (mut from, next) = broker.offsets(&of).expect("exists");
        while from < next {
            for batch in reader.fetch(&of, from, usize::MAX).expect("in range") {
                all.extend(batch.from(from).map(|record| {
                    skuflow_processors::driver::Message {
                        topic: topic.name.to_string(),
                        key: text(record.key),
                        value: record.value.map(<[u8]>::to_vec),
                        refused: skuflow_schemas::DeadLetter::from_headers(record.headers())
                            .map(|letter| format!("{}: {}", letter.code, letter.message)),
                    }
                }));
                from = batch.next_offset();
            }
        }
    }
    all
}

fn count(broker: &dyn Broker, topic: &str) -> usize {
    contents(broker).iter().filter(|(name, ..)| name == topic).count()
}

/// A commit that is void at the very end of a run is made again, not taken for the end.
#[test]
fn a_run_does_not_end_with_an_aborted_commit() {
    let broker = cluster(1);
    publish(&broker, &[sale(1, 1, 0, 5)]);
    let mut stage = Arc::into_inner(clean(1 << 20)).expect("is new");
    stage.settings.commit_interval = std::time::Duration::from_secs(10);
    run(&broker, &Arc::new(stage), Some(Box::new(|number| (number == 0).then_some(Fault::Abort))));
    assert_eq!(count(&broker, "sales.v1"), 1);
}

/// What a step knew is there again when it comes back into the chain.
#[test]
fn a_step_that_is_left_out_for_a_while_keeps_its_state() {
    let broker = cluster(1);
    publish(&broker, &[product("P1", 1, 2, 0), offer(1, "s", 10, 100)]);
    run(&broker, &catalog_stage(), None);
    run(&broker, &clean(1 << 20), None);
    let mut without = Arc::into_inner(clean(1 << 20)).expect("is new");
    without.steps.pop();
    publish(&broker, &[offer(1, "s", 20, 101)]);
    run(&broker, &Arc::new(without), None);
    publish(&broker, &[offer(1, "s", 30, 102)]);
    run(&broker, &clean(1 << 20), None);
    let copies = contents(&broker).into_iter().filter(|(topic, ..)| topic == "product-offers.v1");
    let keys: Vec<Vec<u8>> = copies.filter_map(|(_, _, key, _)| key).collect();
    assert_eq!(keys, [b"demo/P1".to_vec(), b"demo/P1".to_vec()]);
}

/// A row of a later version of the contract ends the stage, and its state stays as it is.
#[test]
fn a_row_that_this_program_does_not_know_is_refused_with_what_to_do() {
    let broker = cluster(1);
    publish(&broker, &[offer(1, "s", 10, 100), offer(1, "s", 30, 100)]);
    run(&broker, &clean(1 << 20), None);
    let owner: Arc<str> = "task:test-clean/0".into();
    let rows = || broker.state(&owner).expect("open").scan(b"row/dedup/").expect("open");
    let stored = rows();
    let [(key, value)] = stored.as_slice() else { panic!("the second offer is kept") };
    let mut later = value.clone();
    later[1..5].copy_from_slice(&999_u32.to_be_bytes());
    let state = vec![StateChange { owner: owner.clone(), key: key.clone(), value: Some(later) }];
    let mut producer = broker.producer("later").expect("open");
    producer.commit(Commit { consumed: None, state }).expect("committed");
    let damaged = rows();

    publish(&broker, &[offer(1, "s", 20, 101)]);
    let Err(error) = try_run(Arc::new(broker.clone()), &clean(1 << 20)) else { panic!("the row cannot be read") };
    let said = error.to_string();
    assert!(said.contains("state of task:test-clean/0") && said.contains("999"), "{said}");
    assert!(said.contains("run that one"), "{said}");
    assert_eq!(rows(), damaged, "nothing is written");
    assert_eq!(count(&broker, "offers.v1"), 1, "nothing is published");
}

/// Records with many copies end a transaction before it is too large to be committed.
#[test]
fn a_transaction_is_bounded_in_bytes() {
    let broker = cluster(1);
    let products: Vec<Event> = (0..200).map(|number| product(&format!("P{number:0>200}"), 1, 2, 0)).collect();
    publish(&broker, &products);
    run(&broker, &catalog_stage(), None);
    let offers: Vec<Event> = (0..400).map(|number| offer(1, "s", 10 + number, 1000 + number)).collect();
    publish(&broker, &offers);
    let mut stage = Arc::into_inner(clean(1 << 20)).expect("is new");
    stage.settings.commit_interval = std::time::Duration::from_secs(10);
    let tally = run(&broker, &Arc::new(stage), None);
    assert_eq!(count(&broker, "product-offers.v1"), 200 * 400);
    assert!(tally.commits() > 2, "{} commits for some 40 MB", tally.commits());
}

/// Hands on what it gets.
struct Pass;

impl Processor for Pass {
    type State = ();

    fn name(&self) -> &'static str {
        "pass"
    }

    fn apply(&self, input: Input, _: &mut Stated<()>, context: &mut Context<'_>) {
        context.forward(input);
    }
}

/// A timer belongs to the step that set it, wherever in the chain that stands later.
#[test]
fn a_timer_finds_its_step_in_another_chain() {
    let broker = cluster(1);
    publish(&broker, &[sale(1, 1, 0, 5)]);
    let inputs = [("raw.sales.v1", Family::Sale)];
    run(&broker, &spec("alarm", &inputs, vec![step(Alarm)], 1 << 20), None);
    publish(&broker, &[sale(2, 2, 9000, 5)]);
    run(&broker, &spec("alarm", &inputs, vec![step(Pass), step(Alarm)], 1 << 20), None);
    assert_eq!(count(&broker, "sales.v1"), 3, "two sales, and the first one's wake");
}

/// More timers are due with the last record than fire at once.
#[test]
fn a_run_ends_when_all_timers_that_are_due_have_fired() {
    let broker = cluster(1);
    let sales = 2 * WAKES_PER_RECORD_MAX as u64 + 5_000;
    publish(&broker, &(0..sales).map(|number| sale(number, 1, 0, 5)).collect::<Vec<_>>());
    publish(&broker, &[sale(sales, 1, 7_200, 5)]);
    let faults: FaultPlan = Box::new(|number| number.is_multiple_of(3).then_some(Fault::Abort));
    let inputs = [("raw.sales.v1", Family::Sale)];
    run(&broker, &spec("alarm", &inputs, vec![step(Alarm)], 1 << 20), Some(faults));
    assert_eq!(count(&broker, "sales.v1") as u64, 2 * sales + 1, "the sales, and the wakes of all but the last");
}
