//! A plain Kafka client, as anyone has one: nothing of the product's.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use skuflow_runtime::testing::kafka::Kafka as Server;

const PATIENCE: Duration = Duration::from_mins(1);

/// A record as it is on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The text of a header that is there once.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers));
        assert!(found.next().is_none(), "{name} is there once");
        std::str::from_utf8(value).expect("UTF-8")
    }
}

#[derive(Default)]
struct Deliveries(Mutex<Vec<Result<i64, Code>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().expect("a code")),
        };
        self.0.lock().expect("no holder panics").push(outcome);
    }
}

fn config(server: &Server) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.bootstrap_servers());
    config
}

/// Writes records to a partition, one after the other; the offset of each, or why it was refused.
pub fn put(server: &Server, topic: &str, partition: i32, records: &[Record]) -> Vec<Result<i64, Code>> {
    let mut config = config(server);
    config.set("message.max.bytes", "100000000");
    let producer: BaseProducer<Deliveries> =
        BaseProducer::from_config_and_context(&config, Deliveries::default()).expect("settings");
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut out = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).headers(headers);
        (out.key, out.payload) = (record.key.as_deref(), record.value.as_deref());
        producer.send(out).map_err(|(error, _)| error).expect("there is room");
        producer.flush(PATIENCE).expect("in time"); // a batch is refused as a whole
    }
    std::mem::take(&mut *producer.context().0.lock().expect("no holder panics"))
}

/// The committed records of a topic, with their partitions and offsets.
pub fn read(server: &Server, topic: &str) -> Vec<((i32, i64), Record)> {
    let mut config = config(server);
    config.set("group.id", "reads").set("enable.partition.eof", "true").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("settings");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("it runs");
    let count = metadata.topics()[0].partitions().len();
    let mut all = TopicPartitionList::new();
    for number in 0..count as i32 {
        all.add_partition_offset(topic, number, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&all).expect("open");
    let (mut found, mut ends) = (Vec::new(), 0);
    let until = Instant::now() + PATIENCE;
    while ends < count {
        assert!(Instant::now() < until, "{topic} is not read within {PATIENCE:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => found.push(((message.partition(), message.offset()), record(&message))),
            Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
    }
    found.sort_by_key(|(place, _)| *place);
    found
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        key: message.key().map(Into::into),
        value: message.payload().map(Into::into),
        headers: headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().into())).collect(),
    }
}

/// Gives a topic these settings, the times that a topic of ours has to have, and for all others the cluster's.
pub fn alter(server: &Server, topic: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config(server).create().expect("settings");
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("message.timestamp.type", "LogAppendTime");
    let change = settings.iter().fold(change, |change, (name, value)| change.set(name, value));
    let event_loop = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
    let altered = event_loop.block_on(admin.alter_configs([&change], &AdminOptions::new())).expect("it runs");
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
}
