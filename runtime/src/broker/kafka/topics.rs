//! What a topic of ours must be like: how it is made, and what is said of one that is there and is not so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use skuflow_schemas::{Cleanup, DEAD_LETTER_PREFIX, LATE_PREFIX, TOPICS};

use super::limits::{RECORD_BYTES_MAX as CLIENT_BYTES_MAX, TOMBSTONES_MAX};
use crate::limits::{DEAD_LETTER_BYTES_MAX, RECORD_BYTES_MAX};

/// Bytes that Kafka adds to a record.
const OVERHEAD_BYTES: usize = 4096;
/// What a dead letter has beside the record, as far as its topic is concerned.
const LETTER_BYTES: u64 = (DEAD_LETTER_BYTES_MAX - RECORD_BYTES_MAX) as u64;
/// Replicas from which on two must have a write.
const REPLICAS_SAFE: u64 = 3;

const CLEANUP: &str = "cleanup.policy";
const COMPACT: &str = "compact";
const BYTES_MAX: &str = "max.message.bytes";
pub(super) const IN_SYNC_MIN: &str = "min.insync.replicas";

/// The topics of a pipeline, and whose changelogs there are.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Its own topics, by their names on the cluster.
    pub topics: Vec<Arc<str>>,
    /// Partitions of each, and of the changelogs of groups: what is joined has equally many.
    pub partitions: u32,
    /// Groups of its stages.
    pub groups: Vec<String>,
    /// Other owners of state, like `connector:<name>`.
    pub owners: Vec<Arc<str>>,
}

/// By name, of topics and of subjects: whether each is there, or what is wrong with it.
pub type Examined = Vec<(Arc<str>, Result<bool, String>)>;

/// What a topic holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes of state.
    Changelog,
    /// The last value of each key.
    Table,
    /// Records that were refused.
    DeadLetters,
    /// Records, for as long as this; for good where it is -1.
    Stream { retention_ms: i64 },
}

impl Kind {
    /// A topic of the pipeline by its name, behind whatever prefix.
    pub(super) fn of(name: &str) -> Self {
        if name.starts_with(DEAD_LETTER_PREFIX) {
            return Self::DeadLetters;
        }
        let bare = name.strip_prefix(LATE_PREFIX).unwrap_or(name);
        let is_called = |known: &str| bare.strip_suffix(known).is_some_and(|p| p.is_empty() || p.ends_with('.'));
        match TOPICS.iter().find(|topic| is_called(topic.name)).map(|topic| topic.cleanup) {
            Some(Cleanup::Compact) if bare == name => Self::Table,
            Some(Cleanup::DeleteAfter(span)) => Self::Stream { retention_ms: span.micros() / 1000 },
            Some(Cleanup::Compact | Cleanup::Keep) | None => Self::Stream { retention_ms: -1 },
        }
    }
}

/// What beside its kind decides on a topic's settings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Replicas of each partition, where that is known.
    pub(super) replicas: Option<u64>,
    /// `max.message.bytes` of the topic whose dead letters these are, where it is there.
    pub(super) origin_bytes: Option<u64>,
}

/// What a setting may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Anything(String),
    Only(&'static str),
    /// Any list without this, and what is chosen instead.
    Without(&'static str, &'static str),
    Between(u64, u64),
}

impl Allowed {
    fn has(&self, value: &str) -> bool {
        match self {
            Self::Anything(_) => true,
            Self::Only(only) => value == *only,
            Self::Without(part, _) => value.split(',').all(|found| found.trim() != *part),
            Self::Between(min, max) => value.parse().is_ok_and(|value| (*min..=*max).contains(&value)),
        }
    }

    /// The allowed value that is nearest to what is there.
    fn nearest(&self, value: &str) -> String {
        match self {
            Self::Anything(value) => value.clone(),
            Self::Only(value) | Self::Without(_, value) => (*value).into(),
            Self::Between(min, max) => value.parse().unwrap_or(*min).clamp(*min, *max).to_string(),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Anything(_) => "anything".into(),
            Self::Only(only) => (*only).into(),
            Self::Without(part, _) => format!("without {part}"),
            Self::Between(min, u64::MAX) => format!("{min} at least"),
            Self::Between(min, max) if min == max => min.to_string(),
            Self::Between(min, max) => format!("{min} to {max}"),
        }
    }
}

