//! The authorization response (RFC 6749 4.1.2, OpenID Connect Core 3.1.2.5, RFC 9207): its state is
//! checked before the code is used for anything.

use super::RelyingParties;
use crate::environment::UnixSeconds;
use crate::sealing::Sealer;

/// An authorization response whose state was sealed by us, for this browser, for this provider.
/// Only [`AuthorizationResponse::receive`] makes one, so no code is redeemed unchecked.
#[derive(Debug)]
pub struct AuthorizationResponse {
    pub(super) provider: String,
    pub(super) code: String,
    pub(super) nonce: String,
    pub(super) pkce_verifier: String,
    pub(super) return_to: String,
}

/// Why an authorization response is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFault {
    /// Not a response of the protocol: no state, no code, a parameter twice. 400.
    #[error("the authorization response is malformed: {0}")]
    Malformed(&'static str),
    /// The browser has no sign-in cookie. 400 with a link to start again.
    #[error("the sign-in cookie did not come back")]
    NoBinding,
    /// The state is not ours, or for another browser or provider. 400 with a link to start again.
    #[error("the state was not sealed for this browser and provider")]
    ForeignState,
    /// Genuine, but over ten minutes old: go to the address, which starts again.
    #[error("the authorization response is late")]
    Late {
        /// Where the person was going.
        return_to: String,
    },
    /// `iss` is not this provider's (RFC 9207 2.4). 400.
    #[error("the response names another issuer")]
    WrongIssuer,
    /// The provider answered with an error, such as `access_denied`.
    #[error("provider {provider} answered {error}")]
    Denied {
        /// Its name in the configuration.
        provider: String,
        /// RFC 6749 4.1.2.1 error code, cut and cleaned.
        error: String,
        /// Where the person was going.
        return_to: String,
    },
}

impl AuthorizationResponse {
    /// Checks a callback's query. `callback` is the `NAME` of `callback/NAME`, `None` for `callback`
    /// (the first provider's); `binding` is the value of the sign-in cookie.
    ///
    /// # Errors
    /// [`ResponseFault`].
    pub fn receive(
        _query: &str,
        _callback: Option<&str>,
        _binding: Option<&str>,
        _parties: &RelyingParties,
        _sealer: &Sealer,
        _now: UnixSeconds,
    ) -> Result<Self, ResponseFault> {
        todo!()
    }

    /// The provider it came from.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Local path and query where the person was going.
    pub fn return_to(&self) -> &str {
        &self.return_to
    }

    /// Different for each sign-in: the key by which one response opens one session only.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
}
