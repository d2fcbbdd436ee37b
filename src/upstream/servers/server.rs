//! One server: how it is reached, and looked at.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tokio::sync::Notify;

use super::Why;
use crate::config::{Config, UpstreamHost, UpstreamServer};
use crate::upstream::connect::Target;
use crate::upstream::{probe, tls};

/// One of `upstream.servers`.
pub(in crate::upstream) struct Server {
    pub(in crate::upstream) origin: String,
    /// The Host that it is asked with by checks.
    pub(super) host: HeaderValue,
    /// The Host that is its own.
    pub(in crate::upstream) own_host: HeaderValue,
    pub(in crate::upstream) target: Target,
    /// Told when its health has changed.
    pub(super) changed: Notify,
}

impl Server {
    /// Asks it for `path`, or makes a connection.
    pub(super) async fn look(&self, path: Option<&str>) -> Result<(), (Why, String)> {
        let Some(path) = path else {
            let connected = self.target.connect().await;
            return connected
                .map(drop)
                .map_err(|reason| (Why::Unreachable, reason));
        };
        match probe::status_of(&self.target, &self.host, path).await {
            Ok(status) if status.as_u16() < 500 => Ok(()),
            Ok(status) => Err((Why::Check, format!("{path} answers {}", status.as_u16()))),
            Err(reason) => Err((Why::Check, format!("{path}: {reason}"))),
        }
    }
}

/// Every server of `upstream.servers`. The error says which setting does not work.
pub(super) fn list(config: &Config) -> Result<Vec<Server>, String> {
    let upstream = &config.upstream;
    let tls = tls::client_config(upstream)?.map(Arc::new);
    let server = |server: &UpstreamServer| {
        let own_host = host_value(&server.authority())?;
        Ok(Server {
            origin: server.origin(),
            host: match upstream.host {
                UpstreamHost::Public => host_value(&config.server.public_url.authority)?,
                UpstreamHost::Server => own_host.clone(),
            },
            own_host,
            target: Target::new(server, tls.as_ref(), upstream.connect_timeout)?,
            changed: Notify::new(),
        })
    };
    upstream.servers.iter().map(server).collect()
}

fn host_value(authority: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(authority).map_err(|error| format!("{authority}: {error}"))
}

/// Whether connections can be prepared: authorities and names; none is made.
///
/// # Errors
/// As [`super::Servers::new`].
pub fn can_be_prepared(config: &Config) -> Result<(), String> {
    list(config).map(drop)
}

/// Asks every server once, for `upstream.health_path` or the front page: its origin, and the status.
///
/// # Errors
/// As [`super::Servers::new`].
pub async fn look_at_all(
    config: &Config,
) -> Result<Vec<(String, Result<StatusCode, String>)>, String> {
    let path = config.upstream.health_path.as_deref().unwrap_or("/");
    let mut seen = Vec::new();
    for server in list(config)? {
        let status = probe::status_of(&server.target, &server.host, path).await;
        seen.push((server.origin, status));
    }
    Ok(seen)
}
