//! Settings of the lake sink.

use std::path::Path;

use serde::{Deserialize, Serialize};
use skuflow_schemas::{ByteSize, Span};

use super::catalog::{Address, Config as Catalog};
use super::place::Place;
use crate::batcher::Cut;
use crate::limits::{LAKE_BYTES_MAX, LAKE_RECORDS_MAX};

/// Settings of sink `lake`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the tables and their catalog, relative to the config file. It stays where it is: the tables know their
    /// files by absolute paths.
    pub path: String,
    /// Which catalog knows its tables, `{ url = "…" }`: a file of `SQLite` in the folder unless another one, a database of
    /// Postgres or an Iceberg REST catalog is named.
    #[serde(default)]
    pub catalog: Option<Catalog>,
    /// Age at which rows are committed however few they are, 1s to 1h. More: fewer, larger files; less: fresher tables.
    #[serde(default = "commit_interval")]
    pub commit_interval: Span,
    /// Bytes of records per table at which they are committed earlier, 1MiB to 256MiB. More: larger files; less: less
    /// memory, of which decoded records take about five times as much.
    #[serde(default = "batch_bytes_max")]
    pub batch_bytes_max: ByteSize,
}

fn commit_interval() -> Span {
    Span::from_millis(60_000)
}

fn batch_bytes_max() -> ByteSize {
    ByteSize(LAKE_BYTES_MAX)
}

impl Config {
    /// Where the lake is, for a config in the folder `base`.
    ///
    /// # Errors
    /// What is wrong with the catalog's settings, and what to write.
    pub fn place(&self, base: &Path) -> Result<Place, String> {
        let folder = base.join(&self.path);
        let catalog = self.catalog.as_ref().map(|catalog| catalog.address(base)).transpose()?;
        let catalog = catalog.unwrap_or_else(|| Address::beside(&folder));
        Ok(Place { folder, catalog })
    }

    /// When a batch is committed.
    pub fn cut(&self) -> Cut {
        Cut {
            records_max: LAKE_RECORDS_MAX,
            bytes_max: usize::try_from(self.batch_bytes_max.0).unwrap_or(usize::MAX),
            age_max: self.commit_interval.into(),
        }
    }
}
