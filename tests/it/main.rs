//! End-to-end tests: the real binary between a certified provider, real browsers and an application.
//! The files mirror the journey of a request; `support` is what they stand on. `tests/run` installs the
//! peers and runs everything.

#![allow(clippy::unwrap_used)]

mod command_line;
mod cookies;
mod demo;
mod identity;
mod provisioning;
mod ranks;
mod readme;
mod reference;
mod relying_party;
mod session;
mod sign_in;
mod support;
