//! Opens the broker of a config.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use skuflow_runtime::broker::embedded::{Embedded, Keep};
use skuflow_runtime::broker::kafka::Kafka;
use skuflow_runtime::broker::{Broker, BrokerError};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::storage::{EngineError, Options};

use super::cluster;
use crate::config::Loaded;
use crate::names::Names;

/// Why the broker or a station could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{0}")]
    InUse(String),
    /// It cannot be opened now.
    #[error("the data directory cannot be opened: {0}")]
    Io(String),
    /// The cluster does not answer.
    #[error("the Kafka cluster cannot be reached: {0}")]
    Unreachable(String),
    /// The cluster, or the schema registry, does not take what the config says.
    #[error("{0}")]
    Refused(String),
    /// Topics of the cluster that cannot be used as they are.
    #[error("{}", .0.join("; "))]
    Topics(Vec<String>),
    /// What is stored is damaged, or not for this config.
    #[error("{0}")]
    Data(String),
}

impl From<EngineError> for OpenError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Locked { .. } => Self::InUse(error.to_string()),
            EngineError::Retry(reason) | EngineError::Unknown(reason) => Self::Io(reason),
            other => Self::Data(other.to_string()),
        }
    }
}

impl From<BrokerError> for OpenError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Fatal(reason) => Self::Data(reason),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// Whether a run has made this directory its own; opening any other would make it one.
pub fn is_data_dir(dir: &Path) -> bool {
    ["lock", "identity.json", "high-water"].iter().any(|file| dir.join(file).exists())
}

/// The broker of a run, and what only one kind of it has.
#[derive(Clone)]
pub enum Opened {
    /// In the data directory.
    Embedded(Embedded),
    /// A cluster.
    Kafka(Kafka),
}

impl Deref for Opened {
    type Target = dyn Broker;

    fn deref(&self) -> &(dyn Broker + 'static) {
        match self {
            Self::Embedded(broker) => broker,
            Self::Kafka(broker) => broker,
        }
    }
}

impl Opened {
    /// The broker, for who keeps it.
    pub fn shared(&self) -> Arc<dyn Broker> {
        match self {
            Self::Embedded(broker) => Arc::new(broker.clone()),
            Self::Kafka(broker) => Arc::new(broker.clone()),
        }
    }

    /// Makes what a run of a config needs: topics, and schemas where there is a registry. What is there has to be fit.
    pub(super) fn prepare(&self, names: Names<'_>) -> Result<(), OpenError> {
        match self {
            Self::Embedded(broker) => {
                let partitions = names.0.topics.partitions;
                names.all_topics().iter().try_for_each(|topic| broker.ensure_topic(topic, partitions).map(drop))?;
                Ok(())
            }
            Self::Kafka(broker) => cluster::prepare(broker, names),
        }
    }

    /// Why the directory cannot be used now, if it cannot. Of a cluster the stations say it.
    pub(super) fn trouble(&self) -> Option<String> {
        match self {
            Self::Embedded(broker) => broker.trouble(),
            Self::Kafka(_) => None,
        }
    }

    /// Drops what is old; a cluster does it by itself.
    pub(super) fn retain(&self, keep: &Keep<'_>) -> Result<(), BrokerError> {
        match self {
            Self::Embedded(broker) => broker.retain(keep),
            Self::Kafka(_) => Ok(()),
        }
    }

    /// Bytes of a topic on this machine's disk.
    pub(super) fn topic_bytes(&self, topic: &str) -> Option<u64> {
        match self {
            Self::Embedded(broker) => broker.topic_bytes(topic).ok(),
            Self::Kafka(_) => None,
        }
    }
}

/// Opens the broker that the config names.
///
/// # Errors
/// See [`OpenError`].
pub fn open_broker(loaded: &Loaded) -> Result<Opened, OpenError> {
    let data_dir = loaded.data_dir();
    let Some(kafka) = &loaded.config.broker.kafka else {
        return Ok(Opened::Embedded(Embedded::open(&data_dir, Options::default(), Clock::System)?));
    };
    std::fs::create_dir_all(&data_dir).map_err(|error| OpenError::Io(error.to_string()))?;
    Ok(Opened::Kafka(cluster::connect(loaded, kafka)?))
}
