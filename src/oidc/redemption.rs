//! From an authorization code to verified claims (OpenID Connect Core 3.1.3): the token request, the
//! ID token, UserInfo where it is asked for.

use std::sync::Arc;

use openidconnect::core::CoreErrorResponseType;
use openidconnect::{
    AccessToken, AuthorizationCode, PkceCodeVerifier, RefreshToken, RequestTokenError,
    StandardErrorResponse,
};

use super::id_token::{self, Expected, ExpectedNonce};
use super::signature::{ANY_JWT, SignatureFault, Signed, Trusted};
use super::tenant::issuer_of;
use super::token_answer::TokenAnswer;
use super::transport::{Answered, HttpFault, Observed};
use super::wording::error_code;
use super::{
    AuthorizationResponse, ClaimSet, Claims, Discovered, RelyingParty, TokenFault, VerifiedTokens,
    user_info,
};
use crate::config::{self, ClientAuthentication};
use crate::environment::{Random, UnixSeconds, random_text};

impl RelyingParty {
    /// Redeems the code and checks the ID token (OpenID Connect Core 3.1.3); asks UserInfo where the
    /// configuration says so.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub async fn redeem(
        &self,
        response: &AuthorizationResponse,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<VerifiedTokens, TokenFault> {
        let now = now.clamp(0, id_token::LAST_TIME);
        let discovered = self.discovered()?;
        self.check_response(&discovered, response)?;
        let code = [&*response.code, &*response.pkce_verifier];
        let answer = self.exchange(&discovered, code, random, now).await?;
        let id_token = answer.id_token.as_deref().ok_or_else(|| {
            self.invalid("expected an ID token in the token response, found none")
        })?;
        let nonce = ExpectedNonce::Always(&response.nonce);
        let (set, expires_at) = self.id_token_claims(id_token, nonce, now).await?;
        let claims = self
            .completed(&discovered, &answer.access_token, set, expires_at, now)
            .await?;
        self.check_named(response.issuer.as_deref(), claims.issuer())?;
        Ok(VerifiedTokens {
            claims,
            id_token: config::Secret::new(id_token),
            refresh_token: answer.refresh_token.as_ref().map(secret_of),
        })
    }

    /// What a verified ID token says, and its `exp`.
    pub(super) async fn id_token_claims(
        &self,
        id_token: &str,
        nonce: ExpectedNonce<'_>,
        now: UnixSeconds,
    ) -> Result<(ClaimSet, UnixSeconds), TokenFault> {
        let (signed, issuer) = self.verify_of_tenant(id_token, ANY_JWT, now).await?;
        let expires_at = Expected {
            issuer,
            client_id: &self.provider.client_id,
            nonce,
            now,
            skew: self.skew(),
        }
        .check(&signed)
        .map_err(|reason| self.invalid(reason))?;
        Ok((signed.payload, expires_at))
    }

