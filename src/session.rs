//! The session we give: a token in a cookie, known to the store by its `sid`, and in memory with its
//! header values ready made, so that a signed-in request costs one look-up and no I/O.
//!
//! Order matters for revocation: a session's liveness is registered before the store is asked, so an
//! end that happens meanwhile reaches the flag that the request will read.

mod cookie;
mod idle;
mod opened;
mod opening;
mod recent;
mod renewed;
mod revocation;
mod rules;
mod sighting;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::jwk::Jwk;
use moka::sync::Cache;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::assertion::Asserted;
use crate::config::{Config, Lifetime, Secret, UserField};
use crate::environment::UnixSeconds;
use crate::sealing::{Purpose, Sealer};
use crate::store::{self, SessionRecord, Store};

pub use cookie::{Cookies, pairs};
pub use opening::{OpenError, Opened, SignIn};
pub use recent::{Recent, Remembered};
pub use renewed::Renewed;
pub use revocation::{Liveness, Renewal, Unkept};
pub use sighting::{Cause, Due, Sighting};
pub use token::{Genuine, KeyFault, TokenKeys};

use rules::RouteRules;

/// Bytes of memory for verified sessions: more than 100,000 of them.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// What a session takes beside its texts, the cache's own share included.
const SESSION_BYTES: usize = 480;
/// Seconds from the moment of an end to the moment when other processes can read of it, at the most.
const SLOWEST_END: i64 = 30;

/// Everything but visible ASCII, and `%` itself.
const HEADER_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A verified, live session. Its token is not kept: the cache finds it by the token's digest.
#[derive(Debug)]
pub struct Session {
    sid: Box<str>,
    username: Box<str>,
    expires_at: UnixSeconds,
    /// The values of the identity headers: the user header first, then the others in their order.
    values: Box<[Option<Box<str>>]>,
    /// Where the application is sent assertions.
    asserted: Option<Arc<Asserted>>,
    liveness: Arc<Liveness>,
    /// One verdict a rule of the routes.
    verdicts: Box<[bool]>,
    /// When to ask the store again; `i64::MAX` once it has confirmed the session.
    ask_again_at: UnixSeconds,
    /// From then on something is to be done: the store is to be asked, or a newer token to be made.
    attend_at: UnixSeconds,
    /// Until when newer tokens can be had; 0 where they cannot.
    renewable_until: UnixSeconds,
}

impl Session {
    /// The session's id, shared by copies of the cookie.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// The stored user's username.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// When it ends by itself.
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// Whether a route's rule holds for the user, by its place among [`Config::route_rules`].
    pub fn passes(&self, rule: usize) -> bool {
        self.verdicts.get(rule).is_some_and(|verdict| *verdict)
    }

    /// A request has brought that token, so that it need not be offered any more.
    pub fn arrived(&self, token: &str) {
        if let Some(renewal) = self.liveness.renewal_if_any() {
            renewal.arrived(token);
        }
    }

    fn weight(&self) -> u32 {
        let values = self.values.iter().flatten();
        let texts = values.fold(self.username.len(), |sum, value| sum + 16 + value.len());
        let asserted = self.asserted.as_ref().map_or(0, |it| it.weight());
        (SESSION_BYTES + 2 * self.sid.len() + texts + self.verdicts.len() + asserted) as u32
    }

    /// Whether it is neither ended nor over.
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        now < self.expires_at && !self.liveness.ended()
    }

    /// The same for what lasts longer than a token: a connection goes on while newer tokens come.
    pub fn goes_on(&self, now: UnixSeconds) -> bool {
        now < self.liveness.until() && !self.liveness.ended()
    }
}

/// What a request's cookies say at a glance.
#[derive(Debug)]
pub enum Glance {
    /// A session known here.
    Known(Arc<Session>),
    /// Tokens not seen here before, in the request's order: [`Sessions::recognise`] decides.
    Unseen(Vec<String>),
    /// No cookie of ours.
    Nothing,
}

