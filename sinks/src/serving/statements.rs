//! The statements that follow from the tables: pure.
//!
//! Each takes rows as a whole, `new` in its text: one JSON text of arrays in `SQLite`, an array per column in Postgres.

use super::cells::Kind;
use super::tables::{Merged, Rule, SINK_OFFSETS, Table, kind};

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement over rows of these columns.
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) kinds: Vec<Kind>,
}

/// Columns of the rows that move positions: those of [`SINK_OFFSETS`], and where the batch begins.
const FROM: &str = "from_offset";

impl Dialect {
    /// The rows that a statement is given, called `new`, with these columns.
    fn given<'a>(self, columns: impl Iterator<Item = &'a str>) -> String {
        match self {
            Self::Sqlite => {
                let named = listed(columns.enumerate().map(|(at, column)| format!("value->>{at} AS {column}")));
                format!("(SELECT {named} FROM json_each(?1)) AS new")
            }
            Self::Postgres => {
                let names: Vec<&str> = columns.collect();
                let arrays = names.iter().zip(1..).map(|(column, at)| match kind(column) {
                    Kind::Text => format!("${at}::text[]"),
                    Kind::Int => format!("${at}::bigint[]"),
                    Kind::Real => format!("${at}::float8[]"),
                    Kind::Instant => format!("${at}::timestamptz[]"),
                    Kind::Day => format!("${at}::date[]"),
                    Kind::Id => format!("${at}::uuid[]"),
                    Kind::Json => format!("${at}::text[]::jsonb[]"),
                });
                format!("UNNEST({}) AS new({})", listed(arrays), listed(&names))
            }
        }
    }

    /// What merges two columns.
    fn merged(self, table: &str, merged: &Merged) -> String {
        let [least, greatest] = match self {
            Self::Sqlite => ["min", "max"],
            Self::Postgres => ["least", "greatest"],
        };
        match merged {
            Merged::Sum(column) => format!("{column} = {table}.{column} + excluded.{column}"),
            Merged::Least(column) => format!("{column} = {least}({table}.{column}, excluded.{column})"),
            Merged::Greatest(column) => format!("{column} = {greatest}({table}.{column}, excluded.{column})"),
            Merged::Last(columns) => {
                let of = |row: &str| listed(columns.iter().map(|column| format!("{row}.{column}")));
                let order = listed((1..=columns.len()).map(|at| format!("{at} DESC")));
                let (names, stored, given) = (listed(*columns), of(table), of("excluded"));
                format!("({names}) = (SELECT {stored} UNION ALL SELECT {given} ORDER BY {order} LIMIT 1)")
            }
        }
    }

    /// Finds the positions of a sink.
    pub(super) fn positions(self) -> Statement {
        let given = self.given(["sink"].into_iter());
        let text =
            format!("SELECT stored.* FROM {given} CROSS JOIN sink_offsets AS stored WHERE stored.sink = new.sink");
        Statement { text, kinds: vec![Kind::Text] }
    }

    /// Moves positions that are where the batch begins.
    pub(super) fn move_positions(self) -> Statement {
        let same = equal("sink_offsets", SINK_OFFSETS.key);
        let set = listed(SINK_OFFSETS.says.iter().map(|column| format!("{column} = new.{column}")));
        let given = self.given(SINK_OFFSETS.columns().chain([FROM]));
        let text = format!(
            "UPDATE sink_offsets SET {set} FROM {given} WHERE {same} AND sink_offsets.next_offset = new.{FROM}"
        );
        Statement { text, kinds: moved() }
    }

    /// Makes positions where there are none, and the batch knows of none.
    pub(super) fn begin_positions(self) -> Statement {
        let values = listed(SINK_OFFSETS.columns().map(|column| format!("new.{column}")));
        let given = self.given(SINK_OFFSETS.columns().chain([FROM]));
        let text = format!(
            "INSERT INTO sink_offsets SELECT {values} FROM {given} WHERE new.{FROM} IS NULL ON CONFLICT DO NOTHING"
        );
        Statement { text, kinds: moved() }
    }
}