    /// The claims of an ID token, joined by UserInfo's where the configuration says so.
    pub(super) async fn completed(
        &self,
        discovered: &Discovered,
        access_token: &AccessToken,
        mut set: ClaimSet,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Claims, TokenFault> {
        let issuer = issuer_of(&self.provider, &set).map_err(|fault| self.tenant_fault(fault))?;
        let subject = id_token::subject(&set, &self.provider.subject_claim)
            .map_err(|reason| self.invalid(reason))?
            .to_owned();
        if user_info::is_wanted(&self.provider, &self.claims_in_use, &set) {
            let more = self
                .user_info(discovered, access_token, &set, issuer, now)
                .await?;
            user_info::join(&mut set, more);
        }
        Ok(Claims {
            provider: self.name().to_owned(),
            issuer: issuer.to_owned(),
            subject,
            expires_at,
            set,
        })
    }

    /// What could not be checked when the response came: it may have come before the first discovery.
    fn check_response(
        &self,
        discovered: &Discovered,
        response: &AuthorizationResponse,
    ) -> Result<(), TokenFault> {
        if response.provider != self.name() {
            return Err(self.invalid("the authorization response is another provider's"));
        }
        if response.issuer.is_none() && announces_issuer(discovered) {
            return Err(self.invalid("the authorization response names no issuer"));
        }
        Ok(())
    }

    async fn exchange(
        &self,
        discovered: &Discovered,
        [code, verifier]: [&str; 2],
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenFault> {
        let http = Observed::new(&self.http);
        let mut request = discovered
            .client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| self.down("the discovery document names no token_endpoint"))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()));
        for (name, value) in self.client_assertion(discovered, random, now)? {
            request = request.add_extra_param(name, value);
        }
        request
            .request_async(&http)
            .await
            .map_err(|error| self.token_fault(discovered, error, &http.last()))
    }

    /// Asks the token endpoint for what a code gives that nobody gave out: whether it knows us (RFC 6749 5.2).
    ///
    /// # Errors
    /// Always, by a provider that can be trusted: [`TokenFault::ClientRefused`] where it does not.
    pub(super) async fn redeem_made_up(
        &self,
        discovered: &Discovered,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<(), TokenFault> {
        let [code, verifier] = [random_text::<32>(random), random_text::<32>(random)];
        let answer = self.exchange(discovered, [&code, &verifier], random, now);
        answer.await.map(drop)
    }

    /// The crate's error holds the answer's body: nothing of it but the error code is kept.
    pub(super) fn token_fault(
        &self,
        discovered: &Discovered,
        error: RequestTokenError<HttpFault, StandardErrorResponse<CoreErrorResponseType>>,
        last: &Answered,
    ) -> TokenFault {
        let status = last.status.unwrap_or_default();
        match error {
            RequestTokenError::Request(fault) => self.down(fault.to_string()).into(),
            RequestTokenError::ServerResponse(refusal) if is_passing(status, refusal.error()) => {
                self.down(format!("{} answered {status}", last.url)).into()
            }
            RequestTokenError::ServerResponse(refusal) => {
                self.refused(discovered, refusal.error().as_ref())
            }
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => self
                .down(format!(
                    "{}: expected a token response (application/json), found another answer with \
                     status {status}",
                    last.url
                ))
                .into(),
        }
    }

    fn refused(&self, discovered: &Discovered, error: &str) -> TokenFault {
        let (provider, error) = (self.name().to_owned(), error_code(error));
        match self.client_advice(&discovered.metadata, &error) {
            None => TokenFault::Refused { provider, error },
            Some(advice) => TokenFault::ClientRefused {
                provider,
                error,
                advice,
            },
        }
    }

    /// Verifies a JWT of that issuer of the provider, whose `typ` is one of `types` if it has one, with newer keys
    /// where the known ones do not fit.
    pub(super) async fn verify_typed(
        &self,
        jwt: &str,
        types: &[&str],
        issuer: &str,
        now: UnixSeconds,
    ) -> Result<Signed, TokenFault> {
        let known = self.discovered()?;
        let reason = match self.trusted(&known, issuer).verify(jwt, types) {
            Ok(signed) => return Ok(signed),
            Err(SignatureFault::Invalid(reason)) => return Err(self.invalid(reason)),
            Err(SignatureFault::WrongKey(reason)) => (reason, false),
            Err(SignatureFault::NoKey(reason)) => (reason, true),
        };
        let newer: Option<Arc<Discovered>> = self.newer_keys(&known.keys, now).await;
        let newer = newer.ok_or_else(|| match reason {
            (reason, false) => self.invalid(reason),
            // The key may be new, and nobody could be asked for it.
            (reason, true) => TokenFault::UnknownKey {
                provider: self.name().to_owned(),
                reason,
            },
        })?;
        let verified = self.trusted(&newer, issuer).verify(jwt, types);
        verified.map_err(|fault| self.invalid(fault.reason()))
    }

    fn trusted<'a>(&'a self, discovered: &'a Discovered, issuer: &'a str) -> Trusted<'a> {
        let secret = match self.provider.client_authentication {
            ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt => None,
            ClientAuthentication::Basic | ClientAuthentication::Post => {
                self.provider.client_secret.as_ref()
            }
        };
        Trusted {
            keys: &discovered.keys,
            issuer,
            secret: secret.map(config::Secret::expose),
            algorithms: &self.provider.algorithms,
        }
    }

    pub(super) fn invalid(&self, reason: impl Into<String>) -> TokenFault {
        TokenFault::Invalid {
            provider: self.name().to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn skew(&self) -> UnixSeconds {
        skew(&self.provider)
    }
}

/// Tolerated difference of clocks, in seconds.
pub(super) fn skew(provider: &config::Provider) -> UnixSeconds {
    UnixSeconds::try_from(provider.clock_skew.as_secs())
        .unwrap_or(id_token::LAST_TIME)
        .min(id_token::LAST_TIME)
}

/// Whether another try may succeed: nothing was said of the grant.
fn is_passing(status: u16, error: &CoreErrorResponseType) -> bool {
    let named = matches!(
        error.as_ref(),
        "temporarily_unavailable" | "server_error" | "slow_down"
    );
    status >= 500 || status == 429 || named
}

pub(super) fn secret_of(token: &RefreshToken) -> config::Secret {
    config::Secret::new(token.secret().as_str())
}

/// RFC 9207 3.
pub(super) fn announces_issuer(discovered: &Discovered) -> bool {
    discovered
        .metadata
        .additional_metadata()
        .authorization_response_iss_parameter_supported
        .unwrap_or_default()
}
