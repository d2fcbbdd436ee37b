//! What a provider said of a person, once verified, and its claims as the session token carries them.

use serde_json::Value;

use super::ClaimSet;
use crate::config;
use crate::environment::UnixSeconds;

/// Protocol claims of the provider's tokens, never copied into ours.
pub const PROTOCOL_CLAIMS: &[&str] = &[
    "iss", "aud", "azp", "exp", "iat", "nbf", "jti", "at_hash", "c_hash", "s_hash", "sid",
];

/// Verified claims of one person at one provider. Made by this room only.
#[derive(Debug, Clone)]
pub struct Claims {
    pub(super) provider: String,
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) expires_at: UnixSeconds,
    pub(super) set: ClaimSet,
}

impl Claims {
    /// The provider's name in the configuration.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// `iss`, verified.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The value of `subject_claim`, never empty.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `exp` of the ID token.
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// All claims as the provider sent them, UserInfo's joined.
    pub fn set(&self) -> &ClaimSet {
        &self.set
    }
}

/// `username_claim = "email"`, but the provider does not say that the address is verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "email is the username claim of provider {provider}, and email_verified is not true: expected a verified address; verify it at the provider, or set trust_email if the provider verifies all addresses"
)]
pub struct EmailNotVerified {
    /// Its name in the configuration.
    pub provider: String,
}

/// The provider's claims as the session token carries them and mappings read them: protocol claims
/// and everything named like a claim of ours (`username_claim`, `user`) removed, `username_claim` set from the
/// provider's. All of them: `session.claims` narrows the token later, never the mapping.
///
/// # Errors
/// [`EmailNotVerified`].
pub fn session_claims(
    claims: &ClaimSet,
    provider: &config::Provider,
    session: &config::Session,
) -> Result<ClaimSet, EmailNotVerified> {
    if provider.username_claim == "email" && !provider.trust_email {
        check_email_verified(claims, provider)?;
    }
    let mut copied: ClaimSet = claims
        .iter()
        .filter(|(name, _)| !is_ours(name, session))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(username) = claims.get(&provider.username_claim) {
        copied.insert(session.username_claim.clone(), username.clone());
    }
    Ok(copied)
}

/// Whether a claim of the provider must not reach the session token under its own name.
fn is_ours(name: &str, session: &config::Session) -> bool {
    PROTOCOL_CLAIMS.contains(&name) || name == "user" || name == session.username_claim
}

/// Whether the provider says that it verified the address in `email` (OpenID Connect Core 5.1).
pub fn email_is_verified(claims: &ClaimSet) -> bool {
    match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        // As some providers write the boolean.
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

/// An address that nobody claims needs no verification: the username is missing then.
fn check_email_verified(
    claims: &ClaimSet,
    provider: &config::Provider,
) -> Result<(), EmailNotVerified> {
    match email_is_verified(claims) || !claims.contains_key("email") {
        true => Ok(()),
        false => Err(EmailNotVerified {
            provider: provider.name.clone(),
        }),
    }
}
