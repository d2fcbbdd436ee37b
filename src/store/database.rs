//! The two databases behind the one contract: how each is opened and brought up to date, and the few
//! places where their SQL differs. Everything else is written once: `$1` is a parameter in both.
//!
//! SQLite runs in WAL mode, so that readers and the one writer do not wait for each other, with `synchronous =
//! FULL`, because with `NORMAL` a power failure takes back the last commits: a logout would be undone, and a
//! user's audit row lost. The price is one fsync a sign-in, never one a request. Its process writes over
//! a single connection, so that its own writers queue fairly instead of polling a lock.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection as _, Executor as _};

use crate::config::StorePlace;

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// How long a task may wait for a connection to a SQLite file: a queue of writers behind one that waits itself.
const SQLITE_WAIT: Duration = Duration::from_secs(10);
/// The same for PostgreSQL: as long as one may take to start again, and no person waits longer to hear of it.
const POSTGRES_WAIT: Duration = Duration::from_secs(3);
/// Connections that read one SQLite file.
const READERS: u32 = 4;
/// Connections of a node to its PostgreSQL, whose default is 100 for all nodes.
const CONNECTIONS: u32 = 10;

/// Another process may hold the write lock longer than any of our own transactions, but not longer than a
/// person's patience. A WAL that grew during a long read is cut back to 64 MiB.
const SQLITE_WRITES: &str = "pragma busy_timeout = 5000; pragma foreign_keys = on; pragma synchronous = full; \
     pragma journal_mode = wal; pragma journal_size_limit = 67108864";
const SQLITE_READS: &str = "pragma busy_timeout = 5000; pragma query_only = on";
/// No statement, lock or forgotten transaction holds anybody up for longer.
const POSTGRES_WRITES: &str = "set statement_timeout = '10s'; set lock_timeout = '5s'; \
     set idle_in_transaction_session_timeout = '30s'";
const POSTGRES_READS: &str =
    "set statement_timeout = '10s'; set default_transaction_read_only = on";

/// Which database it is, where its SQL differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(super) fn of(place: &StorePlace) -> Self {
        match place {
            StorePlace::Sqlite(_) => Self::Sqlite,
            StorePlace::Postgres { .. } => Self::Postgres,
        }
    }

    /// The one of two texts that this database understands.
    pub(super) fn pick(self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }

    /// Begins a transaction that writes. A deferred one of SQLite loses to a concurrent writer in spite of the
    /// busy timeout; PostgreSQL's own default, READ COMMITTED, sees what stands there once a lock is had.
    pub(super) fn begin(self) -> &'static str {
        self.pick("begin immediate", "begin isolation level read committed")
    }

    fn migrations(self) -> &'static Migrator {
        match self {
            Self::Sqlite => &SQLITE,
            Self::Postgres => &POSTGRES,
        }
    }
}

/// Connections; to PostgreSQL the same ones read and write.
pub(super) struct Pools {
    pub(super) reader: AnyPool,
    pub(super) writer: AnyPool,
}

impl Pools {
    /// Gives up the connections that nobody uses. SQLite opens a file that cannot be written just then for reading, its
    /// shared memory too, and none of a process's connections writes before the last of those is closed.
    pub(super) async fn close_idle(&self) {
        for pool in [&self.reader, &self.writer] {
            while let Some(connection) = pool.try_acquire() {
                // It is given up either way.
                let _ = connection.close().await;
            }
        }
    }
}

/// What a process may do with a store that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look, and change nothing.
    Read,
    /// Write too, beside a running server.
    Write,
}

/// Makes what is missing, and brings the tables up to date.
pub(super) async fn open(place: &StorePlace) -> Result<Pools, sqlx::Error> {
    if let StorePlace::Sqlite(file) = place {
        create(file)?;
    }
    let pools = pools(place, Access::Write).await?;
    migrate(&pools.writer, Dialect::of(place)).await?;
    Ok(pools)
}

/// Opens what is there; `None` if it is missing or has no tables yet.
pub(super) async fn open_existing(
    place: &StorePlace,
    access: Access,
) -> Result<Option<Pools>, sqlx::Error> {
    if let StorePlace::Sqlite(file) = place
        && !file.try_exists().map_err(sqlx::Error::Io)?
    {
        return Ok(None);
    }
    let dialect = Dialect::of(place);
    let pools = pools(place, access).await?;
    let tables: i64 = sqlx::query_scalar(dialect.pick(
        "select count(*) from sqlite_schema where name = '_sqlx_migrations'",
        "select count(*) from pg_class where oid = to_regclass('_sqlx_migrations')",
    ))
    .fetch_one(&pools.reader)
    .await?;
    if tables == 0 {
        return Ok(None);
    }
    let found: i64 = sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations")
        .fetch_one(&pools.reader)
        .await?;
    let expected = dialect.migrations().iter().map(|it| it.version).max();
    let expected = expected.unwrap_or_default();
    match found.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(Some(pools)),
        std::cmp::Ordering::Less => Err(MigrateError::VersionTooOld(found, expected).into()),
        std::cmp::Ordering::Greater => Err(MigrateError::VersionMissing(found).into()),
    }
}

