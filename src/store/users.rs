//! Users and their identities as they are read: one by name or identity, and page by page.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::change::lock;
use super::database::Dialect;
use super::{Error, Skeleton, Store, User};
use crate::config::{UserField, UserStatus};

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

macro_rules! select_users {
    ($dialect:expr, $rest:literal) => {
        $dialect.pick(
            concat!(
                "select users.id, directory, username, skeleton, status, deactivated, elsewhere, fields, \
                 created_at, updated_at, last_login_at, \
                 (select json_group_array(json_array(issuer, subject) order by i.id) \
                 from identities i where i.user_id = users.id) as identities from users ",
                $rest
            ),
            concat!(
                "select users.id, directory, username, skeleton, status, deactivated, elsewhere, fields, \
                 created_at, updated_at, last_login_at, \
                 (select coalesce(json_agg(json_build_array(issuer, subject) order by i.id), '[]')::text \
                 from identities i where i.user_id = users.id) as identities from users ",
                $rest
            ),
        )
    };
}

impl Store {
    /// The user of that name, whatever its case and accents.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn user_by_name(&self, username: &str) -> Result<Option<User>, Error> {
        self.within_patience(async {
            let mut connection = self.0.pools.reader.acquire().await?;
            by_skeleton(&mut connection, self.0.dialect, &Skeleton::of(username)).await
        })
        .await
    }

    /// The user of that id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn user_by_id(&self, id: &str) -> Result<Option<User>, Error> {
        let look = sqlx::query(select_users!(self.0.dialect, "where users.id = $1"))
            .bind(id)
            .fetch_optional(&self.0.pools.reader);
        self.within_patience(async { look.await?.as_ref().map(user).transpose() })
            .await
    }

    /// A page of at most `limit` users in the order of their skeletons, and where the next begins;
    /// `None` after the last. No lock is held between pages.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn users(
        &self,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<(Vec<User>, Option<Cursor>), Error> {
        let statement = select_users!(
            self.0.dialect,
            "where skeleton > $1 order by skeleton limit $2"
        );
        let look = sqlx::query(statement)
            .bind(after.map_or("", |cursor| &cursor.0))
            .bind(i64::from(limit))
            .fetch_all(&self.0.pools.reader);
        self.within_patience(async { page(look.await?, limit) })
            .await
    }

    /// The same of one directory.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn users_of(
        &self,
        directory: &str,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<(Vec<User>, Option<Cursor>), Error> {
        let statement = select_users!(
            self.0.dialect,
            "where directory = $1 and skeleton > $2 order by skeleton limit $3"
        );
        let look = sqlx::query(statement)
            .bind(directory)
            .bind(after.map_or("", |cursor| &cursor.0))
            .bind(i64::from(limit))
            .fetch_all(&self.0.pools.reader);
        self.within_patience(async { page(look.await?, limit) })
            .await
    }
}

fn page(rows: Vec<AnyRow>, limit: u32) -> Result<(Vec<User>, Option<Cursor>), sqlx::Error> {
    let last = rows.last().filter(|_| rows.len() == limit as usize);
    let cursor = last.map(|row| row.try_get("skeleton").map(Cursor));
    let users: Result<Vec<User>, sqlx::Error> = rows.iter().map(user).collect();
    Ok((users?, cursor.transpose()?))
}

/// A username, whether anybody has it or not, and the row of the user who has.
pub(super) async fn lock_username(
    connection: &mut AnyConnection,
    dialect: Dialect,
    skeleton: &Skeleton,
) -> Result<(), sqlx::Error> {
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    lock(connection, dialect, &["username", skeleton.as_str()]).await?;
    sqlx::query("select 1 from users where skeleton = $1 for update")
        .bind(skeleton.as_str())
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn by_identity(
    connection: &mut AnyConnection,
    dialect: Dialect,
    issuer: &str,
    subject: &str,
) -> Result<Option<User>, sqlx::Error> {
    sqlx::query(select_users!(
        dialect,
        "where users.id = (select user_id from identities where issuer = $1 and subject = $2)"
    ))
    .bind(issuer)
    .bind(subject)
    .fetch_optional(connection)
    .await?
    .as_ref()
    .map(user)
    .transpose()
}

pub(super) async fn by_skeleton(
    connection: &mut AnyConnection,
    dialect: Dialect,
    skeleton: &Skeleton,
) -> Result<Option<User>, sqlx::Error> {
    sqlx::query(select_users!(dialect, "where skeleton = $1"))
        .bind(skeleton.as_str())
        .fetch_optional(connection)
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

/// The identities of a user, oldest first.
pub(super) async fn identities(
    connection: &mut AnyConnection,
    user: &str,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as("select issuer, subject from identities where user_id = $1 order by id")
        .bind(user)
        .fetch_all(connection)
        .await
}

pub(super) fn user(row: &AnyRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        directory: row.try_get("directory")?,
        status: match row.try_get("status")? {
            "active" => UserStatus::Active,
            // Fails closed.
            _ => UserStatus::Inactive,
        },
        deactivated: row.try_get::<i64, _>("deactivated")? != 0,
        elsewhere: row.try_get::<i64, _>("elsewhere")? != 0,
        fields: fields(row)?,
        identities: json(row, "identities")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_login_at: row.try_get("last_login_at")?,
    })
}

/// The fields that have a value, the username among them.
pub(super) fn fields(row: &AnyRow) -> Result<BTreeMap<UserField, String>, sqlx::Error> {
    let stored: BTreeMap<String, String> = json(row, "fields")?;
    let mut fields: BTreeMap<UserField, String> = stored
        .into_iter()
        .filter_map(|(name, value)| Some((UserField::from_name(&name)?, value)))
        .collect();
    fields.insert(UserField::Username, row.try_get("username")?);
    Ok(fields)
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &AnyRow,
    column: &str,
) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|fault| sqlx::Error::Decode(fault.into()))
}
