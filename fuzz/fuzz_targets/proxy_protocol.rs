//! A header of the PROXY protocol ends within what arrived, and within bounds, whatever follows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::server::proxy_protocol::header;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(found)) = header(bytes) else {
        return;
    };
    assert!(found.length <= bytes.len().min(4096));
    assert_eq!(header(&bytes[..found.length]), Ok(Some(found)));
    assert_eq!(header(&bytes[..found.length - 1]), Ok(None));
});
