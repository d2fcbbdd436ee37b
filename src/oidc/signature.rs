//! JSON Web Signature (RFC 7515) of what a provider signs: the ID token and a signed UserInfo answer.
//!
//! Stands apart from the `openidconnect` crate's own verifier, because that one reads the payload into
//! typed claims first and so refuses a whole sign-in over `"name": 5`. Here the bytes are verified as
//! they came, by the crate's keys, and the claims stay JSON.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::JsonWebKey;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::ClaimSet;
use super::keys::KeySet;
use super::wording::{cleaned, kind};
use crate::config::IdTokenAlgorithm;

/// What a signature may be made with.
pub(super) struct Trusted<'a> {
    /// The provider's public keys.
    pub(super) keys: &'a KeySet,
    /// Who the token must be of: keys that are another's do not count.
    pub(super) issuer: &'a str,
    /// The client secret, the key of HS256.
    pub(super) secret: Option<&'a [u8]>,
    /// The configuration's list.
    pub(super) algorithms: &'a [IdTokenAlgorithm],
}

/// A JWT whose signature holds.
#[derive(Debug)]
pub(super) struct Signed {
    /// The JOSE header as it came, base64url.
    pub(super) header: String,
    /// The signature as it came, base64url.
    pub(super) signature: String,
    /// `typ` of the JOSE header.
    pub(super) typ: Option<String>,
    /// Every member of the payload.
    pub(super) payload: ClaimSet,
}

/// Why a JWT is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SignatureFault {
    /// The set has no key of that name, or none that made a signature without one; a newer set may.
    NoKey(String),
    /// The key that it names did not make the signature, unless a newer set has another of that name.
    WrongKey(String),
    /// No other key would help.
    Invalid(String),
}

impl SignatureFault {
    /// Expected and found.
    pub(super) fn reason(self) -> String {
        match self {
            Self::NoKey(reason) | Self::WrongKey(reason) | Self::Invalid(reason) => reason,
        }
    }
}

#[derive(Deserialize)]
struct JoseHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl Trusted<'_> {
    /// Verifies `jwt`, a compact serialisation, whose `typ` is one of `types` if it has one.
    pub(super) fn verify(&self, jwt: &str, types: &[&str]) -> Result<Signed, SignatureFault> {
        let invalid = |reason: &str| SignatureFault::Invalid(reason.to_owned());
        let (input, signature) = jwt.rsplit_once('.').ok_or_else(|| invalid(NOT_COMPACT))?;
        let (header, payload) = input.split_once('.').ok_or_else(|| invalid(NOT_COMPACT))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let jose: JoseHeader = decode(header)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| invalid(NOT_COMPACT))?;
        let raw_signature = decode(signature).ok_or_else(|| invalid(NOT_COMPACT))?;
        check_type(jose.typ.as_deref(), types)?;
        self.check_signature(&jose, input.as_bytes(), &raw_signature)?;
        let json = decode(payload).ok_or_else(|| invalid(NOT_COMPACT))?;
        Ok(Signed {
            header: header.to_owned(),
            signature: signature.to_owned(),
            typ: jose.typ,
            payload: claim_set(&json).map_err(SignatureFault::Invalid)?,
        })
    }

    fn check_signature(
        &self,
        jose: &JoseHeader,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureFault> {
        if jose.crit.is_some() {
            let reason = "`crit`: expected none, found header parameters that must be understood";
            return Err(SignatureFault::Invalid(reason.to_owned()));
        }
        let algorithm = self.algorithm(&jose.alg)?;
        if algorithm == CoreJwsSigningAlgorithm::HmacSha256 {
            return self.check_mac(&algorithm, input, signature);
        }
        let candidates = self
            .keys
            .for_issuer(self.issuer)
            .filter(|(key, _)| jose.kid.is_none() || named(key) == jose.kid.as_deref());
        let (mut found, mut of_another) = (false, false);
        for (key, fits) in candidates {
            if !fits {
                of_another = true;
                continue;
            }
            // The crate compares key type, use, curve and `alg` of the key with the algorithm.
            if key.verify_signature(&algorithm, input, signature).is_ok() {
                return Ok(());
            }
            found = true;
        }
        let not_made = || "the signature was not made by a key of the provider".to_owned();
        Err(match (found, &jose.kid) {
            (false, Some(_)) if of_another => SignatureFault::WrongKey(format!(
                "`kid`: expected a key of {}, found one of another issuer",
                self.issuer
            )),
            (false, Some(kid)) => SignatureFault::NoKey(format!(
                "`kid`: expected one of the provider's {} keys, found {}",
                self.keys.len(),
                cleaned(kid)
            )),
            (_, None) => SignatureFault::NoKey(not_made()),
            (true, Some(_)) => SignatureFault::WrongKey(not_made()),
        })
    }

    fn algorithm(&self, name: &str) -> Result<CoreJwsSigningAlgorithm, SignatureFault> {
        self.algorithms
            .iter()
            .find(|algorithm| algorithm_name(**algorithm) == name)
            .map(|algorithm| of_crate(*algorithm))
            .ok_or_else(|| {
                let listed: Vec<_> = self
                    .algorithms
                    .iter()
                    .copied()
                    .map(algorithm_name)
                    .collect();
                SignatureFault::Invalid(format!(
                    "`alg`: expected one of {} (`algorithms`), found {}",
                    listed.join(", "),
                    cleaned(name)
                ))
            })
    }

    fn check_mac(
        &self,
        algorithm: &CoreJwsSigningAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureFault> {
        // Without a secret, anybody could make the signature.
        let secret = self.secret.filter(|secret| !secret.is_empty());
        let secret = secret.ok_or_else(|| {
            let reason = "`alg`: HS256 needs a client secret, and this client has none";
            SignatureFault::Invalid(reason.to_owned())
        })?;
        CoreJsonWebKey::new_symmetric(secret.to_vec())
            .verify_signature(algorithm, input, signature)
            .map_err(|_| {
                let reason = "the signature was not made with the client secret";
                SignatureFault::Invalid(reason.to_owned())
            })
    }
}

pub(super) const NOT_COMPACT: &str =
    "expected a signed JWT, found something that cannot be read as one";

/// `typ` of a JWT that says no more of itself than that it is one (RFC 7519 5.1).
pub(super) const ANY_JWT: &[&str] = &["JWT", "application/jwt", "JOSE", "application/jose"];

fn check_type(typ: Option<&str>, types: &[&str]) -> Result<(), SignatureFault> {
    let known = |typ: &&str| types.iter().any(|known| known.eq_ignore_ascii_case(typ));
    match typ.filter(|typ| !known(typ)) {
        Some(typ) => Err(SignatureFault::Invalid(format!(
            "`typ`: expected {}, found {}",
            types.first().copied().unwrap_or_default(),
            cleaned(typ)
        ))),
        None => Ok(()),
    }
}

fn named(key: &CoreJsonWebKey) -> Option<&str> {
    key.key_id().map(|kid| kid.as_str())
}

/// The name in a JOSE header.
pub(super) fn algorithm_name(algorithm: IdTokenAlgorithm) -> &'static str {
    match algorithm {
        IdTokenAlgorithm::RS256 => "RS256",
        IdTokenAlgorithm::RS384 => "RS384",
        IdTokenAlgorithm::RS512 => "RS512",
        IdTokenAlgorithm::PS256 => "PS256",
        IdTokenAlgorithm::PS384 => "PS384",
        IdTokenAlgorithm::PS512 => "PS512",
        IdTokenAlgorithm::ES256 => "ES256",
        IdTokenAlgorithm::ES384 => "ES384",
        IdTokenAlgorithm::EdDSA => "EdDSA",
        IdTokenAlgorithm::HS256 => "HS256",
    }
}

