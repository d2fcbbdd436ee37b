//! Users, their identities and the usernames they gave up, as they are read: what bears on a sign-in, one by
//! name, and page by page.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Error, Skeleton, Store, User};
use crate::config::{UserField, UserStatus};

/// What is asked of the store about one sign-in.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who signs in: `iss`.
    pub issuer: &'a str,
    /// Who signs in: the subject claim.
    pub subject: &'a str,
    /// The username that comes with them, if it is one.
    pub username: Option<&'a str>,
    /// The directory whose users are counted.
    pub directory: &'a str,
    /// Count up to here; `None` where nobody needs the number.
    pub count_to: Option<u64>,
}

/// What the store knows that bears on a sign-in. What cannot matter any more is not looked up: a known
/// identity that keeps its username is one read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The user of this identity.
    pub by_identity: Option<User>,
    /// The user of this username, where it is not the identity's own.
    pub by_username: Option<User>,
    /// This username was given up, by the user of that id (`Some("")` if that user is gone).
    pub given_up_by: Option<String>,
    /// Users of the directory, counted up to `count_to`, where nobody is known.
    pub users: u64,
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "select users.id, directory, username, skeleton, status, fields, created_at, updated_at, \
             last_login_at, (select json_group_array(json_array(issuer, subject) order by i.id) \
             from identities i where i.user_id = users.id) as identities from users ",
            $rest
        )
    };
}

impl Store {
    /// What bears on a sign-in, as it is now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn facts(&self, question: &Question<'_>) -> Result<Facts, Error> {
        let read = async {
            let mut connection = self.0.pools.reader.acquire().await?;
            facts(&mut connection, question).await
        };
        read.await.map_err(|fault| self.fault(fault))
    }

    /// The user of that name, whatever its case and accents.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn user_by_name(&self, username: &str) -> Result<Option<User>, Error> {
        let read = async {
            let mut connection = self.0.pools.reader.acquire().await?;
            by_skeleton(&mut connection, &Skeleton::of(username)).await
        };
        read.await.map_err(|fault| self.fault(fault))
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
        let rows = sqlx::query(select_users!(
            "where skeleton > ? order by skeleton limit ?"
        ))
        .bind(after.map_or("", |cursor| &cursor.0))
        .bind(limit)
        .fetch_all(&self.0.pools.reader)
        .await;
        let page = |rows: Vec<SqliteRow>| {
            let last = rows.last().filter(|_| rows.len() == limit as usize);
            let cursor = last.map(|row| row.try_get("skeleton").map(Cursor));
            let users: Result<Vec<User>, sqlx::Error> = rows.iter().map(user).collect();
            Ok((users?, cursor.transpose()?))
        };
        rows.and_then(page).map_err(|fault| self.fault(fault))
    }
}

pub(super) async fn facts(
    connection: &mut SqliteConnection,
    question: &Question<'_>,
) -> Result<Facts, sqlx::Error> {
    let mut facts = Facts {
        by_identity: by_identity(connection, question.issuer, question.subject).await?,
        ..Facts::default()
    };
    let Some(wanted) = question.username.map(Skeleton::of) else {
        return Ok(facts);
    };
    if let Some(user) = &facts.by_identity
        && Skeleton::of(user.username()) == wanted
    {
        return Ok(facts);
    }
    facts.by_username = by_skeleton(connection, &wanted).await?;
    facts.given_up_by = given_up_by(connection, &wanted).await?;
    let unknown = facts.by_identity.is_none() && facts.by_username.is_none();
    if let Some(limit) = question.count_to.filter(|_| unknown) {
        facts.users = count(connection, question.directory, limit).await?;
    }
    Ok(facts)
}

async fn by_identity(
    connection: &mut SqliteConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<User>, sqlx::Error> {
    sqlx::query(select_users!(
        "where users.id = (select user_id from identities where issuer = ? and subject = ?)"
    ))
    .bind(issuer)
    .bind(subject)
    .fetch_optional(connection)
    .await?
    .as_ref()
    .map(user)
    .transpose()
}

async fn by_skeleton(
    connection: &mut SqliteConnection,
    skeleton: &Skeleton,
) -> Result<Option<User>, sqlx::Error> {
    sqlx::query(select_users!("where skeleton = ?"))
        .bind(skeleton.as_str())
        .fetch_optional(connection)
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

async fn given_up_by(
    connection: &mut SqliteConnection,
    skeleton: &Skeleton,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select coalesce(user_id, '') from given_up_usernames where skeleton = ?")
        .bind(skeleton.as_str())
        .fetch_optional(connection)
        .await
}

async fn count(
    connection: &mut SqliteConnection,
    directory: &str,
    limit: u64,
) -> Result<u64, sqlx::Error> {
    let counted: i64 = sqlx::query_scalar(
        "select count(*) from (select 1 from users where directory = ? limit ?)",
    )
    .bind(directory)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_one(connection)
    .await?;
    Ok(counted.unsigned_abs())
}

fn user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    let stored: BTreeMap<String, String> = json(row, "fields")?;
    let mut fields: BTreeMap<UserField, String> = stored
        .into_iter()
        .filter_map(|(name, value)| Some((UserField::from_name(&name)?, value)))
        .collect();
    fields.insert(UserField::Username, row.try_get("username")?);
    Ok(User {
        id: row.try_get("id")?,
        directory: row.try_get("directory")?,
        status: match row.try_get("status")? {
            "active" => UserStatus::Active,
            // Fails closed.
            _ => UserStatus::Inactive,
        },
        fields,
        identities: json(row, "identities")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_login_at: row.try_get("last_login_at")?,
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|fault| sqlx::Error::Decode(fault.into()))
}
