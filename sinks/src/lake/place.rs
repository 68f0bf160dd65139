//! Where a lake is.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::catalog::Address;

/// Where the files of a lake are, and the catalog that says which of them are its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where its files are.
    pub root: Root,
    /// The catalog.
    pub catalog: Address,
}

/// Where files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(BucketPlace, Access),
}

/// A bucket, and what all addresses of the lake in it begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlace {
    /// Its name.
    pub bucket: String,
    /// Without `/` at its ends; may be empty.
    pub prefix: String,
}

/// How a bucket is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The server; none: Amazon's.
    pub endpoint: Option<String>,
    /// The bucket's region; none: that of the environment, or `us-east-1`.
    pub region: Option<String>,
    /// Who asks; none: whom the environment or the machine says.
    pub keys: Option<Keys>,
    /// Whether the bucket's name is in the path rather than in the host's name; none: where it has to be.
    pub path_style: Option<bool>,
    /// Whether a connection may be unencrypted.
    pub allow_http: bool,
}

impl Access {
    /// Whether the bucket's name is in the path: with a server that has no name for each bucket, or no certificate for it.
    pub fn is_path_style(&self, bucket: &str) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some() || bucket.contains('.'))
    }

    /// What no request could be made of, if something is.
    pub(super) fn flaw(&self, bucket: &str) -> Option<String> {
        let server = self.endpoint.as_deref().map(|endpoint| {
            let bucket = (!self.is_path_style(bucket)).then_some(bucket);
            (host_of(endpoint, bucket), endpoint)
        });
        if let Some((address, endpoint)) = server
            && Url::parse(&address).is_err()
        {
            let help = "write another `endpoint`, or path_style = true where it has no name";
            return Some(format!(
                "with the endpoint {endpoint} the bucket is at {address}, which is no address; {help}"
            ));
        }
        let is_region = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if let Some(region) = self.region.as_ref().filter(|region| region.is_empty() || !region.chars().all(is_region))
        {
            return Some(format!("no region is called {region:?}; write one like \"eu-central-1\""));
        }
        let is_sent = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
        let keys = self.keys.as_ref();
        let wrong = keys.is_some_and(|keys| !is_sent(&keys.id) || !keys.token.iter().all(is_sent));
        wrong.then(|| "`access_key_id` or `session_token` has a space, a line break or the like in it".to_owned())
    }
}

/// An endpoint, with the bucket before the host's name where it belongs there.
pub(super) fn host_of(endpoint: &str, bucket: Option<&str>) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    match (endpoint.split_once("://"), bucket) {
        (Some((scheme, host)), Some(bucket)) => format!("{scheme}://{bucket}.{host}"),
        _ => endpoint.into(),
    }
}

/// Credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Who.
    pub id: String,
    /// What shows it.
    pub secret: String,
    /// What comes along with credentials for a time.
    pub token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// What the address of a file in a bucket begins with.
pub(super) const S3: &str = "s3://";

impl fmt::Display for BucketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{S3}{}{slash}{}", self.bucket, self.prefix)
    }
}

