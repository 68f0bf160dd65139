//! How a lake is reached: by a config, and by those who read it in Python.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::{Map, Value, json};
use skuflow_runtime::testing::s3::S3;
use skuflow_sinks::lake::{Access, Address, BucketPlace, CATALOG_NAME, Keys, Login, Place, Rest, Root};

/// What `PyIceberg` opens the catalog with; `duck.py` takes from it how `DuckDB` reaches the files.
pub fn properties(place: &Place) -> Value {
    let warehouse = match &place.root {
        Root::Folder(folder) => format!("file://{}", folder.canonicalize().expect("there").display()),
        Root::Bucket(bucket, _) => bucket.to_string(),
    };
    let mut properties = match &place.catalog {
        Address::Sqlite(path, name) => {
            json!({ "name": name, "type": "sql", "uri": format!("sqlite:///{}", path.display()) })
        }
        Address::Postgres(url, name) => {
            let uri = url.as_str().replacen("postgres:", "postgresql+psycopg2:", 1);
            json!({ "name": name, "type": "sql", "uri": uri })
        }
        Address::Rest(rest) => {
            let uri = rest.url.as_str().trim_end_matches('/');
            let mut properties = json!({ "name": CATALOG_NAME, "type": "rest", "uri": uri });
            if let Some(Login::Client { id, secret, .. }) = &rest.entry {
                properties["credential"] = format!("{id}:{secret}").into();
            }
            properties
        }
    };
    properties["warehouse"] = match &place.catalog {
        Address::Rest(Rest { warehouse: Some(warehouse), .. }) => warehouse.clone().into(),
        _ => warehouse.into(),
    };
    properties.as_object_mut().expect("an object").extend(bucket_properties(&place.root));
    properties
}

fn bucket_properties(root: &Root) -> Map<String, Value> {
    let Root::Bucket(_, access) = root else { return Map::new() };
    let keys = access.keys.as_ref().expect("credentials");
    let endpoint = access.endpoint.as_deref().expect("a server of ours");
    [
        ("endpoint", endpoint),
        ("access-key-id", &*keys.id),
        ("secret-access-key", &*keys.secret),
        ("region", "us-east-1"),
    ]
    .map(|(name, value)| (format!("s3.{name}"), value.into()))
    .into_iter()
    .collect()
}

/// Whom a server of ours lets in.
pub fn keys() -> Keys {
    Keys { id: S3::KEY_ID.into(), secret: S3::SECRET.into(), token: None }
}

/// How a server of ours is reached.
pub fn access(endpoint: &str) -> Access {
    Access { endpoint: Some(endpoint.into()), keys: Some(keys()), allow_http: true, ..Access::default() }
}

/// A lake of this name on a server of ours, with a catalog in the database at `url`.
pub fn bucket(server: &S3, name: &str, url: &str) -> Place {
    let bucket = BucketPlace { bucket: S3::BUCKET.into(), prefix: name.into() };
    Place {
        root: Root::Bucket(bucket, access(&server.endpoint())),
        catalog: Address::Postgres(url.parse().expect("a URL"), CATALOG_NAME.into()),
    }
}

/// A lake of which the catalog at `url` of a `SeaweedFS` places the tables, in `warehouse`.
pub fn placed(endpoint: &str, url: &str, warehouse: &str) -> Place {
    let bucket = BucketPlace { bucket: S3::BUCKET.into(), prefix: warehouse.replace("s3://", "") };
    let Keys { id, secret, .. } = keys();
    let entry = Some(Login::Client { id, secret, server: None, scope: None });
    let rest = Rest { url: url.parse().expect("a URL"), warehouse: Some(warehouse.into()), entry };
    Place { root: Root::Bucket(bucket, access(endpoint)), catalog: Address::Rest(rest) }
}

/// The variables that let a run in.
pub const VARIABLES: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", S3::KEY_ID), ("AWS_SECRET_ACCESS_KEY", S3::SECRET)];

/// The fields of a config's sink; credentials of a bucket are in variables.
pub fn config(place: &Place) -> String {
    let catalog = match &place.catalog {
        Address::Sqlite(path, _) => format!("url = \"sqlite:{}\"", path.display()),
        Address::Postgres(url, _) => format!("url = \"{url}\""),
        Address::Rest(Rest { url, warehouse, .. }) => {
            let warehouse = warehouse.as_deref().expect("one of its own");
            let credential = VARIABLES.map(|(variable, _)| format!("${{{variable}}}")).join(":");
            format!("url = \"{url}\", warehouse = \"{warehouse}\", credential = \"{credential}\"")
        }
    };
    let root = match &place.root {
        Root::Folder(folder) => format!("path = \"{}\"", folder.display()),
        Root::Bucket(bucket, access) => {
            let endpoint = access.endpoint.as_deref().expect("a server of ours");
            format!("path = \"{bucket}\", s3 = {{ endpoint = \"{endpoint}\", allow_http = true }}")
        }
    };
    format!("{root}, catalog = {{ {catalog} }}")
}
