//! Pushes that wait, one row a user and receiver. A row is made due in the transaction that changes its
//! user, so no change is lost; what is delivered is the user as stored then, so no order is. Whoever delivers
//! holds a lease: on many nodes one does, and when that one dies another goes on.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::{Error, Store, User};
use crate::environment::UnixSeconds;

/// How a push stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushState {
    /// The receiver has still to be told of the latest change.
    Pending,
    /// The receiver has the user as they are here.
    Delivered,
    /// The receiver has the username, not from us: it is left alone.
    Foreign,
    /// The receiver said no for good; it waits for an administrator or the next change.
    Rejected,
    /// An administrator gave it up; the next change is pushed again.
    Discarded,
}

impl PushState {
    /// As it is stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            PushState::Pending => "pending",
            PushState::Delivered => "delivered",
            PushState::Foreign => "foreign",
            PushState::Rejected => "rejected",
            PushState::Discarded => "discarded",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        use PushState::{Delivered, Discarded, Foreign, Pending, Rejected};
        [Pending, Delivered, Foreign, Rejected, Discarded]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One user's push to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// [`User::id`].
    pub user: String,
    /// The stored username.
    pub username: String,
    /// The receiver's URL.
    pub target: String,
    /// The user's directory.
    pub directory: String,
    /// How it stands.
    pub state: PushState,
    /// Counts the user's changes.
    pub wanted: i64,
    /// The receiver has the user as of this number; 0: never.
    pub delivered: i64,
    /// The receiver's id of the user.
    pub remote_id: Option<String>,
    /// What the receiver has from us: a JSON object.
    pub attributes: Option<String>,
    /// Attempts that came to nothing since it became due.
    pub attempts: i64,
    /// Since when it waits.
    pub pending_since: UnixSeconds,
    /// When it is tried next.
    pub due_at: UnixSeconds,
    /// Why the last attempt came to nothing; no claim value.
    pub last_error: Option<String>,
    /// Names the lease that it was claimed under.
    pub lease: Option<String>,
}

/// What became of a claimed push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver has the user as they were when it was claimed.
    Delivered {
        /// The receiver's id of the user.
        remote_id: String,
        /// What it has from us now: a JSON object.
        attributes: String,
    },
    /// The receiver has the username from somebody else: the user is provisioned elsewhere from now on.
    Foreign,
    /// The receiver said no for good.
    Rejected {
        /// Why.
        reason: String,
    },
    /// To be tried again.
    Later {
        /// When.
        due_at: UnixSeconds,
        /// Why.
        reason: String,
    },
}

macro_rules! select_pushes {
    ($rest:literal) => {
        concat!(
            "select p.user_id, u.username, p.target, p.directory, p.state, p.wanted, p.delivered, \
             p.remote_id, p.attributes, p.attempts, p.pending_since, p.due_at, p.last_error, p.lease \
             from pushes p join users u on u.id = p.user_id ",
            $rest
        )
    };
}

