//! Schemas by the ids of a registry: values come in and go out in Confluent framing, under its ids.
//!
//! ```text
//!   in:  which of our releases is this id?   asked once per id; the frame carries both from then on
//!   out: the id it came with, or that of its release under the subject `<topic>-value`, registered once
//! ```
//! While the registry is away, what is known goes on, and what is not waits. Only what is written registers anything: who
//! looks asks.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::RwLock;

use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use schema_registry_converter::blocking::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use serde_json::{Value, json};
use skuflow_schemas::{
    DEAD_LETTER_PREFIX, Family, LATE_PREFIX, carried_id, registry_id, release_of, schema_id, schema_json,
};

use super::limits::REGISTRY_ASK_MAX;
use super::topics::Examined;
use crate::broker::BrokerError;

/// What is asked of each subject: old and new programs read each other, during an upgrade and for ever.
const COMPATIBILITY: &str = "FULL_TRANSITIVE";
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";

/// Where a registry is, and what it is for. Not `Debug`: there is a password in it.
#[derive(Clone)]
pub struct RegistrySettings {
    /// Its address, with the path where it has one.
    pub url: String,
    /// User and password, where it wants them.
    pub user: Option<(String, String)>,
    /// The topics that hold events, by their name on the broker.
    pub topics: BTreeMap<String, Family>,
}

/// A schema registry, and what was heard from it.
pub(super) struct Registry {
    settings: RegistrySettings,
    client: SrSettings,
    http: Client,
    /// Our release of each of its ids; none where it is none of ours.
    releases: RwLock<HashMap<u32, Option<u32>>>,
    /// Its ids of what is written, by topic.
    registered: RwLock<HashMap<String, u32>>,
}

impl Registry {
    pub(super) fn new(settings: &RegistrySettings) -> Result<Self, BrokerError> {
        let fatal = |error: &dyn std::fmt::Display| BrokerError::Fatal(format!("the schema registry: {error}"));
        let url = settings.url.trim_end_matches('/').to_owned();
        let mut builder = SrSettings::new_builder(url.clone());
        builder.set_timeout(REGISTRY_ASK_MAX).no_proxy();
        if let Some((user, password)) = &settings.user {
            builder.set_basic_authorization(user, Some(password));
        }
        let (client, http) = apart(|| {
            let http = Client::builder().timeout(REGISTRY_ASK_MAX).no_proxy().build();
            (builder.build(), http)
        });
        Ok(Self {
            settings: RegistrySettings { url, ..settings.clone() },
            client: client.map_err(|error| fatal(&error))?,
            http: http.map_err(|error| fatal(&error))?,
            releases: RwLock::default(),
            registered: RwLock::default(),
        })
    }

    /// Registers what is written to each topic. Where the registry is away, that is left for when it is needed.
    ///
    /// # Errors
    /// `Fatal` where it refuses.
    pub(super) fn register_all(&self) -> Result<(), BrokerError> {
        for topic in self.settings.topics.keys() {
            match self.registered(topic) {
                Err(BrokerError::Retry(reason)) => {
                    tracing::warn!(reason, "the schema registry is away; what is not known yet waits for it");
                    return Ok(());
                }
                other => other.map(drop)?,
            }
        }
        Ok(())
    }

    /// For each topic whether its subject has our schema, or why it would not take it. Changes nothing.
    fn examine_all(&self) -> Result<Examined, BrokerError> {
        let subjects = self.ask("subjects", None)?;
        if !subjects.is_some_and(|subjects| subjects.is_array()) {
            return Err(BrokerError::Fatal("the schema registry: there are no subjects at its address".into()));
        }
        let topics = self.settings.topics.iter();
        topics.map(|(topic, family)| Ok((subject_of(topic).into(), self.examine(topic, *family)?))).collect()
    }