/// The crate's name for an algorithm.
pub(super) fn of_crate(algorithm: IdTokenAlgorithm) -> CoreJwsSigningAlgorithm {
    match algorithm {
        IdTokenAlgorithm::RS256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        IdTokenAlgorithm::RS384 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
        IdTokenAlgorithm::RS512 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
        IdTokenAlgorithm::PS256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
        IdTokenAlgorithm::PS384 => CoreJwsSigningAlgorithm::RsaSsaPssSha384,
        IdTokenAlgorithm::PS512 => CoreJwsSigningAlgorithm::RsaSsaPssSha512,
        IdTokenAlgorithm::ES256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        IdTokenAlgorithm::ES384 => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
        IdTokenAlgorithm::EdDSA => CoreJwsSigningAlgorithm::EdDsa,
        IdTokenAlgorithm::HS256 => CoreJwsSigningAlgorithm::HmacSha256,
    }
}

/// Reads a claim set (RFC 7519 4), refusing a name that stands twice: two readers could take
/// different ones.
pub(super) fn claim_set(json: &[u8]) -> Result<ClaimSet, String> {
    match serde_json::from_slice::<Value>(json) {
        Ok(Value::Object(_)) => {}
        Ok(other) => {
            return Err(format!(
                "expected a JSON object of claims, found {}",
                kind(&other)
            ));
        }
        Err(_) => return Err("expected a JSON object of claims, found no JSON".to_owned()),
    }
    serde_json::from_slice::<UniqueNames>(json)
        .map(|claims| claims.0)
        .map_err(|_| "expected each claim once, found one twice".to_owned())
}

struct UniqueNames(ClaimSet);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames(ClaimSet::new()))
    }
}

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose names are unique")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = members.next_entry()? {
            if self.0.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_set_is_one_object_with_each_name_once() {
        assert_eq!(
            claim_set(br#"{"sub":"a","name":5}"#).map(|set| set.len()),
            Ok(2)
        );
        for refused in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"x":1,"x":1}"#,
            "[]",
            "null",
            r#""text""#,
            "",
            "{} {}",
            "not JSON",
        ] {
            assert!(claim_set(refused.as_bytes()).is_err(), "{refused}");
        }
    }
}
