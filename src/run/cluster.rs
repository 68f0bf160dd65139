//! A Kafka cluster, reached as the config says.

use skuflow_runtime::broker::BrokerError;
use skuflow_runtime::broker::kafka::{Examined, Identity, Kafka, RegistrySettings, Sasl, Security, Settings, Tls};
use skuflow_runtime::clock::Clock;

use super::OpenError;
use crate::config::{KafkaConfig, Loaded, RegistryConfig, SaslConfig, Secret, SecurityConfig, TlsConfig};
use crate::names::Names;

/// Connects, and registers schemas where there is a registry.
pub(super) fn connect(loaded: &Loaded, kafka: &KafkaConfig) -> Result<Kafka, OpenError> {
    let registry = kafka.registry.as_ref().map(|config| registry(loaded, config)).transpose()?;
    open(Settings { registry, ..settings(loaded, kafka)? })
}

/// The topics that a run needs of the cluster: whether each is there, or what is wrong with it. Changes nothing.
pub(crate) fn topics(loaded: &Loaded, kafka: &KafkaConfig) -> Result<Examined, OpenError> {
    Ok(open(settings(loaded, kafka)?)?.examine_topics(&Names(&loaded.config).needs())?)
}

fn open(settings: Settings) -> Result<Kafka, OpenError> {
    Kafka::connect(settings, Clock::System).map_err(|error| match error {
        BrokerError::Fatal(reason) => OpenError::Refused(reason),
        other => other.into(),
    })
}

fn settings(loaded: &Loaded, kafka: &KafkaConfig) -> Result<Settings, OpenError> {
    let usual = Settings::new(&kafka.bootstrap_servers, &loaded.config.name, loaded.data_dir().join("state"));
    let security = kafka.security.as_ref().map(|config| security(loaded, config)).transpose()?;
    Ok(Settings {
        replication: kafka.replication,
        security: security.unwrap_or_default(),
        properties: kafka.properties.clone(),
        ..usual
    })
}

fn registry(loaded: &Loaded, config: &RegistryConfig) -> Result<RegistrySettings, OpenError> {
    let RegistryConfig { url, user, password } = config;
    let password = password.as_ref().map(|secret| read(loaded, secret)).transpose()?.unwrap_or_default();
    let user = user.clone().map(|user| (user, password));
    Ok(RegistrySettings { url: url.clone(), user, topics: Names(&loaded.config).events() })
}

fn security(loaded: &Loaded, config: &SecurityConfig) -> Result<Security, OpenError> {
    Ok(Security {
        tls: config.tls.as_ref().map(|config| tls(loaded, config)).transpose()?,
        sasl: config.sasl.as_ref().map(|config| sasl(loaded, config)).transpose()?,
    })
}

fn tls(loaded: &Loaded, config: &TlsConfig) -> Result<Tls, OpenError> {
    let file = |path: &String| loaded.base.join(path);
    let identity = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => Some(Identity {
            certificate: file(certificate),
            key: read(loaded, key)?,
            key_password: config.key_password.as_ref().map(|secret| read(loaded, secret)).transpose()?,
        }),
        _ => None,
    };
    Ok(Tls { ca: config.ca.as_ref().map(file), identity })
}

fn sasl(loaded: &Loaded, config: &SaslConfig) -> Result<Sasl, OpenError> {
    let SaslConfig { mechanism, user, password, .. } = config;
    Ok(Sasl { mechanism: *mechanism, user: user.clone(), password: read(loaded, password)? })
}

fn read(loaded: &Loaded, secret: &Secret) -> Result<String, OpenError> {
    secret.read(&loaded.base, &|name| std::env::var(name).ok()).map_err(OpenError::Refused)
}
