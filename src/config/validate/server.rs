//! `[server]` and `[[routes]]`: how requests reach us, and which need no sign-in.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use http::Method;

use super::{address, rule, tls};
use crate::config::file::Section;
use crate::config::headers::{STRIP_LIST, StripPattern, header_skeleton};
use crate::config::value::Value;
use crate::config::{Access, Identity, Limits, Provider, Route, Server};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// `[server]`.
pub(super) fn server(section: &Section<'_>) -> Option<Server> {
    let public_url = section.get("public_url", address::public_url);
    let listen = section.get("listen", listen);
    let redirect_listen = section.get("redirect_listen", |value| {
        tls::redirect_listen(value, public_url.as_ref(), listen.as_deref())
    });
    let hsts = section.get("hsts", |value| tls::hsts(value, public_url.as_ref()));
    let tls = section.optional("tls", |value| value.section(tls::tls));
    let auth_path = section.get("auth_path", auth_path);
    let workers = section.get("workers", workers);
    let aliases = section.get("aliases", |value| {
        value.set(|alias| {
            let host = address::alias(alias)?;
            match &public_url {
                Some(url) if url.authority == host => {
                    alias.refuse("a host other than public_url's", "remove it")
                }
                _ => Some(host),
            }
        })
    });
    let trusted_proxies = section.get("trusted_proxies", |value| value.set(address::network));
    let proxy_protocol = section.get("proxy_protocol", |value| match value.boolean()? {
        true if trusted_proxies.as_ref().is_some_and(Vec::is_empty) => value.refuse(
            "false, or true with server.trusted_proxies",
            "name the proxies that send the header: nobody else may connect",
        ),
        on => Some(on),
    });
    let drain_delay = section.get("drain_delay", |value| value.duration(Duration::ZERO..=HOUR));
    let shutdown_grace = section.get("shutdown_grace", |value| {
        value.duration(Duration::ZERO..=HOUR)
    });
    let limits = section.section("limits", limits);
    Some(Server {
        public_url: public_url?,
        listen: listen?,
        redirect_listen: redirect_listen?,
        tls: tls?,
        hsts: hsts?,
        auth_path: auth_path?,
        workers: workers?,
        aliases: aliases?,
        trusted_proxies: trusted_proxies?,
        proxy_protocol: proxy_protocol?,
        drain_delay: drain_delay?,
        shutdown_grace: shutdown_grace?,
        limits: limits?,
    })
}

fn listen(value: &Value<'_>) -> Option<Vec<SocketAddr>> {
    if !value.is_list() {
        return address::listen(value).map(|address| vec![address]);
    }
    let addresses = value.set(address::listen)?;
    match addresses.is_empty() {
        true => value.refuse("at least one address", ""),
        false => Some(addresses),
    }
}

fn auth_path(value: &Value<'_>) -> Option<String> {
    let path = value.text()?;
    let expected =
        r#"a path such as "/auth": / and ASCII letters, digits, -, . or _, no slash at its end"#;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if path.len() < 2 || path.ends_with('/') || !path.chars().all(plain) {
        return value.refuse(expected, "");
    }
    match address::ambiguity(path) {
        Some(why) => value.refuse(expected, why),
        None => Some(path.to_owned()),
    }
}

fn workers(value: &Value<'_>) -> Option<usize> {
    match value.as_text() {
        Some("auto") => Some(std::thread::available_parallelism().map_or(1, NonZero::get)),
        _ => count(value, 1024, Some("auto")),
    }
}

fn count(value: &Value<'_>, most: u64, word: Option<&str>) -> Option<usize> {
    usize::try_from(value.number(1..=most, word)?).ok()
}

fn limits(section: &Section<'_>) -> Option<Limits> {
    let connections = section.get("connections", |value| count(value, 10_000_000, None));
    // Below 8 KiB the session token's own cookie would not fit.
    let header_size = section.get("header_size", |value| value.size(8 << 10..=1 << 20, None));
    let body_size = section.get("body_size", |value| match value.as_text() {
        Some("unlimited") => Some(None),
        _ => value.size(1..=1 << 50, Some("unlimited")).map(Some),
    });
    let header_timeout = section.get("header_timeout", |value| value.duration(SECOND..=HOUR));
    let idle_timeout = section.get("idle_timeout", |value| value.duration(SECOND..=24 * HOUR));
    Some(Limits {
        connections: connections?,
        header_size: usize::try_from(header_size?).ok()?,
        body_size: body_size?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
    })
}