impl BucketPlace {
    /// What `path` says; `None` where it is a folder.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(path: &str) -> Result<Option<Self>, (String, &'static str)> {
        const USUAL: &str = "write \"data/lake\", or \"s3://bucket/lake\"";
        let Some((scheme, rest)) = path.split_once("://") else { return Ok(None) };
        if scheme != "s3" {
            return Err((format!("a lake cannot be at `{scheme}://`"), USUAL));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_name = (3..=63).contains(&bucket.len())
            && bucket.chars().all(|c| is_plain(c) || matches!(c, '-' | '.'))
            && bucket.starts_with(is_plain)
            && bucket.ends_with(is_plain);
        if !is_name {
            let help = "names have 3 to 63 characters out of a-z, 0-9, `-` and `.`; write \"s3://bucket/lake\"";
            return Err((format!("no bucket is called `{bucket}`"), help));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_folder = |name: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
            !name.is_empty() && !matches!(name, "." | "..") && name.chars().all(fits)
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_folder) {
            let help = "use letters, digits, `-`, `_`, `.`, `=` and single `/`; write \"s3://bucket/lake\"";
            return Err((format!("addresses in a bucket cannot begin with `{prefix}`"), help));
        }
        Ok(Some(Self { bucket: bucket.into(), prefix: prefix.into() }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Folder(folder) => folder.display().fmt(f),
            Root::Bucket(bucket, _) => bucket.fmt(f),
        }
    }
}

impl Place {
    /// A folder with files and catalog.
    pub fn folder(folder: &Path) -> Self {
        Self { root: Root::Folder(folder.into()), catalog: Address::beside(folder) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_request_can_be_made_of_is_said() {
        let flaw = |change: fn(&mut Access)| {
            let keys = Keys { id: "me".into(), secret: "s".into(), token: Some("t".into()) };
            let mut access = Access { keys: Some(keys), ..Access::default() };
            change(&mut access);
            access.flaw("bkt").unwrap_or_default()
        };
        assert_eq!(flaw(|_| ()), "");
        assert_eq!(flaw(|access| access.endpoint = Some("http://127.0.0.1:9000".into())), "");
        let vhost = flaw(|access| {
            (access.endpoint, access.path_style) = (Some("http://127.0.0.1:9000".into()), Some(false));
        });
        assert!(vhost.contains("http://bkt.127.0.0.1:9000") && vhost.contains("path_style = true"), "{vhost}");
        assert!(flaw(|access| access.endpoint = Some("https://host:99999".into())).contains("no address"));
        for region in ["", "eu west"] {
            let mut access = Access { region: Some(region.into()), ..Access::default() };
            assert!(access.flaw("bkt").is_some_and(|flaw| flaw.contains("no region")), "{region}");
            access.region = None;
            assert_eq!(access.flaw("bkt"), None);
        }
        assert!(
            flaw(|access| access.keys.as_mut().expect("some").token = Some("t\n".into())).contains("session_token")
        );
    }

    #[test]
    fn a_bucket_whose_name_fits_no_certificate_is_in_the_path() {
        let amazon = Access::default();
        assert!(amazon.is_path_style("my.bucket") && !amazon.is_path_style("my-bucket"));
        assert!(Access { endpoint: Some("https://host".into()), ..amazon }.is_path_style("my-bucket"));
    }

    /// The place, or what is wrong.
    fn check(path: &str, expected: &str) {
        let found = match BucketPlace::parse(path) {
            Ok(None) => "a folder".into(),
            Ok(Some(place)) => place.to_string(),
            Err((wrong, _)) => wrong,
        };
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn a_path_is_a_folder_or_in_a_bucket() {
        check("data/lake", "a folder");
        check("s3://bkt/lake/v1/", "s3://bkt/lake/v1");
        check("s3://my.bucket-1", "s3://my.bucket-1");
        check("s3://bkt/", "s3://bkt");
        check("gs://bkt/lake", "a lake cannot be at `gs://`");
        check("file:///lake", "a lake cannot be at `file://`");
        check("s3://ab/lake", "no bucket is called `ab`");
        check("s3://-bkt/lake", "no bucket is called `-bkt`");
        check("s3://Bucket/lake", "no bucket is called `Bucket`");
        check(&format!("s3://{}", "b".repeat(64)), &format!("no bucket is called `{}`", "b".repeat(64)));
        check("s3://bkt/a//b", "addresses in a bucket cannot begin with `a//b`");
        check("s3://bkt/../b", "addresses in a bucket cannot begin with `../b`");
        check("s3://bkt/a b", "addresses in a bucket cannot begin with `a b`");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let keys = Keys { id: "me".into(), secret: "hidden".into(), token: Some("hidden".into()) };
        let bucket = BucketPlace { bucket: "bkt".into(), prefix: String::new() };
        let root = Root::Bucket(bucket, Access { keys: Some(keys), ..Access::default() });
        let place = Place { root, catalog: Address::beside(Path::new("lake")) };
        assert!(!format!("{place:?} {place}").contains("hidden"));
    }
}
