//! Bodies on their way: the request's, bounded and with its trailers stripped, and the response's,
//! which gives its connection back to the pool when it has been read to the end.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Incoming};
use tokio::time::Instant;

use super::expectation::{Decision, Expectation, Refusal};
use super::pool::Lease;
use super::trailers;
use crate::identity::Identity;

/// The connection that a request came by.
pub trait Client: Send + Sync {
    /// A body begins to arrive; it may outlast the answer.
    fn body_begins(&self);
    /// It has arrived, or nobody reads it any more.
    fn body_ends(&self);
    /// An informational response as HTTP/1.1 writes it (RFC 9110 15.2), to go before the answer.
    fn informational(&self, head: &[u8]);
}

/// A request's body as it comes from the client.
pub struct Arriving {
    body: Source,
    client: Arc<dyn Client>,
    /// The client was told that it begins.
    told: bool,
}

/// Where a body comes from.
enum Source {
    Connection(Incoming),
    /// It came by an earlier request.
    Kept(Full<Bytes>),
}

impl Source {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Connection(body) => Pin::new(body).poll_frame(context),
            Self::Kept(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Connection(body) => body.is_end_stream(),
            Self::Kept(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Connection(body) => body.size_hint(),
            Self::Kept(body) => body.size_hint(),
        }
    }
}

impl Arriving {
    /// A body that comes by this connection, or none.
    pub fn new(body: Incoming, client: Arc<dyn Client>) -> Self {
        let told = !body.is_end_stream();
        if told {
            client.body_begins();
        }
        Self {
            body: Source::Connection(body),
            client,
            told,
        }
    }

    /// A body that came by an earlier request, in the place of this one.
    pub fn replaced_by(&self, body: Bytes) -> Self {
        Self {
            body: Source::Kept(Full::new(body)),
            client: Arc::clone(&self.client),
            told: false,
        }
    }

    pub(super) fn client(&self) -> Arc<dyn Client> {
        Arc::clone(&self.client)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.told {
            self.client.body_ends();
        }
    }
}

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    moved: Cell<Option<Instant>>,
    over_limit: Cell<bool>,
    broken: Cell<bool>,
    waiting: Cell<bool>,
}

impl Progress {
    pub(super) fn last_moved(&self) -> Option<Instant> {
        self.moved.get()
    }

    pub(super) fn over_limit(&self) -> bool {
        self.over_limit.get()
    }

    pub(super) fn broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether more of it was asked for and has not come: the client is late, not the application.
    pub(super) fn waiting(&self) -> bool {
        self.waiting.get()
    }
}

/// The request's body broke off, or is larger than it may be.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyFault {
    #[error("the body is larger than server.limits.body_size")]
    TooLarge,
    #[error(transparent)]
    Broken(hyper::Error),
    #[error("the application answered without asking for the body")]
    Unwanted,
}

/// A request's body on its way to the application. In a box, and most requests have none: hyper keeps room for 32
/// requests on each connection, and moves them about.
pub(super) struct RequestBody(Option<Box<Passing>>);

/// A body that there is.
struct Passing {
    inner: Arriving,
    left: Option<u64>,
    expectation: Option<Expectation>,
    progress: Rc<Progress>,
    identity: Rc<Identity>,
}

impl RequestBody {
    pub(super) fn new(
        inner: Arriving,
        limit: Option<u64>,
        progress: &Rc<Progress>,
        identity: &Rc<Identity>,
    ) -> Self {
        let passing = |inner| Passing {
            inner,
            left: limit,
            expectation: None,
            progress: Rc::clone(progress),
            identity: Rc::clone(identity),
        };
        let some = (!inner.is_empty()).then_some(inner);
        Self(some.map(|inner| Box::new(passing(inner))))
    }

    /// Nothing of it is read before the application has decided.
    pub(super) fn awaits(&mut self, decision: Decision) {
        if let Some(passing) = &mut self.0 {
            passing.expectation = Some(Expectation::new(decision));
        }
    }

    /// The body of a request that has none.
    pub(super) fn none() -> Self {
        Self(None)
    }
}

impl Passing {
    fn admit(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFault> {
        self.progress.moved.set(Some(Instant::now()));
        match frame.into_data() {
            Ok(data) => {
                if let Some(left) = &mut self.left {
                    let Some(rest) = left.checked_sub(data.remaining() as u64) else {
                        self.progress.over_limit.set(true);
                        return Err(BodyFault::TooLarge);
                    };
                    *left = rest;
                }
                Ok(Frame::data(data))
            }
            Err(frame) => Ok(frame.map_data(|data| data).into_trailers().map_or_else(
                |frame| frame,
                |mut trailers| {
                    let strip = self.identity.strip_list();
                    trailers::keep(&mut trailers, |name| !strip.owns(name));
                    Frame::trailers(trailers)
                },
            )),
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(passing) = &mut self.0 else {
            return Poll::Ready(None);
        };
        if let Some(expectation) = &mut passing.expectation {
            let wanted = std::task::ready!(expectation.poll(cx));
            passing.expectation = None;
            if !wanted {
                self.0 = None;
                return Poll::Ready(Some(Err(BodyFault::Unwanted)));
            }
        }
        let polled = passing.inner.body.poll_frame(cx);
        passing.progress.waiting.set(polled.is_pending());
        match std::task::ready!(polled) {
            Some(Ok(frame)) => Poll::Ready(Some(passing.admit(frame))),
            Some(Err(error)) => {
                passing.progress.broken.set(true);
                Poll::Ready(Some(Err(BodyFault::Broken(error))))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let passing = self.0.as_ref();
        passing.is_none_or(|passing| passing.inner.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let passing = self.0.as_ref();
        passing.map_or_else(
            || SizeHint::with_exact(0),
            |passing| passing.inner.size_hint(),
        )
    }
}

/// A response's body: our own bytes, or the application's.
pub struct Body(Kind);

enum Kind {
    Own(Option<Bytes>),
    Forwarded {
        inner: Incoming,
        lease: Option<Lease>,
        /// Held for what its end does.
        _refusal: Option<Refusal>,
    },
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Own(None))
    }

    /// A body of our own.
    pub fn own(bytes: Bytes) -> Self {
        Self(Kind::Own((!bytes.is_empty()).then_some(bytes)))
    }

    pub(super) fn forwarded(inner: Incoming, lease: Lease) -> Self {
        match inner.is_end_stream() {
            true => {
                lease.give_back();
                Self(Kind::Forwarded {
                    inner,
                    lease: None,
                    _refusal: None,
                })
            }
            false => Self(Kind::Forwarded {
                inner,
                lease: Some(lease),
                _refusal: None,
            }),
        }
    }

    /// The last body of its connection: the request's own was never sent.
    pub(super) fn last(inner: Incoming, refusal: Refusal) -> Self {
        Self(Kind::Forwarded {
            inner,
            lease: None,
            _refusal: Some(refusal),
        })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Forwarded { inner, lease, .. } => {
                let frame = std::task::ready!(Pin::new(&mut *inner).poll_frame(cx));
                let frame = frame.map(|frame| frame.map(trailers::of_response));
                let ended = frame.is_none() || inner.is_end_stream();
                if ended && !matches!(frame, Some(Err(_))) {
                    lease.take().into_iter().for_each(Lease::give_back);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Forwarded { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Forwarded { inner, .. } => inner.size_hint(),
        }
    }
}
