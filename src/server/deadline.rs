//! How long a connection may take: a header section to arrive, to stay idle between requests, and to
//! take what is written to it. hyper's own header timeout closes without a word and counts idle time
//! too, so it is off; here the first byte after a request starts the clock of the next.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::Rules;
use super::interim::Interim;
use super::open::Occupancy;
use crate::upstream::Client;

/// What a clock says that does not run.
const NOTHING: u64 = u64::MAX;
/// How often a connection's clocks are looked at.
const SHORTEST_STEP: Duration = Duration::from_millis(10);
const LONGEST_STEP: Duration = Duration::from_millis(2500);

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
    /// Since when the client takes nothing of what is written.
    stalled_since: AtomicU64,
    /// Here, because it is held as long as any part of the connection is: upgraded ones count too.
    _occupancy: Option<Occupancy>,
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
    /// Nothing yet, but for a while nothing has come or gone: the connection can rest.
    Resting,
    /// The client's reading: the connection is closed.
    Stalled,
}

impl State {
    fn elapsed(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// A write was taken, or was not: its clock runs while nothing is.
    fn wrote(&self, taken: bool) {
        let stalled = self.stalled_since.load(Ordering::Relaxed) != NOTHING;
        match (taken, stalled) {
            (true, true) => self.stalled_since.store(NOTHING, Ordering::Relaxed),
            (false, false) => self.stalled_since.store(self.elapsed(), Ordering::Relaxed),
            _ => {}
        }
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

impl State {
    /// No body is on its way in, and nothing of an answer on its way out.
    fn is_quiet(&self) -> bool {
        self.bodies.load(Ordering::Relaxed) == 0
            && self.stalled_since.load(Ordering::Relaxed) == NOTHING
            && !self.interim.is_within()
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
    pub(super) fn new(rules: Rules, occupancy: Option<Occupancy>) -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            header_timeout: rules.header_timeout,
            idle_timeout: rules.idle_timeout,
            answering: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
            header_since: AtomicU64::new(NOTHING),
            idle_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(NOTHING),
            _occupancy: occupancy,
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

    /// Resolves when something did not come in time, or when the connection `may_rest` and can.
    pub(super) async fn late(&self, may_rest: bool) -> Late {
        let state = &self.0;
        // One timer a connection, looked at now and then, instead of one set for every request.
        let step = (state.header_timeout / 4).clamp(SHORTEST_STEP, LONGEST_STEP);
        loop {
            tokio::time::sleep(step).await;
            let now = state.elapsed();
            let over =
                |since: u64, limit: Duration| now.saturating_sub(since) >= limit.as_millis() as u64;
            let stalled = state.stalled_since.load(Ordering::Relaxed);
            if stalled != NOTHING && over(stalled, state.idle_timeout) {
                return Late::Stalled;
            }
            if state.answering.load(Ordering::Relaxed) {
                continue;
            }
            let idle_since = state.idle_since.load(Ordering::Relaxed);
            match state.header_since.load(Ordering::Relaxed) {
                NOTHING if over(idle_since, state.idle_timeout) => return Late::Idle,
                NOTHING if may_rest && over(idle_since, step) && state.is_quiet() => {
                    return Late::Resting;
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

    /// The stream, and what was read of it but not given yet.
    pub(super) fn into_parts(self) -> (Bytes, S) {
        (self.first, self.stream)
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
        let state = &arrivals.0;
        let before = state.interim.before_writing(cx, Pin::new(&mut *stream));
        let wrote = match before {
            Poll::Ready(Ok(())) => Pin::new(stream).poll_write(cx, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        state.wrote(wrote.is_ready());
        wrote
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream, arrivals, ..
        } = self.get_mut();
        let state = &arrivals.0;
        let before = state.interim.before_writing(cx, Pin::new(&mut *stream));
        let wrote = match before {
            Poll::Ready(Ok(())) => Pin::new(stream).poll_write_vectored(cx, slices),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        state.wrote(wrote.is_ready());
        wrote
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
