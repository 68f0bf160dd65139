//! Settings of the serving sink.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skuflow_schemas::Span;

/// Settings of sink `serving`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the tables are: `sqlite:<path>`, relative to the config file.
    pub url: String,
    /// Age at which rows are written however few they are. More: larger transactions; less: fresher tables.
    #[serde(default = "batch_age")]
    pub batch_age: Span,
}

fn batch_age() -> Span {
    Span::from_millis(500)
}

impl Config {
    /// The database file, under `base`.
    ///
    /// # Errors
    /// What is wrong with the URL, and what to write.
    pub fn database(&self, base: &Path) -> Result<PathBuf, String> {
        match self.url.strip_prefix("sqlite:") {
            Some(path) if !path.trim_start_matches('/').is_empty() => Ok(base.join(path)),
            Some(_) => Err("the URL names no file; write \"sqlite:data/serving.db\"".into()),
            None => Err(format!(
                "`{}` is no SQLite URL; write \"sqlite:data/serving.db\" (Postgres is not built yet)",
                self.url
            )),
        }
    }
}
