//! Which sessions have ended: one flag a session, shared by every copy of its token in memory, read
//! by requests and written by logouts only.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::environment::UnixSeconds;

/// Whether a session has ended.
#[derive(Debug, Default)]
pub struct Liveness(AtomicBool);

impl Liveness {
    /// Ends the session.
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The flags by `sid`, of sessions that are in memory; requests of known sessions never come here.
#[derive(Debug, Default)]
pub(super) struct Ends {
    flags: Mutex<HashMap<String, Weak<Liveness>>>,
    unrecorded: Mutex<VecDeque<Unrecorded>>,
}

/// An end that the store did not record. It holds its flag, so that copies of the cookie stay ended
/// here whatever memory lets go, and is written once the store answers.
#[derive(Debug, Clone)]
pub(super) struct Unrecorded {
    pub(super) sid: String,
    pub(super) at: UnixSeconds,
    liveness: Arc<Liveness>,
}

/// Ends that wait for the store; the oldest go first when there are more.
const MOST_UNRECORDED: usize = 10_000;

impl Ends {
    /// The flag of a session that is about to be remembered.
    pub(super) fn register(&self, sid: &str) -> Arc<Liveness> {
        let mut flags = locked(&self.flags);
        if let Some(flag) = flags.get(sid).and_then(Weak::upgrade) {
            return flag;
        }
        let flag = Arc::default();
        flags.insert(sid.to_owned(), Arc::downgrade(&flag));
        flag
    }

    /// Ends a session, if it is in memory.
    pub(super) fn end(&self, sid: &str) {
        let flags = locked(&self.flags);
        if let Some(flag) = flags.get(sid).and_then(Weak::upgrade) {
            flag.end();
        }
    }

    /// Drops the entries of sessions that memory has let go.
    pub(super) fn forget_unused(&self) {
        let mut flags = locked(&self.flags);
        flags.retain(|_, flag| flag.strong_count() > 0);
    }

    /// Keeps an end that the store did not record.
    pub(super) fn keep(&self, sid: &str, at: UnixSeconds) {
        let liveness = self.register(sid);
        liveness.end();
        let mut unrecorded = locked(&self.unrecorded);
        if unrecorded.len() >= MOST_UNRECORDED {
            unrecorded.pop_front();
        }
        unrecorded.push_back(Unrecorded {
            sid: sid.to_owned(),
            at,
            liveness,
        });
    }

    /// The ends that the store has still to record.
    pub(super) fn unrecorded(&self) -> Vec<Unrecorded> {
        locked(&self.unrecorded).iter().cloned().collect()
    }

    /// The store has recorded this end.
    pub(super) fn recorded(&self, end: &Unrecorded) {
        locked(&self.unrecorded).retain(|other| !Arc::ptr_eq(&other.liveness, &end.liveness));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