impl Store {
    /// The push of a user to a receiver, if the user was ever due there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push(&self, user: &str, target: &str) -> Result<Option<Push>, Error> {
        let look = sqlx::query(select_pushes!("where p.user_id = $1 and p.target = $2"))
            .bind(user)
            .bind(target)
            .fetch_optional(&self.0.pools.reader);
        self.within_patience(async { look.await?.as_ref().map(push).transpose() })
            .await
    }

    /// Makes a user due at a receiver that was never told of them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn make_due(&self, user: &User, target: &str, now: UnixSeconds) -> Result<(), Error> {
        self.again_where_a_race_was_lost(|| async {
            let mut transaction = self.begin().await?;
            is_due(&mut transaction, user, target, now).await?;
            transaction.commit().await
        })
        .await
    }

    /// Claims at most `limit` due pushes of a receiver, longest due first, under the name `lease` for `seconds`, by
    /// the clock of the server where there is one, since those of the nodes may differ; nobody else gets them before that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn claim_pushes(
        &self,
        target: &str,
        lease: &str,
        now: UnixSeconds,
        seconds: i64,
        limit: u32,
    ) -> Result<Vec<Push>, Error> {
        let claim = self.0.dialect.pick(
            "update pushes set lease = $1, leased_until = $4 + $2 where (user_id, target) in \
             (select user_id, target from pushes where state = 'pending' and target = $3 and due_at <= $4 \
             and leased_until < $4 order by due_at limit $5)",
            "update pushes set lease = $1, leased_until = extract(epoch from clock_timestamp())::bigint + $2 \
             where (user_id, target) in \
             (select user_id, target from pushes where state = 'pending' and target = $3 and due_at <= $4 \
             and leased_until < extract(epoch from clock_timestamp())::bigint \
             order by due_at limit $5 for update skip locked)",
        );
        self.within_patience(async {
            let claimed = sqlx::query(claim)
                .bind(lease)
                .bind(seconds)
                .bind(target)
                .bind(now)
                .bind(i64::from(limit))
                .execute(&self.0.pools.writer)
                .await?;
            if claimed.rows_affected() == 0 {
                return Ok(Vec::new());
            }
            let rows = sqlx::query(select_pushes!(
                "where p.lease = $1 and p.target = $2 and p.state = 'pending' order by p.due_at"
            ))
            .bind(lease)
            .bind(target)
            .fetch_all(&self.0.pools.writer)
            .await?;
            rows.iter().map(push).collect()
        })
        .await
    }

    /// Claims one user's pending push, whether it is due yet or not; `None` if it is not pending or somebody
    /// delivers it now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn claim_push(
        &self,
        user: &str,
        target: &str,
        lease: &str,
        now: UnixSeconds,
        seconds: i64,
    ) -> Result<Option<Push>, Error> {
        let claim = self.0.dialect.pick(
            "update pushes set lease = $1, leased_until = $5 + $2 where user_id = $3 and target = $4 \
             and state = 'pending' and leased_until < $5",
            "update pushes set lease = $1, leased_until = extract(epoch from clock_timestamp())::bigint + $2 \
             where user_id = $3 and target = $4 and state = 'pending' \
             and leased_until < extract(epoch from clock_timestamp())::bigint and $5 = $5",
        );
        self.within_patience(async {
            let claimed = sqlx::query(claim)
                .bind(lease)
                .bind(seconds)
                .bind(user)
                .bind(target)
                .bind(now)
                .execute(&self.0.pools.writer)
                .await?;
            if claimed.rows_affected() == 0 {
                return Ok(None);
            }
            let row = sqlx::query(select_pushes!("where p.user_id = $1 and p.target = $2"))
                .bind(user)
                .bind(target)
                .fetch_one(&self.0.pools.writer)
                .await?;
            push(&row).map(Some)
        })
        .await
    }

    /// Records what became of a claimed push. A change that came meanwhile stays pending. Whether the lease
    /// was still held; where it was not, somebody else has it and nothing is recorded.
    ///
    /// # Errors
    /// [`Error`]; the push is tried again once its lease has ended.
    pub async fn settle_push(
        &self,
        claimed: &Push,
        settlement: &Settlement,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        self.again_where_a_race_was_lost(|| async {
            let mut transaction = self.begin().await?;
            let settled = settle(&mut transaction, claimed, settlement, now).await?;
            if settled && *settlement == Settlement::Foreign {
                sqlx::query("update users set elsewhere = 1, updated_at = $1 where id = $2")
                    .bind(now)
                    .bind(&claimed.user)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            Ok(settled)
        })
        .await
    }

    /// How many pushes wait.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pending_pushes(&self) -> Result<u64, Error> {
        let count = sqlx::query_scalar("select count(*) from pushes where state = 'pending'")
            .fetch_one(&self.0.pools.reader);
        self.within_patience(count).await.map(i64::unsigned_abs)
    }

    /// At most `limit` pushes that are pending or rejected, by username and receiver, after those.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn undelivered_pushes(
        &self,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<Push>, Error> {
        let look = sqlx::query(select_pushes!(
            "where p.state in ('pending', 'rejected') and (u.username, p.target) > ($1, $2) \
             order by u.username, p.target limit $3"
        ))
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&self.0.pools.reader);
        self.within_patience(async { look.await?.iter().map(push).collect() })
            .await
    }

    /// Makes rejected and waiting pushes due now, of one user or of all; how many.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retry_pushes(&self, user: Option<&str>, now: UnixSeconds) -> Result<u64, Error> {
        let retry = sqlx::query(
            "update pushes set state = 'pending', due_at = $1, attempts = 0 \
             where state in ('pending', 'rejected') and ($2 = '' or user_id = $2)",
        )
        .bind(now)
        .bind(user.unwrap_or_default())
        .execute(&self.0.pools.writer);
        self.within_patience(retry)
            .await
            .map(|done| done.rows_affected())
    }

    /// Gives up the pending and rejected pushes of a user, until the user changes again; how many.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn discard_pushes(&self, user: &str) -> Result<u64, Error> {
        let discard = sqlx::query(
            "update pushes set state = 'discarded' where user_id = $1 and state in ('pending', 'rejected')",
        )
        .bind(user)
        .execute(&self.0.pools.writer);
        self.within_patience(discard)
            .await
            .map(|done| done.rows_affected())
    }
}

