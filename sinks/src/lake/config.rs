//! Settings of the lake sink.

use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skuflow_runtime::secret::Secret;
use skuflow_schemas::{ByteSize, Span};

use super::catalog::{Address, Config as Catalog};
use super::place::{Access, BucketPlace, Keys, Place, Root};
use crate::batcher::Cut;
use crate::limits::{LAKE_BYTES_MAX, LAKE_RECORDS_MAX};

/// Settings of sink `lake`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the tables and their catalog, relative to the config file, or `s3://bucket/prefix`. It stays where it is:
    /// the tables know their files by absolute paths. With a REST catalog, which places tables itself, what is noted of commits
    /// that are on their way.
    pub path: String,
    /// How the bucket is reached; left out: Amazon's S3, with the credentials of the environment or the machine.
    #[serde(default)]
    pub s3: Option<S3Config>,
    /// Which catalog knows its tables, `{ url = "…" }`: a file of `SQLite` in the folder unless another one, a database of
    /// Postgres or an Iceberg REST catalog is named. Tables in a bucket need one that is named.
    #[serde(default)]
    pub catalog: Option<Catalog>,
    /// Age at which rows are committed however few they are, 1s to 1h. More: fewer, larger files; less: fresher tables.
    #[serde(default = "commit_interval")]
    pub commit_interval: Span,
    /// Bytes of records per table at which they are committed earlier, 1MiB to 256MiB. More: larger files; less: less
    /// memory, of which decoded records take about five times as much.
    #[serde(default = "batch_bytes_max")]
    pub batch_bytes_max: ByteSize,
    /// How the tables are tended.
    #[serde(default)]
    pub upkeep: Upkeep,
}

/// What happens to the tables beside landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upkeep {
    /// Time from one round to the next, 1m or more, or `never`: then `skuflow lake` does it. More: small files stay longer;
    /// less: files are written again more often.
    pub every: Period,
    /// How many small files of a day make it worth to write them again as one, 2 or more.
    pub files_min: usize,
    /// How long rows of the raw zone are kept from when the lake took them in, or `forever`.
    pub raw_kept: Period,
    /// How long those of the processed zone are.
    pub processed_kept: Period,
    /// How long those of the curated zone are.
    pub curated_kept: Period,
    /// How long snapshots are kept at least; the last hundred are however old. More: older states can be read; less: less
    /// metadata for each commit and each reader.
    pub snapshots_kept: Span,
    /// How long a file stays that nobody can find any more, for those who found it before.
    pub grace: Span,
}

impl Default for Upkeep {
    fn default() -> Self {
        let days = |days| Period(Some(Span::from_days(days)));
        Self {
            every: Period(Some(Span::from_millis(3_600_000))),
            files_min: 8,
            raw_kept: days(90),
            processed_kept: days(730),
            curated_kept: days(1_825),
            snapshots_kept: Span::from_millis(600_000),
            grace: Span::from_days(1),
        }
    }
}

impl Upkeep {
    /// How long rows of a zone are kept.
    pub fn kept(&self, zone: &str) -> Period {
        match zone {
            "raw" => self.raw_kept,
            "processed" => self.processed_kept,
            _ => self.curated_kept,
        }
    }
}

/// A length of time that may have no end: written like a span, or `forever` or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Option<Span>);

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(span) => span.serialize(serializer),
            None => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "forever" | "never" => Ok(Self(None)),
            span => span.parse().map(|span| Self(Some(span))).map_err(D::Error::custom),
        }
    }
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
        let of_environment = || ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok());
        let (endpoint, region) = (self.endpoint.clone(), self.region.clone().or_else(of_environment));
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
        let catalog = self.catalog(base)?;
        let root = match bucket {
            None => Root::Folder(base.join(&self.path)),
            Some(bucket) => {
                let access = self.s3.as_ref().map(|s3| s3.access(&|secret| secret.read(base, variable))).transpose()?;
                Root::Bucket(bucket, access.unwrap_or_default())
            }
        };
        Ok(Place { root, catalog })
    }

    /// The catalog that knows its tables, for a config in the folder `base`.
    ///
    /// # Errors
    /// What is wrong with its settings, and what to write.
    pub fn catalog(&self, base: &Path) -> Result<Address, String> {
        match &self.catalog {
            Some(catalog) => catalog.address(base),
            None if matches!(BucketPlace::parse(&self.path), Ok(Some(_))) => {
                let help = "write catalog = { url = \"sqlite:data/lake-catalog.db\" }";
                Err(format!("files in a bucket need a catalog elsewhere; {help}"))
            }
            None => Ok(Address::beside(&base.join(&self.path))),
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
