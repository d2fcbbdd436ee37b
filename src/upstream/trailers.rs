//! Trailers: what a recipient may act on before it has read the body is no trailer (RFC 9110 6.5.1),
//! and neither is anything that names somebody.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, DATE, EXPECT, EXPIRES,
    FORWARDED, HOST, LOCATION, MAX_FORWARDS, PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY, VIA, WARNING,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName};
use http_body::Frame;

/// Routing, framing, control, conditions, authentication and state (RFC 9110 6.5.1), beside what
/// begins with `content-` or `if-`.
const NEVER: [HeaderName; 27] = [
    ACCEPT_RANGES,
    AGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    FORWARDED,
    HOST,
    LOCATION,
    MAX_FORWARDS,
    PRAGMA,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VARY,
    VIA,
    WARNING,
    WWW_AUTHENTICATE,
];

/// Removes what is never a trailer, and what does not pass `also`.
pub(super) fn keep(trailers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    let doomed: Vec<_> = trailers
        .keys()
        .filter(|name| !may_trail(name) || !also(name.as_str()))
        .cloned()
        .collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// A frame of the application's on its way to the browser: no cookie among the trailers, and nothing
/// that belongs to the connection.
pub(super) fn of_response(frame: Frame<Bytes>) -> Frame<Bytes> {
    if !frame.is_trailers() {
        return frame;
    }
    match frame.into_trailers() {
        Ok(mut trailers) => {
            keep(&mut trailers, |_| true);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

fn may_trail(name: &HeaderName) -> bool {
    let text = name.as_str();
    !NEVER.contains(name)
        && !text.starts_with("content-")
        && !text.starts_with("if-")
        && !matches!(text, "keep-alive" | "proxy-connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_known_before_the_body_is_no_trailer() {
        for name in ["content-md5", "if-match", "cookie", "host", "keep-alive"] {
            assert!(!may_trail(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "x-checksum",
            "server-timing",
            "grpc-status",
            "etag",
            "digest",
        ] {
            assert!(may_trail(&HeaderName::from_static(name)), "{name}");
        }
    }
}
