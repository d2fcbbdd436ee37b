//! The application: an [`Outgoing`] request goes out over a pooled connection, its response comes back
//! with what belongs to the connection removed. One pool a worker, shared with nobody.

mod body;
mod expectation;
mod headers;
mod pool;
mod trailers;
mod upgrade;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use crate::config::Config;
use crate::environment::Clock;
use crate::identity::{Identity, Outgoing};
use crate::telemetry::metrics::WorkerMetrics;

pub use body::{Arriving, Body, Client};
use body::{Progress, RequestBody};
use expectation::Decision;
use headers::ResponseHeaders;
use pool::Pool;

/// A connection that has been idle for longer may be closing at the other end: a request that can be
/// sent again is kept until it is answered.
const FRESH: Duration = Duration::from_secs(1);

/// Why there is no response. The application's fault, but for those of the body.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection could be made. 502.
    #[error("no connection to the application at {server}: {reason}")]
    Unreachable {
        /// `host:port`.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The connection broke, or what came is not HTTP. 502.
    #[error("the application at {server} did not answer with HTTP: {reason}")]
    Broken {
        /// `host:port`.
        server: String,
        /// What was found.
        reason: String,
    },
    /// No response's header within `upstream.response_timeout`. 504.
    #[error("the application at {server} did not answer within {waited:?}")]
    Slow {
        /// `host:port`.
        server: String,
        /// The time that was waited.
        waited: Duration,
    },
    /// The body was larger than `server.limits.body_size`. 413.
    #[error("the request's body is larger than server.limits.body_size")]
    BodyTooLarge,
    /// The rest of the body did not come within `upstream.response_timeout`. 408.
    #[error("the request's body stopped arriving for {waited:?}")]
    BodySlow {
        /// The time that was waited.
        waited: Duration,
    },
    /// The client went away in the middle of its body. Nobody is left to answer.
    #[error("the request's body broke off")]
    BodyBroken,
}

/// One worker's way to the application.
pub struct Application {
    identity: Arc<Identity>,
    headers: ResponseHeaders,
    pool: Rc<Pool>,
    response_timeout: Duration,
    body_size: Option<u64>,
    clock: Arc<dyn Clock>,
    metrics: Arc<WorkerMetrics>,
}

impl Application {
    /// Prepares a worker's pool; no connection is made yet.
    pub fn new(
        config: &Config,
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        Self {
            identity,
            headers: ResponseHeaders::new(config),
            pool: Rc::new(Pool::new(
                &config.upstream.servers[0],
                config.upstream.connect_timeout,
            )),
            response_timeout: config.upstream.response_timeout,
            body_size: config.server.limits.body_size,
            clock,
            metrics,
        }
    }

