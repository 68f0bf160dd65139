//! Who we are to the cluster, and how we know that it is the cluster. Not `Debug`: there are secrets in it.

use std::path::PathBuf;

use rdkafka::config::ClientConfig;
use serde::Deserialize;

/// How a cluster is reached safely; with neither, in plain text by anybody.
#[derive(Clone, Default)]
pub struct Security {
    /// Encryption, and the cluster's proof of itself.
    pub tls: Option<Tls>,
    /// A user.
    pub sasl: Option<Sasl>,
}

/// The cluster has to show a certificate for its name; that cannot be turned off.
#[derive(Clone, Default)]
pub struct Tls {
    /// File of the authorities that are believed; left out: those of this machine.
    pub ca: Option<PathBuf>,
    /// A certificate of our own, where the cluster asks for one.
    pub identity: Option<Identity>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// File of the certificate, and of those between it and an authority.
    pub certificate: PathBuf,
    /// The key, as PEM.
    pub key: String,
    /// What the key is encrypted with, if it is.
    pub key_password: Option<String>,
}

/// A user and how the password is shown.
#[derive(Clone)]
pub struct Sasl {
    /// How.
    pub mechanism: Mechanism,
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// How a password is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// As it is.
    #[serde(rename = "plain")]
    Plain,
    /// By a proof, with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By a proof, with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// What [`Security`] sets.
const PROPERTIES: &[&str] = &[
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.password",
    "ssl.key.pem",
];

/// Whether a property of the client is one that [`Security`] sets.
pub fn is_security(property: &str) -> bool {
    PROPERTIES.contains(&property)
}

/// Whether a property lets anybody pass for the cluster.
pub fn is_blindness(property: &str, value: &str) -> bool {
    match property {
        "enable.ssl.certificate.verification" => value != "true",
        "ssl.endpoint.identification.algorithm" => value != "https",
        _ => false,
    }
}

impl Security {
    pub(super) fn is_none(&self) -> bool {
        self.tls.is_none() && self.sasl.is_none()
    }

    pub(super) fn apply(&self, config: &mut ClientConfig) {
        if self.is_none() {
            return; // what the properties say holds
        }
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(Tls { ca, identity }) = &self.tls {
            if let Some(ca) = ca {
                config.set("ssl.ca.location", ca.display().to_string());
            }
            if let Some(Identity { certificate, key, key_password }) = identity {
                config.set("ssl.certificate.location", certificate.display().to_string()).set("ssl.key.pem", key);
                if let Some(password) = key_password {
                    config.set("ssl.key.password", password);
                }
            }
        }
        if let Some(Sasl { mechanism, user, password }) = &self.sasl {
            let mechanism = match mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_is_refused_elsewhere() {
        let identity = Identity { certificate: "c".into(), key: "k".into(), key_password: Some("p".into()) };
        let tls = Tls { ca: Some("a".into()), identity: Some(identity) };
        let sasl = Sasl { mechanism: Mechanism::Plain, user: "u".into(), password: "p".into() };
        let mut config = ClientConfig::new();
        Security { tls: Some(tls), sasl: Some(sasl) }.apply(&mut config);
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert!(config.config_map().keys().all(|property| is_security(property)), "{:?}", config.config_map());
    }

    #[test]
    fn the_protocol_follows_from_what_is_given() {
        let sasl = Sasl { mechanism: Mechanism::ScramSha256, user: "u".into(), password: "p".into() };
        for (tls, sasl, protocol) in
            [(None, None, None), (Some(Tls::default()), None, Some("ssl")), (None, Some(sasl), Some("sasl_plaintext"))]
        {
            let mut config = ClientConfig::new();
            Security { tls, sasl }.apply(&mut config);
            assert_eq!(config.get("security.protocol"), protocol);
        }
    }
}
