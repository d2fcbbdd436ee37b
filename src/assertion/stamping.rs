//! A person's identity headers, ready made for one worker.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{Asserted, Assertions};
use crate::config::Config;
use crate::environment::UnixSeconds;

/// Makes the identity headers of one worker's people.
pub struct Stamping {
    /// The user header first, then the others in their order.
    names: Vec<HeaderName>,
    assertion: Option<(HeaderName, Arc<Assertions>)>,
}

/// The identity headers of a person, and how long they are good.
#[derive(Debug)]
pub struct Stamp {
    headers: Vec<(HeaderName, HeaderValue)>,
    fresh: Range<UnixSeconds>,
}

impl Stamp {
    /// The headers.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether they need not be made anew yet.
    pub fn is_fresh(&self, now: UnixSeconds) -> bool {
        self.fresh.contains(&now)
    }
}

impl Stamping {
    /// Prepares a worker, with header names of its own: clones of one name count in one place.
    pub fn new(config: &Config, assertions: Option<&Arc<Assertions>>) -> Self {
        let identity = &config.upstream.identity;
        // A name that was one stays one.
        let of_its_own = |name: &HeaderName| HeaderName::from_bytes(name.as_str().as_bytes()).ok();
        let names = std::iter::once(&identity.user_header)
            .chain(identity.headers.iter().map(|(name, _)| name))
            .filter_map(of_its_own);
        let assertion = |assertions: &Arc<Assertions>| {
            Some((of_its_own(&assertions.header)?, Arc::clone(assertions)))
        };
        Self {
            names: names.collect(),
            assertion: assertions.and_then(assertion),
        }
    }

    /// The headers of somebody with these values, in the order of the names.
    pub fn stamp(
        &self,
        values: &[Option<Box<str>>],
        asserted: Option<&Arc<Asserted>>,
        now: UnixSeconds,
    ) -> Stamp {
        let named = self.names.iter().zip(values);
        let headers = named.filter_map(|(name, value)| {
            let value = value.as_deref()?;
            Some((name.clone(), HeaderValue::from_str(value).ok()?))
        });
        let mut headers: Vec<_> = headers.collect();
        let mut fresh = UnixSeconds::MIN..UnixSeconds::MAX;
        if let (Some((name, assertions)), Some(asserted)) = (&self.assertion, asserted) {
            // Where none can be made the next request tries again.
            fresh = now..now;
            if let Some((value, until)) = assertions.newest(asserted, now) {
                headers.push((name.clone(), value));
                fresh = until;
            }
        }
        Stamp { headers, fresh }
    }

    /// With one header, and no assertion.
    #[cfg(test)]
    pub(crate) fn of_user_header() -> Self {
        Self {
            names: vec![HeaderName::from_static("x-forwarded-user")],
            assertion: None,
        }
    }
}

impl std::fmt::Debug for Stamping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stamping")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
