//! The serving tables again, by SQL alone, from what `tap` shows of the topics.

use serde_json::Value;
use sqlx::{ConnectOptions as _, Executor as _, SqliteConnection};

use crate::common::Project;

const TOPICS: [&str; 8] = [
    "catalog.v1",
    "listings.v1",
    "offers.v1",
    "sales.v1",
    "inventory.v1",
    "product-offers.v1",
    "alerts.v1",
    "quality.v1",
];

/// Each table that is not what the events make of it, and in how many rows.
pub fn differences(project: &Project) -> Vec<String> {
    wait(async {
        let mut connection = opened(project).await;
        connection.execute("CREATE TABLE log (topic, partition, offset, key, value)").await.expect("new");
        for topic in TOPICS.iter().filter(|topic| project.read("pipelines.toml").contains(&format!("\"{topic}\""))) {
            let lines: Vec<Value> = project.tap(topic);
            let insert = "INSERT INTO log SELECT ?1, value ->> 'partition', value ->> 'offset', value ->> 'key', value -> 'value' \
                FROM json_each(?2)";
            let lines = serde_json::to_string(&lines).expect("JSON");
            sqlx::query(insert).bind(*topic).bind(lines).execute(&mut connection).await.expect("inserts");
        }
        connection.execute("UPDATE log SET value = NULL WHERE value = 'null'").await.expect("tombstones");
        connection.execute(sqlx::AssertSqlSafe(translated(include_str!("views.sql")))).await.expect("views");
        let mut differences = Vec::new();
        let mut rows = 0;
        let text = translated(include_str!("recomputed.sql"));
        for part in text.split("\n-- table ").skip(1) {
            let (table, select) = part.split_once('\n').expect("a name and a statement");
            let select = select.trim().trim_end_matches(';');
            let columns = "SELECT group_concat(CASE name WHEN 'evidence' THEN 'NULL' ELSE name END) FROM pragma_table_info(?1, \
                'made')";
            let columns: String =
                sqlx::query_scalar(columns).bind(table).fetch_one(&mut connection).await.expect("known");
            let made = format!("SELECT {columns} FROM made.{table}");
            let mut counts = Vec::new();
            for query in [
                format!("SELECT count(*) FROM ({select} EXCEPT {made})"),
                format!("SELECT count(*) FROM ({made} EXCEPT SELECT * FROM ({select}))"),
                format!("SELECT count(*) FROM ({made})"),
            ] {
                let count = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&mut connection).await;
                counts.push(count.unwrap_or_else(|error| panic!("{table}: {error}")));
            }
            let [missing, other, all]: [i64; 3] = counts.try_into().expect("three");
            rows += all;
            if missing + other > 0 {
                differences.push(format!("{table}: {missing} rows are missing, {other} of {all} are others"));
            }
        }
        assert!(rows > 50, "{rows} rows are compared");
        differences
    })
}

/// Changes the tables by hand.
pub fn change(project: &Project, statement: &'static str) {
    wait(async { opened(project).await.execute(statement).await.map(|_| ()).expect("changed") });
}

async fn opened(project: &Project) -> SqliteConnection {
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().connect().await.expect("in memory");
    let tables = project.data.path().join("serving.db").display().to_string();
    sqlx::query("ATTACH ?1 AS made").bind(tables).execute(&mut connection).await.expect("there");
    connection
}

/// `micros(field)` is an amount of money in millionths, `micros_of(field)` an instant in microseconds since 1970.
fn translated(text: &str) -> String {
    let mut text = text.to_owned();
    for (word, meaning) in [
        (
            "micros_of(",
            "(unixepoch(value ->> 'F') * 1000000 + CAST(substr(rtrim(substr(value ->> 'F', 21), 'Z') || '000000', 1, 6) AS INTEGER))",
        ),
        (
            "micros(",
            "((e ->> '$.F.minor') * CASE e ->> '$.F.exponent' WHEN 0 THEN 1000000 WHEN 2 THEN 10000 WHEN 3 THEN 1000 END)",
        ),
    ] {
        while let Some(at) = text.find(word) {
            let rest = &text[at + word.len()..];
            let (field, behind) = rest.split_once(')').expect("a closing bracket");
            text = [&text[..at], &meaning.replace('F', field), behind].concat();
        }
    }
    text
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    event_loop.expect("an event loop").block_on(work)
}
