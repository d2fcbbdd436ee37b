//! Sessions and their end.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::database::Dialect;
use super::{Error, Store, provider_logout, standing};
use crate::environment::UnixSeconds;

/// A session to be recorded.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The token's `sid`.
    pub sid: String,
    /// The nonce of the authorization response it was issued for: one response, one session.
    pub sign_in: String,
    /// [`super::User::id`].
    pub user: String,
    /// `(issuer, subject)` of the user, whom the person was let in as.
    pub identity: (String, String),
    /// The provider's name.
    pub provider: String,
    /// `sub` of the ID token.
    pub subject: String,
    /// `sid` of the ID token.
    pub provider_sid: Option<String>,
    /// `iat` of the ID token.
    pub issued_at: UnixSeconds,
    /// What a renewal replaces.
    pub renewable: Renewable,
    /// When issued.
    pub created_at: UnixSeconds,
    /// When it ends by itself, however often it is renewed; the row may be dropped after that.
    pub expires_at: UnixSeconds,
    /// When it was last seen in use; 0 where nobody asks.
    pub seen_at: UnixSeconds,
}

/// What a session holds that a renewal replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewable {
    /// The session token, sealed: every node hands out the same. `None` for a session of an earlier version.
    pub token: Option<Vec<u8>>,
    /// The token's `exp`.
    pub token_expires_at: UnixSeconds,
    /// The ID token, sealed.
    pub id_token: Vec<u8>,
    /// The refresh token, sealed; `None` where the session cannot be renewed.
    pub refresh_token: Option<Vec<u8>>,
    /// The session claims of the sign-in or of the last renewal, sealed.
    pub claims: Option<Vec<u8>>,
    /// What the routes' rules said of them: a JSON object.
    pub rules: String,
}

/// Why a session was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum OpenSessionError {
    /// A session was opened for this authorization response before.
    #[error("the authorization response was used before")]
    SignInUsed,
    /// The provider ended its session while the person signed in.
    #[error("the provider has ended this sign-in meanwhile")]
    LoggedOut,
    /// The user was deactivated, or left their directory's file, while the person signed in.
    #[error("the user is not active any more")]
    Inactive,
    /// An administrator took the identity from the user while the person signed in.
    #[error("the person is not this user any more")]
    Unbound,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A session as recorded, as far as a request needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The provider's name.
    pub provider: String,
    /// The ID token, sealed.
    pub id_token: Vec<u8>,
    /// What the routes' rules said at the sign-in or the last renewal: a JSON object.
    pub rules: String,
    /// When it ends by itself.
    pub expires_at: UnixSeconds,
    /// Whether it has a refresh token.
    pub renewable: bool,
    /// When it was last seen in use, as far as that is written.
    pub seen_at: UnixSeconds,
    /// Whether it was ended (logged out).
    pub ended: bool,
}

/// A session as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSession {
    /// The token's `sid`.
    pub sid: String,
    /// The user's name.
    pub username: String,
    /// The provider's name.
    pub provider: String,
    /// When the person signed in.
    pub created_at: UnixSeconds,
    /// When it ends by itself.
    pub expires_at: UnixSeconds,
    /// Whether it has a refresh token.
    pub renewable: bool,
    /// When it was last seen in use; 0 where nobody asks.
    pub seen_at: UnixSeconds,
}

/// The claims that a user signed in with last, as the newest session that is kept has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedClaims {
    /// The session's `sid`, which they are sealed for.
    pub sid: String,
    /// The provider's name.
    pub provider: String,
    /// Sealed; `None` for a session of an earlier version.
    pub claims: Option<Vec<u8>>,
    /// When the person signed in.
    pub at: UnixSeconds,
}

impl Store {
    /// Records a session. Once this returns it survives a crash.
    ///
    /// # Errors
    /// [`OpenSessionError`].
    pub async fn open_session(&self, session: &NewSession) -> Result<(), OpenSessionError> {
        let opened = self.within_patience(self.try_to_open(session)).await?;
        opened.map_or(Ok(()), Err)
    }

