//! Vestibule, the authenticating front door of a WorkflowGen installation.
//!
//! # Glossary
//!
//! - *provider*: the OpenID provider that signs people in; we are its *relying party*.
//! - *tenant*: one of several organisations whose people one provider signs in, each with an issuer of its own.
//! - *session token*: the JWT that we mint and that the application's own module verifies.
//! - *session claims*: the provider's claims as the session token carries them; mappings read these.
//! - *identity*: `(issuer, subject)`, who somebody is to a provider. A user may have several.
//! - *directory*: a set of users with one mapping and one set of rules.
//! - *skeleton*: a username as coarsely as an application's database may compare it.
//! - *upstream*: the application behind us. *Outgoing*: a request with its identity stamped.
//!
//! # Modules, in rank order
//!
//! A module imports only what stands above it in this list (`tests/it/ranks.rs` holds it): a room
//! imports the type handed to it, never the room it hands to.

#![cfg_attr(test, allow(clippy::unwrap_used))]

// Rank 0
pub mod spelling;

pub mod expression;

pub mod config;
pub mod environment;
pub mod page;
pub mod sealing;
pub mod telemetry;
// Rank 1
pub mod oidc;
pub mod route;
pub mod store;
// Rank 2
pub mod mapping;
pub mod provisioning;
// Rank 3
pub mod assertion;

pub mod session;

pub mod bearer;
// Rank 4
pub mod identity;
// Rank 5
pub mod upstream;
// Rank 6
pub mod rejection;
// Rank 7
pub mod endpoint;
// Rank 8
pub mod admin;
pub mod proxy;
// Rank 9
pub mod server;

pub mod demo;

pub mod cli;
