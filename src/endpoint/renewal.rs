//! Renewing a session with the provider's refresh token while the person works (OpenID Connect Core 12): ahead of
//! the token's end beside the request, after it before the request goes on. What the provider ends, ends; what it
//! cannot be asked now is put off.
//!
//! One renewal of a session is in flight over all nodes, and whoever waits shares its result.

use std::sync::Arc;
use std::time::Duration;

use super::Endpoints;
use crate::config::Secret;
use crate::environment::{UnixSeconds, random_text};
use crate::oidc::{Renewing, TokenFault, session_claims};
use crate::provisioning;
use crate::rejection::{Kind, Rejection};
use crate::sealing::Purpose;
use crate::session::{Cause, Due, Renewal, Renewed, Session, Sighting};
use crate::store::{Claim, Claimed};
use crate::telemetry::RequestId;

/// How long a request waits for a renewal that another one makes: longer than a provider may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the store is asked whether another node is done.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The first pause after a renewal that was put off, in seconds; doubled from one to the next.
const FIRST_PAUSE: i64 = 10;
/// The longest.
const LONGEST_PAUSE: i64 = 600;
/// What a token outlives the pause by, so that it is renewed before it ends.
const BEYOND_PAUSE: i64 = 30;
/// Tries to keep a rotated refresh token at once.
const TRIES: usize = 3;

/// A session that a request bore.
#[derive(Debug)]
pub struct Recognised {
    /// The session.
    pub session: Arc<Session>,
    /// Its token; not the request's where a newer one takes its place.
    pub token: String,
    /// Which of the request's tokens it was.
    pub which: usize,
    /// Whether the browser is to be given the token.
    pub is_newer: bool,
}

/// What came of a renewal.
enum Outcome {
    /// This token takes the old one's place.
    Newer(String),
    /// The old token is all there is for now.
    Unchanged,
    /// The session has ended.
    Ended,
}

impl Endpoints {
    /// The session of a request's tokens, renewed where that is due.
    ///
    /// # Errors
    /// [`Rejection`] where the store cannot say whether a token that has run out may be renewed.
    pub async fn recognise(
        self: &Arc<Self>,
        tokens: Vec<String>,
        id: RequestId,
    ) -> Result<Option<Recognised>, Rejection> {
        let now = self.clock.now();
        let seen = self.sessions.recognise(&tokens, now).await;
        let seen = seen.map_err(|error| Rejection::because(Kind::StoreDown, error))?;
        let Some((sighting, which)) = seen else {
            return Ok(None);
        };
        let token = tokens.into_iter().nth(which).unwrap_or_default();
        let (old, due) = match sighting {
            Sighting::Live(session) => {
                session.arrived(&token);
                let recognised = Recognised {
                    session,
                    token,
                    which,
                    is_newer: false,
                };
                return Ok(Some(recognised));
            }
            Sighting::Due(due) => (due.live.clone(), due),
        };
        let newer = match (self.newer(&due).await, &old) {
            (Some(newer), _) => Some(newer),
            (None, Some(_)) => {
                self.renew_beside(due, id);
                None
            }
            (None, None) => self.renewed_now(&due, id).await,
        };
        let (session, token, is_newer) = match (newer, old) {
            (Some((session, token)), _) => (session, token, true),
            (None, Some(session)) => (session, token, false),
            (None, None) => return Ok(None),
        };
        Ok(Some(Recognised {
            session,
            token,
            which,
            is_newer,
        }))
    }

    /// The session of a request to an endpoint of ours.
    pub(super) async fn live_or_renewed(
        &self,
        tokens: &[String],
        id: RequestId,
    ) -> Option<Arc<Session>> {
        let now = self.clock.now();
        // Without an answer of the store nobody is known to be signed in.
        let (sighting, _) = self.sessions.recognise(tokens, now).await.ok()??;
        match sighting {
            Sighting::Live(session) => Some(session),
            Sighting::Due(due) => match due.live {
                Some(session) => Some(session),
                None => Some(self.renewed_now(&due, id).await?.0),
            },
        }
    }

    /// A newer token that is there already, or needs nobody to be asked.
    async fn newer(&self, due: &Due) -> Option<(Arc<Session>, String)> {
        let renewal = due.liveness.renewal();
        if due.cause == Cause::DemotedKey && renewal.newer().is_none() {
            let token = self.sessions.sign_again(&due.genuine.claims);
            match token {
                Ok(token) => renewal.offer(token),
                Err(error) => {
                    tracing::error!(%error, "a session token could not be signed by the first of session.keys");
                }
            }
        }
        let token = renewal.newer()?;
        self.of_newer(&token).await
    }

    async fn of_newer(&self, token: &str) -> Option<(Arc<Session>, String)> {
        let tokens = [token.to_owned()];
        let recognised = self.sessions.recognise(&tokens, self.clock.now()).await;
        let session = match recognised.ok()??.0 {
            Sighting::Live(session) => session,
            Sighting::Due(due) => due.live?,
        };
        let [token] = tokens;
        Some((session, token))
    }

