//! The loop: each partition in its turn, everything once, trouble said and forgotten.

use std::sync::Arc;

use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{Broker, Commit, Record};
use skuflow_schemas::{Encoder, Event, Quality, Timestamp};

use super::*;
use crate::Batch;

/// A store in memory that notes what lands where.
#[derive(Default)]
struct Notes {
    stored: BTreeMap<TopicPartition, Offset>,
    /// Of each landing: how many records of each partition.
    landings: Vec<BTreeMap<u32, usize>>,
    /// What goes wrong, from the last to the first call of `land`.
    failures: Vec<Option<SinkError>>,
    /// Whether there was trouble when `land` was called.
    troubled: Vec<bool>,
    progress: Arc<Progress>,
}

impl Sink for Notes {
    async fn positions(&mut self, _: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        Ok(self.stored.clone())
    }

    async fn land(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        self.troubled.push(self.progress.trouble().is_some());
        if let Some(Some(error)) = self.failures.pop() {
            return Err(error);
        }
        for (of, part) in &batch.parts {
            assert_eq!(self.stored.get(of).copied(), part.range.from, "{of}");
            self.stored.insert(of.clone(), part.range.to);
        }
        self.landings.push(batch.parts.iter().map(|(of, part)| (of.partition, part.records.len())).collect());
        Ok(Landed { records: batch.records().count() as u64, ..Landed::default() })
    }
}

fn broker(topic: &str, records: &[usize]) -> Memory {
    let broker = Memory::new("c");
    broker.ensure_topic(topic, records.len() as u32).expect("new");
    for (partition, count) in (0..).zip(records) {
        for _ in 0..*count {
            publish(&broker, topic, partition, &[]);
        }
    }
    broker
}

fn publish(broker: &Memory, topic: &str, partition: u32, headers: &[(&str, &[u8])]) {
    let event = Event::Quality(Box::new(Quality { hour: Timestamp::default(), count: 1, ..Quality::default() }));
    let mut value = Vec::new();
    Encoder.encode(&event, &mut value);
    let mut producer = broker.producer("test").expect("open");
    let record = Record { key: None, value: Some(&value), headers };
    producer.send(&topic.into(), Some(partition), &record).expect("exists");
    producer.commit(Commit::default()).expect("no faults");
}

/// A loop over `topics` that ends when everything has landed.
fn consume(broker: &Memory, topics: &[&str], cut: Cut) -> Consume {
    let control = Arc::new(Control::new(true));
    for topic in topics {
        control.complete(&(*topic).into());
    }
    Consume {
        name: "notes".into(),
        topics: topics.iter().map(|topic| (*topic).into()).collect(),
        transactional_id: "sink-notes".into(),
        broker: Arc::new(broker.clone()),
        form: Form::Event,
        cut,
        control,
        progress: Arc::default(),
    }
}

fn run(consume: &Consume, notes: &mut impl Sink) -> Result<(), String> {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    event_loop.block_on(consume.run(notes))
}

const SMALL: Cut = Cut { records_max: 10, bytes_max: 1 << 20, age_max: Duration::from_hours(1) };

#[test]
fn a_flood_on_one_partition_does_not_starve_the_others() {
    let broker = broker("t", &[200, 3, 0, 3]);
    let (consume, mut notes) = (consume(&broker, &["t"], SMALL), Notes::default());
    run(&consume, &mut notes).expect("lands");
    assert!(notes.landings.iter().all(|landing| landing.values().sum::<usize>() <= SMALL.records_max));
    let soon: usize = notes
        .landings
        .iter()
        .take(2)
        .map(|landing| landing.get(&1).unwrap_or(&0) + landing.get(&3).unwrap_or(&0))
        .sum();
    assert_eq!(soon, 6, "{:?}", notes.landings);
    assert_eq!(notes.stored.values().copied().collect::<Vec<_>>(), [200, 3, 3]);
    assert_eq!(consume.progress.records(), 206);
}

#[test]
fn what_is_no_dead_letter_among_them_is_refused() {
    let broker = broker("dlq.t", &[0, 1]);
    let (consume, mut notes) = (consume(&broker, &["dlq.t"], SMALL), Notes::default());
    let reason = run(&consume, &mut notes).expect_err("it has no headers");
    assert!(reason.contains("offset 0 of dlq.t/1") && reason.contains("`from`"), "{reason}");
    assert!(notes.stored.is_empty());
}

#[test]
fn a_prefix_that_looks_like_dead_letters_makes_none() {
    let broker = broker("eu.dlq.quality.v1", &[2]);
    let (consume, mut notes) = (consume(&broker, &["eu.dlq.quality.v1"], SMALL), Notes::default());
    run(&consume, &mut notes).expect("lands");
    assert_eq!(notes.landings, [BTreeMap::from([(0, 2)])]);
}

#[test]
fn trouble_is_over_when_a_try_succeeds_though_nothing_is_to_land() {
    let broker = broker("t", &[1]);
    let (consume, mut notes) = (consume(&broker, &["t"], SMALL), Notes::default());
    notes.failures = vec![Some(SinkError::Retry("full".into()))];
    notes.stored.insert(TopicPartition::new("t", 0), 0);
    run(&consume, &mut notes).expect("lands at the second try");
    assert_eq!((consume.progress.trouble(), consume.progress.records()), (None, 1));
    consume.progress.condition.failed("the disk is full".into());
    run(&consume, &mut notes).expect("nothing is to land");
    assert_eq!(consume.progress.trouble(), None);
}

