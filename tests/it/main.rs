//! End-to-end tests: the real binary between a certified provider, real browsers and an application.
//! The files mirror the journey of a request; `support` is what they stand on. `tests/run` installs the
//! peers and runs everything.

#![allow(clippy::unwrap_used)]

mod administration;
mod assertion;
mod bad_input;
mod bearer;
mod chromium;
mod churn;
mod command_line;
mod cookies;
mod corpus;
mod demo;
mod directories;
mod drain;
mod endpoints;
mod forwarding;
mod frames;
mod http2;
mod identity;
mod informational;
mod journey;
mod kept_form;
mod limits;
mod listeners;
mod logout;
mod loops;
mod nodes;
mod okta_example;
mod operation;
mod postgres;
mod presets;
mod private_key;
mod provider_logout;
mod provisioning;
mod proxy_protocol;
mod push;
mod ranks;
mod readme;
mod reference;
mod relying_party;
mod renewal;
mod routes;
mod rules;
mod session;
mod sessions;
mod sign_in;
mod store;
mod store_faults;
mod streaming;
mod support;
mod tenants;
mod tls;
mod token;
mod trailers;
mod upstream;
mod workflowgen;
