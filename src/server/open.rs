//! How many connections a worker has open: it ends when the last one has gone.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::{Notify, watch};

use super::Phase;

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