/// A landing that fails while the positions can be read is trouble all the time.
#[test]
fn trouble_stays_until_the_landing_that_failed_succeeds() {
    let broker = broker("t", &[1]);
    let consume = consume(&broker, &["t"], SMALL);
    let failures = (0..3).map(|_| Some(SinkError::Retry("full".into()))).collect();
    let mut notes = Notes { failures, progress: consume.progress.clone(), ..Notes::default() };
    run(&consume, &mut notes).expect("lands in the end");
    assert_eq!(notes.troubled, [false, true, true, true]);
    assert_eq!(consume.progress.trouble(), None);
}

#[test]
fn a_new_store_begins_late_and_says_once_what_it_lacks() {
    let broker = broker("t", &[5, 5, 5]);
    for (partition, offset) in [(0, 2), (2, 5)] {
        broker.drop_before(&TopicPartition::new("t", partition), offset).expect("exists");
    }
    let (consume, mut notes) = (consume(&broker, &["t"], SMALL), Notes::default());
    notes.failures = vec![Some(SinkError::Retry("full".into()))];
    run(&consume, &mut notes).expect("a store that was deleted is built again");
    assert_eq!(consume.progress.missing(), Some("0..2 of t/0, 0..5 of t/2"));
    assert_eq!(consume.progress.records(), 8);
}

#[test]
fn a_store_and_a_log_that_do_not_meet_are_refused() {
    let broker = broker("t", &[6]);
    let of = TopicPartition::new("t", 0);
    broker.drop_before(&of, 4).expect("exists");
    for (stored, part) in [(3, "offsets 3..4 of t/0 were dropped"), (7, "is older than the store")] {
        let mut notes = Notes { stored: BTreeMap::from([(of.clone(), stored)]), ..Notes::default() };
        let consume = consume(&broker, &["t"], SMALL);
        let reason = run(&consume, &mut notes).expect_err("records are gone");
        assert!(reason.contains(part) && reason.contains("holds 4..6") && reason.contains("sink notes"), "{reason}");
        assert!(notes.landings.is_empty() && consume.progress.missing().is_none());
    }
    for stored in [4, 6] {
        let mut notes = Notes { stored: BTreeMap::from([(of.clone(), stored)]), ..Notes::default() };
        run(&consume(&broker, &["t"], SMALL), &mut notes).expect("the log goes on there");
    }
}

/// Another process was faster.
struct LandedBefore;

impl Sink for LandedBefore {
    async fn positions(&mut self, _: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        Ok(BTreeMap::new())
    }

    async fn land(&mut self, _: &Batch) -> Result<Landed, SinkError> {
        Ok(Landed::default())
    }
}

#[test]
fn what_had_landed_before_is_not_counted() {
    let broker = broker("t", &[3]);
    let consume = consume(&broker, &["t"], SMALL);
    run(&consume, &mut LandedBefore).expect("nothing is left to do");
    assert_eq!(consume.progress.records(), 0);
}

/// A store that is given no time for more records than this.
struct Slow(usize, Notes);

impl Sink for Slow {
    async fn positions(&mut self, identity: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        self.1.positions(identity).await
    }

    async fn land(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        if batch.records().count() > self.0 {
            Err(SinkError::TooLong("time is up".into()))
        } else {
            self.1.land(batch).await
        }
    }
}

#[test]
fn a_batch_that_takes_too_long_is_made_smaller_until_it_lands() {
    let broker = broker("t", &[50]);
    let consume = consume(&broker, &["t"], SMALL);
    let mut slow = Slow(3, Notes::default());
    run(&consume, &mut slow).expect("lands");
    let sizes: Vec<usize> = slow.1.landings.iter().map(|landing| landing[&0]).collect();
    assert_eq!((&sizes[..3], sizes.iter().sum::<usize>()), (&[2, 3, 2][..], 50), "10, 5 and 4 are too many: {sizes:?}");
}

/// Records that are no events, and those that the store does not take, are dead letters, once; the rest lands.
#[test]
fn what_is_refused_becomes_a_dead_letter_once() {
    let broker = broker("quality.v1", &[7]);
    broker.ensure_topic("dlq.quality.v1", 1).expect("new");
    let mut producer = broker.producer("another").expect("open");
    let strange = Record { key: Some(b"k"), value: Some(b"no event"), headers: &[("h", b"1")] };
    producer.send(&"quality.v1".into(), Some(0), &strange).expect("exists");
    producer.commit(Commit::default()).expect("no faults");
    publish(&broker, "quality.v1", 0, &[]);
    let refused = || {
        let of = TopicPartition::new("quality.v1", 0);
        Some(SinkError::Refused(vec![Refusal { of, offset: 3, code: "row-refused", reason: "too long".into() }]))
    };
    let letters = || {
        let mut reader = broker.reader().expect("open");
        let fetched = reader.fetch(&TopicPartition::new("dlq.quality.v1", 0), 0, 1 << 20).expect("exists");
        let records = fetched.iter().flat_map(|batch| batch.from(0)).map(|record| {
            let letter = DeadLetter::from_headers(record.headers()).expect("its headers");
            (letter.offset, letter.code.to_string(), record.value.map(<[u8]>::to_vec))
        });
        records.collect::<Vec<_>>()
    };
    // A second time the store is new and refuses again, as after a kill between the letter and the landing.
    for _ in 0..2 {
        let mut notes = Notes { failures: vec![refused()], ..Notes::default() };
        run(&consume(&broker, &["quality.v1"], Cut::default()), &mut notes).expect("goes on");
        assert_eq!(notes.stored[&TopicPartition::new("quality.v1", 0)], 9);
        assert_eq!(notes.landings.iter().map(|landing| landing[&0]).sum::<usize>(), 7, "without the two");
        let [(7, first, Some(value)), (3, second, Some(_))] = &letters()[..] else { panic!("{:?}", letters()) };
        assert_eq!(
            (first.as_str(), second.as_str(), value.as_slice()),
            ("not-framed", "row-refused", &b"no event"[..])
        );
    }
}
