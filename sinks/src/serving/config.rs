//! Settings of the serving sink.

use std::path::Path;

use serde::{Deserialize, Serialize};
use skuflow_schemas::Span;

use super::place::{Place, Server};
use super::upkeep::Upkeep;
use crate::limits::SERVING_STATEMENT_TIMEOUT;
use crate::sql::{postgres_url, sqlite_path};

/// Settings of sink `serving`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the tables are: `sqlite:<path>`, relative to the config file, or `postgres://user:password@host/database`, with
    /// `?sslmode=verify-full&sslrootcert=<path>` over networks that are not trusted. Passwords come as `${VARIABLE}`.
    pub url: String,
    /// Age at which rows are written however few they are. More: larger transactions; less: fresher tables.
    #[serde(default = "batch_age")]
    pub batch_age: Span,
    /// The schema of the tables in Postgres, `skuflow` unless said otherwise; it is made where it is missing.
    #[serde(default)]
    pub schema: Option<String>,
    /// How long a statement may take in Postgres, 1 m unless said otherwise; then half of the batch is tried.
    #[serde(default)]
    pub statement_timeout: Option<Span>,
    /// How long a month of a history (prices, ranks, reviews, daily figures) stays after the last of its rows came in; for
    /// ever unless said.
    #[serde(default)]
    pub retention: Option<Span>,
    /// How often retention is looked after, and Postgres makes its kept views anew (`category_price_ranges`,
    /// `market_position`, `daily_movers`).
    #[serde(default = "upkeep_every")]
    pub upkeep_every: Span,
}

fn batch_age() -> Span {
    Span::from_millis(500)
}

fn upkeep_every() -> Span {
    Span::from_millis(5 * 60 * 1000)
}

impl Config {
    /// What is done to the tables at `place` from time to time, if anything.
    pub fn upkeep(&self, place: &Place) -> Option<Upkeep> {
        let is_needed = self.retention.is_some() || matches!(place, Place::Postgres(_));
        is_needed.then(|| Upkeep { place: place.clone(), retention: self.retention })
    }

    /// The database, for a config in the folder `base`.
    ///
    /// # Errors
    /// What does not fit, and what to write.
    pub fn place(&self, base: &Path) -> Result<Place, String> {
        match self.url.split(':').next().unwrap_or_default() {
            "sqlite" => {
                let of_postgres =
                    [("schema", self.schema.is_some()), ("statement_timeout", self.statement_timeout.is_some())];
                if let Some((field, _)) = of_postgres.into_iter().find(|(_, is_given)| *is_given) {
                    return Err(format!("`{field}` is for Postgres, and the url begins with \"sqlite:\"; remove it"));
                }
                let path = sqlite_path(&self.url, base);
                path.map(Place::Sqlite).ok_or("the url names no file; write \"sqlite:data/serving.db\"".into())
            }
            "postgres" | "postgresql" => {
                let schema = self.schema.clone().unwrap_or_else(|| "skuflow".into());
                let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                if schema.starts_with("pg_")
                    || schema.len() > 63
                    || !schema.starts_with(|c: char| c.is_ascii_lowercase())
                    || !schema.chars().all(is_plain)
                {
                    return Err(format!("`{schema}` is no name for a schema; use a-z, 0-9 and _, a letter first"));
                }
                let statement_timeout = self.statement_timeout.map_or(SERVING_STATEMENT_TIMEOUT, Into::into);
                Ok(Place::Postgres(Server { url: postgres_url(&self.url)?, schema, statement_timeout }))
            }
            _ => Err(format!(
                "`{}` is no URL of SQLite or Postgres; write \"sqlite:data/serving.db\" or \
                 \"postgres://user:${{PASSWORD}}@host/database\"",
                self.url
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, schema: Option<&str>, expected: &str) {
        let schema = schema.map(str::to_owned);
        let config = Config {
            url: url.into(),
            batch_age: batch_age(),
            schema,
            statement_timeout: None,
            retention: None,
            upkeep_every: upkeep_every(),
        };
        let found = match config.place(Path::new("/base")) {
            Ok(place) => place.to_string(),
            Err(reason) => reason,
        };
        assert!(found.contains(expected), "{url}: {found}");
        assert!(!found.contains("secret1"), "{found}");
    }

    #[test]
    fn a_place_is_a_file_or_a_schema_and_keeps_its_password() {
        check("sqlite:data/s.db", None, "/base/data/s.db");
        check("sqlite:///data/s.db", None, "/data/s.db");
        check("sqlite:", None, "names no file");
        check("sqlite:s.db", Some("shop"), "`schema` is for Postgres");
        check("postgres://me:secret1@db:5433/shop", None, "postgres://me@db:5433/shop (skuflow)");
        check("postgresql://me:secret1@db/shop", Some("market_2"), "postgres://me@db/shop (market_2)");
        check("postgres://me:secret1@db", None, "names no database");
        check("postgres://db/shop", Some("Shop; drop"), "no name for a schema");
        check("postgres://db/shop", Some(""), "no name for a schema");
        check("mysql://db/shop", None, "no URL of SQLite or Postgres");
        check("serving.db", None, "no URL of SQLite or Postgres");
    }
}
