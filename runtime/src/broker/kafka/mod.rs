//! The broker on Apache Kafka.
//!
//! ```text
//!   worker ─▶ consumer.rs   member of a group (static, classic protocol), fetches through reader.rs
//!          ─▶ producer.rs   transactions: records, changelog records, positions with the generation
//!          ─▶ changelog.rs  whose changes are where; store.rs keeps a local copy of them
//!          ─▶ registry.rs   ids of schemas, in and out
//!   settings.rs, security.rs  how the cluster is reached, and which of the client's settings are ours
//!   admin.rs   topics, made and checked by what topics.rs says of them;  errors.rs  remedies
//!   native.rs  calls into librdkafka that `rdkafka` does not have
//! ```

mod admin;
mod changelog;
mod consumer;
mod errors;
mod limits;
mod native;
mod producer;
mod reader;
mod registry;
mod security;
mod settings;
mod store;
mod topics;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::{
    Broker, BrokerError, Consumer, Generation, Member, Offset, Pair, Positions, Producer, Reader, StateReader,
    TopicInfo, TopicPartition,
};
use crate::clock::Clock;
#[cfg(feature = "testing")]
pub use admin::block_on;
pub use changelog::CHANGELOG_PREFIX;
use changelog::Changelog;
use consumer::{KafkaConsumer, Membership};
use errors::broker_error;
use limits::{ASK_MAX, LISTEN_MAX, REACH_MIN};
use native::Client;
use producer::KafkaProducer;
use reader::Fetcher;
use registry::Registry;
pub use registry::{RegistrySettings, examine_schemas};
pub use security::{Identity, Mechanism, Sasl, Security, Tls};
use settings::Logs;
pub use settings::{Fail, Settings, refusal};
use store::Store;
pub use topics::{Examined, Needs};

/// A Kafka cluster; clones share the connections.
#[derive(Clone)]
pub struct Kafka {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    clock: Clock,
    cluster_id: String,
    admin: AdminClient<Logs>,
    /// Asks where what is committed ends, and where everything ends.
    asks: Client,
    asks_ahead: Client,
    /// Asks for the positions of groups.
    groups: Mutex<HashMap<String, Arc<Client>>>,
    members: Mutex<Vec<(Arc<str>, Weak<Membership>)>>,
    counts: Mutex<HashMap<Arc<str>, u32>>,
    changelogs: Mutex<HashMap<String, TopicInfo>>,
    stores: Mutex<HashMap<Arc<str>, Weak<Store>>>,
    commits: AtomicU64,
    registry: Option<Registry>,
}

