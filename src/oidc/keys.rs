//! The provider's keys when a signature was made by none of those that are known (OpenID Connect Core
//! 10.1.1): the provider may have rotated them.
//!
//! They are asked for at once, yet at most once in ten seconds and by one sign-in at a time: whoever can
//! make us look at foreign key ids must not make us hammer the provider. While it is too early to ask
//! again, the signature is refused.

use std::sync::Arc;

use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet};
use serde::Deserialize;
use serde_json::Value;

use super::RelyingParty;
use super::discovery::{Discovered, discovery_reason};
use super::tenant_metadata::keys_at;
use super::transport::Observed;
use crate::config::{self, IdTokenAlgorithm, tenant_in};
use crate::environment::UnixSeconds;

/// At most one fetch in so many seconds. The hourly discovery does not count: a rotation right behind
/// it must heal at once.
const FETCH_INTERVAL: UnixSeconds = 10;

/// A provider's public keys (RFC 7517 5).
#[derive(Debug)]
pub(super) struct KeySet(Vec<(CoreJsonWebKey, Whose)>);

/// Whose tokens a key may sign.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Anybodys,
    /// Those of an issuer, or of any tenant that stands in the place of `{tenantid}`.
    Of(String),
    /// The key says something that is no issuer.
    Nobodys,
}

impl Whose {
    fn fits(&self, issuer: &str) -> bool {
        match self {
            Self::Anybodys => true,
            Self::Of(of) => of == issuer || tenant_in(of, issuer).is_some(),
            Self::Nobodys => false,
        }
    }
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<Value>,
}

impl KeySet {
    /// Keys of a provider that has one issuer: its key set is its own, whatever else a key says.
    pub(super) fn of_one_issuer(keys: &CoreJsonWebKeySet) -> Self {
        let keys = keys.keys().iter().cloned();
        Self(keys.map(|key| (key, Whose::Anybodys)).collect())
    }

    /// Keys of a provider with an issuer for each tenant, in whose set each key may name whose it is, as Entra ID's
    /// do: the key of one tenant must not sign for another. Keys of kinds that are not known are left out.
    pub(super) fn of_several_issuers(json: &[u8]) -> Result<Self, String> {
        let set: WrittenSet = serde_json::from_slice(json)
            .map_err(|_| "expected a set of keys (RFC 7517), found another document")?;
        let key = |mut written: Value| {
            let whose = match written.as_object_mut()?.remove("issuer") {
                None | Some(Value::Null) => Whose::Anybodys,
                Some(Value::String(issuer)) => Whose::Of(issuer),
                Some(_) => Whose::Nobodys,
            };
            Some((serde_json::from_value(written).ok()?, whose))
        };
        Ok(Self(set.keys.into_iter().filter_map(key).collect()))
    }

    /// Each key, and whether it may sign what that issuer makes.
    pub(super) fn for_issuer<'k>(
        &'k self,
        issuer: &'k str,
    ) -> impl Iterator<Item = (&'k CoreJsonWebKey, bool)> {
        let keys = self.0.iter();
        keys.map(move |(key, whose)| (key, whose.fits(issuer)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CoreJsonWebKey> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl RelyingParty {
    /// Newer keys than `seen`, for a signature that none of those made; `None` when there are none or
    /// when it is too early to ask again.
    pub(super) async fn newer_keys(
        &self,
        seen: &Arc<KeySet>,
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

    async fn fetch_keys(&self, known: &Discovered) -> Result<KeySet, String> {
        let http = Observed::new(&self.http);
        let url = known.metadata.jwks_uri();
        let keys = match self.provider.issuer.tenants() {
            [] => CoreJsonWebKeySet::fetch_async(url, &http)
                .await
                .map(|keys| KeySet::of_one_issuer(&keys))
                .map_err(|error| discovery_reason(&error, &http.last()))?,
            _ => keys_at(&http, url).await?,
        };
        check_keys(&keys, &self.provider)?;
        Ok(keys)
    }
}

/// A key set that would refuse everybody replaces none.
pub(super) fn check_keys(keys: &KeySet, provider: &config::Provider) -> Result<(), String> {
    let by_secret = provider.algorithms.contains(&IdTokenAlgorithm::HS256);
    match keys.is_empty() && !by_secret {
        true => Err("the provider's key set holds no key that can be used".to_owned()),
        false => Ok(()),
    }
}
