//! The rows of serving tables and views, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::{Column as _, ConnectOptions as _, Connection as _, Row as _, SqliteConnection, ValueRef as _, sqlite};

/// The sorted rows of each table and view.
pub type Tables = BTreeMap<String, Vec<String>>;

/// Which holds what is a sink's, and no run's.
pub const POSITIONS: &str = "sink_offsets";
const MIGRATIONS: &str = "_sqlx_migrations";

/// Everything in a database; the tables and columns in `but` are left out.
pub fn tables(path: &Path, but: &[&str]) -> Tables {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let options = sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.expect("there");
        let names = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name";
        let mut tables = Tables::new();
        for name in rows(&mut connection, names, &[]).await {
            let name = name.trim_end_matches('|').to_owned();
            if name != MIGRATIONS && !but.contains(&name.as_str()) {
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
            text += &plain(&value.or_else(|_| row.try_get::<String, _>(at)).expect("a value"));
        }
        text.push('|');
    }
    text
}

/// The same of a schema in Postgres, whose values are written as `SQLite` has them.
pub fn in_postgres(url: &str, schema: &str, but: &[&str]) -> Tables {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(url).await.expect("there");
        let refresh = sqlx::AssertSqlSafe(format!("SELECT {schema}.refresh_views()"));
        sqlx::query(refresh).execute(&mut connection).await.expect("its views");
        let columns = "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL) FROM pg_class c
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
             ORDER BY 1, a.attnum";
        let columns = sqlx::query(columns).bind(schema).fetch_all(&mut connection).await.expect("a query");
        let mut selects: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for column in &columns {
            let (table, name, kind): (String, String, String) = (column.get(0), column.get(1), column.get(2));
            let text = match kind.as_str() {
                "timestamp with time zone" => format!("(extract(epoch FROM {name}) * 1000000)::bigint::text"),
                "uuid" => format!("replace({name}::text, '-', '')"),
                _ => format!("{name}::text"),
            };
            if table != MIGRATIONS && ![&table, &name].iter().any(|name| but.contains(&name.as_str())) {
                selects.entry(table).or_default().push(text);
            }
        }
        let mut tables = Tables::new();
        for (table, selected) in selects {
            let query = format!("SELECT {} FROM {schema}.{table}", selected.join(", "));
            let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.expect("a query");
            let shown = rows.iter().map(|row| {
                let values = (0..selected.len()).map(|at| row.get::<Option<String>, _>(at).unwrap_or_default());
                values.map(|value| plain(&value) + "|").collect()
            });
            let mut rows: Vec<String> = shown.collect();
            rows.sort_unstable();
            tables.insert(table, rows);
        }
        tables
    })
}

/// Reals and JSON in one form.
fn plain(value: &str) -> String {
    if value.starts_with(['{', '[']) {
        let json: Result<serde_json::Value, _> = serde_json::from_str(value);
        return json.map_or_else(
            |_| value.to_owned(),
            |mut json| {
                json.sort_all_objects();
                json.to_string()
            },
        );
    }
    let is_real = value.contains('.') && value.bytes().all(|byte| byte.is_ascii_digit() || b".-+e".contains(&byte));
    let real = value.parse::<f64>().ok().filter(|_| is_real);
    real.map_or_else(|| value.to_owned(), |real| real.to_string())
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