impl Kafka {
    /// Connects to a cluster. Nothing is changed.
    ///
    /// # Errors
    /// `Fatal` for settings that cannot be, `Retry` where nobody answers.
    pub fn connect(settings: Settings, clock: Clock) -> Result<Self, BrokerError> {
        if let Some(refusal) = settings.refusal() {
            return Err(BrokerError::Fatal(refusal));
        }
        let made = |error| broker_error(&error);
        let asks = client(&settings.reading())?;
        reach(&asks)?;
        let asks_ahead = client(&settings.reading_ahead())?;
        let admin = AdminClient::from_config_and_context(&settings.base(), Logs::default()).map_err(made)?;
        let cluster_id = asks.client().fetch_cluster_id(ASK_MAX);
        let cluster_id = cluster_id.ok_or_else(|| BrokerError::Retry("the cluster does not say its id".into()))?;
        let registry = settings.registry.as_ref().map(Registry::new).transpose()?;
        let shared = Shared {
            settings,
            clock,
            cluster_id,
            admin,
            asks,
            asks_ahead,
            groups: Mutex::default(),
            members: Mutex::default(),
            counts: Mutex::default(),
            changelogs: Mutex::default(),
            stores: Mutex::default(),
            commits: AtomicU64::new(1),
            registry,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Registers the schemas of all that is written, where there is a registry. Idempotent; without it, each is registered when
    /// it is first needed.
    ///
    /// # Errors
    /// `Fatal` where the registry refuses one; one that is away is waited for later.
    pub fn register_schemas(&self) -> Result<(), BrokerError> {
        self.shared.registry.as_ref().map_or(Ok(()), Registry::register_all)
    }

    /// Makes the topics that a pipeline needs, changelogs among them, and checks those that are there: what is wrong with
    /// each that cannot be used, and what to run. Idempotent.
    pub fn ensure_topics(&self, needs: &Needs) -> Result<Vec<String>, BrokerError> {
        self.shared.ensure_all(needs)
    }

    /// Like [`Self::ensure_topics`], but makes none: whether each is there, or what is wrong with it.
    pub fn examine_topics(&self, needs: &Needs) -> Result<Examined, BrokerError> {
        self.shared.examine_all(needs)
    }
}

fn unknown(of: &TopicPartition) -> BrokerError {
    BrokerError::Fatal(format!("there is no {of}"))
}

/// Why the positions of a group could not be had: where the coordinator answers in vain for as long as a transaction may stay
/// open, one is that hangs.
fn unstable(group: &str, bootstrap_servers: &str, error: &KafkaError) -> BrokerError {
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::OperationTimedOut) {
        return broker_error(error);
    }
    BrokerError::Retry(format!(
        "the positions of group {group} cannot be had: its coordinator does not answer, or a transaction that moves them stays \
         open for longer than it may. The cluster may have lost the end of it, and then waits for it for ever: \
         `kafka-transactions.sh --bootstrap-server {bootstrap_servers} describe-producers --topic __consumer_offsets --partition …` \
         shows where one is open, `kafka-transactions.sh … abort` ends it"
    ))
}

/// A client that reads or asks.
fn client(config: &ClientConfig) -> Result<Client, BrokerError> {
    BaseConsumer::from_config_and_context(config, Logs::default()).map_err(|error| broker_error(&error))
}

/// Waits for the cluster's first answer. A client tries again what was refused as it does what was not heard, so what it says
/// between is listened to: no password becomes right by waiting.
fn reach(asks: &Client) -> Result<(), BrokerError> {
    let until = Instant::now() + ASK_MAX;
    let mut patience = REACH_MIN;
    loop {
        let Err(error) = asks.fetch_metadata(None, patience) else { return Ok(()) };
        while asks.poll(LISTEN_MAX).is_some() {}
        let (code, reason) = asks.context().last().unwrap_or((None, error.to_string()));
        if errors::is_refusal(code, &reason) {
            return Err(BrokerError::Fatal(format!("the cluster refuses this client: {reason}")));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(BrokerError::Retry(reason));
        }
        patience = (2 * patience).min(left);
    }
}

/// Whether this is the member of that generation at this moment.
fn is_of(membership: &Membership, generation: &Generation) -> bool {
    let now = native::membership(membership);
    let number = |number: i32| u64::try_from(number).ok().filter(|number| *number > 0);
    now.is_some_and(|(member, now)| *member == *generation.member && number(now) == Some(generation.number))
}

impl Shared {
    fn asking(&self, group: &str) -> Result<Arc<Client>, BrokerError> {
        let mut groups = self.groups.lock().expect("no holder panics");
        if let Some(client) = groups.get(group) {
            return Ok(client.clone());
        }
        let client = Arc::new(client(&self.settings.asking(group))?);
        groups.insert(group.to_owned(), client.clone());
        Ok(client)
    }

    /// All positions of a group.
    fn committed(&self, group: &str) -> Result<Positions, BrokerError> {
        let topics = self.topics()?;
        let numbers = |topic: &TopicInfo| 0..topic.partitions;
        self.committed_in(group, topics.iter().flat_map(|topic| numbers(topic).map(|number| (&*topic.name, number))))
    }

    /// Stable positions in these partitions: an open transaction that moves one is waited for, for as long as one may stay open.
    fn committed_in<'a>(
        &self,
        group: &str,
        partitions: impl Iterator<Item = (&'a str, u32)>,
    ) -> Result<Positions, BrokerError> {
        let mut asked = TopicPartitionList::new();
        for (topic, number) in partitions {
            asked.add_partition(topic, number as i32);
        }
        if asked.count() == 0 {
            return Ok(Positions::new());
        }
        let timeout = ASK_MAX + self.settings.transaction_timeout;
        let answer = self.asking(group)?.committed_offsets(asked, timeout);
        let answer = answer.map_err(|error| unstable(group, &self.settings.bootstrap_servers, &error))?;
        let mut positions = Positions::new();
        for place in answer.elements() {
            place.error().map_err(|error| broker_error(&error))?;
            if let KafkaOffset::Offset(next) = place.offset() {
                positions.insert(TopicPartition::new(place.topic(), place.partition() as u32), next as Offset);
            }
        }
        Ok(positions)
    }

    fn add_member(&self, group: &str, membership: &Arc<Membership>) {
        let mut members = self.members.lock().expect("no holder panics");
        members.retain(|(_, membership)| membership.strong_count() > 0);
        members.push((group.into(), Arc::downgrade(membership)));
    }

    /// What the member of this generation shows to the cluster, if it is that still.
    fn member(&self, generation: &Generation) -> Option<ConsumerGroupMetadata> {
        if self.settings.fails(Fail::CommitsWithoutGeneration) {
            return self.asking(&generation.group).ok()?.group_metadata();
        }
        let mut found = self.members_of(&generation.group).into_iter().filter_map(|membership| {
            // In this order: generations only grow, so what still holds after was shown.
            let shown = membership.group_metadata()?;
            is_of(&membership, generation).then_some(shown)
        });
        found.next()
    }

