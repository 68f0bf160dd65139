//! A member of a group: membership by one client, which fetches nothing, and fetching by a [`Fetcher`].
//!
//! ```text
//!   poll ─▶ assigned ─▶ poll … records, ends … ─▶ revoked: the caller commits ─▶ next poll: given up ─▶ assigned …
//!                                              └▶ lost: nothing may be committed any more
//! ```
//! Partitions that are revoked are given up with the poll after, not in the callback: what is to be done before is done by
//! the caller, who is not bounded by librdkafka's thread but by the session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::changelog::topic_of_group;
use super::errors::broker_error;
use super::limits::{LEAVE_MAX, LOOK_MAX};
use super::reader::Fetcher;
use super::settings::log;
use super::{Shared, native};
use crate::broker::{BrokerError, Consumer, Generation, Member, Offset, Polled, TopicPartition};
use crate::limits::FETCH_BYTES_MAX;

/// The client that is the member.
pub(super) type Membership = BaseConsumer<Rebalances>;

/// What the group decided, in order, until the next poll.
#[derive(Default)]
pub(super) struct Rebalances {
    decided: Mutex<VecDeque<Decided>>,
    /// Leaving: whatever is revoked is given up at once.
    is_leaving: AtomicBool,
}

enum Decided {
    Assigned(BTreeSet<(String, u32)>),
    Revoked,
    Lost,
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka consumer");
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, membership: &BaseConsumer<Self>, event: RDKafkaRespErr, of: &mut TopicPartitionList) {
        let decided = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Decided::Assigned(
                of.elements().iter().map(|place| (place.topic().to_owned(), place.partition() as u32)).collect(),
            ),
            _ if membership.assignment_lost() => Decided::Lost,
            _ => Decided::Revoked,
        };
        if self.is_leaving.load(Ordering::Relaxed) {
            if !membership.closed() {
                let _it_leaves_anyway = membership.unassign();
            }
            return;
        }
        self.decided.lock().expect("no holder panics").push_back(decided);
    }
}

/// See the module.
pub(super) struct KafkaConsumer {
    shared: Arc<Shared>,
    /// There until it is dropped.
    membership: Option<Arc<Membership>>,
    fetcher: Fetcher,
    group: Arc<str>,
    topics: Vec<Arc<str>>,
    partitions: Vec<u32>,
    places: BTreeMap<TopicPartition, Place>,
    /// What was said to be revoked or lost, and is given up with the next poll.
    is_giving_up: bool,
    generation: Generation,
    /// The partition to look at first.
    turn: usize,
}

struct Place {
    position: Offset,
    paused: bool,
    end_said: bool,
}

impl KafkaConsumer {
    pub(super) fn join(
        shared: &Arc<Shared>,
        group: &str,
        topics: &[Arc<str>],
        member: &Member,
    ) -> Result<Self, BrokerError> {
        let counts: Vec<Option<u32>> =
            topics.iter().map(|topic| shared.partitions(topic)).collect::<Result<_, BrokerError>>()?;
        let Some(count) = counts.first().copied().flatten().filter(|first| counts.iter().all(|n| *n == Some(*first)))
        else {
            return Err(BrokerError::Fatal(format!(
                "group {group} reads {topics:?}, which must exist with equal partition counts to be joined"
            )));
        };
        shared.ensure_changelog(&topic_of_group(group), count)?;
        let config = shared.settings.joining(group, &member.id);
        let membership = BaseConsumer::from_config_and_context(&config, Rebalances::default());
        let membership: Arc<Membership> = Arc::new(membership.map_err(|error| broker_error(&error))?);
        shared.add_member(group, &membership);
        let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        membership.subscribe(&names).map_err(|error| broker_error(&error))?;
        let group: Arc<str> = group.into();
        Ok(Self {
            shared: shared.clone(),
            membership: Some(membership),
            fetcher: Fetcher::new(shared)?,
            topics: topics.to_vec(),
            partitions: Vec::new(),
            places: BTreeMap::new(),
            is_giving_up: false,
            generation: Generation { group: group.clone(), member: member.id.as_str().into(), number: 0 },
            group,
            turn: 0,
        })
    }

    fn membership(&self) -> &Membership {
        self.membership.as_ref().expect("it is there until this is dropped")
    }

