//! The one way users, identities, pushes and audit rows are written: a transaction around a decision.

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::any::Any;
use sqlx::{AnyConnection, Transaction};

use super::database::Dialect;
use super::{
    AuditRow, Error, Facts, Question, Skeleton, Store, User, audit, facts, push, sessions,
    standing, users,
};
use crate::config::UserField;
use crate::environment::UnixSeconds;

/// What a decision writes, all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The user as they are to be stored. A username given up stays reserved.
    pub user: Option<User>,
    /// For the audit trail.
    pub audit: Vec<AuditRow>,
    /// Receivers, by their URL, that are to be told of the user.
    pub pushes: Vec<String>,
    /// Whether every session of the user ends.
    pub end_sessions: bool,
}

impl Change {
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Attempts at a transaction that lost a race for a username or an identity; each later one finds the
/// winner's user.
const ATTEMPTS: usize = 6;

impl Store {
    /// Reads, decides and writes in one transaction that no other writer of this person interleaves; once this
    /// returns, the change survives a crash. `decide` may be called again where a race was lost.
    ///
    /// # Errors
    /// [`Error`]; nothing is written then.
    pub async fn transact<T>(
        &self,
        question: &Question<'_>,
        now: UnixSeconds,
        decide: impl Fn(&Facts) -> (Change, T),
    ) -> Result<T, Error> {
        self.again_where_a_race_was_lost(|| async {
            let mut transaction = self.begin().await?;
            let dialect = self.0.dialect;
            let found = facts::locked_facts(&mut transaction, dialect, question).await?;
            let (change, decided) = decide(&found);
            write(&mut transaction, dialect, &change, now).await?;
            transaction.commit().await?;
            Ok(decided)
        })
        .await
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.check_place().await?;
        let begin = self.0.dialect.begin();
        self.0.pools.writer.begin_with(begin).await
    }

    pub(super) async fn again_where_a_race_was_lost<T, F>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        self.within_patience(async {
            for _ in 1..ATTEMPTS {
                match attempt().await {
                    Err(fault) if is_lost_race(&fault) => {}
                    done => return done,
                }
            }
            attempt().await
        })
        .await
    }
}

/// A unique key that somebody else wrote first; PostgreSQL's deadlock_detected and serialization_failure.
fn is_lost_race(fault: &sqlx::Error) -> bool {
    fault.as_database_error().is_some_and(|fault| {
        fault.is_unique_violation() || matches!(fault.code().as_deref(), Some("40P01" | "40001"))
    })
}

/// Makes others who decide about the same thing wait until this transaction has ended. SQLite has one writer
/// anyway.
pub(super) async fn lock(
    connection: &mut AnyConnection,
    dialect: Dialect,
    thing: &[&str],
) -> Result<(), sqlx::Error> {
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(lock_key(thing))
        .execute(connection)
        .await
        .map(drop)
}

/// Two things with one key wait for each other without need, and nothing else.
pub(super) fn lock_key(thing: &[&str]) -> i64 {
    let digest = digest(&SHA256, thing.join("\0").as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&digest.as_ref()[..8]);
    i64::from_be_bytes(key)
}

/// Writes everything that a decision came to.
pub(super) async fn write(
    connection: &mut AnyConnection,
    dialect: Dialect,
    change: &Change,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    if let Some(user) = &change.user {
        write_user(connection, user, now).await?;
        standing::is_changed(connection, dialect, &user.id, now).await?;
        for target in &change.pushes {
            push::is_due(connection, user, target, now).await?;
        }
        if change.end_sessions {
            sessions::end_all(connection, dialect, &user.id, now).await?;
        }
    }
    for row in &change.audit {
        audit::write(connection, row).await?;
    }
    Ok(())
}

async fn write_user(
    connection: &mut AnyConnection,
    user: &User,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    let skeleton = Skeleton::of(user.username());
    reserve_former_username(connection, user, &skeleton, now).await?;
    let fields: serde_json::Map<_, _> = user
        .fields
        .iter()
        .filter(|(field, _)| **field != UserField::Username)
        .map(|(field, value)| (field.name().to_owned(), value.as_str().into()))
        .collect();
    let fields = serde_json::Value::Object(fields).to_string();
    let write = |statement: &'static str| {
        sqlx::query(statement)
            .bind(&user.id)
            .bind(user.username())
            .bind(skeleton.as_str())
            .bind(user.status.as_str())
            .bind(i64::from(user.deactivated))
            .bind(i64::from(user.elsewhere))
            .bind(&fields)
            .bind(now)
    };
    let known = write(
        "update users set username = $2, skeleton = $3, status = $4, deactivated = $5, elsewhere = $6, \
         fields = $7, updated_at = $8 where id = $1",
    )
    .execute(&mut *connection)
    .await?;
    if known.rows_affected() == 0 {
        write(
            "insert into users (id, username, skeleton, status, deactivated, elsewhere, fields, updated_at, \
             directory, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&user.directory)
        .bind(user.created_at)
        .execute(&mut *connection)
        .await?;
        count_one_more(connection, &user.directory).await?;
    }
    bind_identities(connection, user, now).await
}

async fn count_one_more(
    connection: &mut AnyConnection,
    directory: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into directory_users (directory, users) values ($1, 1) \
         on conflict (directory) do update set users = directory_users.users + 1",
    )
    .bind(directory)
    .execute(connection)
    .await
    .map(drop)
}

/// An identity of another user is a unique violation: one person is never two users.
async fn bind_identities(
    connection: &mut AnyConnection,
    user: &User,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    let stored = users::identities(connection, &user.id).await?;
    for (issuer, subject) in stored.iter().filter(|it| !user.identities.contains(it)) {
        sqlx::query("delete from identities where issuer = $1 and subject = $2 and user_id = $3")
            .bind(issuer)
            .bind(subject)
            .bind(&user.id)
            .execute(&mut *connection)
            .await?;
    }
    for (issuer, subject) in user.identities.iter().filter(|it| !stored.contains(it)) {
        sqlx::query(
            "insert into identities (issuer, subject, user_id, created_at) values ($1, $2, $3, $4)",
        )
        .bind(issuer)
        .bind(subject)
        .bind(&user.id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Somebody else must not get into the application under a name that still stands in its records; whoever gave
/// it up may take it back.
async fn reserve_former_username(
    connection: &mut AnyConnection,
    user: &User,
    skeleton: &Skeleton,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    sqlx::query("delete from given_up_usernames where skeleton = $1 and user_id = $2")
        .bind(skeleton.as_str())
        .bind(&user.id)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "insert into given_up_usernames (skeleton, username, user_id, given_up_at) \
         select skeleton, username, id, $1 from users where id = $2 and skeleton <> $3 \
         on conflict (skeleton) do nothing",
    )
    .bind(now)
    .bind(&user.id)
    .bind(skeleton.as_str())
    .execute(connection)
    .await
    .map(drop)
}
