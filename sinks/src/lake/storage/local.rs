//! Files in a folder.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use iceberg::Result;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, LocalFsStorage, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use serde::{Deserialize, Serialize};
use skuflow_schemas::Timestamp;
use uuid::Uuid;

use super::{Listed, Written, failed};

/// Where files are written before they get their names; files of writers that died may stay there.
pub(super) const STAGED: &str = "staged";
const SCHEME: &str = "file://";

/// The folder of a lake. A file under it is written aside, flushed, linked to its name, which no file may have, and its
/// folder flushed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::lake) struct Local {
    root: PathBuf,
    #[serde(skip)]
    reading: LocalFsStorage,
}

impl Local {
    /// The lake in the folder `root`, which is made where it is missing.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let mut unflushed = Folders::default();
        unflushed.make(root)?;
        let root = root.canonicalize()?;
        unflushed.make(&root.join(STAGED))?;
        unflushed.flush()?;
        Ok(Self { root, reading: LocalFsStorage::new() })
    }

    pub(super) fn open_to_read(root: &Path) -> Self {
        Self { root: root.canonicalize().unwrap_or_else(|_| root.into()), reading: LocalFsStorage::new() }
    }

    /// As Iceberg's own code wants it.
    pub(super) fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(self.clone())).build()
    }

    /// The address of what is at `path` under the lake's folder.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{SCHEME}{}/{path}", self.root.display())
    }

    /// See [`super::Files::reach`].
    pub(super) fn reaches(address: &str) -> bool {
        path_of(address).is_absolute()
    }

    /// See [`super::Files::create`]: the name is on disk when `unflushed` is.
    pub(super) fn create<T>(
        &self,
        address: &str,
        unflushed: &mut Folders,
        write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        let path = path_of(address);
        self.make(path, unflushed, write).map_err(|error| at(path, error))
    }

    fn make<T>(
        &self,
        path: &Path,
        unflushed: &mut Folders,
        write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<T>,
    ) -> io::Result<(T, u64)> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let staged = Staged(self.root.join(STAGED).join(Uuid::new_v4().to_string()));
        let mut file = BufWriter::new(File::create_new(&staged.0)?);
        let written = write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        unflushed.make(folder)?;
        std::fs::hard_link(&staged.0, path)?;
        unflushed.0.insert(folder.into());
        Ok((written, bytes))
    }

    fn create_whole(&self, address: &str, bytes: &[u8]) -> Result<()> {
        let mut unflushed = Folders::default();
        self.create(address, &mut unflushed, |file| file.write_all(bytes)).map_err(failed)?;
        unflushed.flush().map_err(failed)
    }

    /// See [`super::Files::replace`].
    pub(super) fn replace(&self, address: &str, text: &str) -> io::Result<()> {
        let path = path_of(address);
        self.put(path, text).map_err(|error| at(path, error))
    }

    /// See [`super::Files::delete`].
    pub(super) fn delete(address: &str) -> io::Result<()> {
        let path = path_of(address);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, error)),
            _ => Ok(()),
        }
    }

    /// See [`super::Files::read`].
    pub(super) fn read(address: &str) -> io::Result<Bytes> {
        let path = path_of(address);
        std::fs::read(path).map(Bytes::from).map_err(|error| at(path, error))
    }

    /// See [`super::Files::source`].
    pub(super) fn source(address: &str) -> io::Result<File> {
        let path = path_of(address);
        File::open(path).map_err(|error| at(path, error))
    }

    /// See [`super::Files::list`]. What is taken away meanwhile is not there.
    pub(super) fn list(address: &str) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        let mut folders = vec![path_of(address).to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| at(&folder, error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| at(&folder, error))?;
                match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(at(&entry.path(), error)),
                    Ok(found) if found.is_dir() => folders.push(entry.path()),
                    Ok(found) => listed.push(Listed {
                        address: format!("{SCHEME}{}", entry.path().display()),
                        bytes: found.len(),
                        modified: modified(&found),
                    }),
                }
            }
        }
        Ok(listed)
    }

    fn put(&self, path: &Path, text: &str) -> io::Result<()> {
        let staged = Staged(self.root.join(STAGED).join(Uuid::new_v4().to_string()));
        let mut file = File::create_new(&staged.0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&staged.0, path)
    }
}

