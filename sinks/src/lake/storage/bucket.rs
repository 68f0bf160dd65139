//! Files in a bucket.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use futures_core::stream::BoxStream;
use iceberg::Result;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, Error, GetOptions, MultipartUpload, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, RetryConfig,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skuflow_schemas::Timestamp;
use tempfile::SpooledTempFile;
use uuid::Uuid;

use super::remedy::told;
use super::{Listed, Written, failed};
use crate::lake::place::{Access, BucketPlace, Keys, S3, host_of};
use crate::limits::{
    PUT_BYTES_MAX, PUT_PART_BYTES, PUT_TRIES_MAX, S3_BACKOFF, S3_BACKOFF_MAX, S3_CONNECT_TIMEOUT, S3_RETRIES_MAX,
    S3_RETRY_TIMEOUT, S3_TIMEOUT, SPOOL_BYTES_MAX,
};

/// What an object of ours says of the call that made it: one whose answer got lost is known by it.
const MARK: &str = "skuflow-mark";

/// Where the files of a lake are in a bucket, and in those where its catalog places tables. An object is made where there is none, with all its bytes; what came of a call
/// without an answer is looked up.
#[derive(Clone)]
pub(in crate::lake) struct Bucket {
    /// By bucket, as they are needed.
    stores: Arc<Mutex<BTreeMap<String, Arc<AmazonS3>>>>,
    place: BucketPlace,
    access: Access,
    /// Whether who gives the credentials renews them.
    renewed: bool,
    /// The server, as errors name it.
    server: String,
}

/// An object that has a name, as far as one that wants it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    Another,
}

/// What to do after a call that should have made an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Done,
    Again,
    Fails(io::ErrorKind),
}

/// After a call that failed with `kind`, where `found` is there. A server that refuses an object that is not there was busy
/// with another call for it, or has forgotten it since.
fn next(kind: io::ErrorKind, found: Found, tries_left: u32) -> Next {
    match found {
        Found::Ours => Next::Done,
        Found::Another => Next::Fails(io::ErrorKind::AlreadyExists),
        Found::Nothing if tries_left > 0 => Next::Again,
        Found::Nothing if kind == io::ErrorKind::AlreadyExists => Next::Fails(io::ErrorKind::Other),
        Found::Nothing => Next::Fails(kind),
    }
}

