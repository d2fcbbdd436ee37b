//! Who counts as open: how many connections a worker still has, since it ends when the last one has
//! gone, and how many all workers may have together.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::Phase;
use crate::telemetry::metrics::ConnectionGuard;

/// How often the log says that there is no room: the metric counts each time.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A worker's open connections; clones count together.
#[derive(Default, Clone)]
pub(super) struct Open(Rc<(Cell<usize>, Notify)>);

/// Counts one connection for as long as it lives.
pub(super) struct Guard(Open);

impl Open {
    /// Counts one more connection.
    pub(super) fn guard(&self) -> Guard {
        self.0.0.set(self.0.0.get() + 1);
        Guard(self.clone())
    }

    /// Resolves when the end was called and the last connection has gone.
    pub(super) async fn all_closed(self, mut phase: watch::Receiver<Phase>) {
        // The sender lives as long as the process serves; without it, it is over.
        let _ = phase.wait_for(|phase| *phase == Phase::Ending).await;
        while self.0.0.get() > 0 {
            self.0.1.notified().await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (count, changed) = &*self.0.0;
        count.set(count.get() - 1);
        changed.notify_one();
    }
}

/// `server.limits.connections`, for all workers together.
pub(super) struct Room {
    free: Arc<Semaphore>,
    connections: usize,
    said: Mutex<Option<Instant>>,
}

/// One connection's place among `server.limits.connections`, and in the metric.
#[derive(Debug)]
pub(super) struct Occupancy {
    _place: OwnedSemaphorePermit,
    _counted: ConnectionGuard,
}

impl Occupancy {
    pub(super) fn new(place: OwnedSemaphorePermit, counted: ConnectionGuard) -> Self {
        Self {
            _place: place,
            _counted: counted,
        }
    }
}

impl Room {
    pub(super) fn new(connections: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            connections,
            said: Mutex::new(None),
        }
    }

    /// A place, if one is free.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Waits for a place; the log is told now and then. `None` never happens while the room exists.
    pub(super) async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        self.say_full();
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    fn say_full(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            *said = Some(Instant::now());
            tracing::warn!(
                limit = self.connections,
                "all of server.limits.connections are open: new ones wait until others close; raise the limit, or find out who holds them"
            );
        }
    }
}
