//! Noted sign-ins, and the housekeeping of what grows.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::{Error, Store};
use crate::environment::UnixSeconds;

/// Users whose last sign-in may wait to be written; over it a note is dropped: `last_login_at` is then
/// old, nothing else.
const NOTED_LOGINS: usize = 100_000;

/// Rows that one transaction of housekeeping touches, so that a sign-in never waits long behind it.
const BATCH: usize = 500;

/// How long a session's row outlives it. The state of an authorization response is good for ten
/// minutes, a session may be shorter: its row still has to say that the response was used.
const KEPT_AFTER_EXPIRY: UnixSeconds = 3600;

impl Store {
    /// Notes a sign-in that was let in; written in batches by [`Store::keep_house`].
    pub fn note_login(&self, user: &str, now: UnixSeconds) {
        let mut logins = self.logins();
        if logins.len() < NOTED_LOGINS || logins.contains_key(user) {
            let noted = logins.entry(user.to_owned()).or_insert(now);
            *noted = now.max(*noted);
        }
    }

    fn logins(&self) -> std::sync::MutexGuard<'_, HashMap<String, UnixSeconds>> {
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One round of housekeeping: writes noted logins, drops sessions that are over and audit rows
    /// older than `audit_before`.
    ///
    /// # Errors
    /// [`Error`]; noted logins that were not written wait for the next round.
    pub async fn keep_house(
        &self,
        now: UnixSeconds,
        audit_before: UnixSeconds,
    ) -> Result<(), Error> {
        self.write_logins().await?;
        self.delete_in_batches(
            "delete from sessions where sid in (select sid from sessions where expires_at < $1 limit $2)",
            now.saturating_sub(KEPT_AFTER_EXPIRY),
        )
        .await?;
        self.delete_in_batches(
            "delete from provider_logouts where (provider, jti) in \
             (select provider, jti from provider_logouts where kept_until < $1 limit $2)",
            now,
        )
        .await?;
        self.delete_in_batches(
            "delete from kept_forms where id in (select id from kept_forms where expires_at < $1 limit $2)",
            now,
        )
        .await?;
        self.delete_in_batches(
            "delete from audit where id in (select id from audit where at < $1 limit $2)",
            audit_before,
        )
        .await
    }

    async fn write_logins(&self) -> Result<(), Error> {
        let mut noted: Vec<(String, UnixSeconds)> = self.logins().drain().collect();
        // In one order on every node, so that two of them never wait for each other's rows.
        noted.sort_unstable();
        for (written, batch) in noted.chunks(BATCH).enumerate() {
            if let Err(fault) = self.within_patience(self.write_login_batch(batch)).await {
                for (user, time) in &noted[written * BATCH..] {
                    self.note_login(user, *time);
                }
                return Err(fault);
            }
        }
        Ok(())
    }

    async fn write_login_batch(&self, batch: &[(String, UnixSeconds)]) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin().await?;
        for (user, time) in batch {
            sqlx::query(
                "update users set last_login_at = $1 \
                 where id = $2 and coalesce(last_login_at, $1 - 1) < $1",
            )
            .bind(time)
            .bind(user)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }

    async fn delete_in_batches(
        &self,
        statement: &'static str,
        before: UnixSeconds,
    ) -> Result<(), Error> {
        loop {
            let delete = sqlx::query(statement)
                .bind(before)
                .bind(BATCH as i64)
                .execute(&self.0.pools.writer);
            if self.within_patience(delete).await?.rows_affected() < BATCH as u64 {
                return Ok(());
            }
        }
    }
}
