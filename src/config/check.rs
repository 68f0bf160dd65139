//! Checks a config as a whole: names, topics, chains, components.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use skuflow_processors::{catalog, dedup, route, validate};
use skuflow_schemas::{DEAD_LETTER_PREFIX, Family, LATE_PREFIX, TOPICS, TopicSpec, check_customer, topic};

use super::model::{Config, ConnectorConfig, SinkConfig, StageConfig, StepConfig};
use super::problem::Problem;
use super::tree::At::{Field, Item};
use super::tree::{At, Node};

/// Partitions a topic may have.
const PARTITIONS_MAX: u32 = 1024;
/// Longest time between commits.
const COMMIT_INTERVAL_MAX_MICROS: i64 = 60_000_000;
/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;
/// Written by every connector and stage, without being named in `to`.
const QUALITY: &str = "quality.v1";

struct Check<'a> {
    config: &'a Config,
    tree: &'a Node,
    /// Nothing had to be left out: what seems absent is.
    whole: bool,
    problems: &'a mut Vec<Problem>,
}

/// Adds what is wrong; `whole` says that nothing had to be left out, so that what seems absent is.
pub(super) fn check(config: &Config, tree: &Node, base: &Path, whole: bool, problems: &mut Vec<Problem>) {
    let mut check = Check { config, tree, whole, problems };
    check.ranges();
    check.names();
    for (index, connector) in config.connector.iter().enumerate() {
        check.connector(index, connector);
    }
    for (index, stage) in config.stage.iter().enumerate() {
        check.stage(index, stage);
    }
    for (index, sink) in config.sink.iter().enumerate() {
        check.sink(index, sink, base);
    }
    if whole {
        check.flow();
    }
}

