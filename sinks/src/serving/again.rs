//! Lands in other tables what has landed before: from the log and, where the log has lost its beginning, from a lake.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range as Offsets;
use std::sync::Arc;

use skuflow_runtime::broker::{Broker, BrokerError, Offset, TopicPartition};
use skuflow_runtime::limits::FETCH_BYTES_MAX;

use super::writer::Serving;
use crate::consume::read;
use crate::lake::{self, Events};
use crate::limits::BATCH_RECORDS_MAX;
use crate::{Batch, Identity, Incoming, Part, Range, Sink as _, SinkError};

/// Tables of lakes, by the topic that each takes, as it is called on the broker.
pub type Lakes = BTreeMap<Arc<str>, (lake::Place, &'static lake::Table)>;

/// Where records can be read again.
pub(super) struct Sources<'a> {
    pub(super) broker: &'a dyn Broker,
    pub(super) identity: Identity,
    lakes: &'a Lakes,
    /// Tables of lakes that were looked for.
    opened: BTreeMap<Arc<str>, Option<Events>>,
    /// What was read from a lake: offsets by partition.
    pub(super) restored: Vec<String>,
    /// What nobody has any more.
    pub(super) missing: Vec<String>,
}

pub(super) fn unread(error: BrokerError) -> SinkError {
    SinkError::Retry(error.to_string())
}

impl<'a> Sources<'a> {
    pub(super) fn new(broker: &'a dyn Broker, lakes: &'a Lakes) -> Result<Self, SinkError> {
        let identity = broker.topics().and_then(|topics| Identity::of(broker, &topics)).map_err(unread)?;
        let (restored, missing) = (Vec::new(), Vec::new());
        Ok(Self { broker, identity, lakes, opened: BTreeMap::new(), restored, missing })
    }

    /// Lands a partition up to `end`, or all of it, in tables that have nothing of it. Records that the database refuses are
    /// left out: they are dead letters of the sink.
    pub(super) async fn land(
        &mut self,
        of: &TopicPartition,
        end: Option<Offset>,
        serving: &mut Serving,
    ) -> Result<(), SinkError> {
        let (first, next) = self.broker.offsets(of).map_err(unread)?;
        let end = end.unwrap_or(next);
        let mut landing = Landing { serving, of, landed: None };
        if first > 0 {
            // Not more than the log has lost: a lake may have let go what the log still has.
            let lost_before = first.min(end);
            let found = self.land_from_lake(&mut landing, lost_before).await?;
            let had = found.clone().unwrap_or(lost_before..lost_before);
            let lost = [0..had.start, had.end..lost_before];
            self.restored.extend(found.map(|found| told(&found, of)));
            self.missing.extend(lost.iter().filter(|lost| !lost.is_empty()).map(|lost| told(lost, of)));
        }
        landing.land_from_log(self.broker, first..end).await?;
        // A position before the log's beginning would be taken for a loss.
        if landing.landed.is_some() { landing.land(Vec::new(), end).await } else { Ok(()) }
    }

    /// Lands what a lake has of the offsets before `end`; from where to where it has any.
    async fn land_from_lake(
        &mut self,
        landing: &mut Landing<'_>,
        end: Offset,
    ) -> Result<Option<Offsets<Offset>>, SinkError> {
        let of = landing.of;
        let Some((place, table)) = self.lakes.get(&of.topic) else { return Ok(None) };
        let events = match self.opened.entry(of.topic.clone()) {
            Entry::Occupied(opened) => opened.into_mut(),
            Entry::Vacant(slot) => slot.insert(Events::open(place, table, &self.identity).await?),
        };
        let Some(events) = events else { return Ok(None) };
        let Some(reached) = events.next_offset(of) else { return Ok(None) };
        let mut first = None;
        let each = async |piece: Vec<(Offset, skuflow_schemas::Event)>| {
            first = first.or(piece.first().map(|(offset, _)| *offset));
            let mut piece = piece.into_iter().peekable();
            while let Some((offset, _)) = piece.peek() {
                let mut to = *offset;
                let records = piece.by_ref().take(BATCH_RECORDS_MAX).map(|(offset, event)| {
                    to = offset + 1;
                    Incoming::Event(event, offset)
                });
                let records = records.collect();
                landing.land(records, to).await?;
            }
            Ok(())
        };
        events.read(of, 0..end, each).await?;
        Ok(first.map(|first| first..reached.min(end)))
    }
}

fn told(offsets: &Offsets<Offset>, of: &TopicPartition) -> String {
    format!("{}..{} of {of}", offsets.start, offsets.end)
}

/// A partition on its way into tables.
struct Landing<'a> {
    serving: &'a mut Serving,
    of: &'a TopicPartition,
    /// Behind what has landed.
    landed: Option<Offset>,
}

impl Landing<'_> {
    async fn land_from_log(&mut self, broker: &dyn Broker, offsets: Offsets<Offset>) -> Result<(), SinkError> {
        let mut reader = broker.reader().map_err(unread)?;
        let mut next = offsets.start;
        while next < offsets.end {
            let mut records = Vec::new();
            let (fetched, before) = (reader.fetch(self.of, next, FETCH_BYTES_MAX).map_err(unread)?, next);
            for record in fetched.iter().flat_map(|batch| batch.from(before)) {
                if record.offset >= offsets.end || records.len() == BATCH_RECORDS_MAX {
                    break;
                }
                next = record.offset + 1;
                // What is no event is a dead letter, and in no table.
                let incoming = read(self.of, &record, &mut Vec::new()).map_err(SinkError::Fatal)?;
                records.extend(incoming);
            }
            if next == before {
                next = offsets.end; // behind the last record are marks of transactions
            }
            self.land(records, next).await?;
        }
        Ok(())
    }

    async fn land(&mut self, records: Vec<Incoming>, to: Offset) -> Result<(), SinkError> {
        if self.landed.is_some_and(|landed| landed >= to) {
            return Ok(());
        }
        let part = Part { range: Range { from: self.landed, to }, records };
        let mut batch = Batch { parts: BTreeMap::from([(self.of.clone(), part)]) };
        while let Err(error) = self.serving.land(&batch).await {
            let SinkError::Refused(refusals) = error else { return Err(error) };
            let refused: BTreeSet<Offset> = refusals.iter().map(|refusal| refusal.offset).collect();
            for part in batch.parts.values_mut() {
                part.records.retain(|record| !matches!(record, Incoming::Event(_, at) if refused.contains(at)));
            }
        }
        self.landed = Some(to);
        Ok(())
    }
}
