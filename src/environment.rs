//! Time and randomness as arguments, so that tests decide both.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, as JWT's NumericDate counts them (RFC 7519 2).
pub type UnixSeconds = i64;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> UnixSeconds;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSeconds {
        // A clock before 1970 makes every token expired: fail closed.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(i64::MAX, |since| since.as_secs() as i64)
    }
}

/// A source of unpredictable bytes.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "without randomness no secret may be made"
        )]
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// `N` random bytes as unpadded base64url text.
pub fn random_text<const N: usize>(random: &dyn Random) -> String {
    use base64::Engine as _;
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// `time` as RFC 3339 text in UTC.
pub fn rfc3339(time: UnixSeconds) -> String {
    time::OffsetDateTime::from_unix_timestamp(time)
        .ok()
        .and_then(|moment| {
            moment
                .format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| time.to_string())
}
