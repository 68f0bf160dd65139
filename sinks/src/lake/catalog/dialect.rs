//! In what `SQLite` and Postgres differ: data.

use sqlx::Error;

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

/// By result code, see <https://www.sqlite.org/rescode.html>.
fn of_sqlite(error: &Error) -> Remedy {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    match (error, code.map(|code| code & 0xff)) {
        // busy, locked, no memory, IO error, full, cannot open, lock protocol, schema changed meanwhile
        (_, Some(5 | 6 | 7 | 10 | 13 | 14 | 15 | 17)) | (Error::Io(_) | Error::WorkerCrashed, _) => Remedy::Wait,
        // what is left of a transaction that failed, and goes with the connection
        (Error::InvalidSavePointStatement | Error::BeginFailed, _) => Remedy::Wait,
        (_, Some(3 | 8 | 23)) => Remedy::Do("make the file and its folder writable for the user that runs skuflow"),
        _ => Remedy::Do(
            "bring the catalog back from a copy, or give the sink a new, empty `path`, which will be filled with what the \
             topics still have",
        ),
    }
}

/// By SQLSTATE, see <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_postgres(error: &Error) -> Remedy {
    let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) else {
        return match error {
            Error::Configuration(_) => Remedy::Do("correct the catalog's `url`"),
            _ => Remedy::Wait, // it is not there, or went away
        };
    };
    match code.as_bytes() {
        b"28P01" | b"28000" => {
            Remedy::Do("correct user and password in the catalog's `url`, or let the user in (pg_hba.conf)")
        }
        b"3D000" => Remedy::Do("make the database (`createdb`), or correct the catalog's `url`"),
        b"42501" => Remedy::Do(
            "let the catalog's user make, read and write tables there (`GRANT CREATE, USAGE ON SCHEMA public TO …`)",
        ),
        // lost connections, conflicts, want of room or connections, locks, ended by an operator or a time-out, trouble of the
        // machine, a server that only reads for now, a server's own trouble
        [b'0', b'8', ..] | [b'4', b'0', ..] | [b'5', b'3' | b'5' | b'7' | b'8', ..] => Remedy::Wait,
        b"25006" | b"25P02" | b"25P03" | b"25P04" | b"XX000" => Remedy::Wait,
        [b'X', b'X', ..] => Remedy::Do("Postgres says that its data is damaged: bring it back from a copy"),
        _ => Remedy::Do("bring the tables of the catalog into the shape that skuflow makes in an empty database"),
    }
}
