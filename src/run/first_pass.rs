//! Tables before what is joined with them: connectors that feed tables read all that is there, and the stages behind
//! them bring it into the tables, before the other connectors begin.
//!
//! ```text
//!   feeds a table: polls ▸ nothing more ─▶ passed ┐
//!   stages from there to the tables: at the end ──┴▶ open ─▶ the others: polls
//! ```

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use skuflow_ingest::{Connector, ConnectorError, Cursor, Poll};
use skuflow_runtime::broker::{Broker, BrokerError, Positions, TopicPartition};
use skuflow_schemas::{Cleanup, topic};

use crate::config::{Config, ConnectorConfig};

/// What the connectors of a run share.
pub(super) struct FirstPass {
    broker: Arc<dyn Broker>,
    /// Connectors that feed tables and have not read all that is there.
    reading: Mutex<BTreeSet<String>>,
    behind: Mutex<Vec<Behind>>,
    is_open: AtomicBool,
}

/// A stage that has to come to the end of some topics first.
pub(super) struct Behind {
    pub(super) group: String,
    /// What it has to read.
    pub(super) reads: BTreeSet<Arc<str>>,
    /// What it writes.
    pub(super) writes: BTreeSet<Arc<str>>,
    /// The ends to which it has to read: those there are when everyone before it has come to his. A source that grows
    /// moves them no further.
    pub(super) ends: Option<Positions>,
    pub(super) is_there: bool,
}

impl FirstPass {
    /// Waits for the connectors in `reading`, then until each stage in `behind` has read its topics.
    pub(super) fn new(broker: Arc<dyn Broker>, reading: BTreeSet<String>, behind: Vec<Behind>) -> Self {
        let is_open = AtomicBool::new(reading.is_empty());
        Self { broker, reading: Mutex::new(reading), behind: Mutex::new(behind), is_open }
    }

    fn passed(&self, connector: &str) {
        self.reading.lock().expect("no holder panics").remove(connector);
    }

    fn is_reading(&self, connector: Option<&str>) -> bool {
        let reading = self.reading.lock().expect("no holder panics");
        connector.map_or(!reading.is_empty(), |name| reading.contains(name))
    }

    /// Whether the tables hold what was there at the start; once true, always true.
    fn is_open(&self) -> Result<bool, BrokerError> {
        if self.is_open.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if self.is_reading(None) {
            return Ok(false);
        }
        let mut behind = self.behind.lock().expect("no holder panics");
        // In the order of the journey, whatever theirs is here: each round some come to their ends, or all wait.
        while let Some(at) = next(&behind) {
            let positions = self.broker.committed(&behind[at].group)?;
            let ends = match behind[at].ends.take() {
                Some(ends) => ends,
                None => self.ends(&behind[at].reads)?,
            };
            let is_there = ends.iter().all(|(of, end)| positions.get(of).is_some_and(|position| position >= end));
            (behind[at].ends, behind[at].is_there) = (Some(ends), is_there);
            if !is_there {
                return Ok(false);
            }
        }
        self.is_open.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// The present ends of the partitions in which something is.
    fn ends(&self, topics: &BTreeSet<Arc<str>>) -> Result<Positions, BrokerError> {
        let mut ends = Positions::new();
        for known in self.broker.topics()?.iter().filter(|known| topics.contains(&known.name)) {
            for number in 0..known.partitions {
                let of = TopicPartition::new(known.name.clone(), number);
                let (first, next) = self.broker.offsets(&of)?;
                if first < next {
                    ends.insert(of, next);
                }
            }
        }
        Ok(ends)
    }
}

/// A stage that is not at its ends, and reads of none that is not.
fn next(behind: &[Behind]) -> Option<usize> {
    let waits_for =
        |reader: &Behind| behind.iter().any(|writer| !writer.is_there && !writer.writes.is_disjoint(&reader.reads));
    behind.iter().position(|stage| !stage.is_there && !waits_for(stage))
}

/// A connector that takes its turn.
pub(super) struct InTurn {
    pub(super) name: String,
    pub(super) connector: Box<dyn Connector>,
    pub(super) first_pass: Arc<FirstPass>,
}

impl Connector for InTurn {
    fn poll(&mut self, cursor: &Cursor) -> Result<Poll, ConnectorError> {
        let is_reading = self.first_pass.is_reading(Some(&self.name));
        if !is_reading && !self.first_pass.is_open().map_err(|error| ConnectorError::Retry(error.to_string()))? {
            return Ok(Poll::Idle);
        }
        let polled = self.connector.poll(cursor)?;
        if is_reading && !matches!(polled, Poll::Page(_)) {
            self.first_pass.passed(&self.name);
        }
        Ok(polled)
    }

