//! The authorization response (RFC 6749 4.1.2, OpenID Connect Core 3.1.2.5, RFC 9207): its state is
//! checked before the code is used for anything.

use super::redemption::announces_issuer;
use super::state::{self, SignInState};
use super::wording::error_code;
use super::{RelyingParties, RelyingParty};
use crate::environment::UnixSeconds;
use crate::sealing::{NotOurs, Sealer};

/// An authorization response whose state was sealed by us, for this browser, for this provider.
/// Only [`AuthorizationResponse::receive`] makes one, so no code is redeemed unchecked.
#[derive(Debug)]
pub struct AuthorizationResponse {
    pub(super) provider: String,
    pub(super) code: String,
    pub(super) nonce: String,
    pub(super) pkce_verifier: String,
    pub(super) return_to: String,
    /// `iss`, if it was there (RFC 9207): the provider's, perhaps another tenant's of it.
    pub(super) issuer: Option<String>,
}

/// Longest query that is looked at, in bytes.
const QUERY_CAP: usize = 16 * 1024;

/// A sign-in that takes longer than so many seconds starts again.
const LIFETIME: UnixSeconds = 600;

/// How far the clocks of two replicas may differ, in seconds.
const CLOCK_TOLERANCE: UnixSeconds = 60;

/// Why an authorization response is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFault {
    /// Not a response of the protocol: no state, no code, a parameter twice. 400.
    #[error("the authorization response is malformed: {0}")]
    Malformed(&'static str),
    /// The browser has no sign-in cookie. 400 with a link to start again.
    #[error("the sign-in cookie did not come back")]
    NoBinding,
    /// The state is not ours, or for another provider. 400 with a link to start again.
    #[error("the state was not sealed here for this provider")]
    ForeignState,
    /// The state is ours, but bound to another value of the sign-in cookie: another browser's, or
    /// overwritten by a tab that was opened at the same moment. Nothing but the address is used: the
    /// sign-in starts again, a few times.
    #[error("the state was sealed for another sign-in cookie")]
    OtherBinding {
        /// Its name in the configuration.
        provider: String,
        /// Where the person was going.
        return_to: String,
        /// How often the sign-in had been started again for this reason.
        restarts: u8,
    },
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
        query: &str,
        callback: Option<&str>,
        binding: Option<&str>,
        parties: &RelyingParties,
        sealer: &Sealer,
        now: UnixSeconds,
    ) -> Result<Self, ResponseFault> {
        let parameters = Parameters::read(query)?;
        let state = parameters
            .state
            .as_deref()
            .filter(|state| !state.is_empty());
        let state = state.ok_or(ResponseFault::Malformed("it has no state"))?;
        let binding = binding.filter(|binding| !binding.is_empty());
        let binding = binding.ok_or(ResponseFault::NoBinding)?;
        let state =
            SignInState::open(state, sealer).map_err(|NotOurs| ResponseFault::ForeignState)?;
        let party = parties
            .of_callback(callback)
            .filter(|party| party.name() == state.provider)
            .ok_or(ResponseFault::ForeignState)?;
        if state.binding != binding {
            return Err(ResponseFault::OtherBinding {
                provider: state.provider,
                return_to: state.return_to,
                restarts: state.restarts,
            });
        }
        let age = now.saturating_sub(state.started_at);
        if !(-CLOCK_TOLERANCE..=LIFETIME).contains(&age) {
            return Err(ResponseFault::Late {
                return_to: state.return_to,
            });
        }
        party.check_issuer(parameters.iss.as_deref())?;
        if let Some(error) = parameters.error {
            return Err(ResponseFault::Denied {
                provider: state.provider,
                error: error_code(&error),
                return_to: state.return_to,
            });
        }
        let code = parameters.code.filter(|code| !code.is_empty());
        Ok(Self {
            code: code.ok_or(ResponseFault::Malformed("it has no code"))?,
            nonce: state::text(&state.nonce),
            pkce_verifier: state::text(&state.pkce_verifier),
            provider: state.provider,
            return_to: state.return_to,
            issuer: parameters.iss,
        })
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

/// The parameters that the protocol defines; others are ignored (RFC 6749 4.1.2).
#[derive(Default)]
struct Parameters {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    error_uri: Option<String>,
    session_state: Option<String>,
}

impl Parameters {
    /// Decodes a query; RFC 6749 3.1: a parameter must not be included more than once.
    fn read(query: &str) -> Result<Self, ResponseFault> {
        if query.len() > QUERY_CAP {
            return Err(ResponseFault::Malformed("it is longer than 16 KiB"));
        }
        let mut read = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "state" => &mut read.state,
                "code" => &mut read.code,
                "iss" => &mut read.iss,
                "error" => &mut read.error,
                "error_description" => &mut read.error_description,
                "error_uri" => &mut read.error_uri,
                "session_state" => &mut read.session_state,
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(ResponseFault::Malformed("a parameter stands twice"));
            }
        }
        Ok(read)
    }
}

impl RelyingParty {
    /// RFC 9207 2.4. Before the first discovery nobody knows whether the provider names itself;
    /// redeeming a code checks it again.
    fn check_issuer(&self, found: Option<&str>) -> Result<(), ResponseFault> {
        let announced = || {
            self.discovered()
                .is_ok_and(|known| announces_issuer(&known))
        };
        match found {
            Some(issuer) if self.may_be_named(issuer) => Ok(()),
            None if !announced() => Ok(()),
            Some(_) | None => Err(ResponseFault::WrongIssuer),
        }
    }
}
