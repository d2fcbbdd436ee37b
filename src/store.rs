//! Users, sessions, revocations and the audit trail, kept in one SQLite file (WAL).
//!
//! Every writing transaction is `BEGIN IMMEDIATE`: a deferred one loses to a concurrent writer in
//! spite of the busy timeout. The pool belongs to the control runtime; workers hand work there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{UserField, UserStatus};
use crate::environment::UnixSeconds;

/// The store's one handle; clones share the pool.
#[derive(Clone)]
pub struct Store {}

/// The store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the store {path} does not answer: {source}")]
pub struct Error {
    /// The SQLite file.
    pub path: String,
    /// What the database said.
    #[source]
    pub source: sqlx::Error,
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
    /// [`Error`].
    pub async fn open(_file: &Path) -> Result<Self, Error> {
        todo!()
    }

    /// Records a session. Once this returns it survives a crash.
    ///
    /// # Errors
    /// [`OpenSessionError`].
    pub async fn open_session(&self, _session: &NewSession) -> Result<(), OpenSessionError> {
        todo!()
    }

    /// The session of that `sid`; `None` if it was never recorded here or is long over.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn session(&self, _sid: &str) -> Result<Option<SessionRecord>, Error> {
        todo!()
    }

    /// Ends a session for good, copies of its cookie too.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_session(&self, _sid: &str, _now: UnixSeconds) -> Result<(), Error> {
        todo!()
    }

    /// The `sid`s ended at or after `since`, by any process.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ended_since(&self, _since: UnixSeconds) -> Result<Vec<String>, Error> {
        todo!()
    }

    /// How many sessions are live.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn live_sessions(&self, _now: UnixSeconds) -> Result<u64, Error> {
        todo!()
    }

    /// Notes a sign-in that was let in; written in batches by [`Store::keep_house`].
    pub fn note_login(&self, _user: &str, _now: UnixSeconds) {
        todo!()
    }

    /// One round of housekeeping: writes noted logins, drops sessions that are over and audit rows
    /// older than `audit_before`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_house(
        &self,
        _now: UnixSeconds,
        _audit_before: UnixSeconds,
    ) -> Result<(), Error> {
        todo!()
    }

    /// The user of that username, compared by its skeleton.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn user_by_name(&self, _username: &str) -> Result<Option<User>, Error> {
        todo!()
    }

    /// Whether the store answers now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ping(&self) -> Result<(), Error> {
        todo!()
    }
}
