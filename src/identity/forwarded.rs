//! `Forwarded` (RFC 7239) and X-Forwarded-For: the client as we know it, in both spellings.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

/// The longest `for="[…]"` and its semicolon.
const LONGEST_FOR: usize = 56;

/// What follows the client in `Forwarded`: the public host and scheme.
pub(super) struct Public(String);

impl Public {
    pub(super) fn new(authority: &str, scheme: &str) -> Self {
        Self(format!(";host=\"{authority}\";proto={scheme}"))
    }

    /// `Forwarded` and X-Forwarded-For for a client, over one piece of memory. IPv6 addresses stand
    /// between brackets and quotes in the first (RFC 7239 6) and bare in the second.
    pub(super) fn naming(&self, client: IpAddr) -> Option<(HeaderValue, HeaderValue)> {
        let mut text = BytesMut::with_capacity(LONGEST_FOR + self.0.len());
        let (open, close) = match client {
            IpAddr::V4(_) => ("for=", ""),
            IpAddr::V6(_) => ("for=\"[", "]\""),
        };
        write!(text, "{open}{client}").ok()?;
        let address = open.len()..text.len();
        write!(text, "{close}{}", self.0).ok()?;
        let text: Bytes = text.freeze();
        let alone = HeaderValue::from_maybe_shared(text.slice(address)).ok()?;
        Some((HeaderValue::from_maybe_shared(text).ok()?, alone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_quoted_as_their_grammar_asks() {
        let public = Public::new("[2001:db8::1]:8443", "https");
        for (client, forwarded) in [
            (
                "192.0.2.7",
                "for=192.0.2.7;host=\"[2001:db8::1]:8443\";proto=https",
            ),
            (
                "2001:db8::7",
                "for=\"[2001:db8::7]\";host=\"[2001:db8::1]:8443\";proto=https",
            ),
        ] {
            let (whole, alone) = public.naming(client.parse().unwrap()).unwrap();
            assert_eq!(
                (whole.as_bytes(), alone.as_bytes()),
                (forwarded.as_bytes(), client.as_bytes())
            );
        }
    }
}
