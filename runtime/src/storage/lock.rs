//! One process owns a directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{EngineError, io};

/// Holds a directory for this process, until it is dropped or the process ends, however it ends.
pub struct DirectoryLock {
    dir: PathBuf,
    file: File,
}

impl DirectoryLock {
    /// Makes the directory if there is none, and locks it.
    ///
    /// # Errors
    /// `Locked` where another process has it; `Retry` where it cannot be made or written.
    pub fn acquire(dir: &Path) -> Result<Self, EngineError> {
        std::fs::create_dir_all(dir).map_err(|error| EngineError::Retry(io("creating", dir, &error)))?;
        let path = dir.join("lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| EngineError::Retry(io("opening", &path, &error)))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _unread_is_unknown = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown".into() } else { pid.trim().into() };
            return Err(EngineError::Locked { path: dir.display().to_string(), pid });
        }
        // The number helps whoever is refused; the lock holds without it, also on a full disk.
        let _best_effort = file.set_len(0).and_then(|()| file.rewind());
        let _best_effort = write!(file, "{}", std::process::id());
        Ok(Self { dir: dir.to_path_buf(), file })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for DirectoryLock {
    /// Closing is not enough: a process that is being started at this moment has a copy of the descriptor until it executes
    /// its program, and would hold the lock for as long.
    fn drop(&mut self) {
        let _closing_does_it_a_little_later = flock(&self.file, FlockOperation::Unlock);
    }
}
