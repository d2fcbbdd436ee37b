//! `[upstream]`: the application, and the headers that tell it who is there.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderName;

use super::server::first_repeated;
use super::{address, assertion};
use crate::config::file::Section;
use crate::config::headers::{StripPattern, header_skeleton};
use crate::config::slip::nearest;
use crate::config::value::Value;
use crate::config::{
    Identity, MOST_SERVERS, Server, Session, Upstream, UpstreamHost, UpstreamServer, UserField,
};

/// Headers that carry the message itself or are set by us for every request: no identity header may
/// have such a name, and no strip entry may take one away.
const RESERVED: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "cookie",
    "set-cookie",
    "expect",
    "forwarded",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// `[upstream]`. `mapped` are the user fields that every directory maps, if that is known.
pub(super) fn upstream(
    section: &Section<'_>,
    server: Option<&Server>,
    session: Option<&Session>,
    mapped: Option<&BTreeSet<UserField>>,
) -> Option<Upstream> {
    let timeout = Duration::from_secs(1)..=Duration::from_secs(86_400);
    let servers = section.get("servers", |value| servers(value, server));
    let host = section.get("host", |value| {
        value.choice(&[
            ("public", UpstreamHost::Public),
            ("server", UpstreamHost::Server),
        ])
    });
    let connect_timeout = section.get("connect_timeout", |value| value.duration(timeout.clone()));
    let response_timeout = section.get("response_timeout", |value| value.duration(timeout));
    let health_path = section.get("health_path", health_path);
    let https = servers.iter().flatten().any(|server| server.https);
    let ca = section.get("ca", |value| ca(value, servers.is_none() || https));
    let forward_authorization = section.get("authorization", forward_or_strip);
    let identity = section.section("identity", |section| {
        identity(section, server, session, mapped)
    });
    Some(Upstream {
        servers: servers?,
        host: host?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        health_path: health_path?,
        ca: ca?,
        forward_authorization: forward_authorization?,
        identity: identity?,
    })
}

fn forward_or_strip(value: &Value<'_>) -> Option<bool> {
    value.choice(&[("forward", true), ("strip", false)])
}

/// A path that servers are asked for; `""` is none.
fn health_path(value: &Value<'_>) -> Option<Option<String>> {
    let text = value.text()?;
    let expected = r#"a path such as "/wfgen/health", or "" for no active checks"#;
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    match text {
        "" => Some(None),
        _ if !text.starts_with('/') => {
            value.refuse(expected, "begin with /: the servers' origins are known")
        }
        _ if !plain || text.contains('#') || text.parse::<http::Uri>().is_err() => {
            value.refuse(expected, "percent-encode what a URL's path cannot hold")
        }
        _ => Some(Some(text.to_owned())),
    }
}

fn ca(value: &Value<'_>, https: bool) -> Option<Option<Vec<u8>>> {
    let ca = super::secret::authority(value)?;
    if ca.is_some() && !https {
        value.warn("no server of upstream.servers is https: it is not used");
    }
    Some(ca)
}

fn servers(value: &Value<'_>, server: Option<&Server>) -> Option<Vec<UpstreamServer>> {
    let mut origins = Vec::new();
    let servers = value.set(|item| {
        let upstream = address::upstream_server(item)?;
        let origin = upstream.origin();
        if origins.contains(&origin) {
            return item.refuse("each server once", "remove the second one");
        }
        origins.push(origin);
        let own = server.is_some_and(|server| {
            let mut listeners = server.listen.iter();
            listeners.any(|listener| is_listener(&upstream, listener))
        });
        match own {
            true => item.refuse(
                "the application's address",
                "this is our own listener: requests would go in circles",
            ),
            false => Some(upstream),
        }
    })?;
    match servers.len() {
        0 => value.refuse("at least one server", ""),
        1..=MOST_SERVERS => Some(servers),
        _ => value.refuse(format!("at most {MOST_SERVERS} servers"), ""),
    }
}

