//! What must hold at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::ops::ControlFlow;
use std::path::Path;

use skuflow::records;
use skuflow_runtime::broker::kafka::{Kafka, Settings};
use skuflow_runtime::broker::{Broker, RecordView, TopicPartition};
use skuflow_runtime::clock::Clock;
use skuflow_schemas::{DeadLetter, Decoder, Event};
use skuflow_sinks::lake::{Place, TABLES, Table};

use super::super::topics::{Contents, differences, digest, open, parting};
use super::super::{recomputed, rows};
use super::ledger::{add, id};
use super::tables::{self, tables};
use super::{COMPETE_READS, Finished, Obligations};

/// Topics that depend on the order in which tasks took turns, and are recomputed instead.
const RECOMPUTED: [&str; 2] = ["features.v1", "alerts.v1"];
/// Tables and views of those, and those that have the times at which something arrived.
const NOT_OF_THE_FILES: [&str; 9] = [
    "product_features",
    "product_features_daily",
    "category_price_ranges",
    "market_position",
    "daily_movers",
    "alerts",
    "open_alerts",
    "data_quality",
    "history_months",
];
/// Columns and a table that are of a log and not of an event.
const OF_A_LOG: [&str; 7] =
    [tables::POSITIONS, "log_offset", "last_partition", "last_offset", "first_at", "last_at", "message"];

/// What the topics of a run hold.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// How often each ledgered id is among what was read, is clean, was refused by a stage, by a connector.
    pub read: BTreeMap<String, u64>,
    pub accepted: BTreeMap<String, u64>,
    pub refused: BTreeMap<String, u64>,
    pub unreadable: BTreeMap<String, u64>,
    /// Records by what became of them, and why, as the counts say.
    pub outcomes: BTreeMap<String, i64>,
    /// Each record of each topic.
    pub contents: Contents,
    /// The order of the records of each key of each topic: what they say, one after the other.
    pub orders: BTreeMap<(String, u64), Vec<u64>>,
    /// Dead letters that are not, byte for byte, what stands where they say that they come from.
    pub not_verbatim: u64,
}

impl Found {
    /// Reads all that is committed.
    pub fn of(broker: &dyn Broker) -> Self {
        let mut found = Self::default();
        let mut values: HashMap<TopicPartition, HashMap<u64, u64>> = HashMap::new();
        let mut letters = Vec::new();
        for topic in broker.topics().expect("it runs") {
            if topic.name.starts_with("changelog.") || RECOMPUTED.contains(&&*topic.name) {
                continue;
            }
            let read = records::each(broker, &topic, None, &mut |of, record| {
                let value = hash(&record.value);
                if of.topic.starts_with("raw.") {
                    values.entry(of.clone()).or_default().insert(record.offset, value);
                }
                if of.topic.starts_with("dlq.raw.") {
                    letters.push((DeadLetter::from_headers(record.headers()), value));
                }
                found.take(&of.topic, record);
                ControlFlow::Continue(())
            });
            read.expect("readable");
        }
        let is_verbatim = |(letter, value): &(Option<DeadLetter>, u64)| {
            let letter = letter.as_ref()?;
            let of = TopicPartition::new(letter.topic.as_str(), letter.partition);
            (values.get(&of)?.get(&letter.offset)? == value).then_some(())
        };
        found.not_verbatim = letters.iter().filter(|letter| is_verbatim(letter).is_none()).count() as u64;
        found
    }

