//! What keeps all sessions of a provider from being renewed is the operator's to mend, and said once a minute: every
//! request of each of them comes upon it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::environment::UnixSeconds;

/// Seconds between two lines about the same.
const PAUSE: i64 = 60;

/// What was said, and when.
#[derive(Debug, Default)]
pub struct Unrenewable {
    said: Mutex<HashMap<(String, &'static str), UnixSeconds>>,
}

impl Unrenewable {
    /// Whether `reason` is to be said of this provider now; the names are those of sessions, so there are few.
    pub(super) fn is_news(&self, provider: &str, reason: &'static str, now: UnixSeconds) -> bool {
        // A panic leaves nothing half-written here.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (provider.to_owned(), reason);
        let is_news = said.get(&key).is_none_or(|before| now >= before + PAUSE);
        if is_news {
            said.insert(key, now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_a_minute_of_each_provider() {
        let told = Unrenewable::default();
        assert!(told.is_news("a", "gone", 1_000));
        assert!(!told.is_news("a", "gone", 1_059));
        assert!(told.is_news("b", "gone", 1_059), "another provider");
        assert!(told.is_news("a", "sealed", 1_059), "another reason");
        assert!(told.is_news("a", "gone", 1_060));
        assert!(!told.is_news("a", "gone", 1_061));
    }
}
