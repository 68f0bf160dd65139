//! What is compared and built again where the log has lost its beginning, with a lake that has it and without.

use skuflow_runtime::clock::Clock;

use super::*;
use crate::lake::{self, Lake, Table};
use crate::serving::{Lakes, Rebuilt, Verified, rebuild, verify};

fn verified(path: &Path, broker: &Memory, lakes: &Lakes) -> Verified {
    wait(verify(&Place::Sqlite(path.into()), broker, lakes)).expect("both are there")
}

fn rebuilt(path: &Path, broker: &Memory, lakes: &Lakes) -> Rebuilt {
    let sinks = [("tables".to_owned(), vec!["sales.v1".into()])].into();
    wait(rebuild(&Place::Sqlite(path.into()), &sinks, broker, lakes)).expect("nothing is in the way")
}

fn lose(broker: &Memory, before: u64) {
    broker.drop_before(&TopicPartition::new("sales.v1", 0), before).expect("exists");
}

/// A lake in a folder, which has landed what there is.
fn lakes(broker: &Memory, folder: &Path) -> Lakes {
    let (place, table) = (lake::Place::folder(folder), Table::of_topic("sales.v1").expect("a table"));
    let mut lake = Lake::new("lake", place.clone(), table, Clock::System);
    wait(consumer(broker, "lake").run(&mut lake)).expect("lands");
    [("sales.v1".into(), (place, table))].into()
}

/// Rows of what is lost are no differences, and sums are not compared; what can be, is.
#[test]
fn tables_are_compared_as_far_as_the_log_goes_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let (broker, none) = (broker(), Lakes::new());
    consume(&broker, &path).0.expect("lands");
    let whole = verified(&path, &broker, &none);
    assert_eq!((whole.rows, whole.missing.len(), whole.differences), (4, 0, Vec::new()), "three lines and their sum");
    lose(&broker, 2);
    let rest = verified(&path, &broker, &none);
    assert_eq!((rest.missing, rest.differences), (vec!["0..2 of sales.v1/0".to_owned()], Vec::new()));
    // A sum cannot be compared, a line that is lost neither; the one that is left can.
    execute(&path, "UPDATE sales_daily SET units = 17; UPDATE sale_lines SET units = 18 WHERE line_id = '1'");
    assert_eq!(verified(&path, &broker, &none).differences, []);
    execute(&path, "UPDATE sale_lines SET units = 19 WHERE line_id = '3'");
    let differences = verified(&path, &broker, &none).differences;
    assert!(matches!(&differences[..], [one] if one.difference.contains("19")), "{differences:?}");
}

#[test]
fn what_the_log_has_lost_is_read_from_a_lake() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let broker = broker();
    consume(&broker, &path).0.expect("lands");
    let lakes = lakes(&broker, &dir.path().join("lake"));
    publish(&broker);
    consume(&broker, &path).0.expect("lands");
    lose(&broker, 2);
    let had = ["0..2 of sales.v1/0"]; // no more than the log has lost
    let whole = verified(&path, &broker, &lakes);
    assert_eq!((whole.rows, whole.differences), (4, Vec::new()));
    assert_eq!((&whole.restored[..], &whole.missing[..]), (&had.map(str::to_owned)[..], &[][..]));
    execute(&path, "UPDATE sales_daily SET units = 17; UPDATE sale_lines SET units = 18 WHERE line_id = '1'");
    assert_eq!(verified(&path, &broker, &lakes).differences.len(), 2, "a sum, and a line that only the lake has");
    let anew = rebuilt(&path, &broker, &lakes);
    assert_eq!((&anew.restored[..], &anew.missing[..]), (&had.map(str::to_owned)[..], &[][..]));
    assert_eq!(verified(&path, &broker, &lakes).differences, []);
    assert_eq!(query(&path, DAILY), ["A 3 3 0 4500000 3"]);
    assert_eq!(consume(&broker, &path), (Ok(()), 0), "the sink goes on from where it was");
}

