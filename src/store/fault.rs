//! What the database says, in words that an operator can act on.

use std::fmt;

use sqlx::migrate::MigrateError;

use super::database::Dialect;
use crate::config::StorePlace;

/// The store did not do what was asked.
#[derive(Debug)]
pub struct Error {
    /// The SQLite file, or the url of the PostgreSQL database without its password.
    pub place: String,
    /// What the database said.
    pub source: sqlx::Error,
    dialect: Dialect,
}

/// What is wrong, and what the operator can do about it.
type Words = (&'static str, &'static str);

impl Error {
    pub(crate) fn new(place: &StorePlace, source: sqlx::Error) -> Self {
        Self {
            place: place.to_string(),
            source,
            dialect: Dialect::of(place),
        }
    }

    /// Whether a write failed because the file was opened for reading (SQLite's READONLY).
    pub(super) fn is_of_a_reader(&self) -> bool {
        self.dialect == Dialect::Sqlite && primary_code(&self.source) == Some(8)
    }

    /// What the operator can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        explained(self.dialect, &self.source).map(|(_, hint)| hint)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store {} ", self.place)?;
        match explained(self.dialect, &self.source) {
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

fn explained(dialect: Dialect, error: &sqlx::Error) -> Option<Words> {
    match (dialect, error) {
        (_, sqlx::Error::Migrate(fault)) => match fault.as_ref() {
            MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => Some((
                "was written by another version of this program",
                "run the version that wrote it, or a later one",
            )),
            MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) => {
                explained(dialect, inner)
            }
            MigrateError::VersionTooOld(..) => Some((
                "was written by an earlier version of this program",
                "start `vestibule run` once: it brings the tables up to date",
            )),
            _ => None,
        },
        (Dialect::Sqlite, error) => explained_file(error),
        (Dialect::Postgres, error) => explained_server(error),
    }
}

fn explained_server(error: &sqlx::Error) -> Option<Words> {
    match error {
        sqlx::Error::Io(_) => Some((
            "cannot be reached",
            "does the PostgreSQL server run, and does store.url name its host and port",
        )),
        sqlx::Error::Tls(_) => Some((
            "cannot be reached over TLS",
            "sslmode and sslrootcert in store.url say what is expected of the server's certificate",
        )),
        sqlx::Error::PoolTimedOut => Some((
            "is too busy or cannot be reached: no answer in time",
            "look at the PostgreSQL server's load, its max_connections and the network between",
        )),
        sqlx::Error::Database(fault) => explained_state(fault.code()?.as_ref()),
        _ => None,
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn explained_state(state: &str) -> Option<Words> {
    match state {
        "28P01" | "28000" => Some((
            "does not let us in: user or password is wrong",
            "compare store.url and store.password with the server's pg_hba.conf",
        )),
        "3D000" => Some((
            "does not exist on that server",
            "make it: createdb --owner=USER DATABASE",
        )),
        "42501" => Some((
            "does not allow what is needed",
            "let the user of store.url own the database",
        )),
        "25006" => Some((
            "is read-only",
            "name the primary server in store.url, not a standby",
        )),
        "53100" => Some(FULL),
        "53300" => Some((
            "has no connection left",
            "raise the server's max_connections: each node needs 10",
        )),
        "55P03" | "57014" | "40P01" | "40001" => Some((
            "is too busy: a statement or a lock took too long",
            "look at what else works in that database",
        )),
        "57P01" | "57P02" | "57P03" => Some((
            "is starting or shutting down",
            "it heals by itself once the PostgreSQL server runs",
        )),
        _ => None,
    }
}

/// The primary result code, <https://www.sqlite.org/rescode.html>.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn explained_file(error: &sqlx::Error) -> Option<Words> {
    match error {
        sqlx::Error::Io(fault) => explained_io(fault.kind()),
        sqlx::Error::PoolTimedOut => Some((
            "is too busy: no connection came free in time",
            "the disk may be too slow; look at what else writes to it",
        )),
        _ => explained_code(primary_code(error)?),
    }
}

fn explained_io(kind: std::io::ErrorKind) -> Option<Words> {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::NotFound => Some((
            "cannot be made: its folder does not exist",
            "make the folder, or change store.url",
        )),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Some(READ_ONLY),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(FULL),
        ErrorKind::StaleNetworkFileHandle => Some((
            "was removed or replaced while this program had it open",
            "put that very file back under its name, or start again: what was written since is lost then",
        )),
        ErrorKind::IsADirectory => Some((
            "is a folder",
            "store.url names a file, such as sqlite:vestibule.db",
        )),
        _ => None,
    }
}

const READ_ONLY: Words = (
    "cannot be written",
    "let the user that runs vestibule write to the file and to its folder",
);
const FULL: Words = ("is on a full disk", "free some space; nothing was lost");

fn explained_code(code: i32) -> Option<Words> {
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
    use crate::config::StorePlace;
    use crate::store::Store;

    #[tokio::test]
    async fn a_full_disk_is_named_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = StorePlace::Sqlite(folder.path().join("store.db"));
        let store = Store::open(&place).await.unwrap();
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