/// Makes a user due at a receiver, in the transaction that changes the user. What belongs to somebody else at
/// the receiver stays theirs.
pub(super) async fn is_due(
    connection: &mut AnyConnection,
    user: &User,
    target: &str,
    now: UnixSeconds,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pushes (user_id, target, directory, state, wanted, pending_since, due_at) \
         values ($1, $2, $3, 'pending', 1, $4, $4) on conflict (user_id, target) do update set \
         wanted = pushes.wanted + 1, due_at = $4, attempts = 0, \
         pending_since = case when pushes.state = 'pending' then pushes.pending_since else $4 end, \
         state = case when pushes.state = 'foreign' then 'foreign' else 'pending' end",
    )
    .bind(&user.id)
    .bind(target)
    .bind(&user.directory)
    .bind(now)
    .execute(connection)
    .await
    .map(drop)
}

async fn settle(
    connection: &mut AnyConnection,
    claimed: &Push,
    settlement: &Settlement,
    now: UnixSeconds,
) -> Result<bool, sqlx::Error> {
    // The parameters are the same for all, so that one shape of statement serves: a value that a
    // settlement does not have leaves the column as it is.
    let (state, remote_id, attributes, due_at, error) = match settlement {
        Settlement::Delivered {
            remote_id,
            attributes,
        } => ("delivered", Some(remote_id), Some(attributes), now, None),
        Settlement::Foreign => ("foreign", None, None, now, None),
        Settlement::Rejected { reason } => ("rejected", None, None, now, Some(reason)),
        Settlement::Later { due_at, reason } => ("pending", None, None, *due_at, Some(reason)),
    };
    let settled = sqlx::query(
        "update pushes set lease = null, leased_until = 0, last_error = $1, due_at = $2, \
         remote_id = coalesce($3, remote_id), attributes = coalesce($4, attributes), \
         delivered = case when $5 = 'delivered' then $6 else delivered end, \
         attempts = case when $5 = 'pending' then attempts + 1 else 0 end, \
         state = case when $5 in ('delivered', 'rejected') and wanted > $6 then 'pending' else $5 end \
         where user_id = $7 and target = $8 and lease = $9",
    )
    .bind(error)
    .bind(due_at)
    .bind(remote_id)
    .bind(attributes)
    .bind(state)
    .bind(claimed.wanted)
    .bind(&claimed.user)
    .bind(&claimed.target)
    .bind(&claimed.lease)
    .execute(connection)
    .await?;
    Ok(settled.rows_affected() > 0)
}

fn push(row: &AnyRow) -> Result<Push, sqlx::Error> {
    let state: &str = row.try_get("state")?;
    Ok(Push {
        user: row.try_get("user_id")?,
        username: row.try_get("username")?,
        target: row.try_get("target")?,
        directory: row.try_get("directory")?,
        state: PushState::from_name(state)
            .ok_or_else(|| sqlx::Error::Decode(format!("no push is {state:?}").into()))?,
        wanted: row.try_get("wanted")?,
        delivered: row.try_get("delivered")?,
        remote_id: row.try_get("remote_id")?,
        attributes: row.try_get("attributes")?,
        attempts: row.try_get("attempts")?,
        pending_since: row.try_get("pending_since")?,
        due_at: row.try_get("due_at")?,
        last_error: row.try_get("last_error")?,
        lease: row.try_get("lease")?,
    })
}
