//! How long a connection may take: a header section to arrive, and to stay idle between requests.
//! hyper's own header timeout closes without a word and counts idle time too, so it is off; here the
//! first byte after a request starts the clock of the next.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::interim::Interim;
use crate::upstream::Client;

/// Nothing of a header section has arrived.
const NOTHING: u64 = u64::MAX;

/// What has arrived on a connection, and until when more must.
#[derive(Debug, Clone)]
pub(super) struct Arrivals(Arc<State>);

#[derive(Debug)]
struct State {
    start: Instant,
    header_timeout: Duration,
    idle_timeout: Duration,
    answering: AtomicBool,
    /// Bodies that still arrive, be they answered or not.
    bodies: AtomicUsize,
    /// Milliseconds from `start` to the first byte of a header section.
    header_since: AtomicU64,
    idle_since: AtomicU64,
    interim: Interim,
}

/// A request whose answer is on its way.
#[derive(Debug)]
pub(super) struct InFlight(Arc<State>);

/// What did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The rest of a header section: 408.
    Header,
    /// Another request: the connection is closed.
    Idle,
}

impl State {
    fn elapsed(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn arrived(&self) {
        if self.answering.load(Ordering::Relaxed) {
            return;
        }
        if self.bodies.load(Ordering::Relaxed) > 0 {
            // The rest of a body that was answered early is no header section.
            self.idle_since.store(self.elapsed(), Ordering::Relaxed);
        } else if self.header_since.load(Ordering::Relaxed) == NOTHING {
            self.header_since.store(self.elapsed(), Ordering::Relaxed);
        }
    }
}

impl Client for State {
    fn body_begins(&self) {
        self.bodies.fetch_add(1, Ordering::Relaxed);
    }

    fn body_ends(&self) {
        self.idle_since.store(self.elapsed(), Ordering::Relaxed);
        self.bodies.fetch_sub(1, Ordering::Relaxed);
    }

    fn informational(&self, head: &[u8]) {
        self.interim.push(head);
    }
}

impl Arrivals {
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            header_timeout,
            idle_timeout,
            answering: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
            header_since: AtomicU64::new(NOTHING),
            idle_since: AtomicU64::new(0),
            interim: Interim::default(),
        }))
    }

    /// Something has arrived.
    pub(super) fn arrived(&self) {
        self.0.arrived();
    }

    /// A whole header section is here: its clock stops until the answer has gone.
    pub(super) fn request(&self) -> InFlight {
        self.0.interim.asked();
        self.0.answering.store(true, Ordering::Relaxed);
        self.0.header_since.store(NOTHING, Ordering::Relaxed);
        InFlight(Arc::clone(&self.0))
    }

    /// The connection, for the bodies that come by it.
    pub(super) fn client(&self) -> Arc<dyn Client> {
        Arc::clone(&self.0) as Arc<dyn Client>
    }

    /// Resolves when something did not come in time.
    pub(super) async fn late(&self) -> Late {
        let state = &self.0;
        // One timer a connection, looked at now and then, instead of one set for every request.
        let step = (state.header_timeout / 4).max(Duration::from_millis(10));
        loop {
            tokio::time::sleep(step).await;
            if state.answering.load(Ordering::Relaxed) {
                continue;
            }
            let now = state.elapsed();
            let over =
                |since: u64, limit: Duration| now.saturating_sub(since) >= limit.as_millis() as u64;
            match state.header_since.load(Ordering::Relaxed) {
                NOTHING if over(state.idle_since.load(Ordering::Relaxed), state.idle_timeout) => {
                    return Late::Idle;
                }
                NOTHING => {}
                since if over(since, state.header_timeout) => return Late::Header,
                _ => {}
            }
        }
    }
}

impl InFlight {
    /// The answer's head is here: nothing comes before it any more.
    pub(super) fn answered(&self) {
        self.0.interim.answered();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.elapsed(), Ordering::Relaxed);
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

/// A stream that notes when something arrives, and gives first what was read of it before.
#[derive(Debug)]
pub(super) struct Timed<S> {
    first: Bytes,
    stream: S,
    arrivals: Arrivals,
}

impl<S> Timed<S> {
    pub(super) fn new(first: Bytes, stream: S, arrivals: Arrivals) -> Self {
        Self {
            first,
            stream,
            arrivals,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.arrivals.0.interim.runs_in(cx);
        if !self.first.is_empty() {
            let count = self.first.len().min(into.remaining());
            into.put_slice(&self.first[..count]);
            self.first.advance(count);
            if self.first.is_empty() {
                self.first = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if read.is_ready() && into.filled().len() > before {
            self.arrivals.0.arrived();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream, arrivals, ..
        } = self.get_mut();
        let interim = &arrivals.0.interim;
        ready!(interim.before_writing(cx, Pin::new(&mut *stream)))?;
        Pin::new(stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream, arrivals, ..
        } = self.get_mut();
        let interim = &arrivals.0.interim;
        ready!(interim.before_writing(cx, Pin::new(&mut *stream)))?;
        Pin::new(stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream, arrivals, ..
        } = self.get_mut();
        let interim = &arrivals.0.interim;
        ready!(interim.before_flushing(cx, Pin::new(&mut *stream)))?;
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
