//! Dead letters: whatever a plain client writes, the reason is told, the bytes are kept, and the partition goes on; where
//! they cannot be written, nothing is passed over.

use rdkafka::types::RDKafkaErrorCode as Code;
use skuflow_runtime::broker::Broker;
use skuflow_runtime::testing::kafka::{Kafka as Server, kafka};
use skuflow_runtime::testing::registry::Registry;
use skuflow_schemas::{Decoder, Encoder, Event, Money};

use crate::client::{Record, alter, put, read};
use crate::common::replay::Replay;
use crate::common::served::{listens, serve};
use crate::common::{Project, wait_until};
use crate::{connect, sample_on};

const MINUTE: i64 = 60_000_000;
const UNKNOWN_ID: [u8; 4] = [0, 0, 0x10, 0];
const TRACE: &str = "traceparent";
const LARGE_BYTES: usize = 11 << 20;

/// The sample on Kafka, processed, and a way to write more offers as others would.
struct World {
    server: &'static Server,
    project: Project,
    name: &'static str,
    /// An offer that was taken in, and the id of its schema.
    offer: (Record, Event, [u8; 4]),
}

impl World {
    fn new(name: &'static str, change: impl Fn(&mut Project)) -> Option<Self> {
        let server = kafka()?;
        let mut project = sample_on(server, name);
        change(&mut project);
        project.run_once();
        let (_, record) = read(server, &format!("{name}.raw.offers.v1")).pop().expect("the sample has offers");
        let mut value = record.value.clone().expect("an event");
        let id = value[1..5].try_into().expect("four bytes");
        value[1..5].copy_from_slice(&skuflow_schemas::schema_id(skuflow_schemas::Family::Offer).to_be_bytes());
        let event = Decoder.decode(&value).expect("the sample's own");
        Some(Self { server, project, name, offer: (record, event, id) })
    }

    fn topic(&self, name: &str) -> String {
        let (dead, name) = name.strip_prefix("dlq.").map_or(("", name), |name| ("dlq.", name));
        format!("{dead}{}.{name}", self.name)
    }

    /// A good offer, later than any before by its number.
    fn good(&self, number: u32) -> Record {
        let (record, event, id) = &self.offer;
        let Event::Offer(mut offer) = event.clone() else { panic!("of a topic of offers") };
        offer.envelope.observed_at = offer.envelope.observed_at.plus_micros(i64::from(number + 1) * MINUTE);
        offer.native_id = "poison".into();
        offer.price = Some(Money { minor: 1_000 + i64::from(number), ..offer.price.expect("it has one") });
        (offer.shipping, offer.landed_price) = (None, None);
        let mut event = Event::Offer(offer);
        let event_id = event.compute_id();
        event.envelope_mut().expect("an offer").event_id = event_id;
        let mut value = Vec::new();
        Encoder.encode(&event, &mut value);
        value[1..5].copy_from_slice(id);
        Record { key: Some(event.key().as_str().into()), value: Some(value), headers: record.headers.clone() }
    }

    /// The minutes of the good offers that came through, in their order.
    fn came_through(&self) -> Vec<i64> {
        let first = self.offer.1.observed_at();
        let offers = read(self.server, &self.topic("offers.v1")).into_iter().filter_map(|(_, record)| {
            let mut value = record.value?;
            value[1..5].copy_from_slice(&skuflow_schemas::schema_id(skuflow_schemas::Family::Offer).to_be_bytes());
            let Ok(Event::Offer(offer)) = Decoder.decode(&value) else { panic!("of a topic of offers") };
            (offer.native_id == "poison").then(|| offer.envelope.observed_at.micros_since(first) / MINUTE - 1)
        });
        offers.collect()
    }

    /// The letters of our poison.
    fn letters(&self) -> Vec<Record> {
        let letters = read(self.server, &self.topic("dlq.raw.offers.v1")).into_iter().map(|(_, record)| record);
        letters.filter(|letter| letter.headers.iter().any(|(name, _)| name == TRACE)).collect()
    }

