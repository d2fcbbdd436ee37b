//! From the store's pushes to their receivers, in the background and inside of sign-ins.
//!
//! A push is made due in the transaction that changes its user; what is delivered is the user as stored then. Whoever
//! delivers holds a lease, so of several nodes one does. A failure that is the receiver's own puts off all of its pushes,
//! with a wait that grows and is never the same on two nodes.

mod target;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;

use super::scim::Delivery;
use crate::config::{self, Foreign, Timing};
use crate::environment::{Clock, Random, random_text};
use crate::store::{self, Push, PushState, Settlement, Store, User};

use target::{FOREIGN, Target};

pub use target::Undelivered;

/// How often due pushes are looked for; what becomes due here is looked at at once.
const LOOK: Duration = Duration::from_secs(2);
/// Pushes that are claimed at once, and delivered at the same time.
const BATCH: u32 = 32;
const AT_ONCE: usize = 4;
/// The first wait after a failure, and the longest.
const FIRST_WAIT: i64 = 2;
const LONGEST_WAIT: i64 = 300;
/// How often a sign-in looks whether somebody else has delivered its user.
const WATCH: Duration = Duration::from_millis(50);

/// Every receiver of every directory.
pub struct Outbox {
    targets: Vec<Target>,
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    wake: Notify,
    told: Told,
}

