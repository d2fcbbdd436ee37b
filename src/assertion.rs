//! The signed assertion: a short-lived JWT (RFC 7519) that names the user to an application that verifies, under a key
//! of its own, so that neither a session token nor a header that somebody made up passes for it.
//!
//! Made once a session and period: the newest one lies with its session, where a worker looks only when half of the
//! life of its own copy is over. So a request reads nothing that another core writes.

mod stamping;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, HeaderValue};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::config::{Config, Secret, SessionAlgorithm};
use crate::environment::{Random, UnixSeconds, random_text};

pub use stamping::{Stamp, Stamping};

/// `typ` (RFC 8725 3.11): no other token of ours has it.
const TYPE: &str = "assertion+jwt";
/// Bytes of an assertion and what lies around it, for caches that count.
const USUAL_BYTES: usize = 1024;

/// A key of `upstream.identity.assertion` does not fit its algorithm.
#[derive(Debug, thiserror::Error)]
#[error("upstream.identity.assertion: {key}: expected a key for {algorithm:?}; {source}")]
pub struct KeyFault {
    key: &'static str,
    algorithm: SessionAlgorithm,
    source: jsonwebtoken::errors::Error,
}

/// Whom assertions name, and the newest of them. Its `Debug` shows none.
pub struct Asserted {
    /// `sub`.
    pub subject: Box<str>,
    /// The stored user's username.
    pub username: Box<str>,
    /// The session's id; `None` for an access token, which has no session.
    pub sid: Option<Box<str>>,
    /// No assertion outlives what it was made from.
    pub until: UnixSeconds,
    newest: Mutex<Option<Assertion>>,
}

#[derive(Clone)]
struct Assertion {
    text: Box<str>,
    /// From when it was made until half of its life is over.
    fresh: Range<UnixSeconds>,
}

impl Asserted {
    /// Somebody whom no assertion has named yet.
    pub fn new(subject: &str, username: &str, sid: Option<&str>, until: UnixSeconds) -> Arc<Self> {
        Arc::new(Self {
            subject: subject.into(),
            username: username.into(),
            sid: sid.map(Into::into),
            until,
            newest: Mutex::default(),
        })
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        let sid = self.sid.as_deref().map_or(0, str::len);
        USUAL_BYTES + 2 * (self.subject.len() + self.username.len() + sid)
    }
}

impl fmt::Debug for Asserted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asserted(…)")
    }
}

/// Makes assertions.
pub struct Assertions {
    header: HeaderName,
    algorithm: SessionAlgorithm,
    key: EncodingKey,
    kid: String,
    /// That of the signing key, and those that are published beside it.
    public: Vec<Jwk>,
    issuer: String,
    audience: String,
    username_claim: String,
    lifetime: i64,
    random: Arc<dyn Random>,
}

impl Assertions {
    /// Reads the keys; `None` where the configuration asks for no assertion.
    ///
    /// # Errors
    /// [`KeyFault`] for the first that does not fit the algorithm.
    pub fn new(config: &Config, random: Arc<dyn Random>) -> Result<Option<Self>, KeyFault> {
        let Some(assertion) = &config.upstream.identity.assertion else {
            return Ok(None);
        };
        let algorithm = assertion.algorithm;
        let fault = |key| {
            move |source| KeyFault {
                key,
                algorithm,
                source,
            }
        };
        let key = algorithm
            .encoding_key(assertion.key.expose())
            .map_err(fault("key"))?;
        let own = public_half(&assertion.key, algorithm).map_err(fault("key"))?;
        let published = assertion.published_keys.iter();
        let published = published.map(|key| public_half(key, algorithm));
        let mut public = vec![own.1];
        for half in published {
            public.push(half.map_err(fault("published_keys"))?.1);
        }
        if algorithm == SessionAlgorithm::HS256 {
            // A shared secret has no public half.
            public.clear();
        }
        Ok(Some(Self {
            header: assertion.header.clone(),
            algorithm,
            key,
            kid: own.0,
            public,
            issuer: config.session.issuer.clone(),
            audience: assertion.audience.clone(),
            username_claim: config.session.username_claim.clone(),
            lifetime: assertion.lifetime.as_secs() as i64,
            random,
        }))
    }

    /// The public keys by which assertions are verified, that of the next and of the former key among them.
    pub fn public_keys(&self) -> &[Jwk] {
        &self.public
    }

    /// The newest assertion of somebody, made anew when half of its life is over, and until when to ask no more.
    fn newest(
        &self,
        asserted: &Asserted,
        now: UnixSeconds,
    ) -> Option<(HeaderValue, Range<UnixSeconds>)> {
        // Whoever waits here would have to sign otherwise.
        let mut newest = asserted
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let fresh = newest.as_ref().filter(|it| it.fresh.contains(&now));
        let assertion = match fresh {
            Some(assertion) => assertion.clone(),
            None => newest.insert(self.make(asserted, now)?).clone(),
        };
        let mut value = HeaderValue::from_str(&assertion.text).ok()?;
        value.set_sensitive(true);
        Some((value, assertion.fresh))
    }

    fn make(&self, asserted: &Asserted, now: UnixSeconds) -> Option<Assertion> {
        let life = self.lifetime.min(asserted.until - now);
        if life <= 0 {
            return None;
        }
        let expires_at = now + life;
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": asserted.subject,
            "iat": now,
            "exp": expires_at,
            "jti": random_text::<16>(&*self.random),
        });
        claims[&self.username_claim] = json!(asserted.username);
        if let Some(sid) = &asserted.sid {
            claims["sid"] = json!(sid);
        }
        let mut header = Header::new(self.algorithm.jws());
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        let text = jsonwebtoken::encode(&header, &claims, &self.key)
            .inspect_err(|error| tracing::error!(%error, "an assertion cannot be signed: requests go on without, and the application refuses them"))
            .ok()?;
        Some(Assertion {
            text: text.into(),
            fresh: now..expires_at - life / 2,
        })
    }
}

/// A key's thumbprint (RFC 7638), which tells keys apart, and its public half. For a shared secret the half is the
/// secret itself.
fn public_half(
    key: &Secret,
    algorithm: SessionAlgorithm,
) -> Result<(String, Jwk), jsonwebtoken::errors::Error> {
    let mut public = algorithm.jwk(key.expose())?;
    let kid = public.thumbprint(ThumbprintHash::SHA256)?;
    public.common.key_id = Some(kid.clone());
    public.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok((kid, public))
}

#[cfg(test)]
mod tests;
