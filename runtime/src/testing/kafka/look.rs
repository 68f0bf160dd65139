//! The cluster as an outsider sees it: none of this goes through the broker that is tested.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Kafka;

/// How long a question may take.
const ASK_MAX: Duration = Duration::from_secs(5);
/// How long all records of a cluster may take to be counted.
const COUNT_MAX: Duration = Duration::from_mins(5);

/// Looks at a cluster, and at one of its groups.
pub struct Look {
    client: BaseConsumer,
    group: String,
}

impl Kafka {
    /// Looks at a group.
    ///
    /// # Panics
    /// Where no client can be made.
    pub fn look(&self, group: &str) -> Look {
        Look { client: self.client(group, "read_uncommitted"), group: group.to_owned() }
    }

    /// How many records each topic holds: those that are committed, or, `with_aborted`, all.
    ///
    /// # Panics
    /// Where the cluster does not answer.
    pub fn records(&self, with_aborted: bool) -> BTreeMap<String, u64> {
        let client = self.client("look", if with_aborted { "read_uncommitted" } else { "read_committed" });
        let metadata = client.fetch_metadata(None, COUNT_MAX).expect("it answers");
        let mut assignment = TopicPartitionList::new();
        for (topic, partition) in partitions(&metadata) {
            assignment.add_partition_offset(topic.name(), partition, Offset::Beginning).expect("an offset");
        }
        let mut counts: BTreeMap<String, u64> =
            partitions(&metadata).map(|(topic, _)| (topic.name().to_owned(), 0)).collect();
        client.assign(&assignment).expect("they are there");
        let (mut ends, until) = (0, Instant::now() + COUNT_MAX);
        while ends < assignment.count() {
            assert!(Instant::now() < until, "not all is read within {COUNT_MAX:?}: {counts:?}");
            match client.poll(ASK_MAX) {
                Some(Ok(record)) => *counts.entry(record.topic().to_owned()).or_default() += 1,
                Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
                None | Some(Err(_)) => {}
            }
        }
        counts
    }

    fn client(&self, group: &str, isolation: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("group.id", group)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg); // the broker is killed on purpose
        config.create().expect("its settings are fine")
    }
}

impl Look {
    /// The members of the group that hold partitions, by their ids; none while it is in a rebalance or not there.
    pub fn holders(&self) -> Vec<String> {
        let Ok(list) = self.client.fetch_group_list(Some(&self.group), ASK_MAX) else { return Vec::new() };
        let stable = list.groups().iter().filter(|group| group.state() == "Stable");
        let holders = stable.flat_map(rdkafka::groups::GroupInfo::members).filter(|member| {
            // A version in two bytes, then how many topics follow in four.
            let topics = member.assignment().and_then(|bytes| bytes.get(2..6));
            topics.is_some_and(|count| count != [0; 4])
        });
        holders.map(|member| member.id().to_owned()).collect()
    }

    /// How many offsets of `topics` the group has not consumed; `None` where nobody answers.
    pub fn lag(&self, topics: &[&str]) -> Option<u64> {
        let metadata = self.client.fetch_metadata(None, ASK_MAX).ok()?;
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in partitions(&metadata).filter(|(topic, _)| topics.contains(&topic.name())) {
            asked.add_partition(topic.name(), partition);
        }
        let committed = self.client.committed_offsets(asked, ASK_MAX).ok()?;
        let lags = committed.elements().into_iter().map(|place| {
            let (first, next) = self.client.fetch_watermarks(place.topic(), place.partition(), ASK_MAX).ok()?;
            let position = if let Offset::Offset(offset) = place.offset() { offset } else { first };
            Some(u64::try_from(next - position).unwrap_or(0))
        });
        lags.sum()
    }
}

/// The partitions of all topics but Kafka's own.
fn partitions(metadata: &Metadata) -> impl Iterator<Item = (&MetadataTopic, i32)> {
    let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
    topics.flat_map(|topic| topic.partitions().iter().map(move |partition| (topic, partition.id())))
}
