//! `[upstream]`: the application behind us, and the identity that it is told.

use std::time::Duration;

use http::HeaderName;

use super::{SessionAlgorithm, UserField};
use crate::config::Secret;

/// `[upstream]`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where to connect to; at least one, at most [`MOST_SERVERS`].
    pub servers: Vec<UpstreamServer>,
    /// Which Host the application is told.
    pub host: UpstreamHost,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// From the request's end of header to the response's header.
    pub response_timeout: Duration,
    /// What is asked of each server every 10 s, path and query; `None` asks nothing.
    pub health_path: Option<String>,
    /// Authorities of https servers in PEM; `None` for the system's.
    pub ca: Option<Vec<u8>>,
    /// Whether the client's Authorization header passes on `login` routes.
    pub forward_authorization: bool,
    /// `[upstream.identity]`.
    pub identity: Identity,
}

/// Servers that `upstream.servers` may name.
pub const MOST_SERVERS: usize = 64;

/// One of `upstream.servers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// `true` for https.
    pub https: bool,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl UpstreamServer {
    /// `host[:port]` as a Host header says it (the scheme's own port is left out).
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.https, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// `scheme://host[:port]`, the server's name in messages and metrics.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }
}

/// `upstream.host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamHost {
    /// That of `public_url`.
    Public,
    /// That of the chosen server.
    Server,
}

/// `[upstream.identity]`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Carries the username.
    pub user_header: HeaderName,
    /// Whether the application gets the session token cookie too.
    pub forward_session_cookie: bool,
    /// More headers from user fields.
    pub headers: Vec<(HeaderName, UserField)>,
    /// The operator's additions to the strip list, as written; `*` ends a prefix.
    pub strip: Vec<String>,
    /// `[upstream.identity.assertion]`; `None` sends none.
    pub assertion: Option<Assertion>,
}

impl Identity {
    /// The names of the headers that carry a user's identity.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        let more = self.headers.iter().map(|(name, _)| name);
        let assertion = self.assertion.iter().map(|it| &it.header);
        std::iter::once(&self.user_header)
            .chain(more)
            .chain(assertion)
    }
}

/// `[upstream.identity.assertion]`.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// Carries it.
    pub header: HeaderName,
    /// `aud`.
    pub audience: String,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
    /// How it is signed.
    pub algorithm: SessionAlgorithm,
    /// Signs it: PEM, or the shared secret of HS256.
    pub key: Secret,
    /// PEM private keys that do not sign, but whose public halves are published.
    pub published_keys: Vec<Secret>,
}
