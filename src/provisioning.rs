//! Whose user is it, and what is written: verified claims, a directory's mapping and the store
//! become an [`Account`], or a refusal that says why. The order and the outcomes are the design's.
//!
//! Decisions are not remembered. Somebody of whom nothing changed costs one indexed read, which is also how this node
//! learns that any other process deactivated, unbound or changed the user; a decision from memory would need that very
//! read before it could be used, and saves microseconds beside the transaction that records the session. That
//! transaction looks at the user once more ([`Store::open_session`]), since a receiver may take seconds in between.

mod decision;
mod directories;
mod entry;
mod fields;
mod naming;
pub mod outbox;
mod rules;
pub mod scim;
mod sign_in;
pub mod text;
mod verdict;

use std::collections::BTreeMap;

use crate::config::{self, UserField};
use crate::environment::{SystemRandom, UnixSeconds, random_text};
use crate::mapping::Explanation;
use crate::oidc::{ClaimSet, Claims};
use crate::store::{self, Facts, FieldChange, Question, Store, User, Wanted};
use crate::telemetry::RequestId;

use directories::Directories;
use sign_in::SignIn;
use verdict::Decided;

/// Decides and writes.
pub struct Provisioning {
    directories: Directories,
    store: Store,
}

/// Who signs in, and where.
#[derive(Debug, Clone, Copy)]
struct Person<'a> {
    provider: &'a str,
    issuer: &'a str,
    subject: &'a str,
}

impl<'a> Person<'a> {
    fn question(
        &self,
        wanted: &'a (dyn Fn(Option<&User>) -> Wanted + Send + Sync),
    ) -> Question<'a> {
        Question {
            issuer: self.issuer,
            subject: self.subject,
            wanted,
        }
    }
}

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
    OwnedElsewhere,
    Conflict,
    Inactive,
    Refused,
}

/// Why nobody comes in; carries what page, log and audit say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}{}", outcome.as_str(), rule.as_ref().map(|rule| format!(": {rule}")).unwrap_or_default())]
pub struct Refusal {
    /// `Conflict`, `Inactive` or `Refused`.
    pub outcome: Outcome,
    /// The directory that decided.
    pub directory: String,
    /// Which field, claim or rule: expected and found, no claim value. English, for log and audit.
    pub reason: String,
    /// The user field or claim that the person's page names, if one is at fault.
    pub field: Option<String>,
    /// What the operator tells people whom an access rule refuses.
    pub message: Option<String>,
    /// The access rule that says no, as the file has it: for the log, where it stands behind the reason.
    pub rule: Option<Box<str>>,
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
    /// The access rule that says no, as the file has it.
    pub rule: Option<String>,
    /// Directories that were asked before, and why they do not take this person.
    pub others: Vec<(String, String)>,
    /// The mapping, field by field; without fields where no mapping writes to the user.
    pub explanation: Explanation,
    /// The user as stored now, if known.
    pub before: Option<User>,
    /// The user as it would be stored; `None` where nothing would be.
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
            Outcome::OwnedElsewhere => "owned-elsewhere",
            Outcome::Conflict => "conflict",
            Outcome::Inactive => "inactive",
            Outcome::Refused => "refused",
        }
    }
}

impl Provisioning {
    /// Compiles the directories' mappings.
    pub fn new(config: &config::Config, store: Store) -> Self {
        Self {
            directories: Directories::new(config),
            store,
        }
    }

    /// Creates, synchronises or refuses, in one transaction with its audit row.
    ///
    /// A known user of whom nothing changes costs one read. Everything else is decided again inside of the
    /// writing transaction, on what stands there then; once this returns, it survives a crash.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn provision(
        &self,
        claims: &Claims,
        session_claims: &ClaimSet,
        request: RequestId,
        now: UnixSeconds,
    ) -> Result<Account, Error> {
        let person = Person {
            provider: claims.provider(),
            issuer: claims.issuer(),
            subject: claims.subject(),
        };
        self.provision_person(person, session_claims, request, now)
            .await
    }

    async fn provision_person(
        &self,
        person: Person<'_>,
        session_claims: &ClaimSet,
        request: RequestId,
        now: UnixSeconds,
    ) -> Result<Account, Error> {
        let sign_in = SignIn::new(&self.directories, person, session_claims);
        let wanted = |known: Option<&User>| self.directories.wanted(&sign_in, known);
        let question = person.question(&wanted);
        let new_id = random_text::<16>(&SystemRandom);
        let decide = |facts: &Facts| {
            let decided = self.directories.decide(&sign_in, facts, &new_id, now);
            let directories = &self.directories;
            let change = entry::change(directories, &person, &decided, request, now);
            (change, decided)
        };
        let (change, mut decided) = decide(&self.store.facts(&question).await?);
        if !change.is_empty() {
            decided = self.store.transact(&question, now, decide).await?;
        }
        warn_operator(&decided, request);
        let outcome = decided.outcome;
        let user = decided.lets_in()?;
        Ok(Account { user, outcome })
    }

    /// What [`Provisioning::provision`] would do for this identity and these claims; writes nothing.
    ///
    /// # Errors
    /// [`store::Error`].
    pub async fn explain(
        &self,
        provider: &str,
        issuer: &str,
        subject: &str,
        session_claims: &ClaimSet,
    ) -> Result<Decision, store::Error> {
        let person = Person {
            provider,
            issuer,
            subject,
        };
        let sign_in = SignIn::new(&self.directories, person, session_claims);
        let wanted = |known: Option<&User>| self.directories.wanted(&sign_in, known);
        let facts = self.store.facts(&person.question(&wanted)).await?;
        Ok(self.directories.decision(&sign_in, &facts))
    }
}

/// What provisioning would do for somebody whom nobody knows, in an empty directory: the answer before
/// there is a store.
pub fn explain_unknown(
    config: &config::Config,
    provider: &str,
    session_claims: &ClaimSet,
) -> Decision {
    let directories = Directories::new(config);
    let person = Person {
        provider,
        issuer: "",
        subject: "",
    };
    let sign_in = SignIn::new(&directories, person, session_claims);
    directories.decision(&sign_in, &Facts::default())
}

/// Before and after of everything that differs, as audit rows have it.
pub fn audited_changes(before: &User, after: &User) -> BTreeMap<String, FieldChange> {
    entry::differences(Some(before), after)
}

/// What an operator has to mend, while people still come in or are turned away for no fault of theirs.
fn warn_operator(decided: &Decided, request: RequestId) {
    if decided.outcome == Outcome::RenameKept || decided.over_max_users {
        tracing::warn!(
            id = %request,
            user = decided.user.as_ref().map(|user| user.id.as_str()),
            outcome = decided.outcome.as_str(),
            "{}", decided.reason
        );
    }
}

#[cfg(test)]
mod tests;
