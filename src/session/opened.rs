//! Sessions with a connection that outlasts requests (RFC 9110 7.8): it goes on while newer tokens come, wherever they are
//! made. Those that come by another node are looked for in the store before the last one known here ends; requests
//! never come here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Liveness, Session, Sessions};
use crate::environment::UnixSeconds;
use crate::store;

/// How long before the end a newer token is looked for, in seconds: a renewal is made sooner.
const AHEAD: i64 = 10;

/// The sessions that have such a connection, or had one.
#[derive(Debug, Default)]
pub(super) struct Opened(Mutex<HashMap<Box<str>, Weak<Liveness>>>);

impl Opened {
    /// Those that end soon; what has ended is forgotten.
    fn ending(&self, now: UnixSeconds) -> Vec<(Box<str>, Arc<Liveness>)> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ending = Vec::new();
        opened.retain(|sid, liveness| {
            let Some(liveness) = liveness.upgrade() else {
                return false;
            };
            let goes_on = now < liveness.until() && !liveness.ended();
            if goes_on && now >= liveness.until() - AHEAD {
                ending.push((sid.clone(), liveness));
            }
            goes_on
        });
        ending
    }
}

impl Sessions {
    /// A connection is opened for a session that can be renewed.
    pub fn opens_connection(&self, session: &Session) {
        if session.renewable_until > 0 {
            let mut opened = self.opened.0.lock().unwrap_or_else(PoisonError::into_inner);
            opened.insert(session.sid.clone(), Arc::downgrade(&session.liveness));
        }
    }

    /// Looks for newer tokens of sessions whose connections would end soon.
    ///
    /// # Errors
    /// [`store::Error`]; the rest is looked for in the next round.
    pub async fn follow_opened(&self, now: UnixSeconds) -> Result<(), store::Error> {
        for (sid, liveness) in self.opened.ending(now) {
            if let Some((_, expires_at)) = self.store.newest_token(&sid).await? {
                liveness.lasts_until(expires_at);
            }
        }
        Ok(())
    }
}
