//! The audit trail: one row for each change and each refusal, with before and after of each field. Written
//! in the transaction of what it tells of.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::users::json;
use super::{Error, Store};
use crate::environment::UnixSeconds;

/// One entry to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditRow {
    /// When.
    pub at: UnixSeconds,
    /// What made the change: `sign-in`, `administrator`, `file`, `push`.
    pub actor: String,
    /// The id that page and log line carry; empty where no request is behind it.
    pub request: String,
    /// The provider's name; empty where nobody signed in.
    pub provider: String,
    /// Who signed in: `iss`.
    pub issuer: String,
    /// Who signed in: the subject claim.
    pub subject: String,
    /// The directory that decided.
    pub directory: String,
    /// The user concerned, if one is known.
    pub user: Option<String>,
    /// The stored username, or the one that was asked for.
    pub username: Option<String>,
    /// As the design names it, or what the administrator did.
    pub outcome: String,
    /// One sentence without claim values.
    pub reason: String,
    /// The access rule that said no, as the file has it.
    pub rule: Option<String>,
    /// What changed, by field name; `identity` for one that was recorded.
    pub changes: BTreeMap<String, FieldChange>,
}

/// Before and after of one field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldChange {
    /// The value before.
    pub before: Option<String>,
    /// The value after.
    pub after: Option<String>,
}

/// An entry as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Ascending; where a listing goes on.
    pub id: i64,
    /// What it says.
    pub row: AuditRow,
}

pub(super) async fn write(
    connection: &mut AnyConnection,
    row: &AuditRow,
) -> Result<(), sqlx::Error> {
    let changes =
        serde_json::to_string(&row.changes).map_err(|fault| sqlx::Error::Encode(fault.into()))?;
    sqlx::query(
        "insert into audit (at, actor, request, provider, issuer, subject, directory, user_id, username, \
         outcome, reason, rule, changes) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(row.at)
    .bind(&row.actor)
    .bind(&row.request)
    .bind(&row.provider)
    .bind(&row.issuer)
    .bind(&row.subject)
    .bind(&row.directory)
    .bind(&row.user)
    .bind(&row.username)
    .bind(&row.outcome)
    .bind(&row.reason)
    .bind(&row.rule)
    .bind(changes)
    .execute(connection)
    .await
    .map(drop)
}

impl Store {
    /// At most `limit` entries with an id above `after`, oldest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        let look = sqlx::query("select * from audit where id > $1 order by id limit $2")
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.0.pools.reader);
        self.within_patience(async { look.await?.iter().map(entry).collect() })
            .await
    }

    /// The same of one user, by [`super::User::id`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn history(
        &self,
        user: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, Error> {
        let look =
            sqlx::query("select * from audit where user_id = $1 and id > $2 order by id limit $3")
                .bind(user)
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(&self.0.pools.reader);
        self.within_patience(async { look.await?.iter().map(entry).collect() })
            .await
    }
}

fn entry(row: &AnyRow) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        id: row.try_get("id")?,
        row: AuditRow {
            at: row.try_get("at")?,
            actor: row.try_get("actor")?,
            request: row.try_get("request")?,
            provider: row.try_get("provider")?,
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            directory: row.try_get("directory")?,
            user: row.try_get("user_id")?,
            username: row.try_get("username")?,
            outcome: row.try_get("outcome")?,
            reason: row.try_get("reason")?,
            rule: row.try_get("rule")?,
            changes: json(row, "changes")?,
        },
    })
}
