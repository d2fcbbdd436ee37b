//! What a decision comes to: a user to go on with or a reason not to, and the status's last word.

use crate::config::UserField;
use crate::environment::UnixSeconds;
use crate::store::User;

use super::{Outcome, Refusal};

/// What becomes of a sign-in.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    pub(super) outcome: Outcome,
    /// The directory that decided.
    pub(super) directory: String,
    /// One sentence without claim values.
    pub(super) reason: String,
    /// The user field or claim at fault, for the person's page.
    pub(super) field: Option<String>,
    /// What the operator tells people whom an access rule refuses.
    pub(super) message: Option<String>,
    /// The access rule that said no, as the file has it.
    pub(super) rule: Option<String>,
    /// The username that was asked for, if it is one.
    pub(super) username: Option<String>,
    /// The user as stored before, if the sign-in is about a known one.
    pub(super) before: Option<User>,
    /// The user it ends with: as stored now, or as they are to be stored where `write` says so.
    pub(super) user: Option<User>,
    /// Whether `user` is to be stored.
    pub(super) write: bool,
    /// Refused for the number of users.
    pub(super) over_max_users: bool,
}

/// Why a sign-in goes no further.
#[derive(Debug, Clone)]
pub(super) struct No {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) field: Option<String>,
    pub(super) over_max_users: bool,
}

/// A user to go on with.
pub(super) struct Yes {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) user: User,
}

impl No {
    pub(super) fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: reason.into(),
            field: None,
            over_max_users: false,
        }
    }

    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Refused, reason)
    }

    pub(super) fn field(self, field: UserField) -> Self {
        Self {
            field: Some(field.name().to_owned()),
            ..self
        }
    }
}

impl Decided {
    /// The same, refused.
    pub(super) fn refused(self, no: No) -> Self {
        Self {
            outcome: no.outcome,
            reason: no.reason,
            field: no.field,
            over_max_users: no.over_max_users,
            ..self
        }
    }

    /// The user who may come in, or why not.
    pub(super) fn lets_in(self) -> Result<User, Refusal> {
        let refused = self.is_refusal();
        match self.user {
            Some(user) if !refused => Ok(user),
            _ => Err(Refusal {
                outcome: self.outcome,
                directory: self.directory,
                reason: self.reason,
                field: self.field,
                message: self.message,
                rule: self.rule.map(Into::into),
            }),
        }
    }

    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Conflict | Outcome::Inactive | Outcome::Refused
        )
    }
}

/// The status has the last word, whatever the outcome. Somebody who was created inactive is stored, or
/// there would be nobody to activate; of a known inactive user nothing is written.
pub(super) fn with_status(base: Decided, yes: Yes, now: UnixSeconds) -> Decided {
    let Yes {
        outcome,
        reason,
        mut user,
    } = yes;
    let inactive = |reason: &str, user: Option<User>, write: bool| Decided {
        outcome: Outcome::Inactive,
        reason: reason.to_owned(),
        user,
        write,
        ..base.clone()
    };
    match (user.is_active(), outcome) {
        (false, Outcome::Created) => inactive(
            "the user was created inactive and waits for activation",
            Some(user),
            true,
        ),
        (false, _) => inactive(
            "the user is inactive and waits for activation",
            base.before.clone(),
            false,
        ),
        (true, _) => {
            let write = base.before.as_ref() != Some(&user);
            if write {
                user.updated_at = now;
            }
            Decided {
                outcome,
                reason,
                user: Some(user),
                write,
                ..base
            }
        }
    }
}
