//! Who we are to the token endpoint where that is proved by a signature (`private_key_jwt`, OpenID Connect Core 9;
//! RFC 7523 2.2 and 3), and what to look at where a provider does not take it.
//!
//! `aud` is the token endpoint's URL, alone. Core says that it should be; Microsoft's own client sends it to Entra ID and
//! AD FS, and clients that sent the issuer to Okta and AD FS were refused. Newer profiles (FAPI 2.0, rfc7523bis) ask for
//! the issuer, to keep a provider from having us address another one: here an assertion goes nowhere but to the very
//! URL that it names, and no redirect is followed.

use jsonwebtoken::Algorithm;
use openidconnect::core::{CoreClientAuthMethod, CoreJwsSigningAlgorithm};
use serde_json::json;

use super::discovery::{Discovered, Metadata};
use super::{RelyingParty, TokenFault};
use crate::config::{ClientAuthentication, ClientKey};
use crate::environment::{Random, UnixSeconds, random_text};

/// Seconds that an assertion can be used: the way to the provider, and some difference of clocks.
const LIFETIME: UnixSeconds = 60;

/// Seconds by which our clock may be ahead of the provider's. Microsoft's documentation has `nbf` among the claims, and
/// many providers compare it strictly.
const AHEAD: UnixSeconds = 30;

/// RFC 7523 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Parameters of a request to the token endpoint.
pub(super) type Parameters = Vec<(&'static str, String)>;

impl RelyingParty {
    /// What a request to the token endpoint carries to authenticate us, beside what the crate puts there itself: none,
    /// unless we sign for it. Each request needs one of its own, since a provider takes a `jti` once.
    pub(super) fn client_assertion(
        &self,
        discovered: &Discovered,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<Parameters, TokenFault> {
        let Some(key) = self.signing_key() else {
            return Ok(Vec::new());
        };
        let endpoint = discovered.metadata.token_endpoint();
        let endpoint = endpoint.ok_or_else(|| self.down("it names no token_endpoint"))?;
        let client_id = &self.provider.client_id;
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": endpoint.as_str(),
            "jti": random_text::<16>(random),
            "iat": now,
            "nbf": now - AHEAD,
            "exp": now + LIFETIME,
        });
        let signed = key.sign(chosen(key, &discovered.metadata), &claims);
        let signed = signed.map_err(|error| self.down(format!("private_key: {error}")))?;
        Ok(vec![
            ("client_assertion_type", ASSERTION_TYPE.to_owned()),
            ("client_assertion", signed),
        ])
    }

    fn signing_key(&self) -> Option<&ClientKey> {
        let by_key = self.provider.client_authentication == ClientAuthentication::PrivateKeyJwt;
        self.provider.private_key.as_ref().filter(|_| by_key)
    }

    /// How we authenticate there.
    ///
    /// # Errors
    /// The provider does not list it: which it lists, and what to do.
    pub(super) fn authentication(&self, metadata: &Metadata) -> Result<String, String> {
        let Some(key) = self.signing_key() else {
            let way = match self.provider.client_authentication {
                ClientAuthentication::Basic => "client_secret_basic",
                ClientAuthentication::Post => "client_secret_post",
                ClientAuthentication::PrivateKeyJwt => "private_key_jwt",
                ClientAuthentication::None => "none: a public client",
            };
            return Ok(way.to_owned());
        };
        let by = chosen(key, metadata);
        let kid = key.public().common.key_id.as_deref().unwrap_or_default();
        match unlisted(key, metadata) {
            None => Ok(format!("private_key_jwt, {by:?}, kid {kid}")),
            Some(reason) => Err(reason),
        }
    }

    /// What the operator can do where the token endpoint does not know us (RFC 6749 5.2); none for other refusals.
    pub(super) fn client_advice(&self, metadata: &Metadata, error: &str) -> Option<String> {
        if !is_about_the_client(error) {
            return None;
        }
        Some(match (self.authentication(metadata), self.signing_key()) {
            (Ok(_), None) => "it does not take us for the registered client; compare client_id, client_secret and client_authentication with the registration there".to_owned(),
            (Err(unlisted), _) => unlisted,
            (Ok(key), Some(_)) => format!(
                "it does not take our signature ({key}); register there, for this client_id, private_key_jwt and the key that vestibule keys public FILE prints (or the certificate), and compare the clocks with vestibule check --online"
            ),
        })
    }
}

/// Whether a refusal is about this installation, not about the person who signs in (RFC 6749 5.2).
fn is_about_the_client(error: &str) -> bool {
    matches!(error, "invalid_client" | "unauthorized_client")
}

/// Of the algorithms that the key can sign by, the first that the provider lists, or the first.
fn chosen(key: &ClientKey, metadata: &Metadata) -> Algorithm {
    let listed = |algorithm: &&Algorithm| lists(metadata, **algorithm).unwrap_or(true);
    let algorithms = key.algorithms();
    *algorithms.iter().find(listed).unwrap_or(&algorithms[0])
}

/// Whether `token_endpoint_auth_signing_alg_values_supported` has it; `None` where the provider does not say.
fn lists(metadata: &Metadata, algorithm: Algorithm) -> Option<bool> {
    let listed = metadata.token_endpoint_auth_signing_alg_values_supported();
    Some(listed?.contains(&of_crate(algorithm)?))
}

fn of_crate(algorithm: Algorithm) -> Option<CoreJwsSigningAlgorithm> {
    serde_json::from_value(json!(algorithm)).ok()
}

/// What the discovery document says that excludes us. A provider may know more than it lists, so the try is made all
/// the same.
fn unlisted(key: &ClientKey, metadata: &Metadata) -> Option<String> {
    let names = |list: serde_json::Value| {
        let names = list.as_array().cloned().unwrap_or_default();
        let names = names.iter().filter_map(|name| name.as_str());
        super::wording::cleaned(&names.collect::<Vec<_>>().join(", "))
    };
    let methods = metadata.token_endpoint_auth_methods_supported();
    if let Some(methods) = methods.filter(|it| !it.contains(&CoreClientAuthMethod::PrivateKeyJwt)) {
        return Some(format!(
            "the provider does not list private_key_jwt for its token endpoint, but {}; set client_authentication to one of those, or have private_key_jwt allowed there",
            names(json!(methods))
        ));
    }
    let algorithms = key.algorithms();
    match algorithms
        .iter()
        .any(|it| lists(metadata, *it).unwrap_or(true))
    {
        true => None,
        false => Some(format!(
            "the provider takes client assertions signed by {}, and private_key signs by {}; make a key of another kind: vestibule keys generate --algorithm RS256 or ES256",
            names(json!(
                metadata.token_endpoint_auth_signing_alg_values_supported()
            )),
            names(json!(algorithms)),
        )),
    }
}
