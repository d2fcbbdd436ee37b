//! What a file would change, worked out before anything is written: who is new, who has changed, who has left.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::{Person, TextDirectory, Trouble};
use crate::config::UserStatus;
use crate::store::{Skeleton, User};

/// Users read from the store at a time.
const PAGE: u32 = 1000;

/// People to be written, and users to become inactive.
pub(super) struct Plan {
    /// People who are new or have changed.
    pub(super) people: Vec<Person>,
    /// How many of them are no user of this directory yet.
    pub(super) new: u64,
    /// Active users who are not in the file.
    pub(super) left: Vec<User>,
    /// Active users of the directory.
    pub(super) active: u64,
    /// People who stay as they are.
    pub(super) unchanged: u64,
}

/// How many people a file concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Users who were made.
    pub created: u64,
    /// Users who have changed, or are active again.
    pub updated: u64,
    /// Users who stay as they are.
    pub unchanged: u64,
    /// Users who have become inactive.
    pub left: u64,
    /// People whose username or identity is somebody's of another directory: left out.
    pub taken: u64,
}

impl Summary {
    pub(super) fn unchanged(people: usize) -> Self {
        Self {
            unchanged: people as u64,
            ..Self::default()
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} created, {} updated, {} unchanged, {} left, {} taken by other directories",
            self.created, self.updated, self.unchanged, self.left, self.taken
        )
    }
}

impl Plan {
    /// As `check` tells it: whose name is taken is found out only when it is written.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            created: self.new,
            updated: self.people.len() as u64 - self.new,
            unchanged: self.unchanged,
            left: self.left.len() as u64,
            taken: 0,
        }
    }
}

impl TextDirectory {
    /// Compares the file with the directory's users as stored.
    pub(super) async fn plan(&self, people: Vec<Person>) -> Result<Plan, Trouble> {
        let mut stored = Stored::default();
        let mut after = None;
        loop {
            let (users, next) = self
                .store
                .users_of(self.name(), after.as_ref(), PAGE)
                .await?;
            for user in users {
                stored.take(user, self.source.issuer.as_deref());
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        let mut plan = Plan {
            people: Vec::new(),
            new: 0,
            left: Vec::new(),
            active: stored.active,
            unchanged: 0,
        };
        for person in people {
            match stored.user_of(&person) {
                Some(user) if self.settled(&person, user.clone()) == user => plan.unchanged += 1,
                user => {
                    plan.new += u64::from(user.is_none());
                    plan.people.push(person);
                }
            }
        }
        plan.left = stored.left();
        Ok(plan)
    }

    /// The user as the file has them: its fields, active, with their identity.
    pub(super) fn settled(&self, person: &Person, user: User) -> User {
        let mut user = User {
            fields: person.fields.clone(),
            status: UserStatus::Active,
            ..user
        };
        if let (Some(issuer), Some(subject)) = (&self.source.issuer, &person.subject) {
            let identity = (issuer.clone(), subject.clone());
            if !user.identities.contains(&identity) {
                user.identities.push(identity);
            }
        }
        user
    }

    /// A file that somebody has emptied or cut short must not lock everybody out.
    pub(super) fn is_no_exodus(&self, plan: &Plan) -> Result<(), Trouble> {
        let most = self.max_deactivations.of(plan.active);
        let left = plan.left.len() as u64;
        match left > most {
            true => Err(Trouble::TooMany {
                file: self.source.path(),
                left,
                active: plan.active,
                most,
            }),
            false => Ok(()),
        }
    }
}

/// The directory's users, by subject and by name; whoever is found is taken out.
#[derive(Default)]
struct Stored {
    users: HashMap<String, User>,
    by_name: HashMap<Skeleton, String>,
    by_subject: HashMap<String, String>,
    /// Users who have a subject.
    bound: HashSet<String>,
    active: u64,
}

impl Stored {
    fn take(&mut self, user: User, issuer: Option<&str>) {
        self.active += u64::from(user.status == UserStatus::Active);
        self.by_name
            .insert(Skeleton::of(user.username()), user.id.clone());
        for (_, subject) in user
            .identities
            .iter()
            .filter(|(of, _)| Some(of.as_str()) == issuer)
        {
            self.by_subject.insert(subject.clone(), user.id.clone());
            self.bound.insert(user.id.clone());
        }
        self.users.insert(user.id.clone(), user);
    }

    /// The user that a person is: by subject, so that a new name is a rename, else by name, unless that is the
    /// name of another subject.
    fn user_of(&mut self, person: &Person) -> Option<User> {
        let by_subject = person
            .subject
            .as_ref()
            .and_then(|it| self.by_subject.get(it));
        let by_name = self.by_name.get(&Skeleton::of(person.username()));
        let by_name = by_name.filter(|id| person.subject.is_none() || !self.bound.contains(*id));
        self.users.remove(by_subject.or(by_name)?)
    }

    fn left(self) -> Vec<User> {
        let mut left: Vec<User> = self
            .users
            .into_values()
            .filter(|user| user.status == UserStatus::Active)
            .collect();
        left.sort_by(|one, other| one.username().cmp(other.username()));
        left
    }
}
