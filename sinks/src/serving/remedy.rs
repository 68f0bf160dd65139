//! Which errors of `SQLite` pass by themselves, and what to do about the others: pure.

use sqlx::Error;
use sqlx::migrate::MigrateError;

const REBUILD: &str = "move the file away, and it will be built again from the topics";
const FORBIDDEN: &str = "make the file and its folder writable for the user that runs skuflow";
const DEFECT: &str = "this is a defect of skuflow, please report it";

/// What to do; `None`: the same may work later.
pub(super) fn advice(error: &Error) -> Option<String> {
    match error {
        Error::Database(error) => code_advice(error.code().and_then(|code| code.parse().ok()).unwrap_or_default()),
        Error::Io(_) | Error::WorkerCrashed => None,
        Error::ColumnDecode { .. } | Error::ColumnNotFound(_) => Some(unfit()),
        _ => Some(DEFECT.into()),
    }
}

/// What to do where the tables cannot be brought to what this program knows.
pub(super) fn migration_advice(error: &MigrateError) -> Option<String> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => advice(error),
        MigrateError::VersionMissing(_) => Some("use a newer skuflow: this one does not know these tables".into()),
        MigrateError::VersionMismatch(_) => Some(format!("another build of skuflow made these tables: {REBUILD}")),
        _ => Some(unfit()),
    }
}

fn unfit() -> String {
    format!("these are not the tables of skuflow, or somebody changed them: {REBUILD}")
}

/// By result code, see <https://www.sqlite.org/rescode.html>: the low byte is the code, what is above it says more.
fn code_advice(code: u32) -> Option<String> {
    const IOERR_DATA: u32 = 8202;
    const IOERR_CORRUPTFS: u32 = 8458;
    const READONLY_DBMOVED: u32 = 1032;
    match code {
        IOERR_DATA | IOERR_CORRUPTFS => {
            return Some(format!("the disk gives other bytes than were written: {REBUILD}"));
        }
        READONLY_DBMOVED => return None, // a new file is made in its place
        _ => {}
    }
    match code & 0xff {
        // busy, locked, no memory, IO error, full, cannot open, lock protocol, schema changed meanwhile
        5 | 6 | 7 | 10 | 13 | 14 | 15 | 17 => None,
        // corrupt, not a database
        11 | 26 => Some(REBUILD.into()),
        // permission, read-only, authorisation
        3 | 8 | 23 => Some(FORBIDDEN.into()),
        // SQL error (no such table or column), constraint, type mismatch
        1 | 19 | 20 => Some(unfit()),
        _ => Some(DEFECT.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_pass_by_themselves_or_say_what_to_do() {
        // Primary codes, and of each its extended ones.
        let passing = [5, 261, 517, 773, 6, 262, 7, 10, 266, 778, 1034, 13, 14, 270, 15, 17, 1032];
        for code in passing {
            assert_eq!(code_advice(code), None, "{code}");
        }
        for (codes, part) in [
            (&[11, 267, 523, 779, 26][..], "move the file away"),
            (&[8, 264, 520, 776, 1288, 1544, 3, 23], "writable"),
            (&[1, 257, 19, 275, 787, 1299, 1555, 1811, 2067, 20], "not the tables"),
            (&[8202, 8458], "the disk"),
            (&[0, 2, 4, 9, 12, 18, 21, 22, 25], "a defect"),
        ] {
            for code in codes {
                let advice = code_advice(*code).unwrap_or_else(|| panic!("{code} would be tried for ever"));
                assert!(advice.contains(part), "{code}: {advice}");
            }
        }
    }
}
