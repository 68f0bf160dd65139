//! Files that are whole and kept before anything names them.

mod local;

use std::io::{self, Write};

use iceberg::io::FileIO;
use skuflow_schemas::Timestamp;

use super::place::Place;
use local::Local;
pub(super) use local::{Folders, path_of};

/// The files of a lake, by address. A file has its name once it is whole, and no file had the name before.
#[derive(Clone, Debug)]
pub(super) enum Files {
    /// In a folder.
    Local(Local),
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) address: String,
    pub(super) bytes: u64,
    pub(super) modified: Timestamp,
}

#[expect(clippy::unused_async, reason = "other stores than folders are waited for")]
impl Files {
    /// Those at `place`, which is made where it is missing.
    pub(super) fn open(place: &Place) -> io::Result<Self> {
        Local::open(&place.folder).map(Self::Local)
    }

    /// Those at `place` for who looks at them: nothing is made.
    pub(super) fn open_to_read(place: &Place) -> Self {
        Self::Local(Local::open_to_read(&place.folder))
    }

    /// As Iceberg's own code wants them.
    pub(super) fn file_io(&self) -> FileIO {
        let Self::Local(local) = self;
        local.file_io()
    }

    /// The address of what is at `path` in the lake.
    pub(super) fn address(&self, path: &str) -> String {
        let Self::Local(local) = self;
        local.address(path)
    }

    /// Makes the file at `address` of what `write` writes; says how large it is. It stays whatever happens once `unflushed` is
    /// flushed.
    ///
    /// # Errors
    /// With the path; of kind `AlreadyExists` where there is one of this name. Nothing is at `address` then that was not
    /// there before.
    pub(super) async fn create<T>(
        &self,
        address: &str,
        unflushed: &mut Folders,
        write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        let Self::Local(local) = self;
        local.create(address, unflushed, write)
    }

    /// Puts `text` at `address`, in the place of what is there: a reader finds the one or the other.
    pub(super) async fn replace(&self, address: &str, text: &str) -> io::Result<()> {
        let Self::Local(local) = self;
        local.replace(address, text)
    }

    /// Takes the file at `address` away, where there is one.
    pub(super) async fn delete(&self, address: &str) -> io::Result<()> {
        let Self::Local(_) = self;
        Local::delete(address)
    }

    /// The file at `address`, to be read a piece at a time.
    pub(super) async fn source(&self, address: &str) -> io::Result<std::fs::File> {
        let Self::Local(_) = self;
        Local::source(address)
    }

    /// The files whose addresses begin with the folder `path` of the lake, in no order; none where there is no such folder.
    pub(super) async fn list(&self, path: &str) -> io::Result<Vec<Listed>> {
        let Self::Local(local) = self;
        local.list(path)
    }
}
