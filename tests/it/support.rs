//! What the tests stand on.

pub(crate) mod lying_provider;