fn moved() -> Vec<Kind> {
    SINK_OFFSETS.columns().chain([FROM]).map(kind).collect()
}

impl Table {
    fn over_rows(&self, text: String) -> Statement {
        Statement { text, kinds: self.columns().map(kind).collect() }
    }

    /// Writes rows, by the table's rule. It names no columns: a table with others is refused.
    pub(super) fn insert(&self, dialect: Dialect) -> Statement {
        let values = listed(self.columns().map(|column| format!("new.{column}")));
        let replace = || listed(self.says.iter().map(|column| format!("{column} = excluded.{column}")));
        let name = self.name;
        let then = match &self.rule {
            Rule::First => "NOTHING".into(),
            Rule::Replace => format!("UPDATE SET {}", replace()),
            Rule::Latest([at, tie]) => {
                format!("UPDATE SET {} WHERE (excluded.{at}, excluded.{tie}) > ({name}.{at}, {name}.{tie})", replace())
            }
            Rule::Merge(columns) => {
                format!("UPDATE SET {}", listed(columns.iter().map(|merged| dialect.merged(name, merged))))
            }
        };
        let (given, key) = (dialect.given(self.columns()), listed(self.key));
        self.over_rows(format!(
            "INSERT INTO {name} SELECT {values} FROM {given} WHERE true ON CONFLICT ({key}) DO {then}"
        ))
    }

    /// All its rows; it is given none.
    #[cfg(test)]
    pub(super) fn all(&self) -> Statement {
        Statement { text: format!("SELECT * FROM {}", self.name), kinds: Vec::new() }
    }

    /// Finds the stored rows that have the keys of those given, and keeps them as they are until the transaction ends.
    pub(super) fn select(&self, dialect: Dialect) -> Statement {
        let lock = match dialect {
            Dialect::Sqlite => "", // one transaction writes at a time
            Dialect::Postgres => " FOR UPDATE OF stored",
        };
        self.over_rows(format!("SELECT stored.* {}{lock}", self.stored(dialect)))
    }

    /// Removes the stored rows that have the keys of those given, where `condition` holds.
    pub(super) fn delete(&self, dialect: Dialect, condition: &str) -> Statement {
        let (name, key) = (self.name, listed(self.key));
        let found = listed(self.key.iter().map(|column| format!("stored.{column}")));
        let stored = self.stored(dialect);
        self.over_rows(format!("DELETE FROM {name} WHERE ({key}) IN (SELECT {found} {stored} AND {condition})"))
    }

    /// Removes the stored rows that have the keys given.
    pub(super) fn end(&self, dialect: Dialect) -> Statement {
        let (key, given) = (listed(self.key), dialect.given(self.key.iter().copied()));
        let text = format!("DELETE FROM {} WHERE ({key}) IN (SELECT {key} FROM {given})", self.name);
        Statement { text, kinds: self.key.iter().map(|column| kind(column)).collect() }
    }

    /// Removes the stored rows that those given take back: those that are not later.
    pub(super) fn retract(&self, dialect: Dialect) -> Statement {
        let Rule::Latest([at, tie]) = &self.rule else { unreachable!("{} does not hold the last by time", self.name) };
        self.delete(dialect, &format!("(stored.{at}, stored.{tie}) <= (new.{at}, new.{tie})"))
    }

    /// Those given beside the stored ones with their keys. In `SQLite`, joins of this kind keep their order.
    fn stored(&self, dialect: Dialect) -> String {
        let given = dialect.given(self.columns());
        format!("FROM {given} CROSS JOIN {} AS stored WHERE {}", self.name, equal("stored", self.key))
    }
}

/// That a row of `table` has the key of a new one.
fn equal(table: &str, key: &[&str]) -> String {
    key.iter().map(|column| format!("{table}.{column} = new.{column}")).collect::<Vec<_>>().join(" AND ")
}

fn listed(parts: impl IntoIterator<Item = impl ToString>) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(", ")
}
