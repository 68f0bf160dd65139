//! The oracle in two minutes; `cargo xtask kill --kafka` is the long version.
#![expect(clippy::print_stderr, reason = "says what happens, with its seed")]

mod common;

use std::path::Path;

use common::oracle::checks::Found;
use common::oracle::{self, Obligations, Plan};

const PLAN: Plan = Plan { seed: 1, events: 12_000, kills: 6, broker_kills: 1, zombies: 1 };

#[test]
fn whatever_is_killed_each_event_has_one_effect() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let say = |said: String| eprintln!("{said}");
    say(format!("{PLAN:?}"));
    let Some(finished) = oracle::run(PLAN, Path::new(env!("CARGO_BIN_EXE_skuflow")), home.path(), &say) else { return };
    let wrong = finished.check(Path::new(env!("CARGO_MANIFEST_DIR")), &say);
    assert_eq!(wrong, Vec::<String>::new(), "{PLAN:?}");
    finished.aborted(&say);
    let (found, due) = finished.found();
    is_noticed(&found, due, &finished.undisturbed());
}

/// The control: whatever happens to an event, it shows.
fn is_noticed(found: &Found, due: &Obligations, undisturbed: &Found) {
    type Part = fn(&mut Found) -> &mut std::collections::BTreeMap<String, u64>;
    let parts: [Part; 4] = [|f| &mut f.read, |f| &mut f.accepted, |f| &mut f.refused, |f| &mut f.unreadable];
    for part in parts {
        let tampers: [fn(&mut u64); 2] = [|count| *count += 1, |count| *count -= 1];
        for tamper in tampers {
            let mut found = found.clone();
            tamper(part(&mut found).values_mut().next().expect("there are some"));
            assert_eq!(found.keeps(due).len(), 1);
        }
        let mut found = found.clone();
        part(&mut found).insert("nobody's".into(), 1);
        assert_eq!(found.keeps(due).len(), 1, "what nobody gave");
    }
    let mut counted = found.clone();
    *counted.outcomes.get_mut("Duplicate ").expect("there are some") += 1;
    assert_eq!((counted.keeps(due).len(), counted.differs_from(undisturbed).len()), (1, 1));
    let mut swapped = found.clone();
    let two = swapped.orders.values_mut().find(|order| order.len() > 1 && order[0] != order[1]);
    two.expect("there are some").swap(0, 1);
    assert_eq!(swapped.differs_from(undisturbed).len(), 1);
    let mut other = found.clone();
    let copies = other.contents.get_mut("product-offers.v1").expect("there are some");
    let record = *copies.keys().next().expect("there are some");
    copies.remove(&record);
    assert_eq!(other.differs_from(undisturbed).len(), 1);
}
