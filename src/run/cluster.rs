//! A Kafka cluster, reached as the config says.

use skuflow_runtime::broker::BrokerError;
use skuflow_runtime::broker::kafka::{
    Examined, Identity, Kafka, RegistrySettings, Sasl, Security, Settings, Tls, examine_schemas,
};
use skuflow_runtime::clock::Clock;

use super::OpenError;
use crate::config::{KafkaConfig, Loaded, RegistryConfig, SaslConfig, Secret, SecurityConfig, TlsConfig};
use crate::names::Names;

/// Connects. Changes nothing.
pub(super) fn connect(loaded: &Loaded, kafka: &KafkaConfig) -> Result<Kafka, OpenError> {
    Kafka::connect(settings(loaded, kafka)?, Clock::System).map_err(refused)
}

/// Makes what a run needs of a cluster, and of its registry; what is there has to be fit.
pub(super) fn prepare(cluster: &Kafka, names: Names<'_>) -> Result<(), OpenError> {
    cluster.register_schemas().map_err(refused)?;
    let wrong = cluster.ensure_topics(&names.needs())?;
    if wrong.is_empty() { Ok(()) } else { Err(OpenError::Topics(wrong)) }
}

/// The topics that a run needs of the cluster: whether each is there, or what is wrong with it. Changes nothing.
pub(crate) fn topics(loaded: &Loaded, kafka: &KafkaConfig) -> Result<Examined, OpenError> {
    Ok(connect(loaded, kafka)?.examine_topics(&Names(&loaded.config).needs())?)
}

/// The subjects that a run needs of the schema registry: whether each has its schema, or why it would not take it. Changes
/// nothing.
pub(crate) fn subjects(loaded: &Loaded, config: &RegistryConfig) -> Result<Examined, String> {
    let settings = registry(loaded, config).map_err(|error| error.to_string())?;
    examine_schemas(&settings).map_err(|error| error.to_string())
}

fn refused(error: BrokerError) -> OpenError {
    match error {
        BrokerError::Fatal(reason) => OpenError::Refused(reason),
        other => other.into(),
    }
}

fn settings(loaded: &Loaded, kafka: &KafkaConfig) -> Result<Settings, OpenError> {
    let usual = Settings::new(&kafka.bootstrap_servers, &loaded.config.name, loaded.data_dir().join("state"));
    let security = kafka.security.as_ref().map(|config| security(loaded, config)).transpose()?;
    let registry = kafka.registry.as_ref().map(|config| registry(loaded, config)).transpose()?;
    Ok(Settings {
        registry,
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
