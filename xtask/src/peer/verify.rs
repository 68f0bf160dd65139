//! Whether the two programs came to the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use skuflow_runtime::limits::TASKS_APART_MAX;
use skuflow_schemas::{Alert, Decoder, Event, FEATURES, Features};

use super::cluster::{Cluster, PARTITIONS, assign};
use super::load::{RAW, number_of};
use super::program::Topics;

/// Of so many products one is compared figure by figure.
const SAMPLE: u32 = 50;
/// Figures may differ in the last bits.
const CLOSE: f64 = 1e-9;
/// At most one product in so many has a record that came behind a turn of the day.
const OVERTAKEN_PARTS: usize = 50;
/// Differences that are shown.
const SHOWN: usize = 5;

/// What a program has published.
#[derive(Default)]
pub struct Found {
    pub raw: u64,
    pub copies: u64,
    pub dead_letters: u64,
    /// Vectors that records, and that turns of the day gave.
    pub features: [u64; 2],
    /// The vectors of products in the sample, in order.
    sample: BTreeMap<u32, Vec<Features>>,
    /// What alerts say: product, seller, event time, value.
    alerts: Vec<(String, String, i64, u64)>,
}

impl Found {
    /// Reads everything.
    pub fn read(cluster: &Cluster, topics: &Topics) -> Result<Self> {
        let mut found = Self::default();
        each(cluster, RAW, |_| found.raw += 1)?;
        each(cluster, &topics.copies, |_| found.copies += 1)?;
        each(cluster, &topics.dead_letters, |_| found.dead_letters += 1)?;
        each(cluster, &topics.features, |value| {
            let Ok(Event::Features(vector)) = Decoder.decode(value) else { return };
            found.features[usize::from(vector.envelope.cause_id.is_none())] += 1;
            if let Some(number) = number_of(&vector.product).filter(|number| number % SAMPLE == 0) {
                found.sample.entry(number).or_default().push(*vector);
            }
        })?;
        each(cluster, &topics.alerts, |value| {
            if let Ok(Event::Alert(alert)) = Decoder.decode(value) {
                found.alerts.push(said(&alert));
            }
        })?;
        found.alerts.sort_unstable();
        Ok(found)
    }

    /// How this differs from `other`; what is compared is printed.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        println!("{:<44}{:>12}{:>16}", "", "skuflow", "Kafka Streams");
        let line = |name: &str, ours: u64, theirs: u64| println!("{name:<44}{ours:>12}{theirs:>16}");
        let dropped = |found: &Self| found.raw - found.copies - found.dead_letters;
        line("accepted", self.copies, other.copies);
        line("seen before, or nothing new", dropped(self), dropped(other));
        line("dead letters", self.dead_letters, other.dead_letters);
        line("vectors of figures that a record gave", self.features[0], other.features[0]);
        line("vectors that a turn of the day gave", self.features[1], other.features[1]);
        line("alerts", self.alerts.len() as u64, other.alerts.len() as u64);
        let mut differences = Vec::new();
        if (self.copies, self.dead_letters, self.features[0]) != (other.copies, other.dead_letters, other.features[0]) {
            differences.push("other counts".to_owned());
        }
        if self.alerts != other.alerts {
            let unlike = self.alerts.iter().zip(&other.alerts).find(|(ours, theirs)| ours != theirs);
            differences.push(format!("other alerts: {unlike:?}"));
        }
        let (mut compared, mut late, mut overtaken) = (0, 0, 0);
        for (number, ours) in &self.sample {
            let theirs = other.sample.get(number).map(Vec::as_slice).unwrap_or_default();
            compared += ours.len().min(theirs.len());
            match ours.iter().zip(theirs).find_map(|(ours, theirs)| Some((ours, theirs, difference(ours, theirs)?))) {
                None => {}
                Some((ours, theirs, _)) if is_overtaken(ours, theirs) => {
                    overtaken += 1;
                    continue;
                }
                Some((.., difference)) => differences.push(difference),
            }
            let rest = ours.get(theirs.len()..).unwrap_or_default();
            let is_turn = |vector: &Features| vector.envelope.cause_id.is_none();
            if theirs.len() > ours.len() || !rest.iter().all(is_turn) {
                differences.push(format!("{number}: {} vectors, not {}", theirs.len(), ours.len()));
            }
            late += rest.len();
        }
        println!("{compared} vectors of {} products compared, {} figures each", self.sample.len(), FEATURES.len());
        println!("{late} of the last turn of the day were given by skuflow alone: the other waits for a record");
        println!(
            "{overtaken} products have a record that came seconds behind a turn of the day: compared up to there only"
        );
        if overtaken * OVERTAKEN_PARTS > self.sample.len() {
            differences.push(format!("{overtaken} products have records behind a turn of the day"));
        }
        differences.truncate(SHOWN);
        differences
    }
}

