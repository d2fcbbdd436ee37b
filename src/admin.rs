//! The operators' listener: health, readiness and metrics. Never on the public listener, whose
//! requests no header turns into these.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::config::Secret;
use crate::endpoint::Endpoints;

/// Connections at once: monitors, not users.
const CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the admin listener tells of.
struct Admin {
    endpoints: Arc<Endpoints>,
    draining: Arc<AtomicBool>,
    /// Once all that is needed was there; readiness never falls back to "not yet" after that.
    was_ready: AtomicBool,
}

/// Serves until it is aborted.
pub async fn serve(listener: TcpListener, endpoints: Arc<Endpoints>, draining: Arc<AtomicBool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin listener does not work"),
    };
    let admin = Arc::new(Admin {
        endpoints,
        draining,
        was_ready: AtomicBool::new(false),
    });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = admin.answer(&request);
                async move { Ok::<_, Infallible>(response.map(Full::new)) }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT);
            // A monitor that goes away in the middle has nobody to be told.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

impl Admin {
    fn answer(&self, request: &Request<Incoming>) -> Response<Bytes> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => self.readiness(),
            _ if !self.may_see(request.headers()) => {
                let mut response = text(
                    StatusCode::UNAUTHORIZED,
                    "admin.token is needed as a bearer token\n",
                );
                response
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
            "/metrics" => self.metrics(),
            "/" => text(StatusCode::OK, "/healthz\n/readyz\n/metrics\n"),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// RFC 6750 2.1, compared without telling by its time how much of the token was right.
    fn may_see(&self, headers: &HeaderMap) -> bool {
        let wanted = self
            .endpoints
            .config
            .admin
            .as_ref()
            .and_then(|admin| admin.token.as_ref());
        let Some(wanted) = wanted.map(Secret::expose) else {
            return true;
        };
        let sent = headers
            .get(AUTHORIZATION)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let sent = sent
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        sent.is_some_and(|(_, token)| {
            aws_lc_rs::constant_time::verify_slices_are_equal(token, wanted).is_ok()
        })
    }

    /// 200, with the reasons for which something is degraded, while live sessions can be served; 503
    /// before everything was there once, and while draining.
    fn readiness(&self) -> Response<Bytes> {
        let mut degraded = Vec::new();
        if !self.endpoints.sessions.store_is_up() {
            degraded
                .push("store: it does not answer; live sessions go on, sign-ins wait".to_owned());
        }
        for party in self.endpoints.parties.iter() {
            if let Err(down) = party.availability() {
                degraded.push(format!("{down}; live sessions go on, sign-ins there wait"));
            }
        }
        degraded.extend(self.endpoints.servers.degraded());
        degraded.extend(self.endpoints.outbox.troubles());
        let files = self.endpoints.text_directories.iter();
        degraded.extend(files.filter_map(|directory| directory.trouble()));
        let draining = self.draining.load(Ordering::Relaxed);
        if self.endpoints.sessions.has_followed() {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        let ready = self.was_ready.load(Ordering::Relaxed) && !draining;
        let status = match ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({ "ready": ready, "draining": draining, "degraded": degraded });
        let mut response = text(status, &format!("{body}\n"));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn metrics(&self) -> Response<Bytes> {
        let mut response = text(StatusCode::OK, &self.endpoints.metrics.text());
        let openmetrics =
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, openmetrics);
        response
    }
}

fn text(status: StatusCode, body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
