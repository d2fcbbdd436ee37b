//! Logouts that a provider tells (Back-Channel Logout 1.0, Front-Channel Logout 1.0). Each is remembered for a
//! while: a sign-in that was on its way when it came is not let in by it, and nobody plays it again.

use sqlx::{Any, AnyConnection, Transaction};

use super::change;
use super::database::Dialect;
use super::{Error, NewSession, Store};
use crate::environment::UnixSeconds;

/// Whose sessions a provider ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderLogout {
    /// The provider's name.
    pub provider: String,
    /// `iss`: a `sid` and a subject are somebody's at one issuer only.
    pub issuer: String,
    /// `jti` of the logout token: it counts once.
    pub jti: String,
    /// The provider's session; every session of ours that came of it ends.
    pub sid: Option<String>,
    /// The person: every session ends that began before; with a `sid` beside it, only those that are not known to be of
    /// any session of the provider's.
    pub subject: Option<String>,
    /// When the provider said so.
    pub issued_at: UnixSeconds,
    /// How long it is remembered.
    pub kept_until: UnixSeconds,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoutRecord {
    /// So many sessions ended.
    Ended(u64),
    /// It was recorded before.
    Replayed,
}

impl Store {
    /// Records a logout and ends the sessions that it names.
    ///
    /// # Errors
    /// [`Error`]; then nothing is recorded.
    pub async fn log_out(
        &self,
        logout: &ProviderLogout,
        now: UnixSeconds,
    ) -> Result<LogoutRecord, Error> {
        self.within_patience(self.try_to_log_out(logout, now)).await
    }

    /// Ends every session of ours that came of a provider's session; how many there were. Anybody can ask for it, so
    /// where there is none nothing is written.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_provider_session(
        &self,
        provider: &str,
        issuer: &str,
        sid: &str,
        now: UnixSeconds,
    ) -> Result<u64, Error> {
        let look = sqlx::query_scalar::<_, i64>(
            "select count(*) from sessions where provider = $1 and provider_sid = $2 \
             and (issuer = $3 or issuer is null) and ended_at is null",
        )
        .bind(provider)
        .bind(sid)
        .bind(issuer)
        .fetch_one(&self.0.pools.reader);
        if self.within_patience(look).await? == 0 {
            return Ok(0);
        }
        let statement = self.0.dialect.pick(
            "update sessions set ended_at = $3 \
             where provider = $1 and provider_sid = $2 and (issuer = $4 or issuer is null) \
             and ended_at is null",
            "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
             where provider = $1 and provider_sid = $2 and (issuer = $4 or issuer is null) \
             and ended_at is null and $3 = $3",
        );
        let update = sqlx::query(statement)
            .bind(provider)
            .bind(sid)
            .bind(now)
            .bind(issuer)
            .execute(&self.0.pools.writer);
        let ended = self.within_patience(update).await?;
        Ok(ended.rows_affected())
    }

    async fn try_to_log_out(
        &self,
        logout: &ProviderLogout,
        now: UnixSeconds,
    ) -> Result<LogoutRecord, sqlx::Error> {
        let mut transaction = self.begin().await?;
        lock_logout(&mut transaction, self.0.dialect, logout).await?;
        let recorded = sqlx::query(
            "insert into provider_logouts (provider, jti, sid, subject, issued_at, kept_until, issuer) \
             values ($1, $2, $3, $4, $5, $6, $7) on conflict (provider, jti) do nothing",
        )
        .bind(&logout.provider)
        .bind(&logout.jti)
        .bind(&logout.sid)
        .bind(&logout.subject)
        .bind(logout.issued_at)
        .bind(logout.kept_until)
        .bind(&logout.issuer)
        .execute(&mut *transaction)
        .await?;
        if recorded.rows_affected() == 0 {
            return Ok(LogoutRecord::Replayed);
        }
        let ended = self.end_named(&mut transaction, logout, now).await?;
        transaction.commit().await?;
        Ok(LogoutRecord::Ended(ended))
    }

    async fn end_named(
        &self,
        transaction: &mut Transaction<'static, Any>,
        logout: &ProviderLogout,
        now: UnixSeconds,
    ) -> Result<u64, sqlx::Error> {
        let by_sid = self.0.dialect.pick(
            "update sessions set ended_at = $3 \
             where provider = $1 and provider_sid = $2 and (issuer = $5 or issuer is null) \
             and ended_at is null and $4 = $4",
            "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
             where provider = $1 and provider_sid = $2 and (issuer = $5 or issuer is null) \
             and ended_at is null and $3 = $3 and $4 = $4",
        );
        let by_subject = self.0.dialect.pick(
            "update sessions set ended_at = $3 \
             where provider = $1 and subject = $2 and (issuer = $5 or issuer is null) \
             and issued_at <= $4 and ended_at is null",
            "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
             where provider = $1 and subject = $2 and (issuer = $5 or issuer is null) \
             and issued_at <= $4 and ended_at is null and $3 = $3",
        );
        // Its ID tokens name no session: which of the person's it is cannot be told, so that all of them are.
        let by_either = self.0.dialect.pick(
            "update sessions set ended_at = $3 \
             where provider = $1 and subject = $2 and (issuer = $5 or issuer is null) \
             and provider_sid is null and issued_at <= $4 and ended_at is null",
            "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
             where provider = $1 and subject = $2 and (issuer = $5 or issuer is null) \
             and provider_sid is null and issued_at <= $4 and ended_at is null and $3 = $3",
        );
        let of_subject = match logout.sid {
            Some(_) => by_either,
            None => by_subject,
        };
        let mut ended = 0;
        for (statement, named) in [(by_sid, &logout.sid), (of_subject, &logout.subject)] {
            let Some(named) = named else { continue };
            let update = sqlx::query(statement)
                .bind(&logout.provider)
                .bind(named)
                .bind(now)
                .bind(logout.issued_at)
                .bind(&logout.issuer)
                .execute(&mut **transaction);
            ended += update.await?.rows_affected();
        }
        Ok(ended)
    }
}

