//! Secrets of a config.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where a text is that does not stand in the config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secret {
    /// A variable.
    Env(String),
    /// A file, relative to the config; a line break at its end does not count.
    File(String),
}

impl Secret {
    /// The text; `variable` looks up variables.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub fn read(&self, base: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        match self {
            Self::Env(name) => variable(name).ok_or_else(|| format!("the variable `{name}` is not set")),
            Self::File(path) => match std::fs::read_to_string(base.join(path)) {
                Ok(text) => {
                    Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.trim_end_matches('\r')).into())
                }
                Err(error) => Err(format!("the file `{path}` cannot be read: {error}")),
            },
        }
    }
}
