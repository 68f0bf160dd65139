//! Settings of the lake sink.

use std::path::Path;

use serde::{Deserialize, Serialize};
use skuflow_runtime::secret::Secret;
use skuflow_schemas::{ByteSize, Span};

use super::place::{Access, BucketPlace, Keys, Place};
use crate::batcher::Cut;
use crate::limits::{LAKE_BYTES_MAX, LAKE_RECORDS_MAX};

/// Settings of sink `lake`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the tables and their catalog, relative to the config file, or `s3://bucket/prefix`. It stays where it is:
    /// the tables know their files by absolute paths.
    pub path: String,
    /// The catalog of tables in a bucket: `sqlite:<path>`, relative to the config file. In a folder it is among them.
    #[serde(default)]
    pub catalog: Option<String>,
    /// How the bucket is reached; left out: Amazon's S3, with the credentials of the environment or the machine.
    #[serde(default)]
    pub s3: Option<S3Config>,
    /// Age at which rows are committed however few they are, 1s to 1h. More: fewer, larger files; less: fresher tables.
    #[serde(default = "commit_interval")]
    pub commit_interval: Span,
    /// Bytes of records per table at which they are committed earlier, 1MiB to 256MiB. More: larger files; less: less
    /// memory, of which decoded records take about five times as much.
    #[serde(default = "batch_bytes_max")]
    pub batch_bytes_max: ByteSize,
}

/// How a bucket is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// The server, `https://host:port`; left out: Amazon's.
    pub endpoint: Option<String>,
    /// The region of the bucket; left out: that of the environment, or `us-east-1`.
    pub region: Option<String>,
    /// Who asks; left out: whom `AWS_ACCESS_KEY_ID`, the container or the machine says.
    pub access_key_id: Option<String>,
    /// What shows it.
    pub secret_access_key: Option<Secret>,
    /// What comes along with credentials for a time.
    pub session_token: Option<Secret>,
    /// Whether the bucket's name is in the path rather than in the host's name; left out: with an `endpoint`.
    pub path_style: Option<bool>,
    /// Lets everybody on the way read what is sent and, for a time, send as we do.
    pub allow_http: bool,
}

impl S3Config {
    /// All secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secret_access_key.iter().chain(&self.session_token)
    }

    fn access(&self, read: &dyn Fn(&Secret) -> Result<String, String>) -> Result<Access, String> {
        let keys = match (&self.access_key_id, &self.secret_access_key) {
            (Some(id), Some(secret)) => Some(Keys {
                id: id.clone(),
                secret: read(secret)?,
                token: self.session_token.as_ref().map(read).transpose()?,
            }),
            _ => None,
        };
        let (endpoint, region) = (self.endpoint.clone(), self.region.clone());
        Ok(Access { endpoint, region, keys, path_style: self.path_style, allow_http: self.allow_http })
    }
}

fn commit_interval() -> Span {
    Span::from_millis(60_000)
}

fn batch_bytes_max() -> ByteSize {
    ByteSize(LAKE_BYTES_MAX)
}

impl Config {
    /// Where the lake is, for a config in the folder `base`; `variable` looks up variables.
    ///
    /// # Errors
    /// What cannot be, or a secret that cannot be had.
    pub fn place(&self, base: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Place, String> {
        let bucket = BucketPlace::parse(&self.path).map_err(|(wrong, help)| format!("{wrong}; {help}"))?;
        let Some(bucket) = bucket else { return Ok(Place::folder(&base.join(&self.path))) };
        let access = self.s3.as_ref().map(|s3| s3.access(&|secret| secret.read(base, variable))).transpose()?;
        Ok(Place::bucket(bucket, access.unwrap_or_default(), &base.join(self.catalog_file()?)))
    }

    /// The file of the catalog of tables in a bucket.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn catalog_file(&self) -> Result<&str, String> {
        const HELP: &str = "write catalog = \"sqlite:data/lake-catalog.db\"";
        match self.catalog.as_deref().map(|catalog| (catalog, catalog.strip_prefix("sqlite:"))) {
            None => Err(format!("files in a bucket need a catalog elsewhere; {HELP}")),
            Some((_, Some(path))) if !path.trim_start_matches('/').is_empty() => Ok(path),
            Some((catalog, _)) => Err(format!("`{catalog}` names no SQLite file; {HELP}")),
        }
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