/// Gives, recognises and ends sessions.
pub struct Sessions {
    keys: TokenKeys,
    cookies: Cookies,
    username_claim: String,
    listed_claims: Option<Vec<String>>,
    /// Claims that the token is not made without.
    mapped_claims: BTreeSet<String>,
    /// Those, and what rules read, which have been decided by then.
    used_claims: BTreeSet<String>,
    lifetime: Lifetime,
    max_lifetime: i64,
    idle_timeout: Option<i64>,
    note_after: i64,
    refresh: bool,
    notes: idle::Notes,
    /// The user fields that headers carry beside the username.
    fields: Vec<UserField>,
    /// The user fields that the token carries: those of headers and of the routes' rules.
    token_fields: BTreeSet<UserField>,
    rules: RouteRules,
    /// Whether the application is sent assertions.
    asserts: bool,
    known: Cache<Digest, Arc<Session>, ahash::RandomState>,
    ends: revocation::Ends,
    unkept: revocation::UnkeptTokens,
    opened: opened::Opened,
    store: Store,
    store_up: AtomicBool,
    newest_end: AtomicI64,
}

impl Sessions {
    /// Prepares keys and cookies.
    ///
    /// # Errors
    /// [`KeyFault`] for a key that does not fit the algorithm.
    pub fn new(config: &Config, store: Store) -> Result<Self, KeyFault> {
        let weigh = |_: &Digest, session: &Arc<Session>| session.weight();
        let fields = config.upstream.identity.headers.iter();
        Ok(Self {
            keys: TokenKeys::new(&config.session)?,
            cookies: Cookies::new(config),
            username_claim: config.session.username_claim.clone(),
            listed_claims: config.session.claims.clone(),
            mapped_claims: config.mapped_claims(),
            used_claims: config.claims_in_use(),
            lifetime: config.session.lifetime,
            max_lifetime: config.session.max_lifetime.as_secs() as i64,
            idle_timeout: config.session.idle_timeout.map(|it| it.as_secs() as i64),
            note_after: idle::note_after(config.session.idle_timeout),
            refresh: config.session.refresh,
            notes: idle::Notes::default(),
            token_fields: token_fields(config),
            rules: RouteRules::new(config),
            asserts: config.upstream.identity.assertion.is_some(),
            fields: fields.map(|(_, field)| *field).collect(),
            known: Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(weigh)
                .build_with_hasher(Default::default()),
            ends: revocation::Ends::default(),
            unkept: revocation::UnkeptTokens::default(),
            opened: opened::Opened::default(),
            store,
            store_up: AtomicBool::new(true),
            newest_end: AtomicI64::new(0),
        })
    }

    /// Names and spellings of our cookies.
    pub fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// The public keys of asymmetric session keys.
    pub fn public_keys(&self) -> Vec<&Jwk> {
        self.keys.public_keys()
    }

    /// Looks at a request's cookies without any I/O. Of several cookies with the name the first that
    /// verifies counts, so a known one counts only when it comes first.
    pub fn glance(&self, headers: &HeaderMap, now: UnixSeconds) -> Glance {
        let mut values = self.cookies.session_values(headers);
        let Some(first) = values.next() else {
            return Glance::Nothing;
        };
        match self.remembered(first, now) {
            Some(session) if session.is_live(now) && !self.is_to_be_noted(&session, now) => {
                Glance::Known(session)
            }
            _ => Glance::Unseen(
                std::iter::once(first)
                    .chain(values)
                    .map(|token| String::from_utf8_lossy(token).into_owned())
                    .collect(),
            ),
        }
    }

    fn remembered(&self, token: &[u8], now: UnixSeconds) -> Option<Arc<Session>> {
        let session = self.known.get(&digest_of(token))?;
        (now < session.attend_at).then_some(session)
    }

    fn is_to_be_noted(&self, session: &Session, now: UnixSeconds) -> bool {
        self.idle_timeout.is_some() && now - session.liveness.seen() >= self.note_after
    }

    /// Ends a session for good, for every copy of its cookie, and gives the provider's ID token back for
    /// the `id_token_hint` of its logout, with the provider's name.
    ///
    /// # Errors
    /// [`store::Error`]: the session is ended here, and the store is told once it answers again; a
    /// restart before that would not know.
    pub async fn end(
        &self,
        sid: &str,
        sealer: &Sealer,
        now: UnixSeconds,
    ) -> Result<Option<(String, Option<Secret>)>, store::Error> {
        self.ends.register(sid).end();
        let recorded = self.recorded_end(sid, now).await;
        let record = recorded.inspect_err(|_| self.ends.keep(sid, now))?;
        Ok(record.map(|record| {
            let opened = sealer.open(Purpose::ProviderToken, sid.as_bytes(), &record.id_token);
            (record.provider, opened.ok().map(Secret::new))
        }))
    }

