//! Whatever a Cookie field holds, the session values that are found in it stand in it.
#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use vestibule::session::{Cookies, pairs};

static COOKIES: LazyLock<Cookies> =
    LazyLock::new(|| Cookies::new(&vestibule_fuzz::configuration()));

fuzz_target!(|field: &[u8]| {
    for (name, value) in pairs(field) {
        assert!(!value.contains(&b';'));
        assert!(name.is_none_or(|name| !name.contains(&b';') && !name.contains(&b'=')));
    }
    if let Ok(value) = HeaderValue::from_bytes(field) {
        let headers = HeaderMap::from_iter([(http::header::COOKIE, value)]);
        COOKIES.session_values(&headers).count();
        COOKIES.sign_in_value(&headers);
    }
});