    /// What no stage can make anything of, each with the code it gets.
    fn poison(&self) -> Vec<(&'static str, Record)> {
        let good = self.good(900);
        let value = good.value.clone().expect("an event");
        let source = value.windows(7).position(|bytes| bytes == b"scraper").expect("its source");
        let with = |value: Vec<u8>| Record { value: Some(value), ..good.clone() };
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut value = value.clone();
            change(&mut value);
            with(value)
        };
        let mut corpus = vec![
            ("no-value", with(Vec::new())),
            ("not-framed", changed(&|value| value[0] = 1)),
            ("not-framed", with(vec![0, 0, 0])),
            ("schema-unknown", changed(&|value| value[1..5].copy_from_slice(&UNKNOWN_ID))),
            ("schema-mismatch", changed(&|value| value.truncate(value.len() - 3))),
            ("schema-mismatch", changed(&|value| value[source] = 0xff)),
            ("record-too-large", changed(&|value| value.resize(LARGE_BYTES, 0))),
            ("not-framed", with([vec![b'['; 10_000], vec![b']'; 10_000]].concat())),
            ("key-missing", Record { key: None, ..good.clone() }),
            ("key-missing", Record { key: Some(vec![0xff, 0xfe]), ..good.clone() }),
            ("no-value", Record { value: None, ..good.clone() }),
        ];
        for (_, record) in &mut corpus {
            record.headers = [(TRACE, &b"00-1"[..]), ("bytes", &[0, 255]), ("twice", b"1"), ("twice", b"2")]
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .into();
        }
        corpus
    }

    /// Every poison among good offers becomes a letter with its reason; the good ones come through in order.
    fn is_sorted_out(&self) {
        let raw = self.topic("raw.offers.v1");
        let corpus = self.poison();
        let mut records = vec![self.good(0)];
        for (number, (_, poison)) in (1..).zip(&corpus) {
            records.extend([poison.clone(), self.good(number)]);
        }
        let large = put(self.server, &raw, 0, &[corpus[6].1.clone()]);
        assert_eq!(large, [Err(Code::MessageSizeTooLarge)], "a topic of ours does not take it in the first place");
        alter(self.server, &raw, &[("max.message.bytes", "12000000")]);
        alter(self.server, &self.topic("dlq.raw.offers.v1"), &[("max.message.bytes", "13000000")]);
        let offsets: Vec<i64> =
            put(self.server, &raw, 0, &records).into_iter().map(|offset| offset.expect("taken")).collect();
        self.project.run_once();

        assert_eq!(self.came_through(), (0..=corpus.len() as i64).collect::<Vec<_>>());
        let mut letters = self.letters();
        letters.sort_by_key(|letter| letter.header("__dlq.errors.offset").parse::<i64>().expect("a number"));
        assert_eq!(letters.len(), corpus.len());
        for ((letter, (code, poison)), offset) in letters.iter().zip(&corpus).zip(offsets[1..].iter().step_by(2)) {
            let said = |name: &str| letter.header(&format!("__dlq.errors.{name}"));
            assert_eq!(said("code"), *code, "{}", said("message"));
            assert_eq!((said("topic"), said("partition")), (raw.as_str(), "0"));
            assert_eq!((said("offset"), said("stage"), said("group")), (&*offset.to_string(), "decoding", "clean"));
            assert_eq!(said("delivery.count"), "1");
            assert!(!said("message").is_empty());
            assert!(letter.key == poison.key && letter.value == poison.value, "{code}: the bytes are kept");
            let own = letter.headers.iter().filter(|(name, _)| !name.starts_with("__dlq.")).cloned();
            assert_eq!(own.collect::<Vec<_>>(), poison.headers, "{code}");
        }
    }
}

/// Whether stage `clean` says that it is not ready for something.
fn is_unready(readiness: &[String], about: &str) -> bool {
    readiness.iter().any(|line| line.starts_with("[-] stage:clean") && line.contains(about))
}

#[test]
fn whatever_comes_is_told_apart_and_the_partition_goes_on() {
    if let Some(world) = World::new("poison", |_| {}) {
        world.is_sorted_out();
    }
}

#[test]
fn with_a_registry_too_and_while_it_is_away_nothing_is_a_dead_letter() {
    let Some(registry) = kafka().and_then(|_| Registry::start()) else { return };
    let world = World::new("registry", |project| {
        let cluster = format!("registry = {{ url = \"{}\" }}\n\n[topics]", registry.url());
        project.edit("[topics]", &cluster);
        listens(project);
    });
    let Some(world) = world else { return };
    world.is_sorted_out();
    let (letters, through) = (world.letters(), world.came_through());
    drop(registry);
    let mut unknown = world.poison().swap_remove(3).1;
    unknown.value.as_mut().expect("an event")[3] = 0x20; // another one than before
    put(world.server, &world.topic("raw.offers.v1"), 0, &[unknown, world.good(100)]);
    let served = serve(&world.project);
    wait_until("it waits for the registry", || is_unready(&served.not_ready(), "schema registry"));
    served.running.stop();
    assert_eq!((world.letters(), world.came_through()), (letters, through));
}

#[test]
fn where_dead_letters_cannot_be_written_nothing_is_passed_over_and_it_recovers_alone() {
    let Some(world) = World::new("unwritable", listens) else { return };
    let (raw, dead) = (world.topic("raw.offers.v1"), world.topic("dlq.raw.offers.v1"));
    let (code, poison) = world.poison().swap_remove(1);
    let served = serve(&world.project);
    wait_until("all is well", || served.not_ready().is_empty());
    for round in 1..=2 {
        alter(world.server, &dead, &[("max.message.bytes", "100")]);
        put(world.server, &raw, 0, &[poison.clone(), world.good(round)]);
        wait_until("it says what is wrong", || is_unready(&served.not_ready(), &dead));
        assert_eq!(world.letters().len(), round as usize - 1);
        assert_eq!(world.came_through().len(), round as usize - 1, "nothing is passed over");
        alter(world.server, &dead, &[]);
        wait_until("all is well again", || served.not_ready().is_empty());
        assert_eq!(world.came_through(), (1..=i64::from(round)).collect::<Vec<_>>());
        let letters = world.letters();
        assert_eq!(letters.len(), round as usize, "each once");
        assert!(letters.iter().all(|letter| letter.header("__dlq.errors.code") == code));
    }
    served.running.stop();
}

#[test]
fn a_replay_that_is_killed_loses_and_repeats_nothing() {
    let Some(server) = kafka() else { return };
    let project = sample_on(server, "replay");
    let open = || -> Box<dyn Broker> { Box::new(connect(server, "replay")) };
    Replay { project: &project, open: &open, prefix: "replay." }.loses_and_repeats_nothing(11);
}
