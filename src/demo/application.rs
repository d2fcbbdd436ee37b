//! The demo's stand-in for WorkflowGen: it trusts the user header as the real application's module
//! would, and shows whatever reached it, as a page and at `echo` as JSON.
//!
//! It knows the session key, as the application does, and checks the session token with it; the
//! provisioned fields it reads from the directory, which the application shares.

mod arrival;
mod portal;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::StatusCode;
use tokio::net::TcpListener;

use crate::config::{Config, Secret};
use crate::environment::Clock;
use crate::store::{self, User};

use super::listener::{self, Answer, Part, Request, Serving};
use arrival::Arrival;

/// Looks a user up in the directory by username.
pub type LookUp =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Option<User>, store::Error>> + Send + Sync>;

/// What an application is told when it is installed behind the proxy.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The base path without a trailing slash, such as `/wfgen`.
    pub base: String,
    /// Where the proxy's own endpoints are, such as `/wfgen/auth`.
    pub auth_prefix: String,
    /// The header that carries the username.
    pub user_header: String,
    /// The session token's cookie.
    pub cookie: String,
    /// The secret that HS256 session tokens are signed with.
    pub secret: Secret,
    /// `iss` of session tokens.
    pub issuer: String,
    /// `aud` of session tokens.
    pub audience: String,
    /// The claim that carries the username.
    pub username_claim: String,
}

impl Installation {
    /// What fits a configuration of the proxy; `None` without a session key.
    pub fn behind(config: &Config) -> Option<Self> {
        Some(Self {
            base: config.server.public_url.base.clone(),
            auth_prefix: config.server.auth_prefix(),
            user_header: config.upstream.identity.user_header.to_string(),
            cookie: config.session.cookie.clone(),
            secret: config.session.keys.first()?.secret.clone(),
            issuer: config.session.issuer.clone(),
            audience: config.session.audience.clone(),
            username_claim: config.session.username_claim.clone(),
        })
    }
}

/// The application, until it is dropped.
pub struct Application {
    address: SocketAddr,
    _serving: Serving,
}

struct Shared {
    installation: Installation,
    look_up: LookUp,
    clock: Arc<dyn Clock>,
}

impl Application {
    /// Serves the application on this listener.
    ///
    /// # Errors
    /// The listener is not on loopback.
    pub fn serve(
        listener: TcpListener,
        installation: Installation,
        look_up: LookUp,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Shared {
            installation,
            look_up,
            clock,
        };
        Ok(Self {
            address,
            _serving: listener::serve(vec![listener], Arc::new(shared))?,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Part for Shared {
    async fn answer(&self, request: Request) -> Answer {
        let base = &self.installation.base;
        let path = request.uri.path();
        let Some(below) = path
            .strip_prefix(base.as_str())
            .filter(|below| below.is_empty() || below.starts_with('/'))
        else {
            return listener::text(StatusCode::NOT_FOUND, "The application has no such page.\n");
        };
        let echo = below == "/echo";
        let arrival = Arrival::of(&request, &self.installation, self.clock.now());
        let known = match arrival.username() {
            Some(username) => (self.look_up)(username).await,
            None => Ok(None),
        };
        match echo {
            true => listener::json(StatusCode::OK, &arrival.as_json(known.as_ref().ok())),
            false => portal::page_of(&arrival, known.as_ref(), &self.installation),
        }
    }
}
