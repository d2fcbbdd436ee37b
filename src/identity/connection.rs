//! What belongs to a connection and not to a message (RFC 9110 7.6.1): it goes before anything else is
//! looked at, so that `Connection` cannot take away what is set later.

use http::header::{CONNECTION, HOST, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a field of this name is the connection's own, or says how the body is framed.
pub(super) fn belongs_to_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

pub(super) fn odd_framing(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    };
    codings.next().is_some_and(|coding| !chunked(coding)) || codings.next().is_some()
}

/// Removes what belongs to the connection; gives back the protocol that an upgrade asks for.
pub(super) fn without_connection_fields(
    method: &Method,
    headers: &mut HeaderMap,
) -> Option<HeaderValue> {
    let mut named = Vec::new();
    let mut upgrades = false;
    for field in headers.get_all(CONNECTION) {
        for option in field
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            upgrades |= option.eq_ignore_ascii_case(b"upgrade");
            // Host and the body's framing are not the connection's to remove.
            named.extend(
                HeaderName::from_bytes(option)
                    .ok()
                    .filter(|name| *name != HOST && *name != http::header::CONTENT_LENGTH),
            );
        }
    }
    // What runs on an upgraded connection is not stripped: another HTTP there would carry any identity.
    let protocol = headers.remove(UPGRADE).filter(|protocol| {
        let web_socket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        web_socket && upgrades && *method == Method::GET
    });
    let member = |member: &[u8]| member.trim_ascii().eq_ignore_ascii_case(b"trailers");
    let trailers = headers
        .get(TE)
        .is_some_and(|te| te.as_bytes().split(|byte| *byte == b',').any(member));
    for name in named {
        headers.remove(name);
    }
    use http::header::{PROXY_AUTHORIZATION, TRANSFER_ENCODING};
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    protocol
}