    fn take(&mut self, topic: &str, record: &RecordView<'_>) {
        let value = record.value.unwrap_or_default();
        let event = Decoder.decode(value).ok();
        if let Some(Event::Quality(quality)) = &event {
            let name = format!("{:?} {}", quality.outcome, quality.rule);
            *self.outcomes.entry(name).or_default() += quality.count;
            return; // where one ends is not the same in two runs
        }
        let ids = match topic {
            "raw.offers.v1" | "raw.sales.v1" => Some(&mut self.read),
            "offers.v1" | "sales.v1" => Some(&mut self.accepted),
            "dlq.raw.offers.v1" | "dlq.raw.sales.v1" => Some(&mut self.refused),
            "dlq.offers" | "dlq.orders" => Some(&mut self.unreadable),
            _ => None,
        };
        if let Some(ids) = ids {
            let text = || String::from_utf8_lossy(value).trim_end().to_owned();
            add(ids, &id(value).unwrap_or_else(text));
        }
        let digest = digest(record);
        *self.contents.entry(topic.to_owned()).or_default().entry(digest).or_default() += 1;
        // Copies for a product come from the tasks of its listings; those of one listing have an order.
        let listing = match &event {
            Some(Event::Offer(offer)) => Some(offer.native_id.as_str()),
            Some(Event::Sale(sale)) => Some(sale.native_id.as_str()),
            _ => None,
        };
        let key = (record.key, listing);
        self.orders.entry((topic.to_owned(), hash(&key))).or_default().push(digest);
    }

    /// Each event has ended as it is due, once.
    pub fn keeps(&self, due: &Obligations) -> Vec<String> {
        let mut wrong = Vec::new();
        let ends = [
            ("read", &self.read, &due.read),
            ("accepted", &self.accepted, &due.accepted),
            ("refused", &self.refused, &due.refused),
            ("unreadable", &self.unreadable, &due.unreadable),
        ];
        for (what, found, due) in ends {
            let ids: BTreeSet<&String> = found.keys().chain(due.keys()).collect();
            let mut other = ids.into_iter().filter(|id| found.get(*id) != due.get(*id)).peekable();
            if let Some(first) = other.peek().copied() {
                let (times, due) = (found.get(first).unwrap_or(&0), due.get(first).unwrap_or(&0));
                wrong.push(format!("{what}: {first} {times} times, not {due}, and {} more", other.count() - 1));
            }
        }
        let counted = |outcome: &str| -> u64 {
            let of_outcome = self.outcomes.iter().filter(|(name, _)| name.split(' ').next() == Some(outcome));
            of_outcome.map(|(_, count)| *count as u64).sum()
        };
        let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        for (outcome, due) in [
            ("Unchanged", due.unchanged),
            ("Duplicate", due.duplicates),
            ("Rejected", total(&due.refused) + total(&due.unreadable)),
            ("Conflicting", 0),
        ] {
            if counted(outcome) != due {
                wrong.push(format!("{} are counted as {outcome}, not {due}", counted(outcome)));
            }
        }
        if self.not_verbatim > 0 {
            wrong.push(format!("{} dead letters are not what they came from", self.not_verbatim));
        }
        wrong
    }

    /// The same records, in the same order for each key, and counts as another run has left.
    pub fn differs_from(&self, undisturbed: &Self) -> Vec<String> {
        let mut wrong = differences(&self.contents, &undisturbed.contents);
        let mut disorder: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let places: BTreeSet<_> = self.orders.keys().chain(undisturbed.orders.keys()).collect();
        for place in places {
            let [found, expected] =
                [self, undisturbed].map(|found| found.orders.get(place).map_or(&[][..], |order| order));
            if let Some(at) = parting(found, expected) {
                let sizes = format!("{} records for {}, other from {at} on", found.len(), expected.len());
                disorder.entry(&place.0).or_default().push(sizes);
            }
        }
        for (topic, keys) in disorder {
            wrong.push(format!("{topic}: {} keys have another order, the first: {}", keys.len(), keys[0]));
        }
        if self.outcomes != undisturbed.outcomes {
            wrong.push(format!("counts {:?}, not {:?}", self.outcomes, undisturbed.outcomes));
        }
        wrong
    }
}

impl Finished {
    /// What the topics of the disturbed run hold, and what is due.
    pub fn found(&self) -> (Found, &Obligations) {
        (Found::of(&self.broker()), &self.due)
    }

    /// The broker, as another process sees it.
    pub fn broker(&self) -> Kafka {
        let settings = Settings::new(&self.server.bootstrap_servers(), "check", self.site.data("check"));
        Kafka::connect(settings, Clock::System).expect("it runs")
    }

