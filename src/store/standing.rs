//! Whether somebody with an access token may come in: the user of an identity as they are now, and which users
//! were changed since. Sessions are ended by name (`sessions.rs`); access tokens are nobody's but the provider's,
//! so whoever remembers one follows its user instead.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::database::Dialect;
use super::{Error, Store, users};
use crate::config::{UserField, UserStatus};
use crate::environment::UnixSeconds;

/// The user of an identity, as stored now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// [`super::User::id`].
    pub user: String,
    /// Counts the times that the user was written.
    pub version: i64,
    /// Whether the user may come in.
    pub active: bool,
    /// The fields that have a value; `Username` always has.
    pub fields: BTreeMap<UserField, String>,
}

/// A user who was written of late, with one of their identities, or with none that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedUser {
    /// [`super::User::id`].
    pub user: String,
    /// Counts the times that the user was written.
    pub version: i64,
    /// Whether the user may come in.
    pub active: bool,
    /// `(issuer, subject)`.
    pub identity: Option<(String, String)>,
}

impl Store {
    /// The user of an identity.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn standing(&self, issuer: &str, subject: &str) -> Result<Option<Standing>, Error> {
        let look = sqlx::query(
            "select users.id, version, username, status, deactivated, fields from users \
             join identities on identities.user_id = users.id where issuer = $1 and subject = $2",
        )
        .bind(issuer)
        .bind(subject)
        .fetch_optional(&self.0.pools.reader);
        let standing = |row: AnyRow| {
            Ok(Standing {
                user: row.try_get("id")?,
                version: row.try_get("version")?,
                active: is_active(&row)?,
                fields: users::fields(&row)?,
            })
        };
        self.within_patience(async { look.await?.map(standing).transpose() })
            .await
    }

    /// The users that were written within the last so many seconds, by any process, a row an identity. Times are
    /// told as those of ended sessions are ([`Store::ended_within`]).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn changed_within(
        &self,
        seconds: i64,
        now: UnixSeconds,
    ) -> Result<Vec<ChangedUser>, Error> {
        let statement = self.0.dialect.pick(
            "select users.id, version, status, deactivated, issuer, subject from users \
             left join identities on identities.user_id = users.id where changed_at >= $2 - $1",
            "select users.id, version, status, deactivated, issuer, subject from users \
             left join identities on identities.user_id = users.id \
             where changed_at >= extract(epoch from clock_timestamp())::bigint - $1 and $2 = $2",
        );
        let look = sqlx::query(statement)
            .bind(seconds)
            .bind(now)
            .fetch_all(&self.0.pools.reader);
        let changed = |row: AnyRow| {
            let issuer: Option<String> = row.try_get("issuer")?;
            Ok(ChangedUser {
                user: row.try_get("id")?,
                version: row.try_get("version")?,
                active: is_active(&row)?,
                identity: issuer.zip(row.try_get("subject")?),
            })
        };
        self.within_patience(async { look.await?.into_iter().map(changed).collect() })
            .await
    }
}

pub(super) fn is_active(row: &AnyRow) -> Result<bool, sqlx::Error> {
    let active = row.try_get::<&str, _>("status")? == UserStatus::Active.as_str();
    Ok(active && row.try_get::<i64, _>("deactivated")? == 0)
}

/// Notes that a user was written, in the transaction that does it.
pub(super) async fn is_changed(
    connection: &mut sqlx::AnyConnection,
    dialect: Dialect,
    user: &str,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    let statement = dialect.pick(
        "update users set version = version + 1, changed_at = $2 where id = $1",
        "update users set version = version + 1, \
         changed_at = extract(epoch from clock_timestamp())::bigint where id = $1 and $2 = $2",
    );
    sqlx::query(statement)
        .bind(user)
        .bind(now)
        .execute(connection)
        .await
        .map(drop)
}
