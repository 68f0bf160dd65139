//! The way of records from topic to topic: who writes what, and who reads it.

use std::collections::{BTreeMap, HashSet};

use skuflow_schemas::{DEAD_LETTER_PREFIX, LATE_PREFIX, topic};

use super::Check;
use crate::config::problem::Problem;
use crate::config::tree::At::{self, Field, Item};
use crate::names::QUALITY;

impl Check<'_> {
    /// Topics that are named twice in a list, and lists of none.
    pub(super) fn lists(&mut self) {
        let config = self.config;
        for (index, connector) in config.connector.iter().enumerate() {
            self.list(&[Field("connector"), Item(index), Field("to")], &connector.to, &connector.name);
        }
        for (index, stage) in config.stage.iter().enumerate() {
            self.list(&[Field("stage"), Item(index), Field("from")], &stage.from, &stage.name);
            self.list(&[Field("stage"), Item(index), Field("to")], &stage.to, &stage.name);
        }
        for (index, sink) in config.sink.iter().enumerate() {
            self.list(&[Field("sink"), Item(index), Field("from")], &sink.from, &sink.name);
        }
    }

    fn list(&mut self, path: &[At<'_>], topics: &[String], owner: &str) {
        if topics.is_empty() && self.whole {
            let does = if matches!(path.last(), Some(Field("to"))) { "writes nowhere" } else { "reads nothing" };
            self.report("SKU-035", path, format!("`{owner}` {does}"), "name a topic; `skuflow schema` lists them");
        }
        for (at, topic) in topics.iter().enumerate() {
            if topics[..at].contains(topic) {
                let path = [path, &[Item(at)]].concat();
                self.report("SKU-035", &path, format!("`{topic}` is there twice"), "name it once");
            }
        }
    }

    /// Stages that read what is made from their own output: with `--once` they would wait for themselves.
    pub(super) fn circles(&mut self) {
        let config = self.config;
        for (index, stage) in config.stage.iter().enumerate() {
            let mut reached: HashSet<&str> = stage.to.iter().map(String::as_str).collect();
            for _ in 0..config.stage.len() {
                let on =
                    config.stage.iter().filter(|next| next.from.iter().any(|topic| reached.contains(topic.as_str())));
                let on: Vec<&str> = on.flat_map(|next| &next.to).map(String::as_str).collect();
                reached.extend(on);
            }
            if let Some(at) = stage.from.iter().position(|topic| reached.contains(topic.as_str())) {
                let path = [Field("stage"), Item(index), Field("from"), Item(at)];
                let message = format!("stage `{}` reads what is made from its own output", stage.name);
                self.report("SKU-042", &path, message, "stages follow one another, and never lead back");
            }
        }
    }

    /// Who writes what, and who reads it.
    pub(super) fn flow(&mut self) {
        let config = self.config;
        let mut written: BTreeMap<&str, usize> = BTreeMap::from([(QUALITY, 0)]);
        written.extend(config.connector.iter().flat_map(|connector| &connector.to).map(|topic| (topic.as_str(), 0)));
        for (index, stage) in config.stage.iter().enumerate() {
            for (at, topic) in stage.to.iter().enumerate() {
                if written.insert(topic, index + 1).is_some_and(|writer| writer != index + 1) {
                    let path = [Field("stage"), Item(index), Field("to"), Item(at)];
                    self.report(
                        "SKU-034",
                        &path,
                        format!("`{topic}` is written elsewhere too"),
                        "one stage writes a topic",
                    );
                }
            }
        }
        let mut read = HashSet::new();
        for (index, stage) in config.stage.iter().enumerate() {
            for (at, topic) in stage.from.iter().enumerate() {
                read.insert(topic.as_str());
                self.has_writer(&[Field("stage"), Item(index), Field("from"), Item(at)], topic, &written);
            }
        }
        for (index, sink) in config.sink.iter().enumerate() {
            for (at, topic) in sink.from.iter().enumerate() {
                read.insert(topic.as_str());
                self.has_writer(&[Field("sink"), Item(index), Field("from"), Item(at)], topic, &written);
            }
        }
        for (index, connector) in config.connector.iter().enumerate() {
            for (at, name) in connector.to.iter().enumerate() {
                if !read.contains(name.as_str()) && topic(name).is_some() {
                    let path = [Field("connector"), Item(index), Field("to"), Item(at)];
                    let problem = Problem::new("SKU-032", self.tree.span_at(&path), format!("nobody reads `{name}`"));
                    self.problems.push(problem.warning().help("add it to a stage's `from`"));
                }
            }
        }
    }

    fn has_writer(&mut self, path: &[At<'_>], name: &str, written: &BTreeMap<&str, usize>) {
        let of = |prefix: &str| name.strip_prefix(prefix);
        if let Some(origin) = of(DEAD_LETTER_PREFIX).or_else(|| of(LATE_PREFIX)) {
            let read = self.config.stage.iter().any(|stage| stage.from.iter().any(|topic| topic == origin));
            let connector = self.config.connector.iter().any(|connector| connector.name == origin);
            let written = read || (connector && name.starts_with(DEAD_LETTER_PREFIX));
            if !written {
                let message = format!("nobody writes `{name}`");
                self.report(
                    "SKU-031",
                    path,
                    message,
                    "behind the prefix stands a topic that a stage reads, or a connector",
                );
            }
        } else if topic(name).is_none() {
            // Stages have reported theirs.
            if !matches!(path.first(), Some(Field("stage"))) {
                self.topic(path, name);
            }
        } else if !written.contains_key(name) {
            let message = format!("nobody writes `{name}`");
            self.report("SKU-031", path, message, "add it to the `to` of the connector or stage that makes it");
        }
    }
}
