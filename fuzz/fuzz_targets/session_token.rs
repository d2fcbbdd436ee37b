//! No bytes that we did not sign become a session token.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vestibule::session::TokenKeys;

static KEYS: LazyLock<TokenKeys> =
    LazyLock::new(|| TokenKeys::new(&vestibule_fuzz::configuration().session).expect("keys"));

fuzz_target!(|token: &str| {
    assert!(KEYS.verify(token, 0).is_none(), "a token was forged");
});
