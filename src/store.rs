//! Users, sessions, revocations, pushes and the audit trail: in one SQLite file for one node, in one
//! PostgreSQL database for many, under one contract (`tests/it/store.rs` holds both to it).
//!
//! What a sign-in writes is decided by a pure function between reading and writing
//! ([`Store::transact`]), so that it can be decided again where a transaction lost a race. The pools belong to
//! the control runtime; workers hand work there. Every call is bounded in time.

mod administration;
mod audit;
mod change;
mod database;
mod directory_file;
mod facts;
mod fault;
mod housekeeping;
mod kept_forms;
mod notification;
mod provider_logout;
mod push;
mod renewal;
mod sessions;
mod skeleton;
mod standing;
mod users;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::{StorePlace, UserField, UserStatus};
use crate::environment::UnixSeconds;

use database::{Dialect, FileIdentity, Pools};

pub use administration::{Administered, Rebound};
pub use audit::{AuditEntry, AuditRow, FieldChange};
pub use change::Change;
pub use database::Access;
pub use directory_file::AppliedFile;
pub use facts::{Facts, Question, Wanted};
pub use fault::Error;
pub use kept_forms::NewForm;
pub use provider_logout::{LogoutRecord, ProviderLogout};
pub use push::{Push, PushState, Settlement};
pub use renewal::{Claim, Claimed};
pub use sessions::{
    ListedSession, NewSession, OpenSessionError, RecordedClaims, Renewable, SessionRecord,
};
pub use skeleton::{Skeleton, forbidden_character};
pub use standing::{ChangedUser, Standing};
pub use users::Cursor;

/// How long any call may take: longer than a busy database needs, shorter than the patience of a person and
/// of the server in front. A host that vanished does not say so.
const PATIENCE: Duration = Duration::from_secs(15);

/// The store's one handle; clones share the pool.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    place: StorePlace,
    dialect: Dialect,
    pools: Pools,
    /// Which file it is, whatever its name; `None` for a server.
    file: Option<FileIdentity>,
    /// User id and time of sign-ins that are not written yet.
    logins: Mutex<HashMap<String, UnixSeconds>>,
}

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stable id, never reused; the `externalId` of pushes.
    pub id: String,
    /// The directory that owns the user.
    pub directory: String,
    /// What the directory says: whether the user may come in.
    pub status: UserStatus,
    /// An administrator's word, which no directory undoes: the user may not come in.
    pub deactivated: bool,
    /// A push receiver has them from somebody else: they are let in, and nothing is written to them.
    pub elsewhere: bool,
    /// The fields that have a value; `Username` always has.
    pub fields: BTreeMap<UserField, String>,
    /// `(issuer, subject)`, oldest first. What is not among them when the user is written is forgotten.
    pub identities: Vec<(String, String)>,
    /// When created.
    pub created_at: UnixSeconds,
    /// When a field, status or identity last changed.
    pub updated_at: UnixSeconds,
    /// The last sign-in that was let in; written in batches.
    pub last_login_at: Option<UnixSeconds>,
}

impl User {
    /// The value of a field.
    pub fn field(&self, field: UserField) -> Option<&str> {
        self.fields.get(&field).map(String::as_str)
    }

    /// Whether the user may come in, by the directory's and the administrator's word.
    pub fn is_active(&self) -> bool {
        self.status == UserStatus::Active && !self.deactivated
    }

    /// `active` or `inactive`, as it is printed and audited.
    pub fn status(&self) -> &'static str {
        match self.is_active() {
            true => UserStatus::Active.as_str(),
            false => UserStatus::Inactive.as_str(),
        }
    }

    /// The username; it is never missing.
    pub fn username(&self) -> &str {
        self.field(UserField::Username).unwrap_or_default()
    }
}

impl Store {
    /// Opens the store, creates it where it is missing and brings its tables up to date.
    ///
    /// # Errors
    /// [`Error`]: the file's folder is missing, it cannot be written, is locked, no database, or newer than
    /// this program; the server does not answer or does not know the user or the database.
    pub async fn open(place: &StorePlace) -> Result<Self, Error> {
        let opened = database::open(place).await;
        opened
            .map(|pools| Self::new(place, pools))
            .map_err(|fault| Error::new(place, fault))
    }

    /// Opens a store that a server made, beside a running server: not made, and its tables not changed. `None` if
    /// there is none or nothing in it yet.
    ///
    /// # Errors
    /// [`Error`], also for tables of another version.
    pub async fn open_existing(place: &StorePlace, access: Access) -> Result<Option<Self>, Error> {
        let opened = database::open_existing(place, access).await;
        opened
            .map(|pools| pools.map(|pools| Self::new(place, pools)))
            .map_err(|fault| Error::new(place, fault))
    }

    /// Whether [`Store::open`] could make a store that is not there yet, by this process's user. Nothing stays behind.
    ///
    /// # Errors
    /// [`Error`]: the file's folder is missing or cannot be written.
    pub fn can_be_made(place: &StorePlace) -> Result<(), Error> {
        database::can_be_made(place).map_err(|fault| Error::new(place, fault))
    }

    fn new(place: &StorePlace, pools: Pools) -> Self {
        Self(Arc::new(Shared {
            place: place.clone(),
            dialect: Dialect::of(place),
            pools,
            file: FileIdentity::of(place),
            logins: Mutex::default(),
        }))
    }

    fn fault(&self, source: sqlx::Error) -> Error {
        Error::new(&self.0.place, source)
    }

    /// Bounds what `work` takes, and tells its fault.
    async fn within_patience<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => done.map_err(|fault| self.fault(fault)),
            Err(_) => Err(self.fault(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Whether the store answers now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ping(&self) -> Result<(), Error> {
        let look = sqlx::query("select 1 from users limit 1").fetch_optional(&self.0.pools.reader);
        self.within_patience(look).await.map(drop)
    }

    /// Whether the file of the store still has its name. What is written to one that was removed or replaced goes with
    /// this process, and no command sees it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn is_in_place(&self) -> Result<(), Error> {
        self.within_patience(self.check_place()).await
    }

    async fn check_place(&self) -> Result<(), sqlx::Error> {
        match (&self.0.file, &self.0.place) {
            (Some(opened), StorePlace::Sqlite(file)) => opened.check(file).await,
            _ => Ok(()),
        }
    }

    /// Whether something can be written now: it writes a row that means nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn can_be_written(&self, now: UnixSeconds) -> Result<(), Error> {
        self.is_in_place().await?;
        // No directory has an empty name.
        let write = sqlx::query(
            "insert into directory_files (directory, leased_until) values ('', $1) \
             on conflict (directory) do update set leased_until = $1",
        )
        .bind(now)
        .execute(&self.0.pools.writer);
        let written = self.within_patience(write).await;
        if written.as_ref().is_err_and(Error::is_of_a_reader) {
            self.0.pools.close_idle().await;
        }
        written.map(drop)
    }

    /// Lets connections finish and closes them; later calls fail. Without it a stop is safe too:
    /// what was returned as written is on the disk.
    pub async fn close(&self) {
        self.0.pools.reader.close().await;
        self.0.pools.writer.close().await;
    }
}
