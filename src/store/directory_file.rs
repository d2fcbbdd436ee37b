//! Which version of a text directory's file is applied, and who applies one now.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Error, Store};
use crate::environment::UnixSeconds;

/// A version of a file that a node has applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedFile {
    /// Of its bytes.
    pub digest: String,
    /// When the file was last written.
    pub modified_at: UnixSeconds,
    /// When it was applied.
    pub applied_at: UnixSeconds,
    /// By which node.
    pub node: String,
    /// How many people are in it.
    pub people: i64,
}

impl Store {
    /// The version of a directory's file that is applied, if there is one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn applied_file(&self, directory: &str) -> Result<Option<AppliedFile>, Error> {
        let look = sqlx::query(
            "select digest, modified_at, applied_at, node, people from directory_files \
             where directory = $1 and digest is not null",
        )
        .bind(directory)
        .fetch_optional(&self.0.pools.reader);
        let applied = |row: AnyRow| {
            Ok(AppliedFile {
                digest: row.try_get("digest")?,
                modified_at: row.try_get("modified_at")?,
                applied_at: row.try_get("applied_at")?,
                node: row.try_get("node")?,
                people: row.try_get("people")?,
            })
        };
        self.within_patience(async { look.await?.map(applied).transpose() })
            .await
    }

    /// Claims a directory's file for a node, or goes on with it, for so many seconds from now, by the clock of the
    /// server where there is one; whether no other node has it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lease_file(
        &self,
        directory: &str,
        node: &str,
        now: UnixSeconds,
        seconds: i64,
    ) -> Result<bool, Error> {
        let statement = self.0.dialect.pick(
            "insert into directory_files (directory, lease, leased_until) values ($1, $2, $4 + $3) \
             on conflict (directory) do update set lease = $2, leased_until = $4 + $3 \
             where directory_files.leased_until < $4 or directory_files.lease = $2",
            "insert into directory_files (directory, lease, leased_until) \
             values ($1, $2, extract(epoch from clock_timestamp())::bigint + $3) \
             on conflict (directory) do update set lease = $2, leased_until = excluded.leased_until \
             where directory_files.leased_until < extract(epoch from clock_timestamp())::bigint \
             or directory_files.lease = $2 and $4 = $4",
        );
        let lease = sqlx::query(statement)
            .bind(directory)
            .bind(node)
            .bind(seconds)
            .bind(now)
            .execute(&self.0.pools.writer);
        let leased = self.within_patience(lease).await?;
        Ok(leased.rows_affected() > 0)
    }

    /// Records that a version is applied, and gives the lease back.
    ///
    /// # Errors
    /// [`Error`]; the file is applied again then, which changes nothing.
    pub async fn file_applied(&self, directory: &str, file: &AppliedFile) -> Result<(), Error> {
        let record = sqlx::query(
            "update directory_files set digest = $2, modified_at = $3, applied_at = $4, node = $5, \
             people = $6, lease = null, leased_until = 0 where directory = $1",
        )
        .bind(directory)
        .bind(&file.digest)
        .bind(file.modified_at)
        .bind(file.applied_at)
        .bind(&file.node)
        .bind(file.people)
        .execute(&self.0.pools.writer);
        self.within_patience(record).await.map(drop)
    }
}
