//! What is asked of the cluster, and sent to it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use skuflow_runtime::broker::kafka::{Kafka, Settings};
use skuflow_runtime::broker::{Broker as _, partition_of};
use skuflow_runtime::clock::Clock;

/// Of every topic.
pub const PARTITIONS: u32 = 4;
const ASK_MAX: Duration = Duration::from_secs(10);

/// The broker that both programs use.
#[derive(Clone)]
pub struct Cluster {
    pub servers: String,
    /// Process id of the broker.
    pub pid: u32,
    /// Folder of its jars.
    pub jars: String,
}

impl Cluster {
    /// A consumer that reads what is committed, without a group's partitions.
    pub fn consumer(&self, group: &str) -> Result<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("group.id", group).set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "10").set("auto.offset.reset", "earliest");
        Ok(config.set("fetch.queue.backoff.ms", "5").set("enable.partition.eof", "true").create()?)
    }

    /// Deletes the topics that this expression describes.
    pub fn delete(&self, topics: &str) -> Result<()> {
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", self.jars)]);
        java.args([
            "org.apache.kafka.tools.TopicCommand",
            "--bootstrap-server",
            &self.servers,
            "--delete",
            "--if-exists",
        ]);
        let done = java.args(["--topic", topics]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(done.success(), "topics {topics} cannot be deleted");
        Ok(())
    }
}

/// Where each partition of a topic ends; one that was just made is waited for.
pub fn ends(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i64>> {
    let until = Instant::now() + ASK_MAX;
    loop {
        let end = |partition| Ok(consumer.fetch_watermarks(topic, partition as i32, ASK_MAX)?.1);
        match (0..PARTITIONS).map(end).collect() {
            Err(_) if Instant::now() < until => std::thread::park_timeout(Duration::from_millis(100)),
            ends => return ends,
        }
    }
}

/// Committed positions of the consumer's group in a topic; 0 where there is none.
pub fn committed(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i64>> {
    let mut asked = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        asked.add_partition(topic, partition as i32);
    }
    let answer = consumer.committed_offsets(asked, ASK_MAX)?;
    let position = |offset| if let Offset::Offset(next) = offset { next } else { 0 };
    Ok(answer.elements().iter().map(|place| position(place.offset())).collect())
}

/// Assigns a topic to the consumer, from these offsets on.
pub fn assign(consumer: &BaseConsumer, topic: &str, from: &[i64]) -> Result<()> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in from.iter().enumerate() {
        list.add_partition_offset(topic, partition as i32, Offset::Offset(*offset))?;
    }
    Ok(consumer.assign(&list)?)
}

/// Sends records, without transactions.
pub struct Sender {
    producer: BaseProducer,
    broker: Kafka,
}

impl Sender {
    pub fn new(cluster: &Cluster) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &cluster.servers)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4");
        config.set("linger.ms", "5").set("queue.buffering.max.messages", "200000");
        let settings = Settings::new(&cluster.servers, "load", std::env::temp_dir().join("unused"));
        Ok(Self { producer: config.create()?, broker: Kafka::connect(settings, Clock::System)? })
    }

    pub fn ensure_topic(&self, topic: &str) -> Result<()> {
        self.broker.ensure_topic(topic, PARTITIONS)?;
        Ok(())
    }

    pub fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let partition = partition_of(key, PARTITIONS) as i32;
        let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(10));
                    record = back;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    pub fn flush(&self) -> Result<()> {
        self.producer.flush(Duration::from_mins(1)).map_err(|error| anyhow!("flush: {error}"))
    }
}

/// What a process has used and holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu_s: f64,
    pub rss_peak_mb: f64,
}

/// Reads it from /proc.
pub fn used(pid: u32) -> Result<Used> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("the command's name is in brackets")?.1;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?; // user and system time
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let fields: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
    let megabytes = |name: &str| -> Option<f64> {
        Some(fields.get(name)?.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
    };
    Ok(Used { cpu_s: ticks / 100.0, rss_peak_mb: megabytes("VmHWM").unwrap_or_default() })
}
