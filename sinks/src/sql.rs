//! What sinks in SQL databases share: how a database is named, how long it is waited for, and what its errors mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use sqlx::Error;

/// The file that `sqlite:<path>` names, under `base`.
pub(crate) fn sqlite_path(url: &str, base: &Path) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:").filter(|path| !path.trim_start_matches('/').is_empty())?;
    Some(base.join(if path.starts_with("//") { path.trim_start_matches("//") } else { path }))
}

/// A URL as such.
pub(crate) fn parse(url: &str) -> Result<Url, String> {
    Url::parse(url).map_err(|error| format!("the url cannot be read: {error}"))
}

/// The database of Postgres that a URL names.
pub(crate) fn postgres_url(url: &str) -> Result<Url, String> {
    const EXAMPLE: &str = "write \"postgres://user:${PASSWORD}@host/database\"";
    let url = parse(url)?;
    if url.host_str().is_none_or(str::is_empty) && !url.query().unwrap_or_default().contains("host=") {
        return Err(format!("the url names no host; {EXAMPLE}"));
    }
    if url.path().len() < 2 {
        return Err(format!("the url names no database; {EXAMPLE}"));
    }
    Ok(url)
}

/// A database of Postgres, without its password.
pub(crate) fn shown(url: &Url) -> String {
    let user = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("postgres://{user}{}{port}{}", url.host_str().unwrap_or_default(), url.path())
}

/// Gives up what takes longer; a connection that it was done on is of no more use.
pub(crate) async fn within<T, E: From<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time")).into())
    })
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It passes by itself, or when somebody repairs it who knows.
    Passing,
    /// The URL is of no use.
    Url,
    /// Nobody is let in with this user and password.
    Login,
    NoDatabase,
    /// The user may not do this.
    Forbidden,
    /// Other bytes come back than were written.
    Damaged,
    /// What a row holds is not taken.
    Row,
    /// The tables are others than we know.
    Tables,
    /// Ours.
    Defect,
}

/// Whether a statement took longer than it may.
pub(crate) fn is_too_long(error: &Error) -> bool {
    const QUERY_CANCELED: &str = "57014";
    match error {
        Error::Database(error) => error.code().is_some_and(|code| code == QUERY_CANCELED),
        Error::Io(error) => error.kind() == std::io::ErrorKind::TimedOut, // see `within`
        _ => false,
    }
}

/// Whether a row is refused because its key is there already.
pub(crate) fn is_double(error: &Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// By result code, see <https://www.sqlite.org/rescode.html>.
pub(crate) fn of_sqlite(error: &Error) -> Trouble {
    match error {
        Error::Database(error) => of_result_code(error.code().and_then(|code| code.parse().ok()).unwrap_or_default()),
        // The last two are what is left of a transaction that failed, and go with the connection.
        Error::Io(_) | Error::WorkerCrashed | Error::InvalidSavePointStatement | Error::BeginFailed => Trouble::Passing,
        Error::PoolTimedOut | Error::PoolClosed => Trouble::Passing,
        Error::ColumnDecode { .. } | Error::ColumnNotFound(_) => Trouble::Tables,
        _ => Trouble::Defect,
    }
}

/// The low byte is the code, what is above it says more.
fn of_result_code(code: u32) -> Trouble {
    const IOERR_DATA: u32 = 8202;
    const IOERR_CORRUPTFS: u32 = 8458;
    const READONLY_DBMOVED: u32 = 1032;
    match code {
        IOERR_DATA | IOERR_CORRUPTFS => return Trouble::Damaged,
        READONLY_DBMOVED => return Trouble::Passing, // a new file is made in its place
        _ => {}
    }
    match code & 0xff {
        // busy, locked, no memory, IO error, full, cannot open, lock protocol, schema changed meanwhile
        5 | 6 | 7 | 10 | 13 | 14 | 15 | 17 => Trouble::Passing,
        // corrupt, not a database
        11 | 26 => Trouble::Damaged,
        // permission, read-only, authorisation
        3 | 8 | 23 => Trouble::Forbidden,
        // constraint, type mismatch
        19 | 20 => Trouble::Row,
        // SQL error (no such table or column)
        1 => Trouble::Tables,
        _ => Trouble::Defect,
    }
}

/// By SQLSTATE, see <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(crate) fn of_postgres(error: &Error) -> Trouble {
    let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) else {
        return match error {
            Error::Configuration(_) | Error::Tls(_) => Trouble::Url,
            Error::ColumnDecode { .. } | Error::ColumnNotFound(_) => Trouble::Tables,
            _ => Trouble::Passing, // it is not there, or went away
        };
    };
    match code.as_bytes() {
        b"28P01" | b"28000" => Trouble::Login,
        b"3D000" => Trouble::NoDatabase,
        b"42501" => Trouble::Forbidden,
        // lost connections, conflicts, want of room or connections, locks, ended by an operator or a time-out, trouble of the
        // machine, a server that only reads for now, a server's own trouble
        [b'0', b'8', ..] | [b'4', b'0', ..] | [b'5', b'3' | b'5' | b'7' | b'8', ..] => Trouble::Passing,
        b"25006" | b"25P02" | b"25P03" | b"25P04" | b"XX000" => Trouble::Passing,
        [b'X', b'X', ..] => Trouble::Damaged,
        // COPY with other columns than the table has
        b"22P04" => Trouble::Tables,
        // data, constraints, what is too large for an index
        [b'2', b'2' | b'3', ..] | b"54000" => Trouble::Row,
        _ => Trouble::Tables,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_sqlite_have_a_meaning() {
        // Primary codes, and of each its extended ones.
        for (codes, trouble) in [
            (&[5, 261, 517, 773, 6, 262, 7, 10, 266, 778, 1034, 13, 14, 270, 15, 17, 1032][..], Trouble::Passing),
            (&[11, 267, 523, 779, 26, 8202, 8458], Trouble::Damaged),
            (&[8, 264, 520, 776, 1288, 1544, 3, 23], Trouble::Forbidden),
            (&[19, 275, 787, 1299, 1555, 1811, 2067, 20], Trouble::Row),
            (&[1, 257], Trouble::Tables),
            (&[0, 2, 4, 9, 12, 18, 21, 22, 25], Trouble::Defect),
        ] {
            for code in codes {
                assert_eq!(of_result_code(*code), trouble, "{code}");
            }
        }
    }
}