/// Between what the lake has landed and what the log still has is a gap; without a lake all before it is gone.
#[test]
fn what_neither_has_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let broker = broker();
    lose(&broker, 1);
    let lakes = lakes(&broker, &dir.path().join("lake"));
    publish(&broker);
    lose(&broker, 5);
    let anew = rebuilt(&path, &broker, &lakes);
    assert_eq!(anew.restored, ["1..3 of sales.v1/0"]);
    assert_eq!(anew.missing, ["0..1 of sales.v1/0", "3..5 of sales.v1/0"]);
    let lines = "SELECT line_id FROM sale_lines ORDER BY line_id";
    assert_eq!(query(&path, lines), ["2", "3"]);
    let path = dir.path().join("another.db");
    assert_eq!(rebuilt(&path, &broker, &Lakes::new()).missing, ["0..5 of sales.v1/0"]);
    assert_eq!(query(&path, lines), ["3"]);
    // Where the log has nothing left at all, the sink goes on at its end.
    lose(&broker, 6);
    for (name, lakes, missing) in [("lake.db", &lakes, ["3..6", "0..1"]), ("none.db", &Lakes::new(), ["0..6", "0..6"])]
    {
        let path = dir.path().join(name);
        let anew = rebuilt(&path, &broker, lakes);
        assert!(
            missing.iter().all(|part| anew.missing.contains(&format!("{part} of sales.v1/0"))),
            "{:?}",
            anew.missing
        );
        assert_eq!(consume(&broker, &path), (Ok(()), 0), "{name}");
    }
}

/// Who lands while the schemas change names, lands in the old tables, all of it; nothing of it comes to the new ones.
#[test]
fn a_swap_waits_for_a_landing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let Some((place, (server, _))) = twin::in_postgres(&path).zip(twin::server()) else { return };
    let (broker, schema) = (broker(), twin::schema(&path));
    wait(consumer(&broker, "tables").run(&mut Serving::new("tables", place.clone()))).expect("lands");
    let sinks = [("tables".to_owned(), vec!["sales.v1".into()])].into();
    let landing = format!(
        "SET search_path = {schema}; BEGIN; UPDATE sink_offsets SET sink = sink; SELECT pg_sleep(3); \
         INSERT INTO sellers VALUES ('c', 's', 'm', 'seller', 1, now(), now()); COMMIT"
    );
    std::thread::scope(|scope| {
        let landing = scope.spawn(|| server.run("serving", &landing));
        let sleeps =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%pg_sleep(3)%'";
        while server.run("serving", sleeps).trim() == "0" {
            assert!(!landing.is_finished(), "it sleeps first");
        }
        wait(rebuild(&place, &sinks, &broker, &Lakes::new())).expect("swaps");
        landing.join().expect("lands");
    });
    let sellers = |schema: &str| server.run("serving", &format!("SELECT count(*) FROM {schema}.sellers"));
    assert_eq!(
        [sellers(&schema), sellers(&format!("{schema}_before"))].map(|count| count.trim().to_owned()),
        ["0", "1"]
    );
}

#[test]
fn a_file_that_somebody_has_open_is_not_swapped() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let (broker, sinks) = (broker(), [("tables".to_owned(), vec!["sales.v1".into()])].into());
    consume(&broker, &path).0.expect("lands");
    let mut other = in_sqlite(&path);
    let topics = broker.topics().expect("there");
    wait(other.positions(&Identity::of(&broker, &topics).expect("known"))).expect("opens");
    let refused = wait(rebuild(&Place::Sqlite(path.clone()), &sinks, &broker, &Lakes::new()));
    assert!(matches!(&refused, Err(SinkError::Retry(reason)) if reason.contains("stop the run")), "{refused:?}");
    assert_eq!(query(&path, DAILY), ["A 3 3 0 4500000 3"], "it is as it was");
}
