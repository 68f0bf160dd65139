//! Any catalog that speaks Iceberg's REST protocol: it writes the metadata files, and moves the pointer if what a commit
//! requires holds. See <https://iceberg.apache.org/rest-catalog-spec/>.

use async_trait::async_trait;
use iceberg::spec::{MAIN_BRANCH, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::address::{Address, Login, Rest};
use super::{Catalog, Entry, Swap};
use crate::SinkError;
use crate::lake::steps::{Step, Steps};
use crate::lake::storage::fault;
use crate::lake::tables::Table;
use crate::limits::{CATALOG_ANSWER_TIMEOUT, CATALOG_CONNECT_TIMEOUT};

/// What a token is to be good for unless it is said.
const SCOPE: &str = "catalog";
/// Characters of an answer that is no JSON, in a message.
const ANSWER_CHARS: usize = 200;

/// A catalog behind an address.
pub(super) struct RestCatalog {
    address: Rest,
    client: Client,
    /// Up to `/namespaces`.
    root: String,
    token: Option<String>,
}

/// An answer.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// Why there is none.
enum Silence {
    /// The question did not reach it.
    Unasked(String),
    /// The question may have reached it.
    Lost(String),
}

/// A table as the catalog tells it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Loaded {
    metadata_location: String,
    metadata: Box<RawValue>,
}

/// What the catalog wants of its clients.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    defaults: Properties,
    overrides: Properties,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Properties {
    prefix: Option<String>,
    uri: Option<String>,
}

impl RestCatalog {
    /// Asks the catalog how it wants to be asked.
    pub(super) async fn open(address: &Rest) -> Result<Self, SinkError> {
        let client = Client::builder()
            .user_agent("skuflow")
            .connect_timeout(CATALOG_CONNECT_TIMEOUT)
            .timeout(CATALOG_ANSWER_TIMEOUT)
            .pool_max_idle_per_host(0) // a connection that went stale would be an answer that got lost
            .build();
        let client = client.map_err(|error| SinkError::Fatal(format!("TLS cannot be used: {error}")))?;
        let base = address.url.as_str().trim_end_matches('/').to_owned();
        let mut catalog = Self { address: address.clone(), client, root: String::new(), token: None };
        let mut config = Url::parse(&format!("{base}/v1/config")).expect("a URL with a path");
        if let Some(warehouse) = &address.warehouse {
            config.query_pairs_mut().append_pair("warehouse", warehouse);
        }
        let answer =
            catalog.ask(Method::GET, config.as_str(), None).await.map_err(|silence| catalog.silent(silence))?;
        if answer.status == StatusCode::NOT_FOUND {
            let wrong = "the catalog's `url` or `warehouse` names no Iceberg REST catalog; correct it";
            return Err(SinkError::Fatal(format!("{}: {}; {wrong}", catalog.shown(), answer.said())));
        }
        let Wanted { defaults, overrides } = catalog.read(&catalog.good(answer)?)?;
        let base = overrides.uri.map_or(base, |uri| uri.trim_end_matches('/').to_owned());
        let prefix = overrides.prefix.or(defaults.prefix).map(|prefix| format!("/{prefix}")).unwrap_or_default();
        catalog.root = format!("{base}/v1{prefix}");
        Ok(catalog)
    }

    fn shown(&self) -> String {
        Address::Rest(self.address.clone()).to_string()
    }

    fn tables(&self, zone: &str) -> String {
        format!("{}/namespaces/{zone}/tables", self.root)
    }

    async fn find(&mut self, table: &Table) -> Result<Option<Loaded>, SinkError> {
        let url = format!("{}/{}", self.tables(table.zone), table.name);
        let answer = self.ask(Method::GET, &url, None).await.map_err(|silence| self.silent(silence))?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(&self.good(answer)?).map(Some)
    }

    /// Makes something; that it is there already is fine.
    async fn make(&mut self, url: &str, body: Value) -> Result<(), SinkError> {
        let answer = self.ask(Method::POST, url, Some(&body)).await.map_err(|silence| self.silent(silence))?;
        if answer.status == StatusCode::CONFLICT { Ok(()) } else { self.good(answer).map(drop) }
    }

    /// Asks, with a new token where the old one is not good any more.
    async fn ask(&mut self, method: Method, url: &str, body: Option<&Value>) -> Result<Answer, Silence> {
        let is_new = self.enter().await?;
        let answer = self.ask_once(method.clone(), url, body).await?;
        if is_new || !matches!(answer.status.as_u16(), 401 | 419) {
            return Ok(answer);
        }
        self.token = None;
        if !self.enter().await? {
            return Ok(answer);
        }
        self.ask_once(method, url, body).await
    }

