//! `Expect: 100-continue` (RFC 9110 10.1.1): the application decides whether it wants the body. Until
//! it says so nothing of the body is read, so that the client is not told to send it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::{Request, StatusCode};
use tokio::time::Sleep;

/// An application that does not know the mechanism never says a word: the body is sent then.
const PATIENCE: Duration = Duration::from_secs(1);

const UNDECIDED: u8 = 0;
const WANTED: u8 = 1;
const REFUSED: u8 = 2;
const OVER: u8 = 3;

/// What the application has decided; shared between the request's body and the one who waits for the
/// answer. hyper calls back from the connection's task, and wants it `Send`.
#[derive(Debug, Default, Clone)]
pub(super) struct Decision(Arc<(AtomicU8, AtomicWaker)>);

impl Decision {
    /// Asks for the request's expectation to be decided by the application's 100.
    pub(super) fn of<B>(request: &mut Request<B>) -> Self {
        let decision = Self::default();
        let noted = decision.clone();
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                noted.settle(WANTED);
            }
        });
        decision
    }

    /// The answer is here. Where it came without the body having been asked for, the body is never
    /// sent (RFC 9110 10.1.1), and neither connection is in order for another request.
    pub(super) fn refused(self) -> Option<Refusal> {
        self.settle(REFUSED);
        let refused = self.state() == REFUSED;
        refused.then_some(Refusal(self))
    }

    fn settle(&self, decision: u8) {
        let (state, waker) = &*self.0;
        // The first word counts; a second one finds it decided.
        let _ = state.compare_exchange(UNDECIDED, decision, Ordering::AcqRel, Ordering::Acquire);
        waker.wake();
    }

    fn state(&self) -> u8 {
        self.0.0.load(Ordering::Acquire)
    }
}

/// A body that is not sent. The connection on which it was announced ends with this.
#[derive(Debug)]
pub(super) struct Refusal(Decision);

impl Drop for Refusal {
    fn drop(&mut self) {
        let (state, waker) = &*self.0.0;
        state.store(OVER, Ordering::Release);
        waker.wake();
    }
}

/// A body that waits for the application's word.
#[derive(Debug)]
pub(super) struct Expectation {
    decision: Decision,
    patience: Pin<Box<Sleep>>,
}

impl Expectation {
    pub(super) fn new(decision: Decision) -> Self {
        let patience = Box::pin(tokio::time::sleep(PATIENCE));
        Self { decision, patience }
    }

    /// Whether the body is to be sent. That it is not is known once its answer has been read, since
    /// the connection breaks with it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.decision.0.1.register(cx.waker());
        if self.decision.state() == UNDECIDED {
            ready!(self.patience.as_mut().poll(cx));
            self.decision.settle(WANTED);
        }
        match self.decision.state() {
            REFUSED => Poll::Pending,
            decided => Poll::Ready(decided == WANTED),
        }
    }
}
