//! What the topics of a data directory hold, to be compared with those of another run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::ControlFlow;
use std::path::Path;

use skuflow::records;
use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::{Broker, RecordView};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::storage::Options;
use skuflow_schemas::{Decoder, Timestamp};

/// Its events count what became of a transaction's records: where one ends is not the same in two runs.
const COUNTS: &str = "quality.v1";

/// Headers of a dead letter that no two runs share: its reason in words, which its code says too, and where the record
/// stood, as transactions of a cluster take offsets of their own.
const NOT_COMPARED: [&str; 2] = ["__dlq.errors.message", "__dlq.errors.offset"];

/// The records of each partition of each topic, in the order of the log, as digests.
pub type Logs = BTreeMap<(String, u32), Vec<u64>>;

/// How often each record is in each topic.
pub type Contents = BTreeMap<String, HashMap<u64, i64>>;

/// The topics of a directory that nobody runs.
pub fn open(data_dir: &Path) -> Embedded {
    Embedded::open(data_dir, Options::default(), Clock::System).expect("nobody runs it")
}

/// The committed records of all topics but the counts, in a directory that nobody runs.
pub fn logs(data_dir: &Path) -> Logs {
    logs_of(&open(data_dir), "")
}

/// The same of a broker, in topics whose names begin with `prefix`, which is left out.
pub fn logs_of(broker: &dyn Broker, prefix: &str) -> Logs {
    let mut logs = Logs::new();
    for topic in broker.topics().expect("open").iter().filter(|topic| !topic.name.ends_with(COUNTS)) {
        let Some(name) = topic.name.strip_prefix(prefix) else { continue };
        logs.extend((0..topic.partitions).map(|number| ((name.to_owned(), number), Vec::new())));
        let read = records::each(broker, topic, None, &mut |of, record| {
            logs.entry((name.to_owned(), of.partition)).or_default().push(digest(record));
            ControlFlow::Continue(())
        });
        read.expect("readable");
    }
    logs
}

/// The same, in no order.
pub fn contents(data_dir: &Path) -> Contents {
    counted(&logs(data_dir))
}

/// How often each record is in the logs of a topic.
pub fn counted(logs: &Logs) -> Contents {
    let mut contents = Contents::new();
    for ((topic, _), records) in logs {
        let counts = contents.entry(topic.clone()).or_default();
        for record in records {
            *counts.entry(*record).or_default() += 1;
        }
    }
    contents
}

/// Key, headers, event id and body; not when it was taken in, which no two runs share and messages may name.
pub fn digest(record: &RecordView<'_>) -> u64 {
    let value = record.value.unwrap_or_default();
    let said = Decoder.decode(value).map(|mut event| {
        if let Some(envelope) = event.envelope_mut() {
            envelope.ingested_at = Timestamp::MIN;
        }
        format!("{event:?}")
    });
    let mut hasher = DefaultHasher::new();
    (record.key, said.unwrap_or_else(|_| String::from_utf8_lossy(value).into_owned())).hash(&mut hasher);
    record.headers().filter(|(name, _)| !NOT_COMPARED.contains(name)).for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}

/// What one run has and the other has not, topic by topic; nothing where they are equal.
pub fn differences(found: &Contents, expected: &Contents) -> Vec<String> {
    let nothing = HashMap::new();
    let topics: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let compared = topics.into_iter().filter_map(|topic| {
        let (found, expected) = (found.get(topic).unwrap_or(&nothing), expected.get(topic).unwrap_or(&nothing));
        let more = |these: &HashMap<u64, i64>, those: &HashMap<u64, i64>| -> i64 {
            these.iter().map(|(record, count)| (count - those.get(record).unwrap_or(&0)).max(0)).sum()
        };
        let (extra, missing) = (more(found, expected), more(expected, found));
        (extra + missing > 0).then(|| format!("{topic}: {extra} too many, {missing} missing"))
    });
    compared.collect()
}

/// Where the logs of two runs part, partition by partition; nothing where they are equal.
pub fn partings(found: &Logs, expected: &Logs) -> Vec<String> {
    let nothing = Vec::new();
    let partitions: BTreeSet<&(String, u32)> = found.keys().chain(expected.keys()).collect();
    let compared = partitions.into_iter().filter_map(|of| {
        let (found, expected) = (found.get(of).unwrap_or(&nothing), expected.get(of).unwrap_or(&nothing));
        let at = parting(found, expected)?;
        let (topic, partition) = of;
        Some(format!("{topic}/{partition}: {} records for {}, other from {at} on", found.len(), expected.len()))
    });
    compared.collect()
}

/// The number of the first record that is not the same.
pub fn parting<T: PartialEq>(found: &[T], expected: &[T]) -> Option<usize> {
    let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    (same < found.len().max(expected.len())).then_some(same)
}
