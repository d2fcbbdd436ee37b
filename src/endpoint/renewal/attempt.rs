//! One renewal: the lease, the provider's answer, the mapping and the new token, or what is done without them.

use std::time::Duration;

use super::PATIENCE;
use crate::endpoint::Endpoints;
use crate::environment::{UnixSeconds, random_text};
use crate::oidc::{ClaimSet, Renewing, TokenFault, VerifiedTokens, session_claims};
use crate::provisioning::{self, Account};
use crate::sealing::Purpose;
use crate::session::{Due, Renewed};
use crate::store::{Claim, Claimed};
use crate::telemetry::RequestId;

/// How often the store is asked whether another node is done.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The first pause after a renewal that was put off, in seconds; doubled from one to the next.
const FIRST_PAUSE: i64 = 10;
/// The longest.
const LONGEST_PAUSE: i64 = 600;
/// What a token outlives the pause by, so that it is renewed before it ends.
const BEYOND_PAUSE: i64 = 30;

/// Why no session of a provider goes on whose name the file does not have.
const PROVIDER_IS_GONE: &str =
    "no [[providers]] entry has this name; put it back for as long as they are to go on";

/// What came of a renewal.
pub(super) enum Outcome {
    /// This token takes the old one's place.
    Newer(String),
    /// The old token is all there is for now.
    Unchanged,
    /// The session has ended.
    Ended,
}

impl Endpoints {
    /// Renews a session, or says why not.
    pub(super) async fn renew(&self, due: &Due, id: RequestId) -> Outcome {
        let _under_way = self.renewals.read().await;
        let sid = &*due.genuine.sid;
        let claimed = match self.claimed(due, id).await {
            Ok(claimed) => claimed,
            Err(outcome) => return outcome,
        };
        let renewal = due.liveness.renewal();
        let held = claimed.held.token.as_deref();
        let held = held.and_then(|sealed| {
            self.sessions
                .kept_token(sid, sealed, &self.sealer, self.clock.now())
        });
        // Another node renewed it since, and this browser has not brought its token yet.
        if let Some((token, expires_at)) = held
            && expires_at > due.genuine.expires_at
            && expires_at > self.clock.now()
        {
            self.give_back(sid, &claimed).await;
            let rules = Some(&*claimed.held.rules);
            self.sessions
                .acquaint(&token, &due.former, rules, self.clock.now());
            renewal.offer(token.clone());
            return Outcome::Newer(token);
        }
        match self.asked_provider(due, &claimed, id).await {
            Ok(token) => {
                self.metrics.renewal(&claimed.provider, "renewed");
                tracing::debug!(%id, provider = claimed.provider, "renewed a session");
                renewal.made(token.clone());
                Outcome::Newer(token)
            }
            Err(Unrenewed::Later(reason)) => {
                self.metrics.renewal(&claimed.provider, "put-off");
                self.put_off(due, Some(&claimed), id, &reason).await
            }
            Err(Unrenewed::Never(reason)) => {
                self.metrics.renewal(&claimed.provider, "ended");
                tracing::info!(%id, provider = claimed.provider, user = claimed.user, %reason, "a session is not renewed, so it ends");
                self.sessions.end_here(sid, self.clock.now()).await;
                Outcome::Ended
            }
            Err(Unrenewed::Overtaken) => self.overtaken(due).await,
            Err(Unrenewed::Impossible(reason)) => {
                let now = self.clock.now();
                if self.unrenewable.is_news(&claimed.provider, reason, now) {
                    tracing::error!(%id, provider = claimed.provider, %reason, "sessions of this provider cannot be renewed: each ends with its token, and its person signs in again");
                }
                renewal.rest_until(due.genuine.expires_at);
                self.give_back(sid, &claimed).await;
                Outcome::Unchanged
            }
        }
    }

