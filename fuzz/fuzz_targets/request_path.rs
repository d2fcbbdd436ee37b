//! A path that is not refused means one thing: none of the forms that systems read differently.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::route;

fuzz_target!(|path: &str| {
    if route::clarity(path).is_ok() {
        let lower = path.to_ascii_lowercase();
        assert!(path.starts_with('/'));
        for ambiguous in ["//", "\\", "%2f", "%5c", "%00", "/../", "/./"] {
            assert!(!lower.contains(ambiguous), "{path:?}");
        }
        assert!(!path.bytes().any(|byte| byte.is_ascii_control()));
        for part in path.split('/') {
            let undotted = part.to_ascii_lowercase().replace("%2e", ".");
            assert!(undotted != "." && undotted != "..", "{path:?}");
        }
    }
});
