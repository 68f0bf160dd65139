//! The same of every catalog: a file of `SQLite`, a database of Postgres, a REST catalog; and what befalls each.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use iceberg::spec::SnapshotRef;
use reqwest::Url;
use serde_json::{Value, json};
use skuflow_runtime::testing::lake_readers;
use skuflow_runtime::testing::postgres::{Postgres, postgres};
use skuflow_sinks::lake::{Address, CATALOG_NAME, CatalogConfig, Hook, Login, Place, Rest, Root, Step, TABLES, Table};
use skuflow_sinks::{Landed, Sink as _, SinkError};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use super::crashes::{SIGABRT, crash_at};
use super::reached::properties;
use super::server::{CREDENTIAL, Fault, Faults, Server};
use super::upkeep::{DAY, MUCH_LATER, is_clean, upkeep};
use super::world::{
    SMALL, batch, broker, identity, lake, land, path_of, pending, pointer, publish, ready, records, rows, table_files,
    wait,
};

/// An empty lake.
struct Lake {
    kind: &'static str,
    place: Place,
    dir: TempDir,
}

fn lake_with(kind: &'static str, catalog: impl FnOnce(&Path) -> Address) -> Lake {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("lake");
    Lake { kind, place: Place { catalog: catalog(&folder), root: Root::Folder(folder) }, dir }
}

fn of_postgres(server: &Postgres) -> Address {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("lake{}", COUNT.fetch_add(1, Ordering::Relaxed));
    Address::Postgres(Url::parse(&server.database(&name)).expect("a URL"), CATALOG_NAME.into())
}

fn of_rest(server: &Server) -> Address {
    Address::Rest(Rest { url: server.url.clone(), warehouse: None, entry: None })
}

/// One with each catalog there is.
fn lakes() -> Vec<Lake> {
    let sqlite = lake_with("sqlite", Address::beside);
    let rest = lake_with("rest", |folder| of_rest(&Server::start(folder, None, None)));
    let postgres = postgres().map(|server| lake_with("postgres", |_| of_postgres(server)));
    [sqlite, rest].into_iter().chain(postgres).collect()
}

/// Calls `then` the first time that a landing is at `step`, on a thread of its own.
fn once(step: Step, then: impl FnOnce() -> io::Result<()> + Send + 'static) -> Hook {
    let mut then = Some(then);
    Box::new(move |at| match then.take_if(|_| at == step) {
        Some(then) => std::thread::scope(|scope| scope.spawn(then).join().expect("no panic")),
        None => Ok(()),
    })
}

#[test]
fn rows_are_those_of_the_topic_in_every_catalog() {
    for Lake { kind, place, .. } in lakes() {
        let broker = broker(100);
        for table in &TABLES {
            assert_eq!(land(&broker, &place, table, SMALL, None).records(), 100, "{kind}");
        }
        publish(&broker, &TABLES[1], 100..120);
        assert_eq!(land(&broker, &place, &TABLES[1], SMALL, None).records(), 20, "{kind}: it goes on where it ended");
        for table in &TABLES {
            assert_eq!(rows(&place, table), records(&broker, table), "{kind}: {}", table.full_name);
        }
        assert!(pending(&place).is_empty(), "{kind}: nothing is on its way");
    }
}

#[test]
fn a_failure_or_a_lost_answer_at_any_step_leaves_each_row_once() {
    let (broker, table) = (broker(60), &TABLES[0]);
    for step in Step::ALL {
        for Lake { kind, place, .. } in lakes() {
            let hook = once(step, || Err(io::ErrorKind::TimedOut.into()));
            let progress = land(&broker, &place, table, SMALL, Some(hook));
            assert_eq!(rows(&place, table), records(&broker, table), "{kind}, {step:?}");
            assert!(step != Step::Swapped || progress.records() == 60, "{kind}: what landed is counted");
        }
    }
}