    async fn recorded_end(
        &self,
        sid: &str,
        now: UnixSeconds,
    ) -> Result<Option<SessionRecord>, store::Error> {
        let record = self.store.session(sid).await?;
        self.store.end_session(sid, now).await?;
        Ok(record)
    }

    /// Another process ended that session.
    pub fn heard_of_end(&self, sid: &str) {
        self.ends.end(sid);
    }

    /// One round of following the store: sessions ended by any process end here too.
    ///
    /// # Errors
    /// [`store::Error`] while the store does not answer; genuine tokens go on being accepted.
    pub async fn follow_ends(&self, now: UnixSeconds) -> Result<(), store::Error> {
        self.ends.forget_unused();
        for end in self.ends.unrecorded() {
            self.store.end_session(&end.sid, end.at).await?;
            self.ends.recorded(&end);
        }
        // All since the last round, and what a transaction took from its end to its commit.
        let since = now - self.newest_end.load(Ordering::Relaxed);
        let ended = self
            .store
            .ended_within(since.max(0) + SLOWEST_END, now)
            .await
            .inspect_err(|error| self.store_answers(Err(error)))?;
        for sid in ended {
            self.ends.end(&sid);
        }
        self.newest_end.store(now, Ordering::Relaxed);
        let kept = self.keep_unkept().await;
        kept.inspect_err(|error| self.store_answers(Err(error)))?;
        let written = self.write_notes().await;
        written.inspect_err(|error| self.store_answers(Err(error)))?;
        let in_place = self.store.is_in_place().await;
        in_place.inspect_err(|error| self.store_answers(Err(error)))?;
        if !self.store_is_up() {
            // A full or locked store may still be read, and sign-ins would go on failing.
            let written = self.store.can_be_written(now).await;
            written.inspect_err(|error| self.store_answers(Err(error)))?;
        }
        self.store_answers(Ok(()));
        Ok(())
    }

    /// Whether the store's ended sessions have been read at least once: before that a logout of an
    /// earlier run might not be known.
    pub fn has_followed(&self) -> bool {
        self.newest_end.load(Ordering::Relaxed) > 0
    }

    /// Whether the store answered last.
    pub fn store_is_up(&self) -> bool {
        self.store_up.load(Ordering::Relaxed)
    }

    /// Notes what the store did last; tells the log when that changes.
    pub fn store_answers(&self, answer: Result<(), &store::Error>) {
        match (
            self.store_up.swap(answer.is_ok(), Ordering::Relaxed),
            answer,
        ) {
            (true, Err(error)) => {
                tracing::warn!(%error, "store is down: live sessions go on, sign-ins wait")
            }
            (false, Ok(())) => tracing::info!("store answers again"),
            _ => {}
        }
    }
}

fn token_fields(config: &Config) -> BTreeSet<UserField> {
    let of_headers = config.upstream.identity.headers.iter();
    let of_rules = config.route_rules().flat_map(|rule| rule.user_fields());
    let of_rules = of_rules.filter_map(|name| UserField::from_name(name));
    // The token has the username in a claim of its own.
    let of_rules = of_rules.filter(|field| *field != UserField::Username);
    of_headers
        .map(|(_, field)| *field)
        .chain(of_rules)
        .collect()
}

/// What finds a session by its token: SHA-256 of the whole, so that no two tokens are one.
type Digest = [u8; 32];

fn digest_of(token: &[u8]) -> Digest {
    let digest = digest(&SHA256, token);
    let mut key = Digest::default();
    key.copy_from_slice(digest.as_ref());
    key
}

/// A user's value as a header carries it: percent-encoded UTF-8 where it is not plain visible ASCII.
pub(crate) fn header_value(value: &str) -> Option<Box<str>> {
    let encoded = utf8_percent_encode(value, HEADER_VALUE).to_string();
    HeaderValue::from_str(&encoded).ok()?;
    Some(encoded.into())
}
