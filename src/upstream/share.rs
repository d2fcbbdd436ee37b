//! What share of a server's last answers was bad, as one worker sees it.

use std::time::Duration;

use tokio::time::Instant;

/// Answers are counted for two of these.
const SPAN: Duration = Duration::from_secs(5);
/// Fewer answers say nothing.
const ENOUGH: u32 = 10;

/// Answers of the last 5 to 10 s.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    since: Instant,
    now: Tally,
    before: Tally,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    all: u32,
    bad: u32,
}

impl Share {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            now: Tally::default(),
            before: Tally::default(),
        }
    }

    pub(super) fn count(&mut self, bad: bool, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= SPAN {
            let before = match age < 2 * SPAN {
                true => self.now,
                false => Tally::default(),
            };
            *self = Self {
                before,
                ..Self::new(now)
            };
        }
        self.now.all = self.now.all.saturating_add(1);
        self.now.bad = self.now.bad.saturating_add(u32::from(bad));
    }

    /// Half of at least ten.
    pub(super) fn is_bad(&self) -> bool {
        let all = self.now.all.saturating_add(self.before.all);
        let bad = self.now.bad.saturating_add(self.before.bad);
        all >= ENOUGH && u64::from(bad) * 2 >= u64::from(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_ten_is_bad_and_old_answers_are_forgotten() {
        let start = Instant::now();
        let mut share = Share::new(start);
        (0..9).for_each(|_| share.count(true, start));
        assert!(!share.is_bad(), "nine say nothing");
        (0..9).for_each(|_| share.count(false, start));
        assert!(share.is_bad(), "9 of 18");
        share.count(false, start);
        assert!(!share.is_bad(), "9 of 19");
        let mut later = share;
        later.count(true, start + SPAN);
        assert!(later.is_bad(), "10 of 20");
        share.count(true, start + 2 * SPAN);
        assert!(!share.is_bad(), "1 of 1");
    }
}
