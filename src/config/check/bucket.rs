//! Checks where the files of a lake are.

use skuflow_sinks::lake::{BucketPlace, Config, S3Config};

use super::{Check, Sources};
use crate::config::tree::At::{self, Field, Item};

impl Check<'_> {
    /// In a folder, or in a bucket; and the catalog that knows them.
    pub(super) fn files(&mut self, index: usize, lake: &Config, sources: Sources<'_>) {
        match (BucketPlace::parse(&lake.path), &lake.s3) {
            (Err((wrong, help)), _) => self.at_lake(index, "SKU-050", &["path"], &wrong, help),
            (Ok(None), Some(_)) => {
                let message = format!("`s3` is for files in a bucket, and these are in the folder `{}`", lake.path);
                let help = "remove it, or write path = \"s3://bucket/lake\"";
                self.at_lake(index, "SKU-050", &["s3"], &message, help);
            }
            (Ok(Some(_)), Some(s3)) => self.s3(index, s3, sources),
            (Ok(_), None) => {}
        }
        if let Err(wrong) = lake.catalog(sources.0) {
            self.at_lake(index, "SKU-050", &["catalog"], &wrong, "");
        }
    }

    fn s3(&mut self, index: usize, s3: &S3Config, (base, variable): Sources<'_>) {
        let at = |field| ["s3", field];
        match s3.endpoint.as_deref() {
            Some(endpoint) if endpoint.starts_with("http://") && !s3.allow_http => {
                let message = "without encryption, everybody on the way reads what is sent";
                self.at_lake(index, "SKU-020", &at("endpoint"), message, "write https://…, or allow_http = true");
            }
            Some(endpoint) if host(endpoint).is_none() => {
                let message = format!("`{endpoint}` is no address of a server");
                self.at_lake(index, "SKU-020", &at("endpoint"), &message, "write \"https://host:port\"");
            }
            _ => {}
        }
        let missing = match (&s3.access_key_id, &s3.secret_access_key) {
            (Some(_), None) => Some(("access_key_id", "a key is of no use without its `secret_access_key`")),
            (None, Some(_)) => Some(("secret_access_key", "a secret is of no use without its `access_key_id`")),
            (None, None) if s3.session_token.is_some() => {
                Some(("session_token", "a token is of no use without `access_key_id` and `secret_access_key`"))
            }
            _ => None,
        };
        if let Some((field, message)) = missing {
            self.at_lake(index, "SKU-012", &at(field), message, "add it, or leave all of them to the environment");
        }
        for (field, secret) in [("secret_access_key", &s3.secret_access_key), ("session_token", &s3.session_token)] {
            if let Some(Err(reason)) = secret.as_ref().map(|secret| secret.read(base, variable)) {
                self.at_lake(index, "SKU-004", &at(field), &reason, "write { env = \"NAME\" } or { file = \"path\" }");
            }
        }
    }

    fn at_lake(&mut self, index: usize, code: &'static str, path: &[&str], message: &str, help: &str) {
        let path: Vec<At<'_>> = [Field("sink"), Item(index), Field("lake")]
            .into_iter()
            .chain(path.iter().map(|field| Field(field)))
            .collect();
        self.report(code, &path, message.into(), help);
    }
}

/// Host and port of an address without a path.
fn host(endpoint: &str) -> Option<&str> {
    let host = ["https://", "http://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme))?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    (!host.is_empty() && host.chars().all(fits)).then_some(host)
}
