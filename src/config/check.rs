//! Checks a config as a whole: names, topics, chains, components.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use skuflow_processors::{catalog, dedup, route, validate};
use skuflow_schemas::{
    ByteSize, DEAD_LETTER_PREFIX, Family, LATE_PREFIX, Span, TOPICS, TopicSpec, check_customer, topic,
};

use super::model::{Config, ConnectorConfig, SinkConfig, StageConfig, StepConfig};
use super::problem::Problem;
use super::tree::At::{Field, Item};
use super::tree::{At, Node, Value};
use crate::names::{CONNECTOR, QUALITY, SINK};

/// Partitions a topic may have.
const PARTITIONS_MAX: u32 = 1024;
/// Threads a stage may have: more than partitions are of no use.
const THREADS_MAX: u32 = PARTITIONS_MAX;
/// Longest time between commits.
const COMMIT_INTERVAL_MAX: Span = Span::from_millis(60_000);
/// Longest time to wait for an input, or for a batch to fill.
const PATIENCE_MAX: Span = Span::from_millis(3_600_000);
/// Shortest time of each of these.
const MOMENT: Span = Span::from_millis(1);
/// Least memory for decoded state.
const CACHE_BYTES_MIN: ByteSize = ByteSize(1 << 20);
/// Least size of a full topic: one segment per partition would never be dropped otherwise.
const TOPIC_BYTES_MIN: ByteSize = ByteSize(64 << 20);
/// Most memory and disk that is believed to be meant.
const BYTES_MAX: ByteSize = ByteSize(1 << 50);
/// Shortest and longest time that ids are remembered.
const WINDOW: (Span, Span) = (Span::from_days(1), Span::from_days(3_650));
/// Longest prefix of topics.
const PREFIX_MAX: usize = 64;
/// Fields without which no config can be read, and how they are written.
const REQUIRED: &[(&str, &str)] = &[("version", "version = 1"), ("name", "name = \"shop\"")];

/// Adds what is wrong with the shape of a config, and takes out what was reported.
pub(super) fn check_tree(tree: &mut Node, problems: &mut Vec<Problem>) {
    for (missing, example) in REQUIRED.iter().filter(|(field, _)| tree.field(field).is_none()) {
        let problem = Problem::new("SKU-012", tree.span.clone(), format!("`{missing}` is missing"));
        problems.push(problem.help(format!("write {example}")));
    }
    let Value::Table(entries) = &mut tree.value else { return };
    let broker = entries.iter_mut().find(|entry| entry.key == "broker").map(|entry| &mut entry.node.value);
    let Some(Value::Table(kinds)) = broker else { return };
    if let Some(other) = kinds.iter().find(|entry| matches!(entry.key.as_str(), "kafka" | "kind")) {
        let message = "only the embedded broker exists in this version; there is no Kafka broker yet";
        let problem = Problem::new("SKU-013", other.key_span.clone(), message);
        problems.push(problem.help("remove it: the embedded broker needs no settings"));
        kinds.retain(|entry| entry.key == "embedded");
    }
}

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
    check.lists();
    if whole {
        check.circles();
        check.flow();
    }
}

