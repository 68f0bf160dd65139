//! The connector: pages of the feed, at the pace that is asked for.

use std::sync::Arc;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use super::config::Settings;
use super::feed::Feed;
use super::records::Records;
use crate::limits::PAGE_RECORDS_MAX;
use crate::{Connector, ConnectorError, Cursor, Mapped, Page, Poll, Spot};

/// Entry of the cursor: how many records are read.
const POSITION: &str = "position";
/// Entry of the cursor: which market they are of.
const MARKET: &str = "market";

/// Reads a market that there is not.
pub struct Simulator {
    source: Arc<str>,
    feed: Feed,
    records: Records,
    /// Tells markets apart.
    market: Vec<u8>,
    pace: Option<Pace>,
    pub(super) page_records: usize,
}

/// How many records may go by now.
struct Pace {
    per_s: u64,
    since: Option<Instant>,
    /// Micro-records that may go.
    budget: u64,
}

impl Simulator {
    /// A connector called `name` for `customer`.
    ///
    /// # Errors
    /// What [`Settings::validate`] finds.
    pub fn new(name: &str, customer: &str, settings: &Settings) -> Result<Self, ConnectorError> {
        if let Some(problem) = settings.validate().first() {
            return Err(ConnectorError::Fatal(format!("{}: {}", problem.path.join("."), problem.message)));
        }
        let market = Settings { rate_per_s: 0, ..settings.clone() };
        let market = xxh3_64(&serde_json::to_vec(&market).expect("plain data"));
        Ok(Self {
            source: name.into(),
            feed: Feed::new(settings),
            records: Records::new(settings, customer),
            market: format!("{market:016x}").into_bytes(),
            pace: (settings.rate_per_s > 0).then(|| Pace::new(settings)),
            page_records: PAGE_RECORDS_MAX,
        })
    }

    fn position(&self, cursor: &Cursor) -> Result<u64, ConnectorError> {
        let Some(entry) = cursor.get(POSITION) else { return Ok(0) };
        if cursor.get(MARKET) != Some(&self.market) {
            let message = "the settings of the market are others than those it was begun with; set them back, or give the \
                           connector another name to begin anew";
            return Err(ConnectorError::Fatal(message.into()));
        }
        let position = std::str::from_utf8(entry).ok().and_then(|text| text.parse().ok());
        position.ok_or_else(|| ConnectorError::Fatal("the cursor is damaged".into()))
    }
}

impl Connector for Simulator {
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError> {
        let position = self.position(cursor)?;
        if position != self.feed.position() {
            self.feed.seek(position);
        }
        let most = self.pace.as_mut().map_or(self.page_records, |pace| pace.take(self.page_records));
        if most == 0 {
            return Ok(Poll::Idle);
        }
        let (records, source) = (&self.records, &self.source);
        let numbered = (position..).zip(self.feed.by_ref().take(most));
        let mapped = numbered.map(|(number, item)| {
            Mapped::Event(records.event(&item), Spot { file: source.clone(), number, ..Spot::default() })
        });
        let records: Vec<Mapped> = mapped.collect();
        if records.is_empty() {
            return Ok(Poll::Done);
        }
        let next = self.feed.position().to_string().into_bytes();
        let changes = [(POSITION.into(), Some(next)), (MARKET.into(), Some(self.market.clone()))];
        Ok(Poll::Page(Page { records, changes: changes.into() }))
    }

    fn share(&self) -> Option<f64> {
        Some(self.feed.share())
    }
}

/// Micro-records of a record.
const MICRO: u64 = 1_000_000;

impl Pace {
    /// The first catalog entries are free: tables first.
    fn new(settings: &Settings) -> Self {
        Self { per_s: settings.rate_per_s, since: None, budget: u64::from(settings.products) * MICRO }
    }

    /// Takes up to `most` records out of the budget, which never holds more than a second of them (but at the start).
    fn take(&mut self, most: usize) -> usize {
        let now = Instant::now();
        let since = self.since.replace(now).unwrap_or(now);
        let earned =
            u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX).saturating_mul(self.per_s);
        let most_kept = self.budget.max(self.per_s.saturating_mul(MICRO));
        self.budget = self.budget.saturating_add(earned).min(most_kept);
        let taken = (self.budget / MICRO).min(most as u64);
        self.budget -= taken * MICRO;
        taken as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_gives_what_was_earned_and_a_second_at_most() {
        let settings = Settings { products: 10, rate_per_s: 1_000, ..Settings::default() };
        let mut pace = Pace::new(&settings);
        assert_eq!(pace.take(4), 4);
        assert_eq!(pace.take(3), 3, "the catalog is free");
        pace.budget = 0;
        let long_ago = Instant::now().checked_sub(std::time::Duration::from_mins(1));
        if long_ago.is_some() {
            pace.since = long_ago;
            assert_eq!(pace.take(5_000), 1_000);
        }
    }
}
