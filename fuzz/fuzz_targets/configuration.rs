//! The loader reads anything, and says what is wrong with it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|toml: &[u8]| {
    if let Err(faults) = vestibule_fuzz::load(FOLDER.path(), toml) {
        assert!(!faults.to_string().is_empty());
    }
});
