//! Access tokens that are JWTs (RFC 9068, and the like of it from providers that came before), which
//! programs bring: validated as RFC 9068 4 says, by the keys that verify ID tokens.
//!
//! An ID token or a logout token of the same provider is none, whoever presents it: what tells them apart
//! is looked for, since many providers set no `typ`. Nor is a token that only its holder's key makes good
//! (`cnf`, RFC 7800), for here nobody asks for a proof.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::id_token::{self, absent, check_audience_shape, time};
use super::logout_token::names;
use super::redemption::skew;
use super::tenant::issuer_of;
use super::wording::{cleaned, kind};
use super::{ClaimSet, ProviderDown, RelyingParties, RelyingParty, TokenFault};
use crate::config;
use crate::environment::{UnixSeconds, rfc3339};

/// Bytes of an access token; the longest that providers give stay below half of it.
const LONGEST: usize = 16 * 1024;

/// `typ` of an access token that says that it is one (RFC 9068 2.1), and of those that do not.
const TYPES: &[&str] = &["at+jwt", "application/at+jwt", "JWT", "application/jwt"];

/// Claims that are an ID token's or a logout token's alone (OpenID Connect Core 2 and 3.3.2.11,
/// Back-Channel Logout 2.4).
const OF_OTHER_TOKENS: &[&str] = &["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// A verified access token. Made by this room only.
#[derive(Debug)]
pub struct AccessToken {
    issuer: String,
    subject: Option<String>,
    username: Option<String>,
    good_until: UnixSeconds,
    set: ClaimSet,
}

/// Why an access token is not taken. Expected and found, without claim values.
#[derive(Debug, thiserror::Error)]
pub enum AccessTokenFault {
    /// The provider's keys are not known: 503.
    #[error(transparent)]
    Down(#[from] ProviderDown),
    /// It was good once.
    #[error("the access token has expired: {0}")]
    Expired(String),
    /// It never was, or is none.
    #[error("the access token is not acceptable: {0}")]
    Invalid(String),
}

impl AccessToken {
    /// `iss`, verified.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The value of `subject_claim`, if there is one.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The value of `access_token_username_claim`; `None` for a machine's token.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// `exp`, and what clocks may differ.
    pub fn good_until(&self) -> UnixSeconds {
        self.good_until
    }

    /// All its claims.
    pub fn set(&self) -> &ClaimSet {
        &self.set
    }
}

impl RelyingParties {
    /// Checks an access token by the provider that its `iss` names. Keys that are not known are asked for as
    /// those of ID tokens are.
    ///
    /// # Errors
    /// [`AccessTokenFault`].
    pub async fn access_token(
        &self,
        jwt: &str,
        now: UnixSeconds,
    ) -> Result<AccessToken, AccessTokenFault> {
        let now = now.clamp(0, id_token::LAST_TIME);
        let (issuer, claims) = unverified_issuer(jwt).map_err(AccessTokenFault::Invalid)?;
        let party = self
            .addressed(&issuer, &claims, |party| {
                party.config().access_token_audience.as_deref()
            })
            .ok_or_else(|| {
                let other = || {
                    let issuer = cleaned(&issuer);
                    format!("`iss`: expected a provider's issuer, found {issuer}")
                };
                AccessTokenFault::Invalid(self.not_accepted(&issuer).unwrap_or_else(other))
            })?;
        party.access_token(jwt, now).await
    }
}

impl RelyingParty {
    async fn access_token(
        &self,
        jwt: &str,
        now: UnixSeconds,
    ) -> Result<AccessToken, AccessTokenFault> {
        let invalid = |reason: String| {
            AccessTokenFault::Invalid(format!("provider {}: {reason}", self.name()))
        };
        let signed = match self.verify_of_tenant(jwt, TYPES, now).await {
            Ok((signed, _)) => signed,
            Err(TokenFault::Down(down)) => return Err(down.into()),
            Err(
                TokenFault::Invalid { reason, .. }
                | TokenFault::UnknownKey { reason, .. }
                | TokenFault::OtherTenant { reason, .. },
            ) => return Err(invalid(reason)),
            Err(other) => return Err(invalid(other.to_string())),
        };
        let us = &self.provider.client_id;
        check_kind(signed.typ.as_deref(), &signed.payload, us).map_err(invalid)?;
        let checked = Checked {
            provider: &self.provider,
            claims: &signed.payload,
        };
        checked.access_token(now)
    }
}

impl AccessToken {
    /// The token of which these are the claims, as if a key of the provider had signed it: to explain what becomes of
    /// it, never to let anybody in.
    ///
    /// # Errors
    /// [`AccessTokenFault`].
    pub fn of_unverified(
        provider: &config::Provider,
        claims: &ClaimSet,
        now: UnixSeconds,
    ) -> Result<AccessToken, AccessTokenFault> {
        let checked = Checked { provider, claims };
        // Whether the token says of itself what it is stands in its header.
        check_kind(None, claims, &provider.client_id).map_err(|reason| checked.invalid(reason))?;
        checked.access_token(now)
    }
}

/// Claims that are held against what the configuration says of their provider.
struct Checked<'c> {
    provider: &'c config::Provider,
    claims: &'c ClaimSet,
}

impl Checked<'_> {
    fn access_token(&self, now: UnixSeconds) -> Result<AccessToken, AccessTokenFault> {
        let invalid = |reason| self.invalid(reason);
        let issuer =
            issuer_of(self.provider, self.claims).map_err(|fault| invalid(fault.to_string()))?;
        self.check_audience().map_err(invalid)?;
        let good_until = self.good_until(now)?;
        let name = &self.provider.subject_claim;
        let subject = optional_text(self.claims, name).map_err(invalid)?;
        if subject.is_some() {
            id_token::subject(self.claims, name).map_err(invalid)?;
        }
        let name = &self.provider.access_token_username_claim;
        let username = optional_text(self.claims, name).map_err(invalid)?;
        Ok(AccessToken {
            issuer: issuer.to_owned(),
            subject: subject.map(str::to_owned),
            username: username.map(str::to_owned),
            good_until,
            set: self.claims.clone(),
        })
    }

    fn invalid(&self, reason: String) -> AccessTokenFault {
        AccessTokenFault::Invalid(format!("provider {}: {reason}", self.provider.name))
    }

    fn check_audience(&self) -> Result<(), String> {
        check_audience_shape(self.claims)?;
        let Some(expected) = &self.provider.access_token_audience else {
            return Err(
                "`aud`: expected no access token of this provider, since it has no \
                        `access_token_audience`"
                    .to_owned(),
            );
        };
        let found = match self.claims.get("aud") {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(one) => one.as_str().into_iter().collect(),
            None => Vec::new(),
        };
        match found.contains(&expected.as_str()) {
            true => Ok(()),
            false => Err(format!(
                "`aud`: expected {expected} (`access_token_audience`), found {}",
                cleaned(&found.join(" "))
            )),
        }
    }

    /// `exp`, `nbf` and `iat` against our clock (RFC 7519 4.1.4 to 4.1.6); until when the token is good.
    fn good_until(&self, now: UnixSeconds) -> Result<UnixSeconds, AccessTokenFault> {
        let invalid = |reason| self.invalid(reason);
        let skew = skew(self.provider);
        let expires_at = time(self.claims, "exp").map_err(invalid)?;
        let expires_at = expires_at.ok_or_else(|| invalid(absent("exp")))?;
        let clocks = |name: &str, at: UnixSeconds| {
            format!(
                "`{name}` is {}, and it is {} here, with {skew} s of `clock_skew` allowed for",
                rfc3339(at),
                rfc3339(now),
            )
        };
        for name in ["nbf", "iat"] {
            let at = time(self.claims, name).map_err(invalid)?;
            if let Some(at) = at.filter(|at| *at > now + skew) {
                return Err(invalid(clocks(name, at)));
            }
        }
        let good_until = expires_at + skew;
        match now < good_until {
            true => Ok(good_until),
            false => Err(AccessTokenFault::Expired(clocks("exp", expires_at))),
        }
    }
}

