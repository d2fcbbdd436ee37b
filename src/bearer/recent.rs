//! One worker's memory of the access tokens that it answered last, with their headers ready made: as
//! `session/recent.rs` for sessions, and for the same reason. No other core writes here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Bearer;
use crate::config::Config;
use crate::environment::UnixSeconds;

/// How many tokens a worker keeps at hand: at most 8 MiB of them.
const SLOTS: usize = 512;

/// A token as one worker knows it.
#[derive(Debug)]
pub struct Presented {
    token: Box<str>,
    bearer: Arc<Bearer>,
    stamp: Vec<(HeaderName, HeaderValue)>,
}

impl Presented {
    /// Who has it.
    pub fn bearer(&self) -> &Arc<Bearer> {
        &self.bearer
    }

    /// The identity headers, ready made; none for a machine.
    pub fn stamp(&self) -> &[(HeaderName, HeaderValue)] {
        &self.stamp
    }
}

/// The tokens that a worker answered last.
#[derive(Debug)]
pub struct RecentBearers {
    names: Vec<HeaderName>,
    slots: RefCell<Box<[Option<Rc<Presented>>]>>,
}

impl RecentBearers {
    /// Prepares a worker, with header names of its own: clones of one name count in one place.
    pub fn new(config: &Config) -> Self {
        let identity = &config.upstream.identity;
        let names = std::iter::once(&identity.user_header)
            .chain(identity.headers.iter().map(|(name, _)| name))
            // A name that was one stays one.
            .filter_map(|name| HeaderName::from_bytes(name.as_str().as_bytes()).ok());
        let slots = if config.takes_access_tokens() {
            SLOTS
        } else {
            1
        };
        Self {
            names: names.collect(),
            slots: RefCell::new((0..slots).map(|_| None).collect()),
        }
    }

    /// Who has a token that was answered a short while ago, if all that is known still stands.
    pub fn find(&self, token: &str, now: UnixSeconds) -> Option<Rc<Presented>> {
        let slots = self.slots.borrow();
        let found = slots[slot(token, slots.len())].as_ref()?;
        (*found.token == *token && found.bearer.stands(now)).then(|| Rc::clone(found))
    }

    /// Remembers whose token this is, in the place of whoever was there.
    pub fn remember(&self, token: &str, bearer: Arc<Bearer>) -> Rc<Presented> {
        let named = self.names.iter().zip(&bearer.values);
        let stamp = named.filter_map(|(name, value)| {
            let value = value.as_deref()?;
            Some((name.clone(), HeaderValue::from_str(value).ok()?))
        });
        let presented = Rc::new(Presented {
            token: token.into(),
            stamp: stamp.collect(),
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
