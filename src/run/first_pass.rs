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
use skuflow_runtime::broker::{Broker, BrokerError, TopicPartition};
use skuflow_schemas::{Cleanup, topic};

use crate::config::{Config, ConnectorConfig};

/// What the connectors of a run share.
pub(super) struct FirstPass {
    broker: Arc<dyn Broker>,
    /// Connectors that feed tables and have not read all that is there.
    reading: Mutex<BTreeSet<String>>,
    /// Groups and the topics that they must have read to their end.
    behind: Vec<(String, BTreeSet<Arc<str>>)>,
    is_open: AtomicBool,
}

impl FirstPass {
    /// Waits for the connectors in `reading`, then until each group in `behind` has read its topics.
    pub(super) fn new(
        broker: Arc<dyn Broker>,
        reading: BTreeSet<String>,
        behind: Vec<(String, BTreeSet<Arc<str>>)>,
    ) -> Self {
        let is_open = AtomicBool::new(reading.is_empty());
        Self { broker, reading: Mutex::new(reading), behind, is_open }
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
        for (group, topics) in &self.behind {
            if !self.is_at_end(group, topics)? {
                return Ok(false);
            }
        }
        self.is_open.store(true, Ordering::Relaxed);
        Ok(true)
    }

    fn is_at_end(&self, group: &str, topics: &BTreeSet<Arc<str>>) -> Result<bool, BrokerError> {
        let positions = self.broker.committed(group)?;
        for known in self.broker.topics()?.iter().filter(|known| topics.contains(&known.name)) {
            for number in 0..known.partitions {
                let of = TopicPartition::new(known.name.clone(), number);
                let (first, next) = self.broker.offsets(&of)?;
                if positions.get(&of).copied().unwrap_or(first) < next {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
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
}
