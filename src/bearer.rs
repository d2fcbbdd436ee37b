//! Who comes with a provider's access token: checked once, held against the directory, and remembered with its
//! header values ready made, so that a request that repeats it costs one look-up and no I/O.
//!
//! A token that is remembered follows its user: once a second the users that were written are read, and whoever
//! changed is asked about again at the next request. No session stands behind it, so nothing is recorded.

mod recent;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aws_lc_rs::digest::{SHA256, digest};
use moka::sync::Cache;

use crate::assertion::Asserted;
use crate::config::{Config, UserField};
use crate::environment::UnixSeconds;
use crate::expression::{Expression, Subject};
use crate::oidc::{AccessToken, AccessTokenFault, RelyingParties};
use crate::session::header_value;
use crate::store::{self, ChangedUser, Skeleton, Standing, Store};

pub use recent::{Presented, RecentBearers};

/// Bytes of memory for verified tokens: more than 20,000 of them.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// What a token takes beside its texts, the cache's own share included.
const TOKEN_BYTES: usize = 480;
/// Seconds after which a token is verified again, by the keys that the provider has then.
const VERIFY_AGAIN: UnixSeconds = 600;
/// Seconds after which the store is asked again where it did not answer.
const UNCONFIRMED: UnixSeconds = 5;
/// Seconds from the moment of a change to the moment when other processes can read of it, at the most.
const SLOWEST_CHANGE: i64 = 30;

/// What finds a token: SHA-256 of the whole, so that no two are one.
type Digest = [u8; 32];

/// A verified access token, as the directory sees whoever has it. The token itself is not kept.
#[derive(Debug)]
pub struct Bearer {
    who: Who,
    /// The values of the identity headers: the user header first, then the others in their order.
    values: Box<[Option<Box<str>>]>,
    /// Where the application is sent assertions, and the token is a user's.
    asserted: Option<Arc<Asserted>>,
    /// One verdict a rule of the bearer routes.
    verdicts: Box<[bool]>,
    identity: Option<(Box<str>, Box<str>)>,
    good_until: UnixSeconds,
    ask_again_at: UnixSeconds,
    /// The user was written since, or somebody is the user of this identity now.
    changed: AtomicBool,
    /// The user may no longer come in, or is another's identity.
    ended: AtomicBool,
}

#[derive(Debug, Clone)]
enum Who {
    User { id: Box<str>, version: i64 },
    Machine,
    Refused(Denial),
}

/// Why a good token does not let anybody in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// No user has the token's identity.
    UnknownUser,
    /// The user is inactive.
    InactiveUser,
    /// The token names another user than the directory has for its identity.
    OtherUser,
    /// The token is a machine's, and the route is for users.
    NoUser,
    /// The route's rule does not hold.
    Rule,
}

impl Denial {
    /// What is missing, in English; no claim's value.
    pub fn reason(self) -> &'static str {
        match self {
            Self::UnknownUser => {
                "no user of this site has the token's identity; signing in once makes one"
            }
            Self::InactiveUser => "the user is not active",
            Self::OtherUser => "the token names another user than this site has for its identity",
            Self::NoUser => "the token names no user, and this address is for users",
            Self::Rule => "the rule of this address does not hold for the token and its user",
        }
    }
}

/// Why a token came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BearerFault {
    /// The token.
    #[error(transparent)]
    Token(#[from] AccessTokenFault),
    /// The directory cannot be asked: 503.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Bearer {
    /// Whether a request may pass: on a route for `machine`s or not, with the rule of that place among
    /// [`Config::bearer_rules`].
    ///
    /// # Errors
    /// [`Denial`].
    pub fn may_pass(&self, machine: bool, rule: Option<usize>) -> Result<(), Denial> {
        match self.who {
            Who::Refused(denial) => return Err(denial),
            Who::Machine if !machine => return Err(Denial::NoUser),
            Who::Machine | Who::User { .. } => {}
        }
        let holds = |rule: usize| self.verdicts.get(rule).is_some_and(|verdict| *verdict);
        match rule.is_none_or(holds) {
            true => Ok(()),
            false => Err(Denial::Rule),
        }
    }

    /// Whether it is a machine's: it names no user, and its identity is nobody's.
    pub fn is_machine(&self) -> bool {
        matches!(self.who, Who::Machine)
    }

    /// Whether what the token opened may stay open: it has not run out, and its user may still come in.
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        now < self.good_until && !self.ended.load(Ordering::Relaxed)
    }

    /// Whether all that is known of the token still stands.
    fn stands(&self, now: UnixSeconds) -> bool {
        now < self.ask_again_at && self.is_live(now) && !self.changed.load(Ordering::Relaxed)
    }

    fn weight(&self) -> u32 {
        let values = self.values.iter().flatten();
        let values = values.fold(0, |sum, value| sum + 16 + value.len());
        let identity = self.identity.as_ref();
        let identity = identity.map_or(0, |(issuer, subject)| issuer.len() + subject.len());
        let asserted = self.asserted.as_ref().map_or(0, |it| it.weight());
        (TOKEN_BYTES + values + identity + self.verdicts.len() + asserted) as u32
    }
}

