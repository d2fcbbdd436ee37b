//! No query that we did not seal a state for becomes an authorization response.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vestibule::oidc::{AuthorizationResponse, RelyingParties};
use vestibule::sealing::Sealer;

static ROOM: LazyLock<(RelyingParties, Sealer)> = LazyLock::new(|| {
    // Fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = vestibule_fuzz::configuration();
    let parties = RelyingParties::new(&config).expect("relying parties");
    (parties, Sealer::new(&config.session))
});

fuzz_target!(|input: (&str, Option<&str>, Option<&str>)| {
    let (query, callback, binding) = input;
    let (parties, sealer) = &*ROOM;
    let response = AuthorizationResponse::receive(query, callback, binding, parties, sealer, 0);
    assert!(response.is_err(), "a state was forged");
});
