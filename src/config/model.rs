//! The settings. Those of connectors, steps and sinks live beside their code.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use skuflow_ingest::{file, simulator};
use skuflow_processors::{alerts, catalog, dedup, features, route, validate};
use skuflow_runtime::broker::kafka::Mechanism;
use skuflow_runtime::limits::{CACHE_BYTES_DEFAULT, SESSION_TIMEOUT_DEFAULT, TRANSACTION_TIMEOUT_DEFAULT};
pub use skuflow_runtime::secret::Secret;
use skuflow_schemas::{ByteSize, Span};
use skuflow_sinks::{lake, serving};

/// `pipelines.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the config's shape: 1. Where it or the name is missing the check says so, beside what else is wrong.
    #[serde(default)]
    pub version: u32,
    /// Prefix of groups and transactional ids; `[a-z0-9-]`.
    #[serde(default)]
    pub name: String,
    /// Where the embedded broker keeps everything; relative to the config file.
    #[serde(default = "data")]
    pub data_dir: String,
    /// The broker.
    #[serde(default)]
    pub broker: BrokerConfig,
    /// What holds for all topics.
    #[serde(default)]
    pub topics: TopicsConfig,
    /// How stages run.
    #[serde(default)]
    pub runtime: RuntimeConfig,
    /// Health and metrics over HTTP; left out: none.
    #[serde(default)]
    pub http: Option<HttpConfig>,
    /// Where data comes from.
    #[serde(default)]
    pub connector: Vec<ConnectorConfig>,
    /// What is done with it.
    #[serde(default)]
    pub stage: Vec<StageConfig>,
    /// Where it goes.
    #[serde(default)]
    pub sink: Vec<SinkConfig>,
}

fn data() -> String {
    "data".into()
}

/// The broker; at most one kind, and the embedded one where none is named.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// One directory, one process, no services.
    pub embedded: EmbeddedConfig,
    /// A cluster that many processes share.
    pub kafka: Option<KafkaConfig>,
}

/// Settings of a Kafka cluster. State is kept in `data_dir` too, and restored from the cluster where it is missing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Where it is: `host:port`, several with commas.
    pub bootstrap_servers: String,
    /// Replicas of the topics that are made; left out: as many as the cluster makes by default.
    #[serde(default)]
    pub replication: Option<u16>,
    /// How long a process may be silent before others have its partitions, 6s to 30m. More: a longer suspension costs it
    /// nothing; less: what a killed one leaves goes on sooner.
    #[serde(default = "session_timeout")]
    pub session_timeout: Span,
    /// How long a transaction may stay open before the cluster aborts it, 1s to 15m; longer than `commit_interval`. More: a
    /// longer outage of the cluster is waited out; less: what a killed process leaves open holds up others for less long.
    #[serde(default = "transaction_timeout")]
    pub transaction_timeout: Span,
    /// What this process is called among those that share the work; the same after every restart. Left out: the machine's
    /// name.
    #[serde(default)]
    pub worker_id: Option<String>,
    /// The schema registry that gives schemas their ids; left out: ids are those of `skuflow schema`.
    #[serde(default)]
    pub registry: Option<RegistryConfig>,
    /// How it is reached safely; left out: in plain text, unless `properties` say otherwise.
    #[serde(default)]
    pub security: Option<SecurityConfig>,
    /// Further settings of the client, by librdkafka's names.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

fn session_timeout() -> Span {
    SESSION_TIMEOUT_DEFAULT
}

fn transaction_timeout() -> Span {
    TRANSACTION_TIMEOUT_DEFAULT
}

impl KafkaConfig {
    /// All secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let of_registry = self.registry.iter().filter_map(|registry| registry.password.as_ref());
        self.security.iter().flat_map(SecurityConfig::secrets).chain(of_registry)
    }
}

/// Encryption and who we are; with both, the user's password goes through the encrypted connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityConfig {
    /// Encryption. The cluster has to show a certificate for its name.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// A user.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
}

