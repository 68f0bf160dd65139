//! Checks how a Kafka cluster is reached.

use std::ops::RangeInclusive;

use skuflow_runtime::broker::kafka::{Mechanism, refusal};
use skuflow_schemas::Span;

use super::{Check, Sources};
use crate::config::model::{KafkaConfig, RegistryConfig, SaslConfig, Secret, TlsConfig};
use crate::config::tree::At::{self, Field};

const PLACE: [At<'_>; 2] = [Field("broker"), Field("kafka")];
/// What a cluster allows unless it is configured otherwise.
const SESSION_TIMEOUTS: RangeInclusive<Span> = Span::from_millis(6_000)..=Span::from_millis(1_800_000);
/// At most what a cluster allows unless it is configured otherwise.
const TRANSACTION_TIMEOUTS: RangeInclusive<Span> = Span::from_millis(1_000)..=Span::from_millis(900_000);
const TLS: [&str; 2] = ["security", "tls"];
const SASL: [&str; 2] = ["security", "sasl"];

impl Check<'_> {
    pub(super) fn kafka(&mut self, kafka: &KafkaConfig, sources: Sources<'_>) {
        if kafka.bootstrap_servers.trim().is_empty() {
            self.at_kafka("SKU-020", &["bootstrap_servers"], "no server is named", "write \"localhost:9092\"");
        }
        self.times(kafka);
        for (name, value) in &kafka.properties {
            if let Some(refusal) = refusal(name, value, kafka.security.is_some()) {
                self.at_kafka("SKU-020", &["properties", name], &refusal, "remove it");
            }
        }
        if let Some(registry) = &kafka.registry {
            self.registry(registry, sources);
        }
        let Some(security) = &kafka.security else { return };
        if security.tls.is_none() && security.sasl.is_none() {
            self.at_kafka(
                "SKU-012",
                &["security"],
                "it secures nothing",
                "write tls = {}, or sasl = { … }, or remove it",
            );
        }
        if let Some(tls) = &security.tls {
            self.tls(tls, sources);
        }
        if let Some(sasl) = &security.sasl {
            self.sasl(sasl, security.tls.is_some(), sources);
        }
    }

    fn times(&mut self, kafka: &KafkaConfig) {
        let KafkaConfig { session_timeout, transaction_timeout, .. } = kafka;
        self.range(&["broker", "kafka", "session_timeout"], *session_timeout, SESSION_TIMEOUTS);
        self.range(&["broker", "kafka", "transaction_timeout"], *transaction_timeout, TRANSACTION_TIMEOUTS);
        let commit_interval = self.config.runtime.commit_interval;
        if TRANSACTION_TIMEOUTS.contains(transaction_timeout)
            && transaction_timeout.micros() < 2 * commit_interval.micros()
        {
            let message = format!(
                "a `transaction_timeout` of {transaction_timeout} is less than twice the `commit_interval` of {commit_interval}"
            );
            self.at_kafka(
                "SKU-020",
                &["transaction_timeout"],
                &message,
                "choose a longer `transaction_timeout`, or commit more often",
            );
        }
    }

    fn registry(&mut self, registry: &RegistryConfig, sources: Sources<'_>) {
        let path = ["registry", "password"];
        let Some(password) = &registry.password else { return };
        if registry.user.is_none() {
            self.at_kafka("SKU-020", &path, "there is no user whose password it is", "add user = \"…\", or remove it");
        }
        self.secret(&path, password, sources);
    }

    fn tls(&mut self, tls: &TlsConfig, sources: Sources<'_>) {
        for (field, file) in [("ca", &tls.ca), ("certificate", &tls.certificate)] {
            let Some(file) = file else { continue };
            if let Err(error) = std::fs::metadata(sources.0.join(file)) {
                let message = format!("the file `{file}` cannot be read: {error}");
                self.at_kafka("SKU-004", &[&TLS[..], &[field]].concat(), &message, "name a file of PEM certificates");
            }
        }
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => {
                self.at_kafka(
                    "SKU-012",
                    &TLS,
                    "a certificate is of no use without its `key`",
                    "key = { file = \"…\" }",
                );
            }
            (None, Some(_)) => {
                self.at_kafka("SKU-012", &TLS, "a key is of no use without its `certificate`", "certificate = \"…\"");
            }
            _ => {}
        }
        if tls.key.is_none() && tls.key_password.is_some() {
            let path = [TLS[0], TLS[1], "key_password"];
            self.at_kafka("SKU-020", &path, "there is no key that it opens", "remove it");
        }
        for (field, secret) in [("key", &tls.key), ("key_password", &tls.key_password)] {
            if let Some(secret) = secret {
                self.secret(&[TLS[0], TLS[1], field], secret, sources);
            }
        }
    }

    fn sasl(&mut self, sasl: &SaslConfig, has_tls: bool, sources: Sources<'_>) {
        let at = |field| [SASL[0], SASL[1], field];
        if sasl.user.is_empty() {
            self.at_kafka("SKU-020", &at("user"), "the user has no name", "");
        }
        let is_bare = sasl.mechanism == Mechanism::Plain && !has_tls;
        if is_bare && !sasl.dangerously_unencrypted {
            let message = "without `tls`, `plain` shows the password to everybody on the way";
            let help = "add tls = {}, use \"scram-sha-512\", or write dangerously_unencrypted = true";
            self.at_kafka("SKU-020", &at("mechanism"), message, help);
        } else if sasl.dangerously_unencrypted && !is_bare {
            let message = "no password is sent unencrypted here";
            self.at_kafka("SKU-020", &at("dangerously_unencrypted"), message, "remove it");
        }
        self.secret(&at("password"), &sasl.password, sources);
    }

    fn secret(&mut self, path: &[&str], secret: &Secret, (base, variable): Sources<'_>) {
        if let Err(reason) = secret.read(base, variable) {
            self.at_kafka("SKU-004", path, &reason, "write { env = \"NAME\" } or { file = \"path\" }");
        }
    }

    fn at_kafka(&mut self, code: &'static str, path: &[&str], message: &str, help: &str) {
        let path: Vec<At<'_>> = PLACE.into_iter().chain(path.iter().map(|field| Field(field))).collect();
        self.report(code, &path, message.into(), help);
    }
}
