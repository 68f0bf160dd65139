//! The positions in a table's properties: pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skuflow_runtime::broker::{Offset, TopicPartition};

use crate::{Batch, Identity};

/// The property of a table that holds its positions.
pub(super) const OFFSETS: &str = "skuflow.offsets";

/// Next offsets by topic and partition, and which log they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offsets {
    cluster_id: String,
    topics: BTreeMap<String, TopicOffsets>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TopicOffsets {
    topic_id: String,
    next_offsets: BTreeMap<u32, Offset>,
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It begins where the table ends.
    Lands,
    /// The table has all of it.
    HasLanded,
    /// The table is elsewhere: somebody else landed here.
    Elsewhere(String),
}

impl Offsets {
    /// As they are written in the properties; `None` where they cannot be read.
    pub(super) fn parse(text: Option<&str>) -> Option<Self> {
        text.map_or(Some(Self::default()), |text| serde_json::from_str(text).ok())
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether they belong to another log than `identity`'s: of which cluster, and the topic that differs.
    pub(super) fn foreign(&self, identity: &Identity) -> Option<(&str, &str)> {
        let differs = |(name, topic): &(&String, &TopicOffsets)| {
            let known = identity.topic_ids.get(*name);
            self.cluster_id != identity.cluster_id || known.is_some_and(|known| *known != topic.topic_id)
        };
        self.topics.iter().find(differs).map(|(name, _)| (self.cluster_id.as_str(), name.as_str()))
    }

    pub(super) fn positions(&self) -> BTreeMap<TopicPartition, Offset> {
        let of_topic = |(name, topic): (&String, &TopicOffsets)| {
            let name = name.clone();
            topic
                .next_offsets
                .clone()
                .into_iter()
                .map(move |(partition, next)| (TopicPartition::new(name.as_str(), partition), next))
        };
        self.topics.iter().flat_map(|(name, topic)| of_topic((name, topic)).collect::<Vec<_>>()).collect()
    }

    fn next(&self, of: &TopicPartition) -> Option<Offset> {
        self.topics.get(of.topic.as_ref())?.next_offsets.get(&of.partition).copied()
    }

    /// Compares the batch's start with what is stored.
    pub(super) fn judge(&self, batch: &Batch, identity: &Identity) -> Verdict {
        if let Some((cluster, topic)) = self.foreign(identity) {
            return Verdict::Elsewhere(format!("the table took over topic {topic} of cluster {cluster}"));
        }
        let mut behind = 0;
        for (of, part) in &batch.parts {
            let stored = self.next(of);
            if stored.is_some_and(|stored| part.range.to <= stored) {
                behind += 1;
            } else if stored != part.range.from {
                return Verdict::Elsewhere(format!("{of} is at {stored:?}, the batch begins at {:?}", part.range.from));
            }
        }
        match behind {
            0 => Verdict::Lands,
            all if all == batch.parts.len() => Verdict::HasLanded,
            _ => Verdict::Elsewhere("a part of the batch has landed before".into()),
        }
    }

    /// These, moved to the end of `batch`.
    #[must_use]
    pub(super) fn moved(&self, batch: &Batch, identity: &Identity) -> Self {
        let mut moved = self.clone();
        moved.cluster_id.clone_from(&identity.cluster_id);
        for (of, part) in &batch.parts {
            let topic = moved.topics.entry(of.topic.to_string()).or_default();
            topic.topic_id = identity.topic_ids.get(of.topic.as_ref()).cloned().unwrap_or_default();
            topic.next_offsets.insert(of.partition, part.range.to);
        }
        moved
    }
}

/// The ends of a batch's ranges, by partition, as a snapshot says them.
pub(super) fn ranges(batch: &Batch) -> [String; 2] {
    let ends = |end: fn(&crate::Range) -> Option<Offset>| {
        let ends = batch.parts.iter().map(|(of, part)| (of.to_string(), end(&part.range)));
        serde_json::to_string(&ends.collect::<BTreeMap<_, _>>()).unwrap_or_default()
    };
    [ends(|range| range.from), ends(|range| Some(range.to))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Part, Range};

    fn identity(cluster: &str, topic_id: &str) -> Identity {
        Identity { cluster_id: cluster.into(), topic_ids: BTreeMap::from([("t".into(), topic_id.into())]) }
    }

    fn batch(ranges: &[(u32, Option<Offset>, Offset)]) -> Batch {
        let part = |(partition, from, to): &(u32, Option<Offset>, Offset)| {
            (TopicPartition::new("t", *partition), Part { range: Range { from: *from, to: *to }, records: Vec::new() })
        };
        Batch { parts: ranges.iter().map(part).collect() }
    }

    /// What a table at 5 in partition 0 and nowhere in partition 1 says to a batch.
    fn check(ranges: &[(u32, Option<Offset>, Offset)], expected: &str) {
        let identity = identity("c", "id");
        let stored = Offsets::default().moved(&batch(&[(0, None, 5)]), &identity);
        assert_eq!(Offsets::parse(Some(&stored.to_text())).as_ref(), Some(&stored), "round trip");
        let found = match stored.judge(&batch(ranges), &identity) {
            Verdict::Lands => "lands".into(),
            Verdict::HasLanded => "has landed".into(),
            Verdict::Elsewhere(reason) => reason,
        };
        assert!(found.contains(expected), "{ranges:?}: {found}");
    }

    #[test]
    fn a_batch_lands_where_it_begins_and_nowhere_else() {
        check(&[(0, Some(5), 9)], "lands");
        check(&[(0, Some(5), 9), (1, None, 3)], "lands");
        check(&[(0, None, 5)], "has landed");
        check(&[(0, Some(2), 4)], "has landed");
        check(&[(0, Some(4), 9)], "is at Some(5), the batch begins at Some(4)");
        check(&[(0, Some(6), 9)], "begins at Some(6)");
        check(&[(0, None, 9)], "begins at None");
        check(&[(1, Some(0), 9)], "is at None");
        check(&[(0, Some(2), 5), (1, None, 3)], "a part of the batch");
    }

    #[test]
    fn another_log_is_another_log() {
        let stored = Offsets::default().moved(&batch(&[(0, None, 5)]), &identity("c", "id"));
        assert_eq!(stored.foreign(&identity("c", "id")), None);
        assert_eq!(stored.foreign(&identity("d", "id")), Some(("c", "t")));
        assert_eq!(stored.foreign(&identity("c", "other")), Some(("c", "t")));
        assert!(matches!(stored.judge(&batch(&[(0, Some(5), 9)]), &identity("d", "id")), Verdict::Elsewhere(_)));
        assert_eq!(Offsets::default().foreign(&identity("c", "id")), None);
        assert_eq!(Offsets::parse(Some("{")), None);
    }
}
