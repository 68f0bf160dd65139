//! Files that nobody can find any more are removed.
//!
//! What is removed is what the ledger names and no snapshot reaches; a listing only tells which names there are. A commit that
//! has been on its way for longer than the grace period is given up: its entry is taken out, and after another grace period the
//! table's pointer is moved once more, then its files are removed. A writer looks for its entry after it has loaded the table,
//! so one that found it there loses the swap against that move, or has won before it and is seen.

use std::collections::{BTreeMap, HashMap, HashSet};

use skuflow_schemas::Timestamp;

use super::files::{Holds, Missing, named_by, reachable};
use super::{Deed, Upkeep};
use crate::SinkError;
use crate::lake::catalog::Entry;
use crate::lake::commit::{Loaded, Open, failed};
use crate::lake::ledger::{EXPIRED, Entered, Note, PENDING};
use crate::lake::snapshot::Kind;
use crate::lake::storage::{Listed, fault};

pub(super) const METADATA_SUFFIX: &str = ".metadata.json";

/// What is to be removed, in the order of removal, and how large it is.
type Doomed = BTreeMap<(Holds, String), u64>;

impl Upkeep {
    /// Removes what has been out of reach for longer than the grace period.
    ///
    /// # Errors
    /// See [`Self::round`].
    pub async fn gc(&mut self) -> Result<Vec<Deed>, SinkError> {
        let Some(mut open) = self.open().await? else { return Ok(Vec::new()) };
        let Some(Loaded { entry, .. }) = open.load(self.table).await? else { return Ok(Vec::new()) };
        self.stay(&open).await?;
        let (until, table) = (self.grace_ends(), self.table);
        let is_old = |note: &Note| note.begun_at <= until && note.is_of(table, &entry.metadata);
        let mut deeds: Vec<Deed> = self.give_up(&open, &is_old).await?.into_iter().collect();
        let mut notes = open.entries(EXPIRED).await?;
        notes.retain(|entered| entered.note.as_ref().is_some_and(is_old));
        if !self.is_dry && notes.iter().any(is_of_commit) {
            self.commit_without_files(&mut open, &entry.metadata, Kind::Replace { removed: HashSet::new() }).await?;
        }
        let Some(Loaded { entry, .. }) = open.load(self.table).await? else { return Ok(Vec::new()) };
        notes.retain(|entered| entered.note.as_ref().is_some_and(|note| note.is_of(self.table, &entry.metadata)));
        let doomed = self.doomed(&open, &entry, &notes).await?;
        let (count, bytes) = (doomed.len() as u64, doomed.values().sum());
        if !self.is_dry {
            for (_, address) in doomed.keys() {
                self.stay(&open).await?;
                remove(&open, address).await?;
            }
            for entered in &notes {
                remove(&open, &entered.address).await?;
            }
        }
        deeds.extend((count > 0).then(|| self.deed("remove files", String::new(), [count, 0, bytes])));
        Ok(deeds)
    }

    /// Takes the commits out that have been on their way for too long. What they made is to be removed, from now on.
    async fn give_up(&self, open: &Open, is_old: &impl Fn(&Note) -> bool) -> Result<Option<Deed>, SinkError> {
        let (mut count, mut rows) = (0, 0);
        for Entered { name, address, note } in open.entries(PENDING).await? {
            let Some(mut note) = note.filter(is_old) else { continue };
            count += 1;
            rows += note.files.iter().map(|file| file.rows).sum::<u64>();
            if !self.is_dry {
                note.begun_at = self.now();
                let moved = open.enter(EXPIRED, &name, &note).await;
                moved.map_err(fault)?;
                remove(open, &address).await?;
            }
        }
        Ok((count > 0).then(|| self.deed("give up commits", String::new(), [count, rows, 0])))
    }

