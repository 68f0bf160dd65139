//! Reading the log from its beginning, or from the mark of a snapshot on. Changes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::entry::{self, Entry, Mark, Walk};
use super::index::{At, Index, Name, Place};
use super::{Head, HeadState, Stored, damaged, path};
use crate::storage::{EngineError, io};

/// What was read of a log.
pub(super) struct Replay<'a> {
    dir: &'a Path,
    files: BTreeMap<u32, Arc<File>>,
    index: Index,
    /// The last mark, and where it stands.
    mark: Option<(Mark, Range<u64>)>,
    /// What a snapshot says there has to be.
    sequence_min: u64,
    /// Bytes read.
    behind: u64,
}

impl<'a> Replay<'a> {
    pub(super) fn of(
        dir: &'a Path,
        files: BTreeMap<u32, Arc<File>>,
        snapshot: Option<(At, Index)>,
    ) -> Result<Self, EngineError> {
        // What is there before a gap is left over from files that were dropped, or else the last mark will say so.
        let newest = files.keys().next_back().copied().unwrap_or(1);
        let unbroken = files.keys().rev().zip(0..).take_while(|(number, before)| **number + before == newest);
        let first = unbroken.last().map_or(newest, |(number, _)| *number);
        let files = files.into_iter().filter(|(number, _)| *number >= first).collect();
        let sequence_min = snapshot.as_ref().map_or(0, |(at, _)| at.sequence);
        let mut replay = Self { dir, files, index: Index::default(), mark: None, sequence_min, behind: 0 };
        let from = match snapshot {
            Some((at, index)) if replay.is_marked(at)? => {
                replay.index = index;
                (at.file, u64::from(at.mark))
            }
            _ => (first, 0),
        };
        replay.read(from)?;
        Ok(replay)
    }

    /// Whether the mark of a snapshot is where it says.
    fn is_marked(&self, at: At) -> Result<bool, EngineError> {
        let Some(file) = self.files.get(&at.file) else { return Ok(false) };
        let length = self.length(at.file, file)?;
        let mut walk = Walk::new(file.clone(), u64::from(at.mark), length);
        let entry = walk.next().map_err(|error| self.retry(at.file, &error))?;
        Ok(matches!(entry, Some((Entry::Mark(mark), _)) if mark.sequence == at.sequence && mark.file == at.file))
    }

    fn read(&mut self, from: (u32, u64)) -> Result<(), EngineError> {
        let files: Vec<_> = self.files.range(from.0..).map(|(number, file)| (*number, file.clone())).collect();
        let mut is_over = false;
        for (number, file) in files {
            let length = self.length(number, &file)?;
            if is_over && length > 0 {
                return Err(damaged(self.dir, number, 0));
            }
            let start = if number == from.0 { from.1 } else { 0 };
            is_over = is_over || !self.read_file(number, &file, start..length)?;
        }
        // A file that ended has another behind it, and was not the last one.
        if is_over { Ok(()) } else { Err(self.missing(self.files.keys().next_back().map_or(1, |last| last + 1))) }
    }

    /// Takes in what the marks of a file commit. Whether the log goes on in the next one.
    fn read_file(&mut self, number: u32, file: &Arc<File>, range: Range<u64>) -> Result<bool, EngineError> {
        let mut walk = Walk::new(file.clone(), range.start, range.end);
        let mut changes = Vec::new();
        let mut at = range.start;
        while let Some((entry, bytes)) = walk.next().map_err(|error| self.retry(number, &error))? {
            let end = at + bytes.len() as u64;
            match entry {
                Entry::Pair { key, value } => {
                    let place = Place { file: number, at: at as u32, length: bytes.len() as u32 };
                    changes.push((Name::of(key), value.map(|_| place)));
                }
                Entry::Mark(mark) => {
                    let follows = self.mark.as_ref().is_none_or(|(last, _)| mark.sequence == last.sequence + 1);
                    if !follows || mark.file != number || u64::from(mark.at) != at {
                        return Err(damaged(self.dir, number, at));
                    }
                    changes.drain(..).for_each(|(name, place)| self.index.set(name, place));
                    self.behind += end - range.start;
                    let ends_file = mark.ends_file;
                    self.mark = Some((mark, at..end));
                    if ends_file {
                        return if end == range.end { Ok(true) } else { Err(damaged(self.dir, number, end)) };
                    }
                }
            }
            at = end;
        }
        let mut rest = vec![0; (range.end - at) as usize];
        file.read_exact_at(&mut rest, at).map_err(|error| self.retry(number, &error))?;
        match entry::find_mark(&rest, number, at) {
            Some(_) => Err(damaged(self.dir, number, at)),
            None => Ok(false),
        }
    }

    /// Where the log goes on, what is stored, and what the last mark said.
    pub(super) fn finish(self) -> Result<(Head, Stored, Option<Vec<u8>>), EngineError> {
        let there = self.files.keys().next().copied().unwrap_or(1);
        let first = self.mark.as_ref().map_or(1, |(mark, _)| mark.first);
        if there > first {
            return Err(self.missing(first));
        }
        let sequence = self.mark.as_ref().map_or(0, |(mark, _)| mark.sequence);
        if sequence < self.sequence_min {
            let reason = "ends before what its index knows of; restore the directory from a backup";
            return Err(EngineError::Damaged(format!("the state in {} {reason}", self.dir.display())));
        }
        let (number, length) = match &self.mark {
            Some((mark, _)) if mark.ends_file => (mark.file + 1, 0),
            Some((mark, range)) => (mark.file, range.end),
            None => (there, 0),
        };
        let needed = self.files.range(first..=number);
        let files: BTreeMap<_, _> = needed.map(|(number, file)| (*number, file.clone())).collect();
        let mut bytes = length;
        for (number, file) in files.range(first..number) {
            bytes += self.length(*number, file)?;
        }
        let (mark, meta) = match self.mark {
            Some((mark, range)) => (Some((mark.file, range)), Some(mark.meta)),
            None => (None, None),
        };
        let (behind, state) = (self.behind, HeadState::Opened);
        let head = Head { number, length, mark, sequence, first, cleaning: None, bytes, behind, state };
        Ok((head, Stored { index: self.index, files }, meta))
    }

    fn length(&self, number: u32, file: &File) -> Result<u64, EngineError> {
        file.metadata().map(|metadata| metadata.len()).map_err(|error| self.retry(number, &error))
    }

    fn retry(&self, number: u32, error: &std::io::Error) -> EngineError {
        EngineError::Retry(io("reading", &path(self.dir, number), error))
    }

    fn missing(&self, number: u32) -> EngineError {
        let path = path(self.dir, number);
        EngineError::Damaged(format!(
            "{} is missing, and with it state that was acknowledged; restore the directory from a backup",
            path.display()
        ))
    }
}
