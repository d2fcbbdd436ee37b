//! One connection: TLS or not, HTTP/2 or HTTP/1, under our own deadlines, and closed in good order at
//! the end. HTTP/1 over plain TCP, the way of most requests, is compiled on its own and boxes nothing.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::header::{CONNECTION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Phase;
use super::deadline::{Arrivals, Late, Timed};
use super::open::Occupancy;
use super::tls::{Acceptor, Opening};
use super::{http2, preface};
use crate::config;
use crate::identity::Peer;
use crate::proxy::{Proxy, TakenIn};
use crate::upstream::{Arriving, Body};

/// How long a client may be silent while its connection closes.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a connection may take to close.
const LONGEST_CLOSE: Duration = Duration::from_secs(30);

/// The limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) header_size: usize,
    pub(super) header_timeout: Duration,
    pub(super) idle_timeout: Duration,
}

/// What all connections of a worker share.
pub(super) struct Front {
    proxy: Rc<Proxy>,
    pub(super) rules: Rules,
    tls: Option<Acceptor>,
    hsts: Option<HeaderValue>,
    /// Answers are the last of their connections.
    closing: Cell<bool>,
}

impl Rules {
    pub(super) fn new(limits: &config::Limits) -> Self {
        Self {
            header_size: limits.header_size,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }
}

impl Front {
    pub(super) fn new(proxy: Rc<Proxy>, server: &config::Server, tls: Option<Acceptor>) -> Self {
        let hsts = server.hsts.map(|age| format!("max-age={}", age.as_secs()));
        Self {
            proxy,
            rules: Rules::new(&server.limits),
            tls,
            hsts: hsts.and_then(|value| HeaderValue::from_str(&value).ok()),
            closing: Cell::new(false),
        }
    }

    /// Notes the end of serving, here where no other core looks.
    pub(super) async fn follow(self: Rc<Self>, mut phase: watch::Receiver<Phase>) {
        // Without a sender the end has come too.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        self.closing.set(true);
    }

    /// Takes in a request, on whatever HTTP it came.
    pub(super) fn take_in(&self, request: Request<Arriving>, peer: &Peer) -> TakenIn {
        self.proxy.take_in(request, peer)
    }

    /// Answers it.
    pub(super) async fn answer(&self, request: TakenIn) -> Response<Body> {
        let mut response = self.proxy.answer(request).await;
        self.secure(&mut response);
        response
    }

    /// RFC 6797 7.1; the application's own word stands.
    fn secure<B>(&self, response: &mut Response<B>) {
        if let Some(hsts) = &self.hsts {
            let headers = response.headers_mut();
            let entry = headers.entry(STRICT_TRANSPORT_SECURITY);
            entry.or_insert_with(|| hsts.clone());
        }
    }

    fn timed_out(&self, peer: &Peer) -> Vec<u8> {
        let mut response = self.proxy.timed_out(peer);
        self.secure(&mut response);
        written(&response)
    }
}

/// Answers the requests of a connection until it ends.
pub(super) async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    front: Rc<Front>,
    occupancy: Occupancy,
    phase: watch::Receiver<Phase>,
) {
    let peer = Rc::new(front.proxy.peer(peer));
    if front.tls.is_some() {
        return Box::pin(over_tls(stream, peer, front, occupancy, phase)).await;
    }
    let arrivals = Arrivals::new(front.rules, Some(occupancy));
    let mut stream = stream;
    let first = match begun(&mut stream, &arrivals, phase.clone()).await {
        Begun::First(first) => first,
        Begun::Over => return,
        Begun::Late => {
            // Whoever went away need not be told.
            let _ = stream.write_all(&front.timed_out(&peer)).await;
            return close_in_order(stream).await;
        }
    };
    match first.http2 {
        // What it occupies goes on with `arrivals`.
        true => Box::pin(http2::serve(first.bytes, stream, peer, front, phase)).await,
        false => speak_http1(first.bytes, stream, arrivals, peer, front, phase).await,
    }
}

/// How a plain connection began.
enum Begun {
    First(preface::First),
    /// Something came, but not enough in time.
    Late,
    /// Nothing came, and nothing will.
    Over,
}

