//! One self-provisioning directory's rules: what becomes of a person it knows, adopts or creates.

use crate::config::{Adopt, SelfProvisioning, UserField};
use crate::environment::UnixSeconds;
use crate::mapping::{Explanation, Mapping};
use crate::store::{Facts, User};

use super::Outcome;
use super::sign_in::SignIn;
use super::verdict::{No, Yes};

/// A self-provisioning directory, compiled.
pub(super) struct Rules {
    /// The directory's name.
    pub(super) name: String,
    /// Its place among the directories.
    pub(super) place: usize,
    pub(super) config: SelfProvisioning,
    pub(super) mapping: Mapping,
    /// Behind a message about the username: where a provider's own claim is looked for under the session's name.
    pub(super) username_origin: String,
    /// Of all directories.
    pub(super) reserved: super::naming::Reserved,
}

impl Rules {
    /// The identity is known.
    pub(super) fn known(
        &self,
        user: &User,
        explanation: &Explanation,
        facts: &Facts,
    ) -> Result<Yes, No> {
        if !self.config.update {
            return Ok(Yes {
                outcome: Outcome::Unchanged,
                reason: "the identity is known, and update is off".to_owned(),
                user: user.clone(),
            });
        }
        let mut after = self.synchronised(user, explanation, false)?;
        let kept = self.rename(user, &mut after, facts)?;
        let (outcome, reason) = match kept {
            Some(reason) => (Outcome::RenameKept, reason),
            None if after == *user => (
                Outcome::Unchanged,
                "the identity is known and nothing changes",
            ),
            None => (
                Outcome::Updated,
                "the identity is known and the user is synchronised",
            ),
        };
        Ok(Yes {
            outcome,
            reason: reason.to_owned(),
            user: after,
        })
    }

    /// The username is known, the identity is not.
    pub(super) fn adopted(
        &self,
        sign_in: &SignIn<'_>,
        user: &User,
        facts: &Facts,
    ) -> Result<Yes, No> {
        let bound = !user.identities.is_empty();
        let reason = match (self.config.adopt, bound) {
            (Adopt::Unbound, false) | (Adopt::Any, _) => None,
            (_, true) => Some("the username is bound to another identity"),
            (Adopt::Never, false) => {
                Some("the username belongs to a user without an identity, and adopt is never")
            }
        };
        if let Some(reason) = reason {
            return Err(No::new(Outcome::Conflict, reason).field(UserField::Username));
        }
        let mut after = match self.config.update {
            true => self.synchronised(user, sign_in.explanation(self), false)?,
            false => user.clone(),
        };
        self.rename(user, &mut after, facts)?;
        after.identities.push(sign_in.person.identity());
        Ok(Yes {
            outcome: Outcome::Adopted,
            reason: "the username is known, and adopt allows to record the identity".to_owned(),
            user: after,
        })
    }

    /// Neither identity nor username is known.
    pub(super) fn created(
        &self,
        sign_in: &SignIn<'_>,
        facts: &Facts,
        new_id: &str,
        now: UnixSeconds,
    ) -> Result<Yes, No> {
        if facts.given_up_by.is_some() {
            return Err(No::refused(
                "the username was given up by another user and is not released",
            )
            .field(UserField::Username));
        }
        if !self.config.create {
            return Err(No::refused(format!(
                "nobody of this identity or username is known, and create is off in directory {}",
                self.name
            )));
        }
        if let Some(most) = self.config.max_users.filter(|most| facts.users >= *most) {
            return Err(No {
                over_max_users: true,
                ..No::refused(format!(
                    "directory {} has as many users as max_users allows: {most}",
                    self.name
                ))
            });
        }
        let empty = User {
            id: new_id.to_owned(),
            directory: self.name.clone(),
            status: self.config.new_user_status,
            deactivated: false,
            elsewhere: false,
            fields: Default::default(),
            identities: vec![sign_in.person.identity()],
            created_at: now,
            updated_at: now,
            last_login_at: None,
        };
        Ok(Yes {
            outcome: Outcome::Created,
            reason: "nobody has this identity or this username".to_owned(),
            user: self.synchronised(&empty, sign_in.explanation(self), true)?,
        })
    }
}
