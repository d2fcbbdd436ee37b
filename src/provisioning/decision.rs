//! The design's table of outcomes, in its order, as a pure function: a directory's rules, what its
//! mapping makes of the claims, and what the store knows become one [`Decided`]. `provision` and
//! `explain` both call it, so they cannot disagree.

use crate::config::{self, Adopt, Rename, UserField, UserStatus};
use crate::environment::UnixSeconds;
use crate::mapping::{Explanation, MappedField, Mapping, Settled, settle};
use crate::store::{Facts, Question, Skeleton, User};

use super::{Decision, Outcome, Person};

/// A directory's rules, compiled.
pub(super) struct Rules {
    directory: config::Directory,
    mapping: Mapping,
    reserved: Vec<Skeleton>,
}

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
struct No {
    outcome: Outcome,
    reason: String,
    field: Option<String>,
    over_max_users: bool,
}

/// A user to go on with.
struct Yes {
    outcome: Outcome,
    reason: String,
    user: User,
}

impl No {
    fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: reason.into(),
            field: None,
            over_max_users: false,
        }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Refused, reason)
    }

    fn field(self, field: UserField) -> Self {
        Self {
            field: Some(field.name().to_owned()),
            ..self
        }
    }
}

impl Decided {
    /// The user who may come in, or reason and field of the refusal.
    pub(super) fn lets_in(self) -> Result<User, (String, Option<String>)> {
        let refused = self.is_refusal();
        match self.user {
            Some(user) if !refused => Ok(user),
            _ => Err((self.reason, self.field)),
        }
    }

    fn is_refusal(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Conflict | Outcome::Inactive | Outcome::Refused
        )
    }
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

    pub(super) fn directory(&self) -> &str {
        &self.directory.name
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// What the store has to be asked for this person.
    pub(super) fn question<'a>(
        &'a self,
        person: &Person<'a>,
        explanation: &'a Explanation,
    ) -> Question<'a> {
        Question {
            issuer: person.issuer,
            subject: person.subject,
            username: username(explanation),
            directory: &self.directory.name,
            count_to: self.directory.max_users,
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

    fn is_reserved(&self, username: &str) -> bool {
        self.reserved.contains(&Skeleton::of(username))
    }

    fn wanted_username<'a>(&self, explanation: &'a Explanation) -> Result<&'a str, No> {
        let value = explanation.field(UserField::Username).map(|it| &it.value);
        match value {
            Some(Ok(Some(username))) => Ok(username),
            Some(Err(fault)) => Err(No::refused(fault.clone()).field(UserField::Username)),
            _ => Err(self.missing(UserField::Username)),
        }
    }

    fn missing(&self, field: UserField) -> No {
        let expected = match self.mapping.sources(field) {
            Some(claims) => format!("expected a value in {claims}"),
            None => "expected a value".to_owned(),
        };
        No::refused(format!("{}: {expected}, found none", field.name())).field(field)
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

    /// Applies the rename rules to `after`; why the old name stays, if it does. Another spelling of one
    /// skeleton is no other name: it is followed or left, and nothing is said of it.
    fn rename(
        &self,
        user: &User,
        after: &mut User,
        facts: &Facts,
    ) -> Result<Option<&'static str>, No> {
        let same = Skeleton::of(after.username()) == Skeleton::of(user.username());
        let kept = match self.directory.rename {
            Rename::Follow if same => return Ok(None),
            Rename::Follow => self.taken(after.username(), user, facts),
            Rename::Keep | Rename::Deny if same => None,
            Rename::Keep => Some("the username changed, and rename is keep"),
            Rename::Deny => {
                return Err(No::refused(
                    "the identity is known under another username, and rename is deny",
                )
                .field(UserField::Username));
            }
        };
        if kept.is_some() || same {
            let former = user.username().to_owned();
            after.fields.insert(UserField::Username, former);
        }
        Ok(kept)
    }

    fn taken(&self, username: &str, user: &User, facts: &Facts) -> Option<&'static str> {
        if self.is_reserved(username) {
            return Some("the new username is on the list of reserved_usernames");
        }
        if facts.by_username.is_some() {
            return Some("the new username belongs to another user");
        }
        match &facts.given_up_by {
            // Whoever gave a name up may take it back.
            Some(former) if *former != user.id => {
                Some("the new username was given up by another user and is not released")
            }
            _ => None,
        }
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

    /// The user with every field settled by its policies. A claim that is not looked at is at no fault.
    fn synchronised(
        &self,
        user: &User,
        explanation: &Explanation,
        creating: bool,
    ) -> Result<User, No> {
        let mut after = user.clone();
        for mapped in &explanation.fields {
            self.settled(mapped, &mut after, creating)?;
        }
        for required in [UserField::Username, UserField::Name] {
            if after.field(required).is_none() {
                return Err(self.missing(required));
            }
        }
        Ok(after)
    }

    fn settled(&self, mapped: &MappedField, after: &mut User, creating: bool) -> Result<(), No> {
        let field = mapped.field;
        let filled = after.field(field).is_some();
        let present = !matches!(mapped.value, Ok(None));
        match (
            settle(mapped.sync, mapped.missing, creating, filled, present),
            &mapped.value,
        ) {
            (Settled::Write, Err(fault)) => return Err(No::refused(fault.clone()).field(field)),
            (Settled::Write, Ok(Some(value))) => {
                after.fields.insert(field, value.clone());
            }
            (Settled::Clear, _) => {
                after.fields.remove(&field);
            }
            (Settled::Deny, _) => return Err(self.missing(field)),
            (Settled::Keep, _) | (Settled::Write, Ok(None)) => {}
        }
        Ok(())
    }
}

/// The status has the last word, whatever the outcome. Somebody who was created inactive is stored, or
/// there would be nobody to activate; of a known inactive user nothing is written.
fn with_status(base: Decided, yes: Yes, now: UnixSeconds) -> Decided {
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
    match (user.status, outcome) {
        (UserStatus::Inactive, Outcome::Created) => inactive(
            "the user was created inactive and waits for activation",
            Some(user),
            true,
        ),
        (UserStatus::Inactive, _) => inactive(
            "the user is inactive and waits for activation",
            base.before.clone(),
            false,
        ),
        (UserStatus::Active, _) => {
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

fn username(explanation: &Explanation) -> Option<&str> {
    explanation
        .field(UserField::Username)?
        .value
        .as_ref()
        .ok()?
        .as_deref()
}