/// The settings that count.
fn rules(kind: Kind, place: Place) -> Vec<(&'static str, Allowed)> {
    let record = (RECORD_BYTES_MAX + OVERHEAD_BYTES) as u64;
    let bytes = match kind {
        Kind::Changelog => Allowed::Between(CLIENT_BYTES_MAX as u64, u64::MAX),
        // A record that could not be put aside would stop its partition for good.
        Kind::DeadLetters => Allowed::Between(place.origin_bytes.unwrap_or(0).max(record) + LETTER_BYTES, u64::MAX),
        Kind::Table | Kind::Stream { .. } => Allowed::Between(record, CLIENT_BYTES_MAX as u64 - LETTER_BYTES),
    };
    let mut rules = vec![
        (BYTES_MAX, bytes),
        ("message.timestamp.type", Allowed::Only("LogAppendTime")),
        ("unclean.leader.election.enable", Allowed::Only("false")),
    ];
    match kind {
        Kind::Changelog => rules.extend([
            (CLEANUP, Allowed::Only(COMPACT)),
            ("delete.retention.ms", Allowed::Between(TOMBSTONES_MAX.as_millis() as u64, u64::MAX)),
        ]),
        Kind::Table => rules.push((CLEANUP, Allowed::Only(COMPACT))),
        Kind::DeadLetters => rules.extend(kept(-1)),
        Kind::Stream { retention_ms } => rules.extend(kept(retention_ms)),
    }
    if let Some(replicas) = place.replicas {
        rules.push((IN_SYNC_MIN, Allowed::Between(if replicas < REPLICAS_SAFE { 1 } else { 2 }, replicas)));
    }
    rules
}

/// Longer or shorter is for who runs the cluster to say; only the last value of each key is not.
fn kept(retention_ms: i64) -> [(&'static str, Allowed); 2] {
    [(CLEANUP, Allowed::Without(COMPACT, "delete")), ("retention.ms", Allowed::Anything(retention_ms.to_string()))]
}

/// What a topic is made with, where the cluster makes them with `defaults`.
pub(super) fn made_with(kind: Kind, place: Place, defaults: &Settings) -> Vec<(&'static str, String)> {
    let value = |(setting, allowed): (&'static str, Allowed)| {
        let default = if setting == IN_SYNC_MIN { defaults.get(setting).map_or("", String::as_str) } else { "" };
        (setting, allowed.nearest(default))
    };
    rules(kind, place).into_iter().map(value).collect()
}

/// Settings of a topic or broker, defaults among them.
pub(super) type Settings = BTreeMap<String, String>;

/// The largest batch that a topic takes.
pub(super) fn bytes_max(settings: &Settings) -> Option<u64> {
    settings.get(BYTES_MAX)?.parse().ok()
}

/// A topic that is there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) partitions: u32,
    pub(super) place: Place,
    pub(super) settings: Settings,
}

impl Found {
    /// All that is wrong with it, and the command that mends it; what the cluster does not tell of is not held against it.
    pub(super) fn objection(&self, name: &str, kind: Kind, partitions: u32, servers: &str) -> Option<String> {
        let known = rules(kind, self.place).into_iter().filter_map(|(setting, allowed)| {
            let value = self.settings.get(setting)?;
            (!allowed.has(value)).then_some((setting, value, allowed))
        });
        let wrong: Vec<_> = known.collect();
        let mut reasons = Vec::new();
        let mut remedies = Vec::new();
        if self.partitions != partitions {
            reasons.push(format!("it has {} partitions, not {partitions}", self.partitions));
            remedies.push(repartition(name, kind, (self.partitions, partitions), servers));
        }
        for (setting, value, allowed) in &wrong {
            reasons.push(format!("{setting} is {value} and must be {}", allowed.in_words()));
        }
        if !wrong.is_empty() {
            let changes: Vec<String> =
                wrong.iter().map(|(setting, value, allowed)| format!("{setting}={}", allowed.nearest(value))).collect();
            remedies.push(format!(
                "run: kafka-configs.sh --bootstrap-server {servers} --alter --topic {name} --add-config {}",
                changes.join(",")
            ));
        }
        let mut said = format!("topic {name} cannot be used: {}", reasons.join("; "));
        for remedy in &remedies {
            write!(said, "; {remedy}").expect("writing to memory does not fail");
        }
        (!reasons.is_empty()).then_some(said)
    }
}

