//! The rows of serving tables, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::{Column as _, ConnectOptions as _, Row as _, SqliteConnection, ValueRef as _, sqlite};

/// The sorted rows of each table, without some columns.
pub type Tables = BTreeMap<String, Vec<String>>;

/// Of a sink, and of no run.
const NOT_ROWS: [&str; 2] = ["_sqlx_migrations", "sink_offsets"];

/// Everything in a database but positions; the columns in `but` are left out.
pub fn tables(path: &Path, but: &[&str]) -> Tables {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let options = sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("there");
        let names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
        let mut tables = Tables::new();
        for name in rows(&mut connection, names, &[]).await {
            if !NOT_ROWS.contains(&name.trim_end_matches('|')) {
                let name = name.trim_end_matches('|').to_owned();
                let mut found = rows(&mut connection, &format!("SELECT * FROM {name}"), but).await;
                found.sort_unstable();
                tables.insert(name, found);
            }
        }
        tables
    })
}

async fn rows(connection: &mut SqliteConnection, query: &str, but: &[&str]) -> Vec<String> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(connection).await.expect("a query");
    rows.iter().map(|row| shown(row, but)).collect()
}

fn shown(row: &sqlite::SqliteRow, but: &[&str]) -> String {
    let mut text = String::new();
    for column in row.columns().iter().filter(|column| !but.contains(&column.name())) {
        let at = column.ordinal();
        if !row.try_get_raw(at).expect("a column").is_null() {
            let integer = row.try_get::<i64, _>(at).map(|value| value.to_string());
            let value = integer.or_else(|_| row.try_get::<f64, _>(at).map(|value| value.to_string()));
            text += &value.or_else(|_| row.try_get::<String, _>(at)).expect("a value");
        }
        text.push('|');
    }
    text
}

/// Which tables differ, and in what; nothing where they are equal.
pub fn differences(found: &Tables, expected: &Tables) -> Vec<String> {
    let none = Vec::new();
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let compared = names.into_iter().filter_map(|name| {
        let (found, expected) = (found.get(name).unwrap_or(&none), expected.get(name).unwrap_or(&none));
        let parts = found.iter().zip(expected).find(|(found, expected)| found != expected);
        let sizes = format!("{name}: {} rows for {}", found.len(), expected.len());
        (found != expected).then(|| format!("{sizes}; first {parts:?}"))
    });
    compared.collect()
}
