//! What operators see of a running process: log, metrics, and the ids that join them.

pub mod access;
pub mod log;
pub mod metrics;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::environment::Random;

/// Joins a page, its log line and its audit row. Sixteen hexadecimal digits; no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u64);

impl RequestId {
    /// The id of a number that was told by the operator or a test.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Gives out request ids; one a worker, so that no two cores write to one counter.
#[derive(Debug)]
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// Starts at a random number.
    pub fn new(random: &dyn Random) -> Self {
        let mut seed = [0; 8];
        random.fill(&mut seed);
        Self(AtomicU64::new(u64::from_le_bytes(seed)))
    }

    /// The next id. Odd steps of the golden ratio visit every number before one comes again.
    pub fn next(&self) -> RequestId {
        RequestId(self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }
}
