//! The application: an [`Outgoing`] request goes out over a pooled connection, its response comes back
//! with what belongs to the connection removed. Pools are a worker's own; what is known of the servers'
//! health is shared.

mod balance;
mod body;
mod connect;
mod expectation;
mod fault;
mod headers;
mod informational;
mod max_forwards;
mod patience;
mod pool;
mod probe;
mod servers;
mod share;
mod spare;
mod tls;
mod trailers;
mod upgrade;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::config::{Config, UpstreamHost};
use crate::environment::{Clock, Random};
use crate::identity::{Grant, Identity, Outgoing};
use crate::telemetry::metrics::WorkerMetrics;

use balance::{Balance, Tried};
pub use body::{Arriving, Body, Client};
use body::{Progress, RequestBody};
use expectation::Decision;
pub use fault::Fault;
use fault::is_lost;
use headers::{Present, ResponseHeaders};
use informational::Rules;
use patience::{Over, Patience};
use pool::{Lease, Pool};
pub use servers::{Servers, can_be_prepared, look_at_all};
use upgrade::Ends;

/// Idle connections to one server that are kept, over all workers.
const MOST_IDLE: usize = 1024;

/// One worker's way to the application.
pub struct Application {
    identity: Rc<Identity>,
    rules: Arc<Rules>,
    balance: Balance,
    /// Whether a server is told its own Host instead of the public one.
    names_server: bool,
    response_timeout: Duration,
    patience: Rc<Patience>,
    body_size: Option<u64>,
    /// That of requests without a body.
    no_progress: Rc<Progress>,
    /// How long the client of an upgraded connection may take nothing.
    idle_timeout: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<WorkerMetrics>,
}

/// A request on its way, with what its answer depends on.
struct Sending {
    /// `None` while it is sent, and once it cannot be sent again.
    request: Option<Request<RequestBody>>,
    /// Whether it may be sent again after its answer did not begin (RFC 9110 9.2.2).
    repeatable: bool,
    /// Who is told of informational responses.
    informed: Option<Arc<dyn Client>>,
    progress: Rc<Progress>,
    expectation: Option<Decision>,
    /// The client's side of another protocol, if it asks for one.
    client: Option<OnUpgrade>,
    /// What that is asked for by.
    grant: Option<Arc<dyn Grant>>,
}

enum Prepared {
    Goes(Sending),
    /// It is answered here.
    Ends(Response<Body>),
}

/// A server did not answer.
struct Failed {
    fault: Fault,
    /// The request is back, to be sent to another one.
    again: bool,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        let again = false;
        Self { fault, again }
    }
}

impl Application {
    /// Prepares a worker's pools; no connection is made yet.
    pub fn new(
        config: &Config,
        servers: &Arc<Servers>,
        identity: Rc<Identity>,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        let most_idle = MOST_IDLE.div_ceil(config.server.workers);
        Self {
            identity,
            rules: Arc::new(Rules {
                headers: ResponseHeaders::new(config),
                metrics: Arc::clone(&metrics),
            }),
            balance: Balance::new(servers, most_idle, random),
            names_server: config.upstream.host == UpstreamHost::Server,
            response_timeout: config.upstream.response_timeout,
            patience: Patience::new(config.upstream.response_timeout),
            body_size: config.server.limits.body_size,
            no_progress: Rc::default(),
            idle_timeout: config.server.limits.idle_timeout,
            clock,
            metrics,
        }
    }

