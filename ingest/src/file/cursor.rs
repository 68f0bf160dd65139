//! How far each file is read.
//!
//! The cursor has one entry per file, by its path, so that a page is committed with the entries of the files that are on it
//! and not with those of all files. An entry has some 200 bytes and no text of the file. Those of files that are gone are
//! kept, for a file may come back, until there are more than [`FILES_REMEMBERED_MAX`] entries.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::walk::Look;
use crate::Cursor;
use crate::limits::FILES_REMEMBERED_MAX;

/// How far one file is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Behind the last record that ended in a line feed, in what the file says when decompressed.
    #[serde(rename = "b")]
    pub(super) byte: u64,
    #[serde(rename = "l")]
    pub(super) line: u64,
    /// Number of the next record.
    #[serde(rename = "n")]
    pub(super) records: u64,
    /// The file when it was read so far, to tell whether it is still the same one.
    #[serde(rename = "f")]
    pub(super) look: Look,
    #[serde(rename = "s")]
    pub(super) state: State,
}

/// Whether there is more to read in a file that looks as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// There is.
    #[serde(rename = "r")]
    Reading,
    /// A last record without an end, which is still being written as long as the file is watched.
    #[serde(rename = "w")]
    Waiting,
    /// There is not.
    #[serde(rename = "d")]
    Done,
    /// It cannot be read on with the settings of this hash.
    #[serde(rename = "x")]
    Refused(u64),
}

impl Place {
    /// The beginning of a file.
    pub(super) fn start() -> Self {
        Self { byte: 0, line: 1, records: 0, look: Look::default(), state: State::Reading }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}

/// The entries to forget: of files that are gone, those that were not modified for the longest time.
pub(super) fn forgotten<'a>(cursor: &'a Cursor, files: &HashSet<String>) -> impl Iterator<Item = &'a String> {
    let many = cursor.len().saturating_sub(FILES_REMEMBERED_MAX);
    let gone = cursor.iter().filter(|(name, _)| many > 0 && !files.contains(*name));
    let age = |entry: &[u8]| Place::decode(entry).map_or(0, |place| place.look.stat.modified_ns);
    let mut gone: Vec<(u64, &String)> = gone.map(|(name, entry)| (age(entry), name)).collect();
    gone.sort();
    gone.into_iter().take(many).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small_and_round_trips() {
        let most = Place { byte: u64::MAX, line: u64::MAX, state: State::Refused(u64::MAX), ..Place::start() };
        assert_eq!(Place::decode(&most.encode()).expect("its own bytes"), most);
        assert!(most.encode().len() < 256);
    }

    #[test]
    fn of_too_many_files_the_oldest_that_are_gone_are_forgotten() {
        let entry = |modified_ns: usize| {
            let mut place = Place::start();
            place.look.stat.modified_ns = modified_ns as u64;
            place.encode()
        };
        let mut cursor: Cursor = (0..FILES_REMEMBERED_MAX).map(|n| (format!("{n}"), entry(n))).collect();
        let here = HashSet::from(["0".to_owned(), "2".to_owned()]);
        assert_eq!(forgotten(&cursor, &here).count(), 0, "there is room");
        cursor.extend([("more".into(), entry(usize::MAX)), ("one more".into(), entry(usize::MAX))]);
        assert_eq!(forgotten(&cursor, &here).collect::<Vec<_>>(), ["1", "3"]);
    }
}
