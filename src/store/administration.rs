//! What administrators and text directories do to users: decided by name, in the same transactions as
//! sign-ins, many names in one where a file or an import brings many.

use super::change::{lock, lock_key, write};
use super::facts::given_up_by;
use super::standing::is_changed;
use super::users::{by_identity, by_skeleton, lock_username};
use super::{AuditRow, Change, Error, FieldChange, Skeleton, Store, User, audit};
use crate::environment::UnixSeconds;

/// Identities that one transaction renames.
const BATCH: i64 = 500;

/// What stands under one username.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administered {
    /// The user of that name.
    pub user: Option<User>,
    /// The name was given up, by the user of that id (`Some("")` if that user is gone).
    pub given_up_by: Option<String>,
    /// The user who has the identity that was asked about.
    pub identity_of: Option<User>,
}

/// What [`Store::rebind`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebound {
    /// Identities that have the new issuer now.
    pub moved: u64,
    /// Identities that keep the old one, since somebody has the new one already.
    pub left: u64,
}

impl Store {
    /// Reads what stands under a username, decides and writes, in one transaction.
    ///
    /// # Errors
    /// [`Error`]; nothing is written then.
    pub async fn administer<T: Send>(
        &self,
        username: &str,
        identity: Option<(&str, &str)>,
        now: UnixSeconds,
        decide: impl Fn(&Administered) -> (Change, T) + Sync,
    ) -> Result<T, Error> {
        let names = [(username, identity)];
        let decide = |_: usize, found: &Administered| decide(found);
        let mut decided = self.administer_all(&names, now, decide).await?;
        // One name was asked about, so there is one decision.
        Ok(decided.remove(0))
    }

    /// The same for many usernames in one transaction: all is written, or nothing. Each may bring an identity
    /// whose user is looked up too.
    ///
    /// # Errors
    /// [`Error`]; nothing is written then.
    pub async fn administer_all<T>(
        &self,
        names: &[(&str, Option<(&str, &str)>)],
        now: UnixSeconds,
        decide: impl Fn(usize, &Administered) -> (Change, T),
    ) -> Result<Vec<T>, Error> {
        let skeletons: Vec<Skeleton> = names.iter().map(|(name, _)| Skeleton::of(name)).collect();
        // In one order everywhere, so that two transactions never wait for each other.
        let mut order: Vec<&Skeleton> = skeletons.iter().collect();
        order.sort_by_key(|skeleton| lock_key(&["username", skeleton.as_str()]));
        let identities = names.iter().filter_map(|(_, identity)| *identity);
        let mut identities: Vec<(&str, &str)> = identities.collect();
        identities.sort_by_key(|(issuer, subject)| lock_key(&["identity", issuer, subject]));
        self.again_where_a_race_was_lost(|| async {
            let mut transaction = self.begin().await?;
            for (issuer, subject) in &identities {
                let identity = ["identity", issuer, subject];
                lock(&mut transaction, self.0.dialect, &identity).await?;
            }
            for skeleton in &order {
                lock_username(&mut transaction, self.0.dialect, skeleton).await?;
            }
            let mut decided = Vec::with_capacity(names.len());
            for (place, (_, identity)) in names.iter().enumerate() {
                let skeleton = &skeletons[place];
                let found = Administered {
                    user: by_skeleton(&mut transaction, self.0.dialect, skeleton).await?,
                    given_up_by: given_up_by(&mut transaction, skeleton).await?,
                    identity_of: match identity {
                        Some((issuer, subject)) => {
                            by_identity(&mut transaction, self.0.dialect, issuer, subject).await?
                        }
                        None => None,
                    },
                };
                let (change, told) = decide(place, &found);
                write(&mut transaction, self.0.dialect, &change, now).await?;
                decided.push(told);
            }
            transaction.commit().await?;
            Ok(decided)
        })
        .await
    }

    /// Lets anybody have a username again that was given up; whether it was.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn release(&self, username: &str, row: &AuditRow) -> Result<bool, Error> {
        let skeleton = Skeleton::of(username);
        self.within_patience(async {
            let mut transaction = self.begin().await?;
            let former: Option<String> = given_up_by(&mut transaction, &skeleton).await?;
            let Some(former) = former else {
                return Ok(false);
            };
            sqlx::query("delete from given_up_usernames where skeleton = $1")
                .bind(skeleton.as_str())
                .execute(&mut *transaction)
                .await?;
            let row = AuditRow {
                user: Some(former).filter(|id| !id.is_empty()),
                ..row.clone()
            };
            audit::write(&mut transaction, &row).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The usernames that were given up and are not released, in their order, after `after`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn given_up(&self, after: &str, limit: u32) -> Result<Vec<String>, Error> {
        let look = sqlx::query_scalar(
            "select username from given_up_usernames where username > $1 order by username limit $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.0.pools.reader);
        self.within_patience(look).await
    }

    /// Gives every identity of one issuer another one, with an audit row each, in batches: what a batch wrote
    /// stays, and asking again goes on. `row` is what each row says besides.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rebind(&self, from: &str, to: &str, row: &AuditRow) -> Result<Rebound, Error> {
        let mut rebound = Rebound::default();
        loop {
            let moved = self
                .again_where_a_race_was_lost(|| self.rebind_batch(from, to, row))
                .await?;
            rebound.moved += moved;
            if moved < BATCH.unsigned_abs() {
                break;
            }
        }
        let left = sqlx::query_scalar("select count(*) from identities where issuer = $1")
            .bind(from)
            .fetch_one(&self.0.pools.reader);
        rebound.left = self.within_patience(left).await.map(i64::unsigned_abs)?;
        Ok(rebound)
    }

    async fn rebind_batch(&self, from: &str, to: &str, row: &AuditRow) -> Result<u64, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let batch: Vec<(i64, String, String, String, String)> = sqlx::query_as(
            "select i.id, i.subject, users.id, users.username, users.directory \
             from identities i join users on users.id = i.user_id \
             where i.issuer = $1 and not exists (select 1 from identities other \
             where other.issuer = $2 and other.subject = i.subject) order by i.id limit $3",
        )
        .bind(from)
        .bind(to)
        .bind(BATCH)
        .fetch_all(&mut *transaction)
        .await?;
        for (id, subject, user, username, directory) in &batch {
            sqlx::query("update identities set issuer = $1 where id = $2")
                .bind(to)
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            is_changed(&mut transaction, self.0.dialect, user, row.at).await?;
            let change = FieldChange {
                before: Some(format!("{from} {subject}")),
                after: Some(format!("{to} {subject}")),
            };
            let row = AuditRow {
                user: Some(user.clone()),
                username: Some(username.clone()),
                directory: directory.clone(),
                changes: [("identity".to_owned(), change)].into(),
                ..row.clone()
            };
            audit::write(&mut transaction, &row).await?;
        }
        transaction.commit().await?;
        Ok(batch.len() as u64)
    }
}
