//! Topics: what there is, what is made, and what must be so.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaErrorCode as Code;
use skuflow_schemas::{Cleanup, DEAD_LETTER_PREFIX, LATE_PREFIX, TOPICS};

use super::errors::broker_error;
use super::limits::{ASK_MAX, RECORD_BYTES_MAX as CHANGELOG_BYTES_MAX, TOMBSTONES_MAX};
use super::{Shared, native};
use crate::broker::{BrokerError, Offset, TopicInfo, TopicPartition};
use crate::limits::{BACKOFF_MIN, DEAD_LETTER_BYTES_MAX, RECORD_BYTES_MAX};

/// Bytes that Kafka adds to a record.
const OVERHEAD_BYTES: usize = 4096;

impl Shared {
    /// Topics that are not Kafka's own.
    pub(super) fn topics(&self) -> Result<Vec<TopicInfo>, BrokerError> {
        let metadata = self.asks.fetch_metadata(None, ASK_MAX).map_err(|error| broker_error(&error))?;
        let names: Vec<&str> =
            metadata.topics().iter().map(MetadataTopic::name).filter(|name| !name.starts_with("__")).collect();
        self.describe(&names)
    }

    pub(super) fn topic(&self, name: &str) -> Result<Option<TopicInfo>, BrokerError> {
        Ok(self.describe(&[name])?.pop())
    }

    fn describe(&self, names: &[&str]) -> Result<Vec<TopicInfo>, BrokerError> {
        let described = native::describe_topics(&self.asks, names, ASK_MAX);
        let described = described.map_err(|code| BrokerError::Retry(format!("asking for topics: {code}")))?;
        let info = |(name, id, partitions): (String, String, u32)| TopicInfo { name: name.into(), id, partitions };
        Ok(described.into_iter().map(info).collect())
    }

    /// How many partitions a topic has, asked once: the number does not change.
    pub(super) fn partitions(&self, name: &str) -> Result<Option<u32>, BrokerError> {
        if let Some(count) = self.counts.lock().expect("no holder panics").get(name) {
            return Ok(Some(*count));
        }
        let Some(topic) = self.topic(name)? else { return Ok(None) };
        self.counts.lock().expect("no holder panics").insert(topic.name, topic.partitions);
        Ok(Some(topic.partitions))
    }

    /// First offset and the end of what is committed.
    pub(super) fn offsets(&self, of: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        self.watermarks(&self.asks, of)
    }

    /// The end of everything that was written, open transactions among it.
    pub(super) fn high_watermark(&self, of: &TopicPartition) -> Result<Offset, BrokerError> {
        Ok(self.watermarks(&self.asks_ahead, of)?.1)
    }

    fn watermarks(&self, client: &native::Client, of: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        if self.partitions(&of.topic)?.is_none_or(|count| of.partition >= count) {
            return Err(super::unknown(of));
        }
        let _what_the_client_says_is_logged = client.poll(Duration::ZERO);
        let marks = client.fetch_watermarks(&of.topic, of.partition as i32, ASK_MAX);
        let (first, next) = marks.map_err(|error| broker_error(&error))?;
        Ok((first.max(0) as Offset, next.max(0) as Offset))
    }

