//! `[session]`: the session token and its keys.

use std::time::Duration;

use super::Secret;

/// `[session]`.
#[derive(Debug, Clone)]
pub struct Session {
    /// Name of the session token's cookie.
    pub cookie: String,
    /// The first signs, all verify.
    pub keys: Vec<SessionKey>,
    /// The first seals, all open. Empty: derived from `keys`.
    pub sealing_keys: Vec<SessionKey>,
    /// Which of the provider's claims the token carries; `None` is all.
    pub claims: Option<Vec<String>>,
    /// Signature of the session token.
    pub algorithm: SessionAlgorithm,
    /// `iss`, resolved.
    pub issuer: String,
    /// `aud`, resolved.
    pub audience: String,
    /// The claim that carries the username.
    pub username_claim: String,
    /// How long a session lives.
    pub lifetime: Lifetime,
    /// The longest a session lives.
    pub max_lifetime: Duration,
    /// How long a session outlives its last request.
    pub idle_timeout: Option<Duration>,
    /// Whether sessions are renewed with the provider's refresh token.
    pub refresh: bool,
    /// Bytes of a form that is kept while its person signs in; 0 keeps none.
    pub kept_form_size: usize,
    /// How long it is kept.
    pub kept_form_lifetime: Duration,
    /// `SameSite=None` instead of `Lax`.
    pub same_site_none: bool,
    /// With `SameSite=None`: origins, as browsers write them, that may do more than look, and show the application.
    pub trusted_origins: Vec<String>,
}

/// One of `session.keys` or `session.sealing_keys`.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// `kid`.
    pub id: String,
    /// Raw bytes for HS256 and sealing (32 at least), PEM for the others.
    pub secret: Secret,
}

/// `session.algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are RFC 7518's and RFC 8037's")]
pub enum SessionAlgorithm {
    HS256,
    ES256,
    EdDSA,
    RS256,
}

/// `session.lifetime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until the ID token's `exp`.
    IdToken,
    /// A fixed time.
    Fixed(Duration),
}