async fn begun(
    stream: &mut TcpStream,
    arrivals: &Arrivals,
    mut phase: watch::Receiver<Phase>,
) -> Begun {
    tokio::select! {
        first = preface::first(stream, arrivals) => first.map_or(Begun::Over, Begun::First),
        late = arrivals.late(false) => match late {
            Late::Header => Begun::Late,
            Late::Idle | Late::Stalled | Late::Resting => Begun::Over,
        },
        _ = phase.wait_for(|phase| *phase == Phase::Ending) => Begun::Over,
    }
}

/// A whole handshake within `header_timeout`, then what was agreed on.
async fn over_tls(
    stream: TcpStream,
    peer: Rc<Peer>,
    front: Rc<Front>,
    occupancy: Occupancy,
    mut phase: watch::Receiver<Phase>,
) {
    let Some(tls) = &front.tls else { return };
    let opening = tokio::select! {
        opening = tokio::time::timeout(front.rules.header_timeout, tls.open(stream)) => opening,
        _ = phase.wait_for(|phase| *phase == Phase::Ending) => return,
    };
    match opening {
        Ok(Opening::Agreed(stream, true)) => {
            http2::serve(Bytes::new(), stream, peer, front, phase).await;
        }
        Ok(Opening::Agreed(stream, false)) => {
            let arrivals = Arrivals::new(front.rules, Some(occupancy));
            speak_http1(Bytes::new(), stream, arrivals, peer, front, phase).await;
        }
        Ok(Opening::Plain(mut stream)) => {
            // Whoever went away need not be told. Not over TLS, so without HSTS (RFC 6797 7.2).
            let _ = stream
                .write_all(&written(&front.proxy.spoke_plain(&peer)))
                .await;
            close_in_order(stream).await;
        }
        Ok(Opening::Broken) | Err(_) => {}
    }
}

/// HTTP/1 until the connection ends. One that has nothing to do rests: what speaks for it takes 20 KiB,
/// the wait for its next request a tenth of that.
async fn speak_http1<S>(
    mut first: Bytes,
    mut stream: S,
    arrivals: Arrivals,
    peer: Rc<Peer>,
    front: Rc<Front>,
    phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let (noted, answering) = (arrivals.clone(), (Rc::clone(&front), Rc::clone(&peer)));
        let service = service_fn(move |request: Request<Incoming>| {
            let request = request.map(|body| Arriving::new(body, noted.client()));
            let (front, peer) = &answering;
            let (front, taken_in) = (Rc::clone(front), front.take_in(request, peer));
            let in_flight = noted.request();
            async move {
                let mut response = front.answer(taken_in).await;
                in_flight.answered();
                if front.closing.get() {
                    say_close(&mut response);
                }
                Ok::<_, Infallible>(response.map(|body| Answering::new(body, in_flight)))
            }
        });
        let timed = Timed::new(first, stream, arrivals.clone());
        let (address, late) = (peer.address(), || front.timed_out(&peer));
        let unreadable = |status| front.proxy.unreadable(status, &peer);
        // In a box, since it is not there while the connection rests.
        let phases = phase.clone();
        let spoken = http1(
            timed,
            &arrivals,
            service,
            front.rules,
            address,
            phases,
            late,
            unreadable,
            true,
        );
        match Box::pin(spoken).await {
            Some(resting) => stream = resting,
            None => return,
        }
        first = match awoken(&mut stream, &arrivals, phase.clone()).await {
            Some(first) => first,
            None => {
                let _ = tokio::time::timeout(SILENCE, stream.shutdown()).await;
                return;
            }
        };
    }
}

/// Waits for the next request of a resting connection; `None` when there is none in time.
async fn awoken(
    stream: &mut (impl AsyncRead + Unpin),
    arrivals: &Arrivals,
    mut phase: watch::Receiver<Phase>,
) -> Option<Bytes> {
    tokio::select! {
        first = preface::awoken(stream, arrivals) => first.ok().filter(|first| !first.is_empty()),
        _ = arrivals.late(false) => None,
        _ = phase.wait_for(|phase| *phase == Phase::Ending) => None,
    }
}

/// What happens to a connection beside its requests.
enum Beside {
    Late(Late),
    Ending,
}