/// A sign-in and a logout that names it do not overlap: whichever comes second sees the first.
pub(super) async fn lock_sign_in(
    connection: &mut AnyConnection,
    dialect: Dialect,
    session: &NewSession,
) -> Result<(), sqlx::Error> {
    if let Some(sid) = &session.provider_sid {
        change::lock(connection, dialect, &["logout sid", &session.provider, sid]).await?;
    }
    let subject = ["logout sub", &session.provider, &session.subject];
    change::lock(connection, dialect, &subject).await
}

async fn lock_logout(
    connection: &mut AnyConnection,
    dialect: Dialect,
    logout: &ProviderLogout,
) -> Result<(), sqlx::Error> {
    // In the order of a sign-in.
    for (kind, named) in [("logout sid", &logout.sid), ("logout sub", &logout.subject)] {
        if let Some(named) = named {
            change::lock(connection, dialect, &[kind, &logout.provider, named]).await?;
        }
    }
    Ok(())
}

/// Whether a remembered logout names the sign-in of this session.
pub(super) async fn names(
    connection: &mut AnyConnection,
    session: &NewSession,
) -> Result<bool, sqlx::Error> {
    let named: i64 = sqlx::query_scalar(
        "select (select count(*) from provider_logouts \
            where provider = $1 and sid = $2 and (issuer = $5 or issuer is null)) \
         + (select count(*) from provider_logouts \
            where provider = $1 and subject = $3 and (issuer = $5 or issuer is null) \
            and (sid is null or $2 is null) and issued_at >= $4)",
    )
    .bind(&session.provider)
    .bind(&session.provider_sid)
    .bind(&session.subject)
    .bind(session.issued_at)
    .bind(&session.identity.0)
    .fetch_one(connection)
    .await?;
    Ok(named > 0)
}
