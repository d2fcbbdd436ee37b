//! The HTTP listener under the demo's provider and application: loopback addresses only, whole bodies
//! of a bounded size, and no Host but a loopback one (a page elsewhere could rebind its name to
//! 127.0.0.1 and read along).
//!
//! Stands apart from `server`, which is the product's own: the demo shows that one, between these two.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The largest body that is read.
const BODY_LIMIT: usize = 256 * 1024;

/// What a part of the demo answers with.
pub(super) type Answer = Response<Full<Bytes>>;

/// A request with its whole body.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    /// The query's parameters, decoded, in order.
    pub(super) fn query(&self) -> Parameters {
        Parameters::parse(self.uri.query().unwrap_or_default().as_bytes())
    }

    /// The parameters of an `application/x-www-form-urlencoded` body; none for another type.
    pub(super) fn form(&self) -> Parameters {
        let is_form = self
            .header("content-type")
            .and_then(|value| value.split(';').next())
            .is_some_and(|media| {
                media
                    .trim()
                    .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        Parameters::parse(if is_form { &self.body } else { b"" })
    }

    /// The first value of a header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The values of every cookie of that name, in order.
    pub(super) fn cookies(&self, name: &str) -> Vec<String> {
        self.headers
            .get_all(http::header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
            .collect()
    }
}

/// Decoded parameters of a query or a form.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(pub(super) Vec<(String, String)>);

impl Parameters {
    fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of a parameter; one sent without a value counts as absent (RFC 6749 3.1).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The name of a parameter that comes more than once, which RFC 6749 3.1 forbids.
    pub(super) fn repeated(&self) -> Option<&str> {
        self.0.iter().enumerate().find_map(|(index, (name, _))| {
            self.0[..index]
                .iter()
                .any(|(earlier, _)| earlier == name)
                .then_some(name.as_str())
        })
    }
}

/// One of the demo's two own parts.
pub(super) trait Part: Send + Sync + 'static {
    /// Answers a request.
    fn answer(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

/// A part that is being served; dropping it ends the listener and its connections.
#[derive(Debug)]
pub(super) struct Serving(Vec<JoinHandle<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Binds `127.0.0.1:port`, or any free port where that one is taken.
///
/// # Errors
/// No port is free, or the machine has no loopback interface.
pub(super) async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}

/// Binds as [`bind`] does, and the same port of `::1` where the machine has IPv6: browsers may try
/// either for `localhost`.
///
/// # Errors
/// As [`bind`].
pub(super) async fn bind_localhost(port: u16) -> io::Result<Vec<TcpListener>> {
    let first = bind(port).await?;
    let port = first.local_addr()?.port();
    let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await;
    Ok(std::iter::once(first).chain(second.ok()).collect())
}

/// Serves `part` on loopback listeners until the returned value is dropped.
///
/// # Errors
/// A listener is not on loopback.
pub(super) fn serve<P: Part>(listeners: Vec<TcpListener>, part: Arc<P>) -> io::Result<Serving> {
    for listener in &listeners {
        require_loopback(listener.local_addr()?)?;
    }
    let tasks = listeners
        .into_iter()
        .map(|listener| tokio::spawn(accept(listener, Arc::clone(&part))));
    Ok(Serving(tasks.collect()))
}

/// # Errors
/// `address` can be reached from elsewhere.
pub(super) fn require_loopback(address: SocketAddr) -> io::Result<()> {
    match address.ip().is_loopback() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the demo listens on loopback only: expected 127.0.0.1 or ::1, found {address}"
            ),
        )),
    }
}

async fn accept<P: Part>(listener: TcpListener, part: Arc<P>) {
    // The connections end with the set, and the set with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(converse(stream, Arc::clone(&part))); }
                // Out of file descriptors: give some time to be closed.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse<P: Part>(stream: TcpStream, part: Arc<P>) {
    let service = service_fn(move |request| {
        let part = Arc::clone(&part);
        async move { Ok::<_, Infallible>(answer(request, part.as_ref()).await) }
    });
    // A connection that breaks is the user agent's to notice.
    let _ = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer<P: Part>(request: http::Request<Incoming>, part: &P) -> Answer {
    if !host_is_loopback(request.headers()) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "The demo answers to loopback names only.\n",
        );
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The demo reads bodies of at most 256 KiB.\n",
        );
    };
    part.answer(Request {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body: body.to_bytes(),
    })
    .await
}

fn host_is_loopback(headers: &HeaderMap) -> bool {
    headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<http::uri::Authority>().ok())
        .is_some_and(|host| matches!(host.host(), "localhost" | "127.0.0.1" | "[::1]"))
}

/// A plain text answer.
pub(super) fn text(status: StatusCode, body: &'static str) -> Answer {
    written(status, "text/plain; charset=utf-8", body)
}

/// A JSON answer that no cache keeps.
pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    written(status, "application/json", format!("{body:#}\n"))
}

/// A redirect that turns any method into GET.
pub(super) fn see_other(location: &url::Url) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "");
    // A serialised URL is visible ASCII, so this always is a header value.
    if let Ok(value) = http::HeaderValue::from_str(location.as_str()) {
        answer.headers_mut().insert(http::header::LOCATION, value);
    }
    answer
}

/// An answer of that type that no cache keeps.
pub(super) fn written(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let fields = [
        (http::header::CONTENT_TYPE, media_type),
        (http::header::CACHE_CONTROL, "no-store"),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fields {
        answer
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_served() {
        assert!(require_loopback("127.0.0.1:80".parse().unwrap()).is_ok());
        assert!(require_loopback("[::1]:80".parse().unwrap()).is_ok());
        assert!(require_loopback("0.0.0.0:80".parse().unwrap()).is_err());
        assert!(require_loopback("192.0.2.1:80".parse().unwrap()).is_err());
    }

    #[test]
    fn a_rebound_name_is_not_answered() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            host_is_loopback(&headers)
        };
        assert!(named("localhost:8082") && named("127.0.0.1:8080") && named("[::1]:1"));
        assert!(!named("attacker.example:8082") && !named("localhost.attacker.example"));
        assert!(!host_is_loopback(&HeaderMap::new()));
    }

    #[test]
    fn parameters_know_what_comes_twice() {
        let once = Parameters::parse(b"a=1&b=&c=%26");
        assert_eq!(once.repeated(), None);
        assert_eq!((once.get("b"), once.get("c")), (None, Some("&")));
        assert_eq!(Parameters::parse(b"a=1&b=2&a=").repeated(), Some("a"));
    }
}
