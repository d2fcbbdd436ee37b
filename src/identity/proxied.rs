//! What trusted proxies tell of the client: X-Forwarded-For and X-Forwarded-Host, or where a proxy writes
//! neither, Forwarded (RFC 7239). Each proxy adds on the right, and only the nearest one is known to be
//! trusted, so all of them are read from there.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

use super::{X_FORWARDED_FOR, X_FORWARDED_HOST};

/// An element of Forwarded, as far as it is used here.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Element<'l> {
    /// `for`: who made the request to the proxy.
    pub client: Option<Cow<'l, str>>,
    /// `host`: the Host that the proxy was asked for.
    pub host: Option<Cow<'l, str>>,
}

/// The last address, from the right, up to the first that is no trusted proxy's; all lines are one list
/// (RFC 9110 5.3). `None` where not even the nearest proxy names one.
pub(super) fn client(headers: &HeaderMap, trusts: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    match speaks_forwarded(headers) {
        false => {
            let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
            let named = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
            first_stranger(named.map(|name| named_address(name.trim())), trusts)
        }
        true => {
            let lines = headers.get_all(FORWARDED).iter().rev();
            let named = lines.flat_map(|line| {
                // In a line that cannot be read nobody is named, and what is left of it tells nothing.
                let elements = elements_of(line).unwrap_or_else(|| vec![Element::default()]);
                elements.into_iter().rev()
            });
            let address = |element: Element<'_>| named_address(&element.client?);
            first_stranger(named.map(address), trusts)
        }
    }
}

/// The host that the nearest proxy was asked for.
pub(super) fn host(headers: &HeaderMap) -> Option<HeaderValue> {
    if let Some(line) = headers.get_all(X_FORWARDED_HOST).iter().next_back() {
        let nearest = line.as_bytes().rsplit(|byte| *byte == b',').next();
        return match nearest {
            Some(nearest) if nearest.len() < line.len() => {
                HeaderValue::from_bytes(nearest.trim_ascii()).ok()
            }
            _ => Some(line.clone()),
        };
    }
    if !speaks_forwarded(headers) {
        return None;
    }
    let line = headers.get_all(FORWARDED).iter().next_back()?;
    let host = elements_of(line)?.pop()?.host?;
    HeaderValue::from_str(&host).ok()
}

/// A proxy that writes the one passes the other as the client sent it: never both.
fn speaks_forwarded(headers: &HeaderMap) -> bool {
    !headers.contains_key(X_FORWARDED_FOR) && !headers.contains_key(X_FORWARDED_HOST)
}

fn first_stranger(
    named: impl Iterator<Item = Option<IpAddr>>,
    trusts: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut last = None;
    for address in named.map_while(|address| address) {
        last = Some(address);
        if !trusts(address) {
            break;
        }
    }
    last
}

/// An address as proxies write it: alone, in brackets, or with a port as some gateways add it.
pub(super) fn named_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().or_else(|_| with_port());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn elements_of(line: &HeaderValue) -> Option<Vec<Element<'_>>> {
    elements(line.to_str().ok()?)
}

/// The elements of one Forwarded line (RFC 7239 4), from left to right; `None` where it is malformed.
pub fn elements(line: &str) -> Option<Vec<Element<'_>>> {
    let (mut all, mut element, mut empty) = (Vec::new(), Element::default(), true);
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        match rest.bytes().next() {
            Some(b';') => rest = &rest[1..],
            None | Some(b',') => {
                if !std::mem::replace(&mut empty, true) {
                    all.push(std::mem::take(&mut element));
                }
                match rest.get(1..) {
                    Some(after) => rest = after,
                    None => return Some(all),
                }
            }
            Some(_) => {
                let (name, after) = rest.split_once('=')?;
                let (value, after) = value(after)?;
                let known = match name {
                    _ if name.is_empty() || !name.bytes().all(is_token) => return None,
                    _ if name.eq_ignore_ascii_case("for") => Some(&mut element.client),
                    _ if name.eq_ignore_ascii_case("host") => Some(&mut element.host),
                    _ => None,
                };
                // A parameter must not occur twice in an element.
                if known.is_some_and(|known| known.replace(value).is_some()) {
                    return None;
                }
                empty = false;
                rest = after.trim_start_matches([' ', '\t']);
                if !matches!(rest.bytes().next(), None | Some(b',' | b';')) {
                    return None;
                }
            }
        }
    }
}

