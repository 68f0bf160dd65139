//! Where a lake is.

use std::fmt;
use std::path::{Path, PathBuf};

use super::catalog::Address;

/// Where the files of a lake are, and the catalog that says which of them are its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder of its files.
    pub folder: PathBuf,
    /// The catalog.
    pub catalog: Address,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.display().fmt(f)
    }
}

impl Place {
    /// A folder with files and catalog.
    pub fn folder(folder: &Path) -> Self {
        Self { folder: folder.into(), catalog: Address::beside(folder) }
    }
}
