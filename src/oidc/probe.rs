//! What `check --online` tells of a provider: asked anew, changing nothing that is in use.

use openidconnect::JsonWebKey;
use openidconnect::core::CoreJsonWebKey;
use serde::Serialize;
use serde_json::Value;

use super::discovery::{Discovered, Metadata};
use super::signature::{algorithm_name, of_crate};
use super::transport::Observed;
use super::{ProviderDown, RelyingParty, TokenFault};
use crate::environment::{Clock, Random, UnixSeconds};

/// A provider as it describes itself. Its issuer matched, or there is no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderReport {
    /// `issuer`, equal to the configuration's to the letter.
    pub issuer: String,
    /// Each of `issuer_tenants`, and why it is not one that the provider knows.
    pub tenants: Vec<(String, Result<(), String>)>,
    /// `authorization_endpoint`.
    pub authorization_endpoint: String,
    /// `token_endpoint`.
    pub token_endpoint: Option<String>,
    /// `userinfo_endpoint`.
    pub userinfo_endpoint: Option<String>,
    /// `end_session_endpoint`.
    pub end_session_endpoint: Option<String>,
    /// `jwks_uri`.
    pub jwks_uri: String,
    /// The keys that can be used.
    pub keys: Vec<KeyReport>,
    /// `id_token_signing_alg_values_supported`, as far as they are known here.
    pub announced_algorithms: Vec<String>,
    /// Those of `providers.algorithms` that the provider announces; empty: no ID token will be accepted.
    pub common_algorithms: Vec<String>,
    /// Whether PKCE S256 is announced; `None` where the provider does not say.
    pub pkce_s256: Option<bool>,
    /// How we authenticate, and what the token endpoint thinks of it; or what to mend.
    pub client_authentication: Result<String, String>,
    /// Whether UserInfo is to be asked though the provider has none.
    pub user_info_lacks: bool,
    /// Whether it says that it gives refresh tokens (`scopes_supported`).
    pub lists_offline_access: bool,
    /// Seconds by which our clock is ahead of the provider's `Date` header; negative: behind.
    pub clock_ahead: Option<UnixSeconds>,
}

/// One public key of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// `kid`.
    pub id: Option<String>,
    /// `kty`, such as `RSA`.
    pub kind: String,
    /// `alg`, where the key is for one algorithm only.
    pub algorithm: Option<String>,
}

impl RelyingParty {
    /// Asks the provider for its metadata and keys, and compares them with the configuration and with
    /// `clock`; and the token endpoint, with a code that nobody gave out, whether it knows us. What sign-ins use
    /// stays as it is.
    ///
    /// # Errors
    /// [`ProviderDown`] when it cannot be discovered.
    pub async fn probe(
        &self,
        random: &dyn Random,
        clock: &dyn Clock,
    ) -> Result<ProviderReport, ProviderDown> {
        let http = Observed::new(&self.http);
        let discovered = self.ask(&http).await.map_err(|reason| self.down(reason))?;
        let date = http.last().date.as_deref().and_then(seconds);
        let clock_ahead = date.map(|date| clock.now().saturating_sub(date));
        Ok(ProviderReport {
            tenants: self.ask_each_tenant(&http).await,
            client_authentication: self.known_there(&discovered, random, clock.now()).await,
            ..self.report(&discovered, clock_ahead)
        })
    }

    async fn known_there(
        &self,
        discovered: &Discovered,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<String, String> {
        let way = self.authentication(&discovered.metadata)?;
        match self.redeem_made_up(discovered, random, now).await {
            // Some look at the code first: that they know us is not said.
            Err(TokenFault::Refused { error, .. }) => Ok(format!(
                "{way}; the token endpoint refuses a made-up code ({error}), and not this client"
            )),
            Err(TokenFault::Down(down)) => Ok(format!(
                "{way}; what the token endpoint thinks of it is not known: {}",
                down.reason
            )),
            Err(fault) => Err(fault.to_string()),
            Ok(()) => Err("the token endpoint gave tokens for a made-up code".to_owned()),
        }
    }

    fn report(&self, discovered: &Discovered, clock_ahead: Option<UnixSeconds>) -> ProviderReport {
        let metadata: &Metadata = &discovered.metadata;
        let more = metadata.additional_metadata();
        let announced = metadata.id_token_signing_alg_values_supported();
        let common = self.provider.algorithms.iter().copied();
        let methods = more.code_challenge_methods_supported.as_ref();
        let user_info = metadata.userinfo_endpoint().map(|url| url.to_string());
        ProviderReport {
            issuer: metadata.issuer().to_string(),
            tenants: Vec::new(),
            authorization_endpoint: metadata.authorization_endpoint().to_string(),
            token_endpoint: metadata.token_endpoint().map(|url| url.to_string()),
            user_info_lacks: user_info.is_none()
                && self.provider.user_info == crate::config::UserInfo::Always,
            userinfo_endpoint: user_info,
            end_session_endpoint: more
                .end_session_endpoint
                .as_ref()
                .map(|url| url.to_string()),
            jwks_uri: metadata.jwks_uri().to_string(),
            keys: discovered.keys.iter().map(key_report).collect(),
            announced_algorithms: announced.iter().filter_map(name).collect(),
            common_algorithms: common
                .filter(|algorithm| announced.contains(&of_crate(*algorithm)))
                .map(|algorithm| algorithm_name(algorithm).to_owned())
                .collect(),
            client_authentication: self.authentication(metadata),
            pkce_s256: methods.map(|methods| methods.iter().any(|method| method == "S256")),
            lists_offline_access: discovered.lists_offline_access(),
            clock_ahead,
        }
    }
}

fn key_report(key: &CoreJsonWebKey) -> KeyReport {
    let json = serde_json::to_value(key).unwrap_or_default();
    let algorithm = json.get("alg").and_then(Value::as_str);
    KeyReport {
        id: key.key_id().map(|kid| kid.to_string()),
        kind: name(key.key_type()).unwrap_or_default(),
        algorithm: algorithm.map(str::to_owned),
    }
}

/// The name of a protocol value in JSON.
fn name(value: &impl Serialize) -> Option<String> {
    let json = serde_json::to_value(value).ok()?;
    json.as_str().map(str::to_owned)
}

fn seconds(date: &str) -> Option<UnixSeconds> {
    let time = httpdate::parse_http_date(date).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    UnixSeconds::try_from(since.as_secs()).ok()
}
