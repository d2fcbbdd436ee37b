//! Opening a session: minting the token so that it fits its cookie, and recording its `sid`.

use serde_json::{Value, json};

use super::Sessions;
use crate::config::Lifetime;
use crate::environment::{Random, UnixSeconds, random_text};
use crate::expression::Subject;
use crate::oidc::{AuthorizationResponse, ClaimSet, VerifiedTokens};
use crate::provisioning::Account;
use crate::sealing::{Purpose, Sealer};
use crate::store::{NewSession, OpenSessionError, Renewable};

/// A browser stores 4,096 bytes of name, value and attributes (RFC 6265 6.1); this leaves room for
/// those attributes.
const TOKEN_BYTES: usize = 3891;
/// The shortest session: an ID token at its end must not send the person round in circles.
const SHORTEST: i64 = 30;
/// A session that was just opened.
#[derive(Debug)]
pub struct Opened {
    /// The token for the cookie.
    pub token: String,
    /// When it ends by itself.
    pub expires_at: UnixSeconds,
    /// Claims that were left out to fit the cookie.
    pub left_out: Vec<String>,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Even without what nothing uses the claims do not fit into a cookie.
    #[error(
        "the session token is {size} bytes, expected at most {TOKEN_BYTES}: list fewer claims in session.claims, or send fewer from the provider"
    )]
    TooLarge {
        /// Bytes of the token.
        size: usize,
    },
    /// The token could not be signed.
    #[error("the session token could not be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
    /// The store did not record it.
    #[error(transparent)]
    Store(#[from] OpenSessionError),
}

/// A sign-in that came through: who it is, and what proves it.
#[derive(Debug)]
pub struct SignIn<'s> {
    /// The provisioned user.
    pub account: &'s Account,
    /// The provider's verified tokens.
    pub tokens: &'s VerifiedTokens,
    /// The provider's claims as the session token carries them.
    pub session_claims: ClaimSet,
    /// The authorization response: it opens one session only.
    pub response: &'s AuthorizationResponse,
}

/// Who a token is made for.
pub(super) struct Person<'s> {
    pub(super) account: &'s Account,
    pub(super) tokens: &'s VerifiedTokens,
    pub(super) session_claims: ClaimSet,
}

impl Sessions {
    /// Opens a session for a provisioned user: mints the token and records its `sid`, once for each
    /// authorization response.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        &self,
        sign_in: SignIn<'_>,
        sealer: &Sealer,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<Opened, OpenError> {
        let SignIn {
            account,
            tokens,
            session_claims,
            response,
        } = sign_in;
        let sid = random_text::<16>(random);
        let renewable = self.refresh && tokens.refresh_token.is_some();
        let ends_at = now + self.max_lifetime;
        let person = Person {
            account,
            tokens,
            session_claims,
        };
        let (opened, held) = self.mint(person, &sid, ends_at, sealer, random, now)?;
        let claim = |name: &str| tokens.claims.set().get(name).and_then(Value::as_str);
        let issued_at = tokens.claims.set().get("iat").and_then(Value::as_f64);
        let record = NewSession {
            sid,
            sign_in: response.nonce().to_owned(),
            user: account.user().id.clone(),
            identity: (
                tokens.claims.issuer().to_owned(),
                tokens.claims.subject().to_owned(),
            ),
            provider: tokens.claims.provider().to_owned(),
            subject: claim("sub").unwrap_or_default().to_owned(),
            provider_sid: claim("sid")
                .filter(|sid| !sid.is_empty())
                .map(str::to_owned),
            issued_at: issued_at.map_or(now, |at| at as UnixSeconds),
            created_at: now,
            expires_at: match renewable {
                true => ends_at,
                false => opened.expires_at,
            },
            seen_at: self.idle_timeout.map_or(0, |_| now),
            renewable: held,
        };
        self.store.open_session(&record).await?;
        Ok(opened)
    }

