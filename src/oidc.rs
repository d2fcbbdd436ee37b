//! The relying party: what OpenID Connect Core 1.0, Discovery 1.0 and RP-Initiated Logout 1.0 ask of
//! us, over the `openidconnect` crate. Knows no cookies and no pages.

mod authorization;
mod claims;

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use crate::config;
use crate::environment::{Random, UnixSeconds};
use crate::sealing::Sealer;

pub use authorization::{AuthorizationResponse, ResponseFault};
pub use claims::{Claims, EmailNotVerified, PROTOCOL_CLAIMS, session_claims};

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

/// What a sign-in is started with.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest<'a> {
    /// Local path and query to come back to.
    pub return_to: &'a str,
    /// `prompt=select_account`: the person wants another account.
    pub select_account: bool,
    /// Value of the browser's sign-in cookie; the state is sealed to it.
    pub binding: &'a str,
}

/// Tokens of a sign-in that passed every check.
#[derive(Debug)]
pub struct VerifiedTokens {
    /// Verified claims of the ID token, joined by UserInfo's.
    pub claims: Claims,
    /// The ID token itself, for `id_token_hint`. Never logged.
    pub id_token: config::Secret,
}

/// Why a code did not become a sign-in.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// Network, 5xx, time-out: the provider's availability. 503.
    #[error(transparent)]
    Down(#[from] ProviderDown),
    /// The token endpoint said no, such as `invalid_grant` for a replayed code. 403 unless the
    /// fault is ours (`invalid_client`), which the operator must mend.
    #[error("the token endpoint of provider {provider} refused: {error}")]
    Refused {
        /// Its name in the configuration.
        provider: String,
        /// RFC 6749 5.2 error code, cut and cleaned.
        error: String,
    },
    /// The ID token or UserInfo failed a check; expected and found without claim values. 403.
    #[error("the ID token of provider {provider} is not acceptable: {reason}")]
    Invalid {
        /// Its name in the configuration.
        provider: String,
        /// Which check: expected and found.
        reason: String,
    },
}

/// One provider, and what is known of it now.
pub struct RelyingParty {}

impl RelyingParties {
    /// Prepares every provider; nothing is asked over the network yet.
    ///
    /// # Errors
    /// [`SetupFault`] for what no retry mends.
    pub fn new(_config: &config::Config) -> Result<Self, SetupFault> {
        todo!()
    }

    /// The provider of that name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<RelyingParty>> {
        self.0.iter().find(|party| party.name() == name)
    }

    /// All, in the configuration's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<RelyingParty>> {
        self.0.iter()
    }
}

impl RelyingParty {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        todo!()
    }

    /// Its configuration.
    pub fn config(&self) -> &config::Provider {
        todo!()
    }

    /// Runs for ever: discovers the provider, retries with backoff and jitter, and looks again hourly.
    pub async fn stay_discovered(self: Arc<Self>) {
        todo!()
    }

    /// `Ok` while sign-ins can be started here.
    ///
    /// # Errors
    /// [`ProviderDown`] with the reason.
    pub fn availability(&self) -> Result<(), ProviderDown> {
        todo!()
    }

    /// The URL to send the browser to (OpenID Connect Core 3.1.2.1, RFC 7636): PKCE S256, nonce, and
    /// a state that is sealed to the browser's sign-in cookie.
    ///
    /// # Errors
    /// [`ProviderDown`] before the first discovery.
    pub fn authorization_url(
        &self,
        _request: &AuthorizationRequest<'_>,
        _sealer: &Sealer,
        _random: &dyn Random,
        _now: UnixSeconds,
    ) -> Result<Url, ProviderDown> {
        todo!()
    }

    /// Redeems the code and checks the ID token (OpenID Connect Core 3.1.3); asks UserInfo where the
    /// configuration says so.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub async fn redeem(
        &self,
        _response: &AuthorizationResponse,
        _now: UnixSeconds,
    ) -> Result<VerifiedTokens, TokenFault> {
        todo!()
    }

    /// Where to send the browser to end the provider's session (RP-Initiated Logout 2); `None` where
    /// the provider has no such endpoint or the configuration says `local`.
    pub fn end_session_url(&self, _id_token: Option<&config::Secret>) -> Option<Url> {
        todo!()
    }
}
