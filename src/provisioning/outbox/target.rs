//! One receiver of one directory: how it is, and what that means for a sign-in that waits for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::{OnFailure, Push};
use crate::environment::UnixSeconds;
use crate::provisioning::scim::Receiver;
use crate::store::PushState;

/// One receiver of one directory.
pub(super) struct Target {
    pub(super) directory: String,
    pub(super) url: String,
    pub(super) config: Push,
    pub(super) receiver: Receiver,
    /// Failures of the receiver itself, one after the other.
    pub(super) failures: AtomicU32,
    down: Mutex<Option<Down>>,
}

/// Since when a receiver is not asked, and why.
#[derive(Debug, Clone)]
pub(super) struct Down {
    pub(super) until: UnixSeconds,
    pub(super) reason: String,
}

/// Why a sign-in that waits for a receiver goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The receiver has the username from somebody else, and `foreign` is `conflict`.
    #[error("the receiver of directory {directory} has this username from somebody else")]
    Foreign {
        /// The directory.
        directory: String,
    },
    /// The receiver said no for good.
    #[error("the receiver of directory {directory} refuses the user: {reason}")]
    Rejected {
        /// The directory.
        directory: String,
        /// Status and error type.
        reason: String,
    },
    /// The receiver was never told of the user and cannot be now.
    #[error("the receiver of directory {directory} cannot be told of the user: {reason}")]
    Down {
        /// The directory.
        directory: String,
        /// What went wrong.
        reason: String,
    },
}

/// Why a push was rejected with `foreign = "conflict"`.
pub(super) const FOREIGN: &str = "it has this username from somebody else";

impl Target {
    /// Prepares the client.
    pub(super) fn new(directory: &str, push: &Push) -> Result<Self, String> {
        Ok(Self {
            directory: directory.to_owned(),
            url: push.url.to_string(),
            receiver: Receiver::new(push)?,
            config: push.clone(),
            failures: AtomicU32::new(0),
            down: Mutex::default(),
        })
    }

    pub(super) fn down(&self) -> Option<Down> {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.clone()
    }

    pub(super) fn is_down(&self, until: UnixSeconds, reason: &str) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        *down = Some(Down {
            until,
            reason: reason.to_owned(),
        });
    }

    pub(super) fn is_well(&self) {
        self.failures.store(0, Ordering::Relaxed);
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        *down = None;
    }

    /// Seconds that one delivery may hold its push: it takes some exchanges.
    pub(super) fn lease(&self) -> i64 {
        self.config.timeout.as_secs() as i64 * 6 + 30
    }

    /// Whether a user whose push stands so may come in.
    pub(super) fn verdict(
        &self,
        known: bool,
        state: PushState,
        reason: Option<String>,
    ) -> Result<(), Undelivered> {
        let directory = self.directory.clone();
        let reason = reason.unwrap_or_else(|| "it was not told yet".to_owned());
        match (state, self.config.on_failure) {
            (PushState::Delivered | PushState::Foreign | PushState::Discarded, _) => Ok(()),
            _ if known => Ok(()),
            (PushState::Rejected, _) if reason == FOREIGN => {
                Err(Undelivered::Foreign { directory })
            }
            (_, OnFailure::Continue) => Ok(()),
            (PushState::Rejected, OnFailure::Deny) => {
                Err(Undelivered::Rejected { directory, reason })
            }
            (PushState::Pending, OnFailure::Deny) => Err(Undelivered::Down { directory, reason }),
        }
    }
}