    fn share(&self) -> Option<f64> {
        self.connector.share()
    }
}

/// Topics from which tables are made, the tables not among them.
pub(super) fn table_sources(config: &Config) -> BTreeSet<&str> {
    let mut sources = BTreeSet::new();
    loop {
        let before = sources.len();
        for stage in &config.stage {
            if stage.to.iter().any(|topic| is_table(topic) || sources.contains(topic.as_str())) {
                sources.extend(stage.from.iter().map(String::as_str).filter(|topic| !is_table(topic)));
            }
        }
        if sources.len() == before {
            return sources;
        }
    }
}

/// Whether of a topic the last record of each key counts.
pub(super) fn is_table(name: &str) -> bool {
    topic(name).is_some_and(|topic| topic.cleanup == Cleanup::Compact)
}

/// Whether something of what it writes ends up in a table.
pub(super) fn feeds_tables(connector: &ConnectorConfig, sources: &BTreeSet<&str>) -> bool {
    connector.to.iter().any(|topic| is_table(topic) || sources.contains(topic.as_str()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use skuflow_runtime::broker::memory::Memory;
    use skuflow_runtime::broker::{Commit, Record};

    use super::*;
    use crate::config::parse;

    #[test]
    fn the_catalog_of_the_sample_goes_first() {
        let text = include_str!("../../examples/sample.toml");
        let (config, _) = parse(text, Path::new("."), &|_| None).expect("fine");
        let sources = table_sources(&config);
        assert_eq!(sources, BTreeSet::from(["raw.catalog.v1"]));
        let first = config.connector.iter().filter(|connector| feeds_tables(connector, &sources));
        assert_eq!(first.map(|connector| connector.name.as_str()).collect::<Vec<_>>(), ["catalog"]);
    }

    /// A pass with a catalog stage that makes listings and a stage that joins them, and what they have read so far.
    #[test]
    fn a_catalog_that_grows_meanwhile_holds_nothing_back() {
        let broker = Memory::new("test");
        let mut producer = broker.producer("p").expect("a producer");
        let [raw, listings] = ["raw.catalog.v1", "listings.v1"].map(Arc::<str>::from);
        for topic in [&raw, &listings] {
            broker.ensure_topic(topic, 1).expect("made");
        }
        let mut write = |topic: &Arc<str>, records| {
            for _ in 0..records {
                let record = Record { key: None, value: Some(b"v"), headers: &[] };
                producer.send(topic, Some(0), &record).expect("sent");
            }
            producer.commit(Commit { consumed: None, state: Vec::new() }).expect("committed");
        };
        let read = |group: &str, topic: &Arc<str>, position| {
            let of = TopicPartition::new(topic.clone(), 0);
            broker.note_positions(group, &Positions::from([(of, position)])).expect("noted");
        };
        let behind = |group: &str, reads: &Arc<str>, writes: Option<&Arc<str>>| Behind {
            group: group.into(),
            reads: BTreeSet::from([reads.clone()]),
            writes: writes.cloned().into_iter().collect(),
            ends: None,
            is_there: false,
        };
        let stages = vec![behind("clean", &listings, None), behind("catalog", &raw, Some(&listings))];
        let pass = FirstPass::new(Arc::new(broker.clone()), BTreeSet::from(["catalog".into()]), stages);
        write(&raw, 10);
        assert!(!pass.is_open().expect("asked"), "the connector reads");
        pass.passed("catalog");
        assert!(!pass.is_open().expect("asked"), "nothing is in the table");
        write(&raw, 5);
        write(&listings, 20);
        read("catalog", &raw, 10);
        assert!(!pass.is_open().expect("asked"), "the table is not read");
        write(&listings, 7);
        read("clean", &listings, 19);
        assert!(!pass.is_open().expect("asked"), "not to the end that it had");
        read("clean", &listings, 20);
        assert!(pass.is_open().expect("asked"), "what came meanwhile is not waited for");
    }
}