async fn pools(place: &StorePlace, access: Access) -> Result<Pools, sqlx::Error> {
    sqlx::any::install_default_drivers();
    let options = options(place)?;
    let session = session(Dialect::of(place), access);
    // A pool tries again and says only that it waited; this says why.
    let mut first = AnyConnection::connect_with(&options).await?;
    first.execute(session).await?;
    first.close().await?;
    let pool = |connections: u32| {
        AnyPoolOptions::new()
            .max_connections(connections)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(session).await.map(drop) })
            })
            // A full disk ends a transaction by itself; the connection still counts it and would begin no other.
            .after_release(|connection, _| {
                let is_idle = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_idle) })
            })
    };
    Ok(match place {
        StorePlace::Sqlite(_) => {
            // A file needs no heartbeat; it would cost each read a second hop.
            let pool = |connections| {
                pool(connections)
                    .acquire_timeout(SQLITE_WAIT)
                    .test_before_acquire(false)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .connect_lazy_with(options.clone())
            };
            Pools {
                reader: pool(READERS),
                writer: pool(1),
            }
        }
        StorePlace::Postgres { .. } => {
            let pool = pool(CONNECTIONS)
                .acquire_timeout(POSTGRES_WAIT)
                .connect_lazy_with(options);
            Pools {
                reader: pool.clone(),
                writer: pool,
            }
        }
    })
}

/// What every connection is told first.
fn session(dialect: Dialect, access: Access) -> &'static str {
    match access {
        Access::Write => dialect.pick(SQLITE_WRITES, POSTGRES_WRITES),
        Access::Read => dialect.pick(SQLITE_READS, POSTGRES_READS),
    }
}

fn options(place: &StorePlace) -> Result<AnyConnectOptions, sqlx::Error> {
    connection_url(place).parse()
}

/// With the password: not for any log.
pub(super) fn connection_url(place: &StorePlace) -> String {
    match place {
        StorePlace::Sqlite(file) => {
            let file = file.as_os_str().as_encoded_bytes();
            let file = percent_encode(file, NON_ALPHANUMERIC);
            format!("sqlite:{file}?mode=rw")
        }
        StorePlace::Postgres { url, password } => {
            let mut url = url.clone();
            if let Some(password) = password {
                let password = percent_encode(password.expose(), NON_ALPHANUMERIC).to_string();
                // A url that names a host, as this one does, takes a password.
                let _ = url.set_password(Some(&password));
            }
            url.into()
        }
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

/// Whether [`open`] could make the file that is not there: a file beside it is made, and removed at once.
pub(super) fn can_be_made(place: &StorePlace) -> Result<(), sqlx::Error> {
    let StorePlace::Sqlite(file) = place else {
        return Ok(());
    };
    let probe = file.with_extension(format!("check-{}", std::process::id()));
    create(&probe)?;
    Ok(std::fs::remove_file(probe)?)
}

/// One transaction around all steps: processes that start at once do them once, and a crash in the
/// middle leaves the tables as they were.
async fn migrate(writer: &AnyPool, dialect: Dialect) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with(dialect.begin()).await?;
    if dialect == Dialect::Postgres {
        // "vest" in ASCII: no other program of this database has that lock.
        sqlx::query("select pg_advisory_xact_lock(1986359156)")
            .execute(&mut *transaction)
            .await?;
    }
    // What `run` calls; `run` on a connection makes a future that cannot be spawned.
    dialect
        .migrations()
        .run_direct(None, &mut *transaction, false)
        .await?;
    transaction.commit().await
}

/// Device and inode of a file: what stays when it is renamed, and differs when another takes its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);

impl FileIdentity {
    /// That of a store's file, if it is one.
    pub(super) fn of(place: &StorePlace) -> Option<Self> {
        match place {
            StorePlace::Sqlite(file) => std::fs::metadata(file).ok().as_ref().map(Self::new),
            StorePlace::Postgres { .. } => None,
        }
    }

    fn new(metadata: &std::fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    /// Fails where the file that has this name is another, or there is none.
    pub(super) async fn check(self, file: &Path) -> Result<(), sqlx::Error> {
        let there = tokio::fs::metadata(file).await;
        match there.is_ok_and(|found| Self::new(&found) == self) {
            true => Ok(()),
            false => Err(std::io::Error::from(std::io::ErrorKind::StaleNetworkFileHandle).into()),
        }
    }
}
