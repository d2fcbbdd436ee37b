//! End-to-end tests.

#![allow(clippy::unwrap_used)]

mod relying_party;
mod support;
