//! Outgoing HTTP to a provider: the transport under the `openidconnect` crate.
//!
//! Stands apart because its limits protect every exchange alike: redirects are never followed (a token
//! request must not be carried elsewhere), an answer takes 10 s and 1 MiB at most, and what went wrong
//! is said without the answer's body, which may hold tokens.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use url::{Host, Url};

use crate::config;

/// For a whole exchange, body included.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// For the connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer's body.
const BODY_CAP: usize = 1 << 20;

/// An HTTP client for one provider, with that provider's certificate authorities.
#[derive(Debug, Clone)]
pub(super) struct HttpClient(reqwest::Client);

/// The provider did not give an answer that can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpFault {
    #[error("{url} gave no answer within {} s", TOTAL_TIMEOUT.as_secs())]
    TimedOut { url: String },
    #[error("{url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    /// 5xx and 429: the provider's trouble, whatever the body says.
    #[error("{url} answered {status}")]
    Unavailable { url: String, status: u16 },
    #[error("{url} answered with more than {BODY_CAP} bytes")]
    TooLarge { url: String },
}

impl HttpClient {
    /// Prepares the client. The error says what to do about it.
    pub(super) fn new(provider: &config::Provider) -> Result<Self, String> {
        let issuer = Url::parse(provider.issuer.as_written()).map_err(|error| {
            format!("issuer: expected a URL, found one that cannot be read ({error})")
        })?;
        match &provider.ca {
            Some(pem) => {
                let authorities = authorities(pem)?;
                builder(&issuer).tls_certs_only(authorities).build()
            }
            // Plain http needs no authorities, and must work on machines that have none.
            None if issuer.scheme() == "http" => builder(&issuer)
                .build()
                .or_else(|_| builder(&issuer).tls_certs_only([]).build()),
            None => builder(&issuer).build(),
        }
        .map(Self)
        .map_err(|error| {
            format!(
                "the system's certificate authorities cannot be used ({}): install them (package \
                 ca-certificates), or name the provider's own in `ca`",
                causes(&error)
            )
        })
    }

    /// Sends one request.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpFault> {
        let url = shown(&request.uri().to_string());
        let request =
            reqwest::Request::try_from(request).map_err(|error| transport_fault(&url, error))?;
        let mut answer = self
            .0
            .execute(request)
            .await
            .map_err(|error| transport_fault(&url, error))?;
        let status = answer.status();
        if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
            let status = status.as_u16();
            return Err(HttpFault::Unavailable { url, status });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| transport_fault(&url, error))?
        {
            if body.len() + chunk.len() > BODY_CAP {
                return Err(HttpFault::TooLarge { url });
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

fn builder(issuer: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT);
    match is_loopback(issuer) {
        // A forward proxy named in the environment cannot reach this machine's loopback.
        true => builder.no_proxy(),
        false => builder,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, String> {
    let expected = "ca: expected a PEM file with the provider's certificate authorities, found";
    let authorities = reqwest::Certificate::from_pem_bundle(pem)
        .map_err(|error| format!("{expected} one that cannot be read ({})", causes(&error)))?;
    match authorities.is_empty() {
        true => Err(format!("{expected} no certificate in it")),
        false => Ok(authorities),
    }
}

fn transport_fault(url: &str, error: reqwest::Error) -> HttpFault {
    let url = url.to_owned();
    match error.is_timeout() && !error.is_connect() {
        true => HttpFault::TimedOut { url },
        false => HttpFault::Unreachable {
            url,
            reason: causes(&error.without_url()),
        },
    }
}

/// The last cause says what an operator can act on: connection refused, unknown issuer, no such name.
fn causes(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// A URL as faults show it: without its query, which is the operator's.
fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

impl<'c> AsyncHttpClient<'c> for HttpClient {
    type Error = HttpFault;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpFault>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The same client, which remembers where the last answer came from and what its head said: the
/// `openidconnect` crate keeps neither for its errors.
pub(super) struct Observed<'a> {
    http: &'a HttpClient,
    last: Mutex<Answered>,
}

/// The head of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered {
    /// Without its query.
    pub(super) url: String,
    /// `None` before an answer came.
    pub(super) status: Option<u16>,
    /// The `Date` header.
    pub(super) date: Option<String>,
}

impl<'a> Observed<'a> {
    pub(super) fn new(http: &'a HttpClient) -> Self {
        Self {
            http,
            last: Mutex::default(),
        }
    }

    /// The last exchange.
    pub(super) fn last(&self) -> Answered {
        self.last
            .lock()
            .map(|last| last.clone())
            .unwrap_or_default()
    }

    fn remember(&self, answered: Answered) {
        if let Ok(mut last) = self.last.lock() {
            *last = answered;
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Observed<'_> {
    type Error = HttpFault;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpFault>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let url = shown(&request.uri().to_string());
            self.remember(Answered {
                url: url.clone(),
                ..Answered::default()
            });
            let response = self.http.send(request).await?;
            let date = response.headers().get(http::header::DATE);
            self.remember(Answered {
                url,
                status: Some(response.status().as_u16()),
                date: date.and_then(|date| Some(date.to_str().ok()?.to_owned())),
            });
            Ok(response)
        })
    }
}
