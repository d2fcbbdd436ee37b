//! Logout tokens (Back-Channel Logout 1.0, 2.4 to 2.6): whose sessions a provider ends. Everybody can send one,
//! so each claim is checked, and nothing of an unknown issuer is asked for over the network.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::id_token::{LAST_TIME, time};
use super::signature::{Signed, claim_set};
use super::wording::kind;
use super::{ClaimSet, RelyingParties, RelyingParty, TokenFault, tenant};
use crate::environment::UnixSeconds;

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// `typ` of a logout token that says that it is one, and of those that do not (2.4).
const TYPES: &[&str] = &[
    "logout+jwt",
    "application/logout+jwt",
    "JWT",
    "application/jwt",
];
/// A token without `exp`, as providers made before the standard was final, is good for so long.
const UNDATED: UnixSeconds = 120;
/// The longest `sub`, `sid` and `jti`.
const LONGEST: usize = 255;

/// A logout token that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// The provider's name in the configuration.
    pub provider: String,
    /// `iss`: one of the provider's issuers.
    pub issuer: String,
    /// `jti`: the token counts once.
    pub jti: String,
    /// `sid`: the provider's session.
    pub sid: Option<String>,
    /// `sub`: the person.
    pub subject: Option<String>,
    /// `iat`.
    pub issued_at: UnixSeconds,
    /// `exp`; with it a replay could be told by its age alone.
    pub expires_at: UnixSeconds,
}

/// Why a logout token is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LogoutFault {
    /// It is not one, not for us, or not by a provider of ours.
    #[error("logout token: {0}")]
    Invalid(String),
    /// The provider's keys are not known, or not the one that it names, and cannot be asked for now.
    #[error("logout token: {0}")]
    Later(String),
}

impl RelyingParties {
    /// The providers with that issuer, among others if they have many tenants: several where it has several clients of
    /// ours.
    pub fn by_issuer(&self, issuer: &str) -> impl Iterator<Item = &RelyingParty> {
        let all = self.iter().map(|party| &**party);
        all.filter(move |party| party.config().issuer.names(issuer))
    }

    /// Of the providers with that issuer the one that a token's `aud` names as we know it by `audience`, else the first.
    pub(super) fn addressed(
        &self,
        issuer: &str,
        claims: &ClaimSet,
        audience: impl Fn(&RelyingParty) -> Option<&str>,
    ) -> Option<&RelyingParty> {
        let named = |party: &&RelyingParty| audience(party).is_some_and(|us| names(claims, us));
        let found = self.by_issuer(issuer).find(named);
        found.or_else(|| self.by_issuer(issuer).next())
    }

    /// Validates a logout token (Back-Channel Logout 1.0, 2.6).
    ///
    /// # Errors
    /// [`LogoutFault`].
    pub async fn logout_token(
        &self,
        token: &str,
        now: UnixSeconds,
    ) -> Result<LogoutToken, LogoutFault> {
        let invalid = |reason: &str| LogoutFault::Invalid(reason.to_owned());
        let unverified = unverified_claims(token)
            .ok_or_else(|| invalid("expected a JWT in compact serialisation, found other text"))?;
        let issuer = unverified.get("iss").and_then(Value::as_str);
        let issuer = issuer.ok_or_else(|| invalid("`iss`: expected a string, found none"))?;
        let party = self.addressed(issuer, &unverified, |party| Some(&party.config().client_id));
        let party = party.ok_or_else(|| {
            let other = "`iss`: expected the issuer of a configured provider, found another";
            let reason = self.not_accepted(issuer);
            LogoutFault::Invalid(reason.unwrap_or_else(|| other.to_owned()))
        })?;
        let signed = party
            .verify_typed(token, TYPES, issuer, now)
            .await
            .map_err(|fault| match fault {
                TokenFault::Down(_) | TokenFault::UnknownKey { .. } => {
                    LogoutFault::Later(fault.to_string())
                }
                TokenFault::Invalid { reason, .. } | TokenFault::OtherTenant { reason, .. } => {
                    LogoutFault::Invalid(reason)
                }
                TokenFault::Refused { error, .. } | TokenFault::ClientRefused { error, .. } => {
                    LogoutFault::Invalid(error)
                }
            })?;
        let checked = party.checked(&signed, issuer, now);
        checked.map_err(LogoutFault::Invalid)
    }
}

impl RelyingParty {
    fn checked(
        &self,
        signed: &Signed,
        issuer: &str,
        now: UnixSeconds,
    ) -> Result<LogoutToken, String> {
        let claims = &signed.payload;
        if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            return Err("`iss`: expected the provider's issuer, found another".to_owned());
        }
        // The standard gives these tokens no tenant but their issuer's.
        if tenant::is_named(claims) {
            tenant::issuer_of(self.config(), claims).map_err(|fault| fault.to_string())?;
        }
        check_audience(claims, &self.config().client_id)?;
        check_event(claims)?;
        if claims.contains_key("nonce") {
            return Err("`nonce`: expected none, since it makes an ID token, found one".to_owned());
        }
        let (sid, subject) = (text(claims, "sid")?, text(claims, "sub")?);
        if sid.is_none() && subject.is_none() {
            return Err("expected `sub` or `sid`, found neither".to_owned());
        }
        let (issued_at, expires_at) = self.times(claims, now)?;
        Ok(LogoutToken {
            provider: self.name().to_owned(),
            issuer: issuer.to_owned(),
            jti: text(claims, "jti")?.ok_or("`jti`: expected, found none")?,
            sid,
            subject,
            issued_at,
            expires_at,
        })
    }

    fn times(
        &self,
        claims: &ClaimSet,
        now: UnixSeconds,
    ) -> Result<(UnixSeconds, UnixSeconds), String> {
        let (now, skew) = (now.clamp(0, LAST_TIME), self.skew());
        let issued_at = time(claims, "iat")?.ok_or("`iat`: expected, found none")?;
        if issued_at > now + skew {
            return Err(
                "`iat`: expected not after now, found a later time: compare the clocks".into(),
            );
        }
        let expires_at = time(claims, "exp")?.unwrap_or(issued_at + UNDATED);
        if expires_at <= now - skew {
            return Err("`exp`: expected after now, found an earlier time, or an `iat` too long ago without it".into());
        }
        Ok((issued_at, expires_at))
    }
}

fn unverified_claims(token: &str) -> Option<ClaimSet> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    claim_set(&payload).ok()
}

fn check_audience(claims: &ClaimSet, client_id: &str) -> Result<(), String> {
    match names(claims, client_id) {
        true => Ok(()),
        false => Err(format!("`aud`: expected {client_id}, found others or none")),
    }
}

/// Whether `aud` names that audience.
pub(super) fn names(claims: &ClaimSet, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => all.iter().any(|one| one == audience),
        _ => false,
    }
}

fn check_event(claims: &ClaimSet) -> Result<(), String> {
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    match event.is_some_and(Value::is_object) {
        true => Ok(()),
        false => Err(format!(
            "`events`: expected a member {EVENT} that is an object, found none"
        )),
    }
}

fn text(claims: &ClaimSet, name: &str) -> Result<Option<String>, String> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if (1..=LONGEST).contains(&text.chars().count()) => {
            Ok(Some(text.clone()))
        }
        Some(Value::String(_)) => Err(format!(
            "`{name}`: expected 1 to {LONGEST} characters, found none or more"
        )),
        Some(other) => Err(format!(
            "`{name}`: expected a string, found {}",
            kind(other)
        )),
    }
}
