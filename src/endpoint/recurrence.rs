//! Loops: one browser that comes to the same address for the third time within 30 seconds, each time
//! sent to sign in right after a sign-in that succeeded. Many tabs are no loop: what counts is the
//! sequence of success and return, not how often an address is asked for.
//!
//! A browser that keeps its cookies from the page alone (a `Secure` one from http, one for another path from what a
//! server in front calls it) has them again at the callback: there a sign-in that was started after the last
//! one had led back is a round, which no number of tabs is.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// How many sign-ins had been started when a callback last led there with a session.
    led_back: Option<u64>,
}

/// Who came where, by the sign-in cookie or the session of a browser.
pub struct Recurrence {
    browsers: Cache<String, Arc<Mutex<Vec<Visit>>>>,
    /// Which one a sign-in under way is, by the digest of its `state`.
    starts: Cache<u64, u64>,
    started: AtomicU64,
}

impl Default for Recurrence {
    fn default() -> Self {
        let browsers = Cache::builder()
            .max_capacity(MOST_BROWSERS)
            .time_to_idle(Duration::from_secs(WINDOW as u64))
            .build();
        let starts = Cache::builder()
            .max_capacity(MOST_BROWSERS)
            .time_to_live(Duration::from_secs(WINDOW as u64))
            .build();
        Self {
            browsers,
            starts,
            started: AtomicU64::new(0),
        }
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

    /// A sign-in is started with this `state`.
    pub fn started(&self, state: &str) {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        self.starts.insert(digest_of(state), number);
    }

    /// A callback for this `state` meets a session and leads to `address`; `true` if that is a loop.
    pub fn led_back(&self, sid: &str, state: &str, address: &str, now: UnixSeconds) -> bool {
        let number = self.starts.get(&digest_of(state));
        let started = self.started.load(Ordering::Relaxed);
        self.visit(sid, address, now, |visit| {
            let before = visit.led_back.replace(started);
            let looping = number
                .zip(before)
                .is_some_and(|(this, before)| this > before);
            if looping {
                visit.led_back = None;
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
        let address = digest_of(address);
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
            led_back: None,
        };
        let looping = change(&mut visit);
        visits.push(visit);
        looping
    }
}

fn digest_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
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
    fn a_callback_that_leads_back_again_and_again_is_a_loop() {
        let seen = Recurrence::default();
        // Tabs that were opened at once all come back to one session.
        (0..20).for_each(|tab| seen.started(&format!("tab {tab}")));
        assert!((0..20).all(|tab| !seen.led_back("s", &format!("tab {tab}"), "/x", 0)));
        // Nor is one that somebody else started, or that is long gone.
        assert!(!seen.led_back("s", "unknown", "/x", 1));
        seen.started("once more");
        assert!(!seen.led_back("s", "once more", "/other", 2));
        assert!(!seen.led_back("t", "once more", "/x", 2));
        assert!(seen.led_back("s", "once more", "/x", 2));
        // Whoever tries again has another two rounds.
        seen.started("again");
        assert!(!seen.led_back("s", "again", "/x", 3));
        seen.started("slowly");
        assert!(!seen.led_back("s", "slowly", "/x", 40));
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
