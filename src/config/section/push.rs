//! `[[directories.push]]`: receivers that are told of a directory's users.

use std::time::Duration;

use url::Url;

use super::Secret;

/// One of `[[directories.push]]`, kind `scim`.
#[derive(Debug, Clone)]
pub struct Push {
    /// The receiver's base URL (RFC 7644 1.3), without a trailing slash.
    pub url: Url,
    /// Bearer token.
    pub token: Option<Secret>,
    /// What a user means whom the receiver has from somebody else.
    pub foreign: Foreign,
    /// Whether a sign-in waits for the receiver.
    pub timing: Timing,
    /// What a sign-in that waits does when the receiver was never told of the user and cannot be.
    pub on_failure: OnFailure,
    /// For one exchange, and for a sign-in that waits.
    pub timeout: Duration,
}

/// `directories.push.foreign`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Provisioned elsewhere: left untouched, let in.
    Accept,
    /// Refused.
    Conflict,
}

/// `directories.push.timing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Before the user's first request is forwarded.
    Inline,
    /// Soon.
    Background,
}

/// `directories.push.on_failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The sign-in is put off.
    Deny,
    /// The user is let in.
    Continue,
}
