//! Who tends a table. It spares others the same work, no more: what two of them do at once is decided by the swap.

use serde::{Deserialize, Serialize};

use crate::SinkError;
use crate::lake::storage::{Files, Folders, fault};
use crate::lake::tables::Table;
use crate::limits::LEASE_MICROS;

/// A turn: each is a file of its own that only one can make, and the newest one holds.
#[derive(Debug)]
pub(super) struct Lease {
    address: String,
    term: Term,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Term {
    holder: String,
    /// Microseconds.
    expires_at: i64,
}

impl Lease {
    /// Takes the next turn; `None` where another has one that has not run out.
    pub(super) async fn take(files: &Files, table: &Table, holder: &str, now: i64) -> Result<Option<Self>, SinkError> {
        let folder = format!("upkeep/{}", table.full_name);
        let number = |address: &str| address.rsplit('/').next()?.strip_suffix(".json")?.parse::<u64>().ok();
        let listed = files.list(&files.address(&folder)).await.map_err(fault)?;
        let mut turns: Vec<(u64, String)> =
            listed.into_iter().filter_map(|file| Some((number(&file.address)?, file.address))).collect();
        turns.sort_unstable();
        if let Some((_, newest)) = turns.last() {
            let body = match files.read(newest).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None, // its turn is over
                read => Some(read.map_err(fault)?),
            };
            let term: Option<Term> = body.and_then(|body| serde_json::from_slice(&body).ok());
            if term.is_some_and(|term| term.expires_at > now) {
                return Ok(None);
            }
        }
        let next = turns.last().map_or(1, |(number, _)| number + 1);
        let term = Term { holder: holder.into(), expires_at: now + LEASE_MICROS };
        let lease = Self { address: files.address(&format!("{folder}/{next}.json")), term };
        let (body, mut unflushed) = (lease.text(), Folders::default());
        match files.create(&lease.address, &mut unflushed, |out| out.write_all(body.as_bytes())).await {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.map_err(fault)?,
        };
        unflushed.flush().map_err(fault)?;
        for (_, address) in turns {
            let _another_may_have_taken_it = files.delete(&address).await;
        }
        Ok(Some(lease))
    }

    fn text(&self) -> String {
        serde_json::to_string(&self.term).unwrap_or_default()
    }

    /// Still at it, in time for what comes next: what has run for a quarter of its term begins anew.
    ///
    /// # Errors
    /// `Fenced` where it has run out, and another has taken the next turn.
    pub(super) async fn renew(&mut self, files: &Files, now: i64) -> Result<(), SinkError> {
        if now < self.term.expires_at - LEASE_MICROS / 4 * 3 {
            return Ok(());
        }
        match files.read(&self.address).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SinkError::Fenced(format!("{}: another tends the table by now", self.address)));
            }
            read => drop(read.map_err(fault)?),
        }
        self.term.expires_at = now + LEASE_MICROS;
        files.replace(&self.address, &self.text()).await.map_err(fault)
    }

    /// Done.
    pub(super) async fn release(self, files: &Files) {
        if let Err(error) = files.delete(&self.address).await {
            tracing::warn!(%error, "who tends the lake next waits until this turn runs out");
        }
    }
}