    /// The reason why not, if any. A logout that comes at the same time waits, or this waits for it; so does whoever
    /// keeps the user out, since what was decided of them may be seconds old.
    async fn try_to_open(
        &self,
        session: &NewSession,
    ) -> Result<Option<OpenSessionError>, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let dialect = self.0.dialect;
        provider_logout::lock_sign_in(&mut transaction, dialect, session).await?;
        if provider_logout::names(&mut transaction, session).await? {
            return Ok(Some(OpenSessionError::LoggedOut));
        }
        if let Some(fault) = may_not_come_in(&mut transaction, dialect, session).await? {
            return Ok(Some(fault));
        }
        let held = &session.renewable;
        let inserted = sqlx::query(
            "insert into sessions (sid, sign_in, user_id, provider, subject, provider_sid, issued_at, token, \
             token_expires_at, id_token, refresh_token, claims, rules, created_at, expires_at, seen_at, issuer) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
             on conflict (sign_in) do nothing",
        )
        .bind(&session.sid)
        .bind(&session.sign_in)
        .bind(&session.user)
        .bind(&session.provider)
        .bind(&session.subject)
        .bind(&session.provider_sid)
        .bind(session.issued_at)
        .bind(&held.token)
        .bind(held.token_expires_at)
        .bind(&held.id_token)
        .bind(&held.refresh_token)
        .bind(&held.claims)
        .bind(&held.rules)
        .bind(session.created_at)
        .bind(session.expires_at)
        .bind(session.seen_at)
        .bind(&session.identity.0)
        .execute(&mut *transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Some(OpenSessionError::SignInUsed));
        }
        transaction.commit().await?;
        Ok(None)
    }

    /// The session of that `sid`; `None` if it was never recorded here or is long over.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn session(&self, sid: &str) -> Result<Option<SessionRecord>, Error> {
        let look = sqlx::query(
            "select provider, id_token, rules, expires_at, seen_at, ended_at, \
             case when refresh_token is null then 0 else 1 end as renewable \
             from sessions where sid = $1",
        )
        .bind(sid)
        .fetch_optional(&self.0.pools.reader);
        let record = |row: AnyRow| {
            Ok(SessionRecord {
                provider: row.try_get("provider")?,
                id_token: row.try_get("id_token")?,
                rules: row.try_get("rules")?,
                expires_at: row.try_get("expires_at")?,
                renewable: row.try_get::<i64, _>("renewable")? == 1,
                seen_at: row.try_get("seen_at")?,
                ended: row.try_get::<Option<i64>, _>("ended_at")?.is_some(),
            })
        };
        self.within_patience(async { look.await?.map(record).transpose() })
            .await
    }

    /// What the user of that id signed in with last, if a session of theirs is still kept.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn claims_of(&self, user: &str) -> Result<Option<RecordedClaims>, Error> {
        let look = sqlx::query(
            "select sid, provider, claims, created_at from sessions where user_id = $1 \
             order by created_at desc, sid limit 1",
        )
        .bind(user)
        .fetch_optional(&self.0.pools.reader);
        let recorded = |row: AnyRow| {
            Ok(RecordedClaims {
                sid: row.try_get("sid")?,
                provider: row.try_get("provider")?,
                claims: row.try_get("claims")?,
                at: row.try_get("created_at")?,
            })
        };
        self.within_patience(async { look.await?.map(recorded).transpose() })
            .await
    }

    /// Ends a session for good, copies of its cookie too. One that is over or unknown stays so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_session(&self, sid: &str, now: UnixSeconds) -> Result<(), Error> {
        // Both texts take the same parameters.
        let statement = self.0.dialect.pick(
            "update sessions set ended_at = $2 where sid = $1 and ended_at is null",
            "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
             where sid = $1 and ended_at is null and $2 = $2",
        );
        let update = sqlx::query(statement)
            .bind(sid)
            .bind(now)
            .execute(&self.0.pools.writer);
        self.within_patience(update).await.map(drop)
    }

    /// The `sid`s ended within the last so many seconds, by any process. Ends are told by one clock: that of the
    /// database server, or of this machine.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ended_within(&self, seconds: i64, now: UnixSeconds) -> Result<Vec<String>, Error> {
        let statement = self.0.dialect.pick(
            "select sid from sessions where ended_at >= $2 - $1",
            "select sid from sessions \
             where ended_at >= extract(epoch from clock_timestamp())::bigint - $1 and $2 = $2",
        );
        let look = sqlx::query_scalar(statement)
            .bind(seconds)
            .bind(now)
            .fetch_all(&self.0.pools.reader);
        self.within_patience(look).await
    }

    /// A page of at most `limit` live sessions in the order of their ids, behind `after`; of one user, by id, or of
    /// all.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sessions(
        &self,
        user: Option<&str>,
        after: &str,
        limit: u32,
        now: UnixSeconds,
    ) -> Result<Vec<ListedSession>, Error> {
        let look = sqlx::query(
            "select sid, username, provider, s.created_at, expires_at, seen_at, \
             case when refresh_token is null then 0 else 1 end as renewable \
             from sessions s join users u on u.id = s.user_id \
             where sid > $1 and expires_at > $2 and ended_at is null and ($3 = '' or s.user_id = $3) \
             order by sid limit $4",
        )
        .bind(after)
        .bind(now)
        .bind(user.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.0.pools.reader);
        let listed = |row: &AnyRow| {
            Ok(ListedSession {
                sid: row.try_get("sid")?,
                username: row.try_get("username")?,
                provider: row.try_get("provider")?,
                created_at: row.try_get("created_at")?,
                expires_at: row.try_get("expires_at")?,
                renewable: row.try_get::<i64, _>("renewable")? == 1,
                seen_at: row.try_get("seen_at")?,
            })
        };
        self.within_patience(async { look.await?.iter().map(listed).collect() })
            .await
    }

    /// Ends every session of one user, by id; how many there were.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_sessions_of(&self, user: &str, now: UnixSeconds) -> Result<u64, Error> {
        let statement = self.0.dialect.pick(
            "update sessions set ended_at = $1 \
             where ended_at is null and expires_at > $1 and user_id = $2",
            "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
             where ended_at is null and expires_at > $1 and user_id = $2",
        );
        let update = sqlx::query(statement)
            .bind(now)
            .bind(user)
            .execute(&self.0.pools.writer);
        let ended = self.within_patience(update).await?;
        Ok(ended.rows_affected())
    }

    /// Ends at most `limit` sessions in the order of their ids, behind `after`: the last of them, and how many there
    /// were; `None` where there is none left. All nodes are told of each, so that a million at once would outlast
    /// any patience.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_sessions_behind(
        &self,
        after: &str,
        limit: u32,
        now: UnixSeconds,
    ) -> Result<Option<(String, u64)>, Error> {
        let statement = self.0.dialect.pick(
            "update sessions set ended_at = $1 \
             where ended_at is null and expires_at > $1 and sid > $2 and sid <= $3",
            "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
             where ended_at is null and expires_at > $1 and sid > $2 and sid <= $3",
        );
        let page = async {
            let last: Option<String> = sqlx::query_scalar(
                "select max(sid) from (select sid from sessions \
                 where ended_at is null and expires_at > $1 and sid > $2 order by sid limit $3) page",
            )
            .bind(now)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_one(&self.0.pools.writer)
            .await?;
            let Some(last) = last else { return Ok(None) };
            let ended = sqlx::query(statement)
                .bind(now)
                .bind(after)
                .bind(&last)
                .execute(&self.0.pools.writer)
                .await?;
            Ok(Some((last, ended.rows_affected())))
        };
        self.within_patience(page).await
    }

    /// How many sessions are live.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn live_sessions(&self, now: UnixSeconds) -> Result<u64, Error> {
        let count = sqlx::query_scalar(
            "select count(*) from sessions where expires_at > $1 and ended_at is null",
        )
        .bind(now)
        .fetch_one(&self.0.pools.reader);
        self.within_patience(count).await.map(i64::unsigned_abs)
    }
}

