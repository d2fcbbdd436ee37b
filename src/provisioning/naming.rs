//! Usernames: which one is wanted, which ones nobody gets, and what a new one means to a known user.

use std::sync::Arc;

use crate::config::{Config, Rename, UserField};
use crate::mapping::Explanation;
use crate::store::{Facts, Skeleton, User};

use super::rules::Rules;
use super::verdict::No;

/// `reserved_usernames` of every directory: a name is one over all of them.
#[derive(Debug, Clone)]
pub(super) struct Reserved(Arc<[Skeleton]>);

impl Reserved {
    pub(super) fn of(config: &Config) -> Self {
        let names = config.directories.iter();
        let names = names.flat_map(|directory| &directory.reserved_usernames);
        Self(names.map(|name| Skeleton::of(name)).collect())
    }

    pub(super) fn contains(&self, username: &str) -> bool {
        self.0.contains(&Skeleton::of(username))
    }
}

impl Rules {
    pub(super) fn wanted_username<'a>(&self, explanation: &'a Explanation) -> Result<&'a str, No> {
        let value = explanation.field(UserField::Username).map(|it| &it.value);
        match value {
            Some(Ok(Some(username))) => Ok(username),
            Some(Err(fault)) => {
                let reason = format!("{fault}{}", self.username_origin);
                Err(No::refused(reason).field(UserField::Username))
            }
            _ => Err(self.missing(UserField::Username)),
        }
    }

    /// Applies the rename rules to `after`; why the old name stays, if it does. Another spelling of one
    /// skeleton is no other name: it is followed or left, and nothing is said of it.
    pub(super) fn rename(
        &self,
        user: &User,
        after: &mut User,
        facts: &Facts,
    ) -> Result<Option<&'static str>, No> {
        let same = Skeleton::of(after.username()) == Skeleton::of(user.username());
        let kept = match self.config.rename {
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
        if self.reserved.contains(username) {
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
}

/// The mapped username, if there is one and nothing is wrong with it.
pub(super) fn username(explanation: &Explanation) -> Option<&str> {
    explanation
        .field(UserField::Username)?
        .value
        .as_ref()
        .ok()?
        .as_deref()
}
