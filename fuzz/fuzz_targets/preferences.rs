//! Accept and Accept-Language never keep anybody from a page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::page::{Form, Language};

fuzz_target!(|field: &[u8]| {
    Language::of(Some(field));
    Form::of(Some(field));
});