    /// Makes a topic of the pipeline unless it exists.
    pub(super) fn ensure_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        self.ensure(name, partitions, &settings_of(name))
    }

    /// Makes a changelog unless it exists; one that is not compacted would lose state.
    pub(super) fn ensure_changelog(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        let known = self.changelogs.lock().expect("no holder panics").get(name).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let wanted = [
            ("cleanup.policy", "compact".to_owned()),
            ("delete.retention.ms", TOMBSTONES_MAX.as_millis().to_string()),
            ("max.message.bytes", CHANGELOG_BYTES_MAX.to_string()),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
        ];
        let topic = self.ensure(name, partitions, &wanted)?;
        self.check(name, &wanted[..2])?;
        self.changelogs.lock().expect("no holder panics").insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    fn ensure(&self, name: &str, partitions: u32, with: &[(&str, String)]) -> Result<TopicInfo, BrokerError> {
        if self.topic(name)?.is_none() {
            self.create(name, partitions, with)?;
        }
        let until = Instant::now() + ASK_MAX;
        loop {
            if let Some(topic) = self.topic(name)?
                && self.has_leaders(name)?
            {
                if topic.partitions != partitions {
                    let has = topic.partitions;
                    return Err(BrokerError::Fatal(format!("topic {name} has {has} partitions, not {partitions}")));
                }
                return Ok(topic);
            }
            if Instant::now() >= until {
                return Err(BrokerError::Retry(format!("topic {name} has no leader")));
            }
            std::thread::park_timeout(BACKOFF_MIN);
        }
    }

    fn create(&self, name: &str, partitions: u32, with: &[(&str, String)]) -> Result<(), BrokerError> {
        let replication = TopicReplication::Fixed(self.settings.replication.map_or(-1, i32::from));
        let mut topic = NewTopic::new(name, partitions as i32, replication);
        for (setting, value) in with {
            topic = topic.set(setting, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(ASK_MAX)).request_timeout(Some(ASK_MAX));
        let made = block_on(self.admin.create_topics([&topic], &options)).map_err(|error| broker_error(&error))?;
        match made.into_iter().next() {
            None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code @ (Code::OperationTimedOut | Code::RequestTimedOut | Code::BrokerTransportFailure)))) => {
                Err(BrokerError::Retry(format!("making topic {name}: {code}")))
            }
            Some(Err((_, code))) => Err(BrokerError::Fatal(format!("making topic {name}: {code}"))),
        }
    }

    fn has_leaders(&self, name: &str) -> Result<bool, BrokerError> {
        let metadata = self.asks.fetch_metadata(Some(name), ASK_MAX).map_err(|error| broker_error(&error))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
        Ok(topic.is_some_and(|topic| topic.partitions().iter().all(|partition| partition.leader() >= 0)))
    }

    /// Refuses a topic that does not have these settings.
    fn check(&self, name: &str, wanted: &[(&str, String)]) -> Result<(), BrokerError> {
        let options = AdminOptions::new().request_timeout(Some(ASK_MAX));
        let described = block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(name)], &options));
        let described = described.map_err(|error| broker_error(&error))?.into_iter().next();
        let Some(Ok(described)) = described else {
            return Err(BrokerError::Retry(format!("the settings of topic {name} cannot be read")));
        };
        let found: BTreeMap<&str, &str> =
            described.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))).collect();
        let wrong: Vec<String> = wanted
            .iter()
            .filter(|(setting, value)| found.get(setting) != Some(&value.as_str()))
            .map(|(setting, value)| format!("{setting}={value}"))
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let wrong = wrong.join(",");
        Err(BrokerError::Fatal(format!(
            "topic {name} has other settings than state needs; run: kafka-configs.sh --bootstrap-server {} --alter --topic \
             {name} --add-config {wrong}",
            self.settings.bootstrap_servers
        )))
    }

    pub(super) fn delete_group(&self, group: &str) -> Result<(), BrokerError> {
        let options = AdminOptions::new().request_timeout(Some(ASK_MAX));
        let deleted = block_on(self.admin.delete_groups(&[group], &options)).map_err(|error| broker_error(&error))?;
        match deleted.into_iter().next() {
            None | Some(Ok(_) | Err((_, Code::GroupIdNotFound))) => Ok(()),
            Some(Err((_, code))) => Err(BrokerError::Retry(format!("forgetting group {group}: {code}"))),
        }
    }
}

/// Settings of a topic by its name, behind whatever prefix.
fn settings_of(name: &str) -> Vec<(&'static str, String)> {
    let cleanup = if name.starts_with(DEAD_LETTER_PREFIX) {
        Cleanup::Keep
    } else {
        let bare = name.strip_prefix(LATE_PREFIX).unwrap_or(name);
        let known = TOPICS.iter().find(|topic| {
            bare.strip_suffix(topic.name).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        });
        known.map_or(Cleanup::Keep, |topic| topic.cleanup)
    };
    let bytes = if name.starts_with(DEAD_LETTER_PREFIX) { DEAD_LETTER_BYTES_MAX } else { RECORD_BYTES_MAX };
    let mut settings = vec![
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("max.message.bytes", (bytes + OVERHEAD_BYTES).to_string()),
    ];
    match cleanup {
        Cleanup::Compact if !name.starts_with(LATE_PREFIX) => settings.push(("cleanup.policy", "compact".to_owned())),
        Cleanup::DeleteAfter(span) => settings.push(("retention.ms", (span.micros() / 1000).to_string())),
        Cleanup::Compact | Cleanup::Keep => settings.push(("retention.ms", "-1".to_owned())),
    }
    settings
}

/// Waits for an answer of the admin client, which comes on a thread of its own.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_kept_as_the_catalogue_says_behind_any_prefix() {
        let has = |name: &str, setting: &str| {
            settings_of(name).into_iter().find(|(found, _)| *found == setting).map(|(_, value)| value)
        };
        assert_eq!(has("listings.v1", "cleanup.policy").as_deref(), Some("compact"));
        assert_eq!(has("acme.listings.v1", "cleanup.policy").as_deref(), Some("compact"));
        assert_eq!(has("raw.offers.v1", "retention.ms").as_deref(), Some("604800000"));
        assert_eq!(has("dlq.raw.offers.v1", "retention.ms").as_deref(), Some("-1"));
        assert_eq!(has("late.raw.offers.v1", "retention.ms").as_deref(), Some("604800000"));
    }
}