/// A writer at `step` while another lands everything: the rows are there once, and the slower one notices.
#[test]
fn of_two_writers_one_lands_in_every_catalog() {
    let (broker, table) = (broker(30), &TABLES[1]);
    for step in [Step::Linked, Step::Listed, Step::Described] {
        for Lake { kind, place, .. } in lakes() {
            let (other, there) = (broker.clone(), place.clone());
            let hook = once(step, move || {
                land(&other, &there, &TABLES[1], SMALL, None);
                Ok(())
            });
            let mut slow = ready(&broker, lake(&place, table, Some(hook)));
            let landed = wait(slow.land(&batch(&broker, table, 0, (None, 5)))).expect("had landed");
            assert_eq!(landed, Landed::default(), "{kind}, {step:?}");
            assert_eq!(rows(&place, table), records(&broker, table), "{kind}, {step:?}");
        }
    }
}

/// The other landed less than the whole batch, so its rows are neither all there nor all missing.
#[test]
fn a_batch_whose_beginning_has_landed_is_fenced_in_every_catalog() {
    let (broker, table) = (broker(60), &TABLES[2]);
    for step in [Step::Linked, Step::Described] {
        for Lake { kind, place, .. } in lakes() {
            let (other, there) = (broker.clone(), place.clone());
            let hook = once(step, move || {
                let mut faster = ready(&other, lake(&there, &TABLES[2], None));
                wait(faster.land(&batch(&other, &TABLES[2], 0, (None, 4)))).expect("lands");
                Ok(())
            });
            let mut slow = ready(&broker, lake(&place, table, Some(hook)));
            let fenced = wait(slow.land(&batch(&broker, table, 0, (None, 9)))).expect_err("somebody else landed here");
            assert!(matches!(&fenced, SinkError::Fenced(reason) if reason.contains("Some(4)")), "{kind}: {fenced}");
            assert_eq!(rows(&place, table), records(&broker, table)[..4], "{kind}");
            land(&broker, &place, table, SMALL, None);
            assert_eq!(rows(&place, table), records(&broker, table), "{kind}");
        }
    }
}

const FOLDER: &str = "SKUFLOW_TEST_CATALOG_LAKE";
const URL: &str = "SKUFLOW_TEST_CATALOG";
const CRASH: &str = "SKUFLOW_TEST_CATALOG_CRASH";

/// Not a test by itself: what the child runs, until it comes to a step for the second time.
#[test]
fn child_lands_in_a_catalog_until_it_crashes() {
    let (Ok(folder), Ok(url), Ok(name)) = (std::env::var(FOLDER), std::env::var(URL), std::env::var(CRASH)) else {
        return;
    };
    let config: CatalogConfig = serde_json::from_value(json!({ "url": url })).expect("a catalog");
    let folder = Path::new(&folder);
    let place = Place { catalog: config.address(folder).expect("a catalog"), root: Root::Folder(folder.into()) };
    land(&broker(100), &place, &TABLES[0], SMALL, Some(crash_at(&format!("{name}:2"))));
}

#[test]
fn crashed_at_any_step_the_rows_are_those_of_the_topic_in_every_catalog() {
    let (broker, table) = (broker(100), &TABLES[0]);
    for step in Step::ALL {
        for Lake { kind, place, .. } in lakes() {
            let url = match &place.catalog {
                Address::Sqlite(path, _) => format!("sqlite:{}", path.display()),
                Address::Postgres(url, _) => url.to_string(),
                Address::Rest(rest) => rest.url.to_string(),
            };
            drop(ready(&broker, lake(&place, table, None)));
            let mut before = 0;
            for time in 1..=2 {
                let child = Command::new(std::env::current_exe().expect("this test"))
                    .args(["catalogs::child_lands_in_a_catalog_until_it_crashes", "--exact", "--nocapture"])
                    .env(FOLDER, place.to_string())
                    .env(URL, &url)
                    .env(CRASH, format!("{step:?}"))
                    .stdout(Stdio::null())
                    .status();
                let signal = child.expect("starts").signal();
                assert_eq!(signal, Some(SIGABRT), "{kind}, {step:?}, time {time}: the child ended by itself");
                let found = rows(&place, table);
                assert!(found.len() >= before, "{kind}, {step:?}: nothing is gone");
                before = found.len();
            }
            land(&broker, &place, table, SMALL, None);
            assert_eq!(rows(&place, table), records(&broker, table), "{kind}, {step:?}");
        }
    }
}