impl Check<'_> {
    fn report(&mut self, code: &'static str, path: &[At<'_>], message: String, help: &str) {
        let problem = Problem::new(code, self.tree.span_at(path), message);
        self.problems.push(if help.is_empty() { problem } else { problem.help(help) });
    }

    fn ranges(&mut self) {
        let Config { version, data_dir, broker, topics, runtime, .. } = self.config;
        if *version != 1 && self.tree.field("version").is_some() {
            let message = format!("version {version} is not known");
            self.report("SKU-020", &[Field("version")], message, "write version = 1");
        }
        if data_dir.trim().is_empty() && self.tree.field("data_dir").is_some() {
            self.report("SKU-020", &[Field("data_dir")], "the data directory has no name".into(), "write \"data\"");
        }
        self.prefix(&topics.prefix);
        self.range(&["topics", "partitions"], topics.partitions, 1..=PARTITIONS_MAX);
        if let Some(threads) = runtime.threads {
            let path = [Field("runtime"), Field("threads")];
            if !(1..=THREADS_MAX).contains(&threads) {
                let help = format!("choose 1 to {THREADS_MAX}, or leave it out: as many as there are processors");
                self.report("SKU-020", &path, format!("`threads` cannot be {threads}"), &help);
            } else if threads > topics.partitions {
                let message =
                    format!("{} partitions keep no more than as many of {threads} threads busy", topics.partitions);
                let problem = Problem::new("SKU-020", self.tree.span_at(&path), message).warning();
                self.problems.push(problem.help("choose at most as many threads as partitions"));
            }
        }
        self.range(&["runtime", "commit_interval"], runtime.commit_interval, MOMENT..=COMMIT_INTERVAL_MAX);
        self.range(&["runtime", "idle_max"], runtime.idle_max, MOMENT..=PATIENCE_MAX);
        self.range(&["runtime", "cache_bytes"], runtime.cache_bytes, CACHE_BYTES_MIN..=BYTES_MAX);
        let path = ["broker", "embedded", "topic_bytes_max"];
        self.range(&path, broker.embedded.topic_bytes_max, TOPIC_BYTES_MIN..=BYTES_MAX);
    }

    /// A setting at a path of fields that has to be within a range.
    fn range<T: PartialOrd + Display>(&mut self, path: &[&str], value: T, allowed: RangeInclusive<T>) {
        if !allowed.contains(&value) {
            let message = format!("`{}` cannot be {value}", path.last().unwrap_or(&""));
            let path: Vec<At<'_>> = path.iter().map(|name| Field(name)).collect();
            self.report("SKU-020", &path, message, &format!("choose {} to {}", allowed.start(), allowed.end()));
        }
    }

    fn prefix(&mut self, prefix: &str) {
        let path = [Field("topics"), Field("prefix")];
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        if prefix.len() > PREFIX_MAX || !prefix.bytes().all(plain) {
            let help = format!("use up to {PREFIX_MAX} characters out of a-z, 0-9, `.` and `-`");
            self.report("SKU-021", &path, format!("`{prefix}` cannot stand before names of topics"), &help);
        } else if let Some(taken) = [DEAD_LETTER_PREFIX, LATE_PREFIX].iter().find(|taken| prefix.contains(**taken)) {
            let message = format!("`{prefix}` has `{taken}` in it, which tells what a topic holds");
            self.report("SKU-021", &path, message, "choose another prefix");
        }
    }

    fn names(&mut self) {
        let config = self.config;
        if self.tree.field("name").is_some() {
            self.name(&[Field("name")], &config.name, &mut HashSet::from([SINK]));
        }
        let mut seen = HashSet::new();
        for (index, connector) in config.connector.iter().enumerate() {
            self.name(&[Field("connector"), Item(index), Field("name")], &connector.name, &mut seen);
            if let Err(error) = check_customer(&connector.customer) {
                let path = [Field("connector"), Item(index), Field("customer")];
                self.report("SKU-021", &path, error.to_string(), "");
            }
        }
        seen = HashSet::from([CONNECTOR]);
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
            let mut shown = Problem::new("SKU-050", self.tree.span_at(&path), problem.message);
            if let ([map, written], Some(family)) = (problem.path.as_slice(), file.family())
                && map == "map"
            {
                shown = shown.closest(written, skuflow_ingest::file::fields(family).0);
            }
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
    }

    /// Topics that are named twice in a list, and lists of none.
    fn lists(&mut self) {
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
    fn circles(&mut self) {
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
        let mut ended_by = None;
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
            if let Some(last) = ended_by.filter(|last| *last != name && name != "validate") {
                let message = format!("step `{name}` cannot stand behind `{last}`");
                self.report("SKU-040", &path, message, &format!("`{last}` comes last"));
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
                StepConfig::Catalog(_) => {
                    given = gives.to_vec();
                    ended_by = Some(name);
                }
                StepConfig::Route(_) => {
                    given.retain(|family| gives.contains(family));
                    copies = true;
                    ended_by = Some(name);
                }
                StepConfig::Dedup(config) => {
                    let is_whole = config.window.micros() % WINDOW.0.micros() == 0;
                    if !is_whole || !(WINDOW.0..=WINDOW.1).contains(&config.window) {
                        let path = [path.as_slice(), &[Field("dedup"), Field("window")]].concat();
                        let message = format!("a window of {} is not possible", config.window);
                        let help = format!("ids are remembered by whole days: choose {} to {}", WINDOW.0, WINDOW.1);
                        self.report("SKU-020", &path, message, &help);
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
                let at = |field| [Field("sink"), Item(index), Field("serving"), Field(field)];
                if let Err(reason) = serving.database(base) {
                    self.report("SKU-050", &at("url"), reason, "");
                }
                if !(MOMENT..=PATIENCE_MAX).contains(&serving.batch_age) {
                    let message = format!("`batch_age` cannot be {}", serving.batch_age);
                    self.report("SKU-020", &at("batch_age"), message, &format!("choose {MOMENT} to {PATIENCE_MAX}"));
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
