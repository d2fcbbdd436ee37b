//! `[[providers]]`: who signs people in.

use std::time::Duration;

use super::{Issuer, Secret};
use crate::config::ClientKey;

/// One of `[[providers]]`.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Unique; lower-case letters, digits and `-`.
    pub name: String,
    /// Who makes its tokens.
    pub issuer: Issuer,
    /// Our client identifier there.
    pub client_id: String,
    /// `None`: a public client.
    pub client_secret: Option<Secret>,
    /// How the token endpoint is told who we are.
    pub client_authentication: ClientAuthentication,
    /// What signs for `private_key_jwt`; `None` with any other.
    pub private_key: Option<ClientKey>,
    /// The claim that identifies a person.
    pub subject_claim: String,
    /// Asked for at authorization; `openid` is always among them.
    pub scopes: Vec<String>,
    /// The claim that becomes the session token's username claim.
    pub username_claim: String,
    /// This provider's e-mail addresses count as verified.
    pub trust_email: bool,
    /// When UserInfo is asked.
    pub user_info: UserInfo,
    /// Added to the authorization request; never a parameter of the protocol's own.
    pub authorization_parameters: Vec<(String, String)>,
    /// Accepted ID token signatures.
    pub algorithms: Vec<IdTokenAlgorithm>,
    /// Tolerated difference of clocks.
    pub clock_skew: Duration,
    /// Whether logging out ends the provider's session too.
    pub end_provider_session: bool,
    /// PEM of an own authority.
    pub ca: Option<Vec<u8>>,
    /// `aud` of its access tokens for the application; `None`: none is accepted.
    pub access_token_audience: Option<String>,
    /// The claim of an access token that names the user.
    pub access_token_username_claim: String,
}

/// `providers.client_authentication` (OpenID Connect Core 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
    /// `private_key_jwt`.
    PrivateKeyJwt,
    /// `none`.
    None,
}

/// `providers.user_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserInfo {
    /// Never asked.
    Never,
    /// At every sign-in.
    Always,
    /// When a claim that a mapping, rule or header names is not in the ID token.
    WhenMissing,
}

/// `providers.algorithms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are RFC 7518's and RFC 8037's")]
pub enum IdTokenAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
}
