//! The SQLite file: how it is made, opened and brought up to date.
//!
//! WAL, so that readers and the one writer do not wait for each other; `synchronous = FULL`, because
//! with `NORMAL` a power failure takes back the last commits: a logout would be undone, and a user's
//! audit row lost. The price is one fsync a sign-in, never one a request. This process writes over
//! a single connection, so that its own writers queue fairly instead of polling a lock.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// How long another process may hold the write lock before a sign-in fails; longer than any of our
/// own transactions, shorter than a person's patience.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a task may wait for a connection: a queue of writers behind one that waits itself.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

pub(super) struct Pools {
    pub(super) reader: SqlitePool,
    pub(super) writer: SqlitePool,
}

/// Makes the file where it is missing, and brings its tables up to date.
pub(super) async fn open(file: &Path) -> Result<Pools, sqlx::Error> {
    create(file)?;
    let options = options(file)
        .journal_mode(SqliteJournalMode::Wal)
        // A WAL that grew during a long read is cut back to this.
        .pragma("journal_size_limit", "67108864");
    let pools = pools(options);
    migrate(&pools.writer).await?;
    Ok(pools)
}

/// Opens a file that is there, to read only; `None` if it is missing or has no tables yet.
pub(super) async fn open_existing(file: &Path) -> Result<Option<Pools>, sqlx::Error> {
    if !file.try_exists().map_err(sqlx::Error::Io)? {
        return Ok(None);
    }
    let pools = pools(options(file).pragma("query_only", "on"));
    let tables: i64 =
        sqlx::query_scalar("select count(*) from sqlite_schema where name = '_sqlx_migrations'")
            .fetch_one(&pools.reader)
            .await?;
    if tables == 0 {
        return Ok(None);
    }
    let found: i64 = sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations")
        .fetch_one(&pools.reader)
        .await?;
    let expected = MIGRATIONS.iter().map(|migration| migration.version).max();
    match found.cmp(&expected.unwrap_or_default()) {
        std::cmp::Ordering::Equal => Ok(Some(pools)),
        std::cmp::Ordering::Less => {
            Err(MigrateError::VersionTooOld(found, expected.unwrap_or_default()).into())
        }
        std::cmp::Ordering::Greater => Err(MigrateError::VersionMissing(found).into()),
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

fn pools(options: SqliteConnectOptions) -> Pools {
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            // A file needs no heartbeat; it would cost each read a second hop.
            .test_before_acquire(false)
            .connect_lazy_with(options.clone())
    };
    Pools {
        reader: pool(READERS),
        writer: pool(1),
    }
}

/// Readable by its owner only: it holds people's data. SQLite gives its side files the same mode.
fn create(file: &Path) -> Result<(), sqlx::Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind() == std::io::ErrorKind::AlreadyExists => match file.is_dir() {
            true => Err(std::io::Error::from(std::io::ErrorKind::IsADirectory).into()),
            false => Ok(()),
        },
        Err(fault) => Err(fault.into()),
    }
}

/// One transaction around all steps: processes that start at once do them once, and a crash in the
/// middle leaves the tables as they were.
async fn migrate(writer: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    // What `run` calls; `run` on a connection makes a future that cannot be spawned.
    MIGRATIONS
        .run_direct(None, &mut *transaction, false)
        .await?;
    transaction.commit().await
}
