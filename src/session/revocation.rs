//! Which sessions have ended: one flag a session, shared by every copy of its token in memory, read
//! by requests and written by logouts only.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use crate::config::Secret;
use crate::environment::UnixSeconds;

/// What is known of a session beyond its tokens: whether it has ended, and what happens to it.
#[derive(Debug, Default)]
pub struct Liveness {
    ended: AtomicBool,
    /// `exp` of the newest token seen here.
    until: AtomicI64,
    /// The last request that was noted.
    seen: AtomicI64,
    renewal: OnceLock<Arc<Renewal>>,
}

/// The renewal of a session on this node.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Held while it is renewed.
    pub one_at_a_time: Arc<tokio::sync::Mutex<()>>,
    /// The newest token, until a request has brought it.
    newer: ArcSwapOption<String>,
    /// Not tried again before: the provider or the store was down.
    retry_at: AtomicI64,
    /// How often in a row it was put off.
    put_off: AtomicU32,
    /// The newest refresh token, while the store does not take it.
    unkept: ArcSwapOption<Unkept>,
}

/// A refresh token that the store has still to take.
#[derive(Debug)]
pub struct Unkept {
    /// The token.
    pub token: Secret,
    /// The same, sealed.
    pub sealed: Vec<u8>,
    /// What the store holds in its place: the former one, sealed.
    pub instead_of: Option<Vec<u8>>,
}

impl Renewal {
    /// The token that takes the place of the one that a request bore.
    pub fn newer(&self) -> Option<Arc<String>> {
        self.newer.load_full()
    }

    /// That token is to take the place of those that requests bear.
    pub fn offer(&self, token: String) {
        self.newer.store(Some(Arc::new(token)));
    }

    /// The session was renewed.
    pub fn made(&self, token: String) {
        self.offer(token);
        self.put_off.store(0, Ordering::Relaxed);
    }

    /// Nothing could be learned of the session now. The number of times in a row, this one included.
    pub fn put_off(&self) -> u32 {
        self.put_off
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    /// The newest refresh token, if the store has not taken it.
    pub fn unkept(&self) -> Option<Arc<Unkept>> {
        self.unkept.load_full()
    }

    /// Keeps the newest refresh token until the store has it.
    pub fn keep(&self, unkept: Option<Arc<Unkept>>) {
        self.unkept.store(unkept);
    }

    /// The store has that one, or a newer one; whatever came meanwhile stays.
    pub(super) fn kept(&self, unkept: &Arc<Unkept>) {
        self.unkept.compare_and_swap(unkept, None);
    }

    /// Before `at` it is not tried again.
    pub fn rest_until(&self, at: UnixSeconds) {
        self.retry_at.store(at, Ordering::Relaxed);
    }

    /// Whether it may be tried now.
    pub fn may_try(&self, now: UnixSeconds) -> bool {
        now >= self.retry_at.load(Ordering::Relaxed)
    }

    /// A request has brought that token.
    pub(super) fn arrived(&self, token: &str) {
        let newer = self.newer.load_full();
        if newer.is_some_and(|newer| *newer == token) {
            self.newer.store(None);
        }
    }
}

impl Liveness {
    /// Ends the session.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The state of its renewal.
    pub fn renewal(&self) -> &Arc<Renewal> {
        self.renewal.get_or_init(Arc::default)
    }

    /// The same, where it was ever asked for.
    pub(super) fn renewal_if_any(&self) -> Option<&Arc<Renewal>> {
        self.renewal.get()
    }

    /// A token with this `exp` is genuine.
    pub(super) fn lasts_until(&self, expires_at: UnixSeconds) {
        self.until.fetch_max(expires_at, Ordering::Relaxed);
    }

    /// When the newest token that was seen here ends.
    pub(super) fn until(&self) -> UnixSeconds {
        self.until.load(Ordering::Relaxed)
    }

    /// The last request that was noted; 0 for none.
    pub(super) fn seen(&self) -> UnixSeconds {
        self.seen.load(Ordering::Relaxed)
    }

    /// A request was seen then.
    pub(super) fn see(&self, at: UnixSeconds) {
        self.seen.fetch_max(at, Ordering::Relaxed);
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

/// Renewals whose refresh token the store has still to take; the oldest go first when there are more.
#[derive(Debug, Default)]
pub(super) struct UnkeptTokens(Mutex<VecDeque<(String, Arc<Renewal>)>>);

impl UnkeptTokens {
    pub(super) fn add(&self, sid: &str, renewal: &Arc<Renewal>) {
        let mut waiting = locked(&self.0);
        if waiting.len() >= MOST_UNRECORDED {
            waiting.pop_front();
        }
        waiting.push_back((sid.to_owned(), Arc::clone(renewal)));
    }

    pub(super) fn first(&self) -> Option<(String, Arc<Renewal>)> {
        locked(&self.0).front().cloned()
    }

    /// That one is done with.
    pub(super) fn done(&self, renewal: &Arc<Renewal>) {
        locked(&self.0).retain(|(_, other)| !Arc::ptr_eq(other, renewal));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
