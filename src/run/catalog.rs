//! The lakes of a config as an Iceberg REST catalog that only reads, for who attaches by URL, and what they tell beyond it.
//! See <https://iceberg.apache.org/rest-catalog-spec/>.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use skuflow_sinks::SinkError;
use skuflow_sinks::lake::{Place, TABLES, Teller, Told};

use crate::config::{Config, Loaded};

/// What is answered, as the specification lists it.
const ENDPOINTS: [&str; 7] = [
    "GET /v1/config",
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
];

/// A status and its JSON.
pub(super) type Answer = (StatusCode, Value);

/// Where the questions begin that are answered here.
pub(super) const ROOT: &str = "/v1/";

/// Answers a request whose path, behind [`ROOT`], is `path`.
pub(super) fn answer(method: &Method, path: &str, query: &str, loaded: &Loaded) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return error(
            StatusCode::FORBIDDEN,
            "ForbiddenException",
            "this catalog only reads; `skuflow run` writes the lake",
        );
    }
    let lakes = lakes(&loaded.config);
    if path == "config" {
        return config(&lakes, parameter(query, "warehouse"));
    }
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let named = lakes.iter().position(|name| parts.first() == Some(name));
    let Some(lake) = lakes.get(named.unwrap_or(0)) else {
        return not_found("NotFoundException", "the config has no lake");
    };
    let found = ask(lake, &parts[usize::from(named.is_some())..], query, loaded);
    match found {
        Ok((StatusCode::OK, _)) if *method == Method::HEAD => (StatusCode::NO_CONTENT, Value::Null),
        Ok(answer) => answer,
        Err(failed) => {
            let (status, kind) = match failed {
                SinkError::Fatal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
                _ => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
            };
            error(status, kind, &loaded.variables.conceal(&failed.to_string()))
        }
    }
}

/// The lakes, by the first sink that fills each.
fn lakes(config: &Config) -> Vec<&str> {
    let sinks = || config.sink.iter().filter_map(|sink| Some((sink, sink.lake.as_ref()?)));
    let is_first = |index: usize, path: &str| sinks().take(index).all(|(_, other)| other.path != path);
    let first = sinks().enumerate().filter(|(index, (_, lake))| is_first(*index, &lake.path));
    first.map(|(_, (sink, _))| sink.name.as_str()).collect()
}

/// One lake needs no prefix; of several, `warehouse` names one by its sink.
fn config(lakes: &[&str], warehouse: Option<&str>) -> Answer {
    let overrides = match warehouse.filter(|name| !name.is_empty()) {
        Some(name) if lakes.contains(&name) => json!({ "prefix": name }),
        Some(name) => {
            let text = format!("no sink `{name}` fills a lake; there are: {}", lakes.join(", "));
            return not_found("NoSuchWarehouseException", &text);
        }
        None => json!({}),
    };
    (StatusCode::OK, json!({ "defaults": {}, "overrides": overrides, "endpoints": ENDPOINTS }))
}

fn place(lake: &str, loaded: &Loaded) -> Result<Place, SinkError> {
    let settings = loaded.config.sink.iter().find(|sink| sink.name == lake).and_then(|sink| sink.lake.as_ref());
    loaded.lake_place(settings.expect("it was found in this config")).map_err(SinkError::Fatal)
}

fn ask(lake: &str, parts: &[&str], query: &str, loaded: &Loaded) -> Result<Answer, SinkError> {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let event_loop = event_loop.map_err(|error| SinkError::Retry(error.to_string()))?;
    event_loop.block_on(async {
        let mut teller = Teller::open(&place(lake, loaded)?).await?;
        Ok(match parts {
            ["namespaces"] if parameter(query, "parent").is_some_and(|parent| !parent.is_empty()) => {
                (StatusCode::OK, json!({ "namespaces": [] }))
            }
            ["namespaces"] => {
                let mut zones: Vec<[&str; 1]> = teller.tables().await?.into_iter().map(|table| [table.zone]).collect();
                zones.dedup();
                (StatusCode::OK, json!({ "namespaces": zones }))
            }
            ["namespaces", zone] if teller.tables().await?.iter().any(|table| table.zone == *zone) => {
                (StatusCode::OK, json!({ "namespace": [zone], "properties": {} }))
            }
            ["namespaces", zone, "tables"] if teller.tables().await?.iter().any(|table| table.zone == *zone) => {
                let tables = teller.tables().await?.into_iter().filter(|table| table.zone == *zone);
                let tables = tables.map(|table| json!({ "namespace": [zone], "name": table.name }));
                (StatusCode::OK, json!({ "identifiers": tables.collect::<Vec<_>>() }))
            }
            ["namespaces", zone] | ["namespaces", zone, "tables"] => {
                not_found("NoSuchNamespaceException", &format!("there is no namespace {zone}"))
            }
            ["namespaces", zone, "tables", name] => load(&mut teller, zone, name).await?,
            ["skuflow", "lineage"] => (StatusCode::OK, facts(&mut teller, Told::lineage).await?),
            ["skuflow", "schemas"] => (StatusCode::OK, facts(&mut teller, Told::schemas).await?),
            _ => not_found("NotFoundException", "there is nothing at this path"),
        })
    })
}

async fn load(teller: &mut Teller, zone: &str, name: &str) -> Result<Answer, SinkError> {
    let known = TABLES.iter().find(|table| table.zone == zone && table.name == name);
    let told = match known {
        Some(table) => teller.table(table).await?,
        None => None,
    };
    Ok(match told {
        Some(told) => {
            let (location, metadata) = (told.location.as_str(), told.metadata());
            (StatusCode::OK, json!({ "metadata-location": location, "metadata": metadata, "config": {} }))
        }
        None => not_found("NoSuchTableException", &format!("there is no table {zone}.{name}")),
    })
}

/// What every table says of itself.
async fn facts(teller: &mut Teller, rows: fn(&Told) -> Vec<Value>) -> Result<Value, SinkError> {
    let mut all = Vec::new();
    for table in teller.tables().await? {
        all.extend(teller.table(table).await?.iter().flat_map(rows));
    }
    Ok(all.into())
}

/// The value of a parameter, as it stands there.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}

fn not_found(kind: &str, text: &str) -> Answer {
    error(StatusCode::NOT_FOUND, kind, text)
}

fn error(status: StatusCode, kind: &str, text: &str) -> Answer {
    (status, json!({ "error": { "message": text, "type": kind, "code": status.as_u16() } }))
}
