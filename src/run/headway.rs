//! How far a run has come: of each station, how much of its work is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use skuflow_runtime::broker::{Broker, BrokerError, TopicPartition};

use super::stations::{Counts, Station};

/// How far the stations of a run have come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headway {
    /// Names of stations, in the order of the journey, and the share of their work that is done, from 0 to 1.
    pub stations: Vec<(String, f64)>,
    /// Whether every source says how much it has: else the shares are of what was read so far, and grow and fall.
    pub is_of_all: bool,
}

impl Headway {
    /// The mean share: a sink that lands once a minute has nothing for as long, and the run goes on all the same.
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.stations.iter().map(|(_, share)| *share).sum();
        if self.stations.is_empty() { 1.0 } else { sum / self.stations.len() as f64 }
    }
}

/// How far each of `stations` has come, by what the broker has committed.
pub(super) fn headway(stations: &[Station], broker: &dyn Broker) -> Result<Headway, BrokerError> {
    let partitions: BTreeMap<Arc<str>, u32> =
        broker.topics()?.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    let mut is_of_all = true;
    let mut of_what_is_there = Vec::new();
    for station in stations {
        of_what_is_there.push(match &station.counts {
            Counts::Connector(intake) => {
                is_of_all &= intake.share().is_some();
                intake.share().unwrap_or(1.0)
            }
            _ => read(broker, station, &partitions)?,
        });
    }
    let shares = (0..stations.len()).map(|at| share(stations, at, &of_what_is_there));
    Ok(Headway { stations: stations.iter().map(|station| station.name.clone()).zip(shares).collect(), is_of_all })
}

/// What station number `at` has done of what is there, of the least that has been done before it. No topic leads back to
/// its writer: the config is checked for it.
fn share(stations: &[Station], at: usize, of_what_is_there: &[f64]) -> f64 {
    let feeds = |writer: &Station| writer.writes.iter().any(|topic| stations[at].reads.contains(topic));
    let before = stations.iter().enumerate().filter(|(_, writer)| feeds(writer));
    of_what_is_there[at] * before.map(|(writer, _)| share(stations, writer, of_what_is_there)).fold(1.0, f64::min)
}

/// The share of what is there that `station` has read.
fn read(broker: &dyn Broker, station: &Station, partitions: &BTreeMap<Arc<str>, u32>) -> Result<f64, BrokerError> {
    let positions = broker.committed(&station.group)?;
    let (mut done, mut there) = (0, 0);
    for topic in &station.reads {
        for number in 0..partitions.get(topic.as_str()).copied().unwrap_or(0) {
            let of = TopicPartition::new(topic.as_str(), number);
            let (first, next) = broker.offsets(&of)?;
            done += positions.get(&of).copied().unwrap_or(first).clamp(first, next) - first;
            there += next - first;
        }
    }
    Ok(if there == 0 { 1.0 } else { done as f64 / there as f64 })
}

#[cfg(test)]
mod tests {
    use skuflow_runtime::broker::memory::Memory;
    use skuflow_runtime::broker::{Commit, Positions, Record};

    use super::*;

    fn station(name: &str, counts: Counts, reads: &[&str], writes: &[&str]) -> Station {
        let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Station { name: name.into(), counts, group: name.into(), reads: topics(reads), writes: topics(writes) }
    }

    #[test]
    fn a_station_is_as_far_as_those_before_it_let_it_be() {
        let broker = Memory::new("test");
        let mut producer = broker.producer("p").expect("a producer");
        for (topic, records) in [("raw", 100), ("clean", 40)] {
            broker.ensure_topic(topic, 2).expect("made");
            for number in 0..records {
                let record = Record { key: None, value: Some(b"v"), headers: &[] };
                producer.send(&Arc::from(topic), Some(number % 2), &record).expect("sent");
            }
        }
        producer.commit(Commit { consumed: None, state: Vec::new() }).expect("committed");
        let note = |group: &str, topic: &str, position| {
            let at = |number| (TopicPartition::new(topic, number), position);
            broker.note_positions(group, &Positions::from([at(0), at(1)])).expect("noted");
        };
        note("clean", "raw", 25);
        note("tables", "clean", 20);
        let stage = || Counts::Stage(Arc::default());
        let stations = [
            station("market", Counts::Connector(Arc::default()), &[], &["raw"]),
            station("clean", stage(), &["raw"], &["clean"]),
            station("compete", stage(), &["clean"], &[]),
            station("tables", Counts::Sink(Arc::default()), &["clean"], &[]),
        ];
        let headway = headway(&stations, &broker).expect("there");
        let shares: Vec<f64> = headway.stations.iter().map(|(_, share)| *share).collect();
        assert_eq!(shares, [1.0, 0.5, 0.0, 0.5], "half of what the sink has still to come is not made yet");
        assert!(!headway.is_of_all, "the connector does not say how much it has");
    }
}
