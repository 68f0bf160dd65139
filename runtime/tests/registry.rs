//! Kafka with a real schema registry: what others register is read, and what is written they can read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};
use skuflow_runtime::broker::kafka::{Kafka, RegistrySettings, Settings, examine_schemas};
use skuflow_runtime::broker::{Broker, BrokerError, Commit, Member, Polled, Record, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::testing::kafka::{self, kafka};
use skuflow_runtime::testing::registry::Registry;
use skuflow_schemas::{DecodeError, Decoder, Encoder, Event, Family, Sale, schema_json};

const SALES: &str = "registry.sales.v1";
const LETTERS: &str = "dlq.registry.sales.v1";
const VISIBLE_MAX: Duration = Duration::from_secs(20);
const STRANGE: &str = r#"{"type": "record", "name": "Strange", "fields": [{"name": "a", "type": "long"}]}"#;

struct World {
    kafka: &'static kafka::Kafka,
    dir: tempfile::TempDir,
}

impl World {
    fn connect(&self, registry: Option<&Registry>, topics: &[(&str, Family)]) -> Result<Kafka, BrokerError> {
        let mut settings = Settings::new(&self.kafka.bootstrap_servers(), "registry", self.dir.path().to_owned());
        settings.registry = registry.map(|registry| reached(registry, topics));
        Kafka::connect(settings, Clock::System)
    }
}

fn reached(registry: &Registry, topics: &[(&str, Family)]) -> RegistrySettings {
    let topics = topics.iter().map(|(topic, family)| ((*topic).to_owned(), *family));
    RegistrySettings { url: registry.url(), user: None, topics: topics.collect::<BTreeMap<_, _>>() }
}

/// Whether each topic's subject has its schema, or why it does not take it.
fn examined(registry: &Registry, topics: &[(&str, Family)]) -> Vec<Result<bool, String>> {
    let examined = examine_schemas(&reached(registry, topics)).expect("it answers");
    examined.into_iter().map(|(_, found)| found).collect()
}

fn sale() -> Vec<u8> {
    let mut value = Vec::new();
    Encoder.encode(&Event::Sale(Box::new(Sale { order_id: "1".into(), ..Sale::default() })), &mut value);
    value
}

fn with_id(mut value: Vec<u8>, id: u32) -> Vec<u8> {
    value[1..5].copy_from_slice(&id.to_be_bytes());
    value
}

fn send(broker: &Kafka, topic: &str, value: &[u8]) {
    try_send(broker, topic, value).expect("is committed");
}

fn try_send(broker: &Kafka, topic: &str, value: &[u8]) -> Result<(), String> {
    let mut producer = broker.producer("registry-test").expect("opens");
    let record = Record { key: Some(b"k"), value: Some(value), headers: &[] };
    let sent = producer.send(&Arc::from(topic), Some(0), &record);
    sent.and_then(|()| producer.commit(Commit::default())).map_err(|error| error.to_string())
}

/// The first `count` values; a commit shows a little after it is acknowledged.
fn values(broker: &Kafka, topic: &str, count: usize) -> Result<Vec<Vec<u8>>, BrokerError> {
    let of = TopicPartition::new(topic, 0);
    let until = Instant::now() + VISIBLE_MAX;
    let mut reader = broker.reader()?;
    let (mut values, mut from) = (Vec::new(), 0);
    while values.len() < count {
        assert!(Instant::now() < until, "{topic} has {} values, not {count}", values.len());
        for batch in reader.fetch(&of, from, 1 << 20)? {
            values.extend(batch.from(from).filter_map(|record| record.value.map(<[u8]>::to_vec)));
            from = batch.next_offset();
        }
    }
    Ok(values)
}

/// Registers a schema, as somebody else would; its id.
fn register(registry: &Registry, subject: &str, schema: &str) -> u32 {
    let body = json!({ "schema": schema }).to_string();
    let answer = Client::new()
        .post(format!("{}/subjects/{subject}/versions", registry.url()))
        .header("content-type", "application/vnd.schemaregistry.v1+json")
        .body(body)
        .send()
        .and_then(|answer| answer.error_for_status()?.text())
        .expect("registers");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["id"].as_u64().expect("an id") as u32
}

#[test]
fn schemas_go_by_the_ids_of_the_registry() {
    let (Some(kafka), Some(registry)) = (kafka(), Registry::start()) else { return };
    let world = World { kafka, dir: tempfile::tempdir().expect("a temporary directory") };
    let strange = register(&registry, "somebody-else", STRANGE); // so that ids here and there are not the same
    let bare = world.connect(None, &[]).expect("connects");
    for topic in [SALES, LETTERS, "registry.inventory.v1", "registry.alerts.v1"] {
        bare.ensure_topic(topic, 1).expect("new");
    }
    let broker = world.connect(Some(&registry), &[(SALES, Family::Sale)]).expect("connects");
    assert_eq!(examined(&registry, &[(SALES, Family::Sale)]), [Ok(false)], "who connects registers nothing");
    broker.register_schemas().expect("it takes them");
    assert_eq!(examined(&registry, &[(SALES, Family::Sale)]), [Ok(true)]);
    let id = register(&registry, "registry.sales.v1-value", schema_json(Family::Sale));
    assert_ne!(id, strange);

    send(&broker, SALES, &sale());
    assert_eq!(values(&bare, SALES, 1).expect("readable"), [with_id(sale(), id)], "others see the registry's id");
    let read = values(&broker, SALES, 1).expect("readable");
    assert!(matches!(Decoder.decode(&read[0]), Ok(Event::Sale(_))));

    // What is passed on as it was read, and dead letters, keep their ids; those of nobody's schema too.
    let unknown = with_id(sale(), strange);
    send(&bare, SALES, &unknown);
    let read = values(&broker, SALES, 2).expect("readable");
    assert_eq!(
        Decoder.decode(&read[1]),
        Err(DecodeError::UnknownSchema(strange)),
        "although a release has that id here"
    );
    for value in &read {
        send(&broker, LETTERS, value);
    }
    let not_framed: &[u8] = &[0, 0, 0];
    send(&broker, LETTERS, not_framed);
    let kept = [with_id(sale(), id), unknown, not_framed.to_vec()];
    assert_eq!(values(&bare, LETTERS, 3).expect("readable"), kept);

    a_registry_that_goes_away_stops_only_what_is_new(&world, &bare, registry, id);
}

fn a_registry_that_goes_away_stops_only_what_is_new(world: &World, bare: &Kafka, registry: Registry, known: u32) {
    let topics = [(SALES, Family::Sale), ("registry.inventory.v1", Family::Inventory)];
    let broker = world.connect(Some(&registry), &topics).expect("connects");
    broker.register_schemas().expect("it takes them");
    values(&broker, SALES, 2).expect("readable");
    let url = registry.url();
    drop(registry);
    send(&broker, SALES, &sale());
    values(&broker, SALES, 3).expect("what is known goes on");
    send(bare, SALES, &with_id(sale(), known + 1000));
    match values(&broker, SALES, 4) {
        Err(BrokerError::Retry(reason)) => {
            assert!(reason.contains("schema registry") && !reason.contains(&url), "{reason}");
        }
        other => panic!("a new id waits: {other:?}"),
    }
    a_member_says_that_it_waits(&broker);
}

/// What is behind records that are good is not forgotten: it is asked for again, until it comes or the member says why not.
fn a_member_says_that_it_waits(broker: &Kafka) {
    let member = Member { id: "registry-member".into(), index: 0, count: 1 };
    let mut consumer = broker.join("registry-group", &[SALES.into()], &member).expect("joins");
    let until = Instant::now() + VISIBLE_MAX;
    let mut good = 0;
    loop {
        assert!(Instant::now() < until, "{good} records came, and nothing is said of the next");
        match consumer.poll(Duration::from_millis(50)) {
            Ok(polled) => {
                let records = polled.iter().map(|polled| match polled {
                    Polled::Records { batch, .. } => batch.records,
                    _ => 0,
                });
                good += records.sum::<u32>();
            }
            Err(BrokerError::Retry(reason)) => {
                assert!(reason.contains("schema registry"), "{reason}");
                return assert_eq!(good, 3, "what is before it came");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_schema_that_the_registry_refuses_is_told_before_anything_is_written() {
    let (Some(kafka), Some(registry)) = (kafka(), Registry::start()) else { return };
    let world = World { kafka, dir: tempfile::tempdir().expect("a temporary directory") };
    let mut longer: Value = serde_json::from_str(schema_json(Family::Sale)).expect("JSON");
    longer["fields"].as_array_mut().expect("a record").push(json!({ "name": "theirs", "type": "long" }));
    register(&registry, "registry.alerts.v1-value", STRANGE);
    register(&registry, "registry.theirs.v1-value", &longer.to_string());
    // We can read theirs, which is all that a registry asks unless it is told; they cannot read ours.
    for (topic, family, said) in [
        ("registry.alerts.v1", Family::Alert, "not compatible"),
        ("registry.theirs.v1", Family::Sale, "asks for FULL_TRANSITIVE"),
    ] {
        let topics = [(topic, family)];
        let [Err(reason)] = &examined(&registry, &topics)[..] else { panic!("{topic}: another schema is there") };
        assert!(reason.contains(&format!("{topic}-value")) && reason.contains(said), "{reason}");
        let broker = world.connect(Some(&registry), &topics).expect("connects");
        let Err(BrokerError::Fatal(reason)) = broker.register_schemas() else { panic!("{topic}: it is refused") };
        assert!(reason.contains(&format!("{topic}-value")) && reason.contains("not compatible"), "{reason}");
        assert_eq!(examined(&registry, &topics), [Err(reason)], "the same is said without trying");
    }
}

#[test]
fn what_is_no_registry_is_told_apart_from_one_that_is_away() {
    let Some(registry) = Registry::start() else { return };
    let mut settings = reached(&registry, &[(SALES, Family::Sale)]);
    let url = settings.url.clone();
    settings.url = url.replace("/apis/ccompat/v7", "/nothing");
    let Err(BrokerError::Fatal(reason)) = examine_schemas(&settings) else { panic!("there is nothing") };
    assert!(reason.contains("no subjects"), "{reason}");
    settings.url = url;
    drop(registry);
    let Err(BrokerError::Retry(reason)) = examine_schemas(&settings) else { panic!("it is gone") };
    assert!(reason.contains("Connection refused") && !reason.contains(&settings.url), "{reason}");
}
