//! `[[directories]]`: whose users people become, and by which rules.

use super::UserField;

/// One of `[[directories]]`, connector `self-provisioning`.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Unique, 1 to 50 characters.
    pub name: String,
    /// For people.
    pub description: String,
    /// Providers whose people may be of this directory; empty = any.
    pub providers: Vec<String>,
    /// Never created, adopted or let in by name alone.
    pub reserved_usernames: Vec<String>,
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
