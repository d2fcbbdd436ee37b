//! What bears on a sign-in: the user of the identity, the user of the username that is wanted, who gave that
//! name up, how many there are. Read once to decide, and again under locks where something is written.

use sqlx::AnyConnection;

use super::change::lock;
use super::database::Dialect;
use super::users::{by_identity, by_skeleton, lock_username};
use super::{Error, Skeleton, Store, User};

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
