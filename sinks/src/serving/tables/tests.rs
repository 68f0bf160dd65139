//! The tables as described are those of the migrations, and say what they hold.

use sqlx::{ConnectOptions as _, Row as _};

use super::*;

const ALL: [&Table; 11] = [
    &OFFERS_LATEST,
    &PRICE_HISTORY,
    &SALE_LINES,
    &SALES_DAILY,
    &INVENTORY_LATEST,
    &PRODUCT_FEATURES,
    &COMPETITION,
    &ALERTS,
    &DEAD_LETTERS,
    &DATA_QUALITY,
    &SINK_OFFSETS,
];

const MARKET: &str = include_str!("../../../migrations/sqlite/0002_market.sql");
const MIGRATIONS: [&str; 2] = [include_str!("../../../migrations/sqlite/0001_tables.sql"), MARKET];

/// Rows name no columns, so the order counts.
#[test]
fn the_migrations_make_the_tables_as_described() {
    let made = tokio::runtime::Builder::new_current_thread().build().expect("an event loop").block_on(async {
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().connect().await.expect("in memory");
        for migration in MIGRATIONS {
            sqlx::raw_sql(migration).execute(&mut connection).await.expect("SQL");
        }
        let columns = "SELECT t.name, c.name, c.pk FROM sqlite_master AS t, pragma_table_info(t.name) AS c \
            WHERE t.type = 'table' ORDER BY t.name, c.cid";
        let columns = sqlx::query(columns).fetch_all(&mut connection).await.expect("a query");
        let column = |row: sqlx::sqlite::SqliteRow| (row.get::<String, _>(0), row.get::<String, _>(1), row.get(2));
        columns.into_iter().map(column).collect::<Vec<(String, String, i64)>>()
    });
    let mut tables = ALL;
    tables.sort_by_key(|table| table.name);
    let described = tables.iter().flat_map(|table| {
        let key = table.key.iter().zip(1..).map(|(column, at)| (table.name, *column, at));
        key.chain(table.says.iter().map(|column| (table.name, *column, 0)))
    });
    let described: Vec<_> = described.map(|(table, column, at)| (table.to_owned(), column.to_owned(), at)).collect();
    assert_eq!(made, described);
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
        .flat_map(|migration| migration.lines())
        .filter(|line| line.starts_with("    ") && !line.trim_start().starts_with("PRIMARY KEY"));
    let (told, silent): (Vec<_>, Vec<_>) = columns.partition(|line| line.contains(" -- "));
    assert!(silent.is_empty(), "{silent:?}");
    let of_tables: usize = ALL.iter().map(|table| table.columns().count()).sum();
    assert_eq!(told.len(), of_tables + 16, "those of the tables and of the view");
    let nullable = told.iter().filter(|line| !line.contains(" NOT NULL") && line.contains("    REAL,"));
    assert!(
        nullable.clone().count() > 40 && nullable.clone().all(|line| line.contains("null = ")),
        "a null is explained"
    );
}
