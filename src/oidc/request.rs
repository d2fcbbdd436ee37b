//! Where browsers are sent: the authorization request (OpenID Connect Core 3.1.2.1, RFC 7636) and the
//! logout request (RP-Initiated Logout 2).

use openidconnect::core::CoreAuthenticationFlow;
use openidconnect::{
    ClientId, CsrfToken, LogoutRequest, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    PostLogoutRedirectUrl, Scope,
};
use url::Url;

use super::state::{self, RETURN_ADDRESS_CAP, SignInState};
use super::{ProviderDown, RelyingParty};
use crate::config;
use crate::environment::{Random, UnixSeconds, random_text};
use crate::sealing::Sealer;

/// Longest `id_token_hint`, in bytes: a URL over 8 KB is refused by many servers, and the provider
/// can ask the person instead.
const HINT_CAP: usize = 6 * 1024;

/// OpenID Connect Core 11.
pub(super) const OFFLINE_ACCESS: &str = "offline_access";

/// What a sign-in is started with.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest<'a> {
    /// Local path and query to come back to; over 1.5 KB people come to the base path.
    pub return_to: &'a str,
    /// `prompt=select_account`: the person wants another account.
    pub select_account: bool,
    /// Value of the browser's sign-in cookie; the state is sealed to it.
    pub binding: &'a str,
    /// How often this sign-in was started again because its cookie had been overwritten.
    pub restarts: u8,
}

impl RelyingParty {
    /// The URL to send the browser to (OpenID Connect Core 3.1.2.1, RFC 7636): PKCE S256, nonce, and
    /// a state that is sealed to the browser's sign-in cookie.
    ///
    /// # Errors
    /// [`ProviderDown`] before the first discovery.
    pub fn authorization_url(
        &self,
        request: &AuthorizationRequest<'_>,
        sealer: &Sealer,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<Url, ProviderDown> {
        let discovered = self.discovered()?;
        let sign_in = self.sign_in_state(request, random, now);
        let verifier = PkceCodeVerifier::new(state::text(&sign_in.pkce_verifier));
        let nonce = Nonce::new(state::text(&sign_in.nonce));
        let sealed = CsrfToken::new(sign_in.sealed(sealer, random));
        let scopes = self.scopes(discovered.lists_offline_access());
        let mut url = discovered
            .client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || sealed,
                || nonce,
            )
            .add_scopes(scopes.map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for (name, value) in &self.provider.authorization_parameters {
            if !(request.select_account && name == "prompt") {
                url = url.add_extra_param(name, value);
            }
        }
        if request.select_account {
            url = url.add_extra_param("prompt", "select_account");
        }
        Ok(url.url().0)
    }

    /// The scopes of the configuration, and the one that a refresh token needs (OpenID Connect Core 11), where
    /// sessions are renewed. The crate adds `openid` itself.
    fn scopes(&self, offline_access_is_listed: bool) -> impl Iterator<Item = String> {
        let configured = &self.provider.scopes;
        let more = self.refresh
            && offline_access_is_listed
            && !configured.iter().any(|scope| scope == OFFLINE_ACCESS);
        let configured = configured.iter().filter(|scope| *scope != "openid");
        let more = more.then(|| OFFLINE_ACCESS.to_owned());
        configured
            .cloned()
            .chain(more)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn sign_in_state(
        &self,
        request: &AuthorizationRequest<'_>,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> SignInState {
        let return_to = match request.return_to.len() > RETURN_ADDRESS_CAP {
            true => &self.base_path,
            false => request.return_to,
        };
        let mut state = SignInState {
            provider: self.name().to_owned(),
            nonce: [0; 32],
            pkce_verifier: [0; 32],
            return_to: return_to.to_owned(),
            started_at: now,
            binding: request.binding.to_owned(),
            restarts: request.restarts,
        };
        random.fill(&mut state.nonce);
        random.fill(&mut state.pkce_verifier);
        state
    }

    /// Where to send the browser to end the provider's session (RP-Initiated Logout 2); `None` where
    /// the provider has no such endpoint or the configuration says `local`.
    pub fn end_session_url(
        &self,
        id_token: Option<&config::Secret>,
        random: &dyn Random,
    ) -> Option<Url> {
        if !self.provider.end_provider_session {
            return None;
        }
        let discovered = self.discovered().ok()?;
        let announced = discovered.metadata.additional_metadata();
        let endpoint = announced.end_session_endpoint.clone()?;
        let back = PostLogoutRedirectUrl::new(self.logout_return.clone()).ok()?;
        let mut url = LogoutRequest::from(endpoint)
            .set_client_id(ClientId::new(self.provider.client_id.clone()))
            .set_post_logout_redirect_uri(back)
            // Some providers ask for one; the way back does nothing that it would have to guard.
            .set_state(CsrfToken::new(random_text::<16>(random)))
            .http_get_url();
        let hint = id_token.and_then(|token| std::str::from_utf8(token.expose()).ok());
        if let Some(hint) = hint.filter(|hint| hint.len() <= HINT_CAP) {
            url.query_pairs_mut().append_pair("id_token_hint", hint);
        }
        Some(url)
    }
}
