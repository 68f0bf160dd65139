//! State as records: which changelog is whose, and how a store is brought up to it.

use std::sync::Arc;
use std::time::Instant;

use super::limits::{FETCH_MAX, RESTORE_STALL_MAX};
use super::reader::Fetcher;
use super::settings::Fail;
use super::store::Store;
use super::{Shared, unknown};
use crate::broker::{BrokerError, Offset, Reader, StateChange, TopicPartition};
use crate::limits::{BACKOFF_MIN, FETCH_BYTES_MAX};
use crate::storage::Put;

/// What the names of all changelogs begin with.
pub const CHANGELOG_PREFIX: &str = "changelog.";

/// An owner of state and the partition that holds its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changelog {
    pub(super) owner: Arc<str>,
    pub(super) of: TopicPartition,
}

impl Changelog {
    /// `task:<group>/<partition>` has its partition of `changelog.<group>`, which is co-partitioned with what the group
    /// reads; `<kind>:<name>` has the one partition of `changelog.<pipeline>.<kind>.<name>`.
    pub(super) fn of(owner: &Arc<str>, pipeline: &str) -> Result<Self, String> {
        let (kind, name) = owner.split_once(':').ok_or_else(|| format!("`{owner}` is no owner of state"))?;
        let of = match (kind, name.rsplit_once('/')) {
            ("task", Some((group, partition))) => {
                let partition = partition.parse().map_err(|_| format!("`{owner}` names no partition"))?;
                TopicPartition::new(topic_of_group(group), partition)
            }
            _ => TopicPartition::new(format!("{CHANGELOG_PREFIX}{pipeline}.{kind}.{name}"), 0),
        };
        Ok(Self { owner: owner.clone(), of })
    }

    fn is_of_a_task(&self) -> bool {
        self.owner.starts_with("task:")
    }

    /// Whether the topic is there. That of a task has to be.
    pub(super) fn is_there(&self, shared: &Shared) -> Result<bool, BrokerError> {
        Ok(self.is_of_a_task() || shared.topic(&self.of.topic)?.is_some())
    }

    /// Makes sure that the topic is there. Those of tasks are made when their group is joined, which knows how many
    /// partitions they need.
    pub(super) fn ensure(&self, shared: &Shared) -> Result<(), BrokerError> {
        if !self.is_of_a_task() {
            return shared.ensure_changelog(&self.of.topic, 1).map(drop);
        }
        match shared.partitions(&self.of.topic)? {
            Some(count) if self.of.partition < count => Ok(()),
            _ => Err(unknown(&self.of)),
        }
    }

