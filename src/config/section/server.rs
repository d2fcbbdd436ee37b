//! `[server]`: where people reach the application, and the limits that hold there.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::Tls;

/// `server.public_url`: origin and base path of the application as browsers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// `true` for https.
    pub https: bool,
    /// `host` or `host:port`, lower case, without the scheme's default port and a trailing dot.
    pub authority: String,
    /// The base path without a trailing slash; `""` when the application is at `/`.
    pub base: String,
}

impl PublicUrl {
    /// `https://host[:port]`.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The base path as a cookie's `Path` and as a redirect's target: `/wfgen`, or `/`.
    pub fn base_path(&self) -> &str {
        if self.base.is_empty() {
            "/"
        } else {
            &self.base
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.base)
    }
}

/// `[server]`.
#[derive(Debug, Clone)]
pub struct Server {
    /// Origin and base path.
    pub public_url: PublicUrl,
    /// Addresses of the public listener.
    pub listen: Vec<SocketAddr>,
    /// Path of our own endpoints below the base path, such as `/auth`; no trailing slash.
    pub auth_path: String,
    /// Addresses that send plain HTTP on to `public_url`.
    pub redirect_listen: Vec<SocketAddr>,
    /// `[server.tls]`; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// `max-age` of Strict-Transport-Security.
    pub hsts: Option<Duration>,
    /// Data-plane threads, at least 1.
    pub workers: usize,
    /// Further hosts, normalised as `PublicUrl::authority` is.
    pub aliases: Vec<String>,
    /// Peers whose X-Forwarded-* are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long to go on serving, not ready, after SIGTERM.
    pub drain_delay: Duration,
    /// How long requests in flight may take to end at shutdown.
    pub shutdown_grace: Duration,
    /// `[server.limits]`.
    pub limits: Limits,
}

impl Server {
    /// The path of our own endpoints as browsers send it: base path and `auth_path`.
    pub fn auth_prefix(&self) -> String {
        format!("{}{}", self.public_url.base, self.auth_path)
    }

    /// The full URL of an own endpoint, such as `callback`.
    pub fn endpoint_url(&self, endpoint: &str) -> String {
        format!("{}{}/{endpoint}", self.public_url, self.auth_path)
    }
}

/// `[server.limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections over all workers.
    pub connections: usize,
    /// Bytes of a request's header section, request line included.
    pub header_size: usize,
    /// Bytes of a request's body; `None` is unlimited.
    pub body_size: Option<u64>,
    /// For a whole header section to arrive.
    pub header_timeout: Duration,
    /// For a keep-alive connection without a request.
    pub idle_timeout: Duration,
}
