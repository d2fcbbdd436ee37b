//! Which sessions have ended: one flag a session, shared by every copy of its token in memory, read
//! by requests and written by logouts only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
pub(super) struct Ends(Mutex<HashMap<String, Weak<Liveness>>>);

impl Ends {
    /// The flag of a session that is about to be remembered.
    pub(super) fn register(&self, sid: &str) -> Arc<Liveness> {
        let mut flags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flag) = flags.get(sid).and_then(Weak::upgrade) {
            return flag;
        }
        let flag = Arc::default();
        flags.insert(sid.to_owned(), Arc::downgrade(&flag));
        flag
    }

    /// Ends a session, if it is in memory.
    pub(super) fn end(&self, sid: &str) {
        let flags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flag) = flags.get(sid).and_then(Weak::upgrade) {
            flag.end();
        }
    }

    /// Drops the entries of sessions that memory has let go.
    pub(super) fn forget_unused(&self) {
        let mut flags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flags.retain(|_, flag| flag.strong_count() > 0);
    }
}
