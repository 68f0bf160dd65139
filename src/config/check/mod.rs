//! Checks a config as a whole: names, topics, chains, components.

mod bucket;
mod chain;
mod flow;
mod kafka;

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use skuflow_ingest::{ConfigProblem, simulator};
use skuflow_schemas::{
    ByteSize, DEAD_LETTER_PREFIX, Family, LATE_PREFIX, Span, TOPICS, TopicSpec, check_customer, topic,
};
use skuflow_sinks::{lake, serving};

use super::model::{Config, ConnectorConfig, SinkConfig};
use super::problem::Problem;
use super::tree::At::{Field, Item};
use super::tree::{At, Entry, Node, Value};
use crate::names::{CONNECTOR, SINK};

/// Partitions a topic may have.
const PARTITIONS_MAX: u32 = 1024;
/// Threads a stage may have: more than partitions are of no use.
const THREADS_MAX: u32 = PARTITIONS_MAX;
/// Longest time between commits.
const COMMIT_INTERVAL_MAX: Span = Span::from_millis(60_000);
/// Longest time to wait for an input, or for a batch to fill.
const PATIENCE_MAX: Span = Span::from_millis(3_600_000);
/// Times that a statement of a serving sink may take.
const STATEMENT_TIMEOUTS: RangeInclusive<Span> = Span::from_millis(1_000)..=Span::from_millis(3_600_000);
/// Times between commits to the lake: each makes a file per table, customer and day.
const LAKE_COMMIT_INTERVALS: RangeInclusive<Span> = Span::from_millis(1_000)..=Span::from_millis(3_600_000);
/// How long months of the histories of serving tables stay.
const RETENTION_MIN: Span = Span::from_days(1);
/// Time from one round of upkeep to the next.
const UPKEEP_EVERY_MIN: Span = Span::from_millis(60_000);
/// Bytes of records in one commit to the lake.
const LAKE_BATCH_BYTES: RangeInclusive<ByteSize> = ByteSize(1 << 20)..=ByteSize(256 << 20);
/// Shortest time of each of these.
const MOMENT: Span = Span::from_millis(1);
/// Least memory for decoded state.
const CACHE_BYTES_MIN: ByteSize = ByteSize(1 << 20);
/// Least size of a full topic: one segment per partition would never be dropped otherwise.
const TOPIC_BYTES_MIN: ByteSize = ByteSize(64 << 20);
/// Most memory and disk that is believed to be meant.
const BYTES_MAX: ByteSize = ByteSize(1 << 50);
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
    let is_kind = |entry: &&Entry| matches!(entry.key.as_str(), "embedded" | "kafka");
    if let Some(other) = kinds.iter().find(|entry| entry.key == "kind") {
        let problem = Problem::new("SKU-013", other.key_span.clone(), "a broker is named by its kind");
        problems.push(problem.help("write kafka = { bootstrap_servers = \"localhost:9092\" }, or nothing"));
        kinds.retain(|entry| is_kind(&entry));
    }
    if let Some(second) = kinds.iter().filter(is_kind).nth(1) {
        let problem = Problem::new("SKU-013", second.key_span.clone(), "there is one broker, and two kinds are named");
        problems.push(problem.help("remove one of them"));
    }
}

/// The folder of the config, and what looks up variables.
pub(super) type Sources<'a> = (&'a Path, &'a dyn Fn(&str) -> Option<String>);

struct Check<'a> {
    config: &'a Config,
    tree: &'a Node,
    /// Nothing had to be left out: what seems absent is.
    whole: bool,
    problems: &'a mut Vec<Problem>,
}

