//! What to do about what databases say: pure.

use sqlx::Error;
use sqlx::migrate::MigrateError;

use super::statements::Dialect;
use crate::sql::{Trouble, of_postgres, of_sqlite};

/// What an error means.
pub(super) fn trouble(error: &Error, dialect: Dialect) -> Trouble {
    match dialect {
        Dialect::Sqlite => of_sqlite(error),
        Dialect::Postgres => of_postgres(error),
    }
}

/// What to do; `None`: the same may work later.
pub(super) fn of(error: &Error, dialect: Dialect) -> Option<String> {
    advice(trouble(error, dialect), dialect)
}

/// What to do where the tables cannot be brought to what this program knows.
pub(super) fn of_tables(error: &MigrateError, dialect: Dialect) -> Option<String> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of(error, dialect),
        MigrateError::VersionMissing(_) => Some("use a newer skuflow: this one does not know these tables".into()),
        MigrateError::VersionMismatch(_) => {
            Some(format!("another build of skuflow made these tables: {}", anew(dialect)))
        }
        _ => advice(Trouble::Tables, dialect),
    }
}

fn advice(trouble: Trouble, dialect: Dialect) -> Option<String> {
    let advice = match (trouble, dialect) {
        (Trouble::Passing, _) => return None,
        (Trouble::Url, _) => "correct the sink's `url`".into(),
        (Trouble::Login, _) => "correct user and password in the sink's `url`, or let the user in (pg_hba.conf)".into(),
        (Trouble::NoDatabase, _) => "make the database (`createdb`), or correct the sink's `url`".into(),
        (Trouble::Forbidden, Dialect::Sqlite) => {
            "make the file and its folder writable for the user that runs skuflow".into()
        }
        (Trouble::Forbidden, Dialect::Postgres) => {
            "give the sink's user its rights: `skuflow serving grants` prints the statements".into()
        }
        (Trouble::Damaged, Dialect::Sqlite) => format!("the file is damaged, or none of SQLite: {}", anew(dialect)),
        (Trouble::Damaged, Dialect::Postgres) => {
            "Postgres says that its data is damaged: bring it back from a copy".into()
        }
        (Trouble::Row | Trouble::Tables, _) => of_changed(dialect),
        (Trouble::Defect, _) => "this is a defect of skuflow, please report it".into(),
    };
    Some(advice)
}

/// What to do about tables that are not as they were made.
pub(super) fn of_changed(dialect: Dialect) -> String {
    format!("these are not the tables of skuflow, or somebody changed them: {}", anew(dialect))
}

fn anew(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "move the file away, and it will be built again from the topics",
        Dialect::Postgres => {
            "name another `schema`, or rename this one away (ALTER SCHEMA … RENAME TO …), and it will be built again from \
             the topics"
        }
    }
}