fn is_listener(upstream: &UpstreamServer, listener: &SocketAddr) -> bool {
    let address = match upstream.host.as_str() {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse().ok(),
    };
    let same = |address: IpAddr| {
        address == listener.ip() || (listener.ip().is_unspecified() && address.is_loopback())
    };
    upstream.port == listener.port() && address.is_some_and(same)
}

fn identity(
    section: &Section<'_>,
    server: Option<&Server>,
    session: Option<&Session>,
    mapped: Option<&BTreeSet<UserField>>,
) -> Option<Identity> {
    let user_header = section.get("user_header", stamped_header);
    let forward_session_cookie = section.get("session_cookie", forward_or_strip);
    let headers = section.get("headers", |value| headers(value, mapped));
    let strip = section.get("strip", |value| value.set(strip_entry));
    let assertion = section.optional("assertion", |value| {
        value.section(|section| assertion::assertion(section, server, session))
    });
    let identity = Identity {
        user_header: user_header?,
        forward_session_cookie: forward_session_cookie?,
        headers: headers?,
        strip: strip?,
        assertion: assertion?,
    };
    match first_repeated(identity.header_names().map(HeaderName::as_str)) {
        Some(name) => section.refuse(
            "headers",
            format!("{name:?} twice, compared as applications fold names"),
            "names that differ from each other, from user_header and from assertion.header",
            "rename one of the two",
        ),
        None => Some(identity),
    }
}

fn headers(
    value: &Value<'_>,
    mapped: Option<&BTreeSet<UserField>>,
) -> Option<Vec<(HeaderName, UserField)>> {
    value.section(|section| {
        let read = |entry: &Value<'_>| {
            let name = check_header(entry, entry.name());
            let field = mapped_field(entry, mapped);
            Some((name?, field?))
        };
        let headers: Vec<_> = section.entries().iter().map(read).collect();
        headers.into_iter().collect()
    })
}

fn mapped_field(value: &Value<'_>, mapped: Option<&BTreeSet<UserField>>) -> Option<UserField> {
    let text = value.text()?;
    let Some(field) = UserField::from_name(text) else {
        let names = || UserField::ALL.iter().map(|field| field.name());
        let hint = nearest(text, names())
            .map_or_else(String::new, |near| format!("did you mean {near:?}?"));
        let names: Vec<&str> = names().collect();
        return value.refuse(format!("a user field: {}", names.join(", ")), &hint);
    };
    match mapped {
        Some(mapped) if !mapped.contains(&field) => value.refuse(
            "a user field that the directory maps",
            &format!("add {text} to [directories.mapping]"),
        ),
        _ => Some(field),
    }
}

pub(super) fn stamped_header(value: &Value<'_>) -> Option<HeaderName> {
    check_header(value, value.text()?)
}

fn check_header(value: &Value<'_>, name: &str) -> Option<HeaderName> {
    let expected = r#"a header's name such as "X-Forwarded-User""#;
    let found = format!("{name:?}");
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        let hint = "header names are letters, digits and -";
        return value.refuse_found(found, expected, hint);
    };
    let skeleton = header_skeleton(name);
    match RESERVED.contains(&skeleton.as_str()) || skeleton == "authorization" {
        true => value.refuse_found(
            found,
            expected,
            "this header has a meaning of its own in HTTP",
        ),
        false => Some(header),
    }
}

/// A header's name in a list.
pub(super) fn header_name(value: &Value<'_>) -> Option<HeaderName> {
    match HeaderName::from_bytes(value.text()?.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => value.refuse(
            r#"a header's name such as "X-WfGen-HookToken""#,
            "header names are letters, digits and -",
        ),
    }
}

fn strip_entry(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let expected = r#"a header's name, or the beginning of one and *: "X-Internal-*""#;
    let name = text.strip_suffix('*').unwrap_or(text);
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return value.refuse(expected, "");
    }
    let pattern = StripPattern::new(text);
    match RESERVED.iter().find(|name| pattern.matches(name)) {
        Some(name) => value.refuse(expected, &format!("requests do not work without {name}")),
        None => Some(text.to_owned()),
    }
}
