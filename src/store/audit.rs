//! The audit trail: one row for each sign-in that changed something or was refused, with before and after of
//! each field. Written in the transaction of what it tells of.

use std::collections::BTreeMap;

use sqlx::{Row, SqliteConnection};

use super::{Error, Store};
use crate::environment::UnixSeconds;

/// One entry to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// When.
    pub at: UnixSeconds,
    /// The id that page and log line carry.
    pub request: String,
    /// The provider's name.
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
    /// As the design names it.
    pub outcome: String,
    /// One sentence without claim values.
    pub reason: String,
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
    connection: &mut SqliteConnection,
    row: &AuditRow,
) -> Result<(), sqlx::Error> {
    let changes =
        serde_json::to_string(&row.changes).map_err(|fault| sqlx::Error::Encode(fault.into()))?;
    sqlx::query(
        "insert into audit (at, request, provider, issuer, subject, directory, user_id, username, outcome, \
         reason, changes) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.at)
    .bind(&row.request)
    .bind(&row.provider)
    .bind(&row.issuer)
    .bind(&row.subject)
    .bind(&row.directory)
    .bind(&row.user)
    .bind(&row.username)
    .bind(&row.outcome)
    .bind(&row.reason)
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
        sqlx::query("select * from audit where id > ? order by id limit ?")
            .bind(after)
            .bind(limit)
            .fetch_all(&self.0.pools.reader)
            .await
            .and_then(|rows| rows.iter().map(entry).collect())
            .map_err(|fault| self.fault(fault))
    }
}

fn entry(row: &sqlx::sqlite::SqliteRow) -> Result<AuditEntry, sqlx::Error> {
    let changes: &str = row.try_get("changes")?;
    Ok(AuditEntry {
        id: row.try_get("id")?,
        row: AuditRow {
            at: row.try_get("at")?,
            request: row.try_get("request")?,
            provider: row.try_get("provider")?,
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            directory: row.try_get("directory")?,
            user: row.try_get("user_id")?,
            username: row.try_get("username")?,
            outcome: row.try_get("outcome")?,
            reason: row.try_get("reason")?,
            changes: serde_json::from_str(changes)
                .map_err(|fault| sqlx::Error::Decode(fault.into()))?,
        },
    })
}