/// Counts what became of a push: directory and outcome.
type Told = Box<dyn Fn(&str, &'static str) + Send + Sync>;

impl Outbox {
    /// Prepares every receiver. `told` counts what became of each push.
    ///
    /// # Errors
    /// What one of them lacks.
    pub fn new(
        config: &config::Config,
        store: Store,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        told: impl Fn(&str, &'static str) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let mut targets = Vec::new();
        for directory in &config.directories {
            for push in &directory.push {
                targets.push(Target::new(&directory.name, push)?);
            }
        }
        Ok(Self {
            targets,
            store,
            clock,
            random,
            wake: Notify::new(),
            told: Box::new(told),
        })
    }

    /// Whether there is anybody to tell.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// What is wrong with receivers, for readiness.
    pub fn troubles(&self) -> Vec<String> {
        let trouble = |target: &Target| {
            let reason = target.down()?.reason;
            let (url, directory) = (&target.url, &target.directory);
            Some(format!(
                "receiver {url} of directory {directory}: {reason}; its pushes wait"
            ))
        };
        self.targets.iter().filter_map(trouble).collect()
    }

    /// Delivers what is due until it is aborted.
    pub async fn deliver(self: Arc<Self>) {
        loop {
            let mut busy = false;
            for target in &self.targets {
                busy |= self.round(target).await;
            }
            if !busy {
                let _ = tokio::time::timeout(LOOK, self.wake.notified()).await;
            }
        }
    }

    /// One batch of a receiver; whether there may be more.
    async fn round(&self, target: &Target) -> bool {
        let now = self.clock.now();
        if target.down().is_some_and(|down| now < down.until) {
            return false;
        }
        let lease = random_text::<16>(&*self.random);
        // After a failure one push finds out whether the receiver is back.
        let most = if target.down().is_some() { 1 } else { BATCH };
        let claimed = self
            .store
            .claim_pushes(&target.url, &lease, now, target.lease(), most);
        let claimed = match claimed.await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::debug!(%error, "pushes wait for the store");
                return false;
            }
        };
        let more = claimed.len() == most as usize;
        stream::iter(claimed)
            .for_each_concurrent(AT_ONCE, |push| async move {
                let settled = self.settled(target, &push).await;
                if let Err(error) = settled {
                    tracing::warn!(%error, user = push.user, "a push was not recorded; it is done again");
                }
            })
            .await;
        more && target.down().is_none()
    }

    /// Delivers a claimed push and records what became of it.
    async fn settled(&self, target: &Target, push: &Push) -> Result<Settlement, store::Error> {
        let user = self.store.user_by_id(&push.user).await?;
        let delivery = match &user {
            Some(user) => {
                let (id, attributes) = (push.remote_id.as_deref(), push.attributes.as_deref());
                target.receiver.deliver(user, id, attributes).await
            }
            None => Delivery::Rejected {
                reason: "the user is gone".to_owned(),
            },
        };
        let settlement = self.settlement(target, push, delivery);
        let now = self.clock.now();
        self.store.settle_push(push, &settlement, now).await?;
        Ok(settlement)
    }

    fn settlement(&self, target: &Target, push: &Push, delivery: Delivery) -> Settlement {
        let (outcome, settlement) = match delivery {
            Delivery::Delivered {
                remote_id,
                attributes,
            } => {
                target.is_well();
                let delivered = Settlement::Delivered {
                    remote_id,
                    attributes,
                };
                ("delivered", delivered)
            }
            Delivery::Foreign => {
                target.is_well();
                let settlement = match target.config.foreign {
                    Foreign::Accept => Settlement::Foreign,
                    Foreign::Conflict => Settlement::Rejected {
                        reason: FOREIGN.to_owned(),
                    },
                };
                ("foreign", settlement)
            }
            Delivery::Rejected { reason } => {
                target.is_well();
                ("rejected", Settlement::Rejected { reason })
            }
            Delivery::Later {
                reason,
                after,
                everybody,
            } => {
                let failures = match everybody {
                    true => target.failures.fetch_add(1, Ordering::Relaxed),
                    false => u32::try_from(push.attempts).unwrap_or(u32::MAX),
                };
                let after = after.map_or(0, |wait| wait.as_secs() as i64);
                let due_at = self.clock.now() + after.max(self.wait(failures));
                if everybody {
                    target.is_down(due_at, &reason);
                }
                ("failed", Settlement::Later { due_at, reason })
            }
        };
        if let Settlement::Rejected { reason } | Settlement::Later { reason, .. } = &settlement {
            let (user, receiver) = (&push.user, &target.url);
            tracing::warn!(user, receiver, outcome, "push: {reason}");
        }
        (self.told)(&target.directory, outcome);
        settlement
    }

    /// Doubles with each failure, a quarter more or less.
    fn wait(&self, failures: u32) -> i64 {
        let wait = (FIRST_WAIT << failures.min(10)).min(LONGEST_WAIT);
        let mut byte = [0];
        self.random.fill(&mut byte);
        (wait + wait * (i64::from(byte[0]) - 128) / 512).max(1)
    }

    /// Tells the receivers of a user's directory before the user comes in, where `timing` says so; the others are told
    /// soon.
    ///
    /// # Errors
    /// [`Undelivered`], where the receiver was never told of the user; and [`store::Error`].
    pub async fn before_coming_in(
        &self,
        user: &User,
    ) -> Result<Result<(), Undelivered>, store::Error> {
        let targets = self.targets.iter();
        for target in targets.filter(|target| target.directory == user.directory) {
            let push = match self.store.push(&user.id, &target.url).await? {
                Some(push) => push,
                // The receiver is new to the directory.
                None if user.elsewhere => continue,
                None => {
                    self.store
                        .make_due(user, &target.url, self.clock.now())
                        .await?;
                    match self.store.push(&user.id, &target.url).await? {
                        Some(push) => push,
                        None => continue,
                    }
                }
            };
            match target.config.timing {
                Timing::Background => self.wake.notify_one(),
                Timing::Inline => {
                    if let Err(undelivered) = self.inline(target, push).await? {
                        return Ok(Err(undelivered));
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    async fn inline(
        &self,
        target: &Target,
        push: Push,
    ) -> Result<Result<(), Undelivered>, store::Error> {
        let known = push.delivered > 0;
        if push.state != PushState::Pending {
            return Ok(target.verdict(known, push.state, push.last_error));
        }
        let patience = tokio::time::Instant::now() + target.config.timeout;
        let (state, reason) = loop {
            let now = self.clock.now();
            if let Some(down) = target.down().filter(|down| now < down.until) {
                break (PushState::Pending, Some(down.reason));
            }
            let lease = random_text::<16>(&*self.random);
            let seconds = target.lease();
            let claimed = self
                .store
                .claim_push(&push.user, &target.url, &lease, now, seconds);
            if let Some(claimed) = claimed.await? {
                break match self.settled(target, &claimed).await? {
                    Settlement::Delivered { .. } => (PushState::Delivered, None),
                    Settlement::Foreign => (PushState::Foreign, None),
                    Settlement::Rejected { reason } => (PushState::Rejected, Some(reason)),
                    Settlement::Later { reason, .. } => (PushState::Pending, Some(reason)),
                };
            }
            // Somebody else delivers it.
            tokio::time::sleep(WATCH).await;
            match self.store.push(&push.user, &target.url).await? {
                Some(push) if push.state != PushState::Pending => {
                    break (push.state, push.last_error);
                }
                _ if tokio::time::Instant::now() > patience => {
                    break (
                        PushState::Pending,
                        Some("it gave no answer in time".to_owned()),
                    );
                }
                _ => {}
            }
        };
        Ok(target.verdict(known, state, reason))
    }
}
