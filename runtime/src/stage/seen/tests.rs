use super::*;
use crate::broker::{Broker, Commit, memory::Memory};

fn id(number: u64) -> EventId {
    EventId::of(skuflow_schemas::Family::Sale, "demo", &[&number.to_le_bytes()])
}

fn restore(broker: &Memory) -> SeenTable {
    SeenTable::restore("task".into(), broker.state("task").expect("open").as_ref()).expect("decodes")
}

fn commit(broker: &Memory, seen: &mut SeenTable) {
    let mut state = Vec::new();
    seen.changes(&mut state);
    broker.producer("p").expect("open").commit(Commit { consumed: None, state }).expect("no faults");
    seen.committed();
}

#[test]
fn an_id_is_new_once_within_its_window_and_again_after_it() {
    let broker = Memory::new("test");
    let mut seen = restore(&broker);
    assert_eq!(seen.insert(Day(100), 7, id(1), 5), Seen::New);
    assert_eq!(seen.insert(Day(107), 7, id(1), 5), Seen::Same, "the last day");
    assert_eq!(seen.insert(Day(107), 7, id(1), 6), Seen::Different);
    assert_eq!(seen.insert(Day(108), 7, id(1), 5), Seen::New, "expired");
    commit(&broker, &mut seen);
    assert_eq!(seen.len(), 1, "the expired day went whole");
    assert_eq!(restore(&broker).len(), 1);
}

#[test]
fn an_abort_forgets_what_was_inserted_and_only_that() {
    let broker = Memory::new("test");
    let mut seen = restore(&broker);
    seen.insert(Day(100), 7, id(1), 5);
    commit(&broker, &mut seen);
    seen.insert(Day(109), 7, id(2), 5);
    seen.aborted();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen.insert(Day(100), 7, id(1), 5), Seen::Same, "the day of the aborted record does not count");
}

#[test]
fn a_slow_stream_leaves_few_runs_and_all_its_ids() {
    let broker = Memory::new("test");
    let mut seen = restore(&broker);
    for number in 0..1000 {
        assert_eq!(seen.insert(Day(100), 7, id(number), number), Seen::New);
        commit(&broker, &mut seen);
        if number % 300 == 0 {
            seen = restore(&broker);
        }
    }
    assert!(broker.all_state().len() <= OPEN_RUNS_MAX + 20, "{} runs", broker.all_state().len());
    let mut restored = restore(&broker);
    assert_eq!(restored.len(), 1000);
    assert!((0..1000).all(|number| restored.insert(Day(100), 7, id(number), number) == Seen::Same));
}

/// The first commit after a restart may hold nothing that asks for an id: rows of a table, or dead letters.
#[test]
fn a_commit_before_the_first_id_forgets_nothing() {
    let broker = Memory::new("test");
    let mut seen = restore(&broker);
    seen.insert(Day(100), 7, id(1), 5);
    seen.insert(Day(101), 7, id(2), 5);
    commit(&broker, &mut seen);
    let mut seen = restore(&broker);
    commit(&broker, &mut seen);
    assert_eq!(restore(&broker).len(), 2);
    assert_eq!(seen.insert(Day(101), 7, id(1), 5), Seen::Same);
}
