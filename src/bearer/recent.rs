//! One worker's memory of the access tokens that it answered last, with their headers ready made: as
//! `session/recent.rs` for sessions, and for the same reason. No other core writes here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Bearer;
use crate::assertion::{Assertions, Stamp, Stamping};
use crate::config::Config;
use crate::environment::UnixSeconds;

/// How many tokens a worker keeps at hand: at most 8 MiB of them.
const SLOTS: usize = 512;

/// A token as one worker knows it.
#[derive(Debug)]
pub struct Presented {
    token: Box<str>,
    bearer: Arc<Bearer>,
    stamp: Stamp,
}

impl Presented {
    /// Who has it.
    pub fn bearer(&self) -> &Arc<Bearer> {
        &self.bearer
    }

    /// The identity headers, ready made; none for a machine.
    pub fn stamp(&self) -> &[(HeaderName, HeaderValue)] {
        self.stamp.headers()
    }
}

/// The tokens that a worker answered last.
#[derive(Debug)]
pub struct RecentBearers {
    stamping: Stamping,
    slots: RefCell<Box<[Option<Rc<Presented>>]>>,
}

impl RecentBearers {
    /// Prepares a worker.
    pub fn new(config: &Config, assertions: Option<&Arc<Assertions>>) -> Self {
        let slots = if config.takes_access_tokens() {
            SLOTS
        } else {
            1
        };
        Self {
            stamping: Stamping::new(config, assertions),
            slots: RefCell::new((0..slots).map(|_| None).collect()),
        }
    }

    /// Who has a token that was answered a short while ago, if all that is known still stands.
    pub fn find(&self, token: &str, now: UnixSeconds) -> Option<Rc<Presented>> {
        let slots = self.slots.borrow();
        let found = slots[slot(token, slots.len())].as_ref()?;
        if *found.token != *token || !found.bearer.stands(now) {
            return None;
        }
        if found.stamp.is_fresh(now) {
            return Some(Rc::clone(found));
        }
        let bearer = Arc::clone(&found.bearer);
        drop(slots);
        Some(self.remember(token, bearer, now))
    }

    /// Remembers whose token this is, in the place of whoever was there.
    pub fn remember(&self, token: &str, bearer: Arc<Bearer>, now: UnixSeconds) -> Rc<Presented> {
        let asserted = bearer.asserted.as_ref();
        let presented = Rc::new(Presented {
            token: token.into(),
            stamp: self.stamping.stamp(&bearer.values, asserted, now),
            bearer,
        });
        let mut slots = self.slots.borrow_mut();
        let place = slot(token, slots.len());
        slots[place] = Some(Rc::clone(&presented));
        presented
    }
}

/// A token ends in its signature, which spreads well by itself.
fn slot(token: &str, slots: usize) -> usize {
    let last = token
        .as_bytes()
        .last_chunk::<8>()
        .copied()
        .unwrap_or_default();
    let mixed = u64::from_le_bytes(last).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % slots
}
