//! Where a catalog is, and how it is asked.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{CATALOG_FILE, CATALOG_NAME};
use crate::sql::{parse, postgres_url, shown, sqlite_path};

/// Which catalog a lake has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `sqlite:<path>`, relative to the config file; `postgres://user:password@host/database`, whose tables `skuflow` makes
    /// where they are missing; or the address of an Iceberg REST catalog, up to its `/v1`. Passwords come as `${VARIABLE}`.
    pub url: String,
    /// The catalog's name in its tables, in `SQLite` and Postgres: lakes that share a database have different ones.
    #[serde(default = "name")]
    pub name: String,
    /// What a REST catalog calls the lake, where it has several.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// `client:secret` for a REST catalog that gives tokens.
    #[serde(default)]
    pub credential: Option<String>,
    /// Where such tokens are given, where that is not the catalog itself.
    #[serde(default)]
    pub oauth2_server_uri: Option<String>,
    /// What such tokens are to be good for.
    #[serde(default)]
    pub scope: Option<String>,
    /// A token for a REST catalog that takes one as it is.
    #[serde(default)]
    pub token: Option<String>,
}

fn name() -> String {
    CATALOG_NAME.to_owned()
}

/// A catalog, as it is opened.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A file of `SQLite`, and the catalog's name in it.
    Sqlite(PathBuf, String),
    /// A database of Postgres, and the catalog's name in it.
    Postgres(Url, String),
    /// A REST catalog.
    Rest(Rest),
}

/// A REST catalog.
#[derive(Clone, PartialEq, Eq)]
pub struct Rest {
    /// Up to `/v1`.
    pub url: Url,
    /// Which of its lakes.
    pub warehouse: Option<String>,
    /// How it is entered.
    pub entry: Option<Login>,
}

/// How a REST catalog is entered.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// With a token.
    Token(String),
    /// With a token that is given for a client's secret.
    Client {
        /// The client.
        id: String,
        /// Its secret.
        secret: String,
        /// Where tokens are given, where that is not the catalog itself.
        server: Option<Url>,
        /// What they are to be good for.
        scope: Option<String>,
    },
}

impl Config {
    /// The catalog, for a config in the folder `base`.
    ///
    /// # Errors
    /// What does not fit, and what to write.
    pub fn address(&self, base: &Path) -> Result<Address, String> {
        let scheme = self.url.split(':').next().unwrap_or_default();
        let is_rest = matches!(scheme, "http" | "https");
        if let Some(field) = self.of_rest().filter(|_| !is_rest) {
            return Err(format!("`{field}` is for REST catalogs, and the url begins with \"{scheme}:\"; remove it"));
        }
        if self.name.is_empty() || (is_rest && self.name != CATALOG_NAME) {
            return Err("`name` names a catalog in a database; write another one, or remove it".into());
        }
        match scheme {
            "sqlite" => self.sqlite(base),
            "postgres" | "postgresql" => Ok(Address::Postgres(postgres_url(&self.url)?, self.name.clone())),
            "http" | "https" => self.rest().map(Address::Rest),
            _ => Err("there is no such catalog; write \"sqlite:data/lake/catalog.db\", \
                 \"postgres://user:${PASSWORD}@host/database\" or \"https://host/path\""
                .into()),
        }
    }

