//! The tables as described are those of the migrations, and say what they hold.

use sqlx::{ConnectOptions as _, Row as _};

use super::*;
use crate::serving::schema;

const MARKET: &str = include_str!("../../../migrations/0002_market.sql");
const MIGRATIONS: [&str; 4] = [
    include_str!("../../../migrations/0001_tables.sql"),
    MARKET,
    include_str!("../../../migrations/0003_products.sql"),
    include_str!("../../../migrations/0004_writes.sql"),
];

/// What the migrations make in `SQLite`.
fn made(event_loop: &tokio::runtime::Runtime) -> Vec<(String, String, i64)> {
    event_loop.block_on(async {
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().connect().await.expect("in memory");
        schema::SQLITE.run(&mut connection).await.expect("SQL");
        let columns = "SELECT t.name, c.name, c.pk FROM sqlite_master AS t, pragma_table_info(t.name) AS c \
            WHERE t.type = 'table' AND t.name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY t.name, c.cid";
        let columns = sqlx::query(columns).fetch_all(&mut connection).await.expect("a query");
        let column = |row: sqlx::sqlite::SqliteRow| (row.get::<String, _>(0), row.get::<String, _>(1), row.get(2));
        columns.into_iter().map(column).collect()
    })
}

/// What a word of the migrations is.
fn kind_of(word: &str) -> Kind {
    match word.trim_end_matches(',') {
        "TEXT" => Kind::Text,
        "INTEGER" => Kind::Int,
        "REAL" => Kind::Real,
        "INSTANT" => Kind::Instant,
        "DAY" => Kind::Day,
        "ID" => Kind::Id,
        "JSON" => Kind::Json,
        other => panic!("{other} is no type"),
    }
}

/// Rows name no columns, so the order counts; and each column has one kind wherever it stands.
#[test]
fn the_migrations_make_the_tables_as_described() {
    let event_loop = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
    let mut tables = ALL;
    tables.sort_by_key(|table| table.name);
    let described = tables.iter().flat_map(|table| {
        let key = table.key.iter().zip(1..).map(|(column, at)| (table.name, *column, at));
        key.chain(table.says.iter().map(|column| (table.name, *column, 0)))
    });
    let described: Vec<_> = described.map(|(table, column, at)| (table.to_owned(), column.to_owned(), at)).collect();
    assert_eq!(made(&event_loop), described);
    let lines = MIGRATIONS.iter().flat_map(|migration| migration.lines()).filter(|line| line.starts_with("    "));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = words.filter(|words| described.iter().any(|(_, column, _)| column == words[0]) && words.len() > 2);
    let mut count = 0;
    for words in columns.filter(|words| words[1].chars().all(|c| c.is_ascii_uppercase() || c == ',')) {
        assert_eq!(kind(words[0]), kind_of(words[1]), "{words:?}");
        count += 1;
    }
    assert_eq!(count, described.len());
}

#[test]
fn every_figure_has_a_column_that_says_what_it_is() {
    let columns = FEATURES.iter().map(|figure| {
        let (name, unit, window, formula, null) =
            (figure.name, figure.unit, figure.window, figure.formula, figure.null);
        format!("    {name:<31} REAL,             -- {unit} ({window}): {formula}; null = {null}\n")
    });
    let columns: String = columns.collect();
    let from = MARKET.find(FEATURES[0].name).map_or("", |at| &MARKET[at - 4..]);
    let written: String = from.split_inclusive('\n').take(FEATURES.len()).collect();
    assert_eq!(written, columns);
}

#[test]
fn every_column_says_what_it_is() {
    let columns = MIGRATIONS
        .iter()
        .flat_map(|migration| migration.split("--- postgres").next().unwrap_or_default().lines())
        .filter(|line| line.starts_with("    ") && !line.trim_start().starts_with("PRIMARY KEY"));
    let (told, silent): (Vec<_>, Vec<_>) = columns.partition(|line| line.contains(" -- "));
    assert!(silent.is_empty(), "{silent:?}");
    let of_tables: usize = ALL.iter().map(|table| table.columns().count()).sum();
    assert_eq!(told.len(), of_tables + 16 + 11 + 8 + 11 + 9, "those of the tables and of the views");
    let nullable = told.iter().filter(|line| !line.contains(" NOT NULL") && line.contains("    REAL,"));
    assert!(
        nullable.clone().count() > 40 && nullable.clone().all(|line| line.contains("null = ")),
        "a null is explained"
    );
}
