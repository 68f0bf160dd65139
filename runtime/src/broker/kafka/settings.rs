//! How the cluster is reached, and which of the client's settings are ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::limits::{ASK_MAX, HEARTBEAT_MAX, POLL_INTERVAL_MAX};
use super::registry::RegistrySettings;
use super::security::{Security, is_blindness, is_security};
use crate::limits::{SESSION_TIMEOUT_DEFAULT, TRANSACTION_TIMEOUT_DEFAULT};

/// Where a cluster is and how it is used. Not `Debug`: there are secrets in it.
#[derive(Clone)]
pub struct Settings {
    /// `host:port`, several with commas.
    pub bootstrap_servers: String,
    /// Name of the pipeline; stands in the names of its connectors' changelogs.
    pub name: String,
    /// Folder of this process alone, where the tasks' states are kept between runs.
    pub state_dir: PathBuf,
    /// Replicas of the topics that are made here; the cluster's default where there is none.
    pub replication: Option<u16>,
    /// How long a transaction may stay open before the cluster aborts it.
    pub transaction_timeout: Duration,
    /// How long a member may be silent before its partitions go to others.
    pub session_timeout: Duration,
    /// The schema registry, if there is one; else ids are those of the schemas that ship.
    pub registry: Option<RegistrySettings>,
    /// How it is reached safely.
    pub security: Security,
    /// Further settings of the client, by librdkafka's names.
    pub properties: BTreeMap<String, String>,
    /// What is broken on purpose.
    #[cfg(feature = "testing")]
    pub fail: Option<Fail>,
}

/// Points at which tests break the broker: what they watch for must show then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The process dies between the flush of what it sent and the positions.
    DiesBeforePositions,
    /// The same, and no transaction holds back what was flushed.
    DiesWithoutTransactions,
    /// There are no transactions, as in a program that promises each effect at least once: what was sent is flushed, then
    /// the member commits its positions. For measuring what transactions cost.
    AtLeastOnce,
    /// Positions are committed without generation and member.
    CommitsWithoutGeneration,
    /// A restore ends where what is committed ends at present.
    RestoresToLastStable,
}

