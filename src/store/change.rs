//! The one way users, identities and audit rows are written: a transaction around a decision.

use sqlx::SqliteConnection;

use super::{AuditRow, Error, Facts, Question, Skeleton, Store, User, audit, users};
use crate::config::UserField;
use crate::environment::UnixSeconds;

/// What a sign-in writes, all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The user as they are to be stored; identities are only ever added here. A username given up stays reserved.
    pub user: Option<User>,
    /// For the audit trail.
    pub audit: Vec<AuditRow>,
}

impl Change {
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.audit.is_empty()
    }
}

/// Attempts at a transaction that lost a race for a username or an identity; each later one finds the
/// winner's user.
const ATTEMPTS: usize = 4;

impl Store {
    /// Reads, decides and writes in one transaction that no other writer interleaves; once this
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
        let mut attempt = 1;
        loop {
            match self.attempt(question, now, &decide).await {
                Ok(decided) => return Ok(decided),
                Err(fault) if attempt < ATTEMPTS && is_lost_race(&fault) => attempt += 1,
                Err(fault) => return Err(self.fault(fault)),
            }
        }
    }

    async fn attempt<T>(
        &self,
        question: &Question<'_>,
        now: UnixSeconds,
        decide: &impl Fn(&Facts) -> (Change, T),
    ) -> Result<T, sqlx::Error> {
        let mut transaction = self.0.pools.writer.begin_with("BEGIN IMMEDIATE").await?;
        let facts = users::facts(&mut transaction, question).await?;
        let (change, decided) = decide(&facts);
        if let Some(user) = &change.user {
            write_user(&mut transaction, user, now).await?;
        }
        for row in &change.audit {
            audit::write(&mut transaction, row).await?;
        }
        transaction.commit().await?;
        Ok(decided)
    }
}

fn is_lost_race(fault: &sqlx::Error) -> bool {
    fault
        .as_database_error()
        .is_some_and(|fault| fault.is_unique_violation())
}

async fn write_user(
    connection: &mut SqliteConnection,
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
    sqlx::query(
        "insert into users (id, directory, username, skeleton, status, fields, created_at, updated_at) \
         values (?, ?, ?, ?, ?, ?, ?, ?) \
         on conflict (id) do update set username = excluded.username, skeleton = excluded.skeleton, \
         status = excluded.status, fields = excluded.fields, updated_at = excluded.updated_at",
    )
    .bind(&user.id)
    .bind(&user.directory)
    .bind(user.username())
    .bind(skeleton.as_str())
    .bind(user.status.as_str())
    .bind(serde_json::Value::Object(fields).to_string())
    .bind(user.created_at)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    for (issuer, subject) in &user.identities {
        bind_identity(connection, user, issuer, subject, now).await?;
    }
    Ok(())
}

/// An identity of another user is a unique violation: one person is never two users.
async fn bind_identity(
    connection: &mut SqliteConnection,
    user: &User,
    issuer: &str,
    subject: &str,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into identities (issuer, subject, user_id, created_at) select ?1, ?2, ?3, ?4 \
         where not exists (select 1 from identities where issuer = ?1 and subject = ?2 and user_id = ?3)",
    )
    .bind(issuer)
    .bind(subject)
    .bind(&user.id)
    .bind(now)
    .execute(connection)
    .await
    .map(drop)
}

/// Somebody else must not get into the application under a name that still stands in its records; whoever gave
/// it up may take it back.
async fn reserve_former_username(
    connection: &mut SqliteConnection,
    user: &User,
    skeleton: &Skeleton,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    sqlx::query("delete from given_up_usernames where skeleton = ? and user_id = ?")
        .bind(skeleton.as_str())
        .bind(&user.id)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "insert into given_up_usernames (skeleton, username, user_id, given_up_at) \
         select skeleton, username, id, ? from users where id = ? and skeleton <> ? \
         on conflict (skeleton) do nothing",
    )
    .bind(now)
    .bind(&user.id)
    .bind(skeleton.as_str())
    .execute(connection)
    .await
    .map(drop)
}
