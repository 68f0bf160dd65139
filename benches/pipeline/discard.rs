//! A broker whose log is read only: what is sent is laid out as a batch and dropped at the commit; state and positions are
//! kept in memory. It shows what the steps cost, without a log behind them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skuflow_runtime::broker::memory::Memory;
use skuflow_runtime::broker::{
    BatchBuilder, Broker, BrokerError, Commit, Consumer, Member, Offset, Pair, Positions, Producer, Reader, Record,
    StateReader, TopicInfo, TopicPartition, TxnError, partition_of,
};

type State = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

/// Reads what `input` holds, and keeps nothing of what is sent.
pub struct Discard {
    pub input: Memory,
    pub state: State,
    pub partitions: u32,
}

impl Broker for Discard {
    fn cluster_id(&self) -> Result<String, BrokerError> {
        self.input.cluster_id()
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, BrokerError> {
        self.input.topics()
    }

    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, BrokerError> {
        self.input.ensure_topic(name, partitions)
    }

    fn offsets(&self, of: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        self.input.offsets(of)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        self.input.reader()
    }

    fn producer(&self, _: &str) -> Result<Box<dyn Producer>, BrokerError> {
        let (state, partitions) = (self.state.clone(), self.partitions);
        Ok(Box::new(Dropping { state, partitions, batches: Vec::new(), bytes: 0 }))
    }

    fn join(&self, group: &str, topics: &[Arc<str>], member: &Member) -> Result<Box<dyn Consumer>, BrokerError> {
        self.input.join(group, topics, member)
    }

    fn committed(&self, group: &str) -> Result<Positions, BrokerError> {
        self.input.committed(group)
    }

    fn note_positions(&self, group: &str, positions: &Positions) -> Result<(), BrokerError> {
        self.input.note_positions(group, positions)
    }

    fn forget_positions(&self, group: &str) -> Result<(), BrokerError> {
        self.input.forget_positions(group)
    }

    fn restore(&self, _: &str, _: &mut dyn FnMut() -> bool) -> Result<Box<dyn StateReader>, BrokerError> {
        Ok(Box::new(InMemory(self.state.clone())))
    }

    fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        self.input.wait(seen, timeout)
    }
}

struct InMemory(State);

impl StateReader for InMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BrokerError> {
        Ok(self.0.lock().expect("no holder panics").get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, BrokerError> {
        let state = self.0.lock().expect("no holder panics");
        let found = state.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

struct Dropping {
    state: State,
    partitions: u32,
    batches: Vec<(Arc<str>, u32, BatchBuilder)>,
    bytes: usize,
}

impl Producer for Dropping {
    fn send(&mut self, topic: &Arc<str>, partition: Option<u32>, record: &Record<'_>) -> Result<(), TxnError> {
        let key = record.key.unwrap_or_default();
        let partition = partition.unwrap_or_else(|| partition_of(key, self.partitions));
        let of = |open: &(Arc<str>, u32, BatchBuilder)| open.1 == partition && Arc::ptr_eq(&open.0, topic);
        let at = self.batches.iter().position(of).unwrap_or_else(|| {
            self.batches.push((topic.clone(), partition, BatchBuilder::default()));
            self.batches.len() - 1
        });
        let batch = &mut self.batches[at].2;
        let before = batch.len();
        batch.push(record);
        self.bytes += batch.len() - before;
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.bytes
    }

    fn pending_records(&self) -> u64 {
        self.batches.iter().map(|(_, _, batch)| u64::from(batch.records())).sum()
    }

    fn commit(&mut self, commit: Commit<'_>) -> Result<(), TxnError> {
        let mut state = self.state.lock().expect("no holder panics");
        for change in commit.state {
            match change.value {
                Some(value) => state.insert(change.key, value),
                None => state.remove(&change.key),
            };
        }
        drop(state);
        self.abort();
        Ok(())
    }

    fn abort(&mut self) {
        self.batches.iter_mut().for_each(|(_, _, batch)| batch.clear());
        self.bytes = 0;
    }
}
