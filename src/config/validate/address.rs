//! URLs, hosts and paths: each must mean one thing only, to us, to browsers and to the application.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use crate::config::value::Value;
use crate::config::{PublicUrl, UpstreamServer};

/// `server.public_url`.
pub(super) fn public_url(value: &Value<'_>) -> Option<PublicUrl> {
    let text = value.text()?;
    let url = http_url(
        value,
        text,
        r#"such as "https://workflow.example.com/wfgen""#,
    )?;
    let path = raw_path(text);
    let expected = "an http or https origin and a base path, without trailing slash";
    if path.ends_with('/') {
        return value.refuse(expected, "remove the slash at the end");
    }
    if let Some(why) = ambiguity(path) {
        return value.refuse(expected, why);
    }
    let public_url = PublicUrl {
        https: url.scheme() == "https",
        authority: authority(&url),
        base: path.to_owned(),
    };
    if !public_url.https && !is_loopback(&url) {
        value.warn("sessions and sign-ins cross the network unencrypted; use https");
    }
    Some(public_url)
}

/// An entry of `server.aliases`: a host, with a port where it is not the scheme's own.
pub(super) fn alias(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let expected = r#"a host or host:port, such as "old.example.com""#;
    let plain = !text.is_empty()
        && !text.contains(['/', '@', '?', '#', '\\'])
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    // https's default port is taken off as http's is: an alias names a host, whatever the scheme.
    match plain.then(|| Url::parse(&format!("https://{text}"))) {
        Some(Ok(url)) if url.has_host() => Some(authority(&url)),
        _ => value.refuse(expected, "write no scheme and no path"),
    }
}

/// An entry of `session.trusted_origins`, as browsers write it in Origin (RFC 6454 6.2).
pub(super) fn origin(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let expected = r#"an origin such as "https://portal.example.com""#;
    let url = http_url(value, text, expected)?;
    if !matches!(raw_path(text), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return value.refuse(
            expected,
            "write no path: an origin is scheme, host and port",
        );
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        value.warn("whoever is on the network can pretend to be this http origin; use https");
    }
    Some(url.origin().ascii_serialization())
}

/// An entry of `upstream.servers`.
pub(super) fn upstream_server(value: &Value<'_>) -> Option<UpstreamServer> {
    let text = value.text()?;
    let expected = r#"an http or https origin such as "http://127.0.0.1:8081""#;
    let url = http_url(value, text, expected)?;
    if !matches!(raw_path(text), "" | "/") {
        let hint = "write no path: the request's path is forwarded as it came";
        return value.refuse(expected, hint);
    }
    let host = match url.host()? {
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    };
    let port = url.port_or_known_default()?;
    if port == 0 {
        return value.refuse(expected, "port 0 is no server's");
    }
    Some(UpstreamServer {
        https: url.scheme() == "https",
        host,
        port,
    })
}

/// An absolute http or https URL without user, query and fragment.
pub(super) fn http_url(value: &Value<'_>, text: &str, example: &str) -> Option<Url> {
    let expected = match example.strip_prefix("such as") {
        Some(_) => format!("an http or https URL, {example}"),
        None => example.to_owned(),
    };
    let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") else {
        return value.refuse(expected, "begin with https:// or http://");
    };
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        let hint = "white space, control characters and \\ are not allowed";
        return value.refuse(expected, hint);
    }
    if text.contains(['?', '#']) {
        return value.refuse(expected, "leave out the query and the fragment");
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return value.refuse(expected, "leave out user and password before the @");
    }
    if host.is_empty() {
        return value.refuse(expected, &format!("name a host after {scheme}://"));
    }
    match Url::parse(text) {
        Ok(url) => Some(url),
        Err(error) => value.refuse(expected, &error.to_string()),
    }
}

/// The path as written; the `url` crate would tidy it.
fn raw_path(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.find('/').map_or("", |slash| &rest[slash..])
}

/// `host` or `host:port`: lower case, without default port and trailing dot, IDNA as ASCII.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

/// A listening address.
pub(super) fn listen(value: &Value<'_>) -> Option<SocketAddr> {
    let text = value.text()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let hint = match text.rsplit_once(':') {
        Some(("", port)) => format!("for every address: \"0.0.0.0:{port}\" or \"[::]:{port}\""),
        Some(("localhost", port)) => format!("write the address: \"127.0.0.1:{port}\""),
        _ => "write an IP address and a port".to_owned(),
    };
    let expected = r#"an address and port such as "0.0.0.0:8080" or "[::]:8080""#;
    value.refuse(expected, &hint)
}

/// An entry of `server.trusted_proxies`.
pub(super) fn network(value: &Value<'_>) -> Option<IpNet> {
    let text = value.text()?;
    let parsed = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let expected = r#"a network such as "10.0.0.0/8" or "fd00::/8""#;
    match parsed {
        Ok(net) if covers_everyone(&net) => value.refuse(
            expected,
            "this believes every client's X-Forwarded headers; name your proxies' own networks",
        ),
        Ok(net) => Some(net.trunc()),
        Err(_) => value.refuse(expected, "write an address, / and the prefix's length"),
    }
}

/// All of IPv4, also as IPv6 maps it, or all of IPv6.
fn covers_everyone(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() == 0,
        IpNet::V6(net) => {
            let mapped = std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
            net.prefix_len() == 0 || (net.prefix_len() <= 96 && net.contains(&mapped))
        }
    }
}

/// Why a path could be read in two ways, or would match no request; `None` if neither. The empty
/// path is fine.
pub(super) fn ambiguity(path: &str) -> Option<&'static str> {
    if !path.is_empty() && !path.starts_with('/') {
        return Some("begin with /");
    }
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Some("only visible ASCII is allowed; percent-encode the rest");
    }
    if path.contains(|c| r##"?#\;:"<>^`{|}"##.contains(c)) {
        return Some(r#"leave out queries, fragments and any of \ ; : " < > ^ ` { | }"#);
    }
    if path.contains("//") {
        return Some("leave out empty segments (//)");
    }
    let Some(decoded) = decoded_segments(path) else {
        return Some("mend the broken percent-escape");
    };
    let mut decoded = decoded.iter().map(Vec::as_slice);
    if decoded
        .clone()
        .any(|segment| matches!(segment, b"." | b".."))
    {
        return Some("leave out . and .. segments");
    }
    if decoded.any(|segment| matches!(segment.last(), Some(b'.' | b' '))) {
        return Some("no segment may end in a dot or a space");
    }
    let forbidden = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b';');
    match decoded_segments(path)?.concat().iter().any(forbidden) {
        true => Some("control characters, /, \\ and ; may not be percent-encoded"),
        false => None,
    }
}

/// The segments without their percent-escapes; `None` when an escape is broken.
fn decoded_segments(path: &str) -> Option<Vec<Vec<u8>>> {
    path.split('/').map(decoded).collect()
}

fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut parts = segment.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let escape = part.get(..2)?;
        if !escape.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(escape, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(bytes)
}
