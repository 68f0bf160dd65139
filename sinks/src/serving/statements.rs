//! The statements that follow from the tables: pure.
//!
//! Each takes rows as a whole, `new` in its text: one JSON text of arrays or, in Postgres, one array of a table's rows.

use super::cells::Kind;
use super::tables::{Merged, Rule, SINK_OFFSETS, Table, kind};

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement over rows.
pub(super) struct Statement {
    pub(super) text: String,
    /// Whose rows they are; none where they are no table's.
    pub(super) of: Option<&'static Table>,
}

/// Columns of the rows that move positions: those of [`SINK_OFFSETS`], and where the batch begins.
const FROM: &str = "from_offset";

impl Dialect {
    /// Rows of `columns` that a statement is given, called `new`, as JSON.
    fn given<'a>(self, columns: impl Iterator<Item = &'a str>) -> String {
        let value = |(at, column)| match (self, kind(column)) {
            (Self::Postgres, Kind::Int) => format!("(value->>{at})::bigint AS {column}"),
            _ => format!("value->>{at} AS {column}"),
        };
        let (named, rows) = (
            listed(columns.enumerate().map(value)),
            match self {
                Self::Sqlite => "json_each(?1)",
                Self::Postgres => "jsonb_array_elements($1::jsonb) AS value",
            },
        );
        format!("(SELECT {named} FROM {rows}) AS new")
    }

    /// Rows of a table that a statement is given.
    fn given_rows(self, table: &Table) -> String {
        match self {
            Self::Sqlite => self.given(table.columns()),
            Self::Postgres => "UNNEST($1) AS new".into(), // the table is known by the type that is bound
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

    /// Moves positions that are where the batch begins.
    pub(super) fn move_positions(self) -> Statement {
        let same = equal("sink_offsets", SINK_OFFSETS.key);
        let set = listed(SINK_OFFSETS.says.iter().map(|column| format!("{column} = new.{column}")));
        let given = self.given(SINK_OFFSETS.columns().chain([FROM]));
        let text = format!(
            "UPDATE sink_offsets SET {set} FROM {given} WHERE {same} AND sink_offsets.next_offset = new.{FROM}"
        );
        Statement { text, of: None }
    }

    /// Makes positions where there are none, and the batch knows of none.
    pub(super) fn begin_positions(self) -> Statement {
        let values = listed(SINK_OFFSETS.columns().map(|column| format!("new.{column}")));
        let given = self.given(SINK_OFFSETS.columns().chain([FROM]));
        let text = format!(
            "INSERT INTO sink_offsets SELECT {values} FROM {given} WHERE new.{FROM} IS NULL ON CONFLICT DO NOTHING"
        );
        Statement { text, of: None }
    }
}

impl Table {
    fn over_rows(&'static self, text: String) -> Statement {
        Statement { text, of: Some(self) }
    }

    /// Writes rows, by the table's rule. It names no columns: a table with others is refused.
    pub(super) fn insert(&'static self, dialect: Dialect) -> Statement {
        let values = listed(self.columns().map(|column| format!("new.{column}")));
        let replace = || listed(self.says.iter().map(|column| format!("{column} = excluded.{column}")));
        let (name, given) = (self.name, dialect.given_rows(self));
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
        let key = listed(self.key);
        self.over_rows(format!(
            "INSERT INTO {name} SELECT {values} FROM {given} WHERE true ON CONFLICT ({key}) DO {then}"
        ))
    }

    /// Finds the stored rows that have the keys of those given, and keeps them as they are until the transaction ends.
    pub(super) fn select(&'static self, dialect: Dialect) -> Statement {
        let lock = match dialect {
            Dialect::Sqlite => "", // one transaction writes at a time
            Dialect::Postgres => " FOR UPDATE OF stored",
        };
        self.over_rows(format!("SELECT stored.* {}{lock}", self.stored(dialect)))
    }

    /// Removes the stored rows that have the keys of those given, where `condition` holds.
    pub(super) fn delete(&'static self, dialect: Dialect, condition: &str) -> Statement {
        let (name, key) = (self.name, listed(self.key));
        let found = listed(self.key.iter().map(|column| format!("stored.{column}")));
        let stored = self.stored(dialect);
        self.over_rows(format!("DELETE FROM {name} WHERE ({key}) IN (SELECT {found} {stored} AND {condition})"))
    }

    /// Removes the stored rows that have the keys of those given, which may have nothing else.
    pub(super) fn end(&'static self, dialect: Dialect) -> Statement {
        let (name, key, given) = (self.name, listed(self.key), dialect.given_rows(self));
        self.over_rows(format!("DELETE FROM {name} WHERE ({key}) IN (SELECT {key} FROM {given})"))
    }

    /// Removes the stored rows that those given take back: those that are not later.
    pub(super) fn retract(&'static self, dialect: Dialect) -> Statement {
        let Rule::Latest([at, tie]) = &self.rule else { unreachable!("{} does not hold the last by time", self.name) };
        self.delete(dialect, &format!("(stored.{at}, stored.{tie}) <= (new.{at}, new.{tie})"))
    }

    /// Those given beside the stored ones with their keys. In `SQLite`, joins of this kind keep their order.
    fn stored(&self, dialect: Dialect) -> String {
        let given = dialect.given_rows(self);
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