    /// Forwards a request and gives back the response's header; bodies stream in both directions.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn forward(&self, outgoing: Outgoing<Arriving>) -> Result<Response<Body>, Fault> {
        let session = outgoing.session().cloned();
        let upgrades = outgoing.upgrades();
        let mut request = outgoing.into_request();
        if self
            .body_size
            .is_some_and(|limit| request.body().size_hint().lower() > limit)
        {
            return Err(Fault::BodyTooLarge);
        }
        self.pool.name_host(request.headers_mut());
        *request.uri_mut() = origin_form(request.uri());
        let expectation = expectation_of(&mut request);
        *request.version_mut() = http::Version::HTTP_11;
        let client = upgrades.then(|| hyper::upgrade::on(&mut request));
        let progress = Rc::new(Progress::default());
        let mut request = request.map(|body| {
            RequestBody::new(
                body,
                self.body_size,
                Rc::clone(&progress),
                Arc::clone(&self.identity),
            )
        });
        if let Some(decision) = &expectation {
            request.body_mut().awaits(decision.clone());
        }
        if request.body().size_hint().exact().is_none() {
            // Without this the client takes it that GET and HEAD have no body, and drops it.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        let started = Instant::now();
        let (mut response, connection) = self.send(request, &progress).await?;
        self.metrics.upstream(started.elapsed());
        // RFC 9110 2.5: ours, not the application's.
        *response.version_mut() = http::Version::HTTP_11;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let client = client.ok_or_else(|| self.broken("it switched protocols unasked"))?;
            let protocol = response.headers_mut().remove(UPGRADE);
            self.headers
                .to_browser(response.headers_mut(), &self.metrics);
            upgrade::join(
                client,
                &mut response,
                protocol,
                session,
                Arc::clone(&self.clock),
            );
            return Ok(response.map(|_| Body::empty()));
        }
        self.headers
            .judge(response.headers())
            .map_err(|reason| self.broken(reason))?;
        self.headers
            .to_browser(response.headers_mut(), &self.metrics);
        if let Some(refusal) = expectation.and_then(Decision::refused) {
            // Whether the client sends the body now is anybody's guess.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            return Ok(response.map(|body| Body::last(body, refusal)));
        }
        Ok(response.map(|body| Body::forwarded(body, Rc::clone(&self.pool), connection)))
    }

    /// Sends over a pooled connection, or over a new one where a pooled one was closed before it took
    /// the request, or before it answered one that may be repeated (RFC 9110 9.2.2).
    async fn send(
        &self,
        mut request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<(Response<Incoming>, SendRequest<RequestBody>), Fault> {
        while let Some((mut connection, idle)) = self.pool.take() {
            let spare = (idle > FRESH && repeatable(&request)).then(|| copy(&request));
            match self
                .answered(connection.try_send_request(request), progress)
                .await?
            {
                Ok(response) => return Ok((response, connection)),
                Err(mut refused) => match (refused.take_message(), spare) {
                    (Some(unsent), _) => request = unsent,
                    (None, Some(spare)) => request = spare,
                    (None, None) => return Err(self.fault(refused.error(), progress)),
                },
            }
        }
        let mut connection = self
            .pool
            .connect()
            .await
            .map_err(|reason| Fault::Unreachable {
                server: self.pool.server().to_owned(),
                reason,
            })?;
        match self
            .answered(connection.try_send_request(request), progress)
            .await?
        {
            Ok(response) => Ok((response, connection)),
            Err(refused) => Err(self.fault(refused.error(), progress)),
        }
    }

    /// Waits for an answer as long as the request's body moves, and `response_timeout` after.
    async fn answered<T>(
        &self,
        answer: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<T, Fault> {
        let mut answer = std::pin::pin!(answer);
        let mut since = Instant::now();
        loop {
            match tokio::time::timeout_at(since + self.response_timeout, &mut answer).await {
                Ok(answer) => return Ok(answer),
                Err(_) => match progress.last_moved().filter(|moved| *moved > since) {
                    Some(moved) => since = moved,
                    None if progress.waiting() => {
                        let waited = self.response_timeout;
                        return Err(Fault::BodySlow { waited });
                    }
                    None => {
                        let server = self.pool.server().to_owned();
                        return Err(Fault::Slow {
                            server,
                            waited: self.response_timeout,
                        });
                    }
                },
            }
        }
    }

    fn fault(&self, error: &hyper::Error, progress: &Progress) -> Fault {
        match () {
            () if progress.over_limit() => Fault::BodyTooLarge,
            () if progress.broken() => Fault::BodyBroken,
            () => self.broken(reason(error)),
        }
    }

    fn broken(&self, reason: impl Into<String>) -> Fault {
        Fault::Broken {
            server: self.pool.server().to_owned(),
            reason: reason.into(),
        }
    }
}

/// The chain of an error, without what a peer sent.
fn reason(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    format!("{error}{cause}")
}

/// The path and query exactly as they came (RFC 9112 3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    match uri.authority() {
        None => uri.clone(),
        Some(_) => uri
            .path_and_query()
            .cloned()
            .map_or_else(|| Uri::from_static("/"), Uri::from),
    }
}

/// The expectation of a request with a body (RFC 9110 10.1.1); HTTP/1.0 knows none.
fn expectation_of(request: &mut Request<Arriving>) -> Option<Decision> {
    if request.version() == http::Version::HTTP_10 {
        request.headers_mut().remove(EXPECT);
    }
    let expects = !request.body().is_empty() && request.headers().contains_key(EXPECT);
    expects.then(|| Decision::of(request))
}

fn repeatable(request: &Request<RequestBody>) -> bool {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    safe && request.body().is_end_stream()
}

fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(request.body().empty_copy());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