/// Recognises access tokens, and follows their users.
pub struct Bearers {
    parties: Arc<RelyingParties>,
    store: Store,
    rules: Vec<Expression>,
    /// The user fields that headers carry beside the username.
    fields: Vec<UserField>,
    /// Whether the application is sent assertions.
    asserts: bool,
    known: Cache<Digest, Arc<Bearer>, ahash::RandomState>,
    /// Everything that is in memory somewhere; requests of known tokens never come here.
    followed: Mutex<Vec<Weak<Bearer>>>,
    followed_until: AtomicI64,
}

impl Bearers {
    /// Prepares for the routes of a configuration.
    pub fn new(config: &Config, parties: &Arc<RelyingParties>, store: Store) -> Self {
        let headers = config.upstream.identity.headers.iter();
        Self {
            parties: Arc::clone(parties),
            store,
            rules: config.bearer_rules().cloned().collect(),
            fields: headers.map(|(_, field)| *field).collect(),
            asserts: config.upstream.identity.assertion.is_some(),
            known: Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(|_: &Digest, bearer: &Arc<Bearer>| bearer.weight())
                .build_with_hasher(Default::default()),
            followed: Mutex::default(),
            followed_until: AtomicI64::new(0),
        }
    }

    /// What is known of a token, without any I/O.
    pub fn glance(&self, token: &str, now: UnixSeconds) -> Option<Arc<Bearer>> {
        let known = self.known.get(&digest_of(token))?;
        known.stands(now).then_some(known)
    }

