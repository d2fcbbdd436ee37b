//! UserInfo (OpenID Connect Core 5.3): more claims of the person whom the ID token names, as JSON or
//! as a signed JWT. They fill gaps and never override the ID token's.

use std::collections::BTreeSet;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use openidconnect::{AccessToken, HttpRequest, HttpResponse};
use serde_json::Value;

use super::signature::{ANY_JWT, claim_set};
use super::wording::{cleaned, kind};
use super::{ClaimSet, Discovered, PROTOCOL_CLAIMS, RelyingParty, TokenFault};
use crate::config::{self, Config, UserInfo};
use crate::environment::UnixSeconds;

/// Whether UserInfo is to be asked after an ID token with these claims.
pub(super) fn is_wanted(
    provider: &config::Provider,
    claims_in_use: &BTreeSet<String>,
    id_token: &ClaimSet,
) -> bool {
    match provider.user_info {
        UserInfo::Never => false,
        UserInfo::Always => true,
        UserInfo::WhenMissing => claims_in_use.iter().any(|name| is_missing(id_token, name)),
    }
}

/// Adds what the ID token lacks. Claims of the protocol are the ID token's alone.
pub(super) fn join(id_token: &mut ClaimSet, user_info: ClaimSet) {
    for (name, value) in user_info {
        let of_protocol = PROTOCOL_CLAIMS.contains(&name.as_str());
        if !of_protocol && is_missing(id_token, &name) {
            id_token.insert(name, value);
        }
    }
}

/// Names of the claims that decide something after a sign-in at `provider`.
pub(super) fn claims_in_use(config: &Config, provider: &config::Provider) -> BTreeSet<String> {
    let mut names = config.claims_in_use();
    names.remove(&config.session.username_claim);
    names.insert(provider.username_claim.clone());
    if !provider.trust_email
        && (provider.username_claim == "email" || config.maps_email_to_username())
    {
        names.insert("email_verified".to_owned());
    }
    names
}

/// Absent, null and `""` alike (OpenID Connect Core 5.3.2 asks providers to leave such claims out).
fn is_missing(claims: &ClaimSet, name: &str) -> bool {
    match claims.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

impl RelyingParty {
    /// Asks UserInfo; nothing where the provider has none.
    pub(super) async fn user_info(
        &self,
        discovered: &Discovered,
        access_token: &AccessToken,
        id_token: &ClaimSet,
        issuer: &str,
        now: UnixSeconds,
    ) -> Result<ClaimSet, TokenFault> {
        let Some(endpoint) = discovered.metadata.userinfo_endpoint() else {
            return Ok(ClaimSet::new());
        };
        let request = request(endpoint.as_str(), access_token.secret()).ok_or_else(|| {
            self.invalid(
                "expected an access token of visible ASCII characters for UserInfo, found none",
            )
        })?;
        let response = self.http.send(request).await;
        let response = response.map_err(|fault| self.down(fault.to_string()))?;
        let claims = self.user_info_claims(response, issuer, now).await?;
        // Core 5.3.2: otherwise another person's claims could be joined.
        match claims.get("sub") {
            Some(sub) if Some(sub) == id_token.get("sub") => Ok(claims),
            Some(Value::String(_)) => {
                Err(self.invalid("UserInfo: `sub`: expected the ID token's, found another"))
            }
            found => Err(self.invalid(format!(
                "UserInfo: `sub`: expected the ID token's, found {}",
                found.map_or("none", kind)
            ))),
        }
    }

    async fn user_info_claims(
        &self,
        response: HttpResponse,
        issuer: &str,
        now: UnixSeconds,
    ) -> Result<ClaimSet, TokenFault> {
        let status = response.status();
        if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
            return Err(self
                .down(format!("UserInfo answered {}", status.as_u16()))
                .into());
        }
        if status != http::StatusCode::OK {
            return Err(self.invalid(format!(
                "UserInfo: expected status 200, found {}",
                status.as_u16()
            )));
        }
        let body = response.body();
        match media_type(&response).as_str() {
            "application/jwt" => {
                let jwt = std::str::from_utf8(body).unwrap_or_default().trim();
                let signed = self.verify_typed(jwt, ANY_JWT, issuer, now).await?;
                self.check_addressed(issuer, &signed.payload)?;
                let claims = signed.payload;
                Ok(claims)
            }
            "application/json" | "" => {
                claim_set(body).map_err(|reason| self.invalid(format!("UserInfo: {reason}")))
            }
            other => Err(self
                .down(format!(
                    "UserInfo: expected application/json or application/jwt, found {}",
                    cleaned(other)
                ))
                .into()),
        }
    }

    /// A signed answer says who made it and for whom, or nothing at all (Core 5.3.2).
    fn check_addressed(&self, issuer: &str, claims: &ClaimSet) -> Result<(), TokenFault> {
        if claims.get("iss").is_some_and(|iss| iss != issuer) {
            return Err(self.invalid(format!("UserInfo: `iss`: expected {issuer}, found another")));
        }
        let us = self.provider.client_id.as_str();
        let for_us = match claims.get("aud") {
            None => true,
            Some(Value::Array(all)) => all.iter().any(|one| one == us),
            Some(one) => one == us,
        };
        match for_us {
            true => Ok(()),
            false => Err(self.invalid(format!("UserInfo: `aud`: expected {us}, found others"))),
        }
    }
}

/// `None` where no header can carry the token (RFC 6750 2.1).
fn request(endpoint: &str, access_token: &str) -> Option<HttpRequest> {
    let visible =
        !access_token.is_empty() && access_token.bytes().all(|byte| byte.is_ascii_graphic());
    visible.then_some(())?;
    http::Request::get(endpoint)
        .header(ACCEPT, "application/json, application/jwt")
        .header(AUTHORIZATION, format!("Bearer {access_token}"))
        .body(Vec::new())
        .ok()
}

fn media_type(response: &HttpResponse) -> String {
    let header = response.headers().get(CONTENT_TYPE);
    let text = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}