impl Settings {
    /// The usual ones.
    pub fn new(bootstrap_servers: &str, name: &str, state_dir: PathBuf) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            name: name.into(),
            state_dir,
            replication: None,
            transaction_timeout: TRANSACTION_TIMEOUT_DEFAULT.into(),
            session_timeout: SESSION_TIMEOUT_DEFAULT.into(),
            registry: None,
            security: Security::default(),
            properties: BTreeMap::new(),
            #[cfg(feature = "testing")]
            fail: None,
        }
    }

    /// Why the properties cannot be as they are, if they cannot.
    pub(super) fn refusal(&self) -> Option<String> {
        let property = |(name, value): (&String, &String)| refusal(name, value, !self.security.is_none());
        self.properties.iter().find_map(property)
    }

    /// Whether this is broken on purpose; nothing is where nobody tests.
    pub(super) fn fails(&self, point: Fail) -> bool {
        #[cfg(feature = "testing")]
        let broken = self.fail;
        #[cfg(not(feature = "testing"))]
        let broken = None;
        broken == Some(point)
    }

    /// Whether producers work in transactions; they do where nobody tests.
    pub(super) fn is_transactional(&self) -> bool {
        !self.fails(Fail::DiesWithoutTransactions) && !self.fails(Fail::AtLeastOnce)
    }

    pub(super) fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", &self.name);
        self.tune(&mut config);
        self.security.apply(&mut config);
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// Sets what the user prefers to our tuning; what the guarantees rest on was refused.
    fn tune(&self, config: &mut ClientConfig) {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
    }

    /// How long a member may do something else than polling. The client refuses one that is shorter than the session; a commit
    /// that fails, and its abort, take as long as two transactions may.
    fn poll_interval(&self) -> Duration {
        self.session_timeout.max(POLL_INTERVAL_MAX).max(2 * self.transaction_timeout + ASK_MAX)
    }

    /// Reads partitions that it is told, committed records only.
    pub(super) fn reading(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            // The end of a partition is said when a fetch comes back empty.
            .set("fetch.wait.max.ms", "50")
            // The defaults let the fetcher sleep for a second whenever its queue is full.
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.min.messages", "1000000")
            // Of each partition; more is only more memory.
            .set("queued.max.messages.kbytes", "1024")
            .set("fetch.message.max.bytes", "2097152")
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            .set("max.poll.interval.ms", self.poll_interval().as_millis().to_string());
        self.tune(&mut config);
        config
    }

    /// Sees also what is not committed; for the ends of changelogs.
    pub(super) fn reading_ahead(&self) -> ClientConfig {
        let mut config = self.reading();
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// Asks about a group, and notes positions for it, without being a member.
    pub(super) fn asking(&self, group: &str) -> ClientConfig {
        let mut config = self.reading();
        config.set("group.id", group);
        config
    }

    /// Is a member of a group.
    pub(super) fn joining(&self, group: &str, member: &str) -> ClientConfig {
        let mut config = self.asking(group);
        config
            .set("group.instance.id", member)
            // Takes over from a killed process in a second; the newer protocol waits for the session to end.
            .set("group.protocol", "classic")
            // Gives a member the same numbers in every topic; `cooperative-sticky` places each partition by itself.
            .set("partition.assignment.strategy", "range")
            // A heartbeat also brings word of a rebalance, which waits for all members to have it.
            .set("heartbeat.interval.ms", (self.session_timeout / 20).min(HEARTBEAT_MAX).as_millis().to_string());
        self.tune(&mut config);
        config
    }

    /// Writes transactions under this id.
    pub(super) fn producing(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.base();
        if self.is_transactional() {
            config
                .set("transactional.id", transactional_id)
                .set("transaction.timeout.ms", self.transaction_timeout.as_millis().to_string());
        }
        config
            .set("enable.idempotence", "true")
            // A request for each partition that has records, so fewer of them. With 5 ms a busy machine took a fifth more CPU;
            // alone on a quiet one it was not measured. A commit does not wait for it.
            .set("linger.ms", "25")
            .set("batch.num.messages", "10000")
            .set("compression.type", "lz4")
            // What was taken is known by the commit; a report for each record costs more than its sending.
            .set("delivery.report.only.error", "true")
            // Before the cluster gives up the transaction: what cannot be written is not taken for another's doing.
            .set("message.timeout.ms", (self.transaction_timeout * 2 / 3).as_millis().to_string())
            // How large a record may be is for its topic to say.
            .set("message.max.bytes", "1000000000");
        self.tune(&mut config);
        config
    }
}

/// Why a property of the client is not for the user to set, if it is not; `is_secured` says that there is a [`Security`].
pub fn refusal(property: &str, value: &str, is_secured: bool) -> Option<String> {
    const OURS: &[&str] = &[
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.report.only.error",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "isolation.level",
        "partition.assignment.strategy",
        "transactional.id",
    ];
    if OURS.contains(&property) {
        return Some(format!("`{property}` is not for you to set: the guarantees rest on it"));
    }
    let typed = [("session.timeout.ms", "session_timeout"), ("transaction.timeout.ms", "transaction_timeout")];
    if let Some((_, setting)) = typed.iter().find(|(name, _)| *name == property) {
        return Some(format!("`{property}` is set by `{setting}`"));
    }
    if is_blindness(property, value) {
        return Some(format!("with `{property} = {value}` anybody could pass for the cluster"));
    }
    (is_secured && is_security(property)).then(|| format!("`{property}` is set by `security` already"))
}

/// An error, and its reason.
type Said = (Option<Code>, String);

/// Passes on what the client has to say, and keeps the last of its errors.
#[derive(Clone, Default)]
pub(super) struct Logs {
    last: Arc<Mutex<Option<Said>>>,
}

impl Logs {
    /// The last error that the client told of, where it was polled.
    pub(super) fn last(&self) -> Option<Said> {
        self.last.lock().expect("no holder panics").clone()
    }
}

impl ClientContext for Logs {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client");
        let code = error.rdkafka_error_code();
        if code != Some(Code::AllBrokersDown) {
            *self.last.lock().expect("no holder panics") = Some((code, reason.into())); // why they are
        }
    }
}

impl ConsumerContext for Logs {}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    if (level as i32) <= RDKafkaLogLevel::Warning as i32 {
        tracing::warn!(facility, message, "kafka client");
    } else {
        tracing::debug!(facility, message, "kafka client");
    }
}
