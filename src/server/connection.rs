//! One connection: HTTP/1 over hyper, under our own deadlines, and closed in good order at the end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Phase;
use super::deadline::{Arrivals, InFlight, Late, Timed};
use super::open::Occupancy;
use crate::config;
use crate::proxy::Proxy;
use crate::upstream::{Arriving, Body};

/// How long a client may be silent while its connection closes.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a connection may take to close.
const LONGEST_CLOSE: Duration = Duration::from_secs(30);

/// The limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    header_size: usize,
    header_timeout: Duration,
    idle_timeout: Duration,
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

/// Answers the requests of a connection until it ends.
pub(super) async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    proxy: Rc<Proxy>,
    rules: Rules,
    occupancy: Occupancy,
    mut phase: watch::Receiver<Phase>,
) {
    let arrivals = Arrivals::new(rules.header_timeout, rules.idle_timeout, occupancy);
    let peer = Rc::new(proxy.peer(peer));
    let (noted, closing) = (arrivals.clone(), phase.clone());
    let answering = (Rc::clone(&proxy), Rc::clone(&peer));
    let service = service_fn(move |request: Request<Incoming>| {
        let request = request.map(|body| Arriving::new(body, noted.client()));
        let ((proxy, peer), in_flight, closing) =
            (answering.clone(), noted.request(), closing.clone());
        async move {
            let mut response = proxy.answer(request, &peer).await;
            in_flight.answered();
            if *closing.borrow() != Phase::Serving {
                say_close(&mut response);
            }
            Ok::<_, Infallible>(response.map(|body| Answering {
                body,
                _in_flight: in_flight,
            }))
        }
    });
    let io = TokioIo::new(Timed::new(stream, arrivals.clone()));
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(rules.header_size)
        .header_read_timeout(None);
    let mut connection = builder.serve_connection(io, service).with_upgrades();
    let mut ending = false;
    let late = loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended && error.is_parse() {
                    tracing::debug!(client = %peer.address(), %error, "malformed request");
                }
                break None;
            }
            late = arrivals.late() => break Some(late),
            _ = phase.wait_for(|phase| *phase == Phase::Ending), if !ending => {
                ending = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let Some(parts) = connection.into_parts().filter(|_| !ending) else {
        return;
    };
    let mut stream = parts.io.into_inner();
    match late {
        // An idle connection is closed without a word; whoever sends half a header is told.
        Some(Late::Idle | Late::Stalled) => return,
        Some(Late::Header) => {
            // Whoever went away need not be told.
            let _ = stream.write_all(&written(&proxy.timed_out(&peer))).await;
        }
        None => {}
    }
    close_in_order(stream).await;
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
fn written(response: &Response<Bytes>) -> Vec<u8> {
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
struct Answering {
    body: Body,
    _in_flight: InFlight,
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn say_close(response: &mut Response<Body>) {
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
