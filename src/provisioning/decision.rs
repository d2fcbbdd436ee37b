//! The design's table of outcomes, in its order, as a pure function: a directory's rules, what its
//! mapping makes of the claims, and what the store knows become one [`Decided`]. `provision` and
//! `explain` both call it, so they cannot disagree.

use crate::config::{self, Adopt, UserField};
use crate::environment::UnixSeconds;
use crate::mapping::{Explanation, Mapping};
use crate::store::{Facts, Skeleton, User, Wanted};

use super::naming::username;
use super::verdict::{Decided, No, Yes, with_status};
use super::{Decision, Outcome, Person};

/// A directory's rules, compiled.
pub(super) struct Rules {
    pub(super) directory: config::Directory,
    pub(super) mapping: Mapping,
    pub(super) reserved: Vec<Skeleton>,
}

impl Rules {
    /// Exactly one directory is built so far; the configuration refuses more.
    pub(super) fn new(config: &config::Config) -> Self {
        let directory = config.directories[0].clone();
        Self {
            mapping: Mapping::new(&directory),
            reserved: directory
                .reserved_usernames
                .iter()
                .map(|name| Skeleton::of(name))
                .collect(),
            directory,
        }
    }

    /// What the store has to find out for this person.
    pub(super) fn wanted(&self, explanation: &Explanation) -> Wanted {
        Wanted {
            username: username(explanation).map(str::to_owned),
            directory: self.directory.name.clone(),
            count: self.directory.max_users.is_some(),
        }
    }

    /// Decides. `new_id` is the id of a user who is created; nobody else gets it.
    pub(super) fn decide(
        &self,
        person: &Person<'_>,
        explanation: &Explanation,
        facts: &Facts,
        new_id: &str,
        now: UnixSeconds,
    ) -> Decided {
        let before = facts.by_identity.as_ref().or(facts.by_username.as_ref());
        let base = Decided {
            outcome: Outcome::Refused,
            directory: self.directory.name.clone(),
            reason: String::new(),
            field: None,
            username: username(explanation).map(str::to_owned),
            before: before.cloned(),
            user: None,
            write: false,
            over_max_users: false,
        };
        match self.outcome(person, explanation, facts, new_id, now) {
            Err(no) => Decided {
                outcome: no.outcome,
                reason: no.reason,
                field: no.field,
                over_max_users: no.over_max_users,
                ..base
            },
            Ok(yes) => with_status(base, yes, now),
        }
    }

    /// [`Rules::decide`] as the command line shows it.
    pub(super) fn decision(
        &self,
        person: &Person<'_>,
        explanation: Explanation,
        facts: &Facts,
    ) -> Decision {
        let decided = self.decide(person, &explanation, facts, "", 0);
        let stored = decided.write || !decided.is_refusal();
        Decision {
            outcome: decided.outcome,
            directory: decided.directory,
            reason: decided.reason,
            explanation,
            before: decided.before,
            after: decided.user.filter(|_| stored),
        }
    }

    fn outcome(
        &self,
        person: &Person<'_>,
        explanation: &Explanation,
        facts: &Facts,
        new_id: &str,
        now: UnixSeconds,
    ) -> Result<Yes, No> {
        let providers = &self.directory.providers;
        if !providers.is_empty() && !providers.iter().any(|name| name == person.provider) {
            return Err(No::refused(format!(
                "directory {} takes people of {} only, found provider {}",
                self.directory.name,
                providers.join(", "),
                person.provider
            )));
        }
        if let Some(user) = &facts.by_identity {
            self.is_ours(user)?;
            return self.known(user, explanation, facts);
        }
        let username = self.wanted_username(explanation)?;
        if self.is_reserved(username) {
            return Err(
                No::refused("the username is on the list of reserved_usernames")
                    .field(UserField::Username),
            );
        }
        match &facts.by_username {
            Some(user) => {
                self.is_ours(user)?;
                self.adopted(person, user, explanation, facts)
            }
            None => self.created(person, explanation, facts, new_id, now),
        }
    }

    /// A directory that is no longer in the file has no rules to go by.
    fn is_ours(&self, user: &User) -> Result<(), No> {
        match user.directory == self.directory.name {
            true => Ok(()),
            false => Err(No::refused(format!(
                "the user belongs to directory {}, which is not in the configuration: expected one of that name",
                user.directory
            ))),
        }
    }

    /// The identity is known.
    fn known(&self, user: &User, explanation: &Explanation, facts: &Facts) -> Result<Yes, No> {
        if !self.directory.update {
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
    fn adopted(
        &self,
        person: &Person<'_>,
        user: &User,
        explanation: &Explanation,
        facts: &Facts,
    ) -> Result<Yes, No> {
        let bound = !user.identities.is_empty();
        let reason = match (self.directory.adopt, bound) {
            (Adopt::Unbound, false) | (Adopt::Any, _) => None,
            (_, true) => Some("the username is bound to another identity"),
            (Adopt::Never, false) => {
                Some("the username belongs to a user without an identity, and adopt is never")
            }
        };
        if let Some(reason) = reason {
            return Err(No::new(Outcome::Conflict, reason).field(UserField::Username));
        }
        let mut after = match self.directory.update {
            true => self.synchronised(user, explanation, false)?,
            false => user.clone(),
        };
        self.rename(user, &mut after, facts)?;
        after
            .identities
            .push((person.issuer.to_owned(), person.subject.to_owned()));
        Ok(Yes {
            outcome: Outcome::Adopted,
            reason: "the username is known, and adopt allows to record the identity".to_owned(),
            user: after,
        })
    }

    /// Neither identity nor username is known.
    fn created(
        &self,
        person: &Person<'_>,
        explanation: &Explanation,
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
        if !self.directory.create {
            return Err(No::refused(format!(
                "nobody of this identity or username is known, and create is off in directory {}",
                self.directory.name
            )));
        }
        if let Some(most) = self.directory.max_users.filter(|most| facts.users >= *most) {
            return Err(No {
                over_max_users: true,
                ..No::refused(format!(
                    "directory {} has as many users as max_users allows: {most}",
                    self.directory.name
                ))
            });
        }
        let empty = User {
            id: new_id.to_owned(),
            directory: self.directory.name.clone(),
            status: self.directory.new_user_status,
            deactivated: false,
            elsewhere: false,
            fields: Default::default(),
            identities: vec![(person.issuer.to_owned(), person.subject.to_owned())],
            created_at: now,
            updated_at: now,
            last_login_at: None,
        };
        Ok(Yes {
            outcome: Outcome::Created,
            reason: "nobody has this identity or this username".to_owned(),
            user: self.synchronised(&empty, explanation, true)?,
        })
    }
}
