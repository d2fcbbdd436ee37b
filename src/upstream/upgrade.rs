//! A connection that changed its protocol (RFC 9110 7.8): bytes both ways until either side ends, or
//! until the session or access token does that it was made for. It may be silent for as long as it likes, but not
//! leave what it is sent unread.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::environment::Clock;
use crate::identity::Grant;

/// How often it is looked whether the client takes nothing.
const SHORTEST_STEP: Duration = Duration::from_millis(10);
const LONGEST_STEP: Duration = Duration::from_millis(2500);

/// When the connection ends, even if neither side ends it.
pub(super) struct Ends {
    /// The session or access token that it was made for.
    pub(super) grant: Option<Arc<dyn Grant>>,
    pub(super) clock: Arc<dyn Clock>,
    /// How long the client may take nothing of what is written to it.
    pub(super) idle_timeout: Duration,
}

/// Joins the client's side with the application's once the 101 has gone out.
pub(super) fn join<B>(
    client: OnUpgrade,
    response: &mut Response<B>,
    protocol: Option<HeaderValue>,
    ends: Ends,
    in_flight: impl Sized + 'static,
) {
    let application = hyper::upgrade::on(&mut *response);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
        .headers_mut()
        .extend(protocol.map(|protocol| (UPGRADE, protocol)));
    tokio::task::spawn_local(async move {
        let _in_flight = in_flight;
        let (Ok(client), Ok(application)) = tokio::join!(client, application) else {
            return;
        };
        let stalled = Rc::new(Cell::new(None));
        let mut client = Watched {
            stream: TokioIo::new(client),
            stalled: Rc::clone(&stalled),
        };
        let mut application = TokioIo::new(application);
        let copying = tokio::io::copy_bidirectional(&mut client, &mut application);
        tokio::select! {
            _ = copying => {}
            () = end_of(ends.grant, ends.clock) => {}
            () = too_long(&stalled, ends.idle_timeout) => {}
        }
    });
}

async fn end_of(grant: Option<Arc<dyn Grant>>, clock: Arc<dyn Clock>) {
    let Some(grant) = grant else {
        return std::future::pending().await;
    };
    while grant.is_live(clock.now()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The client has taken nothing for so long.
async fn too_long(stalled: &Cell<Option<Instant>>, limit: Duration) {
    let step = (limit / 4).clamp(SHORTEST_STEP, LONGEST_STEP);
    while stalled.get().is_none_or(|since| since.elapsed() < limit) {
        tokio::time::sleep(step).await;
    }
}

/// A stream that notes since when nothing of what is written to it is taken.
struct Watched<S> {
    stream: S,
    stalled: Rc<Cell<Option<Instant>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let since = self.stalled.get();
        let stalled = wrote
            .is_pending()
            .then(|| since.unwrap_or_else(Instant::now));
        self.stalled.set(stalled);
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