    /// Renews beside the request, which goes on with the token that it has.
    fn renew_beside(self: &Arc<Self>, due: Box<Due>, id: RequestId) {
        let renewal = due.liveness.renewal();
        if due.cause != Cause::Renewal || !renewal.may_try(self.clock.now()) {
            return;
        }
        let Ok(turn) = Arc::clone(&renewal.one_at_a_time).try_lock_owned() else {
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = turn;
            this.renew(&due, id).await;
        });
    }

    /// Renews before the request goes on: its token has run out.
    async fn renewed_now(&self, due: &Due, id: RequestId) -> Option<(Arc<Session>, String)> {
        let renewal = due.liveness.renewal();
        let turn = tokio::time::timeout(PATIENCE, renewal.one_at_a_time.lock());
        let _turn = turn.await.ok()?;
        // Whoever had the turn before may have made it.
        if let Some(newer) = self.newer(due).await {
            return Some(newer);
        }
        match self.renew(due, id).await {
            Outcome::Newer(token) => self.of_newer(&token).await,
            Outcome::Unchanged | Outcome::Ended => None,
        }
    }

    async fn renew(&self, due: &Due, id: RequestId) -> Outcome {
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
            Err(Unrenewed::Impossible(reason)) => {
                tracing::error!(%id, provider = claimed.provider, %reason, "a session cannot be renewed: it ends with its token");
                renewal.rest_until(due.genuine.expires_at);
                self.give_back(sid, &claimed).await;
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
        let party = party.ok_or(Unrenewed::Impossible("its provider is configured no more"))?;
        let (refresh_token, id_token) = self.opened(due.liveness.renewal(), sid, claimed)?;
        let renewing = Renewing {
            refresh_token: &refresh_token,
            id_token: &id_token,
            nonce: &claimed.nonce,
        };
        let granted = party.refresh(&renewing, self.clock.now()).await?;
        if let Some(rotated) = granted.rotated() {
            self.keep(due.liveness.renewal(), sid, rotated).await;
        }
        let now = self.clock.now();
        let tokens = party.renewed(&granted, &renewing, now).await?;
        let claims = session_claims(tokens.claims.set(), party.config(), &self.config.session)
            .map_err(|fault| Unrenewed::Never(fault.to_string()))?;
        let provisioned = self
            .provisioning
            .provision(&tokens.claims, &claims, id, now)
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
        if account.user().id != claimed.user {
            let reason = "the identity belongs to another user now";
            return Err(Unrenewed::Never(reason.to_owned()));
        }
        let renewed = Renewed {
            account: &account,
            tokens: &tokens,
            session_claims: claims,
        };
        let (opened, held) = self
            .sessions
            .renew(sid, claimed, renewed, &self.sealer, &*self.random, now)
            .map_err(|error| Unrenewed::Never(error.to_string()))?;
        match self
            .store
            .settle_renewal(sid, &claimed.lease, &held, now)
            .await
        {
            Ok(true) => Ok(opened.token),
            Ok(false) => Err(Unrenewed::Never("it was ended meanwhile".to_owned())),
            Err(error) => {
                // The token is as good as recorded: the next renewal records another.
                self.sessions.store_answers(Err(&error));
                Ok(opened.token)
            }
        }
    }

    /// The refresh token and the ID token of a session.
    fn opened(
        &self,
        renewal: &Renewal,
        sid: &str,
        claimed: &Claimed,
    ) -> Result<(Secret, Secret), Unrenewed> {
        let open = |purpose, sealed: &[u8]| {
            let opened = self.sealer.open(purpose, sid.as_bytes(), sealed);
            opened.map(Secret::new).map_err(|_| {
                Unrenewed::Impossible("none of session.sealing_keys opens what it holds")
            })
        };
        let refresh_token = match (renewal.unkept(), &claimed.held.refresh_token) {
            (Some(rotated), _) => rotated,
            (None, Some(sealed)) => open(Purpose::RefreshToken, sealed)?,
            (None, None) => return Err(Unrenewed::Impossible("it has no refresh token")),
        };
        let id_token = open(Purpose::ProviderToken, &claimed.held.id_token)?;
        Ok((refresh_token, id_token))
    }

    /// The provider takes the former refresh token no more: the new one is kept before anything else, and in memory
    /// where the store does not answer.
    async fn keep(&self, renewal: &Renewal, sid: &str, rotated: Secret) {
        let sealed = self.sealer.seal(
            Purpose::RefreshToken,
            sid.as_bytes(),
            rotated.expose(),
            &*self.random,
        );
        renewal.keep(Some(rotated));
        for _ in 0..TRIES {
            match self.store.keep_refresh_token(sid, &sealed).await {
                Ok(()) => return renewal.keep(None),
                Err(error) => self.sessions.store_answers(Err(&error)),
            }
            tokio::time::sleep(ASK_AGAIN).await;
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
enum Unrenewed {
    /// Nothing was said of it; it is tried again.
    Later(String),
    /// It has to end.
    Never(String),
    /// It goes on until its token ends.
    Impossible(&'static str),
}

impl From<TokenFault> for Unrenewed {
    fn from(fault: TokenFault) -> Self {
        match &fault {
            TokenFault::Down(_) => Self::Later(fault.to_string()),
            // Whatever else the provider refuses is about us, not about the person (RFC 6749 5.2).
            TokenFault::Refused { error, .. } if error != "invalid_grant" => {
                Self::Later(fault.to_string())
            }
            TokenFault::Refused { .. } | TokenFault::Invalid { .. } => {
                Self::Never(fault.to_string())
            }
        }
    }
}
