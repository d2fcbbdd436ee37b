//! How long an answer is waited for: one timer a worker looks after all requests in flight, where a
//! timer for each would be set and taken back for nothing, thousands of times a second.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

/// How often it is looked whose time is over.
const LONGEST_STEP: Duration = Duration::from_millis(250);
const SHORTEST_STEP: Duration = Duration::from_millis(5);

/// One worker's requests in flight, and until when each waits.
#[derive(Debug)]
pub(super) struct Patience {
    step: Duration,
    waiting: RefCell<Slab<Waiting>>,
    looking: Cell<bool>,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    over: bool,
    waker: Waker,
}

/// It took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;

impl Patience {
    /// For waits that are about as long as `usual`.
    pub(super) fn new(usual: Duration) -> Rc<Self> {
        Rc::new(Self {
            step: (usual / 16).clamp(SHORTEST_STEP, LONGEST_STEP),
            waiting: RefCell::default(),
            looking: Cell::new(false),
        })
    }

    /// Waits for an answer until then, and at most 250 ms more.
    pub(super) async fn until<T>(
        self: &Rc<Self>,
        until: Instant,
        answer: impl Future<Output = T>,
    ) -> Result<T, Over> {
        let mut answer = pin!(answer);
        let mut place = Place {
            patience: self,
            key: None,
        };
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending if place.is_over(until, cx.waker()) => Poll::Ready(Err(Over)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn look(self: &Rc<Self>) {
        if !self.looking.replace(true) {
            tokio::task::spawn_local(keep_looking(Rc::downgrade(self), self.step));
        }
    }
}

/// Wakes whoever waited for too long, as long as anybody waits.
async fn keep_looking(patience: Weak<Patience>, step: Duration) {
    loop {
        tokio::time::sleep(step).await;
        let Some(patience) = patience.upgrade() else {
            return;
        };
        let mut waiting = patience.waiting.borrow_mut();
        if waiting.is_empty() {
            return patience.looking.set(false);
        }
        let now = Instant::now();
        for (_, waiting) in waiting.iter_mut() {
            if waiting.until <= now && !waiting.over {
                waiting.over = true;
                waiting.waker.wake_by_ref();
            }
        }
    }
}

/// A request's place among those that wait; given up with this value.
struct Place<'p> {
    patience: &'p Rc<Patience>,
    key: Option<usize>,
}

impl Place<'_> {
    fn is_over(&mut self, until: Instant, waker: &Waker) -> bool {
        let mut all = self.patience.waiting.borrow_mut();
        let Some(waiting) = self.key.and_then(|key| all.get_mut(key)) else {
            let waiting = Waiting {
                until,
                over: false,
                waker: waker.clone(),
            };
            self.key = Some(all.insert(waiting));
            drop(all);
            self.patience.look();
            return false;
        };
        if !waiting.waker.will_wake(waker) {
            waiting.waker.clone_from(waker);
        }
        waiting.over
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.patience.waiting.borrow_mut().remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    fn on_a_worker(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn an_answer_in_time_is_given_and_leaves_no_trace() {
        on_a_worker(async {
            let patience = Patience::new(Duration::from_secs(1));
            let until = Instant::now() + Duration::from_secs(1);
            assert_eq!(patience.until(until, async { 7 }).await, Ok(7));
            assert!(!patience.looking.get(), "an answer at once needs no timer");
            let late = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                8
            };
            assert_eq!(patience.until(until, late).await, Ok(8));
            assert!(patience.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn waits_end_in_time_whoever_else_waits() {
        on_a_worker(async {
            let patience = Patience::new(Duration::from_millis(80));
            let started = Instant::now();
            let waits = [20, 40, 60].map(|wait| {
                let patience = Rc::clone(&patience);
                tokio::task::spawn_local(async move {
                    let until = started + Duration::from_millis(wait);
                    let over = patience.until(until, std::future::pending::<()>()).await;
                    (over, started.elapsed())
                })
            });
            for (wait, ended) in [20, 40, 60].into_iter().zip(waits) {
                let (over, took) = ended.await.unwrap();
                assert_eq!(over, Err(Over));
                assert!(took >= Duration::from_millis(wait), "{took:?}");
            }
            assert!(patience.waiting.borrow().is_empty());
            let again = patience.until(Instant::now(), std::future::pending::<()>());
            assert_eq!(
                again.await,
                Err(Over),
                "it looks again when it is needed again"
            );
        });
    }
}
