//! Where the tables are.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::remedy;
use super::statements::Dialect;
use crate::SinkError;
use crate::sql::shown;

/// A database, as it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of `SQLite`.
    Sqlite(PathBuf),
    /// A schema of a database of Postgres.
    Postgres(Server),
}

/// A database of Postgres.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// With user and password.
    pub url: Url,
    /// The schema that the tables are in.
    pub schema: String,
    /// How long a statement, and the wait for a lock, may take.
    pub statement_timeout: Duration,
}

impl Place {
    /// What tells these tables from others, however they are reached.
    pub fn tables(&self) -> String {
        match self {
            Self::Sqlite(path) => path.components().collect::<PathBuf>().display().to_string(),
            Self::Postgres(Server { url, schema, .. }) => {
                let (host, port) = (url.host_str().unwrap_or_default(), url.port().unwrap_or(5432));
                format!("{host}:{port}{} {schema}", url.path())
            }
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// By what it says: some things pass by themselves.
    pub(super) fn failed(&self, error: &sqlx::Error) -> SinkError {
        self.error(error, remedy::of(error, self.dialect()))
    }

    pub(super) fn error(&self, error: &dyn std::error::Error, advice: Option<String>) -> SinkError {
        let text = format!("{self}: {error}");
        match advice {
            None => SinkError::Retry(text),
            Some(advice) => SinkError::Fatal(format!("{text}; {advice}")),
        }
    }
}

/// Without passwords.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(server) => server.fmt(f),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", shown(&self.url), self.schema)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
