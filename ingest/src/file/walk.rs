//! Which files there are, and how to read one.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::config::Compression;
use crate::ConnectorError;
use crate::limits::FINGERPRINT_BYTES;

/// The files of a path (a file, a folder, a glob), sorted by name.
pub(super) fn files(base: &Path, path: &str) -> Result<Vec<PathBuf>, ConnectorError> {
    let full = base.join(path);
    let pattern = if full.is_dir() { full.join("*") } else { full };
    let pattern = pattern.to_string_lossy().into_owned();
    let found = glob::glob(&pattern).map_err(|error| ConnectorError::Fatal(format!("path `{path}`: {error}")))?;
    let mut files: Vec<PathBuf> = found.filter_map(Result::ok).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// What tells whether a file is the one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) size: u64,
    pub(super) modified_ns: u64,
    /// How many of its first bytes `head` is the hash of.
    pub(super) head_bytes: u64,
    pub(super) head: u64,
}

impl Look {
    /// Looks at a file; `head_bytes` as in an earlier look, or as many as there are.
    pub(super) fn at(path: &Path, head_bytes: Option<u64>) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let since = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let wanted = head_bytes.unwrap_or(FINGERPRINT_BYTES as u64).min(FINGERPRINT_BYTES as u64);
        let mut head = Vec::new();
        File::open(path)?.take(wanted).read_to_end(&mut head)?;
        Ok(Self {
            size: metadata.len(),
            modified_ns: since.as_nanos() as u64,
            head_bytes: head.len() as u64,
            head: xxh3_64(&head),
        })
    }
}

/// Opens a file `skip` bytes into what it says.
pub(super) fn open(path: &Path, compression: Compression, skip: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    let compression = match compression {
        Compression::Auto => detect(&mut file)?,
        said => said,
    };
    let mut reader: Box<dyn Read + Send> = match compression {
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))),
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
        Compression::None | Compression::Auto => {
            file.seek(SeekFrom::Start(skip))?;
            return Ok(Box::new(file));
        }
    };
    io::copy(&mut reader.by_ref().take(skip), &mut io::sink())?;
    Ok(reader)
}

fn detect(file: &mut File) -> io::Result<Compression> {
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    })
}