    /// A field that is given and that only REST catalogs have.
    fn of_rest(&self) -> Option<&'static str> {
        [
            ("warehouse", &self.warehouse),
            ("credential", &self.credential),
            ("oauth2_server_uri", &self.oauth2_server_uri),
            ("scope", &self.scope),
            ("token", &self.token),
        ]
        .into_iter()
        .find_map(|(name, field)| field.as_ref().map(|_| name))
    }

    fn sqlite(&self, base: &Path) -> Result<Address, String> {
        let path =
            sqlite_path(&self.url, base).ok_or("the url names no file; write \"sqlite:data/lake/catalog.db\"")?;
        Ok(Address::Sqlite(path, self.name.clone()))
    }

    fn rest(&self) -> Result<Rest, String> {
        let mut url = parse(&self.url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a REST catalog takes no password in its url; write `credential` or `token`".into());
        }
        let path = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&path);
        let entry = match (&self.token, &self.credential) {
            (Some(_), Some(_)) => return Err("`token` and `credential` exclude each other; remove one".into()),
            (Some(token), None) => Some(Login::Token(token.clone())),
            (None, Some(credential)) => {
                let (id, secret) = credential.split_once(':').ok_or("`credential` is written \"client:${SECRET}\"")?;
                let server = self.oauth2_server_uri.as_deref().map(parse).transpose()?;
                Some(Login::Client { id: id.into(), secret: secret.into(), server, scope: self.scope.clone() })
            }
            (None, None) => None,
        };
        if let Some(field) = ["oauth2_server_uri", "scope"]
            .into_iter()
            .zip([&self.oauth2_server_uri, &self.scope])
            .find_map(|(name, field)| field.as_ref().filter(|_| self.credential.is_none()).map(|_| name))
        {
            return Err(format!("`{field}` is of no use without `credential`; add it, or remove `{field}`"));
        }
        Ok(Rest { url, warehouse: self.warehouse.clone(), entry })
    }

    /// What is not to be printed.
    pub fn secrets(&self) -> Vec<String> {
        let of_credential = self.credential.iter().filter_map(|both| Some(both.split_once(':')?.1.to_owned()));
        let of_url = parse(&self.url).ok().and_then(|url| url.password().map(str::to_owned));
        self.token.iter().cloned().chain(of_credential).chain(of_url).collect()
    }
}

impl Address {
    /// The catalog of a lake in a folder that says nothing else: a file in there.
    pub fn beside(folder: &Path) -> Self {
        Self::Sqlite(folder.join(CATALOG_FILE), CATALOG_NAME.to_owned())
    }
}

/// Without passwords.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path, _) => path.display().fmt(f),
            Self::Postgres(url, _) => f.write_str(&shown(url)),
            Self::Rest(Rest { url, warehouse, .. }) => match warehouse {
                Some(warehouse) => write!(f, "{url} ({warehouse})"),
                None => url.fmt(f),
            },
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a config is taken for, or why it is refused.
    fn check(toml: &str, expected: &str) {
        let fields = toml.split(", ").map(|field| field.split_once('=').expect("name=value"));
        let object = fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let config: Config = serde_json::from_value(serde_json::Value::Object(object)).expect("a config");
        let found = match config.address(Path::new("/base")) {
            Ok(address) => format!("{address:?}"),
            Err(reason) => reason,
        };
        assert!(found.contains(expected), "{toml}: {found}");
        assert!(!found.contains("secret1"), "{found}");
        let hidden = config.secrets().concat();
        assert_eq!(hidden, if toml.contains("secret1") { "secret1" } else { "" }, "{toml}");
    }

    #[test]
    fn an_address_is_one_of_three_kinds_and_keeps_its_secrets() {
        check("url=sqlite:data/c.db", "/base/data/c.db");
        check("url=sqlite:/data/c.db, name=other", "/data/c.db");
        check("url=sqlite:///data/c.db", "/data/c.db");
        check("url=sqlite:", "names no file");
        check("url=postgres://me:secret1@db:5433/lake", "postgres://me@db:5433/lake");
        check("url=postgresql://db/lake", "postgres://db/lake");
        check("url=postgres://db", "names no database");
        check("url=postgres:///lake", "names no host");
        check("url=postgres://db/lake, token=secret1", "`token` is for REST catalogs");
        check("url=sqlite:c.db, warehouse=w", "`warehouse` is for REST catalogs");
        check("url=https://host/api/v1/, warehouse=w, token=secret1", "https://host/api (w)");
        check("url=http://host/api, credential=me:secret1, scope=s", "http://host/api");
        check("url=http://host/api, credential=me", "client:${SECRET}");
        check("url=http://host/api, scope=s", "`scope` is of no use without");
        check("url=http://me:secret1@host/api", "no password in its url");
        check("url=http://host, name=other", "`name` names a catalog in a database");
        check("url=mysql://host/lake", "no such catalog");
        check("url=lake", "no such catalog");
    }
}
