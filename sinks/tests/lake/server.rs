//! An Iceberg REST catalog on the loopback that keeps its tables in memory and their metadata in files. It can be told to
//! misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use reqwest::Url;
use serde_json::{Value, json};

/// What befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and answered with this status.
    Refused(u16),
    /// It is done, and answered with this status.
    Done(u16),
    /// It is done, and the connection closed without an answer.
    Silent,
}

/// Decides what befalls a request: its method and path.
pub type Faults = Box<dyn FnMut(&str, &str) -> Option<Fault> + Send>;

struct State {
    /// By namespace and name: metadata, and where it is.
    tables: BTreeMap<String, (Value, String)>,
    namespaces: Vec<String>,
    faults: Faults,
    /// Where tables are placed.
    warehouse: String,
    /// Who is let in; anybody where it is `None`.
    token: Option<String>,
    /// How often a token was given.
    given: u32,
}

/// A catalog; it ends with the process.
pub struct Server {
    pub url: Url,
    state: Arc<Mutex<State>>,
}

/// The client that a catalog with tokens gives them to.
pub const CREDENTIAL: &str = "lake:open-sesame";

impl Server {
    /// Its tables are in the folder `warehouse`.
    pub fn start(warehouse: &Path, token: Option<&str>, faults: Option<Faults>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}/api", listener.local_addr().expect("bound"));
        let faults = faults.unwrap_or_else(|| Box::new(|_, _| None));
        let token = token.map(str::to_owned);
        let warehouse = format!("file://{}", warehouse.display());
        let state = State { tables: BTreeMap::new(), namespaces: Vec::new(), faults, warehouse, token, given: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &mut shared.lock().expect("no request panics"));
            }
        });
        Self { url: Url::parse(&url).expect("a URL"), state }
    }

    /// Tokens that were given are not good any more.
    pub fn forget_tokens(&self) {
        let mut state = self.state.lock().expect("no request panics");
        state.token = Some(format!("token-{}", state.given + 1));
    }

    pub fn tokens_given(&self) -> u32 {
        self.state.lock().expect("no request panics").given
    }
}

fn serve(mut stream: TcpStream, state: &mut State) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let (mut first, mut length, mut token, mut is_look) = (String::new(), 0, String::new(), false);
    reader.read_line(&mut first).expect("a request");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a number"),
            "authorization" => value.trim_start_matches("Bearer ").clone_into(&mut token),
            "x-look" => is_look = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let [method, path, _] = first.split_whitespace().collect::<Vec<_>>()[..] else { return };
    let fault = if is_look { None } else { (state.faults)(method, path) };
    let (mut status, mut said) = match fault {
        Some(Fault::Refused(status)) => (status, error("RefusedException")),
        _ => answer(state, (method, path), &body, (!is_look).then_some(&token)),
    };
    match fault {
        Some(Fault::Silent) => return,
        Some(Fault::Done(other)) => (status, said) = (other, error("CommitStateUnknownException")),
        _ => {}
    }
    let said = said.to_string();
    let head = "content-type: application/json\r\nconnection: close";
    let _the_client_may_be_gone =
        write!(stream, "HTTP/1.1 {status} x\r\n{head}\r\ncontent-length: {}\r\n\r\n{said}", said.len());
}

fn error(kind: &str) -> Value {
    json!({ "error": { "message": format!("it is a {kind}"), "type": kind, "code": 0 } })
}

fn answer(state: &mut State, (method, path): (&str, &str), body: &[u8], token: Option<&String>) -> (u16, Value) {
    let path = path.strip_prefix("/api/v1/").unwrap_or("?");
    if path == "oauth/tokens" {
        let said = String::from_utf8_lossy(body).into_owned();
        let (id, secret) = CREDENTIAL.split_once(':').expect("both");
        if !said.contains(&format!("client_id={id}&client_secret={secret}")) {
            return (401, json!({ "error": "invalid_client" }));
        }
        state.given += 1;
        return (200, json!({ "access_token": state.token, "token_type": "bearer", "expires_in": 3600 }));
    }
    if token.is_some_and(|token| state.token.as_ref().is_some_and(|wanted| wanted != token)) {
        return (401, error("NotAuthorizedException"));
    }
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match (method, &parts[..]) {
        ("GET", ["config" | "config?warehouse=w"]) => (200, json!({ "defaults": {}, "overrides": { "prefix": "p" } })),
        ("POST", ["p", "namespaces"]) => {
            let name = json["namespace"][0].as_str().expect("a name").to_owned();
            if state.namespaces.contains(&name) {
                return (409, error("AlreadyExistsException"));
            }
            state.namespaces.push(name);
            (200, json)
        }
        ("POST", ["p", "namespaces", zone, "tables"]) => {
            assert!(state.namespaces.iter().any(|known| known == zone), "{zone} is made before its tables");
            let name = format!("{zone}.{}", json["name"].as_str().expect("a name"));
            if state.tables.contains_key(&name) {
                return (409, error("AlreadyExistsException"));
            }
            let location = format!("{}/{zone}/{}", state.warehouse, json["name"].as_str().expect("a name"));
            keep(state, &name, created(&json, &location))
        }
        (_, ["p", "namespaces", zone, "tables", name]) => {
            let name = format!("{zone}.{name}");
            let Some((metadata, location)) = state.tables.get(&name) else {
                return (404, error("NoSuchTableException"));
            };
            if method == "GET" {
                return (200, json!({ "metadata-location": location, "metadata": metadata }));
            }
            match changed(metadata.clone(), &json) {
                Ok(metadata) => keep(state, &name, metadata),
                Err(refused) => refused,
            }
        }
        _ => (404, error("NotFoundException")),
    }
}