    /// Makes a token for a person, and what the store keeps beside it.
    pub(super) fn mint(
        &self,
        person: Person<'_>,
        sid: &str,
        ends_at: UnixSeconds,
        sealer: &Sealer,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<(Opened, Renewable), OpenError> {
        let Person {
            account,
            tokens,
            session_claims,
        } = person;
        let seal = |purpose, plain: &[u8]| sealer.seal(purpose, sid.as_bytes(), plain, random);
        let rules = self.recorded_rules(account, &session_claims);
        // An object of JSON values always has a text.
        let recorded_claims = serde_json::to_vec(&session_claims).unwrap_or_default();
        let expires_at = self.expiry(tokens.claims.expires_at(), ends_at, now);
        let claims = self.token_claims(account, session_claims, sid, random, expires_at, now);
        let (token, left_out) = self.fitting_token(claims)?;
        let refresh_token = tokens.refresh_token.as_ref().filter(|_| self.refresh);
        let refresh_token = refresh_token.map(|token| seal(Purpose::RefreshToken, token.expose()));
        let held = Renewable {
            token: Some(seal(Purpose::SessionToken, token.as_bytes())),
            token_expires_at: expires_at,
            id_token: seal(Purpose::ProviderToken, tokens.id_token.expose()),
            refresh_token,
            claims: Some(seal(Purpose::SessionClaims, &recorded_claims)),
            rules,
        };
        let opened = Opened {
            token,
            expires_at,
            left_out,
        };
        Ok((opened, held))
    }

    /// What the routes' rules say of a person, on all claims and the user as stored.
    fn recorded_rules(&self, account: &Account, claims: &ClaimSet) -> String {
        if self.rules.is_empty() {
            return "{}".to_owned();
        }
        let fields = account.user().fields.iter();
        let fields = fields.map(|(field, value)| (field.name(), value.as_str()));
        self.rules
            .record(&Subject::of_claims(claims).as_user(fields))
    }

    fn expiry(
        &self,
        id_token_expires_at: UnixSeconds,
        ends_at: UnixSeconds,
        now: UnixSeconds,
    ) -> UnixSeconds {
        let wanted = match self.lifetime {
            Lifetime::IdToken => id_token_expires_at.max(now + SHORTEST),
            Lifetime::Fixed(lifetime) => now + lifetime.as_secs() as i64,
        };
        wanted.min(ends_at)
    }

    fn token_claims(
        &self,
        account: &Account,
        mut claims: ClaimSet,
        sid: &str,
        random: &dyn Random,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> ClaimSet {
        if let Some(listed) = &self.listed_claims {
            claims.retain(|name, _| {
                listed.contains(name) || matches!(name.as_str(), "sub" | "nonce")
            });
        }
        let (issuer, audience) = self.keys.names();
        claims.insert("iss".into(), json!(issuer));
        claims.insert("aud".into(), json!(audience));
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(expires_at));
        claims.insert("sid".into(), json!(sid));
        claims.insert("jti".into(), json!(random_text::<16>(random)));
        claims.insert(self.username_claim.clone(), json!(account.username()));
        claims.remove("user");
        if !self.token_fields.is_empty() {
            let fields = self.token_fields.iter().filter_map(|field| {
                account
                    .user()
                    .field(*field)
                    .map(|value| (field.name().to_owned(), json!(value)))
            });
            claims.insert("user".into(), Value::Object(fields.collect()));
        }
        claims
    }

    /// Signs, leaving out the largest claims until the token fits its cookie: those that nothing uses, then those
    /// that rules alone use, whose verdicts are in the session's record.
    fn fitting_token(&self, mut claims: ClaimSet) -> Result<(String, Vec<String>), OpenError> {
        let mut left_out = Vec::new();
        loop {
            let token = self.keys.sign(&claims)?;
            let size = token.len() + self.cookies.session().len();
            if size <= TOKEN_BYTES {
                return Ok((token, left_out));
            }
            let spare = claims.iter().filter(|(name, _)| !self.is_needed(name));
            let Some(largest) = spare
                .max_by_key(|(name, value)| {
                    (!self.used_claims.contains(*name), value.to_string().len())
                })
                .map(|(name, _)| name.clone())
            else {
                return Err(OpenError::TooLarge { size });
            };
            claims.remove(&largest);
            left_out.push(largest);
        }
    }

    fn is_needed(&self, claim: &str) -> bool {
        const OURS: [&str; 9] = [
            "iss", "aud", "sub", "iat", "exp", "nonce", "sid", "jti", "user",
        ];
        OURS.contains(&claim) || claim == self.username_claim || self.mapped_claims.contains(claim)
    }
}