    /// What whoever was quicker left.
    async fn overtaken(&self, due: &Due) -> Outcome {
        let sid = &*due.genuine.sid;
        match self.store.newest_token(sid).await {
            Ok(Some((sealed, _))) => {
                let now = self.clock.now();
                let kept = self.sessions.kept_token(sid, &sealed, &self.sealer, now);
                match kept.filter(|(_, expires_at)| *expires_at > now) {
                    Some((token, _)) => {
                        due.liveness.renewal().offer(token.clone());
                        Outcome::Newer(token)
                    }
                    None => Outcome::Unchanged,
                }
            }
            Ok(None) => {
                due.liveness.end();
                Outcome::Ended
            }
            Err(error) => {
                self.sessions.store_answers(Err(&error));
                Outcome::Unchanged
            }
        }
    }

    /// Claims the renewal over all nodes, or takes what another node makes of it.
    async fn claimed(&self, due: &Due, id: RequestId) -> Result<Box<Claimed>, Outcome> {
        let sid = &*due.genuine.sid;
        let lease = random_text::<12>(&*self.random);
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let now = self.clock.now();
            match self.store.claim_renewal(sid, &lease, now).await {
                Ok(Claim::Ours(claimed)) => return Ok(claimed),
                Ok(Claim::Ended) => {
                    due.liveness.end();
                    return Err(Outcome::Ended);
                }
                Ok(Claim::Theirs) if due.live.is_some() => return Err(Outcome::Unchanged),
                Ok(Claim::Theirs) if tokio::time::Instant::now() < end => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Ok(Claim::Theirs) => {
                    let reason = "another node has not finished";
                    return Err(self.put_off(due, None, id, &reason).await);
                }
                Err(error) => {
                    self.sessions.store_answers(Err(&error));
                    return Err(self.put_off(due, None, id, &error).await);
                }
            }
        }
    }

    async fn asked_provider(
        &self,
        due: &Due,
        claimed: &Claimed,
        id: RequestId,
    ) -> Result<String, Unrenewed> {
        let sid = &*due.genuine.sid;
        let party = self.parties.by_name(&claimed.provider);
        let party = party.ok_or(Unrenewed::Impossible(PROVIDER_IS_GONE))?;
        let (refresh_token, id_token) = self.opened(due.liveness.renewal(), sid, claimed)?;
        let renewing = Renewing {
            refresh_token: &refresh_token,
            id_token: &id_token,
            nonce: &claimed.nonce,
        };
        let granted = party
            .refresh(&renewing, &*self.random, self.clock.now())
            .await?;
        if let Some(rotated) = granted.rotated() {
            let former = claimed.held.refresh_token.clone();
            self.keep(due.liveness.renewal(), sid, rotated, former)
                .await;
        }
        let now = self.clock.now();
        let tokens = party.renewed(&granted, &renewing, now).await?;
        let claims = session_claims(tokens.claims.set(), party.config(), &self.config.session)
            .map_err(|fault| Unrenewed::Never(fault.to_string()))?;
        let account = self.account_of(&tokens, &claims, claimed, id).await?;
        let renewed = Renewed {
            account: &account,
            tokens: &tokens,
            session_claims: claims,
        };
        let (opened, held) = self
            .sessions
            .renew(sid, claimed, renewed, &self.sealer, &*self.random, now)
            .map_err(|error| Unrenewed::Never(error.to_string()))?;
        self.sessions
            .acquaint(&opened.token, &due.former, Some(&held.rules), now);
        match self
            .store
            .settle_renewal(sid, &claimed.lease, &held, now)
            .await
        {
            Ok(true) => Ok(opened.token),
            Ok(false) => Err(Unrenewed::Overtaken),
            Err(error) => {
                // The token is as good as recorded: the next renewal records another.
                self.sessions.store_answers(Err(&error));
                Ok(opened.token)
            }
        }
    }

    /// The user as the directory has it now: still the session's, and still let in.
    async fn account_of(
        &self,
        tokens: &VerifiedTokens,
        claims: &ClaimSet,
        claimed: &Claimed,
        id: RequestId,
    ) -> Result<Account, Unrenewed> {
        let now = self.clock.now();
        let provisioned = self
            .provisioning
            .provision(&tokens.claims, claims, id, now)
            .await;
        let account = match provisioned {
            Ok(account) => account,
            Err(provisioning::Error::Store(error)) => {
                self.sessions.store_answers(Err(&error));
                return Err(Unrenewed::Later(error.to_string()));
            }
            Err(provisioning::Error::Refused(refusal)) => {
                self.metrics
                    .provisioning(&refusal.directory, refusal.outcome.as_str());
                return Err(Unrenewed::Never(refusal.to_string()));
            }
        };
        self.metrics
            .provisioning(&account.user().directory, account.outcome().as_str());
        match account.user().id == claimed.user {
            true => Ok(account),
            false => {
                let reason = "the identity belongs to another user now";
                Err(Unrenewed::Never(reason.to_owned()))
            }
        }
    }

    /// Nothing can be learned of the session now, so nothing changes: its token is made to last until the next
    /// try, but never beyond the session's end.
    async fn put_off(
        &self,
        due: &Due,
        claimed: Option<&Claimed>,
        id: RequestId,
        reason: &impl std::fmt::Display,
    ) -> Outcome {
        let (sid, renewal, now) = (&*due.genuine.sid, due.liveness.renewal(), self.clock.now());
        let times = renewal.put_off().min(16);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << (times - 1))
            .min(LONGEST_PAUSE);
        let mut byte = [0];
        self.random.fill(&mut byte);
        // Three quarters to five quarters of it, so that sessions do not come back all at once.
        let pause = pause * 3 / 4 + pause * i64::from(byte[0]) / 512;
        renewal.rest_until(now + pause);
        tracing::warn!(%id, %reason, pause, "the renewal of a session is put off");
        let expires_at = (now + pause + BEYOND_PAUSE).min(due.renewable_until);
        let extended = match expires_at > due.genuine.expires_at {
            true => self
                .sessions
                .extend(&due.genuine.claims, expires_at, &*self.random, now)
                .ok(),
            false => None,
        };
        if let Some(claimed) = claimed {
            self.settle_put_off(sid, claimed, extended.as_deref(), expires_at)
                .await;
        }
        match extended {
            Some(token) => {
                self.sessions.acquaint(&token, &due.former, None, now);
                renewal.offer(token.clone());
                Outcome::Newer(token)
            }
            None => Outcome::Unchanged,
        }
    }

    async fn settle_put_off(
        &self,
        sid: &str,
        claimed: &Claimed,
        extended: Option<&str>,
        expires_at: UnixSeconds,
    ) {
        let Some(token) = extended else {
            return self.give_back(sid, claimed).await;
        };
        let mut held = claimed.held.clone();
        let (context, plain) = (sid.as_bytes(), token.as_bytes());
        let sealed = self
            .sealer
            .seal(Purpose::SessionToken, context, plain, &*self.random);
        (held.token, held.token_expires_at) = (Some(sealed), expires_at);
        let settled = self
            .store
            .settle_renewal(sid, &claimed.lease, &held, self.clock.now())
            .await;
        if let Err(error) = settled {
            self.sessions.store_answers(Err(&error));
        }
    }

    /// Lets others renew it; where the store does not answer, the lease ends by itself.
    async fn give_back(&self, sid: &str, claimed: &Claimed) {
        if let Err(error) = self.store.release_renewal(sid, &claimed.lease).await {
            self.sessions.store_answers(Err(&error));
        }
    }
}

/// Why a session was not renewed.
pub(super) enum Unrenewed {
    /// Nothing was said of it; it is tried again.
    Later(String),
    /// It has to end.
    Never(String),
    /// It goes on until its token ends.
    Impossible(&'static str),
    /// It was ended meanwhile, or took so long that another node renewed it.
    Overtaken,
}

impl From<TokenFault> for Unrenewed {
    fn from(fault: TokenFault) -> Self {
        match &fault {
            TokenFault::Down(_)
            | TokenFault::UnknownKey { .. }
            | TokenFault::ClientRefused { .. } => Self::Later(fault.to_string()),
            // Whatever else the provider refuses is about us, not about the person (RFC 6749 5.2).
            TokenFault::Refused { error, .. } if error != "invalid_grant" => {
                Self::Later(fault.to_string())
            }
            TokenFault::Refused { .. }
            | TokenFault::Invalid { .. }
            | TokenFault::OtherTenant { .. } => Self::Never(fault.to_string()),
        }
    }
}