    /// Verifies a token and asks the directory for its user.
    ///
    /// # Errors
    /// [`BearerFault`]. While the store does not answer, whoever was known and is not known to have changed goes on.
    pub async fn recognise(
        &self,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Arc<Bearer>, BearerFault> {
        let verified = self.parties.access_token(token, now).await?;
        let key = digest_of(token);
        let user = match verified.subject() {
            Some(subject) => self.store.standing(verified.issuer(), subject).await,
            None => Ok(None),
        };
        let bearer = match user {
            Ok(user) => self.bearer(&verified, user.as_ref(), now),
            Err(error) => self.unconfirmed(&key, now).ok_or(error)?,
        };
        let bearer = Arc::new(bearer);
        self.followed().push(Arc::downgrade(&bearer));
        self.known.insert(key, Arc::clone(&bearer));
        Ok(bearer)
    }

    /// What would become of a token with such claims; nothing is remembered.
    ///
    /// # Errors
    /// [`store::Error`].
    pub async fn explain(
        &self,
        token: &AccessToken,
        now: UnixSeconds,
    ) -> Result<(Bearer, Option<Standing>), store::Error> {
        let user = match token.subject() {
            Some(subject) => self.store.standing(token.issuer(), subject).await?,
            None => None,
        };
        Ok((self.bearer(token, user.as_ref(), now), user))
    }

    /// The same bearer for a little longer, where nothing is known to have changed.
    fn unconfirmed(&self, key: &Digest, now: UnixSeconds) -> Option<Bearer> {
        let known = self.known.get(key)?;
        let changed = known.changed.load(Ordering::Relaxed) || !known.is_live(now);
        (!changed).then(|| Bearer {
            who: known.who.clone(),
            values: known.values.clone(),
            asserted: known.asserted.clone(),
            verdicts: known.verdicts.clone(),
            identity: known.identity.clone(),
            good_until: known.good_until,
            ask_again_at: now + UNCONFIRMED,
            changed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    fn bearer(&self, token: &AccessToken, user: Option<&Standing>, now: UnixSeconds) -> Bearer {
        let who = who(token, user);
        let user = user.filter(|_| matches!(who, Who::User { .. }));
        let subject = Subject::of_claims(token.set());
        let fields = user.into_iter().flat_map(|user| &user.fields);
        let subject = subject.as_user(fields.map(|(field, value)| (field.name(), value.as_str())));
        // Where an expression fails, nobody passes.
        let holds = |rule: &Expression| rule.holds(&subject).unwrap_or(false);
        let field = |field: &UserField| {
            let value = user?.fields.get(field).filter(|value| !value.is_empty())?;
            header_value(value)
        };
        let named = std::iter::once(&UserField::Username).chain(&self.fields);
        let identity = token
            .subject()
            .map(|subject| (token.issuer().into(), subject.into()));
        Bearer {
            who,
            values: named.map(field).collect(),
            asserted: self.asserted(token, user),
            verdicts: self.rules.iter().map(holds).collect(),
            identity,
            good_until: token.good_until(),
            ask_again_at: now + VERIFY_AGAIN,
            changed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    fn asserted(&self, token: &AccessToken, user: Option<&Standing>) -> Option<Arc<Asserted>> {
        let username = user?.fields.get(&UserField::Username)?;
        let subject = token.subject().filter(|_| self.asserts)?;
        Some(Asserted::new(subject, username, None, token.good_until()))
    }

    /// One round of following the store: users that any process has written are asked about again.
    ///
    /// # Errors
    /// [`store::Error`] while the store does not answer; the next round reads all since the last.
    pub async fn follow(&self, now: UnixSeconds) -> Result<(), store::Error> {
        let since = match self.followed_until.load(Ordering::Relaxed) {
            // Nothing was remembered before.
            0 => 0,
            until => (now - until).max(0),
        };
        // While the store does not answer too, since tokens are then remembered anew every few seconds.
        self.followed().retain(|bearer| bearer.strong_count() > 0);
        let changed = self
            .store
            .changed_within(since + SLOWEST_CHANGE, now)
            .await?;
        self.followed_until.store(now, Ordering::Relaxed);
        let followed = self.followed();
        let changes = Changes::of(&changed);
        for bearer in followed.iter().filter_map(Weak::upgrade) {
            changes.tell(&bearer);
        }
        Ok(())
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Bearer>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom the directory knows decides; only a token that names nobody, of an identity that is nobody's, is a machine's.
fn who(token: &AccessToken, user: Option<&Standing>) -> Who {
    let Some(user) = user else {
        return match token.username() {
            Some(_) => Who::Refused(Denial::UnknownUser),
            None => Who::Machine,
        };
    };
    let stored = user.fields.get(&UserField::Username);
    let is_stored = |name: &str| stored.is_some_and(|it| Skeleton::of(it) == Skeleton::of(name));
    // The application reads the token too: it must not take the request for another's.
    let who = match (user.active, token.username()) {
        (false, _) => Who::Refused(Denial::InactiveUser),
        (true, Some(name)) if !is_stored(name) => Who::Refused(Denial::OtherUser),
        (true, _) => Who::User {
            id: user.user.as_str().into(),
            version: user.version,
        },
    };
    // A name that no header can carry names nobody.
    match stored.and_then(|name| header_value(name)) {
        Some(_) => who,
        None => Who::Refused(Denial::UnknownUser),
    }
}

/// Users that were written of late.
struct Changes<'c> {
    users: HashMap<&'c str, (i64, bool)>,
    identities: HashSet<(&'c str, &'c str, &'c str)>,
    owners: HashSet<(&'c str, &'c str)>,
}

impl<'c> Changes<'c> {
    fn of(changed: &'c [ChangedUser]) -> Self {
        let users = changed
            .iter()
            .map(|it| (it.user.as_str(), (it.version, it.active)));
        let identities = changed.iter().filter_map(|it| {
            let (issuer, subject) = it.identity.as_ref()?;
            Some((it.user.as_str(), issuer.as_str(), subject.as_str()))
        });
        Self {
            users: users.collect(),
            owners: identities
                .clone()
                .map(|(_, issuer, subject)| (issuer, subject))
                .collect(),
            identities: identities.collect(),
        }
    }

    fn tell(&self, bearer: &Bearer) {
        let Some((issuer, subject)) = &bearer.identity else {
            return;
        };
        match &bearer.who {
            Who::User { id, version } => {
                let Some((newest, active)) = self.users.get(&**id) else {
                    return;
                };
                let bound = self.identities.contains(&(id, issuer, subject));
                if newest != version {
                    bearer.changed.store(true, Ordering::Relaxed);
                }
                if newest != version && !(*active && bound) {
                    bearer.ended.store(true, Ordering::Relaxed);
                }
            }
            // A refusal is soon asked about again anyway: here at once.
            Who::Machine | Who::Refused(_) => {
                if self.owners.contains(&(issuer, subject)) {
                    bearer.changed.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

fn digest_of(token: &str) -> Digest {
    let digest = digest(&SHA256, token.as_bytes());
    let mut key = Digest::default();
    key.copy_from_slice(digest.as_ref());
    key
}

#[cfg(test)]
mod tests;