    /// Commits positions as programs without transactions do: by the member whose work it was.
    fn commit_as_member(&self, generation: &Generation, positions: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut members = self.members_of(&generation.group).into_iter();
        let member = members.find(|membership| is_of(membership, generation));
        let member = member.ok_or(KafkaError::ConsumerCommit(RDKafkaErrorCode::IllegalGeneration))?;
        member.commit(positions, CommitMode::Sync)
    }

    fn members_of(&self, group: &str) -> Vec<Arc<Membership>> {
        let members = self.members.lock().expect("no holder panics");
        let of_group = members.iter().filter(|(of, _)| **of == *group);
        of_group.filter_map(|(_, membership)| membership.upgrade()).collect()
    }

    /// The store of an owner, where it is open.
    fn store(&self, owner: &str) -> Option<Arc<Store>> {
        self.stores.lock().expect("no holder panics").get(owner)?.upgrade()
    }

    fn open_store(
        &self,
        owner: &Arc<str>,
        topic_id: &str,
        offsets: &RangeInclusive<Offset>,
    ) -> Result<Arc<Store>, BrokerError> {
        let mut stores = self.stores.lock().expect("no holder panics");
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = stores.get(owner).and_then(Weak::upgrade) {
            return Ok(store);
        }
        let dir = store::dir_of(&self.settings.state_dir, owner);
        let store =
            Store::open(&dir, (&self.cluster_id, topic_id), offsets, &self.clock).map_err(BrokerError::Retry)?;
        let store = Arc::new(store);
        stores.insert(owner.clone(), Arc::downgrade(&store));
        Ok(store)
    }

    /// Something was committed.
    fn changed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Broker for Kafka {
    fn cluster_id(&self) -> Result<String, BrokerError> {
        Ok(self.shared.cluster_id.clone())
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, BrokerError> {
        self.shared.topics()
    }

    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        self.shared.ensure_topic(name, partitions)
    }

    fn offsets(&self, of: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        self.shared.offsets(of)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        Ok(Box::new(Fetcher::new(&self.shared)?))
    }

    fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, BrokerError> {
        Ok(Box::new(KafkaProducer::open(&self.shared, transactional_id)?))
    }

    fn join(&self, group: &str, topics: &[Arc<str>], member: &Member) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(KafkaConsumer::join(&self.shared, group, topics, member)?))
    }

    fn committed(&self, group: &str) -> Result<Positions, BrokerError> {
        self.shared.committed(group)
    }

    fn note_positions(&self, group: &str, positions: &Positions) -> Result<(), BrokerError> {
        let mut noted = TopicPartitionList::with_capacity(positions.len());
        for (of, next) in positions {
            let added = noted.add_partition_offset(&of.topic, of.partition as i32, KafkaOffset::Offset(*next as i64));
            added.map_err(|error| broker_error(&error))?;
        }
        if noted.count() == 0 {
            return Ok(());
        }
        let client = self.shared.asking(group)?;
        client.commit(&noted, CommitMode::Sync).map_err(|error| broker_error(&error))
    }

    fn forget_positions(&self, group: &str) -> Result<(), BrokerError> {
        self.shared.delete_group(group)
    }

    fn restore(&self, owner: &str, goes_on: &mut dyn FnMut() -> bool) -> Result<Box<dyn StateReader>, BrokerError> {
        let owner: Arc<str> = owner.into();
        let changelog = Changelog::of(&owner, &self.shared.settings.name).map_err(BrokerError::Fatal)?;
        if !changelog.is_there(&self.shared)? {
            return Ok(Box::new(Nothing));
        }
        let store = changelog.restore(&self.shared, goes_on)?;
        changelog::check_topics(&self.shared, &owner, &store)?;
        Ok(Box::new(KafkaState(store)))
    }

    /// What others commit is not heard of: it waits a little and says that there may be something.
    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let commits = self.shared.commits.load(Ordering::Relaxed);
        if timeout.is_zero() || commits != seen {
            return commits;
        }
        std::thread::park_timeout(timeout.min(limits::WAIT_MAX));
        self.shared.commits.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The state of an owner that never had any; who only looks makes no topic.
struct Nothing;

impl StateReader for Nothing {
    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, BrokerError> {
        Ok(None)
    }

    fn scan(&self, _prefix: &[u8]) -> Result<Vec<Pair>, BrokerError> {
        Ok(Vec::new())
    }
}

struct KafkaState(Arc<Store>);

impl StateReader for KafkaState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BrokerError> {
        self.0.get(key).map_err(BrokerError::Reopen)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, BrokerError> {
        let mut pairs = self.0.scan(prefix).map_err(BrokerError::Reopen)?;
        pairs.retain(|(key, _)| !changelog::is_reserved(key));
        Ok(pairs)
    }
}