    /// Lets the client work; decisions come by the callback.
    ///
    /// # Errors
    /// What the client does not get over: it says so in one poll, and is asked for it after each.
    fn hear(&self, timeout: Duration) -> Result<(), BrokerError> {
        if let Some(Err(error)) = self.membership().poll(timeout) {
            tracing::debug!(%error, group = %self.group, "kafka consumer");
            if error.rdkafka_error_code() == Some(Code::InvalidSessionTimeout) {
                return Err(BrokerError::Fatal(format!(
                    "the cluster does not allow a session timeout of {:?}: set broker.kafka.session_timeout to what lies \
                     between its group.min.session.timeout.ms and group.max.session.timeout.ms",
                    self.shared.settings.session_timeout
                )));
            }
            if let BrokerError::Fatal(reason) = broker_error(&error) {
                return Err(BrokerError::Fatal(format!("group {}: {reason}", self.group)));
            }
        }
        match self.membership().client().fatal_error() {
            None => Ok(()),
            Some((Code::FencedInstanceId, _)) => {
                Err(BrokerError::Fatal(format!("group {}: another process has the same worker id", self.group)))
            }
            Some((code, _)) => Err(broker_error(&KafkaError::MessageConsumptionFatal(code))),
        }
    }

    /// Lets the client work, and says what the group decided.
    fn serve(&mut self, timeout: Duration) -> Result<Vec<Polled>, BrokerError> {
        if std::mem::take(&mut self.is_giving_up) {
            self.places.keys().for_each(|of| self.fetcher.stop(of));
            (self.places, self.partitions) = (BTreeMap::new(), Vec::new());
            self.generation.number = 0;
            self.membership().unassign().map_err(|error| broker_error(&error))?;
        }
        self.hear(timeout)?;
        let decided = self.membership().context().decided.lock().expect("no holder panics").pop_front();
        Ok(match decided {
            None => Vec::new(),
            Some(Decided::Assigned(places)) => vec![self.assigned(&places)?],
            Some(Decided::Revoked) => {
                self.is_giving_up = true;
                vec![Polled::Revoked(self.partitions.clone())]
            }
            Some(Decided::Lost) => {
                self.is_giving_up = true;
                vec![Polled::Lost(self.partitions.clone())]
            }
        })
    }

    fn assigned(&mut self, places: &BTreeSet<(String, u32)>) -> Result<Polled, BrokerError> {
        let numbers: BTreeSet<u32> = places.iter().map(|(_, number)| *number).collect();
        if places.len() != numbers.len() * self.topics.len() {
            return Err(BrokerError::Fatal(format!(
                "group {}: this member got {places:?}, which tears co-partitioned topics apart; all its members must run the \
                 same version and read the same topics",
                self.group
            )));
        }
        // The fetching is not the client's: it is told that there is nothing to fetch, and goes on being a member.
        self.membership().assign(&TopicPartitionList::new()).map_err(|error| broker_error(&error))?;
        let (member, number) = native::membership(self.membership()).unwrap_or_default();
        let number = u64::try_from(number).unwrap_or(0);
        self.generation = Generation { group: self.group.clone(), member: member.into(), number };
        let places = places.iter().map(|(topic, number)| (topic.as_str(), *number));
        let committed = self.shared.committed_in(&self.group, places)?;
        self.partitions = numbers.into_iter().collect();
        for topic in &self.topics {
            for number in &self.partitions {
                let of = TopicPartition::new(topic.clone(), *number);
                let (first, next) = self.shared.offsets(&of)?;
                let position = committed.get(&of).copied().unwrap_or(first);
                if position < first || position > next {
                    return Err(BrokerError::OutOfRange { of, wanted: position, first, next });
                }
                self.fetcher.go_to(&of, position)?;
                self.places.insert(of, Place { position, paused: false, end_said: false });
            }
        }
        Ok(Polled::Assigned { partitions: self.partitions.clone(), committed })
    }

