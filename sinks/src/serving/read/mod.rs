//! Reading the tables: a few questions, each with an index, over a bounded number of connections.

mod queries;
mod record;

use std::ops::Range;

use skuflow_schemas::{BusinessDate, EventId, ListingRef, Text, Timestamp};

pub use queries::{Mover, OpenAlert, Price, Product, Rival, SourceQuality};

use self::queries::{MOVERS, OPEN_ALERTS, PRICES, PRODUCT, QUALITY, RIVALS};
use self::record::Record;
use super::Place;
use super::cells::{Cell, cells};
use super::database::Pool;
use crate::SinkError;

/// Rows of a page, at most.
pub const PAGE_MAX: u32 = 1_000;

/// Asks one place. Cheap to clone; all clones share its connections.
#[derive(Clone)]
pub struct Reader {
    place: Place,
    pool: Pool,
}

/// Rows, and where the next page begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// In order.
    pub rows: Vec<T>,
    /// To be given for the next page; none = this was the last.
    pub next: Option<Cursor>,
}

/// A row, by its place in the order of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Event time.
    pub observed_at: Timestamp,
    /// Its event.
    pub event_id: EventId,
}

impl Reader {
    /// Over `connections` at most, opened as they are needed. They only read.
    ///
    /// # Errors
    /// Why the place cannot be read, and what to do.
    pub async fn open(place: &Place, connections: u32) -> Result<Self, SinkError> {
        let pool = Pool::open(place, connections).await.map_err(|error| place.failed(&error))?;
        Ok(Self { place: place.clone(), pool })
    }

    /// A product and its last figures; none where there are none.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn product(&self, customer: &str, product: &str) -> Result<Option<Product>, SinkError> {
        Ok(self.ask(PRODUCT, &cells![Text::from(customer), Text::from(product)]).await?.pop())
    }

    /// The prices of a listing in a span of event time, `limit` of them from behind `after`.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn prices(
        &self,
        customer: &str,
        listing: &ListingRef,
        span: Range<Timestamp>,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Price>, SinkError> {
        let from = after.unwrap_or(Cursor { observed_at: span.start, event_id: EventId::default() });
        let limit = limit.clamp(1, PAGE_MAX);
        let given = cells![
            Text::from(customer),
            &listing.source,
            &listing.marketplace,
            &listing.native_id,
            from.observed_at.max(span.start),
            span.end,
            from.event_id,
            limit,
        ];
        let rows = self.ask::<Price>(PRICES, &given).await?;
        Ok(page(rows, limit, |price| Cursor { observed_at: price.observed_at, event_id: price.event_id }))
    }

    /// The standing offers on a product's listings and on those of its competitors, the cheapest first.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn rivals(&self, customer: &str, product: &str) -> Result<Vec<Rival>, SinkError> {
        self.ask(RIVALS, &cells![Text::from(customer), Text::from(product)]).await
    }

    /// The products whose prices changed most on a day.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn movers(&self, customer: &str, day: BusinessDate, limit: u32) -> Result<Vec<Mover>, SinkError> {
        self.ask(MOVERS, &cells![Text::from(customer), day, limit.clamp(1, PAGE_MAX)]).await
    }

    /// Alerts that nobody has resolved, the latest first, `limit` of them from behind `after`.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn open_alerts(
        &self,
        customer: &str,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<OpenAlert>, SinkError> {
        let latest = Cursor { observed_at: Timestamp::from_micros(YEAR_9999), event_id: EventId([0xff; 16]) };
        let (from, limit) = (after.unwrap_or(latest), limit.clamp(1, PAGE_MAX));
        let given = cells![Text::from(customer), from.observed_at, from.event_id, limit];
        let rows = self.ask::<OpenAlert>(OPEN_ALERTS, &given).await?;
        Ok(page(rows, limit, |alert| Cursor { observed_at: alert.observed_at, event_id: alert.event_id }))
    }

    /// What became of the records of each source, in hours of event time that begin in `span`.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub async fn quality(&self, customer: &str, span: Range<Timestamp>) -> Result<Vec<SourceQuality>, SinkError> {
        self.ask(QUALITY, &cells![Text::from(customer), span.start, span.end]).await
    }

    async fn ask<T: Record>(&self, query: &str, given: &[Cell]) -> Result<Vec<T>, SinkError> {
        let found = self.pool.ask(query, given, T::KINDS).await.map_err(|error| self.place.failed(&error))?;
        let records: Option<Vec<T>> = found.into_iter().map(T::of).collect();
        records.ok_or_else(|| SinkError::Fatal(format!("{}: a column holds what it cannot", self.place)))
    }
}

/// The last instant of year 9999, beyond which no database shows times.
const YEAR_9999: i64 = 253_402_300_799_999_999;

fn page<T>(rows: Vec<T>, limit: u32, place: impl Fn(&T) -> Cursor) -> Page<T> {
    let next = rows.last().map(place).filter(|_| rows.len() == limit as usize);
    Page { rows, next }
}

#[cfg(test)]
mod tests;