    /// What the topics of a run hold that nothing disturbed.
    pub fn undisturbed(&self) -> Found {
        Found::of(&open(&self.site.data("embedded")))
    }

    /// Everything that is wrong, and what was compared. `root` is the folder of the sources.
    pub fn check(&self, root: &Path, say: &dyn Fn(String)) -> Vec<String> {
        let (found, due) = self.found();
        let mut wrong = found.keeps(due);
        say(format!(
            "{} deliveries: {} accepted, {} unchanged, {} duplicates, {} refused, {} unreadable",
            due.read.values().chain(due.unreadable.values()).sum::<u64>(),
            due.accepted.len(),
            due.unchanged,
            due.duplicates,
            due.refused.values().sum::<u64>(),
            due.unreadable.len(),
        ));
        wrong.extend(found.differs_from(&self.undisturbed()));
        say(format!(
            "{} topics, {} keys in order, beside an undisturbed run",
            found.contents.len(),
            found.orders.len()
        ));
        wrong.extend(self.features_differ(say));
        wrong.extend(self.tables_differ(say));
        wrong.extend(self.lake_differs(root, say));
        wrong
    }

    /// Features and alerts are what their committed inputs make.
    fn features_differ(&self, say: &dyn Fn(String)) -> Vec<String> {
        let (mut wrong, mut compared) = (Vec::new(), BTreeMap::new());
        recomputed::each(&self.broker(), "", &COMPETE_READS, &mut |output| {
            wrong.extend(output.difference());
            *compared.entry(output.topic).or_insert(0) += output.found.len();
        });
        say(format!("recomputed: {compared:?}"));
        if compared.values().any(|count| *count == 0) {
            wrong.push(format!("there is nothing to recompute: {compared:?}"));
        }
        wrong
    }

    /// The tables are what an undisturbed sink makes of the same topics, and an undisturbed run of the same files.
    fn tables_differ(&self, say: &dyn Fn(String)) -> Vec<String> {
        let [landed, fresh] = ["tables", "fresh"].map(|name| tables(&self.site.tables(name), &[tables::POSITIONS]));
        let mut wrong = tables::differences(&landed, &fresh);
        let [landed, undisturbed] = ["tables", "embedded"].map(|name| {
            let mut tables = tables(&self.site.tables(name), &OF_A_LOG);
            tables.retain(|name, _| !NOT_OF_THE_FILES.contains(&name.as_str()));
            tables
        });
        wrong.extend(tables::differences(&landed, &undisturbed));
        let sizes: Vec<String> = fresh.iter().map(|(name, rows)| format!("{} of {name}", rows.len())).collect();
        say(format!("rows: {}", sizes.join(", ")));
        wrong
    }

    /// The rows of the lake are the records of the topics, one by one.
    fn lake_differs(&self, root: &Path, say: &dyn Fn(String)) -> Vec<String> {
        let Some(python) = skuflow_runtime::testing::lake_readers() else { return Vec::new() };
        let lake = self.site.lake();
        let tables: Vec<&Table> = TABLES.iter().filter(|table| lake.join(table.folder).exists()).collect();
        match rows::compare((&python, root), (&Place::folder(&lake), &tables), &self.broker(), say) {
            Ok(()) => Vec::new(),
            Err(error) => vec![format!("the lake: {error:#}")],
        }
    }

    /// Records that the logs hold of aborted transactions, and no reader sees. Of a few kills none may have come at a moment
    /// that leaves some.
    pub fn aborted(&self, say: &dyn Fn(String)) -> u64 {
        let [all, committed] = [true, false].map(|with_aborted| self.server.records(with_aborted));
        let aborted: u64 = all.iter().map(|(topic, count)| count - committed.get(topic).unwrap_or(&0)).sum();
        say(format!(
            "{aborted} records of aborted transactions are in the logs, beside {}",
            committed.values().sum::<u64>()
        ));
        aborted
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
