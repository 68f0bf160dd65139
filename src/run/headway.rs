//! How far a run has come: of each station, how much of its work is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use skuflow_ingest::{Intake, Publisher};
use skuflow_runtime::broker::{Broker, BrokerError, TopicPartition};
use skuflow_runtime::stage::Worker;
use skuflow_sinks::consume::Consume;

use crate::names::SINK;

/// How far the stations of a run have come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headway {
    /// Names of stations, in the order of the journey, and the share of their work that is done, from 0 to 1.
    pub stations: Vec<(String, f64)>,
    /// Whether every source says how much it has: else the shares are of what was read so far, and grow and fall.
    pub is_of_all: bool,
}

impl Headway {
    /// The share of the station that is furthest behind.
    pub fn least(&self) -> f64 {
        self.stations.iter().map(|(_, share)| *share).fold(1.0, f64::min)
    }
}

/// Who reads and writes what.
struct Station {
    name: String,
    /// The group under which it notes its positions; of a connector none.
    group: Option<String>,
    reads: Vec<Arc<str>>,
    writes: Vec<Arc<str>>,
}

/// The stations that run, in the order of the config.
pub(super) struct Stations {
    stations: Vec<Station>,
    /// What the connectors count, in the same order.
    intakes: Vec<Arc<Intake>>,
}

impl Stations {
    pub(super) fn new<'a>(
        publishers: impl Iterator<Item = &'a Publisher>,
        workers: &[Worker],
        consumes: impl Iterator<Item = &'a Consume>,
    ) -> Self {
        let (mut stations, mut intakes) = (Vec::new(), Vec::new());
        for publisher in publishers {
            let writes = publisher.topics.values().cloned().collect();
            stations.push(Station { name: publisher.name.clone(), group: None, reads: Vec::new(), writes });
            intakes.push(publisher.intake.clone());
        }
        for worker in workers.iter().filter(|worker| worker.member.index == 0) {
            let spec = &worker.spec;
            stations.push(Station {
                name: spec.name.clone(),
                group: Some(spec.group.clone()),
                reads: spec.inputs.iter().map(|input| input.topic.clone()).collect(),
                writes: spec.outputs.iter().map(|(_, topic)| topic.clone()).collect(),
            });
        }
        for consume in consumes {
            let group = Some(format!("{SINK}-{}", consume.name));
            let reads = consume.topics.clone();
            stations.push(Station { name: consume.name.clone(), group, reads, writes: Vec::new() });
        }
        Self { stations, intakes }
    }

    /// How far each has come, by what the broker has committed.
    pub(super) fn headway(&self, broker: &dyn Broker) -> Result<Headway, BrokerError> {
        let partitions: BTreeMap<Arc<str>, u32> =
            broker.topics()?.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        let shares: Vec<Option<f64>> = self.intakes.iter().map(|intake| intake.share()).collect();
        let is_of_all = !shares.is_empty() && shares.iter().all(Option::is_some);
        let of_what_is_there = self.stations.iter().enumerate().map(|(at, station)| match &station.group {
            None => Ok(shares[at].unwrap_or(1.0)),
            Some(group) => read(broker, group, &station.reads, &partitions),
        });
        let of_what_is_there: Vec<f64> = of_what_is_there.collect::<Result<_, _>>()?;
        let stations = self.stations.iter().enumerate().map(|(at, station)| {
            let share = self.share(at, &of_what_is_there);
            (station.name.clone(), share)
        });
        Ok(Headway { stations: stations.collect(), is_of_all })
    }

    /// What a station has done of what is there, of the least that has been done before it. No topic leads back to its
    /// writer: the config is checked for it.
    fn share(&self, at: usize, of_what_is_there: &[f64]) -> f64 {
        let feeds = |writer: &Station| writer.writes.iter().any(|topic| self.stations[at].reads.contains(topic));
        let before = self.stations.iter().enumerate().filter(|(_, writer)| feeds(writer));
        of_what_is_there[at] * before.map(|(writer, _)| self.share(writer, of_what_is_there)).fold(1.0, f64::min)
    }
}

/// The share of the records in `topics` that `group` has read.
fn read(
    broker: &dyn Broker,
    group: &str,
    topics: &[Arc<str>],
    partitions: &BTreeMap<Arc<str>, u32>,
) -> Result<f64, BrokerError> {
    let positions = broker.committed(group)?;
    let (mut done, mut there) = (0, 0);
    for topic in topics {
        for number in 0..partitions.get(topic).copied().unwrap_or(0) {
            let of = TopicPartition::new(topic.clone(), number);
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

    fn station(name: &str, group: Option<&str>, reads: &[&str], writes: &[&str]) -> Station {
        let topics = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        Station { name: name.into(), group: group.map(Into::into), reads: topics(reads), writes: topics(writes) }
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
        note("sink", "clean", 20);
        let stations = vec![
            station("market", None, &[], &["raw"]),
            station("clean", Some("clean"), &["raw"], &["clean"]),
            station("compete", Some("compete"), &["clean"], &[]),
            station("tables", Some("sink"), &["clean"], &[]),
        ];
        let stations = Stations { stations, intakes: vec![Arc::default()] };
        let headway = stations.headway(&broker).expect("there");
        let shares: Vec<f64> = headway.stations.iter().map(|(_, share)| *share).collect();
        assert_eq!(shares, [1.0, 0.5, 0.0, 0.5], "half of what the sink has still to come is not made yet");
        assert!(!headway.is_of_all, "the connector does not say how much it has");
    }
}
