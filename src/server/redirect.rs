//! `server.redirect_listen`: plain HTTP that sends every request on to the same address below https.
//! On the control runtime, since it touches nothing that a worker owns; under the same limits.

use std::convert::Infallible;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::Phase;
use super::connection::{Answering, Rules, http1, say_close, written};
use super::deadline::{Arrivals, Timed};
use crate::endpoint::Endpoints;
use crate::rejection::{Context, Kind, Rejection};
use crate::telemetry::RequestIds;
use crate::telemetry::metrics::AccessLabel;

/// What all redirect listeners share.
struct Redirect {
    endpoints: Arc<Endpoints>,
    ids: RequestIds,
    origin: String,
    hosts: Vec<String>,
    rules: Rules,
    room: Arc<Semaphore>,
}

/// Starts a task for each listener; their connections end with the runtime.
pub(super) fn start(
    listeners: Vec<TcpListener>,
    endpoints: &Arc<Endpoints>,
    phase: &watch::Receiver<Phase>,
) -> Vec<JoinHandle<()>> {
    let server = &endpoints.config.server;
    let names = [&server.public_url.authority];
    let names = names.into_iter().chain(&server.aliases);
    let redirect = Arc::new(Redirect {
        ids: RequestIds::new(&*endpoints.random),
        origin: server.public_url.origin(),
        hosts: names.map(|authority| name_of(authority)).collect(),
        rules: Rules::new(&server.limits),
        room: Arc::new(Semaphore::new(server.limits.connections)),
        endpoints: Arc::clone(endpoints),
    });
    let start = |listener| tokio::spawn(accept(listener, Arc::clone(&redirect), phase.clone()));
    listeners.into_iter().map(start).collect()
}

async fn accept(listener: TcpListener, redirect: Arc<Redirect>, mut phase: watch::Receiver<Phase>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a redirect listener does not work"),
    };
    loop {
        // With no room left connections wait in the system's queue.
        let Ok(permit) = Arc::clone(&redirect.room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (redirect, phase) = (Arc::clone(&redirect), phase.clone());
                tokio::spawn(async move {
                    serve(stream, peer.ip(), redirect, phase).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to be redirected");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    redirect: Arc<Redirect>,
    phase: watch::Receiver<Phase>,
) {
    let rules = redirect.rules;
    let arrivals = Arrivals::new(rules, None);
    let (noted, closing, answering) = (arrivals.clone(), phase.clone(), Arc::clone(&redirect));
    let service = service_fn(move |request: Request<Incoming>| {
        let in_flight = noted.request();
        let mut response = answering.answer(&request, peer);
        // A body is not read: what follows it could not be told from it.
        if *closing.borrow() != Phase::Serving || !hyper::body::Body::is_end_stream(request.body())
        {
            say_close(&mut response);
        }
        let response = response.map(|body| Answering::new(Full::new(body), in_flight));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let timed = Timed::new(Bytes::new(), stream, arrivals.clone());
    let late = || written(&redirect.timed_out(peer));
    http1(
        timed,
        &arrivals,
        service,
        rules,
        peer,
        phase,
        late,
        |_| {},
        false,
    )
    .await;
}

impl Redirect {
    fn answer<B>(&self, request: &Request<B>, peer: IpAddr) -> Response<Bytes> {
        let started = Instant::now();
        let (id, method, path) = (self.ids.next(), request.method(), request.uri().path());
        let response = self.target(request).unwrap_or_else(|rejection| {
            let context = Context {
                id,
                client: peer,
                method,
                path,
                headers: request.headers(),
            };
            self.endpoints.write(&rejection, &context, None)
        });
        let (status, took) = (response.status().as_u16(), started.elapsed());
        self.count(status, took);
        if self.endpoints.config.log.access {
            let milliseconds = took.as_micros() as f64 / 1000.0;
            tracing::info!(target: "vestibule::access", %id, client = %peer, %method, path, status, access = "none", milliseconds);
        }
        response
    }

    /// 308 keeps the method (RFC 9110 15.4.9); HTTP/1.0 knows 301 alone.
    fn target<B>(&self, request: &Request<B>) -> Result<Response<Bytes>, Rejection> {
        let (method, path) = (request.method(), request.uri().path());
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return Err(Rejection::of(Kind::BadRequest));
        }
        let found = self.endpoints.routes.find(method, path);
        found.map_err(|fault| Rejection::because(Kind::AmbiguousPath, fault))?;
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let host = authority.or(host).filter(|_| hosts.next().is_none());
        if !host.is_some_and(|host| self.hosts.contains(&name_of(host))) {
            let detail = format!("expected one of {:?}, found {host:?}", self.hosts);
            return Err(Rejection::because(Kind::WrongHost, detail));
        }
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let location = HeaderValue::from_str(&format!("{}{target}", self.origin));
        let location =
            location.map_err(|_| Rejection::because(Kind::AmbiguousPath, "control characters"))?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = match request.version() {
            Version::HTTP_10 => StatusCode::MOVED_PERMANENTLY,
            _ => StatusCode::PERMANENT_REDIRECT,
        };
        response.headers_mut().insert(LOCATION, location);
        Ok(response)
    }

    fn timed_out(&self, peer: IpAddr) -> Response<Bytes> {
        let (method, headers) = (Method::GET, HeaderMap::new());
        let context = Context {
            id: self.ids.next(),
            client: peer,
            method: &method,
            path: "",
            headers: &headers,
        };
        let rejection = Rejection::of(Kind::RequestTimeout);
        self.count(rejection.kind.status().as_u16(), Duration::ZERO);
        self.endpoints.write(&rejection, &context, None)
    }

    fn count(&self, status: u16, took: Duration) {
        let metrics = self.endpoints.metrics.worker(0);
        metrics.request(AccessLabel::None, status, took);
    }
}

/// A host without its port, in lower case: the ports of http and https always differ.
fn name_of(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').map(str::to_owned).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn ports_case_and_a_trailing_dot_do_not_matter() {
        for (authority, name) in [
            ("Workflow.Example.com:8080", "workflow.example.com"),
            ("workflow.example.com.", "workflow.example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(name_of(authority), name);
        }
    }
}
