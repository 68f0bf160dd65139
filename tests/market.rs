//! A simulated market through every station, killed again and again. `cargo xtask kill --market` is the long version.

mod common;

use skuflow::demo::Market;
use skuflow_runtime::broker::OwnedRecord;

use common::Project;
use common::recomputed::{self, Output, differences};
use common::topics::{logs, partings};

const MARKET: Market = Market { seed: 7, products: 30, days: 30 };
const KILLS: u32 = 8;

#[test]
fn features_and_alerts_of_a_killed_run_are_what_its_committed_inputs_make() {
    let project = Project::market(MARKET);
    let seed = 5;
    assert!(project.run_and_kill(KILLS, seed) > 0, "it was at work");
    let last = project.run_once();
    let (differences, compared) = differences(project.data.path());
    assert_eq!(differences, Vec::<String>::new(), "seed {seed}; last run: {last}");
    assert!(compared > 5_000, "{compared} records");
    recomputed::each(project.data.path(), &mut is_noticed);
}

/// The control: whatever happens to a record, it shows.
fn is_noticed(output: &Output) {
    let check = |tamper: &dyn Fn(&mut Vec<OwnedRecord>, usize)| {
        for at in [0, output.found.len() / 2, output.found.len() - 2] {
            let mut found = output.found.clone();
            tamper(&mut found, at);
            let difference = Output { found, recomputed: output.recomputed.clone(), ..*output }.difference();
            assert!(difference.is_some_and(|shown| shown.contains(&format!("number {at} "))), "{at}");
        }
    };
    check(&|found, at| drop(found.remove(at)));
    check(&|found, at| found.swap(at, at + 1));
    check(&|found, at| found[at].key = None);
    check(&|found, at| found[at].headers.push(("more".into(), Vec::new())));
    check(&|found, at| *found[at].value.as_mut().expect("no row of a table").last_mut().expect("an event") ^= 1);
    let mut found = output.found.clone();
    found.extend(output.found.last().cloned());
    let once_more = Output { found, recomputed: output.recomputed.clone(), ..*output };
    assert!(once_more.difference().is_some());
}

/// With one partition every stage takes what it reads in one order, so that every topic is the same, record by record. With
/// more, the copies for a product come from several tasks of stage `clean`; how they take turns is left to chance.
#[test]
fn of_one_partition_a_killed_run_leaves_the_logs_of_an_undisturbed_one() {
    let [project, undisturbed] = [(); 2].map(|()| Project::market(MARKET));
    for project in [&project, &undisturbed] {
        project.edit("partitions = 4", "partitions = 1");
    }
    let seed = 6;
    assert!(project.run_and_kill(KILLS, seed) > 0, "it was at work");
    let last = project.run_once();
    undisturbed.run_once();
    let expected = logs(undisturbed.data.path());
    assert!(["features.v1", "alerts.v1"].iter().all(|topic| expected[&((*topic).into(), 0)].len() > 500));
    let found = logs(project.data.path());
    assert_eq!(partings(&found, &expected), Vec::<String>::new(), "seed {seed}; last run: {last}");
}
