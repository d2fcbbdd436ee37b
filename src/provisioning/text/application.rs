//! Carrying out a plan: batches of users, each in one transaction with its audit rows.

use std::time::{Duration, Instant};

use crate::config::{UserField, UserStatus};
use crate::environment::{SystemRandom, UnixSeconds, random_text};
use crate::store::{Administered, AuditRow, Change, User};

use super::plan::{Plan, Summary};
use super::{Person, TextDirectory, Trouble};
use crate::provisioning::entry::differences;

/// Users that one transaction writes: a sign-in waits for no more.
const BATCH: usize = 200;
/// How often the lease is had anew while a file is applied: a million people take longer than it lasts.
const HOLD: Duration = Duration::from_secs(20);

/// What became of one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Created,
    Updated,
    Left,
    Taken,
    /// Somebody of this directory has the name still.
    Blocked,
    Nothing,
}

/// Why a line is not used: who has its name or subject.
enum Taken {
    /// Somebody of this directory, who may give it up.
    Here(&'static str),
    /// Somebody of another directory.
    Elsewhere(&'static str),
}

/// How far a plan is carried out.
struct Progress {
    /// When the lease was had last.
    held: Instant,
    done: usize,
    of: usize,
}

impl TextDirectory {
    pub(super) async fn carry_out(&self, plan: Plan, now: UnixSeconds) -> Result<Summary, Trouble> {
        let mut summary = Summary {
            unchanged: plan.unchanged,
            ..Summary::default()
        };
        let mut waiting = plan.people;
        // Whoever takes a name that another user of the file gives up comes after them; a pass that frees no
        // name is the last one.
        let mut last = false;
        let mut progress = Progress {
            held: Instant::now(),
            done: 0,
            of: waiting.len() + plan.left.len(),
        };
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut blocked = Vec::new();
            for batch in waiting.chunks(BATCH) {
                self.hold(&mut progress, batch.len()).await?;
                let done = self.write_people(batch, last, now).await?;
                for (person, done) in batch.iter().zip(done) {
                    match done {
                        Done::Blocked => blocked.push(person.clone()),
                        done => summary.count(done),
                    }
                }
            }
            last = blocked.len() == before;
            waiting = blocked;
        }
        for batch in plan.left.chunks(BATCH) {
            self.hold(&mut progress, batch.len()).await?;
            for done in self.write_left(batch, now).await? {
                summary.count(done);
            }
        }
        Ok(summary)
    }

    /// Has the lease anew where it is time to, and tells how far it is; `next` users are written then.
    async fn hold(&self, progress: &mut Progress, next: usize) -> Result<(), Trouble> {
        if progress.held.elapsed() >= HOLD {
            progress.held = Instant::now();
            let (directory, done, of) = (self.name(), progress.done, progress.of);
            tracing::info!(directory, done, of, "the file is being applied");
            self.lease().await?;
        }
        progress.done += next;
        Ok(())
    }

    async fn write_people(
        &self,
        batch: &[Person],
        last: bool,
        now: UnixSeconds,
    ) -> Result<Vec<Done>, Trouble> {
        let asked = |person| (Person::username(person), self.identity(person));
        let names: Vec<(&str, Option<(&str, &str)>)> = batch.iter().map(asked).collect();
        let ids: Vec<String> = batch
            .iter()
            .map(|_| random_text::<16>(&SystemRandom))
            .collect();
        let decide = |place: usize, found: &Administered| {
            let person = &batch[place];
            match self.user_of(person, found) {
                Ok(user) => self.person_written(person, user, &ids[place], now),
                Err(Taken::Here(_)) if !last => (Change::default(), Done::Blocked),
                Err(Taken::Here(what) | Taken::Elsewhere(what)) => self.taken(person, what, now),
            }
        };
        Ok(self.store.administer_all(&names, now, decide).await?)
    }

    fn identity<'p>(&'p self, person: &'p Person) -> Option<(&'p str, &'p str)> {
        let subject = person.subject.as_deref();
        self.source.issuer.as_deref().zip(subject)
    }

    /// The user that a person is, as they stand now, if any: by subject, else by name. A name or a subject that
    /// somebody else has is left to them.
    fn user_of<'f>(
        &self,
        person: &Person,
        found: &'f Administered,
    ) -> Result<Option<&'f User>, Taken> {
        let ours = |user: &&User| user.directory == self.name();
        let (named, known) = (found.user.as_ref(), found.identity_of.as_ref());
        if known.is_some_and(|user| !ours(&user)) {
            return Err(Taken::Elsewhere(
                "the subject is that of a user of another directory",
            ));
        }
        if named.is_some_and(|user| !ours(&user)) {
            return Err(Taken::Elsewhere(
                "the username is that of a user of another directory",
            ));
        }
        let bound = |user: &User| {
            let of = |(issuer, _): &(String, String)| self.source.issuer.as_ref() == Some(issuer);
            user.identities.iter().any(of)
        };
        let user = match (named, known) {
            (Some(named), Some(known)) if named.id != known.id => {
                return Err(Taken::Here(
                    "the username is that of another user of this directory",
                ));
            }
            (Some(named), None) if person.subject.is_some() && bound(named) => {
                return Err(Taken::Here("the username is that of another subject"));
            }
            (named, known) => known.or(named),
        };
        let own = |id: &String| user.is_some_and(|user| user.id == *id);
        match found.given_up_by.as_ref().is_some_and(|id| !own(id)) {
            true => Err(Taken::Here(
                "the username was given up by another user and is not released",
            )),
            false => Ok(user),
        }
    }

    fn person_written(
        &self,
        person: &Person,
        user: Option<&User>,
        new_id: &str,
        now: UnixSeconds,
    ) -> (Change, Done) {
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
        let (directory, line) = (self.name(), person.line);
        tracing::warn!(
            directory,
            line,
            "{what}: expected nobody's; the line is left out"
        );
        let row = AuditRow {
            at: now,
            actor: "file".to_owned(),
            directory: directory.to_owned(),
            username: Some(person.username().to_owned()),
            outcome: "conflict".to_owned(),
            reason: format!("line {line}: {what}"),
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
            Done::Taken | Done::Blocked => self.taken += 1,
            Done::Nothing => self.unchanged += 1,
        }
    }
}
