//! Forms that met an ended session, sealed, until their person has signed in. Few and short-lived: what does not fit
//! is not kept, and the person is told so.

use super::{Error, Store};
use crate::environment::UnixSeconds;

/// Bytes of all forms together.
const TOTAL: i64 = 256 * 1024 * 1024;
/// Forms of one session.
const PER_OWNER: i64 = 8;

/// A form to be kept.
#[derive(Debug, Clone)]
pub struct NewForm<'f> {
    /// Finds it again.
    pub id: &'f str,
    /// The session that had ended.
    pub owner: &'f str,
    /// The form, sealed.
    pub sealed: &'f [u8],
    /// How long it is kept.
    pub expires_at: UnixSeconds,
}

impl Store {
    /// Keeps a form; `false` where there is no room for it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_form(&self, form: &NewForm<'_>, now: UnixSeconds) -> Result<bool, Error> {
        let insert = sqlx::query(
            "insert into kept_forms (id, owner, form, expires_at) select $1, $2, $3, $4 \
             where (select coalesce(sum(length(form)), 0) from kept_forms where expires_at >= $5) + $6 <= $7 \
             and (select count(*) from kept_forms where owner = $2 and expires_at >= $5) < $8",
        )
        .bind(form.id)
        .bind(form.owner)
        .bind(form.sealed)
        .bind(form.expires_at)
        .bind(now)
        .bind(form.sealed.len() as i64)
        .bind(TOTAL)
        .bind(PER_OWNER)
        .execute(&self.0.pools.writer);
        let kept = self.within_patience(insert).await?;
        Ok(kept.rows_affected() == 1)
    }

    /// The form of that id, while it is kept.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn kept_form(&self, id: &str, now: UnixSeconds) -> Result<Option<Vec<u8>>, Error> {
        let look =
            sqlx::query_scalar("select form from kept_forms where id = $1 and expires_at >= $2")
                .bind(id)
                .bind(now)
                .fetch_optional(&self.0.pools.reader);
        self.within_patience(look).await
    }

    /// Forgets a form. Whether it was there: of several who ask one is told so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn forget_form(&self, id: &str) -> Result<bool, Error> {
        let delete = sqlx::query("delete from kept_forms where id = $1")
            .bind(id)
            .execute(&self.0.pools.writer);
        let deleted = self.within_patience(delete).await?;
        Ok(deleted.rows_affected() == 1)
    }
}
