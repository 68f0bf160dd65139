//! Rows and snapshots that are old enough go.

use std::collections::HashMap;

use iceberg::TableUpdate;
use iceberg::spec::{DataFile, TableMetadata};
use uuid::Uuid;

use super::compact::paths;
use super::files::{Live, live};
use super::plan::outlived;
use super::{Deed, Upkeep};
use crate::SinkError;
use crate::lake::catalog::Swap;
use crate::lake::commit::{Committed, Loaded, Open};
use crate::lake::ledger::{Note, PENDING};
use crate::lake::snapshot::{Change, Changes, Kind, SNAPSHOT_AGE};
use crate::lake::steps::Step;
use crate::lake::storage::fault;
use crate::limits::{COMMIT_TRIES_MAX, SNAPSHOTS_KEPT};

impl Upkeep {
    /// Takes files out of the table whose newest row is older than its zone keeps rows, then lets snapshots expire.
    ///
    /// # Errors
    /// See [`Self::round`].
    pub async fn expire(&mut self) -> Result<Vec<Deed>, SinkError> {
        let Some(mut open) = self.open().await? else { return Ok(Vec::new()) };
        self.stay(&open).await?;
        let rows = self.expire_rows(&mut open).await?;
        let snapshots = self.expire_snapshots(&mut open).await?;
        Ok(rows.into_iter().chain(snapshots).collect())
    }

    async fn expire_rows(&mut self, open: &mut Open) -> Result<Option<Deed>, SinkError> {
        let Some(kept) = self.settings.kept(self.table.zone).0 else { return Ok(None) };
        let Some(Loaded { entry, .. }) = open.load(self.table).await? else { return Ok(None) };
        let live = live(open, &entry).await?;
        let old: Vec<Live> =
            outlived(&live, self.now() - kept.micros()).into_iter().map(|place| live[place].clone()).collect();
        if old.is_empty() {
            return Ok(None);
        }
        let sum = |of: fn(&DataFile) -> u64| old.iter().map(|old| of(&old.file)).sum();
        let sums = [old.len() as u64, sum(DataFile::record_count), sum(DataFile::file_size_in_bytes)];
        let kind = Kind::Delete { removed: paths(&old) };
        let is_done = self.is_dry || self.commit_without_files(open, &entry.metadata, kind).await? == Committed::Now;
        Ok(is_done.then(|| self.deed("delete rows", String::new(), sums)))
    }

    /// A commit that adds no file.
    pub(super) async fn commit_without_files(
        &mut self,
        open: &mut Open,
        metadata: &TableMetadata,
        kind: Kind<'_>,
    ) -> Result<Committed, SinkError> {
        let (commit_id, now) = (Uuid::new_v4().to_string(), self.now());
        open.enter(PENDING, &commit_id, &Note::of(self.table, metadata, now)).await.map_err(fault)?;
        self.reach(Step::Pending)?;
        let (table_id, writer, now_ms) = (metadata.uuid(), self.name.as_str(), now / 1_000);
        let change = Change { table_id, commit_id: &commit_id, writer, now_ms, added: Vec::new(), kind };
        let committed = open.commit(self.table, &change, &mut self.steps).await?;
        self.reach(Step::Over)?;
        Ok(committed)
    }

    /// Lets the snapshots go that are neither among the last, nor young, nor named. The table remembers how young that is, for
    /// the commits of its sink.
    async fn expire_snapshots(&mut self, open: &mut Open) -> Result<Option<Deed>, SinkError> {
        let age_ms = self.settings.snapshots_kept.micros() / 1_000;
        let now_ms = self.now() / 1_000;
        for _ in 0..COMMIT_TRIES_MAX {
            let Some(Loaded { entry, .. }) = open.load(self.table).await? else { return Ok(None) };
            let mut changes = Changes { updates: Vec::new(), manifest_lists: Vec::new() };
            let is_set = entry.metadata.properties().get(SNAPSHOT_AGE) == Some(&age_ms.to_string());
            if !is_set {
                let updates = HashMap::from([(SNAPSHOT_AGE.to_owned(), age_ms.to_string())]);
                changes.updates.push(TableUpdate::SetProperties { updates });
            }
            let count = changes.expire(&entry.metadata, SNAPSHOTS_KEPT, (now_ms, age_ms)) as u64;
            let deed = (count > 0).then(|| self.deed("expire snapshots", String::new(), [count, 0, 0]));
            if self.is_dry || changes.updates.is_empty() {
                return Ok(deed);
            }
            let tag = Uuid::new_v4().to_string();
            let swap = open.swap(self.table, (entry, &tag), changes, now_ms, &mut self.steps).await?;
            if self.steps.reach(Step::Swapped).map_or(Swap::Unknown, |()| swap) == Swap::Won {
                open.hint(self.table).await?;
                return Ok(deed);
            }
        }
        Err(SinkError::Retry(format!("{COMMIT_TRIES_MAX} commits to {} lost against others", self.table.full_name)))
    }
}
