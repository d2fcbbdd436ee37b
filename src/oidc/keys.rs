//! The provider's keys when a signature was made by none of those that are known (OpenID Connect Core
//! 10.1.1): the provider may have rotated them.
//!
//! They are asked for at once, yet at most once in ten seconds and by one sign-in at a time: whoever can
//! make us look at foreign key ids must not make us hammer the provider. While it is too early to ask
//! again, the signature is refused.

use std::sync::Arc;

use openidconnect::core::CoreJsonWebKeySet;

use super::RelyingParty;
use super::discovery::{Discovered, discovery_reason};
use super::transport::Observed;
use crate::config::{self, IdTokenAlgorithm};
use crate::environment::UnixSeconds;

/// At most one fetch in so many seconds. The hourly discovery does not count: a rotation right behind
/// it must heal at once.
const FETCH_INTERVAL: UnixSeconds = 10;

impl RelyingParty {
    /// Newer keys than `seen`, for a signature that none of those made; `None` when there are none or
    /// when it is too early to ask again.
    pub(super) async fn newer_keys(
        &self,
        seen: &Arc<CoreJsonWebKeySet>,
        now: UnixSeconds,
    ) -> Option<Arc<Discovered>> {
        // Whoever waits here uses what the one before fetched.
        let mut fetched_at = self.key_fetch.lock().await;
        let known = self.discovered.load_full()?;
        if !Arc::ptr_eq(&known.keys, seen) {
            return Some(known);
        }
        if fetched_at.is_some_and(|at| (0..FETCH_INTERVAL).contains(&now.saturating_sub(at))) {
            return None;
        }
        *fetched_at = Some(now);
        match self.fetch_keys(&known).await {
            Ok(keys) => {
                let discovered = Arc::new(Discovered {
                    keys: Arc::new(keys),
                    ..Discovered::clone(&known)
                });
                self.discovered.store(Some(Arc::clone(&discovered)));
                Some(discovered)
            }
            Err(reason) => {
                tracing::warn!(
                    provider = self.name(),
                    reason,
                    "a signature names an unknown key, and the provider's keys cannot be fetched"
                );
                None
            }
        }
    }

    async fn fetch_keys(&self, known: &Discovered) -> Result<CoreJsonWebKeySet, String> {
        let http = Observed::new(&self.http);
        let keys = CoreJsonWebKeySet::fetch_async(known.metadata.jwks_uri(), &http)
            .await
            .map_err(|error| discovery_reason(&error, &http.last()))?;
        check_keys(&keys, &self.provider)?;
        Ok(keys)
    }
}

/// A key set that would refuse everybody replaces none.
pub(super) fn check_keys(
    keys: &CoreJsonWebKeySet,
    provider: &config::Provider,
) -> Result<(), String> {
    let by_secret = provider.algorithms.contains(&IdTokenAlgorithm::HS256);
    match keys.keys().is_empty() && !by_secret {
        true => Err("the provider's key set holds no key that can be used".to_owned()),
        false => Ok(()),
    }
}