    async fn ask_once(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Answer, Silence> {
        let mut request = self.client.request(method, url).header("accept", "application/json");
        let given = match &self.address.entry {
            Some(Login::Token(token)) => Some(token),
            _ => self.token.as_ref(),
        };
        if let Some(token) = given {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// Gets a token where one is needed; whether it did.
    async fn enter(&mut self) -> Result<bool, Silence> {
        let Some(Login::Client { id, secret, server, scope }) = &self.address.entry else { return Ok(false) };
        if self.token.is_some() {
            return Ok(false);
        }
        let here = || format!("{}/v1/oauth/tokens", self.address.url.as_str().trim_end_matches('/'));
        let server = server.as_ref().map_or_else(here, Url::to_string);
        let scope = scope.as_deref().unwrap_or(SCOPE);
        let fields =
            [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret), ("scope", scope)];
        let form = Url::parse_with_params("form:", fields).expect("a URL");
        let request = self.client.post(&server).header("content-type", "application/x-www-form-urlencoded");
        let given = answer(request.body(form.query().unwrap_or_default().to_owned())).await;
        let given = given.map_err(|silence| Silence::Unasked(silence.text()))?;
        let token = serde_json::from_slice::<Value>(&given.body).ok();
        let token = token.and_then(|token| token.get("access_token")?.as_str().map(str::to_owned));
        self.token = token.filter(|_| given.status.is_success());
        if self.token.is_none() && given.status.is_server_error() {
            return Err(Silence::Unasked(format!("no token: {}", given.said())));
        }
        Ok(self.token.is_some()) // without one the catalog itself says what it wants
    }

    /// An answer that says that something was done.
    fn good(&self, answer: Answer) -> Result<Answer, SinkError> {
        let status = answer.status;
        if status.is_success() {
            return Ok(answer);
        }
        let text = format!("{}: {}", self.shown(), answer.said());
        if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
            return Err(SinkError::Retry(text));
        }
        Err(SinkError::Fatal(match status.as_u16() {
            401 | 403 | 419 => {
                format!("{text}; correct the catalog's `credential` or `token`, or let it read and write tables")
            }
            _ => format!("{text}; the catalog does not take what skuflow asks of it"),
        }))
    }

    fn read<'a, T: Deserialize<'a>>(&self, answer: &'a Answer) -> Result<T, SinkError> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            let wrong = "the catalog's `url` is no Iceberg REST catalog's; correct it";
            SinkError::Fatal(format!("{}: {error} in \"{}\"; {wrong}", self.shown(), answer.said()))
        })
    }

    fn silent(&self, silence: Silence) -> SinkError {
        SinkError::Retry(format!("{}: {}", self.shown(), silence.text()))
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    fn places_tables(&self) -> bool {
        true
    }

    async fn pointer(&mut self, table: &Table) -> Result<Option<String>, SinkError> {
        Ok(self.find(table).await?.map(|found| found.metadata_location))
    }

    async fn load(&mut self, table: &Table) -> Result<Option<Entry>, SinkError> {
        let Some(Loaded { metadata_location: location, metadata }) = self.find(table).await? else { return Ok(None) };
        let metadata = serde_json::from_str(metadata.get());
        let metadata = metadata.map_err(|error| SinkError::Fatal(format!("{location}: {error}")))?;
        Ok(Some(Entry { location, metadata }))
    }

    async fn create(&mut self, table: &Table, metadata: &TableMetadata) -> Result<(), SinkError> {
        let namespaces = format!("{}/namespaces", self.root);
        self.make(&namespaces, json!({ "namespace": [table.zone], "properties": {} })).await?;
        let mut properties = metadata.properties().clone();
        properties.insert("format-version".into(), "2".into());
        let body = json!({
            "name": table.name, "schema": metadata.current_schema(), "properties": properties, "stage-create": false,
            "partition-spec": metadata.default_partition_spec(), "write-order": metadata.default_sort_order(),
        });
        self.make(&self.tables(table.zone), body).await
    }

    /// The table's identity, its snapshot and its schema must be what `entry` says. A change that leaves all three, like one of
    /// properties alone, goes in beside others; so positions move with snapshots only.
    async fn swap(
        &mut self,
        table: &Table,
        Entry { metadata, .. }: Entry,
        changes: Vec<TableUpdate>,
        steps: &mut Steps,
    ) -> Result<Swap, SinkError> {
        let requirements = [
            TableRequirement::UuidMatch { uuid: metadata.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.into(),
                snapshot_id: metadata.current_snapshot_id(),
            },
            TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
        ];
        let body = json!({
            "identifier": { "namespace": [table.zone], "name": table.name },
            "requirements": requirements, "updates": changes,
        });
        steps.reach(Step::Described).map_err(fault)?;
        let url = format!("{}/{}", self.tables(table.zone), table.name);
        let answer = match self.ask(Method::POST, &url, Some(&body)).await {
            Ok(answer) => answer,
            Err(Silence::Lost(reason)) => {
                tracing::warn!(table = table.full_name, reason, "no answer to a commit; it is looked up");
                return Ok(Swap::Unknown);
            }
            Err(unasked) => return Err(self.silent(unasked)),
        };
        match answer.status {
            // taken away: the next load says so
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Swap::Lost),
            status if status.is_server_error() => Ok(Swap::Unknown),
            _ => self.good(answer).map(|_| Swap::Won),
        }
    }
}

async fn answer(request: RequestBuilder) -> Result<Answer, Silence> {
    let answered = async {
        let response = request.send().await?;
        Ok(Answer { status: response.status(), body: response.bytes().await?.into() })
    };
    answered.await.map_err(|error: reqwest::Error| {
        let is_unasked = error.is_connect() || error.is_builder();
        let text = bottom(&error.without_url());
        if is_unasked { Silence::Unasked(text) } else { Silence::Lost(text) }
    })
}

/// What went wrong, and what is at the bottom of it.
fn bottom(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let (outer, inner) = (error.to_string(), cause.to_string());
    if outer == inner { outer } else { format!("{outer}: {inner}") }
}

impl Silence {
    fn text(self) -> String {
        match self {
            Self::Unasked(text) | Self::Lost(text) => text,
        }
    }
}

impl Answer {
    /// The status, and what the catalog says of it.
    fn said(&self) -> String {
        let error = serde_json::from_slice::<Value>(&self.body).ok();
        let message = error.as_ref().and_then(|error| error.pointer("/error/message")?.as_str());
        let text = message.map_or_else(|| String::from_utf8_lossy(&self.body).into_owned(), str::to_owned);
        let text: String = text.chars().take(ANSWER_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{} {}", self.status.as_u16(), text.trim()).trim().to_owned()
    }
}

#[cfg(test)]
mod tests;