/// Adds what is wrong; `whole` says that nothing had to be left out, so that what seems absent is.
pub(super) fn check(config: &Config, tree: &Node, sources: Sources<'_>, whole: bool, problems: &mut Vec<Problem>) {
    let mut check = Check { config, tree, whole, problems };
    check.ranges();
    if let Some(kafka) = &config.broker.kafka {
        check.kafka(kafka, sources);
    }
    check.names();
    for (index, connector) in config.connector.iter().enumerate() {
        check.connector(index, connector);
    }
    for (index, stage) in config.stage.iter().enumerate() {
        check.stage(index, stage);
    }
    for (index, sink) in config.sink.iter().enumerate() {
        check.sink(index, sink, sources);
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
        let Config { version, data_dir, broker, topics, runtime, http, .. } = self.config;
        if *version != 1 && self.tree.field("version").is_some() {
            let message = format!("version {version} is not known");
            self.report("SKU-020", &[Field("version")], message, "write version = 1");
        }
        if data_dir.trim().is_empty() && self.tree.field("data_dir").is_some() {
            self.report("SKU-020", &[Field("data_dir")], "the data directory has no name".into(), "write \"data\"");
        }
        self.prefix(&topics.prefix);
        if let Some(http) = http.as_ref().filter(|http| !http.listen.ip().is_loopback()) {
            let message =
                format!("`{}` can be reached from other machines, and there is no access control", http.listen);
            let help = "listen on 127.0.0.1 or [::1], and let a proxy stand before it";
            self.report("SKU-020", &[Field("http"), Field("listen")], message, help);
        }
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
        seen = HashSet::from([CONNECTOR, SINK]);
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
        match (&connector.file, &connector.simulator) {
            (Some(file), None) => {
                self.kind(index, "file", file.validate());
                self.written(index, connector, &Vec::from_iter(file.family()), false);
            }
            (None, Some(simulator)) => {
                self.kind(index, "simulator", simulator.validate());
                self.written(index, connector, simulator::FAMILIES, true);
            }
            (None, None) if !self.whole => {}
            (None, None) => self.report(
                "SKU-013",
                &[Field("connector"), Item(index)],
                format!("connector `{}` has no kind", connector.name),
                "add `file = { … }` or `simulator = { … }`",
            ),
            (Some(_), Some(_)) => self.report(
                "SKU-013",
                &[Field("connector"), Item(index)],
                format!("connector `{}` has two kinds", connector.name),
                "keep one of `file` and `simulator`; make two connectors of them",
            ),
        }
    }

    /// What a kind of connector finds wrong with its settings.
    fn kind(&mut self, index: usize, kind: &'static str, problems: Vec<ConfigProblem>) {
        for problem in problems {
            let mut path = vec![Field("connector"), Item(index), Field(kind)];
            path.extend(problem.path.iter().map(|part| Field(part)));
            let shown = Problem::new("SKU-050", self.tree.span_at(&path), problem.message);
            let shown = shown.closest(&problem.written, problem.known);
            self.problems.push(Problem { help: problem.help, ..shown });
        }
    }

    /// Each topic takes one of the connector's families and, where `all` are always made, each family has a topic.
    fn written(&mut self, index: usize, connector: &ConnectorConfig, families: &[Family], all: bool) {
        let fits: Vec<&str> = families.iter().filter_map(|family| family.raw_topic()).collect();
        let listed = fits.iter().map(|fit| format!("\"{fit}\"")).collect::<Vec<_>>().join(", ");
        for (at, name) in connector.to.iter().enumerate() {
            let path = [Field("connector"), Item(index), Field("to"), Item(at)];
            let Some(topic) = self.topic(&path, name) else { continue };
            if !fits.is_empty() && !fits.contains(&topic.name) {
                let events =
                    families.iter().map(|family| format!("`{}`", family.name())).collect::<Vec<_>>().join(", ");
                let message = format!("`{name}` does not take the {events} events of this connector");
                self.report("SKU-033", &path, message, &format!("write to [{listed}]"));
            }
        }
        if let Some(missing) = fits.iter().find(|fit| all && !connector.to.iter().any(|name| name == *fit)) {
            let message = format!("nothing takes what this connector makes for `{missing}`");
            self.report(
                "SKU-033",
                &[Field("connector"), Item(index), Field("to")],
                message,
                &format!("write to [{listed}]"),
            );
        }
    }

    fn sink(&mut self, index: usize, sink: &SinkConfig, sources: Sources<'_>) {
        let block = [Field("sink"), Item(index)];
        match (&sink.serving, &sink.lake) {
            (None, None) if !self.whole => {}
            (None, None) => self.report(
                "SKU-013",
                &block,
                format!("sink `{}` has no kind", sink.name),
                "add `serving = { url = \"sqlite:…\" }` or `lake = { path = \"…\" }`",
            ),
            (Some(_), Some(_)) => self.report(
                "SKU-013",
                &block,
                format!("sink `{}` has more than one kind", sink.name),
                "make two sinks of it",
            ),
            (Some(serving), None) => {
                self.serving(index, serving, sources.0);
                self.share(index, sink, serving, sources.0);
            }
            (None, Some(lake)) => {
                self.lake(index, sink, lake);
                self.files(index, lake, sources);
            }
        }
    }

    fn serving(&mut self, index: usize, serving: &serving::Config, base: &Path) {
        let at = |field| [Field("sink"), Item(index), Field("serving"), Field(field)];
        if let Err(reason) = serving.place(base) {
            self.report("SKU-050", &at("url"), reason, "");
        }
        if !(MOMENT..=PATIENCE_MAX).contains(&serving.batch_age) {
            let message = format!("`batch_age` cannot be {}", serving.batch_age);
            self.report("SKU-020", &at("batch_age"), message, &format!("choose {MOMENT} to {PATIENCE_MAX}"));
        }
        if let Some(retention) = serving.retention.filter(|retention| *retention < RETENTION_MIN) {
            let message = format!("`retention` cannot be {retention}");
            self.report(
                "SKU-020",
                &at("retention"),
                message,
                &format!("choose {RETENTION_MIN} or more, or leave it out"),
            );
        }
        if serving.upkeep_every < UPKEEP_EVERY_MIN {
            let message = format!("`upkeep_every` cannot be {}", serving.upkeep_every);
            self.report("SKU-020", &at("upkeep_every"), message, &format!("choose {UPKEEP_EVERY_MIN} or more"));
        }
        if let Some(timeout) = serving.statement_timeout.filter(|timeout| !STATEMENT_TIMEOUTS.contains(timeout)) {
            let message = format!("`statement_timeout` cannot be {timeout}");
            let (shortest, longest) = STATEMENT_TIMEOUTS.into_inner();
            self.report("SKU-020", &at("statement_timeout"), message, &format!("choose {shortest} to {longest}"));
        }
    }

    /// Sinks that fill the same tables: each topic counts once, and a month goes when its time is over.
    fn share(&mut self, index: usize, sink: &SinkConfig, serving: &serving::Config, base: &Path) {
        let tables = |settings: &serving::Config| settings.place(base).ok().map(|place| place.tables());
        let others = self.config.sink[..index].iter();
        let others = others.filter_map(|other| Some((other, other.serving.as_ref()?)));
        let is_same = |settings: &serving::Config| tables(settings).is_some_and(|these| Some(these) == tables(serving));
        let others: Vec<_> = others.filter(|(_, settings)| is_same(settings)).collect();
        for (at, name) in sink.from.iter().enumerate() {
            if let Some((other, _)) = others.iter().find(|(other, _)| other.from.contains(name)) {
                let message = format!("sink `{}` fills these tables from `{name}` already", other.name);
                let path = [Field("sink"), Item(index), Field("from"), Item(at)];
                self.report(
                    "SKU-034",
                    &path,
                    message,
                    "one sink reads a topic for them, or what it counts counts twice",
                );
            }
        }
        if let Some((other, _)) = others.iter().find(|(_, settings)| settings.retention != serving.retention) {
            let message = format!("sink `{}` has another `retention` for these tables", other.name);
            let path = [Field("sink"), Item(index), Field("serving"), Field("retention")];
            self.report("SKU-020", &path, message, "write the same, or leave out both");
        }
    }

    fn lake(&mut self, index: usize, sink: &SinkConfig, lake: &lake::Config) {
        let at = |field| [Field("sink"), Item(index), Field("lake"), Field(field)];
        if lake.path.trim().is_empty() {
            self.report("SKU-050", &at("path"), "the folder of the lake has no name".into(), "write \"data/lake\"");
        }
        if !LAKE_COMMIT_INTERVALS.contains(&lake.commit_interval) {
            let message = format!("`commit_interval` cannot be {}", lake.commit_interval);
            let (shortest, longest) = LAKE_COMMIT_INTERVALS.into_inner();
            self.report("SKU-020", &at("commit_interval"), message, &format!("choose {shortest} to {longest}"));
        }
        if !LAKE_BATCH_BYTES.contains(&lake.batch_bytes_max) {
            let message = format!("`batch_bytes_max` cannot be {}", lake.batch_bytes_max);
            let (least, most) = LAKE_BATCH_BYTES.into_inner();
            self.report("SKU-020", &at("batch_bytes_max"), message, &format!("choose {least} to {most}"));
        }
        self.upkeep(index, &lake.upkeep);
        for (place, name) in sink.from.iter().enumerate() {
            self.landed(&[Field("sink"), Item(index), Field("from"), Item(place)], index, (lake, name));
        }
    }

    fn upkeep(&mut self, index: usize, upkeep: &lake::UpkeepConfig) {
        let at = |field| [Field("sink"), Item(index), Field("lake"), Field("upkeep"), Field(field)];
        if let Some(every) = upkeep.every.0.filter(|every| *every < UPKEEP_EVERY_MIN) {
            let message = format!("`every` cannot be {every}");
            self.report("SKU-020", &at("every"), message, &format!("choose {UPKEEP_EVERY_MIN} or more, or \"never\""));
        }
        if upkeep.files_min < 2 {
            let message = format!("`files_min` cannot be {}", upkeep.files_min);
            self.report("SKU-020", &at("files_min"), message, "one file alone stays as it is: choose 2 or more");
        }
    }

    /// A topic that lands in a lake has a table there, and no other sink lands it in the same one.
    fn landed(&mut self, path: &[At<'_>], index: usize, (lake, name): (&lake::Config, &String)) {
        if topic(name).is_some() && lake::Table::of_topic(name).is_none() {
            let known: Vec<String> = lake::TABLES.iter().map(|table| format!("\"{}\"", table.topic)).collect();
            let message = format!("the lake has no table for `{name}`");
            self.report("SKU-033", path, message, &format!("it has tables for [{}]", known.join(", ")));
        }
        let place = |lake: &lake::Config| match lake::BucketPlace::parse(&lake.path) {
            Ok(Some(bucket)) => (bucket.to_string(), lake.s3.as_ref().and_then(|s3| s3.endpoint.clone())),
            _ => (lake.path.clone(), None),
        };
        let is_same = |other: &lake::Config| {
            place(other) == place(lake) || (lake.catalog.is_some() && other.catalog == lake.catalog)
        };
        let into_it = |other: &&SinkConfig| other.lake.as_ref().is_some_and(is_same);
        let other = self.config.sink[..index].iter().filter(into_it).find(|other| other.from.contains(name));
        if let Some(other) = other {
            let message = format!("sink `{}` lands `{name}` in this lake already", other.name);
            self.report("SKU-034", path, message, "one sink fills a table");
        }
    }
}
