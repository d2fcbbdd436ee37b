//! The demo's OpenID provider: one registered client, anybody signs in, and the person decides which
//! claims are sent.
//!
//! Small, but correct in what it does: OpenID Connect Core 1.0 (code flow), Discovery 1.0,
//! RP-Initiated Logout 1.0, PKCE (RFC 7636), `iss` in the response (RFC 9207). Everything is kept in
//! memory and forgotten at the end.

mod authorization;
mod grant;
mod login;
mod logout;
mod signing;
mod token;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};
use maud::html;
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use crate::environment::{Clock, Random};

use super::listener::{self, Answer, Part, Request, Serving};
use super::page::{Maker, page};
use grant::Grants;
use signing::SigningKey;

/// The one client that the provider knows.
#[derive(Clone)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret`, for `client_secret_basic` and `client_secret_post`.
    pub secret: String,
    /// Where authorization responses may go, to the letter.
    pub redirect_uri: Url,
    /// Where people may go after signing out, to the letter.
    pub post_logout_redirect_uri: Url,
}

/// The provider, until it is dropped.
pub struct Provider {
    issuer: String,
    _serving: Serving,
}

/// What the endpoints share.
struct Shared {
    issuer: String,
    client: Client,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    grants: Mutex<Grants>,
}

impl Provider {
    /// Serves the provider on these listeners, which share a port. A new signing key is made.
    ///
    /// # Errors
    /// A listener is not on loopback, or there is none.
    pub fn serve(
        listeners: Vec<TcpListener>,
        client: Client,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> io::Result<Self> {
        let first = listeners
            .first()
            .ok_or(io::ErrorKind::AddrNotAvailable)?
            .local_addr()?;
        let issuer = format!("http://localhost:{}", first.port());
        let shared = Shared {
            issuer: issuer.clone(),
            client,
            key: SigningKey::generate()?,
            clock,
            random,
            grants: Mutex::default(),
        };
        Ok(Self {
            issuer,
            _serving: listener::serve(listeners, Arc::new(shared))?,
        })
    }

    /// `iss`: also the origin of every endpoint.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

impl Part for Shared {
    async fn answer(&self, request: Request) -> Answer {
        let get = matches!(request.method, Method::GET | Method::HEAD);
        let post = request.method == Method::POST;
        match request.uri.path() {
            "/" if get => self.about(),
            "/.well-known/openid-configuration" if get => self.metadata(),
            "/jwks" if get => listener::json(StatusCode::OK, &self.key.jwks()),
            "/authorize" if get => self.authorize(&request, request.query()),
            "/authorize" if post => self.authorize(&request, request.form()),
            "/login" if post => self.login(&request),
            "/token" if post => self.token(&request),
            "/userinfo" if get || post => self.user_info(&request),
            "/logout" if get => self.end_session(&request, &request.query()),
            "/logout" if post => self.end_session(&request, &request.form()),
            "/"
            | "/.well-known/openid-configuration"
            | "/jwks"
            | "/authorize"
            | "/login"
            | "/token"
            | "/userinfo"
            | "/logout" => listener::text(
                StatusCode::METHOD_NOT_ALLOWED,
                "This endpoint has no such method.\n",
            ),
            _ => listener::text(StatusCode::NOT_FOUND, "The provider has no such page.\n"),
        }
    }
}

impl Shared {
    fn grants(&self) -> MutexGuard<'_, Grants> {
        // Every change is one insertion or removal, so a panic elsewhere leaves nothing half done.
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Discovery 1.0, section 3.
    fn metadata(&self) -> Answer {
        let issuer = &self.issuer;
        listener::json(
            StatusCode::OK,
            &json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "userinfo_endpoint": format!("{issuer}/userinfo"),
                "jwks_uri": format!("{issuer}/jwks"),
                "end_session_endpoint": format!("{issuer}/logout"),
                "scopes_supported": ["openid", "profile", "email", "phone", "address"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "code_challenge_methods_supported": ["S256"],
                "prompt_values_supported": ["none", "login", "select_account"],
                "authorization_response_iss_parameter_supported": true,
                "request_parameter_supported": false,
                "request_uri_parameter_supported": false,
                "claims_parameter_supported": false,
            }),
        )
    }

    fn about(&self) -> Answer {
        let mut application = self.client.redirect_uri.clone();
        application.set_path("/wfgen/");
        let body = html! {
            p { "This is the OpenID provider of the demo. It shows its login form when the proxy sends somebody here." }
            p { a.button href=(application) { "Open the application" } }
        };
        page(
            StatusCode::OK,
            Maker::Provider,
            "Nobody is signing in here now",
            &body,
        )
    }
}