/// What a Python script does with the catalog at `place`.
pub fn pyiceberg(python: &str, place: &Place, what: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lake/catalogs.py");
    let output = Command::new(python).arg(script).arg(properties(place).to_string()).args(what).output();
    let output = output.expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Another engine appends while we commit, and reads what is there.
#[test]
fn pyiceberg_commits_between_ours_and_reads_every_row() {
    let Some(python) = lake_readers() else { return };
    let (broker, table) = (broker(60), &TABLES[0]);
    for Lake { kind, place, .. } in lakes().into_iter().filter(|lake| lake.kind != "rest") {
        let mut ours = ready(&broker, lake(&place, table, None));
        wait(ours.land(&batch(&broker, table, 0, (None, 6)))).expect("lands");
        let (python, there) = (python.clone(), place.clone());
        let reader = python.clone();
        let hook = once(Step::Described, move || {
            pyiceberg(&python, &there, &["append", "processed.offers"]);
            Ok(())
        });
        land(&broker, &place, table, SMALL, Some(hook));
        assert_eq!(rows(&place, table), records(&broker, table), "{kind}");
        let (metadata, _) = table_files(&place, table).expect("made");
        let ours = |of: &SnapshotRef| of.summary().additional_properties.contains_key("skuflow.commit-id");
        let theirs = metadata.snapshots().filter(|snapshot| !ours(snapshot)).count();
        assert_eq!(theirs, 1, "{kind}: their commit is there");
        let found = pyiceberg(&reader, &place, &["read"]);
        assert_eq!(found["processed.offers"], json!(rows(&place, table)), "{kind}");
    }
}

#[test]
fn pyiceberg_reads_by_rest_what_is_there() {
    let Some(python) = lake_readers() else { return };
    let (broker, table) = (broker(60), &TABLES[3]);
    let mut server = None;
    let start = |folder: &Path| of_rest(server.insert(Server::start(folder, None, None)));
    let Lake { place, dir, .. } = lake_with("rest", start);
    land(&broker, &place, table, SMALL, None);
    let table_of_it = pointer(&place, table).expect("made");
    assert!(table_of_it.starts_with(&format!("file://{}", dir.path().display())), "{table_of_it}");
    // The server has no lists, which reading a table does not need.
    let (metadata, _) = table_files(&place, table).expect("made");
    assert!(metadata.snapshots().len() > 1);
    let script = "import json, sys\nfrom pyiceberg.catalog import load_catalog\n\
         rows = load_catalog('lake', type='rest', uri=sys.argv[1]).load_table('curated.features').scan().to_arrow()\n\
         print(rows.num_rows)";
    let output =
        Command::new(python).args(["-c", script, server.expect("started").url.as_str()]).output().expect("starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "60", "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a commit by REST is answered, once, and that each row is there once.
#[test]
fn whatever_a_rest_catalog_answers_each_row_lands_once() {
    let (broker, table) = (broker(60), &TABLES[0]);
    let answers = [
        Fault::Silent,
        Fault::Done(500),
        Fault::Done(502),
        Fault::Done(503),
        Fault::Refused(500),
        Fault::Refused(503),
        Fault::Refused(409),
        Fault::Refused(429),
        Fault::Refused(404),
    ];
    for answer in answers {
        let mut commits = 0;
        let faults: Faults = Box::new(move |method, path| {
            commits += u32::from(method == "POST" && path.ends_with("/tables/offers"));
            (method == "POST" && path.ends_with("/tables/offers") && commits == 2).then_some(answer)
        });
        let Lake { place, .. } = lake_with("rest", |folder| of_rest(&Server::start(folder, None, Some(faults))));
        land(&broker, &place, table, SMALL, None);
        assert_eq!(rows(&place, table), records(&broker, table), "{answer:?}");
    }
}

#[test]
fn a_rest_catalog_with_tokens_lets_in_who_may() {
    let (broker, table) = (broker(20), &TABLES[0]);
    let (id, secret) = CREDENTIAL.split_once(':').expect("both");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(dir.path(), Some("token-1"), None);
    let login = |secret: &str| Some(Login::Client { id: id.into(), secret: secret.into(), server: None, scope: None });
    let with = |entry| Address::Rest(Rest { url: server.url.clone(), warehouse: Some("w".into()), entry });
    let Lake { mut place, .. } = lake_with("rest", |_| with(login(secret)));
    let mut ours = ready(&broker, lake(&place, table, None));
    wait(ours.land(&batch(&broker, table, 0, (None, 5)))).expect("lands");
    server.forget_tokens();
    wait(ours.land(&batch(&broker, table, 1, (None, 5)))).expect("lands with a new token");
    assert_eq!(server.tokens_given(), 2);
    for (entry, ends) in [
        (login("another"), true),
        (Some(Login::Token("another".into())), true),
        (None, true),
        (Some(Login::Token("token-2".into())), false),
    ] {
        place.catalog = with(entry);
        match wait(lake(&place, table, None).positions(&identity(&broker))) {
            Ok(_) => assert!(!ends),
            Err(SinkError::Fatal(reason)) => {
                assert!(
                    ends && reason.contains("401 it is a NotAuthorizedException; correct the catalog's `credential`"),
                    "{reason}"
                );
                assert!(!reason.contains("another"), "{reason}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// The server goes away while it commits, and comes back: what was not committed is done again.
#[test]
fn postgres_that_dies_in_a_commit_leaves_each_row_once() {
    let Some(mut server) = Postgres::start() else { return };
    let (broker, table) = (broker(100), &TABLES[0]);
    let Lake { place, .. } = lake_with("postgres", |_| of_postgres(&server));
    let Address::Postgres(url, _) = &place.catalog else { panic!("it is one of Postgres") };
    let database = url.path().trim_start_matches('/').to_owned();
    drop(ready(&broker, lake(&place, table, None)));
    // Until it is started again, a commit does not end.
    server.run(
        &database,
        "CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF pg_postmaster_start_time() = (SELECT at FROM started) THEN PERFORM pg_sleep(9); END IF; RETURN NULL;
         END $$; CREATE TABLE started AS SELECT pg_postmaster_start_time() AS at;
         CREATE CONSTRAINT TRIGGER stay AFTER UPDATE ON iceberg_tables DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION stay()",
    );
    std::thread::scope(|scope| {
        let landing = scope.spawn(|| land(&broker, &place, table, SMALL, None).records());
        let committing = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'";
        let until = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while server.run(&database, committing).trim() != "1" {
            assert!(std::time::Instant::now() < until && !landing.is_finished(), "it commits");
        }
        server.kill();
        server.start_again();
        assert_eq!(landing.join().expect("it lands"), 100);
    });
    assert_eq!(rows(&place, table), records(&broker, table));
    for step in [Step::Listed, Step::Described, Step::Swapped] {
        publish(&broker, table, 100..120);
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let hook = once(step, move || {
            sender.send(()).map_err(io::Error::other)?;
            is_done.recv().map_err(io::Error::other)
        });
        std::thread::scope(|scope| {
            let landing = scope.spawn(|| land(&broker, &place, table, SMALL, Some(hook)).records());
            receiver.recv().expect("it comes to the step");
            server.kill();
            server.start_again();
            done.send(()).expect("it waits");
            landing.join().expect("it lands");
        });
        assert_eq!(rows(&place, table), records(&broker, table), "{step:?}");
    }
}

/// Takes the table away, as another engine would, files included.
fn drop_table(folder: &Path, table: &Table) {
    let Address::Sqlite(path, _) = Address::beside(folder) else { panic!("it is one of SQLite") };
    wait(async {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(std::time::Duration::from_secs(10));
        let mut connection = options.connect().await.expect("there");
        let delete = sqlx::query("DELETE FROM iceberg_tables WHERE table_name = $1").bind(table.name);
        assert_eq!(delete.execute(&mut connection).await.expect("done").rows_affected(), 1);
    });
    std::fs::remove_dir_all(folder.join(table.folder)).expect("there");
}

/// A batch for the first would name files in the second that went with the first.
#[test]
fn what_was_meant_for_a_table_does_not_come_into_another_of_its_name() {
    let (broker, table) = (broker(60), &TABLES[0]);
    for step in [Step::Linked, Step::Listed, Step::Described] {
        let Lake { place, dir, .. } = lake_with("sqlite", Address::beside);
        let folder = dir.path().join("lake");
        let (other, there) = (broker.clone(), folder.clone());
        let hook = once(step, move || {
            drop_table(&there, &TABLES[0]);
            drop(ready(&other, lake(&there, &TABLES[0], None)));
            Ok(())
        });
        let mut slow = ready(&broker, lake(&place, table, Some(hook)));
        let fenced = wait(slow.land(&batch(&broker, table, 0, (None, 5)))).expect_err("its files are gone");
        let said = fenced.to_string();
        assert!(matches!(&fenced, SinkError::Fenced(_)) && said.contains("made anew"), "{step:?}: {said}");
        land(&broker, &place, table, SMALL, None);
        assert_eq!(rows(&place, table), records(&broker, table), "{step:?}");
    }
}

/// Where the first is, if it is anywhere, only its catalog knows, and lakes of several may have the same `path`.
#[test]
fn what_is_noted_of_a_table_is_not_removed_for_another_of_its_name() {
    let (broker, table) = (broker(60), &TABLES[0]);
    let Lake { place, dir, .. } = lake_with("sqlite", Address::beside);
    let dies = once(Step::Linked, || Err(io::ErrorKind::TimedOut.into()));
    let mut dies = ready(&broker, lake(&place, table, Some(dies)));
    wait(dies.land(&batch(&broker, table, 0, (None, 6)))).expect_err("it is to fail");
    let noted = pending(&place);
    assert!(noted.len() == 1 && noted[0].contains("table_id"), "{noted:?}");
    drop_table(&dir.path().join("lake"), table);
    land(&broker, &place, table, SMALL, None);
    for at in [MUCH_LATER, MUCH_LATER + DAY] {
        wait(upkeep(&place, table, at).gc()).expect("done");
    }
    assert_eq!(pending(&place), noted, "it is another's");
    assert_eq!(rows(&place, table), records(&broker, table));
    is_clean(&place, table);
}

/// The catalog's file may be in a folder that is not there, and where there cannot be one, that is said.
#[test]
fn a_catalog_gets_its_folder() {
    let (broker, table) = (broker(20), &TABLES[0]);
    let in_folder = |folder: &Path| Address::Sqlite(folder.join("not/yet/catalog.db"), CATALOG_NAME.into());
    let Lake { place, .. } = lake_with("sqlite", in_folder);
    land(&broker, &place, table, SMALL, None);
    assert_eq!(rows(&place, table), records(&broker, table));
    let Lake { place, dir, .. } =
        lake_with("sqlite", |folder| Address::Sqlite(folder.with_file_name("file/catalog.db"), CATALOG_NAME.into()));
    std::fs::write(dir.path().join("file"), "").expect("writable");
    let error = wait(lake(&place, table, None).positions(&identity(&broker))).expect_err("it is a file");
    assert!(matches!(&error, SinkError::Fatal(said) if said.contains("correct the catalog's `url`")), "{error}");
}

/// Waiting brings no file back.
#[test]
fn a_metadata_file_that_is_gone_is_said() {
    let (broker, table) = (broker(20), &TABLES[0]);
    for Lake { kind, place, .. } in lakes().into_iter().filter(|lake| lake.kind != "rest") {
        land(&broker, &place, table, SMALL, None);
        let pointer = pointer(&place, table).expect("made");
        std::fs::remove_file(path_of(&pointer)).expect("there");
        let error = wait(lake(&place, table, None).positions(&identity(&broker))).expect_err("it is gone");
        let said = error.to_string();
        let is_said = said.contains(&pointer) && said.contains("bring it back");
        assert!(matches!(error, SinkError::Fatal(_)) && is_said, "{kind}: {said}");
    }
}

/// What is wrong with the way to a catalog is said once, with what to do, and without the password.
#[test]
fn a_catalog_that_lets_nobody_in_says_why() {
    let (broker, table) = (broker(20), &TABLES[0]);
    let refused = |catalog: Address| {
        let Lake { place, .. } = lake_with("none", |_| catalog);
        wait(lake(&place, table, None).positions(&identity(&broker))).expect_err("there is none")
    };
    let check = |catalog: Address, is_fatal: bool, texts: &[&str]| {
        let error = refused(catalog);
        assert_eq!(matches!(error, SinkError::Fatal(_)), is_fatal, "{error}");
        let text = error.to_string();
        assert!(texts.iter().all(|part| text.contains(part)) && !text.contains("horse"), "{texts:?}: {text}");
    };
    let nobody = "127.0.0.1:1";
    let of = |url: &str| Address::Postgres(Url::parse(url).expect("a URL"), CATALOG_NAME.into());
    let rest = |url: &str| Address::Rest(Rest { url: Url::parse(url).expect("a URL"), warehouse: None, entry: None });
    check(of(&format!("postgres://me:horse@{nobody}/lake")), false, &["postgres://me@127.0.0.1:1/lake", "refused"]);
    check(rest(&format!("http://{nobody}/api")), false, &["http://127.0.0.1:1/api", "refused"]);
    let server = Server::start(Path::new("nowhere"), None, None);
    let elsewhere = server.url.as_str().replace("/api", "/elsewhere");
    check(rest(&elsewhere), true, &["404", "correct it"]);
    let Some(server) = postgres() else { return };
    let url = server.url("postgres");
    check(
        of(&url.replace("correct-horse", "wrong-horse")),
        true,
        &["password authentication failed", "correct user and password"],
    );
    check(of(&server.url("nowhere")), true, &["database \"nowhere\" does not exist", "createdb"]);
    let database = server.database("forbidden");
    server
        .run("forbidden", "CREATE ROLE guest LOGIN PASSWORD 'guest-horse'; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    check(
        of(&database.replace("skuflow:correct-horse", "guest:guest-horse")),
        true,
        &["permission denied", "GRANT CREATE"],
    );
}

/// Schemas and lineage, as SQL finds them.
#[test]
fn the_catalog_says_which_records_each_commit_took() {
    let (broker, table) = (broker(60), &TABLES[0]);
    let Some(server) = postgres() else { return };
    let Lake { place, .. } = lake_with("postgres", |_| of_postgres(server));
    land(&broker, &place, table, SMALL, None);
    let Address::Postgres(url, _) = &place.catalog else { panic!("it is one of Postgres") };
    let ask = |query: &str| server.run(url.path().trim_start_matches('/'), query);
    let lineage = ask("SELECT topic_partition, coalesce(from_offset, 0), to_offset FROM skuflow_lineage ORDER BY 1, 2");
    let mut ends = BTreeMap::new();
    for line in lineage.lines() {
        let [partition, from, to] =
            line.split('|').map(|n| n.parse::<i64>().expect("a number")).collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        assert_eq!(ends.insert(partition, to).unwrap_or(0), from, "each record by one commit: {lineage}");
    }
    assert_eq!(ends.values().sum::<i64>(), 60, "{lineage}");
    let (metadata, _) = table_files(&place, table).expect("made");
    let ids = ask("SELECT DISTINCT snapshot_id FROM skuflow_lineage");
    assert_eq!(ids.lines().count(), metadata.snapshots().len());
    assert!(metadata.snapshots().all(|snapshot| ids.contains(&snapshot.snapshot_id().to_string())));
    let columns =
        ask("SELECT column_name FROM skuflow_schemas WHERE table_name = 'offers' AND schema_id = 0 ORDER BY field_id");
    let schema = metadata.current_schema().as_struct().fields().iter().map(|field| field.name.clone());
    assert_eq!(columns.lines().map(str::to_owned).collect::<Vec<_>>(), schema.collect::<Vec<_>>());
}
