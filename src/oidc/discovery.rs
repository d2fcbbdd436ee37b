//! What is known of a provider now: its metadata (OpenID Connect Discovery 1.0) and its keys.
//!
//! Starts without the provider, and goes on with the last good answer while the provider is away.

use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClaimName, CoreClaimType, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
    CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse, CoreSubjectIdentifierType,
    CoreTokenIntrospectionResponse,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, ClientId, ClientSecret, DiscoveryError,
    EmptyAdditionalClaims, EndSessionUrl, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl,
    ProviderMetadata, RedirectUrl, StandardErrorResponse,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::keys::{KeySet, check_keys};
use super::request::OFFLINE_ACCESS;
use super::token_answer::TokenAnswer;
use super::transport::{Answered, HttpFault, Observed};
use super::{ProviderDown, RelyingParty};
use crate::config::{self, ClientAuthentication};
use crate::environment::{Random, SystemRandom};

/// When a provider is asked again.
#[derive(Debug, Clone, Copy)]
pub struct DiscoverySchedule {
    /// After the first failure; doubled from one failure to the next.
    pub first_retry: Duration,
    /// The longest pause between failures.
    pub longest_retry: Duration,
    /// After a success.
    pub refresh: Duration,
    /// How long the last good answer serves while no new one comes.
    pub stale: Duration,
}

impl Default for DiscoverySchedule {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(15),
            refresh: Duration::from_secs(3600),
            stale: Duration::from_secs(24 * 3600),
        }
    }
}

/// What we read of a discovery document beside what the crate knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Announced {
    /// RP-Initiated Logout 2.1.
    pub(super) end_session_endpoint: Option<EndSessionUrl>,
    /// RFC 9207 3.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: Option<bool>,
    /// RFC 8414 2.
    #[serde(default)]
    pub(super) code_challenge_methods_supported: Option<Vec<String>>,
}

impl AdditionalProviderMetadata for Announced {}

pub(super) type Metadata = ProviderMetadata<
    Announced,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

pub(super) type Client = openidconnect::Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A discovered provider.
#[derive(Clone)]
pub(super) struct Discovered {
    pub(super) metadata: Arc<Metadata>,
    pub(super) client: Arc<Client>,
    pub(super) keys: Arc<KeySet>,
}

impl Discovered {
    /// Whether the provider says that it gives refresh tokens for the asking (OpenID Connect Core 11).
    pub(super) fn lists_offline_access(&self) -> bool {
        let scopes = self.metadata.scopes_supported();
        scopes.is_some_and(|scopes| scopes.iter().any(|scope| **scope == OFFLINE_ACCESS))
    }
}

impl RelyingParty {
    /// Runs for ever: discovers the provider, retries with backoff and jitter, and looks again hourly.
    pub async fn stay_discovered(self: Arc<Self>) {
        self.stay_discovered_by(DiscoverySchedule::default()).await;
    }

    /// [`RelyingParty::stay_discovered`] by another schedule.
    pub async fn stay_discovered_by(self: Arc<Self>, schedule: DiscoverySchedule) {
        let mut pause = schedule.first_retry;
        let mut answered_at = Instant::now();
        let mut reported = None;
        loop {
            match self.discover_once().await {
                Ok(()) => {
                    if reported.as_deref() != Some("") {
                        tracing::info!(provider = self.name(), "provider discovered");
                    }
                    reported = Some(String::new());
                    answered_at = Instant::now();
                    pause = schedule.first_retry;
                    tokio::time::sleep(jittered(schedule.refresh)).await;
                }
                Err(down) => {
                    if answered_at.elapsed() > schedule.stale {
                        self.discovered.store(None);
                    }
                    // Once a reason: a provider that stays away must not fill the log.
                    if reported.as_ref() != Some(&down.reason) {
                        tracing::warn!(
                            provider = self.name(),
                            reason = down.reason,
                            in_use = self.discovered.load().is_some(),
                            "provider cannot be discovered"
                        );
                        reported = Some(down.reason);
                    }
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(schedule.longest_retry);
                }
            }
        }
    }

    /// Asks the provider for its metadata and keys, and uses them from now on.
    ///
    /// # Errors
    /// [`ProviderDown`]; what was known before stays in use.
    pub async fn discover_once(&self) -> Result<(), ProviderDown> {
        let _one_at_a_time = self.key_fetch.lock().await;
        match self.ask(&Observed::new(&self.http)).await {
            Ok(discovered) => {
                self.discovered.store(Some(Arc::new(discovered)));
                Ok(())
            }
            Err(reason) => {
                self.last_failure.store(Arc::new(reason.clone()));
                Err(self.down(reason))
            }
        }
    }

    /// `Ok` while sign-ins can be started here.
    ///
    /// # Errors
    /// [`ProviderDown`] with the reason.
    pub fn availability(&self) -> Result<(), ProviderDown> {
        self.discovered().map(|_| ())
    }

    pub(super) fn discovered(&self) -> Result<Arc<Discovered>, ProviderDown> {
        self.discovered
            .load_full()
            .ok_or_else(|| self.down(self.last_failure.load().to_string()))
    }

    pub(super) fn down(&self, reason: impl Into<String>) -> ProviderDown {
        ProviderDown {
            provider: self.name().to_owned(),
            reason: reason.into(),
        }
    }

    /// Metadata and keys as the provider says them now, checked.
    pub(super) async fn ask(&self, http: &Observed<'_>) -> Result<Discovered, String> {
        let (metadata, keys) = match self.provider.issuer.tenants() {
            [] => self.ask_of_one_issuer(http).await?,
            _ => self.ask_of_tenants(http).await?,
        };
        check_endpoints(&metadata)?;
        check_keys(&keys, &self.provider)?;
        Ok(Discovered {
            client: Arc::new(self.client(&metadata)?),
            metadata: Arc::new(metadata),
            keys: Arc::new(keys),
        })
    }