    fn examine(&self, topic: &str, family: Family) -> Result<Result<bool, String>, BrokerError> {
        let subject = subject_of(topic);
        let schema = json!({ "schema": schema_json(family) }).to_string();
        if self.ask(&format!("subjects/{subject}"), Some(&schema))?.is_some() {
            return Ok(Ok(true));
        }
        if self.ask(&format!("subjects/{subject}/versions"), None)?.is_none() {
            return Ok(Ok(false));
        }
        let compatible = self.ask(&format!("compatibility/subjects/{subject}/versions"), Some(&schema))?;
        if compatible.is_some_and(|answer| answer["is_compatible"] == false) {
            return Ok(Err(incompatible(topic, family)));
        }
        let level = self.ask(&format!("config/{subject}?defaultToGlobal=true"), None)?;
        if level.is_some_and(|level| level["compatibilityLevel"] == COMPATIBILITY) {
            return Ok(Ok(false));
        }
        Ok(Err(format!(
            "the subject {subject} has schemas of another program: whether {} is compatible shows when a run asks for \
             {COMPATIBILITY}; use another topics.prefix, or see who else writes to {topic}",
            family.name()
        )))
    }

    /// A value as it is used inside.
    pub(super) fn incoming<'a>(&self, topic: &str, value: &'a [u8]) -> Result<Cow<'a, [u8]>, BrokerError> {
        let Some(theirs) = framed_id(value).filter(|_| self.holds_events(topic)) else { return Ok(value.into()) };
        Ok(with_id(value, carried_id(theirs, self.release(theirs)?)))
    }

    /// A value as it is written to `topic`.
    pub(super) fn outgoing<'a>(&self, topic: &str, value: &'a [u8]) -> Result<Cow<'a, [u8]>, BrokerError> {
        let Some(id) = framed_id(value).filter(|_| self.holds_events(topic)) else { return Ok(value.into()) };
        if let Some(theirs) = registry_id(id) {
            return Ok(with_id(value, theirs));
        }
        let family = self.settings.topics.get(origin(topic));
        if topic.starts_with(DEAD_LETTER_PREFIX) || family.is_none_or(|family| schema_id(*family) != id) {
            return Ok(value.into());
        }
        Ok(with_id(value, self.registered(origin(topic))?))
    }

    /// Dead letters and late copies hold what their topic does.
    fn holds_events(&self, topic: &str) -> bool {
        self.settings.topics.contains_key(origin(topic))
    }

    fn release(&self, theirs: u32) -> Result<Option<u32>, BrokerError> {
        if let Some(release) = self.releases.read().expect("no holder panics").get(&theirs) {
            return Ok(*release);
        }
        let release = match apart(|| get_schema_by_id(theirs, &self.client)) {
            Ok(schema) => release_of(&schema.schema),
            Err(error) if status(&error) == Some(404) => None,
            Err(error) => return Err(self.away(&error)),
        };
        self.releases.write().expect("no holder panics").insert(theirs, release);
        Ok(release)
    }

    /// The registry's id of the schema that is written to `topic`.
    fn registered(&self, topic: &str) -> Result<u32, BrokerError> {
        if let Some(id) = self.registered.read().expect("no holder panics").get(topic) {
            return Ok(*id);
        }
        let family = self.settings.topics[topic];
        let subject = subject_of(topic);
        let schema = SuppliedSchema::new(None, SchemaType::Avro, schema_json(family).to_owned());
        let id = apart(|| {
            self.require_compatibility(&subject)?;
            post_schema(&self.client, subject.clone(), schema).map_err(|error| match status(&error) {
                Some(409) => BrokerError::Fatal(incompatible(topic, family)),
                _ => self.away(&error),
            })
        })?
        .id;
        self.registered.write().expect("no holder panics").insert(topic.to_owned(), id);
        Ok(id)
    }

    fn require_compatibility(&self, subject: &str) -> Result<(), BrokerError> {
        let request = self.request(Method::PUT, &format!("config/{subject}"));
        let answer = request.body(json!({ "compatibility": COMPATIBILITY }).to_string()).send();
        match answer.map_err(unreachable)?.status() {
            status if status.is_success() => Ok(()),
            status if status.is_server_error() => Err(BrokerError::Retry(format!("the schema registry: {status}"))),
            status => Err(BrokerError::Fatal(format!(
                "the schema registry does not let this program set the compatibility of {subject} to {COMPATIBILITY}: \
                 {status}; give its user that right"
            ))),
        }
    }

    /// A request that the registry's client has no call for.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/{path}", self.settings.url));
        let request = request.header(CONTENT_TYPE, CONTENT);
        match &self.settings.user {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// The answer to a question, which may be about a schema; none where what it asks about is not there.
    fn ask(&self, path: &str, schema: Option<&str>) -> Result<Option<Value>, BrokerError> {
        let question = match schema {
            Some(schema) => self.request(Method::POST, path).body(schema.to_owned()),
            None => self.request(Method::GET, path),
        };
        let answer = question.send().map_err(unreachable)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let answer = serde_json::from_str(&answer.text().map_err(unreachable)?);
                answer.map_err(|_| BrokerError::Fatal("the schema registry: its answer is no JSON".into()))
            }
            status if status.is_server_error() => Err(BrokerError::Retry(format!("the schema registry: {status}"))),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(BrokerError::Fatal(format!(
                "the schema registry: {status}; set broker.kafka.registry.user and password, or give this user the right"
            ))),
            status => Err(BrokerError::Fatal(format!("the schema registry: {status}"))),
        }
    }

    fn away(&self, error: &SRCError) -> BrokerError {
        let cause = error.cause.as_deref().unwrap_or_default().replace(&self.settings.url, "its address");
        let reason = format!("the schema registry: {}: {cause}", error.error);
        match status(error) {
            Some(400..500) => BrokerError::Fatal(reason),
            _ => BrokerError::Retry(reason),
        }
    }
}