/// A token or quoted string (RFC 9110 5.6.2, 5.6.4) and what follows; `:` and brackets pass unquoted too,
/// as many proxies write them.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let plain = |byte: u8| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        let end = text.bytes().position(|byte| !plain(byte));
        let (value, rest) = text.split_at(end.unwrap_or(text.len()));
        return (!value.is_empty()).then_some((Cow::Borrowed(value), rest));
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(value), &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// 10.0.0.0/8 is trusted.
    fn client_of(lines: &[(&'static str, &str)]) -> Option<String> {
        let trusts =
            |address: IpAddr| matches!(address, IpAddr::V4(four) if four.octets()[0] == 10);
        client(&headers(lines), trusts).map(|address| address.to_string())
    }

    #[test]
    fn lists_are_read_from_the_right_over_trusted_proxies() {
        const XFF: &str = "x-forwarded-for";
        const FORWARDED: &str = "forwarded";
        for (lines, expected) in [
            (&[(XFF, "192.0.2.1")][..], Some("192.0.2.1")),
            (&[(XFF, "1.1.1.1, 192.0.2.1, 10.0.0.2")], Some("192.0.2.1")),
            (
                &[(XFF, "1.1.1.1"), (XFF, "192.0.2.1,10.0.0.2")],
                Some("192.0.2.1"),
            ),
            (&[(XFF, "10.0.0.1, 10.0.0.2")], Some("10.0.0.1")),
            (&[(XFF, "192.0.2.1, unknown, 10.0.0.2")], Some("10.0.0.2")),
            (
                &[(XFF, "::ffff:10.0.0.3"), (XFF, "[2001:db8::1]:5")],
                Some("2001:db8::1"),
            ),
            (&[(XFF, "192.0.2.1, ::ffff:10.0.0.3")], Some("192.0.2.1")),
            (&[(XFF, "192.0.2.1, unknown")], None),
            (&[(FORWARDED, "for=192.0.2.1")], Some("192.0.2.1")),
            (
                &[(FORWARDED, "For=\"[2001:db8::1]:4711\";proto=https")],
                Some("2001:db8::1"),
            ),
            (&[(FORWARDED, "for=\"[2001:db8::1]\"")], Some("2001:db8::1")),
            (
                &[(FORWARDED, "for=1.1.1.1, for=192.0.2.1;by=_x, for=10.0.0.2")],
                Some("192.0.2.1"),
            ),
            (
                &[(FORWARDED, "for=1.1.1.1"), (FORWARDED, "for=10.0.0.2")],
                Some("1.1.1.1"),
            ),
            (&[(FORWARDED, "for=1.1.1.1, proto=https")], None),
            (
                &[(FORWARDED, "for=1.1.1.1, for=_hidden, for=10.0.0.2")],
                Some("10.0.0.2"),
            ),
            // A quote that a client leaves open takes nothing along but its own line.
            (&[(FORWARDED, "for=\"1.1.1.1, for=192.0.2.1")], None),
            (
                &[(FORWARDED, "for=\"1.1.1.1"), (FORWARDED, "for=192.0.2.1")],
                Some("192.0.2.1"),
            ),
            (
                &[(FORWARDED, "for=\"1.1.1.1"), (FORWARDED, "for=10.0.0.2")],
                Some("10.0.0.2"),
            ),
            (
                &[(FORWARDED, "for=1.1.1.1"), (XFF, "192.0.2.1")],
                Some("192.0.2.1"),
            ),
            (&[(FORWARDED, "for=1.1.1.1"), (XFF, "unknown")], None),
            (&[], None),
        ] {
            assert_eq!(client_of(lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_nearest_proxys_host_counts() {
        const XFH: &str = "x-forwarded-host";
        for (lines, expected) in [
            (&[(XFH, "a.example")][..], Some("a.example")),
            (&[(XFH, "evil.example, a.example")], Some("a.example")),
            (
                &[(XFH, "evil.example"), (XFH, "a.example")],
                Some("a.example"),
            ),
            (&[(XFH, "a.example,")], Some("")),
            (
                &[(
                    "forwarded",
                    "host=evil.example, for=x;host=\"a.example:8443\"",
                )],
                Some("a.example:8443"),
            ),
            (&[("forwarded", "host=evil.example, for=192.0.2.1")], None),
            (
                &[("forwarded", "host=evil.example"), (XFH, "a.example")],
                Some("a.example"),
            ),
            (
                &[
                    ("forwarded", "host=evil.example"),
                    ("x-forwarded-for", "1.1.1.1"),
                ],
                None,
            ),
            (&[], None),
        ] {
            let found = host(&headers(lines));
            let found = found.as_ref().map(|host| host.to_str().unwrap());
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_elements_is_none() {
        for line in [
            "for",
            "for=",
            "=x",
            "for=a b",
            "for=a;for=b",
            "for=\"a",
            "f(r=a",
            "for=a\"b\"",
            "for=\"a\"b",
            "for=\"a\\",
        ] {
            assert_eq!(elements(line), None, "{line}");
        }
        for line in ["", " , ,", ";;"] {
            assert_eq!(elements(line), Some(Vec::new()), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn quoted_values_come_back(clients in proptest::collection::vec("[ -~]{0,12}", 1..5)) {
            let quoted = |text: &String| {
                let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                format!("proto=http;for=\"{escaped}\"")
            };
            let line = clients.iter().map(quoted).collect::<Vec<_>>().join(", ");
            let found = elements(&line).unwrap();
            let found: Vec<_> = found.iter().map(|element| element.client.as_deref().unwrap()).collect();
            prop_assert_eq!(found, clients);
        }

        #[test]
        fn nothing_panics(line in "\\PC{0,60}", odd in "[=;,\"\\\\a :]{0,40}") {
            elements(&line);
            elements(&odd);
        }
    }
}