impl Check<'_> {
    fn report(&mut self, code: &'static str, path: &[At<'_>], message: String, help: &str) {
        let problem = Problem::new(code, self.tree.span_at(path), message);
        self.problems.push(if help.is_empty() { problem } else { problem.help(help) });
    }

    fn ranges(&mut self) {
        if self.config.version != 1 {
            let message = format!("version {} is not known", self.config.version);
            self.report("SKU-020", &[Field("version")], message, "write version = 1");
        }
        let partitions = self.config.topics.partitions;
        if partitions == 0 || partitions > PARTITIONS_MAX {
            let path = [Field("topics"), Field("partitions")];
            self.report("SKU-020", &path, format!("{partitions} partitions are not possible"), "choose 1 to 1024");
        }
        let interval = self.config.runtime.commit_interval;
        if !(1_000..=COMMIT_INTERVAL_MAX_MICROS).contains(&interval.micros()) {
            let path = [Field("runtime"), Field("commit_interval")];
            self.report("SKU-020", &path, format!("a commit every {interval} is not possible"), "choose 1ms to 60s");
        }
    }

    fn names(&mut self) {
        let config = self.config;
        self.name(&[Field("name")], &config.name, &mut HashSet::new());
        let mut seen = HashSet::new();
        for (index, connector) in config.connector.iter().enumerate() {
            self.name(&[Field("connector"), Item(index), Field("name")], &connector.name, &mut seen);
            if let Err(error) = check_customer(&connector.customer) {
                let path = [Field("connector"), Item(index), Field("customer")];
                self.report("SKU-021", &path, error.to_string(), "");
            }
        }
        seen.clear();
        for (index, stage) in config.stage.iter().enumerate() {
            self.name(&[Field("stage"), Item(index), Field("name")], &stage.name, &mut seen);
        }
        seen.clear();
        for (index, sink) in config.sink.iter().enumerate() {
            self.name(&[Field("sink"), Item(index), Field("name")], &sink.name, &mut seen);
        }
    }

    fn name<'a>(&mut self, path: &[At<'_>], name: &'a str, seen: &mut HashSet<&'a str>) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            self.report(
                "SKU-021",
                path,
                format!("`{name}` is no name"),
                "use 1 to 64 characters out of a-z, 0-9 and `-`",
            );
        } else if !seen.insert(name) {
            self.report(
                "SKU-021",
                path,
                format!("the name `{name}` is taken"),
                "names are unique; they name stored positions",
            );
        }
    }

    /// The topic called `name`, or a problem at `path`.
    fn topic(&mut self, path: &[At<'_>], name: &str) -> Option<&'static TopicSpec> {
        let found = topic(name);
        if found.is_none() {
            let problem = Problem::new("SKU-030", self.tree.span_at(path), format!("there is no topic `{name}`"));
            let known = TOPICS.iter().map(|topic| topic.name);
            self.problems.push(problem.closest(name, known).help("`skuflow schema` lists the topics"));
        }
        found
    }

    fn connector(&mut self, index: usize, connector: &ConnectorConfig) {
        let block = [Field("connector"), Item(index)];
        let Some(file) = &connector.file else {
            if !self.whole {
                return;
            }
            return self.report(
                "SKU-013",
                &block,
                format!("connector `{}` has no kind", connector.name),
                "add `file = { … }`",
            );
        };
        for problem in file.validate() {
            let mut path = vec![Field("connector"), Item(index), Field("file")];
            path.extend(problem.path.iter().map(|part| Field(part)));
            let shown = Problem::new("SKU-050", self.tree.span_at(&path), problem.message);
            let shown = shown.closest(&problem.written, problem.known);
            self.problems.push(Problem { help: problem.help, ..shown });
        }
        for (at, name) in connector.to.iter().enumerate() {
            let path = [Field("connector"), Item(index), Field("to"), Item(at)];
            let Some(topic) = self.topic(&path, name) else { continue };
            let Some(family) = file.family() else { continue };
            if family.raw_topic() != Some(topic.name) {
                let fits = family.raw_topic().unwrap_or_default();
                let message = format!("`{name}` does not take the `{}` events of this connector", file.event);
                self.report("SKU-033", &path, message, &format!("write to [\"{fits}\"]"));
            }
        }
        if connector.to.is_empty() {
            let path = [Field("connector"), Item(index), Field("to")];
            self.report(
                "SKU-033",
                &path,
                format!("connector `{}` writes nowhere", connector.name),
                "name a raw topic in `to`",
            );
        }
    }

    fn stage(&mut self, index: usize, stage: &StageConfig) {
        let mut families = Vec::new();
        let mut keys = BTreeMap::new();
        for (at, name) in stage.from.iter().enumerate() {
            let path = [Field("stage"), Item(index), Field("from"), Item(at)];
            if let Some(topic) = self.topic(&path, name) {
                families.push(topic.family);
                keys.insert(key_of(topic), name);
            }
        }
        if keys.len() > 1 {
            let named: Vec<String> = keys.iter().map(|(key, name)| format!("`{name}` is by {key}")).collect();
            let path = [Field("stage"), Item(index), Field("from")];
            let message = format!("these topics cannot be joined: {}", named.join(", "));
            self.report(
                "SKU-041",
                &path,
                message,
                "read topics with one key in a stage; `route` changes listing to product",
            );
        }
        let given = self.chain(index, stage, families);
        for (at, name) in stage.to.iter().enumerate() {
            let path = [Field("stage"), Item(index), Field("to"), Item(at)];
            let Some(topic) = self.topic(&path, name) else { continue };
            if given.as_ref().is_some_and(|given| !given.iter().any(|(family, copies)| fits(topic, *family, *copies))) {
                let message = format!("the steps of stage `{}` give nothing for `{name}`", stage.name);
                self.report("SKU-033", &path, message, "remove it, or add the step that makes its events");
            }
        }
    }

    /// Follows the families through the steps: what comes out, and whether as copies by product too.
    fn chain(&mut self, index: usize, stage: &StageConfig, families: Vec<Family>) -> Option<Vec<(Family, bool)>> {
        let mut given = families;
        let mut copies = false;
        let mut seen = HashSet::new();
        if stage.steps.is_empty() {
            let path = [Field("stage"), Item(index), Field("steps")];
            self.report(
                "SKU-040",
                &path,
                format!("stage `{}` has no steps", stage.name),
                "begin with { validate = {} }",
            );
            return None;
        }
        for (at, step) in stage.steps.iter().enumerate() {
            let path = [Field("stage"), Item(index), Field("steps"), Item(at)];
            let (name, takes, gives) = traits(step);
            if !seen.insert(name) {
                self.report("SKU-040", &path, format!("step `{name}` is there twice"), "keep one");
            }
            if (name == "validate") != (at == 0) {
                let message = format!("step `{name}` cannot stand here");
                self.report(
                    "SKU-040",
                    &path,
                    message,
                    "`validate` comes first, and only it: no later step may refuse a record",
                );
            }
            let unfit: Vec<&str> =
                given.iter().filter(|family| !takes.contains(family)).map(|family| family.name()).collect();
            if !unfit.is_empty() {
                let message = format!("step `{name}` does not take {}", unfit.join(", "));
                let names: Vec<&str> = takes.iter().map(|family| family.name()).collect();
                self.report("SKU-040", &path, message, &format!("it takes {}", names.join(", ")));
                return None;
            }
            match step {
                StepConfig::Validate(config) => {
                    for unknown in config.unknown_rules() {
                        let path = [path.as_slice(), &[Field("validate"), Field("rules"), Field(unknown)]].concat();
                        let rules = validate::RULES.iter().map(|rule| rule.id);
                        let problem =
                            Problem::new("SKU-050", self.tree.span_at(&path), format!("there is no rule `{unknown}`"));
                        let help = format!("the rules are: {}", rules.clone().collect::<Vec<_>>().join(", "));
                        self.problems.push(problem.closest(unknown, rules).help(help));
                    }
                }
                StepConfig::Catalog(_) => given = gives.to_vec(),
                StepConfig::Route(_) => {
                    given.retain(|family| gives.contains(family));
                    copies = true;
                }
                StepConfig::Dedup(config) => {
                    if config.window.micros() < DAY_MICROS || config.window.micros() % DAY_MICROS != 0 {
                        let path = [path.as_slice(), &[Field("dedup"), Field("window")]].concat();
                        let message = format!("a window of {} is not possible", config.window);
                        self.report(
                            "SKU-020",
                            &path,
                            message,
                            "ids are remembered by whole days: write \"1d\" or more",
                        );
                    }
                }
            }
        }
        let both = given.into_iter().flat_map(|family| [(family, false), (family, copies)]);
        Some(both.collect())
    }

    fn sink(&mut self, index: usize, sink: &SinkConfig, base: &Path) {
        let block = [Field("sink"), Item(index)];
        match &sink.serving {
            None if !self.whole => {}
            None => self.report(
                "SKU-013",
                &block,
                format!("sink `{}` has no kind", sink.name),
                "add `serving = { url = \"sqlite:…\" }`",
            ),
            Some(serving) => {
                if let Err(reason) = serving.database(base) {
                    let path = [Field("sink"), Item(index), Field("serving"), Field("url")];
                    self.report("SKU-050", &path, reason, "");
                }
            }
        }
    }

    /// Who writes what, and who reads it.
    fn flow(&mut self) {
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

/// What decides the partition of a topic's records.
fn key_of(topic: &TopicSpec) -> &'static str {
    match topic.family {
        Family::Catalog => "product",
        _ if topic.name.starts_with("product-") => "product",
        _ => "listing",
    }
}

/// Whether a topic holds events of `family`, as copies by product or not.
fn fits(topic: &TopicSpec, family: Family, copies: bool) -> bool {
    topic.family == family && topic.name.starts_with("product-") == copies && !topic.name.starts_with("raw.")
}

fn traits(step: &StepConfig) -> (&'static str, &'static [Family], &'static [Family]) {
    match step {
        StepConfig::Validate(_) => ("validate", validate::FAMILIES, validate::FAMILIES),
        StepConfig::Dedup(_) => ("dedup", dedup::FAMILIES, dedup::FAMILIES),
        StepConfig::Catalog(_) => ("catalog", catalog::TAKES, catalog::GIVES),
        StepConfig::Route(_) => ("route", route::TAKES, route::GIVES),
    }
}