impl SecurityConfig {
    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let of_tls = self.tls.iter().flat_map(|tls| tls.key.iter().chain(&tls.key_password));
        of_tls.chain(self.sasl.iter().map(|sasl| &sasl.password))
    }
}

/// Certificates; files are PEM, relative to the config.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Authorities that are believed; left out: those of this machine.
    pub ca: Option<String>,
    /// Our own certificate, where the cluster asks for one, with those between it and an authority.
    pub certificate: Option<String>,
    /// The certificate's key.
    pub key: Option<Secret>,
    /// What the key is encrypted with, where it is.
    pub key_password: Option<Secret>,
}

/// A user and the password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// How the password is shown.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// Lets `plain` send the password without `tls`, to be read by everybody on the way.
    #[serde(default)]
    pub dangerously_unencrypted: bool,
}

/// A schema registry that speaks Confluent's protocol. The subject of a topic is `<topic>-value`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Its address, with the path where it has one.
    pub url: String,
    /// Who asks, where it wants to know.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// Settings of the embedded broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedConfig {
    /// Size of a topic at which connectors pause until it is read and retention makes room. More: longer outages of a
    /// sink are bridged; less: less disk; 64MiB at least.
    pub topic_bytes_max: ByteSize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { topic_bytes_max: ByteSize(64 << 30) }
    }
}

/// What holds for all topics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Partitions of each topic, 1 to 1024; fixed when a topic is made. More: more threads can share a stage.
    pub partitions: u32,
    /// What names of topics on the broker begin with, up to 64 characters out of a-z, 0-9, `.` and `-`.
    pub prefix: String,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self { partitions: 4, prefix: String::new() }
    }
}

/// How stages run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// Threads per stage, 1 to 1024; at most the partitions are of use. Left out: as many as there are processors.
    pub threads: Option<u32>,
    /// Time between commits, 1ms to 60s. More: fewer, larger transactions; less: fresher outputs.
    pub commit_interval: Span,
    /// Decoded state that each task keeps in memory, roughly; 1MiB at least.
    pub cache_bytes: ByteSize,
    /// How long an empty input of a stage is waited for before the others go on without it, 1ms to 60m.
    pub idle_max: Span,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            threads: None,
            commit_interval: Span::from_millis(100),
            cache_bytes: ByteSize(CACHE_BYTES_DEFAULT as u64),
            idle_max: Span::from_millis(1000),
        }
    }
}

/// Health and metrics over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address on loopback, as there is no access control, and port; with port 0 the log says which one it is.
    pub listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// A connector; exactly one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorConfig {
    /// Its name; names its cursor and its dead letters.
    pub name: String,
    /// Whose data it is where no column says so; `[a-z0-9-]{1,64}`.
    #[serde(default = "customer")]
    pub customer: String,
    /// Topics it writes.
    pub to: Vec<String>,
    /// Files.
    #[serde(default)]
    pub file: Option<file::Config>,
    /// A market that there is not.
    #[serde(default)]
    pub simulator: Option<simulator::Settings>,
}

fn customer() -> String {
    "default".into()
}

/// A stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Its name; names its group and its state.
    pub name: String,
    /// Topics it reads.
    pub from: Vec<String>,
    /// Its steps, first to last.
    pub steps: Vec<StepConfig>,
    /// Topics it publishes.
    pub to: Vec<String>,
}

/// A step of a stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "documented in their modules")]
pub enum StepConfig {
    Validate(validate::Config),
    Dedup(dedup::Config),
    Catalog(catalog::Config),
    Route(route::Config),
    Features(features::Config),
    Alerts(AlertsConfig),
}

/// Rules over figures.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsConfig {
    /// Their files: a path or a pattern, relative to the config.
    pub rules: String,
    /// What is in them.
    #[serde(skip)]
    pub read: Arc<alerts::Rules>,
}

/// A sink; exactly one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// Its name; its positions are stored under it.
    pub name: String,
    /// Topics it reads.
    pub from: Vec<String>,
    /// Tables for applications.
    #[serde(default)]
    pub serving: Option<serving::Config>,
    /// Tables for analysts.
    #[serde(default)]
    pub lake: Option<lake::Config>,
}
