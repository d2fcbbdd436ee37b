//! Users, sessions, revocations and the audit trail, kept in one SQLite file (WAL).
//!
//! Every writing transaction is `BEGIN IMMEDIATE`: a deferred one loses to a concurrent writer in
//! spite of the busy timeout. The pool belongs to the control runtime; workers hand work there.
//! What a sign-in writes is decided by a pure function between reading and writing
//! ([`Store::transact`]), so another database can run it again where its transaction lost a race.

mod audit;
mod change;
mod fault;
mod sessions;
mod skeleton;
mod sqlite;
mod users;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::config::{UserField, UserStatus};
use crate::environment::UnixSeconds;

pub use audit::{AuditEntry, AuditRow, FieldChange};
pub use change::Change;
pub use fault::Error;
pub use skeleton::{Skeleton, forbidden_character};
pub use users::{Cursor, Facts, Question};

/// The store's one handle; clones share the pool.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    file: Box<Path>,
    pools: sqlite::Pools,
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
    /// Whether the user may come in.
    pub status: UserStatus,
    /// The fields that have a value; `Username` always has.
    pub fields: BTreeMap<UserField, String>,
    /// `(issuer, subject)`, oldest first.
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

    /// The username; it is never missing.
    pub fn username(&self) -> &str {
        self.field(UserField::Username).unwrap_or_default()
    }
}

/// A session to be recorded.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The token's `sid`.
    pub sid: String,
    /// The nonce of the authorization response it was issued for: one response, one session.
    pub sign_in: String,
    /// [`User::id`].
    pub user: String,
    /// The provider's name.
    pub provider: String,
    /// The ID token, sealed.
    pub id_token: Vec<u8>,
    /// When issued.
    pub created_at: UnixSeconds,
    /// When it ends by itself; the row may be dropped after that.
    pub expires_at: UnixSeconds,
}

/// Why a session was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum OpenSessionError {
    /// A session was opened for this authorization response before.
    #[error("the authorization response was used before")]
    SignInUsed,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A session as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The provider's name.
    pub provider: String,
    /// The ID token, sealed.
    pub id_token: Vec<u8>,
    /// Whether it was ended (logged out).
    pub ended: bool,
}

impl Store {
    /// Opens the file, creates it where it is missing and brings its tables up to date.
    ///
    /// # Errors
    /// [`Error`]: its folder is missing, it cannot be written, is locked, no database, or newer than
    /// this program.
    pub async fn open(file: &Path) -> Result<Self, Error> {
        match sqlite::open(file).await {
            Ok(pools) => Ok(Self::new(file, pools)),
            Err(fault) => Err(Error::new(file, fault)),
        }
    }

    /// Opens a file that a server made, to read only and beside a running server: neither made nor
    /// changed. `None` if there is no file or nothing in it yet.
    ///
    /// # Errors
    /// [`Error`], also for tables of another version.
    pub async fn open_existing(file: &Path) -> Result<Option<Self>, Error> {
        match sqlite::open_existing(file).await {
            Ok(pools) => Ok(pools.map(|pools| Self::new(file, pools))),
            Err(fault) => Err(Error::new(file, fault)),
        }
    }

    fn new(file: &Path, pools: sqlite::Pools) -> Self {
        Self(Arc::new(Shared {
            file: file.into(),
            pools,
            logins: Mutex::default(),
        }))
    }

    fn fault(&self, source: sqlx::Error) -> Error {
        Error::new(&self.0.file, source)
    }

    /// Whether the store answers now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("select 1 from users limit 1")
            .fetch_optional(&self.0.pools.reader)
            .await
            .map(drop)
            .map_err(|fault| self.fault(fault))
    }

    /// Lets connections finish and closes the file; later calls fail. Without it a stop is safe too:
    /// what was returned as written is on the disk.
    pub async fn close(&self) {
        self.0.pools.reader.close().await;
        self.0.pools.writer.close().await;
    }
}