    /// What the notes name, and no snapshot reaches; and metadata files that no pointer can name any more.
    async fn doomed(&self, open: &Open, entry: &Entry, notes: &[Entered]) -> Result<Doomed, SinkError> {
        let reached = reachable(open, entry).await?;
        let folder = format!("{}/metadata", entry.metadata.location());
        let listed = open.files.list(&folder).await.map_err(fault)?;
        let sizes: HashMap<&str, u64> = listed.iter().map(|file| (file.address.as_str(), file.bytes)).collect();
        let mut doomed = Doomed::new();
        for Entered { name, note, .. } in notes {
            let Some(note) = note else { continue };
            let named = named_by(&open.io, &entry.metadata, &note.manifest_lists, Missing::IsOver).await;
            let named = named.map_err(|error| failed(name, &error))?;
            doomed.extend(named.into_iter().map(|(address, holds)| {
                let size = if let Holds::Rows(bytes) = holds { bytes } else { size(&sizes, &address) };
                ((holds, address), size)
            }));
            doomed.extend(note.files.iter().map(|file| ((Holds::Rows(0), file.path.clone()), 0)));
            // Manifests of a commit have its id in their names.
            let of_commit = listed.iter().filter(|file| is_uuid(name) && file.address.contains(name.as_str()));
            doomed.extend(of_commit.map(|file| ((Holds::Manifest, file.address.clone()), file.bytes)));
        }
        doomed.retain(|(_, address), _| !reached.contains(address));
        let until = Timestamp::from_micros(self.grace_ends());
        // Those of a catalog that places tables are its own: it may know them by other names of the table.
        let lost = stale_metadata(&entry.location, entry, &listed).filter(|file| file.modified <= until);
        let lost = lost.filter(|_| !open.catalog.places_tables());
        doomed.extend(lost.map(|file| ((Holds::List, file.address.clone()), file.bytes)));
        let staged = match open.files.staged() {
            Some(folder) => open.files.list(&open.files.address(folder)).await.map_err(fault)?,
            None => Vec::new(),
        };
        let staged = staged.into_iter().filter(|file| file.modified <= until);
        doomed.extend(staged.map(|file| ((Holds::Rows(file.bytes), file.address), file.bytes)));
        self.sized(open, doomed).await
    }

    /// Without what is not there, and with the sizes of what the ledger names without one.
    async fn sized(&self, open: &Open, doomed: Doomed) -> Result<Doomed, SinkError> {
        let mut sized = Doomed::new();
        for ((holds, address), bytes) in doomed {
            let input = open.io.new_input(&address).map_err(|error| failed(&address, &error))?;
            if !input.exists().await.map_err(|error| failed(&address, &error))? {
                continue;
            }
            let bytes = if bytes > 0 { bytes } else { input.metadata().await.map_or(0, |metadata| metadata.size) };
            sized.insert((holds, address), bytes);
        }
        Ok(sized)
    }
}

fn size(sizes: &HashMap<&str, u64>, address: &str) -> u64 {
    sizes.get(address).copied().unwrap_or(0)
}

/// Whether the entry is that of a commit, not of an expiry.
fn is_of_commit(entered: &Entered) -> bool {
    entered.note.as_ref().is_some_and(|note| note.manifest_lists.is_empty())
}

fn is_uuid(name: &str) -> bool {
    uuid::Uuid::parse_str(name).is_ok()
}

/// Metadata files that the pointer does not name, nor can: their version is not beyond that of `location`, which a swap to them
/// would have had to find, and the table does not remember them.
pub(super) fn stale_metadata<'a>(
    location: &'a str,
    entry: &'a Entry,
    listed: &'a [Listed],
) -> impl Iterator<Item = &'a Listed> {
    let remembered: HashSet<&str> =
        entry.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str()).collect();
    let newest = version(location);
    listed.iter().filter(move |file| {
        let address = file.address.as_str();
        let is_passed = version(address).zip(newest).is_some_and(|(version, newest)| version <= newest);
        is_passed && address != location && !remembered.contains(address)
    })
}

/// The number of a metadata file.
pub(super) fn version(address: &str) -> Option<u64> {
    let name = address.rsplit('/').next()?.strip_suffix(METADATA_SUFFIX)?;
    name.split_once('-')?.0.parse().ok()
}

async fn remove(open: &Open, address: &str) -> Result<(), SinkError> {
    open.files.delete(address).await.map_err(fault)
}
