//! `[session]`: the session token and its keys.

use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};

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

/// `session.algorithm`, and that of assertions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are RFC 7518's and RFC 8037's")]
pub enum SessionAlgorithm {
    HS256,
    ES256,
    EdDSA,
    RS256,
}

impl SessionAlgorithm {
    /// Its name in a JWS (RFC 7518 3.1).
    pub fn jws(self) -> Algorithm {
        match self {
            Self::HS256 => Algorithm::HS256,
            Self::ES256 => Algorithm::ES256,
            Self::EdDSA => Algorithm::EdDSA,
            Self::RS256 => Algorithm::RS256,
        }
    }

    /// A key that signs: a shared secret's bytes, or a PEM private key.
    ///
    /// # Errors
    /// What the crate says of a file that is no such key. One of another curve or size fails at its first signature
    /// only.
    pub fn encoding_key(self, secret: &[u8]) -> Result<EncodingKey, jsonwebtoken::errors::Error> {
        match self {
            Self::HS256 => Ok(EncodingKey::from_secret(secret)),
            Self::ES256 => EncodingKey::from_ec_pem(secret),
            Self::EdDSA => EncodingKey::from_ed_pem(secret),
            Self::RS256 => EncodingKey::from_rsa_pem(secret),
        }
    }

    /// The public half of a key as a JWK (RFC 7517 4); of a shared secret the secret itself.
    ///
    /// # Errors
    /// What the crate says of a file that is no such key.
    pub fn jwk(self, secret: &[u8]) -> Result<Jwk, jsonwebtoken::errors::Error> {
        Jwk::from_encoding_key(&self.encoding_key(secret)?, self.jws())
    }
}

/// `session.lifetime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until the ID token's `exp`.
    IdToken,
    /// A fixed time.
    Fixed(Duration),
}
