//! Whatever a Forwarded field holds, what is read of it stands in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::identity::proxied::elements;

fuzz_target!(|line: &str| {
    let Some(found) = elements(line) else {
        return;
    };
    let length = |value: &Option<std::borrow::Cow<'_, str>>| value.as_ref().map_or(0, |it| it.len());
    let total: usize = found.iter().map(|it| length(&it.client) + length(&it.host)).sum();
    assert!(total <= line.len());
});
