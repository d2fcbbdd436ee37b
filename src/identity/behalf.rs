//! On whose behalf a request is forwarded.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::bearer::{Bearer, Presented};
use crate::environment::UnixSeconds;
use crate::session::{Remembered, Session};

/// A session as a request bore it.
#[derive(Debug, Clone, Copy)]
pub struct Borne<'s> {
    /// The session, with its headers ready made.
    pub session: &'s Remembered,
    /// Which of the request's session cookies was its token.
    pub cookie: usize,
    /// Whether the session's token has taken the place of that cookie's.
    pub is_newer: bool,
}

/// Why somebody may be connected to the application, and for how long.
pub trait Grant: std::fmt::Debug + Send + Sync {
    /// Whether it still holds.
    fn is_live(&self, now: UnixSeconds) -> bool;
}

impl Grant for Session {
    fn is_live(&self, now: UnixSeconds) -> bool {
        self.goes_on(now)
    }
}

impl Grant for Bearer {
    fn is_live(&self, now: UnixSeconds) -> bool {
        self.is_live(now)
    }
}

/// On whose behalf a request is forwarded.
#[derive(Clone, Copy)]
pub(super) enum Behalf<'s> {
    Nobody,
    Session(Borne<'s>),
    Token(&'s Presented),
}

impl Behalf<'_> {
    /// The identity headers, ready made.
    pub(super) fn stamp(&self) -> &[(HeaderName, HeaderValue)] {
        match self {
            Behalf::Nobody => &[],
            Behalf::Session(borne) => borne.session.stamp(),
            Behalf::Token(presented) => presented.stamp(),
        }
    }

    pub(super) fn grant(&self) -> Option<Arc<dyn Grant>> {
        match self {
            Behalf::Nobody => None,
            Behalf::Session(borne) => Some(Arc::clone(borne.session.session()) as Arc<dyn Grant>),
            Behalf::Token(presented) => Some(Arc::clone(presented.bearer()) as Arc<dyn Grant>),
        }
    }

    pub(super) fn session(&self) -> Option<Borne<'_>> {
        match self {
            Behalf::Session(borne) => Some(*borne),
            Behalf::Nobody | Behalf::Token(_) => None,
        }
    }
}
