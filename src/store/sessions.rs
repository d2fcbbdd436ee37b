//! Sessions and their end, noted sign-ins, and the housekeeping of what grows.

use std::collections::HashMap;
use std::sync::PoisonError;

use sqlx::Row;

use super::{Error, NewSession, OpenSessionError, SessionRecord, Store};
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
    /// Records a session. Once this returns it survives a crash.
    ///
    /// # Errors
    /// [`OpenSessionError`].
    pub async fn open_session(&self, session: &NewSession) -> Result<(), OpenSessionError> {
        let written = sqlx::query(
            "insert into sessions (sid, sign_in, user_id, provider, id_token, created_at, expires_at) \
             values (?, ?, ?, ?, ?, ?, ?) on conflict (sign_in) do nothing",
        )
        .bind(&session.sid)
        .bind(&session.sign_in)
        .bind(&session.user)
        .bind(&session.provider)
        .bind(&session.id_token)
        .bind(session.created_at)
        .bind(session.expires_at)
        .execute(&self.0.pools.writer)
        .await
        .map_err(|fault| self.fault(fault))?;
        match written.rows_affected() {
            0 => Err(OpenSessionError::SignInUsed),
            _ => Ok(()),
        }
    }

    /// The session of that `sid`; `None` if it was never recorded here or is long over.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn session(&self, sid: &str) -> Result<Option<SessionRecord>, Error> {
        let row = sqlx::query("select provider, id_token, ended_at from sessions where sid = ?")
            .bind(sid)
            .fetch_optional(&self.0.pools.reader)
            .await;
        let record = |row: sqlx::sqlite::SqliteRow| {
            Ok(SessionRecord {
                provider: row.try_get("provider")?,
                id_token: row.try_get("id_token")?,
                ended: row.try_get::<Option<i64>, _>("ended_at")?.is_some(),
            })
        };
        row.and_then(|row| row.map(record).transpose())
            .map_err(|fault| self.fault(fault))
    }

    /// Ends a session for good, copies of its cookie too. One that is over or unknown stays so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_session(&self, sid: &str, now: UnixSeconds) -> Result<(), Error> {
        sqlx::query("update sessions set ended_at = ? where sid = ? and ended_at is null")
            .bind(now)
            .bind(sid)
            .execute(&self.0.pools.writer)
            .await
            .map(drop)
            .map_err(|fault| self.fault(fault))
    }

    /// The `sid`s ended at or after `since`, by any process.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ended_since(&self, since: UnixSeconds) -> Result<Vec<String>, Error> {
        sqlx::query_scalar("select sid from sessions where ended_at >= ?")
            .bind(since)
            .fetch_all(&self.0.pools.reader)
            .await
            .map_err(|fault| self.fault(fault))
    }

    /// How many sessions are live.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn live_sessions(&self, now: UnixSeconds) -> Result<u64, Error> {
        let live: Result<i64, sqlx::Error> = sqlx::query_scalar(
            "select count(*) from sessions where expires_at > ? and ended_at is null",
        )
        .bind(now)
        .fetch_one(&self.0.pools.reader)
        .await;
        live.map(i64::unsigned_abs)
            .map_err(|fault| self.fault(fault))
    }

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
            "delete from sessions where sid in (select sid from sessions where expires_at < ? limit ?)",
            now.saturating_sub(KEPT_AFTER_EXPIRY),
        )
        .await?;
        self.delete_in_batches(
            "delete from audit where id in (select id from audit where at < ? limit ?)",
            audit_before,
        )
        .await
    }

    async fn write_logins(&self) -> Result<(), Error> {
        let noted: Vec<(String, UnixSeconds)> = self.logins().drain().collect();
        for (written, batch) in noted.chunks(BATCH).enumerate() {
            if let Err(fault) = self.write_login_batch(batch).await {
                for (user, time) in &noted[written * BATCH..] {
                    self.note_login(user, *time);
                }
                return Err(self.fault(fault));
            }
        }
        Ok(())
    }

    async fn write_login_batch(&self, batch: &[(String, UnixSeconds)]) -> Result<(), sqlx::Error> {
        let mut transaction = self.0.pools.writer.begin_with("BEGIN IMMEDIATE").await?;
        for (user, time) in batch {
            sqlx::query(
                "update users set last_login_at = ?1 \
                 where id = ?2 and coalesce(last_login_at, ?1 - 1) < ?1",
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
            let deleted = sqlx::query(statement)
                .bind(before)
                .bind(BATCH as i64)
                .execute(&self.0.pools.writer)
                .await
                .map_err(|fault| self.fault(fault))?;
            if deleted.rows_affected() < BATCH as u64 {
                return Ok(());
            }
        }
    }
}