fn said(alert: &Alert) -> (String, String, i64, u64) {
    let value = alert.value.map_or(0, |value| (value * 1e9).round() as u64);
    let seller = alert.seller.as_deref().unwrap_or_default();
    (alert.product.to_string(), seller.to_owned(), alert.envelope.observed_at.micros(), value)
}

/// Whether time had turned to the next day here before the record came, which is of the day before: a worker of skuflow sends in
/// the order of event time to within [`TASKS_APART_MAX`].
fn is_overtaken(ours: &Features, theirs: &Features) -> bool {
    let (turn, record) = (ours.envelope.observed_at, theirs.envelope.observed_at);
    turn == turn.day().start() && record < turn && turn.micros_since(record) <= TASKS_APART_MAX.micros()
}

fn difference(ours: &Features, theirs: &Features) -> Option<String> {
    let at = ours.envelope.observed_at;
    if (at, &ours.product, &ours.currency) != (theirs.envelope.observed_at, &theirs.product, &theirs.currency) {
        return Some(format!("{}: at {at}, not {}", ours.product, theirs.envelope.observed_at));
    }
    if ours.change != theirs.change {
        return Some(format!("{} at {at}: {:?}, not {:?}", ours.product, ours.change, theirs.change));
    }
    let is_close = |ours: Option<f64>, theirs: Option<f64>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= CLOSE * ours.abs().max(1.0),
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    };
    let (values, others) = (ours.values.in_order(), theirs.values.in_order());
    let (reasons, their_reasons) = (ours.reasons.in_order(), theirs.reasons.in_order());
    (0..FEATURES.len()).find_map(|index| {
        let same = is_close(values[index], others[index]) && reasons[index] == their_reasons[index];
        let name = FEATURES[index].name;
        (!same).then(|| {
            let (ours_is, theirs_is) = ((values[index], reasons[index]), (others[index], their_reasons[index]));
            format!("{} at {at}: {name} is {ours_is:?}, not {theirs_is:?}", ours.product)
        })
    })
}

/// Shows `visit` the value of each record of a topic.
fn each(cluster: &Cluster, topic: &str, mut visit: impl FnMut(&[u8])) -> Result<()> {
    let consumer: BaseConsumer = cluster.consumer("verify")?;
    assign(&consumer, topic, &[0; PARTITIONS as usize])?;
    let mut left = PARTITIONS;
    while left > 0 {
        match consumer.poll(std::time::Duration::from_secs(30)).context("the topic does not end")? {
            Ok(record) => visit(record.payload().unwrap_or_default()),
            Err(KafkaError::PartitionEOF(_)) => left -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use skuflow_schemas::{Availability, Change, EventId, Reason, Timestamp};

    use super::*;

    /// What a program found that gave two vectors of a product, the second with this price.
    fn found(price: f64) -> Found {
        let vector = |price| {
            let mut vector = Features { product: "P000000000".into(), ..Features::default() };
            vector.envelope.cause_id = Some(EventId::default());
            vector.values.product_price_current = Some(price);
            vector.change = Some(Change::default());
            vector
        };
        let mut found = Found { features: [2, 0], ..Found::default() };
        found.sample.insert(0, vec![vector(9.0), vector(price)]);
        found
    }

    #[test]
    fn what_differs_is_found() {
        assert_eq!(found(10.0).differences(&found(10.0)), [] as [String; 0]);
        assert_eq!(found(10.0).differences(&found(10.01)).len(), 1, "a figure");
        let mut other = found(10.0);
        other.sample.entry(0).or_default()[1].reasons.product_margin = Reason::NoCatalog;
        assert_eq!(found(10.0).differences(&other).len(), 1, "a reason");
        let mut other = found(10.0);
        other.sample.entry(0).or_default()[0].change =
            Some(Change { availability: Availability::Low, ..Change::default() });
        assert_eq!(found(10.0).differences(&other).len(), 1, "a change");
        let mut other = found(10.0);
        other.sample.entry(0).or_default().pop();
        assert_eq!(found(10.0).differences(&other).len(), 1, "a vector that is missing");
        let mut other = found(10.0);
        other.alerts.push((String::new(), String::new(), 0, 0));
        assert_eq!(found(10.0).differences(&other).len(), 1, "an alert");
        let mut other = found(10.0);
        other.sample.entry(0).or_default()[0].envelope.observed_at = Timestamp::from_micros(-1);
        assert_eq!(found(10.0).differences(&other).len(), 1, "all products are late, and this is too many");
        let other = Found { dead_letters: 1, raw: 1, ..found(10.0) };
        assert_eq!(found(10.0).differences(&other).len(), 1, "a dead letter");
    }
}
