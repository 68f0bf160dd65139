//! How the topics and groups of a config are called on the broker: the one place that knows.
//!
//! A configured prefix stands before a topic's own name: `raw.offers.v1` is `acme.raw.offers.v1`, its dead letters are
//! `dlq.acme.raw.offers.v1` and its late copies `late.acme.raw.offers.v1`. Dead letters of a connector are
//! `dlq.<connector>`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skuflow_runtime::broker::TopicInfo;
use skuflow_runtime::broker::kafka::{CHANGELOG_PREFIX, Needs};
use skuflow_schemas::{DEAD_LETTER_PREFIX, Family, LATE_PREFIX};

use crate::config::{Config, SinkConfig, StageConfig};

/// Written by every connector and stage, without being named in `to`.
pub(crate) const QUALITY: &str = "quality.v1";
/// What groups of sinks begin with, so that no pipeline may be called this.
pub(crate) const SINK: &str = "sink";
/// Stands in the transactional ids of connectors, so that no stage may be called this.
pub(crate) const CONNECTOR: &str = "connector";

/// Dead letters of a topic, by its name on the broker, or of a connector.
pub(crate) fn dead_letters(origin: &str) -> Arc<str> {
    format!("{DEAD_LETTER_PREFIX}{origin}").into()
}

/// Late copies of a topic, by its name on the broker.
pub(crate) fn late(origin: &str) -> Arc<str> {
    format!("{LATE_PREFIX}{origin}").into()
}

/// The names that a config gives.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a>(pub(crate) &'a Config);

impl Names<'_> {
    /// A topic as it is written in the config, `dlq.…` and `late.…` among them.
    pub(crate) fn topic(self, written: &str) -> Arc<str> {
        let prefix = &self.0.topics.prefix;
        if let Some(origin) = written.strip_prefix(LATE_PREFIX) {
            return late(&format!("{prefix}{origin}"));
        }
        match written.strip_prefix(DEAD_LETTER_PREFIX) {
            Some(connector) if self.is_connector(connector) => dead_letters(connector),
            Some(origin) => dead_letters(&format!("{prefix}{origin}")),
            None => format!("{prefix}{written}").into(),
        }
    }

    /// Topics as they are written in the config.
    pub(crate) fn topics(self, written: &[String]) -> Vec<Arc<str>> {
        written.iter().map(|topic| self.topic(topic)).collect()
    }

    /// What this process is called among those that share the work.
    pub(crate) fn worker(self) -> String {
        match &self.0.broker.kafka {
            None => "local".into(),
            Some(kafka) => kafka
                .worker_id
                .clone()
                .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned()),
        }
    }

    /// The group of a stage.
    pub(crate) fn stage_group(self, stage: &StageConfig) -> String {
        format!("{}-{}", self.0.name, stage.name)
    }

    /// The group under which a sink notes its positions.
    pub(crate) fn sink_group(sink: &SinkConfig) -> String {
        format!("{SINK}-{}", sink.name)
    }

    /// Everyone who reads, and what: stages, then sinks.
    pub(crate) fn groups(self) -> Vec<(String, Vec<String>)> {
        let topics = |from: &[String]| self.topics(from).iter().map(ToString::to_string).collect();
        let stages = self.0.stage.iter().map(|stage| (self.stage_group(stage), topics(&stage.from)));
        let sinks = self.0.sink.iter().map(|sink| (Self::sink_group(sink), topics(&sink.from)));
        stages.chain(sinks).collect()
    }

    /// The topics that hold events, by their name on the broker; not their dead letters and late copies.
    pub(crate) fn events(self) -> BTreeMap<String, Family> {
        let connectors = self.0.connector.iter().map(|connector| &connector.to);
        let stages = self.0.stage.iter().flat_map(|stage| [&stage.from, &stage.to]);
        let written = connectors.chain(stages).flatten().map(String::as_str).chain([QUALITY]);
        let event = |written: &str| Some((self.topic(written).to_string(), skuflow_schemas::topic(written)?.family));
        written.filter_map(event).collect()
    }

    /// Every topic that a run needs.
    pub(crate) fn all_topics(self) -> BTreeSet<Arc<str>> {
        let mut topics = BTreeSet::from([self.topic(QUALITY)]);
        for connector in &self.0.connector {
            topics.extend(self.topics(&connector.to));
            topics.insert(dead_letters(&connector.name));
        }
        for stage in &self.0.stage {
            topics.extend(self.topics(&stage.to));
            for input in self.topics(&stage.from) {
                topics.extend([dead_letters(&input), late(&input), input]);
            }
        }
        for sink in &self.0.sink {
            let read = self.topics(&sink.from);
            let events = read.iter().filter(|topic| !topic.starts_with(DEAD_LETTER_PREFIX));
            topics.extend(events.map(|topic| dead_letters(topic)).collect::<Vec<_>>());
            topics.extend(read);
        }
        topics
    }

    /// The topics that a run needs of a cluster, changelogs of state among them.
    pub(crate) fn needs(self) -> Needs {
        Needs {
            topics: self.all_topics().into_iter().collect(),
            partitions: self.0.topics.partitions,
            groups: self.0.stage.iter().map(|stage| self.stage_group(stage)).collect(),
            owners: {
                let connectors = self.0.connector.iter().map(|connector| format!("{CONNECTOR}:{}", connector.name));
                let sinks = self.0.sink.iter().map(|sink| format!("{SINK}:{}", sink.name));
                connectors.chain(sinks).map(Into::into).collect()
            },
        }
    }

    /// Of topics on the broker, those that are this config's or may have been: all in a data directory; on a cluster, which
    /// others use too, what it needs, and what else its prefix stands before.
    pub(crate) fn own(self, mut topics: Vec<TopicInfo>) -> Vec<TopicInfo> {
        if self.0.broker.kafka.is_some() {
            let (needed, prefix) = (self.all_topics(), &self.0.topics.prefix);
            topics.retain(|topic| {
                let origin =
                    topic.name.strip_prefix(DEAD_LETTER_PREFIX).or_else(|| topic.name.strip_prefix(LATE_PREFIX));
                let is_prefixed = origin.unwrap_or(&topic.name).starts_with(prefix);
                needed.contains(&topic.name) || (is_prefixed && !topic.name.starts_with(CHANGELOG_PREFIX))
            });
        }
        topics
    }

    fn is_connector(self, name: &str) -> bool {
        self.0.connector.iter().any(|connector| connector.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    #[test]
    fn the_prefix_stands_before_the_topic_and_not_before_dlq_or_late() {
        let text = include_str!("../examples/sample.toml").replacen("[topics]", "[topics]\nprefix = \"acme.\"", 1);
        let (config, _) = parse(&text, Path::new("."), &|_| None).expect("fine");
        let names = Names(&config);
        for (written, on_broker) in [
            ("offers.v1", "acme.offers.v1"),
            ("dlq.raw.offers.v1", "dlq.acme.raw.offers.v1"),
            ("late.raw.offers.v1", "late.acme.raw.offers.v1"),
            ("dlq.orders", "dlq.orders"),
        ] {
            assert_eq!(names.topic(written).as_ref(), on_broker);
        }
        let groups = names.groups();
        assert_eq!(groups[1].0, "sample-clean");
        assert_eq!(groups[2].0, "sink-tables");
        assert!(groups[2].1.iter().any(|topic| topic == "dlq.acme.raw.sales.v1"), "{groups:?}");
    }
}
