//! `idle_timeout`: a session ends that nobody has used for so long, on any node. A request is noted once in
//! a tenth of that time, and notes are written together.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Session, Sessions};
use crate::environment::UnixSeconds;
use crate::store;

/// Notes that wait for the store; over it the newest are dropped, and other nodes may ask again too early.
const MOST_NOTES: usize = 1_000_000;

/// Requests that the store has still to hear of: the last one of each session.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<HashMap<String, UnixSeconds>>);

impl Notes {
    fn add(&self, sid: &str, at: UnixSeconds) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = notes.get_mut(sid) {
            *noted = at.max(*noted);
        } else if notes.len() < MOST_NOTES {
            notes.insert(sid.to_owned(), at);
        }
    }

    fn take(&self) -> Vec<(String, UnixSeconds)> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<_> = notes.drain().collect();
        // In one order on every node, so that two of them never wait for each other's rows.
        taken.sort_unstable();
        taken
    }
}

/// Seconds after which a request of a session is noted again.
pub(super) fn note_after(idle_timeout: Option<Duration>) -> i64 {
    idle_timeout.map_or(i64::MAX, |timeout| (timeout.as_secs() as i64 / 10).max(1))
}

impl Sessions {
    /// Notes a request of a live session, unless the session was idle for too long: then it ends. The store is
    /// asked only where nothing was seen here for that time, since another node may have.
    pub(super) async fn is_in_use(&self, session: &Session, now: UnixSeconds) -> bool {
        let Some(idle_timeout) = self.idle_timeout else {
            return true;
        };
        let seen = session.liveness.seen();
        if now - seen < self.note_after {
            return true;
        }
        if now - seen > idle_timeout {
            match self.store.session(&session.sid).await {
                // What began before idle sessions ended counts from now on.
                Ok(Some(record)) if record.seen_at == 0 => {}
                Ok(Some(record)) if now - record.seen_at.max(seen) > idle_timeout => {
                    session.liveness.end();
                    if self.store.end_session(&session.sid, now).await.is_err() {
                        self.ends.keep(&session.sid, now);
                    }
                    return false;
                }
                Ok(_) => {}
                Err(error) => self.store_answers(Err(&error)),
            }
        }
        session.liveness.see(now);
        self.notes.add(&session.sid, now);
        true
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// [`store::Error`]; the notes wait for the next round.
    pub(super) async fn write_notes(&self) -> Result<(), store::Error> {
        let notes = self.notes.take();
        if notes.is_empty() {
            return Ok(());
        }
        let written = self.store.note_seen(&notes).await;
        written.inspect_err(|_| {
            for (sid, at) in &notes {
                self.notes.add(sid, *at);
            }
        })
    }
}
