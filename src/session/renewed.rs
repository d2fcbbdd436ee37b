//! The tokens that come after a session's first: after a renewal, while a renewal has to wait, and after a change
//! of keys. The session stays the same: its `sid`, its end, its copies.

use std::sync::Arc;

use serde_json::{Value, json};

use super::opening::Person;
use super::{OpenError, Opened, Renewal, Sessions};
use crate::environment::{Random, UnixSeconds, random_text};
use crate::oidc::{ClaimSet, VerifiedTokens};
use crate::provisioning::Account;
use crate::sealing::{Purpose, Sealer};
use crate::store::{self, Claimed, Renewable};

/// What a renewal found.
#[derive(Debug)]
pub struct Renewed<'s> {
    /// The user, synchronised.
    pub account: &'s Account,
    /// What the provider says now.
    pub tokens: &'s VerifiedTokens,
    /// Its claims as the session token carries them.
    pub session_claims: ClaimSet,
}

impl Sessions {
    /// The next token of a session, and what the store keeps beside it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn renew(
        &self,
        sid: &str,
        claimed: &Claimed,
        renewed: Renewed<'_>,
        sealer: &Sealer,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<(Opened, Renewable), OpenError> {
        let person = Person {
            account: renewed.account,
            tokens: renewed.tokens,
            session_claims: renewed.session_claims,
        };
        self.mint(person, sid, claimed.expires_at, sealer, random, now)
    }

    /// The same token once more, good until `expires_at`: nothing could be learned of the session.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn extend(
        &self,
        claims: &ClaimSet,
        expires_at: UnixSeconds,
        random: &dyn Random,
        now: UnixSeconds,
    ) -> Result<String, OpenError> {
        let mut claims = claims.clone();
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(expires_at));
        claims.insert("jti".into(), json!(random_text::<16>(random)));
        Ok(self.keys.sign(&claims)?)
    }

    /// The same token once more, signed by the key that signs now.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn sign_again(&self, claims: &ClaimSet) -> Result<String, OpenError> {
        Ok(self.keys.sign(claims)?)
    }

    /// The session token that the store keeps, and what it says, if it is still genuine.
    pub fn kept_token(
        &self,
        sid: &str,
        sealed: &[u8],
        sealer: &Sealer,
        now: UnixSeconds,
    ) -> Option<(String, UnixSeconds)> {
        let opened = sealer
            .open(Purpose::SessionToken, sid.as_bytes(), sealed)
            .ok()?;
        let token = String::from_utf8(opened).ok()?;
        let genuine = self.keys.verify(&token, now)?;
        (genuine.claims.get("sid").and_then(Value::as_str) == Some(sid))
            .then_some((token, genuine.expires_at))
    }

    /// The store did not take this session's newest refresh token: it is handed over once it answers.
    pub fn keep_later(&self, sid: &str, renewal: &Arc<Renewal>) {
        self.unkept.add(sid, renewal);
    }

    /// Hands over what waits.
    ///
    /// # Errors
    /// [`store::Error`]; the rest waits for the next round.
    pub(super) async fn keep_unkept(&self) -> Result<(), store::Error> {
        while let Some((sid, renewal)) = self.unkept.first() {
            if let Some(unkept) = renewal.unkept() {
                let (sealed, former) = (&unkept.sealed, unkept.instead_of.as_deref());
                self.store
                    .replace_refresh_token(&sid, sealed, former)
                    .await?;
                renewal.kept(&unkept);
            }
            self.unkept.done(&renewal);
        }
        Ok(())
    }

    /// Ends a session here and in the store; where that does not answer, it is told later.
    pub async fn end_here(&self, sid: &str, now: UnixSeconds) {
        self.ends.register(sid).end();
        if let Err(error) = self.store.end_session(sid, now).await {
            self.store_answers(Err(&error));
            self.ends.keep(sid, now);
        }
    }
}
