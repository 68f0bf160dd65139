//! Files that are whole and kept before anything names them.

mod bucket;
mod local;
mod remedy;

use std::fs::File;
use std::io::{self, Write};

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::{FileIO, FileWrite, Storage};
use iceberg::{Error, ErrorKind, Result};
use skuflow_schemas::Timestamp;

use super::place::{Place, Root};
use crate::SinkError;
use bucket::Bucket;
pub(super) use local::{Folders, path_of};
use local::{Local, STAGED};

/// The files of a lake, by address. A file has its name once it is whole, and no file had the name before. An error of kind
/// `InvalidData` will not get better by itself.
#[derive(Clone, Debug)]
pub(super) enum Files {
    /// In a folder.
    Local(Local),
    /// In a bucket.
    Bucket(Bucket),
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) address: String,
    pub(super) bytes: u64,
    /// When it was made, by the clock of what holds it.
    pub(super) modified: Timestamp,
}

impl Files {
    /// Those at `place`, which is made where it is a folder that is missing.
    pub(super) fn open(place: &Place) -> std::result::Result<Self, SinkError> {
        let opened = match &place.root {
            Root::Folder(folder) => Local::open(folder).map(Self::Local),
            Root::Bucket(bucket, access) => Bucket::open(bucket, access).map(Self::Bucket),
        };
        opened.map_err(|error| unkept(&format!("opening {place}"), &error))
    }

    /// Those at `place` for who looks at them: nothing is made.
    pub(super) fn open_to_read(place: &Place) -> std::result::Result<Self, SinkError> {
        match &place.root {
            Root::Folder(folder) => Ok(Self::Local(Local::open_to_read(folder))),
            Root::Bucket(..) => Self::open(place),
        }
    }

    /// As Iceberg's own code wants them.
    pub(super) fn file_io(&self) -> FileIO {
        match self {
            Self::Local(local) => local.file_io(),
            Self::Bucket(bucket) => bucket.file_io(),
        }
    }

    /// The folder of files that have no name yet, where there is one.
    pub(super) fn staged(&self) -> Option<&'static str> {
        matches!(self, Self::Local(_)).then_some(STAGED)
    }

    /// The address of what is at `path` in the lake.
    pub(super) fn address(&self, path: &str) -> String {
        match self {
            Self::Local(local) => local.address(path),
            Self::Bucket(bucket) => bucket.address(path),
        }
    }

    /// Whether files at `address` are of this kind.
    pub(super) fn reach(&self, address: &str) -> bool {
        match self {
            Self::Local(_) => Local::reaches(address),
            Self::Bucket(_) => Bucket::reaches(address),
        }
    }

    /// Makes the file at `address` of what `write` writes; says how large it is. It stays whatever happens once `unflushed` is
    /// flushed.
    ///
    /// # Errors
    /// With the path; of kind `AlreadyExists` where there is one of this name. Nothing is at `address` then that was not
    /// there before, unless the store gave no answer: what it makes of such a call is whole.
    pub(super) async fn create<T>(
        &self,
        address: &str,
        unflushed: &mut Folders,
        write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        match self {
            Self::Local(local) => local.create(address, unflushed, write),
            Self::Bucket(bucket) => bucket.create(address, write).await,
        }
    }

    /// Puts `text` at `address`, in the place of what is there: a reader finds the one or the other.
    pub(super) async fn replace(&self, address: &str, text: &str) -> io::Result<()> {
        match self {
            Self::Local(local) => local.replace(address, text),
            Self::Bucket(bucket) => bucket.replace(address, text).await,
        }
    }

    /// Takes the file at `address` away, where there is one.
    pub(super) async fn delete(&self, address: &str) -> io::Result<()> {
        match self {
            Self::Local(_) => Local::delete(address),
            Self::Bucket(bucket) => bucket.remove(address).await,
        }
    }

    /// What is in the file at `address`.
    pub(super) async fn read(&self, address: &str) -> io::Result<Bytes> {
        match self {
            Self::Local(_) => Local::read(address),
            Self::Bucket(bucket) => bucket.get(address).await,
        }
    }

    /// The file at `address`, to be read a piece at a time.
    pub(super) async fn source(&self, address: &str) -> io::Result<File> {
        match self {
            Self::Local(_) => Local::source(address),
            Self::Bucket(bucket) => bucket.source(address).await,
        }
    }

    /// The files in the folder at `address`, in no order; none where there is no such folder.
    pub(super) async fn list(&self, address: &str) -> io::Result<Vec<Listed>> {
        match self {
            Self::Local(_) => Local::list(address),
            Self::Bucket(bucket) => bucket.list(address).await,
        }
    }
}

/// Whether files can be kept at `place`. Nothing is left behind, and of a folder nothing is asked.
///
/// # Errors
/// What is wrong, and what to do.
pub async fn examine(place: &Place) -> std::result::Result<(), SinkError> {
    let examined = match &place.root {
        Root::Folder(_) => Ok(()),
        Root::Bucket(bucket, access) => match Bucket::open(bucket, access) {
            Ok(bucket) => bucket.examine().await,
            Err(error) => Err(error),
        },
    };
    examined.map_err(|error| unkept(&format!("the lake at {place}"), &error))
}

/// What cannot get better by itself, and everything else, which may.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn fault(error: io::Error) -> SinkError {
    let text = error.to_string();
    if error.kind() == io::ErrorKind::InvalidData { SinkError::Fatal(text) } else { SinkError::Retry(text) }
}

/// The same, and `what` it is about.
pub(super) fn unkept(what: &str, error: &io::Error) -> SinkError {
    fault(io::Error::new(error.kind(), format!("{what}: {error}")))
}

/// The same, as Iceberg's code passes it on.
fn failed(error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::InvalidData { ErrorKind::DataInvalid } else { ErrorKind::Unexpected };
    Error::new(kind, error.to_string())
}

/// A file that is made when it is closed.
struct Written<S> {
    storage: S,
    address: String,
    bytes: Vec<u8>,
}

impl<S> Written<S> {
    fn new(storage: S, address: &str) -> Self {
        Self { storage, address: address.into(), bytes: Vec::new() }
    }
}

#[async_trait]
impl<S: Storage + Unpin + 'static> FileWrite for Written<S> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        self.storage.write(&self.address, bytes.into()).await
    }
}