/// One of `[[routes]]`; `earlier` are those before it, as far as they could be read.
pub(super) fn route(
    section: &Section<'_>,
    server: Option<&Server>,
    identity: Option<&Identity>,
    earlier: &mut Vec<(String, Vec<Method>)>,
) -> Option<Route> {
    let path = section.get("path", route_path);
    let access = section.get("access", access);
    let methods = section.get("methods", |value| value.set(method));
    let keep_headers = section.get("keep_headers", |value| {
        value.set(|name| kept_header(name, identity))
    });
    let log_path = section.get("log_path", |value| value.boolean());
    let require = section.get("require", |value| {
        rule::optional(value, rule::over_claims_and_user)
    });
    let machine = section.get("machine", |value| value.boolean());
    let route = Route {
        path: path?,
        access: access?,
        methods: methods?,
        keep_headers: keep_headers?,
        require: require?,
        machine: machine?,
        log_path: log_path?,
    };
    if route.require.is_some() && matches!(route.access, Access::Open | Access::Deny) {
        let expected = r#"no require with access = "open" or "deny""#;
        let hint = "nobody is signed in there, so there is nobody to require something of";
        return section.refuse("require", "a rule", expected, hint);
    }
    if route.machine && route.access != Access::Bearer {
        let hint = "a machine has an access token, and only bearer routes look at it";
        return section.refuse("machine", "true", r#"false, or access = "bearer""#, hint);
    }
    if let Some(server) = server {
        check_place(section, &route, server)?;
    }
    let covers = |(path, methods): &&(String, Vec<Method>)| {
        covers_path(path, &route.path)
            && (methods.is_empty()
                || (!route.methods.is_empty() && route.methods.iter().all(|m| methods.contains(m))))
    };
    if let Some((path, _)) = earlier.iter().find(covers) {
        section.warn(
            "path",
            &format!("never matches: the route {path:?} before it takes its requests"),
        );
    }
    if route.access == Access::Deny && !route.keep_headers.is_empty() {
        section.warn("keep_headers", "has no effect: nothing is forwarded here");
    }
    earlier.push((route.path.clone(), route.methods.clone()));
    Some(route)
}

/// A bearer route takes the tokens of those providers alone whose audience is told.
pub(super) fn check_audiences(
    section: &Section<'_>,
    route: &Route,
    providers: Option<&[Provider]>,
) -> bool {
    let Some(providers) = providers.filter(|_| route.access == Access::Bearer) else {
        return true;
    };
    let without = providers
        .iter()
        .filter(|it| it.access_token_audience.is_none());
    let without: Vec<&str> = without.map(|it| it.name.as_str()).collect();
    if without.len() == providers.len() {
        let expected = "a provider with access_token_audience";
        let hint = "set access_token_audience of the provider to the `aud` of its tokens for this application: without it tokens for any other would pass";
        let refused: Option<()> = section.refuse("access", r#""bearer""#, expected, hint);
        return refused.is_some();
    }
    if !without.is_empty() {
        let names = without.join(", ");
        let told = format!("access tokens of {names} are refused here: no access_token_audience");
        section.warn("access", &told);
    }
    true
}

fn route_path(value: &Value<'_>) -> Option<String> {
    let path = value.text()?;
    let expected = r#"an absolute path such as "/wfgen/ws/" (a prefix) or "/wfgen/ping" (exact)"#;
    match address::ambiguity(path) {
        Some(why) => value.refuse(expected, why),
        None if path.is_empty() => value.refuse(expected, "begin with /"),
        None => Some(path.to_owned()),
    }
}

fn access(value: &Value<'_>) -> Option<Access> {
    value.choice(&[
        ("open", Access::Open),
        ("login", Access::Login),
        ("bearer", Access::Bearer),
        ("deny", Access::Deny),
    ])
}

fn method(value: &Value<'_>) -> Option<Method> {
    let text = value.text()?;
    let expected = r#"a method's name such as "GET" or "POST""#;
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return value.refuse(expected, "methods are in capitals");
    }
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => {
            value.refuse(expected, "CONNECT and TRACE are refused everywhere")
        }
        Ok(method) => Some(method),
        Err(_) => value.refuse(expected, ""),
    }
}

fn kept_header(value: &Value<'_>, identity: Option<&Identity>) -> Option<String> {
    let name = super::upstream::header_name(value)?;
    let skeleton = header_skeleton(name.as_str());
    let stamped = identity.into_iter().flat_map(Identity::header_names);
    if stamped
        .map(|name| header_skeleton(name.as_str()))
        .any(|name| name == skeleton)
    {
        let hint = "anybody could send it and be taken for somebody else";
        return value.refuse("no header that carries the user's identity", hint);
    }
    let own = identity.map_or(&[][..], |identity| &identity.strip);
    let mut listed = STRIP_LIST
        .iter()
        .copied()
        .chain(own.iter().map(String::as_str));
    match listed.any(|pattern| StripPattern::new(pattern).matches(&skeleton)) || identity.is_none()
    {
        true => Some(value.text()?.to_owned()),
        false => value.refuse(
            "a name of the strip list",
            "headers that are not on the strip list pass everywhere",
        ),
    }
}

fn check_place(section: &Section<'_>, route: &Route, server: &Server) -> Option<()> {
    let path = route.path.to_ascii_lowercase();
    let base = server.public_url.base.to_ascii_lowercase();
    let auth = server.auth_prefix().to_ascii_lowercase();
    if path == auth || path.starts_with(&format!("{auth}/")) {
        section.warn(
            "path",
            "never matches: everything below auth_path is our own endpoints",
        );
    }
    let below_base = path == base || path.starts_with(&format!("{base}/"));
    if route.access == Access::Login && !below_base {
        return section.refuse(
            "path",
            format!("{:?}, with access = \"login\"", route.path),
            format!("a path below {:?}", server.public_url.base_path()),
            "the session's cookie does not reach other paths; they can be \"open\", \"bearer\" or \"deny\"",
        );
    }
    Some(())
}

/// Whether every request of the route `path` is taken by the route `earlier`.
pub(super) fn covers_path(earlier: &str, path: &str) -> bool {
    let (earlier, path) = (earlier.to_ascii_lowercase(), path.to_ascii_lowercase());
    earlier == path || (earlier.ends_with('/') && path.starts_with(&earlier))
}

/// Names that occur twice under folding.
pub(super) fn first_repeated<'n>(names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut seen = BTreeSet::new();
    names
        .into_iter()
        .find(|name| !seen.insert(header_skeleton(name)))
}
