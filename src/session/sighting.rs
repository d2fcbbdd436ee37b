//! What a request's tokens are: a session that is live, one that is due for a newer token, or none. The store is
//! asked at a node's first sight of a token, and told of by notification afterwards.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use super::token::Genuine;
use super::{Liveness, Session, Sessions, digest_of, header_value};
use crate::assertion::Asserted;
use crate::config::UserField;
use crate::environment::UnixSeconds;
use crate::expression::Subject;
use crate::oidc::ClaimSet;
use crate::store;

/// How long a session that the store could not confirm is believed before it is asked again.
const UNCONFIRMED: i64 = 5;
/// A token is renewed when a third of its life is left, …
const LEAD_SHARE: i64 = 3;
/// … and never more than so many seconds ahead.
const LONGEST_LEAD: i64 = 300;

/// A session that was seen.
#[derive(Debug)]
pub enum Sighting {
    /// Live, and nothing is to be done.
    Live(Arc<Session>),
    /// A newer token is to be made.
    Due(Box<Due>),
}

/// A session that is due for a newer token.
#[derive(Debug)]
pub struct Due {
    /// The token that the request bore.
    pub genuine: Genuine,
    /// The session as that token tells of it.
    pub former: Arc<Session>,
    /// The same, while that token is good.
    pub live: Option<Arc<Session>>,
    /// What is shared by all its tokens.
    pub liveness: Arc<Liveness>,
    /// When the session ends for good.
    pub renewable_until: UnixSeconds,
    /// Why.
    pub cause: Cause,
}

/// Why a session needs another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It runs out, or has.
    Renewal,
    /// It was signed by a key that no longer signs.
    DemotedKey,
    /// The store did not confirm the session when it was asked: it is to be asked again.
    Unconfirmed,
}

/// What the store says of a session.
struct Told {
    liveness: Arc<Liveness>,
    verdicts: Box<[bool]>,
    ask_again_at: UnixSeconds,
    renewable_until: UnixSeconds,
}

impl Sighting {
    /// The session's id.
    pub fn sid(&self) -> &str {
        match self {
            Sighting::Live(session) => session.sid(),
            Sighting::Due(due) => &due.genuine.sid,
        }
    }
}

impl Sessions {
    /// Verifies tokens, asking the store for each genuine one that was not seen here before, and says which of
    /// them it was. While the store is down genuine tokens go on being accepted until they run out.
    ///
    /// # Errors
    /// [`store::Error`]: only one that has run out is genuine, and the store cannot say whether it may be renewed.
    pub async fn recognise(
        &self,
        tokens: &[String],
        now: UnixSeconds,
    ) -> Result<Option<(Sighting, usize)>, store::Error> {
        let mut untold = None;
        for (which, token) in tokens.iter().enumerate() {
            match self.sight(token, now).await {
                Ok(Some(sighting)) => return Ok(Some((sighting, which))),
                Ok(None) => {}
                Err(error) => untold = Some(error),
            }
        }
        untold.map_or(Ok(None), Err)
    }

    async fn sight(&self, token: &str, now: UnixSeconds) -> Result<Option<Sighting>, store::Error> {
        let known = self.known.get(&digest_of(token.as_bytes()));
        // Whoever was let in goes on meanwhile; who was not is asked about before.
        let known = known.filter(|session| now < session.ask_again_at || session.is_live(now));
        if let Some(session) = &known
            && now < session.attend_at
            && session.is_live(now)
        {
            let in_use = self.is_in_use(session, now).await;
            return Ok(in_use.then(|| Sighting::Live(Arc::clone(session))));
        }
        let Some(genuine) = self.keys.verify(token, now) else {
            return Ok(None);
        };
        let session = match known {
            Some(session) => session,
            None => match self.first_sight(token, &genuine, now).await? {
                Some(session) => session,
                None => return Ok(None),
            },
        };
        if session.liveness.ended() || !self.is_in_use(&session, now).await {
            return Ok(None);
        }
        Ok(sighted(session, genuine, now))
    }

