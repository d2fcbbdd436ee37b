//! The relying party: what OpenID Connect Core 1.0, Discovery 1.0 and RP-Initiated Logout 1.0 ask of
//! us, over the `openidconnect` crate. Knows no cookies and no pages.

mod access_token;
mod authorization;
mod claims;
mod client_assertion;
mod discovery;
mod id_token;
mod keys;
mod logout_token;
mod probe;
mod redemption;
mod refresh;
mod request;
mod signature;
mod state;
mod tenant;
mod tenant_metadata;
mod token_answer;
mod transport;
mod user_info;
mod wording;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::{Map, Value};

use crate::config;
use crate::environment::UnixSeconds;

pub use access_token::{AccessToken, AccessTokenFault};
pub use authorization::{AuthorizationResponse, ResponseFault};
pub use claims::{Claims, EmailNotVerified, PROTOCOL_CLAIMS, email_is_verified, session_claims};
pub use discovery::DiscoverySchedule;
pub use logout_token::{LogoutFault, LogoutToken};
pub use probe::{KeyReport, ProviderReport};
pub use refresh::{Granted, Renewing};
pub use request::AuthorizationRequest;
pub use tenant::{TenantFault, issuer_of};

use discovery::Discovered;
use transport::HttpClient;

/// A set of claims by name.
pub type ClaimSet = Map<String, Value>;

/// Every provider of the configuration, in its order.
pub struct RelyingParties(Vec<Arc<RelyingParty>>);

/// The configuration names something that does not work, such as an unreadable authority.
#[derive(Debug, thiserror::Error)]
#[error("provider {provider}: {reason}")]
pub struct SetupFault {
    /// Its name in the configuration.
    pub provider: String,
    /// Expected, found, and what to do.
    pub reason: String,
}

/// The provider cannot be used now; sign-ins get 503.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("provider {provider} is not available: {reason}")]
pub struct ProviderDown {
    /// Its name in the configuration.
    pub provider: String,
    /// For the operator; no secrets.
    pub reason: String,
}

/// Tokens of a sign-in that passed every check.
#[derive(Debug)]
pub struct VerifiedTokens {
    /// Verified claims of the ID token, joined by UserInfo's.
    pub claims: Claims,
    /// The ID token itself, for `id_token_hint`. Never logged.
    pub id_token: config::Secret,
    /// What renews the session (OpenID Connect Core 12), where the provider gave it. Never logged.
    pub refresh_token: Option<config::Secret>,
}

/// Why a code did not become a sign-in.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// Network, 5xx, time-out: the provider's availability. 503.
    #[error(transparent)]
    Down(#[from] ProviderDown),
    /// The token endpoint said no, such as `invalid_grant` for a replayed code. 403.
    #[error("the token endpoint of provider {provider} refused: {error}")]
    Refused {
        /// Its name in the configuration.
        provider: String,
        /// RFC 6749 5.2 error code, cut and cleaned.
        error: String,
    },
    /// The token endpoint does not know us (`invalid_client`, `unauthorized_client`): nobody signs in until the
    /// operator mends the configuration or the registration. 403.
    #[error("the token endpoint of provider {provider} refused this client: {error}; {advice}")]
    ClientRefused {
        /// Its name in the configuration.
        provider: String,
        /// RFC 6749 5.2 error code, cut and cleaned.
        error: String,
        /// What to look at, here and there.
        advice: String,
    },
    /// The signature names a key that is not known, and the provider could not be asked for newer ones: its key set
    /// did not answer, or did a moment ago. 403, since anybody can make up a name.
    #[error("what provider {provider} says of the person cannot be verified now: {reason}")]
    UnknownKey {
        /// Its name in the configuration.
        provider: String,
        /// Expected and found.
        reason: String,
    },
    /// Who signed in is of a tenant that is none of `issuer_tenants`. 403.
    #[error("provider {provider} signed in somebody of another tenant: {reason}")]
    OtherTenant {
        /// Its name in the configuration.
        provider: String,
        /// Expected and found.
        reason: String,
    },
    /// The ID token or UserInfo failed a check; expected and found without claim values. 403.
    #[error("what provider {provider} says of the person is not acceptable: {reason}")]
    Invalid {
        /// Its name in the configuration.
        provider: String,
        /// Which check: expected and found.
        reason: String,
    },
}

/// One provider, and what is known of it now.
pub struct RelyingParty {
    provider: config::Provider,
    /// The redirect URI that is registered at the provider.
    redirect_uri: String,
    /// The post-logout redirect URI that is registered at the provider.
    logout_return: String,
    /// Where people come to whose return address is too long to remember.
    base_path: String,
    claims_in_use: BTreeSet<String>,
    /// Whether sessions are renewed, so that a refresh token is asked for.
    refresh: bool,
    /// Before that nothing is renewed here: it did not answer.
    rests_until: AtomicI64,
    told_of_no_refresh: AtomicBool,
    /// A place for each renewal that may be under way.
    renewals: Arc<tokio::sync::Semaphore>,
    http: HttpClient,
    discovered: ArcSwapOption<Discovered>,
    /// Why there is nothing in `discovered`.
    last_failure: ArcSwap<String>,
    /// Held while the provider is asked for metadata or keys: when keys that a signature lacked were
    /// last asked for.
    key_fetch: tokio::sync::Mutex<Option<UnixSeconds>>,
}

impl RelyingParties {
    /// Prepares every provider; nothing is asked over the network yet.
    ///
    /// # Errors
    /// [`SetupFault`] for what no retry mends.
    pub fn new(config: &config::Config) -> Result<Self, SetupFault> {
        let parties = config.providers.iter().enumerate();
        parties
            .map(|(index, provider)| {
                RelyingParty::new(config, provider, index == 0)
                    .map(Arc::new)
                    .map_err(|reason| SetupFault {
                        provider: provider.name.clone(),
                        reason,
                    })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The provider of that name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<RelyingParty>> {
        self.0.iter().find(|party| party.name() == name)
    }

    /// All, in the configuration's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<RelyingParty>> {
        self.0.iter()
    }

    /// The provider that answers at `callback/NAME`, or at `callback`.
    fn of_callback(&self, name: Option<&str>) -> Option<&Arc<RelyingParty>> {
        match name {
            Some(name) => self.by_name(name),
            None => self.0.first(),
        }
    }
}

impl RelyingParty {
    fn new(
        config: &config::Config,
        provider: &config::Provider,
        first: bool,
    ) -> Result<Self, String> {
        let callback = match first {
            true => "callback".to_owned(),
            false => format!("callback/{}", provider.name),
        };
        discovery::client_secret(provider)?;
        if provider.client_authentication == config::ClientAuthentication::PrivateKeyJwt
            && provider.private_key.is_none()
        {
            return Err("private_key: expected a key to sign by, found none".to_owned());
        }
        Ok(Self {
            redirect_uri: config.server.endpoint_url(&callback),
            logout_return: config.server.endpoint_url("logout/return"),
            base_path: config.server.public_url.base_path().to_owned(),
            claims_in_use: user_info::claims_in_use(config, provider),
            refresh: config.session.refresh,
            rests_until: AtomicI64::new(0),
            told_of_no_refresh: AtomicBool::new(false),
            renewals: refresh::places(),
            http: HttpClient::new(provider)?,
            discovered: ArcSwapOption::empty(),
            last_failure: ArcSwap::from_pointee("it was not asked yet".to_owned()),
            key_fetch: tokio::sync::Mutex::new(None),
            provider: provider.clone(),
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.provider.name
    }

    /// Its configuration.
    pub fn config(&self) -> &config::Provider {
        &self.provider
    }
}