/// Refuses what is signed by the provider too, and is no bearer's access token, for the client `us`.
fn check_kind(typ: Option<&str>, claims: &ClaimSet, us: &str) -> Result<(), String> {
    if claims.contains_key("cnf") {
        let why = "`cnf`: expected none, found a token that needs a proof of its holder's key";
        return Err(why.to_owned());
    }
    let declared = typ.is_some_and(|typ| {
        TYPES[..2]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(typ))
    });
    if declared {
        return Ok(());
    }
    // As Keycloak says it, whose access tokens had a `nonce` once.
    let own_type = claims.get("typ").and_then(Value::as_str);
    if let Some(other) = own_type.filter(|typ| !typ.eq_ignore_ascii_case("Bearer")) {
        return Err(format!(
            "claim `typ`: expected Bearer, found {}",
            cleaned(other)
        ));
    }
    if own_type.is_some() {
        return Ok(());
    }
    let of_another = |name: &&&str| claims.contains_key(**name);
    match OF_OTHER_TOKENS.iter().find(of_another) {
        Some(name) => Err(format!(
            "expected an access token, found an ID token or another, with `{name}`"
        )),
        None if names(claims, us) && !is_of_a_client(claims, us) => Err(format!(
            "`aud`: found {us}, the client that ID tokens are for, and nothing that tells this from one: expected \
             `scope`, `scp`, `client_id`, an `azp` or `appid` of another client, or `typ` at+jwt"
        )),
        None => Ok(()),
    }
}

/// Whether a token says what a client may do with it (RFC 9068 2.2.3, and Entra's names), which no ID token does.
fn is_of_a_client(claims: &ClaimSet, us: &str) -> bool {
    let other = |name: &&str| {
        let client = claims.get(*name).and_then(Value::as_str);
        client.is_some_and(|client| client != us)
    };
    ["scope", "scp", "client_id"]
        .iter()
        .any(|name| claims.contains_key(*name))
        || ["azp", "appid"].iter().any(other)
}

/// Absent, null and `""` alike are none.
fn optional_text<'a>(claims: &'a ClaimSet, name: &str) -> Result<Option<&'a str>, String> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(format!(
            "`{}`: expected a string, found {}",
            cleaned(name),
            kind(other)
        )),
    }
}

/// Who says that he made the token, to choose the keys that tell. A signature that a shared secret makes is
/// refused here: whoever verifies it could have made it (RFC 9068 2.1).
fn unverified_issuer(jwt: &str) -> Result<(String, ClaimSet), String> {
    if jwt.len() > LONGEST {
        return Err(format!(
            "expected at most {LONGEST} bytes, found {}",
            jwt.len()
        ));
    }
    let mut parts = jwt.split('.');
    let mut object = || -> Option<ClaimSet> {
        let json = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        serde_json::from_slice(&json).ok()
    };
    let (Some(header), Some(payload)) = (object(), object()) else {
        return Err("expected a signed JWT, found something that cannot be read as one".to_owned());
    };
    let algorithm = header.get("alg").and_then(Value::as_str);
    if algorithm.is_none_or(|name| name.starts_with("HS")) {
        return Err("`alg`: expected a signature by a private key, found another".to_owned());
    }
    match payload.get("iss") {
        Some(Value::String(issuer)) => Ok((issuer.clone(), payload)),
        Some(other) => Err(format!("`iss`: expected a string, found {}", kind(other))),
        None => Err(absent("iss")),
    }
}
