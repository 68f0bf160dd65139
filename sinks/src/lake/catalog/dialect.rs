//! In what `SQLite` and Postgres differ: data.

use sqlx::Error;

use crate::sql::{self, Trouble};

/// What a database wants to hear, and how it says what is wrong.
pub(super) struct Dialect {
    /// What a new connection is told that writes, and one that only reads.
    pub(super) opening: &'static str,
    pub(super) opening_to_read: &'static str,
    /// Asks for the number of the catalog's main table, of all tables.
    pub(super) has_catalog: &'static str,
    pub(super) has_all: &'static str,
    /// Before tables are made: others that make them wait.
    pub(super) alone: &'static str,
    /// Begins a transaction that writes.
    pub(super) begin: &'static str,
    pub(super) remedy: fn(&Error) -> Remedy,
}

/// What helps.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// It passes by itself, or when somebody repairs it who knows.
    Wait,
    /// What to do.
    Do(&'static str),
}

pub(super) const SQLITE: Dialect = Dialect {
    opening: "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
    opening_to_read: "PRAGMA busy_timeout = 10000",
    has_catalog: "SELECT count(*) FROM sqlite_schema WHERE name = 'iceberg_tables'",
    has_all: "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN
              ('iceberg_tables', 'iceberg_namespace_properties', 'skuflow_schemas', 'skuflow_lineage')",
    alone: "",
    begin: "BEGIN IMMEDIATE",
    remedy: of_sqlite,
};

/// A transaction that nobody ends, and a wait for one, are given up. A commit is on disk when it is answered.
pub(super) const POSTGRES: Dialect = Dialect {
    opening: "SET statement_timeout = 10000; SET lock_timeout = 10000; SET idle_in_transaction_session_timeout = 30000;
              SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    opening_to_read: "SET statement_timeout = 10000; SET default_transaction_read_only = on",
    has_catalog: "SELECT count(*) FROM pg_class WHERE oid = to_regclass('iceberg_tables')",
    has_all: "SELECT count(*) FROM pg_class WHERE oid IN (to_regclass('iceberg_tables'),
              to_regclass('iceberg_namespace_properties'), to_regclass('skuflow_schemas'), to_regclass('skuflow_lineage'))",
    alone: "DO $$ BEGIN PERFORM pg_advisory_xact_lock(7310593858); END $$;",
    begin: "BEGIN",
    remedy: of_postgres,
};

fn of_sqlite(error: &Error) -> Remedy {
    match sql::of_sqlite(error) {
        Trouble::Passing => Remedy::Wait,
        Trouble::Forbidden => Remedy::Do("make the file and its folder writable for the user that runs skuflow"),
        _ => Remedy::Do(
            "bring the catalog back from a copy, or give the sink a new, empty `path`, which will be filled with what the \
             topics still have",
        ),
    }
}

fn of_postgres(error: &Error) -> Remedy {
    match sql::of_postgres(error) {
        Trouble::Passing => Remedy::Wait,
        Trouble::Url => Remedy::Do("correct the catalog's `url`"),
        Trouble::Login => {
            Remedy::Do("correct user and password in the catalog's `url`, or let the user in (pg_hba.conf)")
        }
        Trouble::NoDatabase => Remedy::Do("make the database (`createdb`), or correct the catalog's `url`"),
        Trouble::Forbidden => Remedy::Do(
            "let the catalog's user make, read and write tables there (`GRANT CREATE, USAGE ON SCHEMA public TO …`)",
        ),
        Trouble::Damaged => Remedy::Do("Postgres says that its data is damaged: bring it back from a copy"),
        Trouble::Row | Trouble::Tables | Trouble::Defect => {
            Remedy::Do("bring the tables of the catalog into the shape that skuflow makes in an empty database")
        }
    }
}
