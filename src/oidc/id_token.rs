//! ID token validation (OpenID Connect Core 3.1.3.7) of a token whose signature holds.
//!
//! The `openidconnect` crate checks `iss`, `aud` and `nonce` on a token that is cut down to those claims
//! that the protocol defines; what the crate leaves open is checked here: `azp`, `nbf`, `iat`, an empty `sub`.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet};
use openidconnect::{ClaimsVerificationError, ClientId, IssuerUrl, Nonce};
use serde_json::Value;

use super::ClaimSet;
use super::signature::Signed;
use super::wording::{cleaned, kind};
use crate::environment::{UnixSeconds, rfc3339};

/// The last second of the year 9999: times beyond it are no times.
pub(super) const LAST_TIME: UnixSeconds = 253_402_300_799;

/// Longest identifier of a person, in characters (OpenID Connect Core 2).
const SUBJECT_LENGTH: usize = 255;

/// What an ID token must agree with.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: ExpectedNonce<'a>,
    pub(super) now: UnixSeconds,
    /// Tolerated difference of clocks, in seconds.
    pub(super) skew: UnixSeconds,
}

/// Which `nonce` an ID token has.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExpectedNonce<'a> {
    /// That of the authorization request.
    Always(&'a str),
    /// That of the authorization request or none, as a refresh may give it (OpenID Connect Core 12.2).
    IfAny(&'a str),
}

impl ExpectedNonce<'_> {
    fn check(self, found: Option<&Nonce>) -> Result<(), String> {
        match (self, found.map(|nonce| nonce.secret().as_str())) {
            (Self::IfAny(_), None) => Ok(()),
            (Self::Always(expected) | Self::IfAny(expected), Some(found)) if expected == found => {
                Ok(())
            }
            _ => Err("expected this sign-in's, found another".to_owned()),
        }
    }
}

impl Expected<'_> {
    /// Checks the claims of the protocol; gives `exp`.
    pub(super) fn check(&self, token: &Signed) -> Result<UnixSeconds, String> {
        let claims = &token.payload;
        for name in ["iss", "sub"] {
            text(claims, name)?;
        }
        if matches!(self.nonce, ExpectedNonce::Always(_)) || claims.contains_key("nonce") {
            text(claims, "nonce")?;
        }
        check_audience_shape(claims)?;
        let expires_at = time(claims, "exp")?.ok_or_else(|| absent("exp"))?;
        self.check_times(claims, expires_at)?;
        self.check_by_crate(token)?;
        self.check_authorized_party(claims)?;
        Ok(expires_at)
    }

    fn check_times(&self, claims: &ClaimSet, expires_at: UnixSeconds) -> Result<(), String> {
        let issued_at = time(claims, "iat")?.ok_or_else(|| absent("iat"))?;
        let (early, late) = (self.now - self.skew, self.now + self.skew);
        if expires_at <= early {
            return Err(self.clock_fault("exp", "after", early, expires_at));
        }
        for (name, at) in [("iat", Some(issued_at)), ("nbf", time(claims, "nbf")?)] {
            if let Some(at) = at.filter(|at| *at > late) {
                return Err(self.clock_fault(name, "not after", late, at));
            }
        }
        Ok(())
    }

    fn clock_fault(
        &self,
        name: &str,
        relation: &str,
        bound: UnixSeconds,
        found: UnixSeconds,
    ) -> String {
        format!(
            "`{name}`: expected {relation} {}, found {}; it is {} here, and {} s of `clock_skew` are \
             allowed for: compare both clocks",
            rfc3339(bound),
            rfc3339(found),
            rfc3339(self.now),
            self.skew
        )
    }

    fn check_by_crate(&self, token: &Signed) -> Result<(), String> {
        let unreadable = "the claims of the protocol cannot be read";
        let token: CoreIdToken = cut_down(token)
            .ok_or(unreadable)?
            .parse()
            .map_err(|_| unreadable.to_owned())?;
        let issuer = IssuerUrl::new(self.issuer.to_owned()).map_err(|_| unreadable.to_owned())?;
        let now = UNIX_EPOCH + Duration::from_secs((self.now - self.skew).max(0) as u64);
        let verifier = CoreIdTokenVerifier::new_public_client(
            ClientId::new(self.client_id.to_owned()),
            issuer,
            CoreJsonWebKeySet::default(),
        )
        // `Signed` holds only what a key of the provider signed; the cut-down copy cannot be verified again.
        .insecure_disable_signature_check()
        // Others may be named too as long as `azp` says that the token is for us, which is checked below.
        .set_other_audience_verifier_fn(|_| true)
        .set_time_fn(move || now.into());
        token
            .claims(&verifier, |found: Option<&Nonce>| self.nonce.check(found))
            .map(|_| ())
            .map_err(|error| match error {
                ClaimsVerificationError::InvalidIssuer(text) => {
                    format!("`iss`: {}", cleaned(&text))
                }
                ClaimsVerificationError::InvalidAudience(text) => {
                    format!("`aud`: {}", cleaned(&text))
                }
                ClaimsVerificationError::InvalidNonce(_) => {
                    "`nonce`: expected this sign-in's, found another".to_owned()
                }
                other => cleaned(&other.to_string()),
            })
    }

    /// Steps 3 to 5: one audience, or an `azp` that names us.
    fn check_authorized_party(&self, claims: &ClaimSet) -> Result<(), String> {
        let several = matches!(claims.get("aud"), Some(Value::Array(all)) if all.iter().any(|one| one != self.client_id));
        match claims.get("azp") {
            None | Some(Value::Null) if several => Err(format!(
                "`azp`: expected {} since `aud` names others too, found none",
                self.client_id
            )),
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(party)) if party == self.client_id => Ok(()),
            Some(Value::String(party)) => Err(format!(
                "`azp`: expected {}, found {}",
                self.client_id,
                cleaned(party)
            )),
            Some(other) => Err(format!("`azp`: expected a string, found {}", kind(other))),
        }
    }
}