/// Keys are divided over a fixed number of partitions, with the state that belongs to them: what holds records keeps its own.
fn repartition(name: &str, kind: Kind, (has, needs): (u32, u32), servers: &str) -> String {
    let command = format!("kafka-topics.sh --bootstrap-server {servers}");
    let setting = if kind == Kind::Changelog { String::new() } else { format!("write topics.partitions = {has} or, ") };
    if has < needs {
        return format!("{setting}while nothing is in it, run: {command} --alter --topic {name} --partitions {needs}");
    }
    format!("{setting}while nothing is in it, run: {command} --delete --topic {name}")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn found(partitions: u32, replicas: u64, settings: &[(&str, &str)]) -> Found {
        let settings = settings.iter().map(|(setting, value)| ((*setting).into(), (*value).into())).collect();
        Found { partitions, place: Place { replicas: Some(replicas), origin_bytes: None }, settings }
    }

    fn check(found: &Found, kind: Kind, expect: Expect) {
        expect.assert_eq(&found.objection("t", kind, 4, "host:9092").unwrap_or_default());
    }

    #[test]
    fn a_topic_is_kept_as_the_catalogue_says_behind_any_prefix() {
        const WEEK: Kind = Kind::Stream { retention_ms: 604_800_000 };
        assert_eq!(Kind::of("listings.v1"), Kind::Table);
        assert_eq!(Kind::of("acme.listings.v1"), Kind::Table);
        assert_eq!(Kind::of("late.listings.v1"), Kind::Stream { retention_ms: -1 });
        assert_eq!(Kind::of("raw.offers.v1"), WEEK);
        assert_eq!(Kind::of("late.raw.offers.v1"), WEEK);
        assert_eq!(Kind::of("dlq.raw.offers.v1"), Kind::DeadLetters);
    }

    #[test]
    fn what_is_made_is_fine() {
        for kind in [Kind::Changelog, Kind::Table, Kind::DeadLetters, Kind::Stream { retention_ms: 7 }] {
            for replicas in 1..=5 {
                for default in ["1", "2", "9"] {
                    let place = Place { replicas: Some(replicas), origin_bytes: Some(12 << 20) };
                    let defaults = Settings::from([(IN_SYNC_MIN.into(), default.into())]);
                    let settings = made_with(kind, place, &defaults);
                    let settings = settings.into_iter().map(|(setting, value)| (setting.to_owned(), value)).collect();
                    let found = Found { partitions: 4, place, settings };
                    assert_eq!(found.objection("t", kind, 4, ""), None, "{kind:?} {replicas} {default}");
                }
            }
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_what_to_run() {
        check(
            &found(
                2,
                3,
                &[
                    ("cleanup.policy", "compact,delete"),
                    ("max.message.bytes", "1048588"),
                    ("message.timestamp.type", "CreateTime"),
                    ("min.insync.replicas", "1"),
                    ("retention.ms", "1"),
                    ("unclean.leader.election.enable", "true"),
                ],
            ),
            Kind::Stream { retention_ms: -1 },
            expect![
                "topic t cannot be used: it has 2 partitions, not 4; max.message.bytes is 1048588 and must be 10489856 to 16711680; message.timestamp.type is CreateTime and must be LogAppendTime; unclean.leader.election.enable is true and must be false; cleanup.policy is compact,delete and must be without compact; min.insync.replicas is 1 and must be 2 to 3; write topics.partitions = 2 or, while nothing is in it, run: kafka-topics.sh --bootstrap-server host:9092 --alter --topic t --partitions 4; run: kafka-configs.sh --bootstrap-server host:9092 --alter --topic t --add-config max.message.bytes=10489856,message.timestamp.type=LogAppendTime,unclean.leader.election.enable=false,cleanup.policy=delete,min.insync.replicas=2"
            ],
        );
        check(
            &found(8, 1, &[("cleanup.policy", "delete"), ("delete.retention.ms", "86400000")]),
            Kind::Changelog,
            expect![
                "topic t cannot be used: it has 8 partitions, not 4; cleanup.policy is delete and must be compact; delete.retention.ms is 86400000 and must be 604800000 at least; while nothing is in it, run: kafka-topics.sh --bootstrap-server host:9092 --delete --topic t; run: kafka-configs.sh --bootstrap-server host:9092 --alter --topic t --add-config cleanup.policy=compact,delete.retention.ms=604800000"
            ],
        );
        check(
            &found(4, 3, &[("cleanup.policy", "compact,delete"), ("min.insync.replicas", "4")]),
            Kind::Table,
            expect![
                "topic t cannot be used: cleanup.policy is compact,delete and must be compact; min.insync.replicas is 4 and must be 2 to 3; run: kafka-configs.sh --bootstrap-server host:9092 --alter --topic t --add-config cleanup.policy=compact,min.insync.replicas=3"
            ],
        );
        check(
            &found(
                4,
                2,
                &[("cleanup.policy", "delete"), ("max.message.bytes", "20000000"), ("min.insync.replicas", "1")],
            ),
            Kind::Stream { retention_ms: -1 },
            expect![
                "topic t cannot be used: max.message.bytes is 20000000 and must be 10489856 to 16711680; run: kafka-configs.sh --bootstrap-server host:9092 --alter --topic t --add-config max.message.bytes=16711680"
            ],
        );
    }

    #[test]
    fn dead_letters_have_room_for_what_their_topic_takes() {
        let mut letters = found(4, 1, &[("max.message.bytes", "10555392")]);
        check(&letters, Kind::DeadLetters, expect![""]);
        letters.place.origin_bytes = Some(12_000_000);
        check(
            &letters,
            Kind::DeadLetters,
            expect![
                "topic t cannot be used: max.message.bytes is 10555392 and must be 12065536 at least; run: kafka-configs.sh --bootstrap-server host:9092 --alter --topic t --add-config max.message.bytes=12065536"
            ],
        );
    }
}
