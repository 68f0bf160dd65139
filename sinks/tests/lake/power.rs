//! Power that is lost at any step of a landing: what was flushed is there, and nothing else.

use std::sync::{Arc, Mutex};

use skuflow_runtime::testing::Device;
use skuflow_sinks::lake::{Hook, TABLES};

use super::world::{SMALL, broker, land, records, rows};

#[test]
fn without_power_what_was_committed_stays() {
    check(true);
}

#[test]
fn without_power_and_without_a_journal_what_was_committed_stays() {
    check(false);
}

fn check(has_journal: bool) {
    let Some(device) = Device::mount(has_journal) else { return };
    let (device, broker, table) = (Arc::new(device), broker(60), &TABLES[0]);
    let folder = device.path().join("lake");
    let losses = Arc::new(Mutex::new(Vec::new()));
    let lose: Hook = {
        let (device, folder, losses) = (device.clone(), folder.clone(), losses.clone());
        Box::new(move |step| {
            let there = std::thread::scope(|scope| scope.spawn(|| rows(&folder, table)).join().expect("readable"));
            losses.lock().expect("no panics").push((step, there, device.copy()));
            Ok(())
        })
    };
    land(&broker, &folder, table, SMALL, Some(lose));
    let losses = std::mem::take(&mut *losses.lock().expect("no panics"));
    assert!(losses.iter().any(|(_, there, _)| there.len() > 20), "several batches");
    for (number, (step, there, copy)) in losses.into_iter().enumerate() {
        device.start_from(&copy);
        assert_eq!(rows(&folder, table), there, "{step:?}, loss {number}: what readers saw");
        land(&broker, &folder, table, SMALL, None);
        assert_eq!(rows(&folder, table), records(&broker, table), "{step:?}, loss {number}: each once");
    }
}
