//! `[upstream]`: the application behind us, and the identity that it is told.

use std::time::Duration;

use http::HeaderName;

use super::UserField;

/// `[upstream]`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Host and port to connect to, such as `127.0.0.1:8081`; at least one.
    pub servers: Vec<UpstreamServer>,
    /// Which Host the application is told.
    pub host: UpstreamHost,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// From the request's end of header to the response's header.
    pub response_timeout: Duration,
    /// Whether the client's Authorization header passes on `login` routes.
    pub forward_authorization: bool,
    /// `[upstream.identity]`.
    pub identity: Identity,
}

/// One of `upstream.servers` (plain http).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl UpstreamServer {
    /// `host[:port]` as a Host header says it (the port is left out when it is 80).
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            80 => host,
            port => format!("{host}:{port}"),
        }
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
}
