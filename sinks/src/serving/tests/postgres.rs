//! What only Postgres has: partitions, rights, a server that says no.

use std::time::Duration;

use skuflow_runtime::testing::postgres::USER;

use super::twin::{Twin, in_postgres, schema, server};
use super::*;
use crate::serving::{Server, examine};

fn in_schema(path: &Path) -> Option<(Serving, Server)> {
    let Some(Place::Postgres(server)) = in_postgres(path) else { return None };
    Some((Serving::new("tables", Place::Postgres(server.clone())), server))
}

fn say(statement: &str) -> String {
    server().map(|(postgres, _)| postgres.run("serving", statement)).unwrap_or_default()
}

/// Prices of three months, a year and a day that nobody lives to see, and one that no timestamp has.
#[test]
fn histories_are_in_partitions_by_month() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("serving.db");
    let mut twin = Twin::new(&path);
    twin.positions(&identity("c")).expect("opens");
    let day = 86_400;
    let year_0 = -719_500 * day;
    let events = [1, 2, 40 * day, 41 * day, 400 * day, 4_000_000 * day, year_0].map(|second| {
        let mut event = offer(100, second);
        event.envelope_mut().expect("an offer").event_id = EventId((second as u128).to_be_bytes());
        event
    });
    twin.land(&batch("offers.v1", None, events.into())).expect("lands");
    if server().is_none() {
        return;
    }
    let schema = schema(&path);
    let months = say(&format!(
        "SELECT c.relname || ' ' || count(*) FROM {schema}.price_history p JOIN pg_class c ON c.oid = p.tableoid \
         GROUP BY c.relname ORDER BY 1"
    ));
    let expected =
        ["price_history_1970_01 2", "price_history_1970_02 2", "price_history_1971_02 1", "price_history_other 2"];
    assert_eq!(months.lines().collect::<Vec<_>>(), expected);
    // What is made in the owner's name is found in the owner's schema, and never among a caller's temporary tables.
    let config = say(&format!("SELECT proconfig FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace"));
    assert!(config.contains(&format!("{schema}, pg_temp")), "{config}");
    let plan = say(&format!(
        "SET search_path = {schema}; EXPLAIN SELECT * FROM price_history WHERE customer = 'demo' AND source = 'shop' AND \
         marketplace = 'uk' AND native_id = 'L' AND observed_at >= '1970-02-01' AND observed_at < '1970-03-01'"
    ));
    assert!(plan.contains("price_history_1970_02") && !plan.contains("1970_01") && !plan.contains("1971"), "{plan}");
}

/// A text that Postgres does not take: the rest of its batch lands, and it is known which one it was.
#[test]
fn a_row_that_is_refused_is_found() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some((mut serving, _)) = in_schema(&dir.path().join("serving.db")) else { return };
    wait(serving.positions(&identity("c"))).expect("opens");
    let mut events: Vec<Event> = (0..100).map(|number| sale(&number.to_string(), "A", 1, number)).collect();
    for (number, line) in [(17, "nul\0"), (60, &*"x".repeat(9_000)), (99, "\0")] {
        // Long, and too various to be made short.
        let line: String =
            line.chars().enumerate().map(|(at, c)| if c == 'x' { random_letter(at) } else { c }).collect();
        events[number] = sale(&line, "A", 1, 1);
    }
    let refused = wait(serving.land(&batch("sales.v1", None, events)));
    let Err(SinkError::Refused(refusals)) = refused else { panic!("{refused:?}") };
    let mut found: Vec<_> = refusals.iter().map(|refusal| refusal.offset).collect();
    found.sort_unstable();
    assert_eq!(found, [17, 60, 99], "{refusals:?}");
    assert!(refusals.iter().any(|refusal| refusal.reason.contains("0x00")), "{refusals:?}");
}

fn random_letter(at: usize) -> char {
    let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    char::from(b'!' + ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u8 % 90)
}

/// Where every row is refused, the tables are at fault and not the rows.
#[test]
fn tables_that_refuse_all_rows_are_changed_ones() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some((mut serving, server)) = in_schema(&dir.path().join("serving.db")) else { return };
    wait(serving.positions(&identity("c"))).expect("opens");
    let schema = server.schema;
    say(&format!("ALTER TABLE {schema}.sale_lines ADD CONSTRAINT no CHECK (units > 1000)"));
    let events = (0..300).map(|number| sale(&number.to_string(), "A", 1, number)).collect();
    let reason = refusal(wait(serving.land(&batch("sales.v1", None, events))));
    assert!(reason.contains("somebody changed them"), "{reason}");
}