/// Ends every session of a user, in the transaction of what ends them.
pub(super) async fn end_all(
    connection: &mut sqlx::AnyConnection,
    dialect: Dialect,
    user: &str,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    let statement = dialect.pick(
        "update sessions set ended_at = $2 where user_id = $1 and ended_at is null",
        "update sessions set ended_at = extract(epoch from clock_timestamp())::bigint \
         where user_id = $1 and ended_at is null and $2 = $2",
    );
    sqlx::query(statement)
        .bind(user)
        .bind(now)
        .execute(connection)
        .await
        .map(drop)
}

/// Whoever keeps a user out ends the sessions that are there: one that is opened in that moment would go on.
async fn may_not_come_in(
    connection: &mut AnyConnection,
    dialect: Dialect,
    session: &NewSession,
) -> Result<Option<OpenSessionError>, sqlx::Error> {
    // Apart from the look at the identity, which is to see what a transaction wrote that this waited for.
    let statement = dialect.pick(
        "select status, deactivated from users where id = $1",
        "select status, deactivated from users where id = $1 for share",
    );
    let user = sqlx::query(statement)
        .bind(&session.user)
        .fetch_optional(&mut *connection)
        .await?;
    let is_active = user.as_ref().map(standing::is_active).transpose()?;
    let bound: Option<i64> = sqlx::query_scalar(
        "select id from identities where issuer = $1 and subject = $2 and user_id = $3",
    )
    .bind(&session.identity.0)
    .bind(&session.identity.1)
    .bind(&session.user)
    .fetch_optional(connection)
    .await?;
    Ok(match (is_active, bound) {
        (Some(true), Some(_)) => None,
        (Some(true), None) | (None, _) => Some(OpenSessionError::Unbound),
        (Some(false), _) => Some(OpenSessionError::Inactive),
    })
}
