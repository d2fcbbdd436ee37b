//! Discovery of a provider with an issuer for each tenant: its document names a template where OpenID Connect
//! Discovery 1.0, 4.3 asks for the issuer that it was asked of, which the `openidconnect` crate rightly refuses. The
//! comparison is made here instead, with the configuration's template to the letter.

use http::header::ACCEPT;
use openidconnect::{AsyncHttpClient as _, JsonWebKeySetUrl};

use super::RelyingParty;
use super::discovery::Metadata;
use super::keys::KeySet;
use super::transport::Observed;
use super::wording::cleaned;

impl RelyingParty {
    /// The document for all tenants, and its keys.
    pub(super) async fn ask_of_tenants(
        &self,
        http: &Observed<'_>,
    ) -> Result<(Metadata, KeySet), String> {
        let issuer = &self.provider.issuer;
        let metadata = metadata_at(http, &issuer.discovery_url(), issuer.as_written()).await?;
        let keys = keys_at(http, metadata.jwks_uri()).await?;
        Ok((metadata, keys))
    }

    /// Whether each tenant of the configuration is one: its own document names its issuer.
    pub(super) async fn ask_each_tenant(
        &self,
        http: &Observed<'_>,
    ) -> Vec<(String, Result<(), String>)> {
        let mut asked = Vec::new();
        for tenant in self.provider.issuer.tenants() {
            let base = tenant.issuer.trim_end_matches('/');
            let url = format!("{base}/.well-known/openid-configuration");
            let found = metadata_at(http, &url, &tenant.issuer).await;
            asked.push((tenant.id.clone(), found.map(|_| ())));
        }
        asked
    }
}

async fn metadata_at(http: &Observed<'_>, url: &str, issuer: &str) -> Result<Metadata, String> {
    let body = body_at(http, url).await?;
    let metadata: Metadata = serde_json::from_slice(&body)
        .map_err(|fault| format!("{url} cannot be read: {}", cleaned(&fault.to_string())))?;
    match metadata.issuer().as_str() == issuer {
        true => Ok(metadata),
        false => Err(format!(
            "{url}: expected issuer {issuer}, found {}",
            cleaned(metadata.issuer().as_str())
        )),
    }
}

/// The keys, each with the issuer that it is for.
pub(super) async fn keys_at(http: &Observed<'_>, url: &JsonWebKeySetUrl) -> Result<KeySet, String> {
    let body = body_at(http, url.as_str()).await?;
    KeySet::of_several_issuers(&body).map_err(|reason| format!("{}: {reason}", url.as_str()))
}

async fn body_at(http: &Observed<'_>, url: &str) -> Result<Vec<u8>, String> {
    let request = http::Request::get(url)
        .header(ACCEPT, "application/json")
        .body(Vec::new())
        .map_err(|fault| format!("{}: expected a URL ({fault})", cleaned(url)))?;
    let response = http.call(request).await;
    let response = response.map_err(|fault| fault.to_string())?;
    match response.status() {
        http::StatusCode::OK => Ok(response.into_body()),
        status => Err(format!("{url} answered {}", status.as_u16())),
    }
}
