//! What a directory is: format version, cluster id, topics. One small file, replaced whole.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{EngineError, PartitionIndex, io};

/// 2: one pair of state per key and task, with a part per step. 3: pairs in a log.
const FORMAT: u32 = 3;
const FILE: &str = "identity.json";

/// A topic of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicMeta {
    /// Its name.
    pub name: String,
    /// Random, fixed when it was made.
    pub id: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Index of its first partition; the others follow.
    pub first: u32,
}

impl TopicMeta {
    /// Index of partition `number`.
    pub fn partition(&self, number: u32) -> Option<PartitionIndex> {
        (number < self.partitions).then(|| PartitionIndex(self.first + number))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Identity {
    format: u32,
    pub(super) cluster_id: String,
    pub(super) topics: Vec<TopicMeta>,
}

impl Identity {
    /// Reads the directory's identity, or gives a new directory one.
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && dir.join("high-water").exists() => {
                Err(EngineError::Damaged(format!(
                    "{} is missing: it names the topics of the data directory; restore it from a backup",
                    path.display()
                )))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let identity = Self { format: FORMAT, cluster_id: random_id(dir)?, topics: Vec::new() };
                identity.store(dir)?;
                Ok(identity)
            }
            Err(error) => Err(EngineError::Retry(io("reading", &path, &error))),
        }
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, EngineError> {
        let identity: Self = serde_json::from_slice(bytes).map_err(|error| {
            EngineError::Damaged(format!("{} does not decode: {error}; restore it from a backup", path.display()))
        })?;
        if identity.format != FORMAT {
            let help = if identity.format > FORMAT { "use a newer skuflow" } else { "begin with a new data directory" };
            return Err(EngineError::Fatal(format!(
                "{} has format {}, this program knows {FORMAT}; {help}",
                path.display(),
                identity.format
            )));
        }
        Ok(identity)
    }

    /// Writes it: temporary file, fsync, rename, fsync of the directory.
    fn store(&self, dir: &Path) -> Result<(), EngineError> {
        let (path, temporary) = (dir.join(FILE), dir.join("identity.json.new"));
        let bytes = serde_json::to_vec_pretty(self).expect("plain data");
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&temporary, &path))
            .and_then(|()| sync_dir(dir));
        written.map_err(|error| EngineError::Retry(io("writing", &path, &error)))
    }

    /// Adds a topic.
    pub(super) fn add(&mut self, dir: &Path, name: &str, partitions: u32) -> Result<TopicMeta, EngineError> {
        let first = self.topics.iter().map(|topic| topic.partitions).sum();
        let topic = TopicMeta { name: name.into(), id: random_id(dir)?, partitions, first };
        let mut next = self.clone();
        next.topics.push(topic.clone());
        next.store(dir)?;
        *self = next;
        Ok(topic)
    }
}

/// Makes names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

fn random_id(dir: &Path) -> Result<String, EngineError> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| EngineError::Retry(io("making an id for", dir, &error)))?;
    Ok(bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}
