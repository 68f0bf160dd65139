//! Which files there are, how they look, and how to read one.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::config::Compression;
use crate::ConnectorError;
use crate::limits::{FINGERPRINT_BYTES, HASH_BLOCK_BYTES};

/// What the directory says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stat {
    #[serde(rename = "s")]
    pub(super) size: u64,
    #[serde(rename = "m")]
    pub(super) modified_ns: u64,
}

impl Stat {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stat {
    fn from(metadata: &Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(std::time::UNIX_EPOCH);
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { size: metadata.len(), modified_ns: since.as_nanos() as u64 }
    }
}

/// The files of a path (a file, a folder, a glob), sorted by name.
pub(super) fn files(base: &Path, path: &str) -> Result<Vec<(PathBuf, Stat)>, ConnectorError> {
    let full = base.join(path);
    // Only what is written in `path` is a pattern, and only if it is no name.
    let escaped = |name: &Path| PathBuf::from(glob::Pattern::escape(&name.to_string_lossy()));
    let pattern = match std::fs::metadata(&full) {
        Ok(metadata) if metadata.is_dir() => escaped(&full).join("*"),
        Ok(_) => escaped(&full),
        Err(_) => escaped(base).join(path),
    };
    let pattern = pattern.to_string_lossy().into_owned();
    let found = glob::glob(&pattern).map_err(|error| ConnectorError::Fatal(format!("path `{path}`: {error}")))?;
    let looked_at = found.filter_map(Result::ok).filter_map(|path| Some((std::fs::metadata(&path).ok()?, path)));
    let mut files: Vec<(PathBuf, Stat)> = looked_at
        .filter(|(metadata, _)| metadata.is_file())
        .map(|(metadata, path)| (path, Stat::from(&metadata)))
        .collect();
    files.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(files)
}

/// A file as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Look {
    #[serde(flatten)]
    pub(super) stat: Stat,
    /// How many of its first bytes `head` is the hash of.
    #[serde(rename = "k")]
    head_bytes: u64,
    #[serde(rename = "h")]
    head: u64,
    /// Of what was in it when it was last read to its end.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none", default)]
    content: Option<Content>,
}

impl Look {
    /// Looks at a file.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let stat = Stat::of(path)?;
        let (head_bytes, head) = head(path, FINGERPRINT_BYTES as u64)?;
        Ok(Self { stat, head_bytes, head, content: None })
    }

    /// Looks again at a file that begins as this one, so that its hash can be carried on.
    pub(super) fn again(self, path: &Path) -> io::Result<Self> {
        Ok(Self { content: self.content, ..Self::at(path)? })
    }

    /// Whether the file, which is `now` so large, begins with what was in it, as far as its beginning and the last block
    /// of what was read tell.
    pub(super) fn begins(&self, path: &Path, now: Stat) -> io::Result<bool> {
        if now.size < self.stat.size || head(path, self.head_bytes)? != (self.head_bytes, self.head) {
            return Ok(false);
        }
        self.content.map_or(Ok(true), |content| Ok(content.carried_on(path, content.bytes)? == content))
    }

    /// Whether the file has the same bytes as when it was read to its end.
    pub(super) fn is_all_of(&self, path: &Path, now: Stat) -> io::Result<bool> {
        let Some(content) = self.content.filter(|content| content.bytes == now.size) else { return Ok(false) };
        Ok(now.size == self.stat.size && Content::default().carried_on(path, now.size)? == content)
    }

    /// With the hash of what is in it, unless it has changed since.
    pub(super) fn with_content(mut self, path: &Path) -> Self {
        let carried_on = self.content.unwrap_or_default().carried_on(path, self.stat.size);
        if let (Ok(content), Ok(stat)) = (carried_on, Stat::of(path))
            && stat == self.stat
        {
            self.content = Some(content);
        }
        self
    }
}

fn head(path: &Path, bytes: u64) -> io::Result<(u64, u64)> {
    let mut head = Vec::new();
    File::open(path)?.take(bytes).read_to_end(&mut head)?;
    Ok((head.len() as u64, xxh3_64(&head)))
}

/// A hash of a file's bytes that can be carried on when the file grows: each block is hashed with the hash of those before
/// it as the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// How many bytes it is of.
    #[serde(rename = "b")]
    bytes: u64,
    #[serde(rename = "h")]
    hash: u64,
    /// The hash of the whole blocks among them.
    #[serde(rename = "c")]
    chain: u64,
}

impl Content {
    /// Of the first `bytes` bytes of a file that begins with what this is of; reads from the last block on.
    fn carried_on(mut self, path: &Path, bytes: u64) -> io::Result<Self> {
        let mut start = self.bytes - self.bytes % HASH_BLOCK_BYTES;
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::with_capacity(HASH_BLOCK_BYTES as usize);
        loop {
            block.clear();
            file.by_ref().take(HASH_BLOCK_BYTES.min(bytes.saturating_sub(start))).read_to_end(&mut block)?;
            start += block.len() as u64;
            self.hash = xxh3_64_with_seed(&block, self.chain);
            if (block.len() as u64) < HASH_BLOCK_BYTES {
                return Ok(Self { bytes: start, ..self });
            }
            self.chain = self.hash;
        }
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