fn modified(found: &Metadata) -> Timestamp {
    let since = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The second name of a file, taken away when it has its first or never will.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        let _it_may_have_been_renamed = std::fs::remove_file(&self.0);
    }
}

pub(in crate::lake) fn path_of(address: &str) -> &Path {
    Path::new(address.strip_prefix(SCHEME).unwrap_or(address))
}

/// Folders whose newest entries may not be on disk.
#[derive(Debug, Default)]
#[must_use = "what is in them is lost with the power until they are flushed"]
pub(in crate::lake) struct Folders(BTreeSet<PathBuf>);

impl Folders {
    /// Makes a folder and those above it, where they are missing.
    pub(in crate::lake) fn make(&mut self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.make(above)?;
        match std::fs::create_dir(folder) {
            Err(error) if !folder.is_dir() => return Err(error),
            _ => {}
        }
        self.0.insert(above.into());
        Ok(())
    }

    pub(in crate::lake) fn flush(self) -> io::Result<()> {
        self.0.iter().try_for_each(|folder| File::open(folder)?.sync_all())
    }
}

/// What went wrong at the bottom, and where.
fn at(path: &Path, error: io::Error) -> io::Error {
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let kind = cause.downcast_ref::<io::Error>().map_or(error.kind(), io::Error::kind);
    io::Error::new(kind, format!("{}: {cause}", path.display()))
}

#[async_trait]
#[typetag::serde]
impl Storage for Local {
    async fn exists(&self, path: &str) -> Result<bool> {
        self.reading.exists(path).await
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        self.reading.metadata(path).await
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.reading.read(path).await
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        self.reading.reader(path).await
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.create_whole(path, &bytes)
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(Written::new(self.clone(), path)))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.reading.delete(path).await
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        self.reading.delete_prefix(path).await
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> Result<()> {
        self.reading.delete_stream(paths).await
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.into()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.into()))
    }
}

#[typetag::serde]
impl StorageFactory for Local {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn a_file_is_made_once_and_whole() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let local = Local::open(&dir.path().join("a/lake")).expect("can be made");
        let address = local.address("t/date=1970-01-01/x");
        let mut unflushed = Folders::default();
        let ((), bytes) = local.create(&address, &mut unflushed, |file| file.write_all(b"first")).expect("new");
        assert_eq!(bytes, 5);
        assert_eq!(unflushed.0.len(), 3, "the lake's folder, the table's and the date's: {unflushed:?}");
        let again = local.create(&address, &mut unflushed, |file| file.write_all(b"second")).expect_err("there is one");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let no_space = |_: &mut (dyn Write + Send)| {
            Err::<(), _>(io::Error::other(ParquetError::from(io::Error::from_raw_os_error(28))))
        };
        let failing = local.create(&local.address("t/y"), &mut unflushed, no_space).expect_err("no space");
        let said = format!("{}: No space left on device (os error 28)", path_of(&local.address("t/y")).display());
        assert_eq!((failing.kind(), failing.to_string()), (io::ErrorKind::StorageFull, said));
        assert_eq!(std::fs::read(path_of(&address)).expect("there"), b"first");
        assert!(!path_of(&local.address("t/y")).exists());
        unflushed.flush().expect("they are there");
        let listed = Local::list(&local.address("t")).expect("readable");
        assert_eq!(listed.iter().map(|file| (&file.address, file.bytes)).collect::<Vec<_>>(), [(&address, 5)]);
        assert_eq!(Local::list(&local.address("u")).expect("there is none"), []);
        assert_eq!(Local::read(&address).expect("there"), "first");
        let staged = std::fs::read_dir(dir.path().join("a/lake").join(STAGED)).expect("there").count();
        assert_eq!(staged, 0, "nothing is left behind");
    }
}
