//! The ledger: what a commit is about to make, and what an expiry puts out of reach. It is written before it happens, so it
//! may name what is in a table, but never misses what is not, and nobody has to guess from a listing.
//!
//! ```text
//!   pending/<commit>.json ── the commit is in the table ─▶ gone
//!             └───────────── too old: nobody may commit it ─▶ expired/<commit>.json ──────┐ files are removed
//!                                         snapshots expire ─▶ expired/<commit>-<try>.json ┴──────────────────▶ gone
//! ```

use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::commit::{Open, failed};
use super::storage::{Folders, Listed, fault};
use super::tables::Table;
use crate::SinkError;

/// The folder of the commits that are on their way.
pub(super) const PENDING: &str = "pending";
/// The folder of what is to be removed.
pub(super) const EXPIRED: &str = "expired";

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The table's full name.
    pub(super) table: String,
    /// Which of the tables that have been called so; entries of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) table_id: Option<Uuid>,
    /// When it was written, or taken out of `pending`, microseconds.
    pub(super) begun_at: i64,
    /// Where the batch of a sink begins and ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    /// Data files that the commit makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<NotedFile>,
    /// Manifest lists of snapshots that expire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) manifest_lists: Vec<String>,
}

impl Note {
    /// One of a table, with nothing in it.
    pub(super) fn of(table: &Table, metadata: &TableMetadata, begun_at: i64) -> Self {
        Self { table: table.full_name.into(), table_id: Some(metadata.uuid()), begun_at, ..Self::default() }
    }

    /// Whether it is one of the table that `metadata` is of: what was entered for another is for nobody to remove.
    pub(super) fn is_of(&self, table: &Table, metadata: &TableMetadata) -> bool {
        self.table == table.full_name && self.table_id.is_none_or(|id| id == metadata.uuid())
    }
}

/// A data file in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotedFile {
    pub(super) path: String,
    pub(super) rows: u64,
}

/// An entry, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    /// Its name without folder and ending: for a commit, its id.
    pub(super) name: String,
    pub(super) address: String,
    /// `None` where it cannot be read: its writer died over it, before it made a file.
    pub(super) note: Option<Note>,
}

impl Open {
    fn entry(&self, folder: &str, name: &str) -> String {
        self.files.address(&format!("{folder}/{name}.json"))
    }

    /// Enters `note` as `name` into `folder`; one that is there already stays.
    pub(super) async fn enter(&self, folder: &str, name: &str, note: &Note) -> std::io::Result<()> {
        let mut unflushed = Folders::default();
        let body = serde_json::to_vec(note).map_err(std::io::Error::other)?;
        let address = self.entry(folder, name);
        match self.files.create(&address, &mut unflushed, |out| out.write_all(&body)).await {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => unflushed.flush(),
        }
    }

    /// Whether a commit may be made: its entry is there.
    pub(super) async fn is_pending(&self, commit_id: &str) -> Result<bool, SinkError> {
        let address = self.entry(PENDING, commit_id);
        let found = async { self.io.new_input(&address)?.exists().await };
        found.await.map_err(|error| failed(&address, &error))
    }

    /// Takes a commit out of the ledger: its files are the table's.
    pub(super) async fn settle(&self, commit_id: &str) {
        if let Err(error) = self.files.delete(&self.entry(PENDING, commit_id)).await {
            tracing::warn!(commit_id, %error, "a commit stays in the ledger, whose files are in the table");
        }
    }

    /// The entries of `folder`.
    pub(super) async fn entries(&self, folder: &str) -> Result<Vec<Entered>, SinkError> {
        let listed = self.files.list(&self.files.address(folder)).await.map_err(fault)?;
        let mut entries = Vec::new();
        for Listed { address, .. } in listed {
            let Some(name) = address.rsplit('/').next().and_then(|name| name.strip_suffix(".json")) else { continue };
            let body = match self.files.read(&address).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue, // taken out meanwhile
                read => read.map_err(fault)?,
            };
            entries.push(Entered {
                name: name.into(),
                note: serde_json::from_slice(&body).ok(),
                address: address.clone(),
            });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }
}
