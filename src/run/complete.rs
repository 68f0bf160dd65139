//! Who still writes to which topic: with `--once`, a topic is complete when its last writer is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use skuflow_runtime::stage::Control;

/// The writers of each topic, some of them in several threads.
#[derive(Default)]
pub(super) struct Writers {
    topics: Mutex<BTreeMap<Arc<str>, BTreeSet<String>>>,
    threads: Mutex<BTreeMap<String, usize>>,
}

/// How a connector is called here.
pub(super) fn connector(name: &str) -> String {
    format!("connector {name}")
}

/// How a stage is called here.
pub(super) fn stage(name: &str) -> String {
    format!("stage {name}")
}

impl Writers {
    /// `writer`, in `threads` threads, writes to `topics`.
    pub(super) fn add(&self, writer: &str, threads: usize, topics: impl IntoIterator<Item = Arc<str>>) {
        self.threads.lock().expect("no holder panics").insert(writer.to_owned(), threads);
        let mut written = self.topics.lock().expect("no holder panics");
        for topic in topics {
            written.entry(topic).or_default().insert(writer.to_owned());
        }
    }

    /// One thread of `writer` is done; topics that have lost their last writer are complete.
    pub(super) fn finished(&self, writer: &str, control: &Control) {
        let mut threads = self.threads.lock().expect("no holder panics");
        let left = threads.get_mut(writer).map_or(0, |left| {
            *left = left.saturating_sub(1);
            *left
        });
        if left > 0 {
            return;
        }
        let mut topics = self.topics.lock().expect("no holder panics");
        for (topic, writers) in topics.iter_mut() {
            if writers.remove(writer) && writers.is_empty() {
                control.complete(topic);
            }
        }
    }

    /// Topics that nobody writes in this run are complete from the start.
    pub(super) fn complete_unwritten(&self, all: impl IntoIterator<Item = Arc<str>>, control: &Control) {
        let topics = self.topics.lock().expect("no holder panics");
        all.into_iter().filter(|topic| !topics.contains_key(topic)).for_each(|topic| control.complete(&topic));
    }
}
