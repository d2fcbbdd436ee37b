//! The servers as all threads see them: which fail, why, since when, and when they are looked at again.
//!
//! Requests read one word here that is written only when a server's health changes. A failing server
//! is out, that is, passed over, as long as another one is in: the last one is never out.

mod server;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::environment::Random;
use crate::telemetry::metrics::Metrics;

use server::Server;
pub use server::{can_be_prepared, look_at_all};

/// Until a server that failed is looked at again; doubled each time up to `LONGEST_BACKOFF`.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A server that failed again sooner than this after it was back goes on with its last backoff.
const STEADY: Duration = Duration::from_secs(30);
/// How often `upstream.health_path` is asked for.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// What made a server fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// No connection: the next one that is made heals it.
    Unreachable,
    /// Too many of its answers are 502, 504 or none.
    Answers,
    /// `upstream.health_path` says so.
    Check,
}

/// Every server of `upstream.servers`, in its order.
pub struct Servers {
    list: Vec<Server>,
    health_path: Option<String>,
    /// A bit a server that is passed over.
    out: AtomicU64,
    /// A bit a server that fails, whether it is out or the last one.
    failing: AtomicU64,
    records: Mutex<Vec<Record>>,
    random: Arc<dyn Random>,
    metrics: Arc<Metrics>,
}

struct Record {
    trouble: Option<Trouble>,
    backoff: Duration,
    back_since: Option<Instant>,
}

struct Trouble {
    why: Why,
    reason: String,
    look_at: Instant,
}

impl Servers {
    /// Prepares connections; none is made yet. The error says which setting does not work.
    ///
    /// # Errors
    /// The authorities cannot be used, or a server's name cannot be in a certificate.
    pub fn new(
        config: &Config,
        random: Arc<dyn Random>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let upstream = &config.upstream;
        let list = server::list(config)?;
        for server in &list {
            metrics.upstream_up(&server.origin, true);
        }
        let records = list.iter().map(|_| Record {
            trouble: None,
            backoff: FIRST_BACKOFF,
            back_since: None,
        });
        Ok(Self {
            records: Mutex::new(records.collect()),
            list,
            health_path: upstream.health_path.clone(),
            out: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            random,
            metrics,
        })
    }

    pub(super) fn list(&self) -> &[Server] {
        &self.list
    }

    /// A bit a server that is passed over while there are others.
    pub(super) fn out(&self) -> u64 {
        self.out.load(Ordering::Relaxed)
    }

    /// A bit a server.
    fn all(&self) -> u64 {
        u64::MAX >> (64 - self.list.len().clamp(1, 64))
    }

    /// How many servers there are. At least one.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// What is degraded, a line each; empty while all is well.
    pub fn degraded(&self) -> Vec<String> {
        let records = self.records();
        let out = self.out();
        let line = |(index, record): (usize, &Record)| {
            let trouble = record.trouble.as_ref()?;
            let next = match out & bit(index) {
                0 => "no other is in: requests still go to it",
                _ => "requests go to the others",
            };
            let origin = &self.list[index].origin;
            Some(format!("application {origin}: {}; {next}", trouble.reason))
        };
        records.iter().enumerate().filter_map(line).collect()
    }

    /// A connection was made.
    pub(super) fn connected(&self, index: usize) {
        if self.failing.load(Ordering::Relaxed) & bit(index) == 0 {
            return;
        }
        let mut records = self.records();
        let trouble = records[index].trouble.as_ref();
        if trouble.is_some_and(|trouble| trouble.why == Why::Unreachable) {
            self.heal(&mut records, index);
        }
    }

