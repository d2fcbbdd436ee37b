//! Renewals of sessions: one in flight a session over all nodes, by a lease that ends by itself when its node
//! dies; and the last requests of sessions, which nodes write together.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Error, Renewable, Store};
use crate::environment::UnixSeconds;

/// How long a node has for one renewal, in seconds: longer than its provider and its store may take.
const LEASE: i64 = 40;
/// Rows that one transaction touches.
const BATCH: usize = 500;

/// A session whose renewal this node has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Names the lease.
    pub lease: String,
    /// [`super::User::id`].
    pub user: String,
    /// The provider's name.
    pub provider: String,
    /// The nonce of the authorization request.
    pub nonce: String,
    /// When it ends by itself.
    pub expires_at: UnixSeconds,
    /// What it holds now.
    pub held: Renewable,
}

/// What came of claiming a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// This node renews it.
    Ours(Box<Claimed>),
    /// Another node does.
    Theirs,
    /// It was ended, or is not known.
    Ended,
}

impl Store {
    /// Claims the renewal of a session under the name `lease`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn claim_renewal(
        &self,
        sid: &str,
        lease: &str,
        now: UnixSeconds,
    ) -> Result<Claim, Error> {
        // By the clock of the server, since those of the nodes may differ.
        let statement = self.0.dialect.pick(
            "update sessions set renewing = $2, renewing_until = $3 + $4 \
             where sid = $1 and ended_at is null and renewing_until < $3",
            "update sessions set renewing = $2, \
             renewing_until = extract(epoch from clock_timestamp())::bigint + $4 \
             where sid = $1 and ended_at is null and $3 = $3 \
             and renewing_until < extract(epoch from clock_timestamp())::bigint",
        );
        let claim = async {
            let claimed = sqlx::query(statement)
                .bind(sid)
                .bind(lease)
                .bind(now)
                .bind(LEASE)
                .execute(&self.0.pools.writer)
                .await?;
            let held = sqlx::query(
                "select user_id, provider, sign_in, expires_at, token, token_expires_at, id_token, refresh_token, \
                 claims, rules from sessions where sid = $1 and ended_at is null",
            )
            .bind(sid)
            .fetch_optional(&self.0.pools.writer)
            .await?;
            match (held, claimed.rows_affected()) {
                (None, _) => Ok(Claim::Ended),
                (Some(_), 0) => Ok(Claim::Theirs),
                (Some(row), _) => Ok(Claim::Ours(Box::new(claimed_row(&row, lease)?))),
            }
        };
        self.within_patience(claim).await
    }

    /// Keeps the refresh token that took the place of the one used.
    ///
    /// # Errors
    /// [`Error`]; the provider takes the former one no more.
    pub async fn keep_refresh_token(&self, sid: &str, sealed: &[u8]) -> Result<(), Error> {
        let update = sqlx::query("update sessions set refresh_token = $2 where sid = $1")
            .bind(sid)
            .bind(sealed)
            .execute(&self.0.pools.writer);
        self.within_patience(update).await.map(drop)
    }

    /// The same later on, unless another has taken the former one's place meanwhile.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn replace_refresh_token(
        &self,
        sid: &str,
        sealed: &[u8],
        former: Option<&[u8]>,
    ) -> Result<(), Error> {
        let update = sqlx::query(
            "update sessions set refresh_token = $2 where sid = $1 and refresh_token = $3",
        )
        .bind(sid)
        .bind(sealed)
        .bind(former)
        .execute(&self.0.pools.writer);
        self.within_patience(update).await.map(drop)
    }

    /// Records what a renewal gave, and ends its lease. Whether the session was still ours to renew: it may have
    /// been ended meanwhile.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn settle_renewal(
        &self,
        sid: &str,
        lease: &str,
        held: &Renewable,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let update = sqlx::query(
            "update sessions set token = $3, token_expires_at = $4, id_token = $5, claims = $6, rules = $7, \
             seen_at = case when seen_at between 1 and $8 then $8 else seen_at end, renewing = null, renewing_until = 0 \
             where sid = $1 and renewing = $2 and ended_at is null",
        )
        .bind(sid)
        .bind(lease)
        .bind(&held.token)
        .bind(held.token_expires_at)
        .bind(&held.id_token)
        .bind(&held.claims)
        .bind(&held.rules)
        .bind(now)
        .execute(&self.0.pools.writer);
        let settled = self.within_patience(update).await?;
        Ok(settled.rows_affected() == 1)
    }

    /// Gives a lease back with nothing done.
    ///
    /// # Errors
    /// [`Error`]; it ends by itself.
    pub async fn release_renewal(&self, sid: &str, lease: &str) -> Result<(), Error> {
        let update = sqlx::query(
            "update sessions set renewing = null, renewing_until = 0 where sid = $1 and renewing = $2",
        )
        .bind(sid)
        .bind(lease)
        .execute(&self.0.pools.writer);
        self.within_patience(update).await.map(drop)
    }

    /// The newest token of a live session, sealed, with its `exp`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn newest_token(&self, sid: &str) -> Result<Option<(Vec<u8>, UnixSeconds)>, Error> {
        let look = sqlx::query(
            "select token, token_expires_at from sessions where sid = $1 and ended_at is null",
        )
        .bind(sid)
        .fetch_optional(&self.0.pools.reader);
        let token = |row: AnyRow| {
            let token: Option<Vec<u8>> = row.try_get("token")?;
            let expires_at = row.try_get("token_expires_at")?;
            Ok(token.map(|token| (token, expires_at)))
        };
        let found = async { look.await?.map(token).transpose() };
        self.within_patience(found).await.map(Option::flatten)
    }

    /// Writes when sessions were last seen in use.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn note_seen(&self, seen: &[(String, UnixSeconds)]) -> Result<(), Error> {
        for batch in seen.chunks(BATCH) {
            let write = async {
                let mut transaction = self.begin().await?;
                for (sid, at) in batch {
                    sqlx::query("update sessions set seen_at = $2 where sid = $1 and seen_at < $2")
                        .bind(sid)
                        .bind(at)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            };
            self.within_patience(write).await?;
        }
        Ok(())
    }
}

fn claimed_row(row: &AnyRow, lease: &str) -> Result<Claimed, sqlx::Error> {
    Ok(Claimed {
        lease: lease.to_owned(),
        user: row.try_get("user_id")?,
        provider: row.try_get("provider")?,
        nonce: row.try_get("sign_in")?,
        expires_at: row.try_get("expires_at")?,
        held: Renewable {
            token: row.try_get("token")?,
            token_expires_at: row.try_get("token_expires_at")?,
            id_token: row.try_get("id_token")?,
            refresh_token: row.try_get("refresh_token")?,
            claims: row.try_get("claims")?,
            rules: row.try_get("rules")?,
        },
    })
}
