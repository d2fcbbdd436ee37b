//! What every end-to-end test stands on: the real binary between real peers, and user agents whose
//! every byte a test can choose. Everything listens on loopback ports that were free a moment ago,
//! every wait is bounded, and nothing outlives its test.

pub(crate) mod application;
pub(crate) mod asp_net;
pub(crate) mod browser;
pub(crate) mod chromium;
pub(crate) mod cookies;
pub(crate) mod haproxy;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod lying_provider;
pub(crate) mod peer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod scim;
pub(crate) mod tls;
pub(crate) mod wire;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A port that nothing listens on. Below the ephemeral range, so that no outgoing connection of a
/// parallel test takes it before its server does.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1_000) as u16 * 12;
    for _ in 0..12_000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 32000");
}

/// Polls until `look` sees what it waits for.
///
/// # Panics
/// When it does not within `limit`.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Long enough for anything that happens at all on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
