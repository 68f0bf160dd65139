//! What the topics of a data directory hold, to be compared with those of another run.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::{Broker as _, RecordView, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::limits::FETCH_BYTES_MAX;
use skuflow_runtime::storage::Options;
use skuflow_schemas::{Decoder, Timestamp};

/// Its events count what became of a transaction's records: where one ends is not the same in two runs.
const COUNTS: &str = "quality.v1";

/// How often each record is in each topic.
pub type Contents = BTreeMap<String, HashMap<u64, i64>>;

/// The committed records of all topics but the counts, in a directory that nobody runs.
pub fn contents(data_dir: &Path) -> Contents {
    let broker = Embedded::open(data_dir, Options::default(), Clock::System).expect("nobody runs it");
    let mut reader = broker.reader().expect("open");
    let mut contents = Contents::new();
    for topic in broker.topics().expect("open").iter().filter(|topic| !topic.name.ends_with(COUNTS)) {
        let records = contents.entry(topic.name.to_string()).or_default();
        for number in 0..topic.partitions {
            let of = TopicPartition::new(topic.name.clone(), number);
            let (mut from, next) = broker.offsets(&of).expect("there");
            while from < next {
                for batch in reader.fetch(&of, from, FETCH_BYTES_MAX).expect("readable") {
                    batch.from(from).for_each(|record| *records.entry(digest(&record)).or_default() += 1);
                    from = batch.next_offset();
                }
            }
        }
    }
    contents
}

/// Key, headers, event id and body; not when it was taken in, which no two runs share.
fn digest(record: &RecordView<'_>) -> u64 {
    let value = record.value.unwrap_or_default();
    let said = Decoder.decode(value).map(|mut event| {
        if let Some(envelope) = event.envelope_mut() {
            envelope.ingested_at = Timestamp::MIN;
        }
        format!("{event:?}")
    });
    let mut hasher = DefaultHasher::new();
    (record.key, said.unwrap_or_else(|_| String::from_utf8_lossy(value).into_owned())).hash(&mut hasher);
    record.headers().for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}

/// What one run has and the other has not, topic by topic; nothing where they are equal.
pub fn differences(found: &Contents, expected: &Contents) -> Vec<String> {
    let nothing = HashMap::new();
    let topics: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
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
