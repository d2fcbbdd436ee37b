//! What is written before an answer, beside hyper (which cannot): informational heads, between two
//! messages only. hyper flushes its transport when all it had to say is out, and that is the place.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::AsyncWrite;

/// Bytes that wait; a client that does not read gets no more hints.
const MOST: usize = 32 * 1024;

/// Heads that wait to be written. Shared within one thread: nobody ever waits for the lock.
#[derive(Debug, Default)]
pub(super) struct Interim {
    /// A request was taken, and its answer is not here yet.
    awaited: AtomicBool,
    waiting: AtomicBool,
    heads: Mutex<Vec<u8>>,
    /// hyper has written and not flushed: some of a message may still be to come. hyper takes no
    /// request before the answer to the one before is out, so this is a second bolt on that door.
    within: AtomicBool,
    connection: OnceLock<Waker>,
}

impl Interim {
    /// A request was taken.
    pub(super) fn asked(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Takes a head, and wakes the connection to write it.
    pub(super) fn push(&self, head: &[u8]) {
        if self.awaited.load(Ordering::Relaxed)
            && let Ok(mut heads) = self.heads.lock()
            && heads.len() + head.len() <= MOST
        {
            heads.extend_from_slice(head);
            self.waiting.store(true, Ordering::Relaxed);
        }
        self.connection
            .get()
            .into_iter()
            .for_each(Waker::wake_by_ref);
    }

    /// The connection's task, which is the same for as long as it lives.
    pub(super) fn runs_in(&self, cx: &Context<'_>) {
        self.connection.get_or_init(|| cx.waker().clone());
    }

    /// The answer is here. Behind the rest of an earlier one, heads would be written after it: they
    /// are left out.
    pub(super) fn answered(&self) {
        self.awaited.store(false, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed)
            && self.within.load(Ordering::Relaxed)
            && let Ok(mut heads) = self.heads.lock()
        {
            heads.clear();
            self.waiting.store(false, Ordering::Relaxed);
        }
    }

    /// Before hyper writes: what waits goes first, where no message has begun.
    pub(super) fn before_writing(
        &self,
        cx: &mut Context<'_>,
        stream: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        if self.waiting.load(Ordering::Relaxed) && !self.within.load(Ordering::Relaxed) {
            ready!(self.write(cx, stream))?;
        }
        self.within.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    /// hyper has written something, and may not have written all of it.
    pub(super) fn is_within(&self) -> bool {
        self.within.load(Ordering::Relaxed)
    }

    /// hyper has said all it had: what waits goes now.
    pub(super) fn before_flushing(
        &self,
        cx: &mut Context<'_>,
        stream: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        self.within.store(false, Ordering::Relaxed);
        match self.waiting.load(Ordering::Relaxed) {
            true => self.write(cx, stream),
            false => Poll::Ready(Ok(())),
        }
    }

    #[cold]
    fn write(
        &self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        let Ok(mut heads) = self.heads.lock() else {
            return Poll::Ready(Ok(()));
        };
        while !heads.is_empty() {
            match ready!(stream.as_mut().poll_write(cx, &heads))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(heads.drain(..written)),
            }
        }
        self.waiting.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}