    /// The owner's store, brought up to everything that is committed.
    ///
    /// The end is the high watermark and not the end of what is committed at present: a predecessor's last transaction may
    /// be committed already with its marker still to come, and it is waited for. So the predecessor must be fenced before:
    /// tasks know that it is since they hold a newer generation and have asked for the stable positions of their group,
    /// connectors since they opened their producer.
    pub(super) fn restore(
        &self,
        shared: &Arc<Shared>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Arc<Store>, BrokerError> {
        self.ensure(shared)?;
        let topic = shared.topic(&self.of.topic)?.ok_or_else(|| unknown(&self.of))?;
        let end = shared.high_watermark(&self.of)?;
        let (first, last_stable) = shared.offsets(&self.of)?;
        let end = if shared.settings.fails(Fail::RestoresToLastStable) { last_stable } else { end };
        let store = shared.open_store(&self.owner, &topic.id, &(first..=end))?;
        let from = store.position();
        let began = Instant::now();
        let (position, read) = self.replay(shared, &store, end, goes_on)?;
        store.flush_current(position).and_then(|()| store.finish()).map_err(BrokerError::Retry)?;
        let ms = began.elapsed().as_millis() as u64;
        tracing::debug!(owner = %self.owner, from, end, read, ms, "state restored");
        Ok(store)
    }

    /// Applies what the changelog holds from the store's position up to `end`; where that is, and how many records it was.
    fn replay(
        &self,
        shared: &Arc<Shared>,
        store: &Store,
        end: u64,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<(Offset, u64), BrokerError> {
        let mut position = store.position();
        if position >= end {
            return Ok((position, 0));
        }
        let mut reader = Fetcher::new(shared)?;
        let mut read = 0;
        let stall_max = RESTORE_STALL_MAX + shared.settings.transaction_timeout;
        let mut until = Instant::now() + stall_max;
        while position < end {
            if !goes_on() {
                return Err(BrokerError::Retry(format!("the restore of {} was left for something else", self.owner)));
            }
            let batches = reader.fetch(&self.of, position, FETCH_BYTES_MAX)?;
            let Some(last) = batches.last() else {
                if Instant::now() >= until {
                    let of = &self.of;
                    return Err(BrokerError::Retry(format!("{of}: a transaction stays open at offset {position}")));
                }
                std::thread::park_timeout(BACKOFF_MIN);
                continue;
            };
            let records = batches.iter().flat_map(|batch| batch.from(position));
            let changes =
                records.filter_map(|record| Some(Put { key: record.key?.into(), value: record.value.map(Into::into) }));
            store.apply(changes);
            read += batches.iter().map(|batch| u64::from(batch.records)).sum::<u64>();
            position = last.next_offset();
            if store.is_due() {
                store.flush_at(position).map_err(BrokerError::Retry)?;
            }
            until = Instant::now() + stall_max;
        }
        Ok((position, read))
    }
}

/// Under this and its name stands the id of a topic that a task reads; no task's own key begins with a zero.
const TOPIC_KEY: &[u8] = b"\0topic/";

/// Whether a key is ours, and not the owner's.
pub(super) fn is_reserved(key: &[u8]) -> bool {
    key.first() == Some(&0)
}

/// The change that notes which topic it was that a task has read. It is committed with the first step through it.
pub(super) fn note_topic(group: &str, of: &TopicPartition, id: String) -> StateChange {
    let key = [TOPIC_KEY, of.topic.as_bytes()].concat();
    StateChange { owner: format!("task:{group}/{}", of.partition).into(), key, value: Some(id.into_bytes()) }
}

/// Refuses state that was made from another topic than the one that has its name, the group's positions went away with that
/// one; state whose positions are gone: what was read before would be read once more, on top of what is known of it; and
/// positions whose state is gone.
pub(super) fn check_topics(shared: &Shared, owner: &str, store: &Store) -> Result<(), BrokerError> {
    let noted = store.scan(TOPIC_KEY).map_err(BrokerError::Retry)?;
    let task = owner.strip_prefix("task:").and_then(|task| task.rsplit_once('/'));
    let Some((group, partition)) = task else { return Ok(()) };
    let partition = partition.parse().unwrap_or(u32::MAX);
    let topics = shared.topics()?;
    let that_have_it = topics.iter().filter(|topic| partition < topic.partitions);
    let positions = shared.committed_in(group, that_have_it.map(|topic| (&*topic.name, partition)))?;
    if let Some(of) = positions.keys().next().filter(|_| noted.is_empty()) {
        return Err(BrokerError::Fatal(format!(
            "group {group} has a position in {of}, but {owner} has no state, not even of having read it: its changelog was \
             deleted; bring it back, or give the stage another name, under which it begins with nothing"
        )));
    }
    for (key, id) in &noted {
        let name = String::from_utf8_lossy(&key[TOPIC_KEY.len()..]).into_owned();
        if shared.topic(&name)?.is_some_and(|topic| topic.id.as_bytes() != *id) {
            return Err(BrokerError::Fatal(format!(
                "topic {name} was made anew since {owner} has read it; bring back the old one, or give the stage another \
                 name, under which it begins with nothing"
            )));
        }
    }
    if !noted.is_empty() && positions.is_empty() {
        return Err(BrokerError::Fatal(format!(
            "{owner} has state but no position in any topic: the group's positions were deleted, or it stood still for longer \
             than the cluster's offsets.retention.minutes; bring them back (kafka-consumer-groups.sh --group {group} \
             --reset-offsets), or give the stage another name, under which it begins with nothing"
        )));
    }
    Ok(())
}

/// The changelog of the tasks of a group.
pub(super) fn topic_of_group(group: &str) -> String {
    format!("{CHANGELOG_PREFIX}{group}")
}

const _: () = assert!(FETCH_MAX.as_secs() < RESTORE_STALL_MAX.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_owner_has_a_partition_of_its_own() {
        let of = |owner: &str| Changelog::of(&owner.into(), "shop").map(|changelog| changelog.of.to_string());
        assert_eq!(of("task:shop-clean/3").as_deref(), Ok("changelog.shop-clean/3"));
        assert_eq!(of("connector:market").as_deref(), Ok("changelog.shop.connector.market/0"));
        assert!(of("market").is_err());
        assert!(of("task:shop-clean/x").is_err());
    }
}
