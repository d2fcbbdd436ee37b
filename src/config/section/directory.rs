//! `[[directories]]`: whose users people become, and by which rules.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Push, UserField};
use crate::expression::Expression;

/// One of `[[directories]]`.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Unique, 1 to 50 characters.
    pub name: String,
    /// For people.
    pub description: String,
    /// Providers whose people may be of this directory; empty = any.
    pub providers: Vec<String>,
    /// Never created, adopted or let in by name alone, in whatever directory.
    pub reserved_usernames: Vec<String>,
    /// Receivers that are told of its users.
    pub push: Vec<Push>,
    /// Where its users come from.
    pub connector: Connector,
}

impl Directory {
    /// The names of its receivers, as the store has them.
    pub fn push_targets(&self) -> Vec<String> {
        self.push.iter().map(|push| push.url.to_string()).collect()
    }

    /// Its rules, if people become its users by signing in.
    pub fn self_provisioning(&self) -> Option<&SelfProvisioning> {
        match &self.connector {
            Connector::SelfProvisioning(rules) => Some(rules),
            Connector::Text(_) => None,
        }
    }
}

/// `directories.connector`.
#[derive(Debug, Clone)]
pub enum Connector {
    /// People become its users by signing in.
    SelfProvisioning(SelfProvisioning),
    /// Its users are the lines of a file.
    Text(TextFile),
}

/// A directory with connector `text`.
#[derive(Debug, Clone)]
pub struct TextFile {
    /// CSV with a header row of user field names.
    pub file: PathBuf,
    /// A file that would deactivate more people at once is refused.
    pub max_deactivations: MaxDeactivations,
}

/// `directories.max_deactivations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDeactivations {
    /// So many percent of the directory's active users, 0 to 100.
    Percent(u64),
    /// So many users.
    Users(u64),
}

impl MaxDeactivations {
    /// How many of so many active users; a share is never less than one.
    pub fn of(self, active: u64) -> u64 {
        match self {
            MaxDeactivations::Percent(0) => 0,
            MaxDeactivations::Percent(percent) => (active * percent / 100).max(1),
            MaxDeactivations::Users(users) => users,
        }
    }
}

/// A directory with connector `self-provisioning`.
#[derive(Debug, Clone)]
pub struct SelfProvisioning {
    /// Whom it takes; `None` takes everybody.
    pub when: Option<Expression>,
    /// A known identity that comes with a new username.
    pub rename: Rename,
    /// Provision users nobody knows yet.
    pub create: bool,
    /// Synchronise known users.
    pub update: bool,
    /// Take over users of this directory by name.
    pub adopt: Adopt,
    /// Status of a user that is created.
    pub new_user_status: UserStatus,
    /// Nobody is created over it; `None` is unlimited.
    pub max_users: Option<u64>,
    /// User field and where its value comes from, in the file's order; `username` and `name` are among them.
    pub mapping: Vec<(UserField, FieldRule)>,
}

impl SelfProvisioning {
    /// Every claim name that its mapping reads.
    pub fn mapped_claims(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (_, rule) in &self.mapping {
            match &rule.source {
                Source::Claims(claims) => names.extend(claims.iter().cloned()),
                Source::Expression(expression) => names.extend(expression.claims().iter().cloned()),
                Source::Value(_) => {}
            }
        }
        names
    }
}

/// `directories.rename`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// The user takes the new name; the old one stays reserved.
    Follow,
    /// The user keeps the old name.
    Keep,
    /// The sign-in is refused.
    Deny,
}

/// `directories.adopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// Refused, naming the conflict.
    Never,
    /// A user that has no identity may be taken over.
    Unbound,
    /// Any user of the directory may.
    Any,
}

/// Whether a user may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserStatus {
    /// May.
    Active,
    /// May not, until an administrator activates them.
    Inactive,
}

impl UserStatus {
    /// `active` or `inactive`, as it is stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            UserStatus::Active => "active",
            UserStatus::Inactive => "inactive",
        }
    }
}

/// Where a user field's value comes from and when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// The value's source.
    pub source: Source,
    /// When a value that differs is written.
    pub sync: Sync,
    /// What a missing value does.
    pub missing: Missing,
}

/// Source of a user field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Claim names, to the letter; the first present wins.
    Claims(Vec<String>),
    /// A constant.
    Value(String),
    /// Computed from the claims.
    Expression(Expression),
}

impl Source {
    /// Whether an address in `email` decides it. An expression that names `email_verified` too looks after that
    /// itself.
    pub fn reads_email(&self) -> bool {
        match self {
            Source::Claims(names) => names.iter().any(|name| name == "email"),
            Source::Value(_) => false,
            Source::Expression(expression) => {
                let names = expression.claims();
                names.contains("email") && !names.contains("email_verified")
            }
        }
    }
}

/// `sync` of a mapped field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// At each sign-in.
    Always,
    /// Only when the user is created.
    OnCreate,
    /// Only while the field is empty.
    IfEmpty,
}

impl Sync {
    /// As the file says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Sync::Always => "always",
            Sync::OnCreate => "on-create",
            Sync::IfEmpty => "if-empty",
        }
    }
}

/// `missing` of a mapped field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The stored value stays.
    Keep,
    /// The stored value is cleared.
    Clear,
    /// The sign-in is refused.
    Deny,
}

impl Missing {
    /// As the file says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Missing::Keep => "keep",
            Missing::Clear => "clear",
            Missing::Deny => "deny",
        }
    }
}
