//! One worker's memory of the sessions that it answered last, with their headers ready made.
//!
//! Stands apart from the cache that all workers share because even reading that one writes: reference
//! counts and its log of reads. Here no other core writes, and a token is compared as a whole.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Session;
use super::idle::note_after;
use crate::assertion::{Assertions, Stamp, Stamping};
use crate::config::Config;
use crate::environment::UnixSeconds;

/// How many sessions a worker keeps at hand: at most 4 MiB of tokens, and as much of cookies.
const SLOTS: usize = 1024;
/// Bytes of a Cookie field that is kept.
const LONGEST_COOKIE: usize = 2 * 1024;

/// A session as one worker knows it.
#[derive(Debug)]
pub struct Remembered {
    token: Box<[u8]>,
    session: Arc<Session>,
    stamp: Stamp,
    /// When it was put here: a request was noted then.
    noted_at: UnixSeconds,
    passed: RefCell<Option<Passed>>,
}

/// A request's only Cookie field, which names no kept form, and what the application gets in its place: browsers send the same one again
/// and again, and looking through it costs more than comparing it.
#[derive(Debug)]
struct Passed {
    field: Box<[u8]>,
    /// `None` where it passes as it came.
    changed: Option<HeaderValue>,
}

impl Remembered {
    /// The token that it was found by.
    pub fn token(&self) -> &[u8] {
        &self.token
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the same Cookie field was looked through before: it names no kept form.
    pub fn has_passed(&self, field: &HeaderValue) -> bool {
        let passed = self.passed.borrow();
        passed.as_ref().is_some_and(|passed| passed.is_of(field))
    }

    /// What became of the same Cookie field before: `Some(None)` where it passes as it came.
    pub fn passed(&self, field: &HeaderValue) -> Option<Option<HeaderValue>> {
        let passed = self.passed.borrow();
        let passed = passed.as_ref().filter(|passed| passed.is_of(field))?;
        Some(passed.changed.clone())
    }

    /// Remembers what became of a Cookie field in which this session's token came first, and which names no kept form.
    pub fn remember_passed(&self, field: &HeaderValue, changed: Option<HeaderValue>) {
        // A copy: the field itself would hold on to all that was read with it.
        let field = field.as_bytes();
        if field.len() <= LONGEST_COOKIE {
            let field = field.into();
            self.passed.replace(Some(Passed { field, changed }));
        }
    }

    /// The identity headers, ready made.
    pub fn stamp(&self) -> &[(HeaderName, HeaderValue)] {
        self.stamp.headers()
    }
}

impl Passed {
    fn is_of(&self, field: &HeaderValue) -> bool {
        *self.field == *field.as_bytes()
    }
}

/// The sessions that a worker answered last.
#[derive(Debug)]
pub struct Recent {
    stamping: Stamping,
    /// After so many seconds a request is to be noted again.
    note_after: i64,
    slots: RefCell<Box<[Option<Rc<Remembered>>]>>,
}

impl Recent {
    /// Prepares a worker.
    pub fn new(config: &Config, assertions: Option<&Arc<Assertions>>) -> Self {
        Self {
            stamping: Stamping::new(config, assertions),
            note_after: note_after(config.session.idle_timeout),
            slots: RefCell::new((0..SLOTS).map(|_| None).collect()),
        }
    }

    /// The live session of a token that was answered a short while ago.
    pub fn find(&self, token: &[u8], now: UnixSeconds) -> Option<Rc<Remembered>> {
        let slots = self.slots.borrow();
        let found = slots[slot(token)].as_ref()?;
        let session = &found.session;
        let is_fresh = now < session.attend_at && now - found.noted_at < self.note_after;
        if *found.token != *token || !session.is_live(now) || !is_fresh {
            return None;
        }
        if found.stamp.is_fresh(now) {
            return Some(Rc::clone(found));
        }
        let (session, noted_at) = (Arc::clone(session), found.noted_at);
        drop(slots);
        Some(self.put(token, session, noted_at, now))
    }

    /// Remembers whose token this is, in the place of whoever was there.
    pub fn remember(
        &self,
        token: &[u8],
        session: Arc<Session>,
        now: UnixSeconds,
    ) -> Rc<Remembered> {
        self.put(token, session, now, now)
    }

    fn put(
        &self,
        token: &[u8],
        session: Arc<Session>,
        noted_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Rc<Remembered> {
        let asserted = session.asserted.as_ref();
        let remembered = Rc::new(Remembered {
            token: token.into(),
            stamp: self.stamping.stamp(&session.values, asserted, now),
            noted_at,
            session,
            passed: RefCell::default(),
        });
        self.slots.borrow_mut()[slot(token)] = Some(Rc::clone(&remembered));
        remembered
    }
}

/// A token ends in its signature, which spreads well by itself.
fn slot(token: &[u8]) -> usize {
    let last = token.last_chunk::<8>().copied().unwrap_or_default();
    let mixed = u64::from_le_bytes(last).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::super::Liveness;
    use super::*;

    fn recent() -> Recent {
        Recent {
            stamping: Stamping::of_user_header(),
            note_after: 60,
            slots: RefCell::new((0..SLOTS).map(|_| None).collect()),
        }
    }

    fn session(expires_at: UnixSeconds, attend_at: UnixSeconds) -> Arc<Session> {
        Arc::new(Session {
            verdicts: Box::default(),
            sid: "sid".into(),
            username: "ada".into(),
            expires_at,
            values: Box::new([Some("ada".into()), None]),
            asserted: None,
            liveness: Arc::new(Liveness::default()),
            ask_again_at: attend_at,
            attend_at,
            renewable_until: 0,
        })
    }

    #[test]
    fn a_token_is_compared_whole() {
        let recent = recent();
        let known = recent.remember(b"header.payload.signature", session(100, i64::MAX), 50);
        assert_eq!(known.stamp()[0].1, "ada");
        assert!(recent.find(b"header.payload.signature", 50).is_some());
        assert!(recent.find(b"header.another.signature", 50).is_none());
        assert!(recent.find(b"", 50).is_none());
    }

    #[test]
    fn what_ended_is_not_found() {
        let recent = recent();
        let ended = session(100, i64::MAX);
        recent.remember(b"a.b.12345678", Arc::clone(&ended), 90);
        assert!(recent.find(b"a.b.12345678", 99).is_some());
        assert!(recent.find(b"a.b.12345678", 100).is_none(), "it is over");
        ended.liveness.end();
        assert!(recent.find(b"a.b.12345678", 99).is_none(), "it was ended");
        recent.remember(b"a.b.12345679", session(100, 60), 50);
        assert!(
            recent.find(b"a.b.12345679", 60).is_none(),
            "something is to be done"
        );
        recent.remember(b"a.b.12345679", session(1000, 999), 50);
        assert!(recent.find(b"a.b.12345679", 109).is_some());
        assert!(recent.find(b"a.b.12345679", 110).is_none(), "to be noted");
    }
}
