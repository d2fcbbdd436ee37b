//! What belongs to a connection and not to a message (RFC 9110 7.6.1): it goes before anything else is
//! looked at, so that `Connection` cannot take away what is set later.

use http::header::{CONNECTION, HOST, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Sign-ins that hold for a connection and not for a request (RFC 4559 6).
const BOUND_SCHEMES: [&str; 2] = ["NTLM", "Negotiate"];

/// The sign-in among a field's challenges or credentials (RFC 9110 11.6) that holds for the whole connection, if any
/// does.
pub fn bound_scheme(field: &[u8]) -> Option<&'static str> {
    let mut quoted = false;
    let items = field.split(|byte| {
        // An escaped quote inside of quotes is left out: it would make us see a scheme more, never one less.
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    let scheme = |item: &[u8]| {
        let item = item.trim_ascii();
        let end = item
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric())
            .unwrap_or(item.len());
        let is_it = |scheme: &&str| item[..end].eq_ignore_ascii_case(scheme.as_bytes());
        // `Negotiate=x` would be a parameter.
        let is_parameter = item.get(end) == Some(&b'=');
        BOUND_SCHEMES
            .into_iter()
            .find(is_it)
            .filter(|_| !is_parameter)
    };
    items.into_iter().find_map(scheme)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_ins_of_a_connection_are_found_among_others() {
        for (field, expected) in [
            ("NTLM", Some("NTLM")),
            ("ntlm TlRMTVNTUAACAAAA=", Some("NTLM")),
            ("Negotiate", Some("Negotiate")),
            ("Negotiate:PKU2U", Some("Negotiate")),
            ("NEGOTIATE oYG2MIG=", Some("Negotiate")),
            ("Basic realm=\"a\", NTLM", Some("NTLM")),
            (
                "Basic realm=\"a, b\" ,\tnegotiate ,Bearer",
                Some("Negotiate"),
            ),
            ("Bearer", None),
            ("Basic realm=\"NTLM\"", None),
            ("Basic realm=\"a, NTLM b\"", None),
            ("Basic realm=a, negotiate=no", None),
            ("NTLMv2", None),
            ("", None),
        ] {
            assert_eq!(bound_scheme(field.as_bytes()), expected, "{field}");
        }
    }
}