/// Asks a registry, for each topic, whether its subject has this program's schema already or would take it. Nothing is
/// registered.
///
/// # Errors
/// Where it does not answer as a registry does.
pub fn examine_schemas(settings: &RegistrySettings) -> Result<Examined, BrokerError> {
    let registry = Registry::new(settings)?;
    apart(|| registry.examine_all())
}

fn subject_of(topic: &str) -> String {
    format!("{topic}-value")
}

fn incompatible(topic: &str, family: Family) -> String {
    format!(
        "the schema registry refuses this program's schema {} under the subject {}: it is not compatible with what is \
         there; use another topics.prefix, or see who else writes to {topic}",
        family.name(),
        subject_of(topic)
    )
}

/// No answer, and why: the address stays out of it.
fn unreachable(error: reqwest::Error) -> BrokerError {
    let error = error.without_url();
    let mut reason: &dyn std::error::Error = &error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    BrokerError::Retry(format!("the schema registry: {reason}"))
}

/// The topic whose dead letters or late copies `topic` holds, or itself.
fn origin(topic: &str) -> &str {
    let origin = topic.strip_prefix(DEAD_LETTER_PREFIX).or_else(|| topic.strip_prefix(LATE_PREFIX));
    origin.unwrap_or(topic)
}

/// Calls on a thread of its own: the client must not be used on one that drives async work, as those of sinks do.
fn apart<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(call).join().expect("the client does not panic"))
}

/// The id in front of a framed value.
fn framed_id(value: &[u8]) -> Option<u32> {
    match value {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

fn with_id(value: &[u8], id: u32) -> Cow<'_, [u8]> {
    let mut value = value.to_vec();
    value[1..5].copy_from_slice(&id.to_be_bytes());
    value.into()
}

/// The HTTP status that an error tells of.
fn status(error: &SRCError) -> Option<u16> {
    error.error.split_once("with status ")?.1.split(' ').next()?.parse().ok()
}