/// The value of `name` that identifies a person.
pub(super) fn subject<'a>(claims: &'a ClaimSet, name: &str) -> Result<&'a str, String> {
    let subject = text(claims, name)?;
    match subject.chars().count() {
        0..=SUBJECT_LENGTH => Ok(subject),
        length => Err(format!(
            "`{}`: expected at most {SUBJECT_LENGTH} characters, found {length}",
            cleaned(name)
        )),
    }
}

/// The token with the claims alone that the crate checks, so that no other can fail its parser.
fn cut_down(token: &Signed) -> Option<String> {
    let checked: ClaimSet = ["iss", "sub", "aud", "exp", "iat", "nonce"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), token.payload.get(name)?.clone())))
        .collect();
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&checked).ok()?);
    Some(format!("{}.{payload}.{}", token.header, token.signature))
}

fn text<'a>(claims: &'a ClaimSet, name: &str) -> Result<&'a str, String> {
    match claims.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(other) => Err(format!(
            "`{}`: expected a string that is not empty, found {}",
            cleaned(name),
            kind(other)
        )),
        None => Err(absent(name)),
    }
}

pub(super) fn check_audience_shape(claims: &ClaimSet) -> Result<(), String> {
    match claims.get("aud") {
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => Ok(()),
        Some(other) => Err(format!(
            "`aud`: expected a string or an array of strings, found {}",
            kind(other)
        )),
        None => Err(absent("aud")),
    }
}

/// A NumericDate, fractions cut off.
pub(super) fn time(claims: &ClaimSet, name: &str) -> Result<Option<UnixSeconds>, String> {
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|seconds| seconds as i64)),
        Some(other) => {
            return Err(format!(
                "`{name}`: expected a number, found {}",
                kind(other)
            ));
        }
    };
    match seconds.filter(|seconds| (0..=LAST_TIME).contains(seconds)) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(format!(
            "`{name}`: expected seconds since 1970, found a number that is no time"
        )),
    }
}

pub(super) fn absent(name: &str) -> String {
    format!("`{}`: expected, found none", cleaned(name))
}
