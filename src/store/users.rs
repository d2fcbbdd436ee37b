//! Users, their identities and the usernames they gave up, as they are read: what bears on a sign-in, one by
//! name, and page by page.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::change::lock;
use super::database::Dialect;
use super::{Error, Skeleton, Store, User};
use crate::config::{UserField, UserStatus};

/// What is asked of the store about one sign-in.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Who signs in: `iss`.
    pub issuer: &'a str,
    /// Who signs in: the subject claim.
    pub subject: &'a str,
    /// What is wanted, now that the user of this identity is known, or that there is none.
    pub wanted: &'a (dyn Fn(Option<&User>) -> Wanted + Send + Sync),
}

/// What a directory makes of a sign-in, as far as the store has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The username that comes with the person, if it is one.
    pub username: Option<String>,
    /// The directory whose users are counted.
    pub directory: String,
    /// Whether anybody needs their number.
    pub count: bool,
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
    /// Users of the directory, where nobody is known and their number is asked for.
    pub users: u64,
}

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
    /// What bears on a sign-in, as it is now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn facts(&self, question: &Question<'_>) -> Result<Facts, Error> {
        self.within_patience(async {
            let mut connection = self.0.pools.reader.acquire().await?;
            facts(&mut connection, self.0.dialect, question, Locks::None).await
        })
        .await
    }

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

/// Whether what is read is kept from others until the transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locks {
    None,
    Taken,
}

/// [`Store::facts`] inside of a transaction that writes: whoever decides about the same identity, username or user
/// waits, so that what is read here still stands when the change is written.
pub(super) async fn locked_facts(
    connection: &mut AnyConnection,
    dialect: Dialect,
    question: &Question<'_>,
) -> Result<Facts, sqlx::Error> {
    let identity = ["identity", question.issuer, question.subject];
    lock(connection, dialect, &identity).await?;
    facts(connection, dialect, question, Locks::Taken).await
}

async fn facts(
    connection: &mut AnyConnection,
    dialect: Dialect,
    question: &Question<'_>,
    locks: Locks,
) -> Result<Facts, sqlx::Error> {
    if locks == Locks::Taken {
        lock_user_of(connection, dialect, question).await?;
    }
    let mut facts = Facts {
        by_identity: by_identity(connection, dialect, question.issuer, question.subject).await?,
        ..Facts::default()
    };
    let wanted = (question.wanted)(facts.by_identity.as_ref());
    let Some(skeleton) = wanted.username.as_deref().map(Skeleton::of) else {
        return Ok(facts);
    };
    if let Some(user) = &facts.by_identity
        && Skeleton::of(user.username()) == skeleton
    {
        return Ok(facts);
    }
    if locks == Locks::Taken {
        lock_username(connection, dialect, &skeleton).await?;
    }
    facts.by_username = by_skeleton(connection, dialect, &skeleton).await?;
    facts.given_up_by = given_up_by(connection, &skeleton).await?;
    if wanted.count && facts.by_identity.is_none() && facts.by_username.is_none() {
        facts.users = count(connection, dialect, &wanted.directory, locks).await?;
    }
    Ok(facts)
}

/// The row of the identity's user, which an administrator may be about to write.
async fn lock_user_of(
    connection: &mut AnyConnection,
    dialect: Dialect,
    question: &Question<'_>,
) -> Result<(), sqlx::Error> {
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    sqlx::query(
        "select 1 from users where id = (select user_id from identities where issuer = $1 and subject = $2) \
         for update",
    )
    .bind(question.issuer)
    .bind(question.subject)
    .execute(connection)
    .await
    .map(drop)
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

async fn by_identity(
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

pub(super) async fn given_up_by(
    connection: &mut AnyConnection,
    skeleton: &Skeleton,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select coalesce(user_id, '') from given_up_usernames where skeleton = $1")
        .bind(skeleton.as_str())
        .fetch_optional(connection)
        .await
}

/// Locked, the number holds until the transaction ends: no two sign-ins fill the last place.
async fn count(
    connection: &mut AnyConnection,
    dialect: Dialect,
    directory: &str,
    locks: Locks,
) -> Result<u64, sqlx::Error> {
    let look = "select users from directory_users where directory = $1";
    let statement = match locks {
        Locks::None => look,
        Locks::Taken => {
            sqlx::query(
                "insert into directory_users (directory, users) values ($1, 0) on conflict (directory) do nothing",
            )
            .bind(directory)
            .execute(&mut *connection)
            .await?;
            dialect.pick(
                look,
                "select users from directory_users where directory = $1 for update",
            )
        }
    };
    let counted: Option<i64> = sqlx::query_scalar(statement)
        .bind(directory)
        .fetch_optional(connection)
        .await?;
    Ok(counted.unwrap_or_default().unsigned_abs())
}

pub(super) fn user(row: &AnyRow) -> Result<User, sqlx::Error> {
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
        deactivated: row.try_get::<i64, _>("deactivated")? != 0,
        elsewhere: row.try_get::<i64, _>("elsewhere")? != 0,
        fields,
        identities: json(row, "identities")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_login_at: row.try_get("last_login_at")?,
    })
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &AnyRow,
    column: &str,
) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|fault| sqlx::Error::Decode(fault.into()))
}
