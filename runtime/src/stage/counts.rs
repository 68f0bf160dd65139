//! What became of the records: exact counts that are published in the transaction they are about.

use hashbrown::HashMap;
use skuflow_processors::Counted;
use skuflow_schemas::{Event, Family, Outcome, Quality, Text, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Cell {
    customer: Text,
    source: Text,
    family: Family,
    hour: Timestamp,
    outcome: Outcome,
    rule: Text,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    count: i64,
    latest: Timestamp,
}

/// Counts of the open transaction.
#[derive(Default)]
pub(super) struct Counts {
    cells: HashMap<Cell, Sum>,
    /// Runs of records of the same cell are added here first: most records are like the one before.
    last: Option<(Cell, Sum)>,
}

impl Counts {
    /// Counts one record.
    pub(super) fn add(&mut self, counted: &Counted<'_>) {
        let envelope = counted.envelope;
        let hour = envelope.observed_at.hour();
        if let Some((cell, sum)) = &mut self.last
            && cell.hour == hour
            && cell.outcome == counted.outcome
            && cell.family == counted.family
            && cell.source == envelope.source
            && cell.customer == envelope.customer
            && cell.rule == counted.rule
        {
            sum.count += 1;
            sum.latest = sum.latest.max(envelope.observed_at);
            return;
        }
        self.settle();
        let cell = Cell {
            customer: envelope.customer.clone(),
            source: envelope.source.clone(),
            family: counted.family,
            hour,
            outcome: counted.outcome,
            rule: counted.rule.into(),
        };
        self.last = Some((cell, Sum { count: 1, latest: envelope.observed_at }));
    }

    /// Counts a record that could not be read, under the hour it arrived in.
    pub(super) fn add_unreadable(&mut self, family: Family, arrived_at: Timestamp, rule: &str) {
        let envelope = skuflow_schemas::Envelope { observed_at: arrived_at, ..Default::default() };
        self.add(&Counted { family, envelope: &envelope, outcome: Outcome::Rejected, rule });
    }

    fn settle(&mut self) {
        if let Some((cell, sum)) = self.last.take() {
            let total = self.cells.entry(cell).or_insert(Sum { count: 0, latest: Timestamp::MIN });
            total.count += sum.count;
            total.latest = total.latest.max(sum.latest);
        }
    }

    /// The counts as events, in order; none are left.
    pub(super) fn take(&mut self) -> Vec<Event> {
        self.settle();
        let mut cells: Vec<_> = self.cells.drain().collect();
        cells.sort_by(|(a, _), (b, _)| a.cmp(b));
        cells.into_iter().map(|(cell, sum)| quality(cell, sum)).collect()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.last = None;
    }
}

fn quality(cell: Cell, sum: Sum) -> Event {
    Event::Quality(Box::new(Quality {
        customer: cell.customer,
        source: cell.source,
        family: cell.family.name().into(),
        hour: cell.hour,
        outcome: cell.outcome,
        rule: cell.rule,
        count: sum.count,
        latest_observed_at: sum.latest,
    }))
}
