//! Loops: one browser that comes to the same address for the third time within 30 seconds, each time
//! sent to sign in right after a sign-in that succeeded. Many tabs are no loop: what counts is the
//! sequence of success and return, not how often an address is asked for.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::environment::UnixSeconds;

/// Within how many seconds the rounds are counted.
const WINDOW: i64 = 30;
/// Addresses remembered of one browser.
const MOST_ADDRESSES: usize = 16;
/// Browsers remembered.
const MOST_BROWSERS: u64 = 10_000;
/// Returns after a success before it is a loop: the first coming and two more.
const ROUNDS: u8 = 2;

#[derive(Debug, Clone, Copy)]
struct Visit {
    address: u64,
    since: UnixSeconds,
    succeeded: bool,
    rounds: u8,
}

/// Who came where, by the sign-in cookie or the session of a browser.
pub struct Recurrence {
    browsers: Cache<String, Arc<Mutex<Vec<Visit>>>>,
}

impl Default for Recurrence {
    fn default() -> Self {
        let browsers = Cache::builder()
            .max_capacity(MOST_BROWSERS)
            .time_to_idle(Duration::from_secs(WINDOW as u64))
            .build();
        Self { browsers }
    }
}

impl Recurrence {
    /// A sign-in of this browser succeeded and leads to `address`.
    pub fn signed_in(&self, browser: &str, address: &str, now: UnixSeconds) {
        self.visit(browser, address, now, |visit| {
            visit.succeeded = true;
            false
        });
    }

    /// The browser asks for `address` without a session; `true` if that is a loop.
    pub fn arrived(&self, browser: &str, address: &str, now: UnixSeconds) -> bool {
        self.visit(browser, address, now, |visit| {
            visit.rounds += u8::from(std::mem::take(&mut visit.succeeded));
            let looping = visit.rounds >= ROUNDS;
            if looping {
                *visit = Visit {
                    rounds: 0,
                    ..*visit
                };
            }
            looping
        })
    }

    /// The application sent a signed-in person to `login`.
    pub fn sent_to_login(&self, sid: &str, now: UnixSeconds) {
        self.visit(sid, "", now, |visit| {
            visit.succeeded = true;
            false
        });
    }

    /// A signed-in person comes to `login`, which leads to `address`; `true` if the application keeps
    /// sending them there.
    pub fn came_back(&self, sid: &str, address: &str, now: UnixSeconds) -> bool {
        let sent = self.visit(sid, "", now, |visit| std::mem::take(&mut visit.succeeded));
        sent && {
            self.signed_in(sid, address, now);
            self.arrived(sid, address, now)
        }
    }

    /// The person signed out: coming back is no loop.
    pub fn forget(&self, sid: &str, browser: Option<&str>) {
        self.browsers.invalidate(sid);
        if let Some(browser) = browser {
            self.browsers.invalidate(browser);
        }
    }

    fn visit(
        &self,
        browser: &str,
        address: &str,
        now: UnixSeconds,
        change: impl FnOnce(&mut Visit) -> bool,
    ) -> bool {
        let visits = self.browsers.get_with_by_ref(browser, Arc::default);
        let mut visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
        visits.retain(|visit| now - visit.since < WINDOW);
        let mut hasher = DefaultHasher::new();
        address.hash(&mut hasher);
        let address = hasher.finish();
        if let Some(visit) = visits.iter_mut().find(|visit| visit.address == address) {
            return change(visit);
        }
        if visits.len() >= MOST_ADDRESSES {
            visits.remove(0);
        }
        let mut visit = Visit {
            address,
            since: now,
            succeeded: false,
            rounds: 0,
        };
        let looping = change(&mut visit);
        visits.push(visit);
        looping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_coming_after_two_successes_is_a_loop() {
        let seen = Recurrence::default();
        assert!(!seen.arrived("b", "/x", 0));
        seen.signed_in("b", "/x", 1);
        assert!(!seen.arrived("b", "/x", 2));
        seen.signed_in("b", "/x", 3);
        assert!(!seen.arrived("b", "/other", 4) && !seen.arrived("c", "/x", 4));
        assert!(seen.arrived("b", "/x", 5));
    }

    #[test]
    fn many_tabs_slow_rounds_and_signing_out_are_none() {
        let seen = Recurrence::default();
        assert!((0..20).all(|_| !seen.arrived("b", "/x", 0)));
        (0..20).for_each(|_| seen.signed_in("b", "/x", 1));
        assert!(
            (0..20).all(|_| !seen.arrived("b", "/x", 2)),
            "one success counts once"
        );
        for round in 0..5 {
            seen.signed_in("slow", "/x", round * 20);
            assert!(!seen.arrived("slow", "/x", round * 20 + 16), "{round}");
        }
        for round in 0..5 {
            seen.signed_in("out", "/x", round);
            seen.forget("s", Some("out"));
            assert!(!seen.arrived("out", "/x", round));
        }
    }

    #[test]
    fn an_application_that_sends_a_good_session_to_login_is_seen() {
        let seen = Recurrence::default();
        assert!(
            (0..20).all(|_| !seen.came_back("s", "/x", 0)),
            "links to login are no loop"
        );
        let rounds: Vec<_> = (1..4)
            .map(|now| {
                seen.sent_to_login("s", now);
                seen.came_back("s", "/x", now)
            })
            .collect();
        assert_eq!(rounds, [false, true, false]);
    }
}
