//! What the database says, in words that an operator can act on.

use std::fmt;
use std::path::Path;

use sqlx::migrate::MigrateError;

/// The store did not do what was asked.
#[derive(Debug)]
pub struct Error {
    /// The SQLite file.
    pub path: String,
    /// What the database said.
    pub source: sqlx::Error,
}

impl Error {
    pub(crate) fn new(path: &Path, source: sqlx::Error) -> Self {
        Self {
            path: path.display().to_string(),
            source,
        }
    }

    /// What the operator can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        explained(&self.source).map(|(_, hint)| hint)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store {} ", self.path)?;
        match explained(&self.source) {
            Some((fault, _)) => f.write_str(fault),
            None => write!(f, "does not answer: {}", self.source),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The primary result code, <https://www.sqlite.org/rescode.html>.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn explained(error: &sqlx::Error) -> Option<(&'static str, &'static str)> {
    match error {
        sqlx::Error::Io(fault) => explained_io(fault.kind()),
        sqlx::Error::PoolTimedOut => Some((
            "is too busy: no connection came free in time",
            "the disk may be too slow; look at what else writes to it",
        )),
        sqlx::Error::Migrate(fault) => match fault.as_ref() {
            MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => Some((
                "was written by another version of this program",
                "run the version that wrote it, or a later one",
            )),
            MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) => {
                explained(inner)
            }
            MigrateError::VersionTooOld(..) => Some((
                "was written by an earlier version of this program",
                "start `vestibule run` once: it brings the tables up to date",
            )),
            _ => None,
        },
        _ => explained_code(primary_code(error)?),
    }
}

fn explained_io(kind: std::io::ErrorKind) -> Option<(&'static str, &'static str)> {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::NotFound => Some((
            "cannot be made: its folder does not exist",
            "make the folder, or change store.url",
        )),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Some(READ_ONLY),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(FULL),
        ErrorKind::IsADirectory => Some((
            "is a folder",
            "store.url names a file, such as sqlite:vestibule.db",
        )),
        _ => None,
    }
}

const READ_ONLY: (&str, &str) = (
    "cannot be written",
    "let the user that runs vestibule write to the file and to its folder",
);
const FULL: (&str, &str) = ("is on a full disk", "free some space; nothing was lost");

fn explained_code(code: i32) -> Option<(&'static str, &'static str)> {
    match code {
        3 | 8 | 23 => Some(READ_ONLY),
        5 | 6 => Some((
            "is locked by another process",
            "look for a backup or a database tool that holds it open",
        )),
        10 => Some((
            "cannot be read or written: the disk reports an error",
            "look at the system's log for faults of the disk",
        )),
        11 => Some((
            "is damaged",
            "restore a backup; `pragma integrity_check` tells what is wrong",
        )),
        13 => Some(FULL),
        14 => Some((
            "cannot be opened",
            "let the user that runs vestibule write to the file and to its folder",
        )),
        26 => Some((
            "is not a SQLite database",
            "name another file in store.url; this one is left as it is",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::store::Store;

    #[tokio::test]
    async fn a_full_disk_is_named_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).await.unwrap();
        let run = |statement: &'static str| sqlx::query(statement).execute(&store.0.pools.writer);
        run("pragma max_page_count = 1").await.unwrap();
        let fill = "insert into given_up_usernames select hex(randomblob(9)), hex(randomblob(9999)), null, 0 from sqlite_schema";
        let error = store.fault(run(fill).await.unwrap_err());
        assert!(error.to_string().ends_with("is on a full disk"), "{error}");
        assert!(error.hint().is_some());
        run("pragma max_page_count = 1000000").await.unwrap();
        run(fill).await.unwrap();
        store.ping().await.unwrap();
    }
}