    /// Session id and username of a genuine token that ran out, but not before `since`, or whose session was ended.
    pub fn former(
        &self,
        headers: &HeaderMap,
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Option<(String, String)> {
        self.cookies.session_values(headers).find_map(|token| {
            let genuine = self.keys.verify(std::str::from_utf8(token).ok()?, now)?;
            let username = genuine.claims.get(&self.username_claim)?.as_str()?;
            (genuine.expires_at >= since).then(|| (genuine.sid.clone(), username.to_owned()))
        })
    }

    /// Asks the store about a session that it did not confirm before; what it says is remembered.
    pub async fn confirm(&self, token: &str, genuine: &Genuine, now: UnixSeconds) {
        // Where it does not answer, the next try is told to wait, and the log of it.
        let _ = self.first_sight(token, genuine, now).await;
    }

    async fn first_sight(
        &self,
        token: &str,
        genuine: &Genuine,
        now: UnixSeconds,
    ) -> Result<Option<Arc<Session>>, store::Error> {
        let liveness = self.ends.register(&genuine.sid);
        let (ask_again_at, renewable_until, rules) = match self.store.session(&genuine.sid).await {
            Ok(Some(record)) => {
                if record.ended {
                    liveness.end();
                }
                liveness.see(match record.seen_at {
                    // What began before idle sessions ended counts from now on.
                    0 => now,
                    at => at,
                });
                let until = match record.renewable && self.refresh {
                    true => record.expires_at,
                    false => 0,
                };
                (UnixSeconds::MAX, until, Some(record.rules))
            }
            Ok(None) => {
                liveness.end();
                (now + UNCONFIRMED, 0, None)
            }
            Err(error) => {
                self.store_answers(Err(&error));
                if genuine.expires_at <= now {
                    return Err(error);
                }
                liveness.see(now);
                (now + UNCONFIRMED, 0, None)
            }
        };
        let verdicts = self
            .rules
            .verdicts(rules.as_deref(), || self.subject_of(&genuine.claims));
        let told = Told {
            liveness,
            verdicts,
            ask_again_at,
            renewable_until,
        };
        Ok(self.remember(token, genuine, told))
    }

    /// Remembers the token that takes another's place, so that whoever meets it need not ask the store. `rules` is what
    /// the record says of them now; without it they stay as they were.
    pub fn acquaint(&self, token: &str, former: &Session, rules: Option<&str>, now: UnixSeconds) {
        let Some(genuine) = self.keys.verify(token, now) else {
            return;
        };
        let verdicts = match rules {
            Some(_) => self
                .rules
                .verdicts(rules, || self.subject_of(&genuine.claims)),
            None => former.verdicts.clone(),
        };
        let told = Told {
            liveness: Arc::clone(&former.liveness),
            verdicts,
            ask_again_at: former.ask_again_at,
            renewable_until: former.renewable_until,
        };
        self.remember(token, &genuine, told);
    }

    fn remember(&self, token: &str, genuine: &Genuine, told: Told) -> Option<Arc<Session>> {
        let Told {
            liveness,
            verdicts,
            ask_again_at,
            renewable_until,
        } = told;
        liveness.lasts_until(genuine.expires_at);
        let attend_at = match genuine.demoted {
            true => UnixSeconds::MIN,
            false => ask_again_at.min(renew_at(genuine, renewable_until)),
        };
        let values = self.values(&genuine.claims)?;
        let subject = genuine.claims.get("sub").and_then(Value::as_str);
        let subject = subject.filter(|_| self.asserts);
        let asserted = subject.map(|subject| {
            let sid = Some(&*genuine.sid);
            Asserted::new(subject, &values.0, sid, genuine.expires_at)
        });
        let session = Arc::new(Session {
            sid: genuine.sid.as_str().into(),
            username: values.0,
            expires_at: genuine.expires_at,
            values: values.1,
            asserted,
            liveness,
            verdicts,
            ask_again_at,
            attend_at,
            renewable_until,
        });
        let key = digest_of(token.as_bytes());
        self.known.insert(key, Arc::clone(&session));
        Some(session)
    }

    /// The person as the token itself tells of them.
    fn subject_of(&self, claims: &ClaimSet) -> Subject {
        let username = claims.get(&self.username_claim).and_then(Value::as_str);
        let username = username.map(|name| (UserField::Username.name(), name));
        let fields = claims.get("user").and_then(Value::as_object);
        let fields = fields.into_iter().flatten();
        let fields = fields.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        Subject::of_claims(claims).as_user(fields.chain(username))
    }

    /// The username, and the values of the identity headers.
    #[expect(clippy::type_complexity, reason = "two fields of a session")]
    fn values(&self, claims: &ClaimSet) -> Option<(Box<str>, Box<[Option<Box<str>>]>)> {
        let username = claims.get(&self.username_claim)?.as_str()?;
        let mut values = vec![Some(header_value(username)?)];
        for field in &self.fields {
            let value = claims
                .get("user")
                .and_then(|user| user.get(field.name()))
                .and_then(Value::as_str);
            values.push(match value.filter(|value| !value.is_empty()) {
                Some(value) => Some(header_value(value)?),
                None => None,
            });
        }
        Some((username.into(), values.into()))
    }
}

/// What a known session is now; `None` where it is over.
fn sighted(session: Arc<Session>, genuine: Genuine, now: UnixSeconds) -> Option<Sighting> {
    let is_good = session.is_live(now);
    let may_be_renewed = now < session.renewable_until;
    let cause = match (is_good, may_be_renewed) {
        (true, true) if now >= renew_at(&genuine, session.renewable_until) => Cause::Renewal,
        (true, _) if genuine.demoted => Cause::DemotedKey,
        (true, _) if now >= session.ask_again_at => Cause::Unconfirmed,
        (true, _) => return Some(Sighting::Live(session)),
        (false, true) => Cause::Renewal,
        (false, false) => return None,
    };
    Some(Sighting::Due(Box::new(Due {
        genuine,
        liveness: Arc::clone(&session.liveness),
        renewable_until: session.renewable_until,
        live: is_good.then(|| Arc::clone(&session)),
        former: session,
        cause,
    })))
}

/// From when on a token is to be renewed.
fn renew_at(token: &Genuine, renewable_until: UnixSeconds) -> UnixSeconds {
    // The last token of a session ends with it.
    if token.expires_at >= renewable_until {
        return UnixSeconds::MAX;
    }
    let issued_at = token.claims.get("iat").and_then(Value::as_i64);
    let life = token.expires_at - issued_at.unwrap_or(token.expires_at);
    token.expires_at - (life / LEAD_SHARE).clamp(0, LONGEST_LEAD)
}