async fn beside(
    arrivals: Arrivals,
    may_rest: bool,
    phase: Option<watch::Receiver<Phase>>,
) -> Beside {
    let ending = async {
        match phase {
            // Without a sender the end has come too.
            Some(mut phase) => drop(phase.wait_for(|phase| *phase == Phase::Ending).await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        late = arrivals.late(may_rest) => Beside::Late(late),
        () = ending => Beside::Ending,
    }
}

/// HTTP/1 with any service, until it ends or rests; `late_answer` is the answer to a header section that
/// did not come in time, and `unreadable` is told what hyper answered by itself to one that is no HTTP.
#[expect(
    clippy::too_many_arguments,
    reason = "one call for each kind of service"
)]
pub(super) async fn http1<S, V, B>(
    stream: Timed<S>,
    arrivals: &Arrivals,
    service: V,
    rules: Rules,
    peer: IpAddr,
    phase: watch::Receiver<Phase>,
    late_answer: impl FnOnce() -> Vec<u8>,
    unreadable: impl FnOnce(StatusCode),
    may_rest: bool,
) -> Option<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B>,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(rules.header_size)
        .header_read_timeout(None);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = connection.with_upgrades();
    // Looked at only when something happens beside the requests, not whenever one of them moves.
    let mut watched = FuturesUnordered::new();
    watched.push(beside(arrivals.clone(), may_rest, Some(phase)));
    let mut ending = false;
    let late = loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended && error.is_parse() {
                    tracing::debug!(client = %peer, %error, "malformed request");
                    unreadable(answered(&error));
                }
                break None;
            }
            Some(happened) = watched.next() => match happened {
                Beside::Late(late) => break Some(late),
                Beside::Ending => {
                    ending = true;
                    watched.push(beside(arrivals.clone(), false, None));
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };
    let parts = connection.into_parts().filter(|_| !ending)?;
    let (first, mut stream) = parts.io.into_inner().into_parts();
    match late {
        Some(Late::Resting) if first.is_empty() && parts.read_buf.is_empty() => {
            return Some(stream);
        }
        // An idle connection is closed without a word of HTTP; whoever sends half a header is told.
        Some(Late::Idle | Late::Resting) => {
            let _ = tokio::time::timeout(SILENCE, stream.shutdown()).await;
            return None;
        }
        // Nothing more can be said to whoever takes nothing.
        Some(Late::Stalled) => return None,
        Some(Late::Header) => {
            // Whoever went away need not be told.
            let _ = stream.write_all(&late_answer()).await;
        }
        None => {}
    }
    close_in_order(stream).await;
    None
}

/// What hyper answers to a header section that it cannot read.
fn answered(error: &hyper::Error) -> StatusCode {
    match error.is_parse_too_large() {
        // Nothing but its words tells the two apart.
        true if error.to_string().contains("URI") => StatusCode::URI_TOO_LONG,
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    }
}

/// Reads on for a while after the last answer: closing a socket with bytes unread resets it, and a
/// reset takes the answer away from a client that is still sending (RFC 9112 9.6).
async fn close_in_order(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let reading = async {
        let mut unread = vec![0; 16 * 1024];
        while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, stream.read(&mut unread)).await {}
    };
    // Whoever sends for longer has had the time to see the answer.
    let _ = tokio::time::timeout(LONGEST_CLOSE, reading).await;
}

/// A response as HTTP/1.1 writes it (RFC 9112 2.1), the last of its connection.
pub(super) fn written(response: &Response<Bytes>) -> Vec<u8> {
    let status = response.status();
    let mut text = format!(
        "HTTP/1.1 {} {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default()
    );
    for (name, value) in response.headers() {
        text.push_str(&format!(
            "{name}: {}\r\n",
            value.to_str().unwrap_or_default()
        ));
    }
    text.push_str(&format!(
        "connection: close\r\ncontent-length: {}\r\n\r\n",
        response.body().len()
    ));
    [text.as_bytes(), response.body()].concat()
}

/// A response's body, whose request is in flight until it has gone.
pub(super) struct Answering<B, G> {
    body: B,
    _in_flight: G,
}

impl<B, G> Answering<B, G> {
    pub(super) fn new(body: B, in_flight: G) -> Self {
        Self {
            body,
            _in_flight: in_flight,
        }
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin, G: Unpin> http_body::Body for Answering<B, G> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn say_close<B>(response: &mut Response<B>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
