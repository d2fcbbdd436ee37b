//! Renewing what a provider says of a person with its refresh token (OpenID Connect Core 12, RFC 6749 6).
//! In two steps, since a rotated token must be kept before anything else can fail.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::RefreshToken;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::id_token::{self, ExpectedNonce};
use super::redemption::secret_of;
use super::signature::claim_set;
use super::token_answer::TokenAnswer;
use super::transport::Observed;
use super::{ClaimSet, RelyingParty, TokenFault, VerifiedTokens};
use crate::config;
use crate::environment::{Random, UnixSeconds};

/// How long claims hold that come without any time.
const UNTOLD: UnixSeconds = 3600;

/// How long a provider that did not answer is not asked to renew anything, in seconds.
const REST: UnixSeconds = 5;

/// Renewals that are under way at one provider: a slow one must not take the descriptors that people's connections need.
const MOST_RENEWALS: usize = 64;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// Places for renewals.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_RENEWALS))
}

/// What a session holds of the provider's.
#[derive(Debug)]
pub struct Renewing<'a> {
    /// The newest refresh token.
    pub refresh_token: &'a config::Secret,
    /// The newest ID token: verified when it came, and kept sealed since.
    pub id_token: &'a config::Secret,
    /// The nonce of the authorization request.
    pub nonce: &'a str,
}

/// The provider's answer to a refresh token; nothing in it is verified yet. It keeps its place until it is.
#[derive(Debug)]
pub struct Granted(
    TokenAnswer,
    #[expect(dead_code, reason = "held")] OwnedSemaphorePermit,
);

impl Granted {
    /// The refresh token that takes the place of the one used, where the provider rotates them.
    pub fn rotated(&self) -> Option<config::Secret> {
        self.0.refresh_token.as_ref().map(secret_of)
    }
}

impl RelyingParty {
    /// Whether nobody has asked before: it is worth a line of the log once.
    pub fn is_first_without_refresh_token(&self) -> bool {
        !self.told_of_no_refresh.swap(true, Ordering::Relaxed)
    }

    /// Spends the refresh token (RFC 6749 6).
    ///
    /// # Errors
    /// [`TokenFault::Refused`] with `invalid_grant` where the provider has ended the grant; [`TokenFault::Down`]
    /// where it said nothing of it.
    pub async fn refresh(
        &self,
        renewing: &Renewing<'_>,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<Granted, TokenFault> {
        if now < self.rests_until.load(Ordering::Relaxed) {
            let reason = "it did not answer a moment ago, so it is left alone";
            return Err(self.down(reason).into());
        }
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.renewals).acquire_owned());
        let Ok(Ok(place)) = turn.await else {
            let reason = format!("{MOST_RENEWALS} renewals wait for its answers");
            return Err(self.down(reason).into());
        };
        let granted = self
            .spend(renewing, random, now)
            .await
            .map(|answer| Granted(answer, place));
        if let Err(TokenFault::Down(_)) = &granted {
            self.rests_until.store(now + REST, Ordering::Relaxed);
        }
        granted
    }

    async fn spend(
        &self,
        renewing: &Renewing<'_>,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenFault> {
        let discovered = self.discovered()?;
        let token = String::from_utf8_lossy(renewing.refresh_token.expose()).into_owned();
        let token = RefreshToken::new(token);
        let http = Observed::new(&self.http);
        let mut request = discovered
            .client
            .exchange_refresh_token(&token)
            .map_err(|_| self.down("the discovery document names no token_endpoint"))?;
        for (name, value) in self.client_assertion(&discovered, random, now)? {
            request = request.add_extra_param(name, value);
        }
        request
            .request_async(&http)
            .await
            .map_err(|error| self.token_fault(&discovered, error, &http.last()))
    }

    /// What the provider says of the person now: the claims of the new ID token or, where there is none, of the
    /// former one, joined by UserInfo's.
    ///
    /// # Errors
    /// [`TokenFault`]; a new ID token names the same person (OpenID Connect Core 12.2).
    pub async fn renewed(
        &self,
        granted: &Granted,
        renewing: &Renewing<'_>,
        now: UnixSeconds,
    ) -> Result<VerifiedTokens, TokenFault> {
        let now = now.clamp(0, id_token::LAST_TIME);
        let discovered = self.discovered()?;
        let former = former_claims(renewing.id_token)
            .ok_or_else(|| self.invalid("the former ID token cannot be read"))?;
        let (set, expires_at) = match &granted.0.id_token {
            Some(id_token) => {
                let nonce = ExpectedNonce::IfAny(renewing.nonce);
                let (set, expires_at) = self.id_token_claims(id_token, nonce, now).await?;
                for name in ["iss", "sub"] {
                    if set.get(name) != former.get(name) {
                        let reason = format!("`{name}`: expected this session's, found another");
                        return Err(self.invalid(reason));
                    }
                }
                (set, expires_at)
            }
            None => {
                let lives = granted.0.expires_in.map(|seconds| seconds as UnixSeconds);
                let lives = lives.unwrap_or(UNTOLD).min(id_token::LAST_TIME - now);
                (former, now + lives)
            }
        };
        let claims = self
            .completed(&discovered, &granted.0.access_token, set, expires_at, now)
            .await?;
        let id_token = match &granted.0.id_token {
            Some(id_token) => config::Secret::new(id_token.as_str()),
            None => renewing.id_token.clone(),
        };
        Ok(VerifiedTokens {
            claims,
            id_token,
            refresh_token: granted.rotated(),
        })
    }
}

/// The claims of an ID token that was verified before.
fn former_claims(id_token: &config::Secret) -> Option<ClaimSet> {
    let text = std::str::from_utf8(id_token.expose()).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
    claim_set(&payload).ok()
}