fn examined(server: &Server) -> String {
    match wait(examine(server)) {
        Ok(said) => said,
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_wrong_is_said_before_and_when_it_opens() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some((mut serving, good)) = in_schema(&dir.path().join("serving.db")) else { return };
    assert!(examined(&good).ends_with("answers; its tables can be made"), "{}", examined(&good));
    wait(serving.positions(&identity("c"))).expect("opens");
    assert!(examined(&good).ends_with("answers; its tables are of version 4"), "{}", examined(&good));
    let with = |change: &dyn Fn(&mut reqwest::Url)| {
        let mut bad = good.clone();
        change(&mut bad.url);
        bad
    };
    let schema = good.schema.clone();
    say("CREATE ROLE stranger LOGIN PASSWORD 'strange'");
    let check = |bad: &Server, part: &str| {
        let at_start = match wait(Serving::new("tables", Place::Postgres(bad.clone())).positions(&identity("c"))) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{bad} opens"),
        };
        for said in [examined(bad), at_start] {
            assert!(said.contains(part) && !said.contains("correct-horse"), "{part}: {said}");
        }
    };
    check(&with(&|url| url.set_password(Some("wrong")).expect("a url")), "correct user and password");
    check(&with(&|url| url.set_path("/nowhere")), "make the database (`createdb`)");
    check(&with(&|url| url.set_port(Some(1)).expect("a url")), "refused");
    let stranger = with(&|url| {
        url.set_username("stranger").expect("a url");
        url.set_password(Some("strange")).expect("a url");
    });
    check(&stranger, "permission denied");
    for change in [
        format!("ALTER TABLE {schema}.alerts ADD COLUMN mine TEXT"),
        format!("ALTER TABLE {schema}.alerts DROP COLUMN mine; DROP TABLE {schema}.alerts CASCADE"),
    ] {
        say(&change);
        assert!(examined(&good).contains("somebody changed it"), "{}", examined(&good));
        let reason = refusal(wait(Serving::new("tables", Place::Postgres(good.clone())).positions(&identity("c"))));
        assert!(reason.contains("somebody changed it"), "{reason}");
    }
}

/// Who may only write, writes; partitions are made in the owner's name.
#[test]
fn a_writer_needs_no_more_than_its_rights() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some((mut owner, server)) = in_schema(&dir.path().join("serving.db")) else { return };
    wait(owner.positions(&identity("c"))).expect("opens");
    say("CREATE ROLE writes LOGIN PASSWORD 'only'");
    for statement in crate::serving::grants(&server.schema, USER, Some("writes"), None) {
        say(&statement);
    }
    let mut writer = server.clone();
    writer.url.set_username("writes").expect("a url");
    writer.url.set_password(Some("only")).expect("a url");
    let mut serving = Serving::new("tables", Place::Postgres(writer));
    wait(serving.positions(&identity("c"))).expect("opens");
    let events = vec![offer(100, 1), sale("1", "A", 1, 2), offer(200, 90 * 86_400)];
    wait(serving.land(&batch("offers.v1", None, events))).expect("lands");
    let schema = &server.schema;
    // The block ends well only where Postgres says that this is not a right of the writer's.
    let refused = |statement: String| {
        say(&format!(
            "DO $$ BEGIN SET ROLE writes; {statement}; RAISE division_by_zero; EXCEPTION WHEN insufficient_privilege THEN \
             RESET ROLE; END $$"
        ));
    };
    refused(format!("DROP TABLE {schema}.alerts"));
    refused(format!("ALTER TABLE {schema}.alerts ADD COLUMN mine TEXT"));
    assert_eq!(say(&format!("SELECT count(*) FROM {schema}.alerts")).trim(), "0", "it is still there");
}

/// Tables built beside and swapped for those that a sink is writing to: it goes on in the new ones, also when the old are gone.
#[test]
fn tables_are_swapped_under_an_open_connection() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some((mut serving, server)) = in_schema(&dir.path().join("serving.db")) else { return };
    let schema = &server.schema;
    let first = || batch("sales.v1", None, vec![sale("1", "A", 1, 1)]);
    let beside = Server { schema: format!("{schema}_anew"), ..server.clone() };
    for serving in [&mut serving, &mut Serving::new("tables", Place::Postgres(beside))] {
        wait(serving.positions(&identity("c"))).expect("opens");
        wait(serving.land(&first())).expect("lands");
    }
    say(&format!("ALTER SCHEMA {schema} RENAME TO {schema}_before; ALTER SCHEMA {schema}_anew RENAME TO {schema}"));
    wait(serving.land(&batch("sales.v1", Some(1), vec![sale("2", "A", 1, 2)]))).expect("lands in the new ones");
    let renamed = examined(&server);
    let (_, remedy) = renamed.split_once("as its owner: ").unwrap_or_else(|| panic!("{renamed}"));
    say(&format!("DROP SCHEMA {schema}_before CASCADE; {remedy}"));
    let next = batch("sales.v1", Some(2), vec![sale("3", "A", 1, 3)]);
    let gone = wait(serving.land(&next));
    assert!(matches!(gone, Err(SinkError::Retry(_))), "the types of the old rows are gone: {gone:?}");
    wait(serving.land(&next)).expect("lands on a new connection");
    assert_eq!(say(&format!("SELECT count(*) FROM {schema}.sale_lines")).trim(), "3");
}

/// A server that takes long for each row, and is given no time for many.
#[test]
fn a_batch_that_takes_too_long_is_told_from_one_that_fails() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some((mut serving, server)) = in_schema(&dir.path().join("serving.db")) else { return };
    wait(serving.positions(&identity("c"))).expect("opens");
    let schema = &server.schema;
    say(&format!(
        "CREATE FUNCTION {schema}.rest() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN new; END $$; \
         CREATE TRIGGER rest BEFORE INSERT ON {schema}.sale_lines FOR EACH ROW EXECUTE FUNCTION {schema}.rest()"
    ));
    let hasty = Server { statement_timeout: Duration::from_secs(1), ..server };
    let mut serving = Serving::new("tables", Place::Postgres(hasty));
    wait(serving.positions(&identity("c"))).expect("opens");
    let events = |count: i64| (0..count).map(|line| sale(&line.to_string(), "A", 1, line)).collect();
    let long = wait(serving.land(&batch("sales.v1", None, events(200))));
    assert!(matches!(long, Err(SinkError::TooLong(_))), "{long:?}");
    wait(serving.land(&batch("sales.v1", None, events(5)))).expect("a smaller one lands");
}