impl Bucket {
    /// The lake at `place`; nothing is asked for.
    pub(super) fn open(place: &BucketPlace, access: &Access) -> io::Result<Self> {
        if let Some(flaw) = access.flaw(&place.bucket) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{place}: {flaw}")));
        }
        let server = access.endpoint.clone().unwrap_or_else(|| "Amazon S3".into());
        let renewed = builder(&place.bucket, access).get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_none();
        let opened = Self { stores: Arc::default(), place: place.clone(), access: access.clone(), renewed, server };
        opened.store(&place.bucket)?;
        Ok(opened)
    }

    fn store(&self, bucket: &str) -> io::Result<Arc<AmazonS3>> {
        let mut stores = self.stores.lock().expect("nobody panics over it");
        if let Some(store) = stores.get(bucket) {
            return Ok(store.clone());
        }
        let built = builder(bucket, &self.access).build();
        let failed = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{S3}{bucket}: {error}"));
        let store = Arc::new(built.map_err(failed)?);
        stores.insert(bucket.into(), store.clone());
        Ok(store)
    }

    /// As Iceberg's own code wants it.
    pub(super) fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(self.clone())).build()
    }

    /// The address of what is at `path` in the lake.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.place)
    }

    /// See [`super::Files::reach`].
    pub(super) fn reaches(address: &str) -> bool {
        parts(address).is_some()
    }

    /// The bucket of what is at `address`, and its name there.
    fn object(&self, address: &str) -> io::Result<(Arc<AmazonS3>, Path)> {
        let parts = parts(address).and_then(|(bucket, key)| Some((bucket, Path::parse(key).ok()?)));
        let nowhere = || io::Error::new(io::ErrorKind::InvalidData, format!("{address} is not in a bucket"));
        let (bucket, key) = parts.ok_or_else(nowhere)?;
        Ok((self.store(bucket)?, key))
    }

    fn told(&self, address: &str, error: &Error) -> io::Error {
        told(&format!("{address} at {}", self.server), error, self.renewed)
    }

    /// See [`super::Files::create`]. What is written is kept aside until it is sent, so that it is the same each time.
    pub(super) async fn create<T>(
        &self,
        address: &str,
        write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        let mut out = BufWriter::new(SpooledTempFile::new(SPOOL_BYTES_MAX));
        let written = write(&mut out)?;
        let mut spool = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let bytes = spool.stream_position()?;
        spool.rewind()?;
        if bytes > PUT_BYTES_MAX {
            self.put_parts(address, &mut spool, bytes).await?;
        } else {
            let mut whole = Vec::with_capacity(bytes as usize);
            spool.read_to_end(&mut whole)?;
            self.put(address, whole.into()).await?;
        }
        Ok((written, bytes))
    }

    /// Makes an object in one call, or in the next where that came to nothing.
    async fn put(&self, address: &str, bytes: Bytes) -> io::Result<()> {
        let ((store, key), mark) = (self.object(address)?, Uuid::new_v4().to_string());
        for tries_left in (0..PUT_TRIES_MAX).rev() {
            let options = PutOptions { mode: PutMode::Create, attributes: marked(&mark), ..PutOptions::default() };
            let Err(error) = store.put_opts(&key, bytes.clone().into(), options).await else { return Ok(()) };
            let error = self.told(address, &error);
            if error.kind() == io::ErrorKind::InvalidData {
                return Err(error);
            }
            let Ok(found) = find(&store, &key, &mark, bytes.len() as u64).await else { return Err(error) };
            match next(error.kind(), found, tries_left) {
                Next::Done => return Ok(()),
                Next::Again => {}
                Next::Fails(kind) => return Err(io::Error::new(kind, error.to_string())),
            }
        }
        unreachable!("the last try ends it")
    }

    /// Makes a large object of parts. A name that another one gets meanwhile is taken from it, as `object_store` can complete
    /// no such call under a condition: names of large files are of one commit of one writer.
    async fn put_parts(&self, address: &str, from: &mut (impl Read + Send), bytes: u64) -> io::Result<()> {
        let ((store, key), mark) = (self.object(address)?, Uuid::new_v4().to_string());
        if find(&store, &key, &mark, bytes).await.map_err(|error| self.told(address, &error))? != Found::Nothing {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{address}: there is one")));
        }
        let options = PutMultipartOptions { attributes: marked(&mark), ..PutMultipartOptions::default() };
        let upload = store.put_multipart_opts(&key, options).await;
        let mut upload = upload.map_err(|error| self.told(address, &error))?;
        let Err(error) = self.send(address, upload.as_mut(), from).await else { return Ok(()) };
        if find(&store, &key, &mark, bytes).await.is_ok_and(|found| found == Found::Ours) {
            return Ok(()); // the last answer got lost
        }
        if let Err(aborting) = upload.abort().await {
            tracing::warn!(error = %self.told(address, &aborting), "parts of a file stay in the bucket, whose rules should remove them");
        }
        Err(error)
    }

    async fn send(
        &self,
        address: &str,
        upload: &mut dyn MultipartUpload,
        from: &mut (impl Read + Send),
    ) -> io::Result<()> {
        loop {
            let mut part = Vec::with_capacity(PUT_PART_BYTES as usize);
            from.by_ref().take(PUT_PART_BYTES).read_to_end(&mut part)?;
            if part.is_empty() {
                break;
            }
            upload.put_part(part.into()).await.map_err(|error| self.told(address, &error))?;
        }
        upload.complete().await.map(drop).map_err(|error| self.told(address, &error))
    }

    /// See [`super::Files::read`].
    pub(super) async fn get(&self, address: &str) -> io::Result<Bytes> {
        let (store, key) = self.object(address)?;
        let got = match store.get(&key).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        got.map_err(|error| self.told(address, &error))
    }

    /// See [`super::Files::replace`].
    pub(super) async fn replace(&self, address: &str, text: &str) -> io::Result<()> {
        let (store, key) = self.object(address)?;
        let put = store.put(&key, Bytes::from(text.to_owned()).into()).await;
        put.map(drop).map_err(|error| self.told(address, &error))
    }

    /// See [`super::Files::delete`].
    pub(super) async fn remove(&self, address: &str) -> io::Result<()> {
        let (store, key) = self.object(address)?;
        match store.delete(&key).await.map_err(|error| self.told(address, &error)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// See [`super::Files::source`]: a copy that nobody else has.
    pub(super) async fn source(&self, address: &str) -> io::Result<File> {
        let (store, key) = self.object(address)?;
        let got = store.get(&key).await;
        let mut pieces = got.map_err(|error| self.told(address, &error))?.into_stream();
        let mut copy = tempfile::tempfile()?;
        while let Some(piece) = following(&mut pieces).await {
            copy.write_all(&piece.map_err(|error| self.told(address, &error))?)?;
        }
        copy.rewind()?;
        Ok(copy)
    }

    /// The objects in the folder at `address`, see [`super::Files::list`]. A server may name folders that are empty by now, as
    /// objects without bytes, which no file of a lake is.
    pub(super) async fn list(&self, address: &str) -> io::Result<Vec<Listed>> {
        let (store, folder) = self.object(address)?;
        let mut objects = store.list(Some(&folder));
        let (bucket, _) = parts(address).expect("it is an object's");
        let mut all = Vec::new();
        while let Some(object) = following(&mut objects).await {
            let object = object.map_err(|error| self.told(address, &error))?;
            if object.size > 0 {
                all.push(Listed {
                    address: format!("{S3}{bucket}/{}", object.location),
                    bytes: object.size,
                    modified: Timestamp::from_micros(object.last_modified.timestamp_micros()),
                });
            }
        }
        Ok(all)
    }

    /// Whether it does what a lake needs: makes an object where there is none, and only there.
    pub(super) async fn examine(&self) -> io::Result<()> {
        let address = self.address(&format!(".skuflow-check-{}", Uuid::new_v4()));
        self.put(&address, Bytes::from_static(b"first")).await?;
        let again = self.put(&address, Bytes::from_static(b"second")).await;
        let listed = self.list(&address).await;
        self.remove(&address).await?;
        listed?;
        match again {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} writes over objects when it is told not to (If-None-Match); use another server",
                    self.server
                ),
            )),
        }
    }
}

