//! Whose user is it, and what is written: verified claims, a directory's mapping and the store
//! become an [`Account`], or a refusal that says why. The order and the outcomes are the design's.

use crate::config::{self, UserField};
use crate::environment::UnixSeconds;
use crate::mapping::Explanation;
use crate::oidc::{ClaimSet, Claims};
use crate::store::{self, Store, User};
use crate::telemetry::RequestId;

/// Decides and writes.
pub struct Provisioning {}

/// A provisioned, active user that may come in. Only [`Provisioning::provision`] makes one, and
/// sessions are issued to nothing else.
#[derive(Debug, Clone)]
pub struct Account {
    user: User,
    outcome: Outcome,
}

/// How a sign-in ended for the directory. `as_str` is the label of metrics, audit rows and `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the design's table of outcomes defines them")]
pub enum Outcome {
    Created,
    Updated,
    Unchanged,
    RenameKept,
    Adopted,
    Conflict,
    Inactive,
    Refused,
}

/// Why nobody comes in; carries what page, log and audit say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", outcome.as_str())]
pub struct Refusal {
    /// `Conflict`, `Inactive` or `Refused`.
    pub outcome: Outcome,
    /// The directory that decided.
    pub directory: String,
    /// Which field, claim or rule: expected and found, no claim value. English, for log and audit.
    pub reason: String,
    /// The user field or claim that the person's page names, if one is at fault.
    pub field: Option<String>,
}

/// A sign-in that came to no account.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory says no. 403.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store does not answer. 503.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What would happen, without writing: the product of the same code that decides.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The outcome.
    pub outcome: Outcome,
    /// The directory concerned.
    pub directory: String,
    /// Why, in one sentence.
    pub reason: String,
    /// The mapping, field by field.
    pub explanation: Explanation,
    /// The user as stored now, if known.
    pub before: Option<User>,
    /// The user as it would be stored, if let in.
    pub after: Option<User>,
}

impl Account {
    /// The stored user.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The stored username: the one name of this person in token, headers and directory.
    pub fn username(&self) -> &str {
        self.user.field(UserField::Username).unwrap_or_default()
    }

    /// How the user got in.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl Outcome {
    /// As the design names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Updated => "updated",
            Outcome::Unchanged => "unchanged",
            Outcome::RenameKept => "rename-kept",
            Outcome::Adopted => "adopted",
            Outcome::Conflict => "conflict",
            Outcome::Inactive => "inactive",
            Outcome::Refused => "refused",
        }
    }
}

impl Provisioning {
    /// Compiles the directories' mappings.
    pub fn new(_config: &config::Config, _store: Store) -> Self {
        todo!()
    }

    /// Creates, synchronises or refuses, in one transaction with its audit row.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn provision(
        &self,
        _claims: &Claims,
        _session_claims: &ClaimSet,
        _request: RequestId,
        _now: UnixSeconds,
    ) -> Result<Account, Error> {
        todo!()
    }

    /// What [`Provisioning::provision`] would do for this identity and these claims; writes nothing.
    ///
    /// # Errors
    /// [`store::Error`].
    pub async fn explain(
        &self,
        _provider: &str,
        _issuer: &str,
        _subject: &str,
        _session_claims: &ClaimSet,
    ) -> Result<Decision, store::Error> {
        todo!()
    }
}