    /// Forwards a request, which came at `started`, and gives back the response's header; bodies stream
    /// in both directions.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn forward(
        &self,
        outgoing: Outgoing<Arriving>,
        started: Instant,
    ) -> Result<Response<Body>, Fault> {
        let mut sending = match self.prepared(outgoing)? {
            Prepared::Goes(sending) => sending,
            Prepared::Ends(answer) => return Ok(answer),
        };
        let (response, lease) = self.send(&mut sending, started).await?;
        self.received(response, lease, sending, started)
    }

    /// Makes a request of its own connection. Not a part of `forward`, whose every variable is kept while the
    /// application thinks: with thousands of requests in flight their memory is what a request waits for.
    fn prepared(&self, outgoing: Outgoing<Arriving>) -> Result<Prepared, Fault> {
        let grant = outgoing.grant().cloned();
        let mut upgrades = outgoing.upgrades();
        let mut request = outgoing.into_request();
        if let Some(answer) = max_forwards::count_down(&mut request) {
            return Ok(Prepared::Ends(answer));
        }
        if upgrades && !request.body().is_empty() {
            // Where the body ends and the other protocol begins is read in two ways.
            upgrades = false;
            request.headers_mut().remove(UPGRADE);
            request.headers_mut().remove(CONNECTION);
        }
        if self
            .body_size
            .is_some_and(|limit| request.body().size_hint().lower() > limit)
        {
            return Err(Fault::BodyTooLarge);
        }
        if request.uri().authority().is_some() {
            *request.uri_mut() = origin_form(request.uri());
        }
        let expectation = expectation_of(&mut request);
        // HTTP/1.0 knows no informational responses, and over HTTP/2 they cannot be written.
        let informs = request.version() == http::Version::HTTP_11;
        let informed = informs.then(|| request.body().client());
        *request.version_mut() = http::Version::HTTP_11;
        let client = upgrades.then(|| hyper::upgrade::on(&mut request));
        let progress = match request.body().is_empty() {
            true => Rc::clone(&self.no_progress),
            false => Rc::default(),
        };
        let mut request =
            request.map(|body| RequestBody::new(body, self.body_size, &progress, &self.identity));
        if let Some(decision) = &expectation {
            request.body_mut().awaits(decision.clone());
        }
        if request.body().size_hint().exact().is_none() {
            // Without this the client takes it that GET and HEAD have no body, and drops it.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        Ok(Prepared::Goes(Sending {
            repeatable: repeatable(&request),
            request: Some(request),
            informed,
            progress,
            expectation,
            client,
            grant,
        }))
    }

    /// Makes the application's response ours.
    fn received(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        sent: Sending,
        started: Instant,
    ) -> Result<Response<Body>, Fault> {
        self.metrics.upstream(started.elapsed());
        // RFC 9110 2.5: ours, not the application's.
        *response.version_mut() = http::Version::HTTP_11;
        let present = Present::of(response.headers());
        let judged = headers::judge(&response, present, sent.client.is_some());
        let bad = matches!(
            response.status(),
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
        );
        lease.pool().count(bad || judged.is_err(), started);
        judged.map_err(|reason| Fault::broken(lease.pool(), reason))?;
        if let Some(scheme) = headers::bound_sign_in(&response, present) {
            // The connection goes with its lease.
            return Err(Fault::bound_sign_in(lease.pool(), scheme));
        }
        headers::one_length(response.headers_mut());
        let protocol = switches(&response).then(|| response.headers_mut().remove(UPGRADE));
        self.rules
            .headers
            .to_browser(response.headers_mut(), present, &self.metrics);
        self.rules.headers.frame(response.headers_mut());
        if let Some(refusal) = sent.expectation.and_then(Decision::refused) {
            // Whether the client sends the body now is anybody's guess.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            return Ok(response.map(|body| Body::last(body, refusal)));
        }
        let Some(client) = sent.client.filter(|_| switches(&response)) else {
            return Ok(response.map(|body| Body::forwarded(body, lease)));
        };
        let ends = Ends {
            grant: sent.grant,
            clock: Arc::clone(&self.clock),
            idle_timeout: self.idle_timeout,
        };
        upgrade::join(client, &mut response, protocol.flatten(), ends, lease);
        Ok(response.map(|_| Body::empty()))
    }

    /// Sends to one server after another, each once, until one answers: a request that was not sent,
    /// or one that may be repeated (RFC 9110 9.2.2) and whose answer did not begin.
    async fn send(
        &self,
        sending: &mut Sending,
        started: Instant,
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let mut tried = Tried::default();
        let mut last = Fault::Unreachable {
            server: String::new(),
            reason: String::new(),
        };
        while let Some(pool) = self.balance.pick(&mut tried) {
            let failed = match self.attempt(pool, sending, started).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            if matches!(failed.fault, Fault::Broken { .. } | Fault::Slow { .. }) {
                pool.count(true, started);
            }
            match failed.again {
                true => last = failed.fault,
                false => return Err(failed.fault),
            }
        }
        Err(last)
    }

    /// Sends to one server: over pooled connections as long as they hand the request back unsent, and
    /// over a new one after that.
    async fn attempt(
        &self,
        pool: &Rc<Pool>,
        sending: &mut Sending,
        started: Instant,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        for request in sending.request.iter_mut().filter(|_| self.names_server) {
            request.headers_mut().insert(HOST, pool.host());
        }
        let mut lease = pool.lease();
        let mut sent = false;
        loop {
            let pooled = (!sent).then(|| pool.take()).flatten();
            let new = pooled.is_none();
            let (connection, since) = match pooled {
                Some(connection) => (connection, started),
                // In a box: a request on a pooled connection needs no room for it.
                None => match Box::pin(pool.connect()).await {
                    Ok(connection) => (connection, Instant::now()),
                    Err(reason) => {
                        let fault = Fault::unreachable(pool, reason);
                        return Err(Failed { fault, again: true });
                    }
                },
            };
            let connection = lease.hold(connection);
            connection.spare.want(sending.repeatable);
            let informed = sending.informed.as_ref();
            connection.ear.listen(informed, &self.rules);
            let Some(request) = sending.request.take() else {
                return Err(Fault::broken(pool, "the request was sent already").into());
            };
            let answer = std::pin::pin!(connection.sender.try_send_request(request));
            let progress = &sending.progress;
            let mut refused = match self.answered(answer, pool, progress, since).await? {
                Ok(response) => return Ok((response, lease)),
                Err(refused) => refused,
            };
            let unsent = refused.take_message();
            sent = unsent.is_none();
            sending.request = unsent.or_else(|| {
                let lost = sending.repeatable && is_lost(refused.error());
                lost.then(|| connection.spare.request(RequestBody::none()))
                    .flatten()
            });
            if new || sending.request.is_none() {
                let fault = Fault::of(pool, refused.error(), &sending.progress);
                let again = sending.request.is_some();
                return Err(Failed { fault, again });
            }
        }
    }

    /// Waits for an answer as long as the request's body moves, and `response_timeout` after.
    async fn answered<T>(
        &self,
        mut answer: Pin<&mut impl Future<Output = T>>,
        pool: &Pool,
        progress: &Progress,
        mut since: Instant,
    ) -> Result<T, Fault> {
        loop {
            let until = since + self.response_timeout;
            match self.patience.until(until, answer.as_mut()).await {
                Ok(answer) => return Ok(answer),
                Err(Over) => match progress.last_moved().filter(|moved| *moved > since) {
                    Some(moved) => since = moved,
                    None if progress.waiting() => {
                        let waited = self.response_timeout;
                        return Err(Fault::BodySlow { waited });
                    }
                    None => {
                        let server = pool.server().to_owned();
                        return Err(Fault::Slow {
                            server,
                            waited: self.response_timeout,
                        });
                    }
                },
            }
        }
    }
}

fn switches<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// The path and query exactly as they came (RFC 9112 3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query()
        .cloned()
        .map_or_else(|| Uri::from_static("/"), Uri::from)
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
