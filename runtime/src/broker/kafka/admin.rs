//! Topics: what there is, and what is made.

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
use skuflow_schemas::DEAD_LETTER_PREFIX;

use super::changelog::{Changelog, topic_of_group};
use super::errors::broker_error;
use super::limits::ASK_MAX;
use super::topics::{self, Examined, Found, Kind, Needs, Place, Settings};
use super::{Shared, native};
use crate::broker::{BrokerError, Offset, TopicInfo, TopicPartition};
use crate::limits::BACKOFF_MIN;

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

    /// Makes a topic of the pipeline unless it exists, and checks it where it does.
    pub(super) fn ensure_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        self.ensure(name, partitions, Kind::of(name))
    }

    /// Makes a changelog unless it exists, and checks it where it does: one that is not compacted would lose state.
    pub(super) fn ensure_changelog(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        let known = self.changelogs.lock().expect("no holder panics").get(name).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let topic = self.ensure(name, partitions, Kind::Changelog)?;
        self.changelogs.lock().expect("no holder panics").insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    fn ensure(&self, name: &str, partitions: u32, kind: Kind) -> Result<TopicInfo, BrokerError> {
        if self.topic(name)?.is_none() {
            self.create(name, partitions, kind)?;
        }
        let (topic, found) = self.find(name)?;
        match found.objection(name, kind, partitions, &self.settings.bootstrap_servers) {
            None => Ok(topic),
            Some(objection) => Err(BrokerError::Fatal(objection)),
        }
    }

    /// All topics that a pipeline needs: name, partitions and kind.
    fn all(&self, needs: &Needs) -> Result<Vec<(Arc<str>, u32, Kind)>, BrokerError> {
        let own = needs.topics.iter().map(|name| (name.clone(), needs.partitions, Kind::of(name)));
        let of_groups = needs.groups.iter().map(|group| (topic_of_group(group).into(), needs.partitions));
        let of_owners = needs.owners.iter().map(|owner| Changelog::of(owner, &self.settings.name));
        let of_owners = of_owners.collect::<Result<Vec<_>, _>>().map_err(BrokerError::Fatal)?;
        let changelogs = of_groups.chain(of_owners.into_iter().map(|changelog| (changelog.of.topic, 1)));
        Ok(own.chain(changelogs.map(|(name, partitions)| (name, partitions, Kind::Changelog))).collect())
    }

    /// Makes and checks them; what is wrong with those that cannot be used.
    pub(super) fn ensure_all(&self, needs: &Needs) -> Result<Vec<String>, BrokerError> {
        let mut wrong = Vec::new();
        for (name, partitions, kind) in self.all(needs)? {
            match self.ensure(&name, partitions, kind) {
                Err(BrokerError::Fatal(reason)) => wrong.push(reason),
                other => drop(other?),
            }
        }
        Ok(wrong)
    }

    /// Checks them and makes none; whether each is there, or what is wrong with it.
    pub(super) fn examine_all(&self, needs: &Needs) -> Result<Examined, BrokerError> {
        let mut found = Vec::new();
        for (name, partitions, kind) in self.all(needs)? {
            let is_there = self.topic(&name)?.is_some();
            let outcome = match is_there.then(|| self.ensure(&name, partitions, kind)).transpose() {
                Err(BrokerError::Fatal(reason)) => Err(reason),
                other => Ok(other?.is_some()),
            };
            found.push((name, outcome));
        }
        Ok(found)
    }

    /// A topic that exists, as soon as all of the cluster knows of it.
    fn find(&self, name: &str) -> Result<(TopicInfo, Found), BrokerError> {
        let until = Instant::now() + ASK_MAX;
        loop {
            if let Some(topic) = self.topic(name)?
                && let Some(replicas) = self.replicas(name)?
                && let Some(settings) = self.settings_of(&ResourceSpecifier::Topic(name))?
            {
                let place = Place { replicas: Some(replicas), origin_bytes: self.origin_bytes(name)? };
                let found = Found { partitions: topic.partitions, place, settings };
                return Ok((topic, found));
            }
            if Instant::now() >= until {
                return Err(BrokerError::Retry(format!("topic {name} has no leader, or its settings cannot be read")));
            }
            std::thread::park_timeout(BACKOFF_MIN);
        }
    }

    /// The largest batch that the topic takes whose dead letters `name` holds.
    fn origin_bytes(&self, name: &str) -> Result<Option<u64>, BrokerError> {
        let Some(origin) = name.strip_prefix(DEAD_LETTER_PREFIX) else { return Ok(None) };
        if self.topic(origin)?.is_none() {
            return Ok(None);
        }
        let settings = self.settings_of(&ResourceSpecifier::Topic(origin))?;
        Ok(settings.as_ref().and_then(topics::bytes_max))
    }

    fn create(&self, name: &str, partitions: u32, kind: Kind) -> Result<(), BrokerError> {
        let defaults = self.defaults()?;
        let replicas = self.settings.replication.map(u64::from);
        let default = defaults.get("default.replication.factor").and_then(|replicas| replicas.parse().ok());
        let place = Place { replicas: replicas.or(default), origin_bytes: self.origin_bytes(name)? };
        let with = topics::made_with(kind, place, &defaults);
        let replication = TopicReplication::Fixed(self.settings.replication.map_or(-1, i32::from));
        let mut topic = NewTopic::new(name, partitions as i32, replication);
        for (setting, value) in &with {
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

    /// Replicas of each partition of a topic, once all have a leader.
    fn replicas(&self, name: &str) -> Result<Option<u64>, BrokerError> {
        let metadata = self.asks.fetch_metadata(Some(name), ASK_MAX).map_err(|error| broker_error(&error))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
        let partitions = topic.map(MetadataTopic::partitions).unwrap_or_default();
        let is_led = partitions.iter().all(|partition| partition.leader() >= 0);
        let fewest = partitions.iter().map(|partition| partition.replicas().len() as u64).min();
        Ok(fewest.filter(|_| is_led))
    }

    /// What topics are made with where nothing else is said; nothing where the cluster does not tell.
    fn defaults(&self) -> Result<Settings, BrokerError> {
        let metadata = self.asks.fetch_metadata(None, ASK_MAX).map_err(|error| broker_error(&error))?;
        let Some(broker) = metadata.brokers().first() else { return Ok(Settings::new()) };
        Ok(self.settings_of(&ResourceSpecifier::Broker(broker.id()))?.unwrap_or_default())
    }

    /// `None` where who is asked does not know yet, or says nothing of a broker.
    fn settings_of(&self, what: &ResourceSpecifier<'_>) -> Result<Option<Settings>, BrokerError> {
        let options = AdminOptions::new().request_timeout(Some(ASK_MAX));
        let described = block_on(self.admin.describe_configs([what], &options));
        let described = described.map_err(|error| broker_error(&error))?.into_iter().next();
        match (described, what) {
            (Some(Ok(described)), _) => {
                let entries = described.entries.into_iter();
                Ok(Some(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()))
            }
            (Some(Err(code @ Code::TopicAuthorizationFailed)), ResourceSpecifier::Topic(name)) => {
                Err(BrokerError::Fatal(format!("the settings of topic {name} cannot be read: {code}")))
            }
            _ => Ok(None),
        }
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

/// Waits for an answer of the admin client, which comes on a thread of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
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