    /// What has been fetched; looks for it at one partition for at most `timeout`.
    fn fetch(&mut self, timeout: Duration) -> Result<Vec<Polled>, BrokerError> {
        let mut polled = Vec::new();
        let wanted = self.places.values().filter(|place| !place.paused).count();
        self.turn = (self.turn + 1) % wanted.max(1);
        for (at, (of, place)) in self.places.iter_mut().filter(|(_, place)| !place.paused).enumerate() {
            let timeout = if at == self.turn { timeout } else { Duration::ZERO };
            self.fetcher.go_to(of, place.position)?; // what failed behind good records is begun anew
            for batch in self.fetcher.take(of, timeout, FETCH_BYTES_MAX).map_err(retention)? {
                let from = place.position;
                place.position = batch.next_offset();
                place.end_said &= batch.records == 0;
                polled.push(Polled::Records { of: of.clone(), from, batch });
            }
            let (position, is_at_end) = self.fetcher.place(of).unwrap_or((place.position, false));
            debug_assert_eq!(position, place.position, "{of}: what was taken was given");
            if is_at_end && !std::mem::replace(&mut place.end_said, true) {
                polled.push(Polled::End(of.clone()));
            }
        }
        Ok(polled)
    }
}

/// Retention has passed a place from which records were to come. Whether that is a gap, the committed position tells when the
/// member joins again: where there is none, the log begins later.
fn retention(error: BrokerError) -> BrokerError {
    match error {
        BrokerError::OutOfRange { .. } => BrokerError::Retry(error.to_string()),
        other => other,
    }
}

impl Consumer for KafkaConsumer {
    fn poll(&mut self, timeout: Duration) -> Result<Vec<Polled>, BrokerError> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let nothing_is_wanted = self.places.values().all(|place| place.paused);
            let served = self.serve(if nothing_is_wanted { left } else { Duration::ZERO })?;
            if !served.is_empty() {
                return Ok(served);
            }
            let polled = self.fetch(left.min(LOOK_MAX))?;
            if !polled.is_empty() || Instant::now() >= until {
                return Ok(polled);
            }
        }
    }

    fn pause(&mut self, of: &TopicPartition, paused: bool) {
        if let Some(place) = self.places.get_mut(of) {
            place.paused = paused; // what is not taken fills librdkafka's queue, and then nothing more is fetched
        }
    }

    fn seek(&mut self, of: &TopicPartition, offset: Offset) {
        let Some(place) = self.places.get_mut(of) else { return };
        (place.position, place.end_said) = (offset, false);
        if let Err(error) = self.fetcher.rewind(of, offset) {
            tracing::warn!(%of, offset, %error, "seeking; the member joins again");
            self.is_giving_up = true;
            self.membership().context().decided.lock().expect("no holder panics").push_back(Decided::Lost);
        }
    }

    fn generation(&self) -> Generation {
        self.generation.clone()
    }

    fn attend(&mut self) -> Result<bool, BrokerError> {
        self.hear(Duration::ZERO)?;
        Ok(self.membership().context().decided.lock().expect("no holder panics").is_empty())
    }

    /// A static member that is only closed stays in the group until its session ends; one that unsubscribes goes at once.
    fn leave(&mut self) -> Result<(), BrokerError> {
        self.membership().context().is_leaving.store(true, Ordering::Relaxed);
        self.membership().unsubscribe();
        let until = Instant::now() + LEAVE_MAX;
        let is_member = || native::membership(self.membership()).is_some_and(|(member, _)| !member.is_empty());
        self.hear(Duration::ZERO)?;
        while is_member() && Instant::now() < until {
            self.hear(Duration::from_millis(5))?;
        }
        Ok(())
    }
}

impl Drop for KafkaConsumer {
    /// Closes the client in a thread of its own, which is waited for a while: a decision that is heard when librdkafka has
    /// ended the membership already is one that nobody takes an answer to.
    fn drop(&mut self) {
        let Some(membership) = self.membership.take() else { return };
        let context = membership.context();
        context.is_leaving.store(true, Ordering::Relaxed);
        // Each decision is answered once; one that is not heard yet is heard while the client closes.
        if self.is_giving_up || !context.decided.lock().expect("no holder panics").is_empty() {
            let _it_leaves_anyway = membership.unassign();
        }
        let (closes, closed) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            drop(membership);
            drop(closes);
        });
        let _closed_or_left_alone = closed.recv_timeout(LEAVE_MAX);
    }
}