/// The bucket that an address names, and what is behind it.
fn parts(address: &str) -> Option<(&str, &str)> {
    address.strip_prefix(S3)?.split_once('/')
}

/// What is called `key`, for the call with `mark` that wants to make `bytes` of it.
async fn find(store: &AmazonS3, key: &Path, mark: &str, bytes: u64) -> object_store::Result<Found> {
    let options = GetOptions { head: true, ..GetOptions::default() };
    let found = match store.get_opts(key, options).await {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let is_marked = found.attributes.get(&Attribute::Metadata(MARK.into())).is_some_and(|value| &**value == mark);
    Ok(if is_marked && found.meta.size == bytes { Found::Ours } else { Found::Another })
}

fn builder(bucket: &str, access: &Access) -> AmazonS3Builder {
    let Access { endpoint, region, keys, allow_http, .. } = access;
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: S3_BACKOFF, max_backoff: S3_BACKOFF_MAX, base: 2.0 }, // with jitter
        max_retries: S3_RETRIES_MAX,
        retry_timeout: S3_RETRY_TIMEOUT,
    };
    let client = ClientOptions::new().with_timeout(S3_TIMEOUT).with_connect_timeout(S3_CONNECT_TIMEOUT);
    let mut builder = match keys {
        None => from_environment(std::env::vars()),
        Some(Keys { id, secret, token }) => {
            let with_keys = AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret);
            token.iter().fold(with_keys, AmazonS3Builder::with_token)
        }
    };
    let is_path_style = access.is_path_style(bucket);
    builder = builder
        .with_client_options(client)
        .with_allow_http(*allow_http)
        .with_retry(retry)
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!is_path_style)
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(host_of(endpoint, (!is_path_style).then_some(bucket)));
    }
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    builder
}

/// Who asks, as the environment says it. Where to ask, and how, is for the config to say.
fn from_environment(variables: impl Iterator<Item = (String, String)>) -> AmazonS3Builder {
    use AmazonS3ConfigKey as Key;
    const WHO: &[Key] = &[
        Key::AccessKeyId,
        Key::SecretAccessKey,
        Key::Token,
        Key::ImdsV1Fallback,
        Key::MetadataEndpoint,
        Key::ContainerCredentialsRelativeUri,
        Key::ContainerCredentialsFullUri,
        Key::ContainerAuthorizationTokenFile,
        Key::WebIdentityTokenFile,
        Key::RoleArn,
        Key::RoleSessionName,
        Key::StsEndpoint,
    ];
    let known = |name: &str| name.strip_prefix("AWS_").and_then(|_| name.to_ascii_lowercase().parse().ok());
    let said = variables.filter_map(|(name, value)| Some((known(&name)?, value)));
    said.filter(|(key, _)| WHO.contains(key))
        .fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value))
}

fn marked(mark: &str) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(MARK.into()), mark.to_owned())])
}

async fn following<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({} at {})", self.place, self.server)
    }
}

/// As what it is; credentials stay here.
impl Serialize for Bucket {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        [("place", self.place.to_string())]
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>()
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bucket {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom("a bucket is opened with credentials, which nobody writes down"))
    }
}

/// An object that is read in stretches.
struct Opened {
    bucket: Bucket,
    address: String,
}

#[async_trait]
impl FileRead for Opened {
    async fn read(&self, range: std::ops::Range<u64>) -> Result<Bytes> {
        let (store, key) = self.bucket.object(&self.address).map_err(failed)?;
        let read = store.get_range(&key, range).await;
        read.map_err(|error| failed(self.bucket.told(&self.address, &error)))
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for Bucket {
    async fn exists(&self, path: &str) -> Result<bool> {
        let (store, key) = self.object(path).map_err(failed)?;
        match store.head(&key).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(self.told(path, &error))),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (store, key) = self.object(path).map_err(failed)?;
        let found = store.head(&key).await;
        found.map(|found| FileMetadata { size: found.size }).map_err(|error| failed(self.told(path, &error)))
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.get(path).await.map_err(failed)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(Opened { bucket: self.clone(), address: path.into() }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.put(path, bytes).await.map_err(failed)
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(Written::new(self.clone(), path)))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.remove(path).await.map_err(failed)
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        for stored in self.list(path).await.map_err(failed)? {
            self.remove(&stored.address).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = following(&mut paths).await {
            self.remove(&path).await.map_err(failed)?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.into()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.into()))
    }
}

#[typetag::serde]
impl StorageFactory for Bucket {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests;