    /// It fails; said once, however many requests notice.
    pub(super) fn failed(&self, index: usize, why: Why, reason: &str) {
        let (failing, out) = (self.failing.load(Ordering::Relaxed), self.out());
        let known = failing & bit(index) != 0;
        if known && (out & bit(index) != 0 || failing == self.all()) {
            return;
        }
        let mut records = self.records();
        let record = &mut records[index];
        if record.trouble.is_some() {
            return self.settle(&mut records);
        }
        let again = record.back_since.is_some_and(|at| at.elapsed() < STEADY);
        record.backoff = match again {
            true => (record.backoff * 2).min(LONGEST_BACKOFF),
            false => FIRST_BACKOFF,
        };
        let wait = self.jittered(record.backoff);
        record.trouble = Some(Trouble {
            why,
            reason: reason.to_owned(),
            look_at: Instant::now() + wait,
        });
        self.failing.fetch_or(bit(index), Ordering::Relaxed);
        self.metrics.upstream_up(&self.list[index].origin, false);
        let server = &self.list[index].origin;
        match self.all() & !self.out() & !bit(index) {
            0 => tracing::warn!(
                server,
                reason,
                "the application fails and no other server is in: requests still go to it"
            ),
            _ => {
                tracing::warn!(server, reason, look_again_in = ?wait, "a server of the application is out")
            }
        }
        self.settle(&mut records);
        self.list[index].changed.notify_one();
    }

    /// Takes failing servers out as long as another one is in.
    fn settle(&self, records: &mut [Record]) {
        for (index, record) in records.iter().enumerate() {
            let out = self.out();
            let others = self.all() & !out & !bit(index);
            if record.trouble.is_some() && others != 0 {
                self.out.store(out | bit(index), Ordering::Relaxed);
            }
        }
    }

    fn heal(&self, records: &mut [Record], index: usize) {
        let record = &mut records[index];
        if record.trouble.take().is_none() {
            return;
        }
        record.back_since = Some(Instant::now());
        self.failing.fetch_and(!bit(index), Ordering::Relaxed);
        self.out.fetch_and(!bit(index), Ordering::Relaxed);
        let server = &self.list[index].origin;
        self.metrics.upstream_up(server, true);
        tracing::info!(server, "the server of the application is back");
        self.settle(records);
        self.list[index].changed.notify_one();
    }

    /// Looks at a server: every 10 s with `upstream.health_path`, and whenever it failed for a while.
    /// Never ends; for the control runtime.
    pub async fn stay_checked(self: Arc<Self>, index: usize) {
        let server = &self.list[index];
        // Not all at once, and not all processes in step.
        let mut next_check = Instant::now() + self.jittered(FIRST_BACKOFF);
        loop {
            let failing = self.records()[index].trouble.as_ref().map(|it| it.look_at);
            let wake = match (failing, &self.health_path) {
                (Some(at), _) => at,
                (None, Some(_)) => next_check,
                (None, None) => {
                    server.changed.notified().await;
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = server.changed.notified() => continue,
            }
            let looked = server.look(self.health_path.as_deref()).await;
            next_check = Instant::now() + CHECK_EVERY;
            self.looked(index, looked);
        }
    }

    fn looked(&self, index: usize, looked: Result<(), (Why, String)>) {
        let mut records = self.records();
        match looked {
            Ok(()) => self.heal(&mut records, index),
            Err((why, reason)) => {
                if let Some(trouble) = &mut records[index].trouble {
                    *trouble = Trouble {
                        why,
                        reason,
                        look_at: trouble.look_at,
                    };
                    let record = &mut records[index];
                    record.backoff = (record.backoff * 2).min(LONGEST_BACKOFF);
                    let look_at = Instant::now() + self.jittered(record.backoff);
                    record
                        .trouble
                        .iter_mut()
                        .for_each(|it| it.look_at = look_at);
                    return self.settle(&mut records);
                }
                drop(records);
                self.failed(index, why, &reason);
            }
        }
    }

    /// From three quarters to five quarters of a time.
    fn jittered(&self, time: Duration) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        time * 3 / 4 + time * u32::from(byte[0]) / 512
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bit(index: usize) -> u64 {
    1 << index
}

#[cfg(test)]
mod tests;
