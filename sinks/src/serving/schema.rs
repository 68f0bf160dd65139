//! The tables' definitions, one text for both databases: pure.
//!
//! The files under `migrations/` are SQL, but for the types in [`WORDS`] and the lines from `--- postgres` or `--- sqlite` to
//! `---`, which are for one of them alone. Behind each column stands what it is; Postgres is told.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::statements::Dialect;
use super::tables::ALL;

/// By version. What has been released stays as it is: a change is a version of its own, which what reads the one before can
/// live with.
const MIGRATIONS: [(&str, &str); 4] = [
    ("tables", include_str!("../../migrations/0001_tables.sql")),
    ("market", include_str!("../../migrations/0002_market.sql")),
    ("products", include_str!("../../migrations/0003_products.sql")),
    ("writes", include_str!("../../migrations/0004_writes.sql")),
];

/// A word of the files, in the words of `SQLite` and of Postgres.
const WORDS: [(&str, [&str; 2]); 11] = [
    ("TEXT", ["TEXT", "TEXT COLLATE \"C\""]), // in the order of its bytes, as `SQLite` has it
    ("INTEGER", ["INTEGER", "BIGINT"]),
    ("REAL", ["REAL", "DOUBLE PRECISION"]),
    ("INSTANT", ["INTEGER", "TIMESTAMPTZ"]),
    ("DAY", ["TEXT", "DATE"]),
    ("ID", ["TEXT", "UUID"]),
    ("JSON", ["TEXT", "JSONB"]),
    ("ROWS_BY_KEY", ["WITHOUT ROWID", ""]),
    ("ROWS_BY_MONTH", ["WITHOUT ROWID", "PARTITION BY RANGE (observed_at)"]), // partitions are made as they are needed
    ("DAYS_BY_MONTH", ["WITHOUT ROWID", "PARTITION BY RANGE (day)"]),
    (KEPT_VIEW, ["VIEW", "MATERIALIZED VIEW"]),
];

/// A view whose rows Postgres keeps, and refreshes now and then.
const KEPT_VIEW: &str = "KEPT_VIEW";

pub(super) static SQLITE: LazyLock<Migrator> = LazyLock::new(|| migrator(Dialect::Sqlite));
pub(super) static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| migrator(Dialect::Postgres));

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = MIGRATIONS.iter().zip(1..).map(|((name, text), version)| {
        let text = sqlx::AssertSqlSafe(translated(text, dialect)).into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Whether the tables have the columns that rows are written to. Given are those there are: table and name, in their order.
pub(super) fn check_columns(there: &[(String, String)]) -> Result<(), String> {
    for table in ALL {
        let found: Vec<&str> =
            there.iter().filter(|(name, _)| name == table.name).map(|(_, column)| column.as_str()).collect();
        if found.is_empty() {
            return Err(format!("table {} is missing; {}", table.name, CHANGED));
        }
        if !table.columns().eq(found.iter().copied()) {
            let odd = found.iter().find(|column| !table.columns().any(|known| known == **column));
            let missing = table.columns().find(|column| !found.contains(column));
            let what = match (odd, missing) {
                (Some(odd), _) => format!("a column {odd}, which skuflow does not know"),
                (None, Some(missing)) => format!("no column {missing}"),
                (None, None) => "its columns in another order".into(),
            };
            return Err(format!("table {} has {what}; {}", table.name, CHANGED));
        }
    }
    Ok(())
}

const CHANGED: &str = "somebody changed it: bring it back as it was (migrations/*.sql), or name another `schema`, and it will \
    be built again from the topics";

/// A file in the words of a database.
pub(super) fn translated(text: &str, dialect: Dialect) -> String {
    let (mut sql, mut comments) = (String::new(), Comments::default());
    let mut only = None;
    for line in text.lines() {
        match line {
            "--- postgres" => only = Some(Dialect::Postgres),
            "--- sqlite" => only = Some(Dialect::Sqlite),
            "---" => only = None,
            _ if only.is_some_and(|only| only != dialect) => {}
            _ => {
                let (code, comment) = line.split_once("-- ").unwrap_or((line, ""));
                sql += &if only.is_some() { Cow::Borrowed(code) } else { words(code, dialect).into() };
                sql += "\n";
                comments.line(code, comment);
            }
        }
    }
    if dialect == Dialect::Postgres {
        sql += &comments.statements;
    }
    sql
}

/// A line without comment in the words of a database.
fn words(code: &str, dialect: Dialect) -> String {
    let is_word = |c: char| c.is_ascii_uppercase() || c == '_';
    let (mut found, mut rest) = (String::new(), code);
    while let Some(start) = rest.find(|c: char| c.is_ascii_uppercase()) {
        let (before, word) = rest.split_at(start);
        let (word, behind) = word.split_at(word.find(|c| !is_word(c)).unwrap_or(word.len()));
        let known = WORDS.iter().find(|(known, _)| *known == word);
        found += before;
        found += known.map_or(word, |(_, words)| words[usize::from(dialect == Dialect::Postgres)]);
        rest = behind;
    }
    found + rest
}

/// What the comments say of tables, views and their columns, as statements.
#[derive(Default)]
struct Comments {
    statements: String,
    /// Lines of comment above.
    above: Vec<String>,
    /// The table or view whose columns follow.
    of: String,
    is_view: bool,
}

impl Comments {
    fn line(&mut self, code: &str, comment: &str) {
        let mut words = code.split_whitespace();
        let first = words.next();
        match (first, words.next(), words.next()) {
            (None, ..) if comment.is_empty() => self.above.clear(),
            (None, ..) => self.above.push(comment.into()),
            (Some("CREATE"), Some(what @ ("TABLE" | "VIEW" | KEPT_VIEW)), Some(name)) => {
                (self.of, self.is_view) = (name.into(), what != "TABLE");
                let above = std::mem::take(&mut self.above).join(" ");
                self.say(if what == KEPT_VIEW { "MATERIALIZED VIEW" } else { what }, name, &above);
            }
            (Some(column), ..) if code.starts_with("    ") && !comment.is_empty() => {
                // In a view: `table.column,` or `expression AS column,`.
                let last = code.trim().trim_end_matches(',').rsplit([' ', '.']).next().unwrap_or_default();
                let name = format!("{}.{}", self.of, if self.is_view { last } else { column });
                self.say("COLUMN", &name, comment);
            }
            _ => {}
        }
    }

    fn say(&mut self, what: &str, name: &str, text: &str) {
        let _ = writeln!(self.statements, "COMMENT ON {what} {name} IS '{}';", text.replace('\'', "''"));
    }
}
