//! Carrying out a plan: batches of users, each in one transaction with its audit rows.

use crate::config::{UserField, UserStatus};
use crate::environment::{SystemRandom, UnixSeconds, random_text};
use crate::store::{Administered, AuditRow, Change, User};

use super::plan::{Plan, Summary};
use super::{Person, TextDirectory, Trouble};
use crate::provisioning::entry::differences;

/// Users that one transaction writes: a sign-in waits for no more.
const BATCH: usize = 200;

/// What became of one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Created,
    Updated,
    Left,
    Taken,
    Nothing,
}

impl TextDirectory {
    pub(super) async fn carry_out(&self, plan: Plan, now: UnixSeconds) -> Result<Summary, Trouble> {
        let mut summary = Summary {
            unchanged: plan.unchanged,
            ..Summary::default()
        };
        for batch in plan.people.chunks(BATCH) {
            for done in self.write_people(batch, now).await? {
                summary.count(done);
            }
        }
        for batch in plan.left.chunks(BATCH) {
            for done in self.write_left(batch, now).await? {
                summary.count(done);
            }
        }
        Ok(summary)
    }

    async fn write_people(
        &self,
        batch: &[(Person, Option<User>)],
        now: UnixSeconds,
    ) -> Result<Vec<Done>, Trouble> {
        let names: Vec<(&str, Option<(&str, &str)>)> = batch
            .iter()
            .map(|(person, _)| {
                let subject = person.subject.as_deref();
                let identity = self.source.issuer.as_deref().zip(subject);
                (person.username(), identity)
            })
            .collect();
        let ids: Vec<String> = batch
            .iter()
            .map(|_| random_text::<16>(&SystemRandom))
            .collect();
        let decide = |place: usize, found: &Administered| {
            let (person, known) = &batch[place];
            self.person_written(person, known.as_ref(), found, &ids[place], now)
        };
        Ok(self.store.administer_all(&names, now, decide).await?)
    }

    /// Somebody of this directory, new or known; a name or an identity of another directory's user is left to them.
    fn person_written(
        &self,
        person: &Person,
        known: Option<&User>,
        found: &Administered,
        new_id: &str,
        now: UnixSeconds,
    ) -> (Change, Done) {
        let user = match (&found.user, known) {
            (Some(user), _) if user.directory == self.name() => Some(user),
            (Some(_), _) => return self.taken(person, "the username", now),
            (None, known) => known,
        };
        let own = |id: &String| user.is_some_and(|user| user.id == *id);
        if found.given_up_by.as_ref().is_some_and(|id| !own(id)) {
            return self.taken(
                person,
                "the username, which was given up by another user,",
                now,
            );
        }
        if found.identity_of.as_ref().is_some_and(|id| !own(id)) {
            return self.taken(person, "the subject", now);
        }
        let empty = || User {
            id: new_id.to_owned(),
            directory: self.name().to_owned(),
            status: UserStatus::Inactive,
            deactivated: false,
            elsewhere: false,
            fields: Default::default(),
            identities: Vec::new(),
            created_at: now,
            updated_at: now,
            last_login_at: None,
        };
        let after = self.settled(person, user.cloned().unwrap_or_else(empty));
        let (done, outcome) = match user {
            Some(user) if *user == after => return (Change::default(), Done::Nothing),
            Some(_) => (Done::Updated, "updated"),
            None => (Done::Created, "created"),
        };
        let reason = format!("line {} of the directory's file", person.line);
        (self.change(user, after, outcome, reason, false, now), done)
    }

    fn taken(&self, person: &Person, what: &str, now: UnixSeconds) -> (Change, Done) {
        tracing::warn!(
            directory = self.name(),
            line = person.line,
            "{what} is somebody's of another directory: expected it in one directory only; the line is left out"
        );
        let row = AuditRow {
            at: now,
            actor: "file".to_owned(),
            directory: self.name().to_owned(),
            username: Some(person.username().to_owned()),
            outcome: "conflict".to_owned(),
            reason: format!(
                "line {}: {what} is somebody's of another directory",
                person.line
            ),
            ..AuditRow::default()
        };
        let change = Change {
            audit: vec![row],
            ..Change::default()
        };
        (change, Done::Taken)
    }

    async fn write_left(&self, batch: &[User], now: UnixSeconds) -> Result<Vec<Done>, Trouble> {
        let names: Vec<(&str, Option<(&str, &str)>)> =
            batch.iter().map(|user| (user.username(), None)).collect();
        let decide = |_: usize, found: &Administered| {
            let ours = found
                .user
                .as_ref()
                .filter(|user| user.directory == self.name() && user.status == UserStatus::Active);
            let Some(user) = ours else {
                return (Change::default(), Done::Nothing);
            };
            let after = User {
                status: UserStatus::Inactive,
                ..user.clone()
            };
            let reason = "not in the directory's file any more".to_owned();
            let change = self.change(Some(user), after, "inactive", reason, true, now);
            (change, Done::Left)
        };
        Ok(self.store.administer_all(&names, now, decide).await?)
    }

    fn change(
        &self,
        before: Option<&User>,
        after: User,
        outcome: &str,
        reason: String,
        end_sessions: bool,
        now: UnixSeconds,
    ) -> Change {
        let row = AuditRow {
            at: now,
            actor: "file".to_owned(),
            directory: self.name().to_owned(),
            user: Some(after.id.clone()),
            username: after.field(UserField::Username).map(str::to_owned),
            outcome: outcome.to_owned(),
            reason,
            changes: differences(before, &after),
            ..AuditRow::default()
        };
        Change {
            user: Some(after),
            audit: vec![row],
            pushes: self.push_targets.clone(),
            end_sessions,
        }
    }
}

impl Summary {
    fn count(&mut self, done: Done) {
        match done {
            Done::Created => self.created += 1,
            Done::Updated => self.updated += 1,
            Done::Left => self.left += 1,
            Done::Taken => self.taken += 1,
            Done::Nothing => self.unchanged += 1,
        }
    }
}