/// Writes a metadata file and points at it.
fn keep(state: &mut State, name: &str, metadata: Value) -> (u16, Value) {
    let version = metadata["metadata-log"].as_array().map_or(0, Vec::len);
    let uuid = uuid::Uuid::new_v4();
    let table = metadata["location"].as_str().expect("a location").to_owned();
    let location = format!("{table}/metadata/{version:05}-{uuid}.metadata.json");
    let path = Path::new(location.trim_start_matches("file://")).to_owned();
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    std::fs::write(path, metadata.to_string()).expect("writable");
    let said = json!({ "metadata-location": location, "metadata": metadata });
    state.tables.insert(name.into(), (metadata, location));
    (200, said)
}

fn created(asked: &Value, location: &str) -> Value {
    assert_eq!(asked.get("location"), None, "the catalog places tables");
    let fields = asked["schema"]["fields"].as_array().expect("fields");
    let mut metadata = json!({
        "format-version": 2, "table-uuid": uuid::Uuid::new_v4().to_string(), "location": location,
        "last-sequence-number": 0, "last-updated-ms": 1, "last-column-id": fields.len(),
        "schemas": [asked["schema"]], "current-schema-id": 0, "partition-specs": [asked["partition-spec"]],
        "default-spec-id": 0, "last-partition-id": 1010, "sort-orders": [asked["write-order"]],
        "default-sort-order-id": asked["write-order"]["order-id"], "properties": asked["properties"],
        "snapshots": [], "snapshot-log": [], "metadata-log": [], "refs": {}, "current-snapshot-id": null,
    });
    metadata["schemas"][0]["schema-id"] = 0.into();
    metadata["partition-specs"][0]["spec-id"] = 0.into();
    metadata
}

/// The metadata with what is asked for, or the refusal.
fn changed(mut metadata: Value, asked: &Value) -> Result<Value, (u16, Value)> {
    let list = |name: &str| asked[name].as_array().cloned().unwrap_or_default();
    for required in list("requirements") {
        let holds = match required["type"].as_str() {
            Some("assert-table-uuid") => required["uuid"] == metadata["table-uuid"],
            Some("assert-ref-snapshot-id") => {
                let name = required["ref"].as_str().expect("a name");
                required["snapshot-id"] == metadata["refs"][name]["snapshot-id"]
            }
            Some("assert-current-schema-id") => required["current-schema-id"] == metadata["current-schema-id"],
            other => panic!("{other:?} is not known here"),
        };
        if !holds {
            return Err((409, error("CommitFailedException")));
        }
    }
    for update in list("updates") {
        match update["action"].as_str() {
            Some("add-snapshot") => {
                metadata["last-sequence-number"] = update["snapshot"]["sequence-number"].clone();
                metadata["last-updated-ms"] = update["snapshot"]["timestamp-ms"].clone();
                metadata["snapshots"].as_array_mut().expect("a list").push(update["snapshot"].clone());
            }
            Some("set-snapshot-ref") => {
                let (name, id) = (update["ref-name"].as_str().expect("a name"), update["snapshot-id"].clone());
                metadata["refs"][name] = json!({ "snapshot-id": id, "type": update["type"] });
                metadata["current-snapshot-id"] = id;
            }
            Some("set-properties") => {
                let properties = metadata["properties"].as_object_mut().expect("an object");
                properties.extend(update["updates"].as_object().expect("an object").clone());
            }
            Some("remove-snapshots") => {
                let gone = update["snapshot-ids"].as_array().expect("a list");
                metadata["snapshots"].as_array_mut().expect("a list").retain(|s| !gone.contains(&s["snapshot-id"]));
            }
            other => panic!("{other:?} is not known here"),
        }
    }
    let log = json!({ "metadata-file": "file:///x", "timestamp-ms": 1 });
    metadata["metadata-log"].as_array_mut().expect("a list").push(log);
    Ok(metadata)
}
