//! Renewing a session with the provider's refresh token while the person works (OpenID Connect Core 12): ahead of
//! the token's end beside the request, after it before the request goes on. What the provider ends, ends; what it
//! cannot be asked now is put off.
//!
//! One renewal of a session is in flight over all nodes, and whoever waits shares its result.

mod attempt;
mod refresh_token;
mod unrenewable;

use std::sync::Arc;
use std::time::Duration;

use super::Endpoints;
use crate::rejection::{Kind, Rejection};
use crate::session::{Cause, Due, Session, Sighting};
use crate::telemetry::RequestId;

use attempt::Outcome;
pub use unrenewable::Unrenewable;

/// How long a request waits for a renewal that another one makes: longer than a provider may take.
const PATIENCE: Duration = Duration::from_secs(20);

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
                self.attend_beside(due, &token, id);
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
                Ok(token) => {
                    let now = self.clock.now();
                    self.sessions.acquaint(&token, &due.former, None, now);
                    renewal.offer(token);
                }
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

    /// Does what is due beside the request, which goes on with the token that it has.
    fn attend_beside(self: &Arc<Self>, due: Box<Due>, token: &str, id: RequestId) {
        let renewal = due.liveness.renewal();
        let waits = match due.cause {
            Cause::Renewal => !renewal.may_try(self.clock.now()),
            Cause::DemotedKey => true,
            Cause::Unconfirmed => false,
        };
        if waits {
            return;
        }
        let Ok(turn) = Arc::clone(&renewal.one_at_a_time).try_lock_owned() else {
            return;
        };
        let (this, token) = (Arc::clone(self), token.to_owned());
        tokio::spawn(async move {
            let _turn = turn;
            match due.cause {
                Cause::Unconfirmed => {
                    let now = this.clock.now();
                    this.sessions.confirm(&token, &due.genuine, now).await;
                }
                Cause::Renewal | Cause::DemotedKey => drop(this.renew(&due, id).await),
            }
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
}
