//! HTTP/2 towards browsers (RFC 9113), over TLS by ALPN or in the clear by prior knowledge: what hyper
//! leaves open is here, deadlines, cookie crumbs, and the end.

mod frames;
mod gathered;

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Phase;
use super::connection::{Answering, Front, Rules};
use crate::identity::Peer;
use crate::upstream::{Arriving, Client};
use frames::Frames;
use gathered::{Gathered, TurnsEnd};

/// Requests that one connection has in flight; RFC 9113 6.5.2 advises against fewer than 100.
const STREAMS: u32 = 128;
/// What a client may send on a stream before the application has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection: this bounds what a connection can make us hold.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is held of an answer that its client does not take.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that their client reset before we saw them (CVE-2023-44487).
const PENDING_RESETS: usize = 32;
/// Streams that we reset for what their client did, over the life of a connection.
const LOCAL_RESETS: usize = 256;
/// How often a silent client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
/// How long a connection with nothing to do may take to close.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Answers the requests of a connection until it ends. `first` was read of the stream already.
pub(super) async fn serve<S>(
    first: Bytes,
    stream: S,
    peer: Rc<Peer>,
    front: Rc<Front>,
    mut phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let rules = front.rules;
    let streams = Streams::new();
    let counted = Rc::clone(&streams);
    let (answering, unwatched) = ((front, Rc::clone(&peer)), Arc::new(Unwatched));
    let service = service_fn(move |mut request: Request<Incoming>| {
        join_cookies(request.headers_mut());
        let request = request.map(|body| Arriving::new(body, unwatched.clone()));
        let (front, peer) = &answering;
        let (front, taken_in) = (Rc::clone(front), front.take_in(request, peer));
        let in_flight = Streams::request(&counted);
        // In a box: hyper hands it on three times before it rests in a task of its own.
        Box::pin(async move {
            let response = front.answer(taken_in).await;
            Ok::<_, Infallible>(response.map(|body| Answering::new(body, in_flight)))
        })
    });
    let (stream, turns_end) = Gathered::new(stream);
    let io = TokioIo::new(Watched {
        first,
        stream,
        streams: Rc::clone(&streams),
    });
    let connection = std::pin::pin!(builder(rules).serve_connection(io, service));
    let mut turns = Turns {
        connection,
        turns_end,
    };
    let mut ending = false;
    loop {
        tokio::select! {
            ended = &mut turns => return told(ended, peer.address()),
            () = streams.late(rules) => break,
            _ = phase.wait_for(|phase| *phase != Phase::Serving), if !ending => {
                ending = true;
                turns.connection.as_mut().graceful_shutdown();
            }
        }
    }
    // GOAWAY, and the end once the client has seen it (RFC 9113 6.8).
    turns.connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_WORDS, turns).await;
}

/// A connection, each of whose turns ends with what was said in it going out.
struct Turns<'c, C, S> {
    connection: Pin<&'c mut C>,
    turns_end: TurnsEnd<S>,
}

impl<C, S> Future for Turns<'_, C, S>
where
    C: Future<Output = hyper::Result<()>>,
    S: AsyncWrite + Unpin,
{
    type Output = Result<(), Box<dyn Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
            return Poll::Ready(ended.map_err(Box::from));
        }
        match self.turns_end.poll_flush(cx) {
            Poll::Ready(Err(broken)) => Poll::Ready(Err(broken.into())),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

fn builder(rules: Rules) -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(rules.header_size).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

fn told(ended: Result<(), Box<dyn Error>>, peer: IpAddr) {
    if let Err(error) = ended {
        let cause = error.source().map(ToString::to_string);
        tracing::debug!(client = %peer, %error, cause, "HTTP/2 connection ended");
    }
}

/// Streams are answered on the worker that accepted their connection.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

/// A body here keeps nobody waiting but its own stream: its end need not be known to the connection.
#[derive(Debug)]
struct Unwatched;

impl Client for Unwatched {
    /// hyper says none over HTTP/2.
    fn informational(&self, _head: &[u8]) {}

    fn body_begins(&self) {}
    fn body_ends(&self) {}
}

/// A client may send each cookie as a field of its own (RFC 9113 8.2.3); everybody else reads one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let line = crumbs.join(&b"; "[..]);
    // Joined from values, it is one.
    if let Ok(line) = HeaderValue::from_maybe_shared(Bytes::from(line)) {
        headers.insert(COOKIE, line);
    }
}

/// What a connection is doing.
struct Streams {
    open: Cell<usize>,
    idle_since: Cell<Instant>,
    /// Since when the preface or a field block is under way.
    header_since: Cell<Option<Instant>>,
    frames: Cell<Frames>,
}

/// A stream whose answer is on its way.
struct Stream(Rc<Streams>);

impl Streams {
    fn new() -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            open: Cell::new(0),
            idle_since: Cell::new(now),
            header_since: Cell::new(Some(now)),
            frames: Cell::default(),
        })
    }

    fn request(streams: &Rc<Self>) -> Stream {
        streams.open.set(streams.open.get() + 1);
        Stream(Rc::clone(streams))
    }

    fn arrived(&self, bytes: &[u8]) {
        let mut frames = self.frames.take();
        let progress = frames.feed(bytes);
        self.frames.set(frames);
        match (progress.whole, progress.under_way) {
            (_, false) => self.header_since.set(None),
            (true, true) => self.header_since.set(Some(Instant::now())),
            (false, true) if self.header_since.get().is_none() => {
                self.header_since.set(Some(Instant::now()));
            }
            (false, true) => {}
        }
    }

    /// Resolves when something did not come in time: the preface, the rest of a field block, another
    /// request. Pings and settings are none of these.
    async fn late(&self, rules: Rules) {
        let step = (rules.header_timeout / 4).max(Duration::from_millis(10));
        loop {
            tokio::time::sleep(step).await;
            let header = self.header_since.get();
            let header = header.is_some_and(|since| since.elapsed() >= rules.header_timeout);
            let idle =
                self.open.get() == 0 && self.idle_since.get().elapsed() >= rules.idle_timeout;
            if header || idle {
                return;
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// A stream whose frames are followed, and that gives first what was read of it before.
struct Watched<S> {
    first: Bytes,
    stream: S,
    streams: Rc<Streams>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if self.first.is_empty() {
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        } else {
            let count = self.first.len().min(into.remaining());
            into.put_slice(&self.first[..count]);
            self.first.advance(count);
        }
        if into.filled().len() > before {
            self.streams.arrived(&into.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_become_one_field() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3; d=4"]);
    }
}
