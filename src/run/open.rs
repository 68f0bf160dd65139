//! Opens the broker of a config.

use std::path::Path;

use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::clock::Clock;
use skuflow_runtime::storage::{EngineError, Options};

use crate::config::Loaded;

/// Why the broker or a station could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{0}")]
    InUse(String),
    /// It cannot be opened now.
    #[error("the data directory cannot be opened: {0}")]
    Io(String),
    /// What is stored is damaged, or not for this config.
    #[error("{0}")]
    Data(String),
}

impl From<EngineError> for OpenError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Locked { .. } => Self::InUse(error.to_string()),
            EngineError::Retry(reason) | EngineError::Unknown(reason) => Self::Io(reason),
            other => Self::Data(other.to_string()),
        }
    }
}

/// Whether a run has made this directory its own; opening any other would make it one.
pub fn is_data_dir(dir: &Path) -> bool {
    ["lock", "identity.json", "high-water"].iter().any(|file| dir.join(file).exists())
}

/// Opens the broker that the config names.
///
/// # Errors
/// See [`OpenError`].
pub fn open_broker(loaded: &Loaded) -> Result<Embedded, OpenError> {
    Ok(Embedded::open(&loaded.data_dir(), Options::default(), Clock::System)?)
}