    async fn ask_of_one_issuer(&self, http: &Observed<'_>) -> Result<(Metadata, KeySet), String> {
        let issuer = IssuerUrl::new(self.provider.issuer.as_written().to_owned())
            .map_err(|error| format!("issuer: expected a URL ({error})"))?;
        let metadata = Metadata::discover_async(issuer, http)
            .await
            .map_err(|error| discovery_reason(&error, &http.last()))?;
        let keys = KeySet::of_one_issuer(metadata.jwks());
        Ok((metadata, keys))
    }

    fn client(&self, metadata: &Metadata) -> Result<Client, String> {
        let client_id = ClientId::new(self.provider.client_id.clone());
        let secret = client_secret(&self.provider)?.map(ClientSecret::new);
        let auth_type = match self.provider.client_authentication {
            ClientAuthentication::Basic => AuthType::BasicAuth,
            // The assertion goes with the request that needs one.
            ClientAuthentication::Post
            | ClientAuthentication::PrivateKeyJwt
            | ClientAuthentication::None => AuthType::RequestBody,
        };
        let redirect = RedirectUrl::new(self.redirect_uri.clone())
            .map_err(|error| format!("server.public_url: expected a URL ({error})"))?;
        Ok(
            Client::from_provider_metadata(metadata.clone(), client_id, secret)
                .set_auth_type(auth_type)
                .set_redirect_uri(redirect),
        )
    }
}

/// The client secret as the text that goes over the wire; none where the client sends none.
pub(super) fn client_secret(provider: &config::Provider) -> Result<Option<String>, String> {
    match (&provider.client_secret, provider.client_authentication) {
        (None, _) | (_, ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt) => {
            Ok(None)
        }
        (Some(secret), _) => String::from_utf8(secret.expose().to_vec())
            .map(Some)
            .map_err(|_| "client_secret: expected UTF-8 text, found other bytes".to_owned()),
    }
}

/// A secret or a code must not leave in the clear because a proxy before the provider hides its TLS.
fn check_endpoints(metadata: &Metadata) -> Result<(), String> {
    let token = metadata.token_endpoint().map(|url| url.url());
    let required = token.ok_or("the discovery document names no token_endpoint")?;
    if metadata.issuer().url().scheme() != "https" {
        return Ok(());
    }
    let endpoints = [
        (
            "authorization_endpoint",
            Some(metadata.authorization_endpoint().url()),
        ),
        ("token_endpoint", Some(required)),
        (
            "userinfo_endpoint",
            metadata.userinfo_endpoint().map(|url| url.url()),
        ),
        ("jwks_uri", Some(metadata.jwks_uri().url())),
    ];
    for (name, url) in endpoints {
        if let Some(url) = url.filter(|url| url.scheme() != "https") {
            return Err(format!(
                "{name}: expected https as the issuer has it, found {url}: the provider does not know \
                 its public address"
            ));
        }
    }
    Ok(())
}

/// The crate's error without the answer's body.
pub(super) fn discovery_reason(error: &DiscoveryError<HttpFault>, last: &Answered) -> String {
    match error {
        DiscoveryError::Request(fault) => fault.to_string(),
        DiscoveryError::Response(status, _, _) if *status != http::StatusCode::OK => {
            format!("{} answered {}", last.url, status.as_u16())
        }
        DiscoveryError::Response(..) => {
            format!(
                "{}: expected Content-Type application/json, found another",
                last.url
            )
        }
        DiscoveryError::Parse(fault) => {
            let inner = super::wording::cleaned(&fault.inner().to_string());
            match fault.path().to_string().as_str() {
                "." => format!("{} cannot be read: {inner}", last.url),
                path => format!("{}: {path}: {inner}", last.url),
            }
        }
        DiscoveryError::Validation(text) => {
            format!("{}: {}", last.url, super::wording::cleaned(text))
        }
        other => super::wording::cleaned(&other.to_string()),
    }
}

/// Three quarters to five quarters of `pause`, so that many nodes do not come at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    SystemRandom.fill(&mut byte);
    pause.mul_f64(0.75 + f64::from(byte[0]) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_goes_out_over_https_where_the_issuer_has_it() {
        let checked = |issuer: &str, endpoint: &str, url: &str| {
            let mut document = serde_json::json!({
                "issuer": issuer,
                "authorization_endpoint": "https://id.example/authorize",
                "token_endpoint": "https://id.example/token",
                "userinfo_endpoint": "https://id.example/userinfo",
                "jwks_uri": "https://id.example/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "XX999"],
            });
            document[endpoint] = url.into();
            check_endpoints(&serde_json::from_value(document).unwrap())
        };
        for endpoint in [
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "jwks_uri",
        ] {
            let fault = checked("https://id.example", endpoint, "http://id.example/x").unwrap_err();
            assert!(fault.starts_with(endpoint), "{fault}");
            assert_eq!(
                checked("https://id.example", endpoint, "https://else/x"),
                Ok(())
            );
            assert_eq!(
                checked("http://127.0.0.1", endpoint, "http://127.0.0.1/x"),
                Ok(())
            );
        }
    }

    #[test]
    fn pauses_differ_by_a_quarter() {
        let pause = Duration::from_secs(4);
        for _ in 0..100 {
            let jittered = jittered(pause);
            assert!((Duration::from_secs(3)..=Duration::from_secs(5)).contains(&jittered));
        }
    }
}
