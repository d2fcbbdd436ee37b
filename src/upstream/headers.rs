//! A response's header on its way to the browser: what belongs to the connection goes (RFC 9110 7.6.1),
//! cookies of our names go, and addresses of the server become the public ones.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, LOCATION, SET_COOKIE, TE,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::config::Config;
use crate::identity::bound_scheme;
use crate::session::{Cookies, pairs};
use crate::telemetry::metrics::WorkerMetrics;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Rules for the application's response headers.
pub(super) struct ResponseHeaders {
    cookies: Cookies,
    public_origin: String,
    authorities: Vec<String>,
    /// Content-Security-Policy with those who may show the application, where some are named.
    frame_ancestors: Option<HeaderValue>,
}

impl ResponseHeaders {
    pub(super) fn new(config: &Config) -> Self {
        let public = &config.server.public_url;
        let servers = config
            .upstream
            .servers
            .iter()
            .map(|server| server.authority().to_ascii_lowercase());
        Self {
            cookies: Cookies::new(config),
            public_origin: public.origin(),
            authorities: servers.chain([public.authority.clone()]).collect(),
            frame_ancestors: frame_ancestors(&config.session.trusted_origins),
        }
    }

    /// Rules that drop these cookies and know no address.
    #[cfg(test)]
    pub(super) fn dropping(cookies: Cookies) -> Self {
        Self {
            cookies,
            public_origin: String::new(),
            authorities: Vec::new(),
            frame_ancestors: None,
        }
    }

    /// `present` is of the same headers.
    pub(super) fn to_browser(
        &self,
        headers: &mut HeaderMap,
        present: Present,
        metrics: &WorkerMetrics,
    ) {
        if present.connection {
            without_named_fields(headers);
        }
        if present.hop {
            for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
                headers.remove(name);
            }
        }
        if present.cookies {
            self.drop_our_cookies(headers, metrics);
        }
        let location = headers.get(LOCATION).filter(|_| present.location);
        if let Some(location) = location.and_then(|location| self.public_location(location)) {
            headers.insert(LOCATION, location);
        }
    }

    /// Beside the application's own policy, which can only narrow it further (CSP 3 8.1): in the frame of a site that
    /// is not trusted people could be made to click.
    pub(super) fn frame(&self, headers: &mut HeaderMap) {
        if let Some(ancestors) = &self.frame_ancestors {
            headers.append(CONTENT_SECURITY_POLICY, ancestors.clone());
        }
    }

    fn drop_our_cookies(&self, headers: &mut HeaderMap, metrics: &WorkerMetrics) {
        let ours = |value: &HeaderValue| {
            let first = pairs(value.as_bytes()).next();
            first.is_some_and(|(name, value)| self.cookies.is_ours(name.unwrap_or(value)))
        };
        if !headers.get_all(SET_COOKIE).iter().any(ours) {
            return;
        }
        let values: Vec<_> = match headers.entry(SET_COOKIE) {
            http::header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
            http::header::Entry::Vacant(_) => return,
        };
        for value in values {
            match ours(&value) {
                true => metrics.dropped_cookie(),
                false => {
                    headers.append(SET_COOKIE, value);
                }
            }
        }
    }

    /// The public form of an absolute `Location` that names the public or the server's authority.
    fn public_location(&self, location: &HeaderValue) -> Option<HeaderValue> {
        let text = location.to_str().ok()?;
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest[..end].to_ascii_lowercase();
        let default_port = if scheme.eq_ignore_ascii_case("https") {
            ":443"
        } else {
            ":80"
        };
        let bare = authority.strip_suffix(default_port).unwrap_or(&authority);
        let named = self
            .authorities
            .iter()
            .any(|known| known == bare || *known == authority);
        named
            .then(|| HeaderValue::from_str(&format!("{}{}", self.public_origin, &rest[end..])).ok())
            .flatten()
    }
}

fn without_named_fields(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(CONNECTION).iter();
    // What nearly every server says names no field.
    let keep_alive = |field: &HeaderValue| field.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    let named: Vec<_> = match (fields.next(), fields.next()) {
        (Some(only), None) if keep_alive(only) => Vec::new(),
        _ => {
            let fields = headers.get_all(CONNECTION).iter();
            let options = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
            options
                .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
                .collect()
        }
    };
    headers.remove(CONNECTION);
    for name in named {
        if ![CONTENT_LENGTH, SET_COOKIE, HOST].contains(&name) {
            headers.remove(name);
        }
    }
}

/// Fields of a response that something is done about. Most answers have none of them: one look at each name tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present {
    connection: bool,
    /// Others that belong to the connection.
    hop: bool,
    coding: bool,
    cookies: bool,
    location: bool,
    challenge: bool,
}

impl Present {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => present.connection = true,
                "keep-alive" | "proxy-connection" | "te" | "upgrade" => present.hop = true,
                "transfer-encoding" => (present.hop, present.coding) = (true, true),
                "set-cookie" => present.cookies = true,
                "location" => present.location = true,
                "www-authenticate" => present.challenge = true,
                _ => {}
            }
        }
        present
    }
}

/// Refuses a response that could end in two places (RFC 9112 6.3), whose body would lose a coding with
/// this hop (RFC 9112 6.1), whose status means nothing (RFC 9110 15), or that nobody asked for.
pub(super) fn judge<B>(
    response: &Response<B>,
    present: Present,
    may_switch: bool,
) -> Result<(), &'static str> {
    let (status, headers) = (response.status(), response.headers());
    if status == StatusCode::SWITCHING_PROTOCOLS && !may_switch {
        return Err("it switched protocols unasked");
    }
    if status.as_u16() > 599 {
        return Err("its status is above 599");
    }
    if !present.coding {
        return Ok(());
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(_), _) if headers.contains_key(CONTENT_LENGTH) => {
            Err("it sent Content-Length and Transfer-Encoding together")
        }
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err("it sent a Transfer-Encoding other than chunked"),
    }
}

/// The sign-in of the connection that a response asks for or goes on with, whatever its status (RFC 4559 4).
pub(super) fn bound_sign_in<B>(response: &Response<B>, present: Present) -> Option<&'static str> {
    if !present.challenge {
        return None;
    }
    let fields = response.headers().get_all(WWW_AUTHENTICATE);
    fields
        .iter()
        .find_map(|field| bound_scheme(field.as_bytes()))
}

/// Several Content-Length fields that agree become one (RFC 9110 8.6); hyper refuses others.
pub(super) fn one_length(headers: &mut HeaderMap) {
    // Nothing is there twice: the usual case, without a look-up.
    if headers.len() == headers.keys_len() {
        return;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(length), Some(_)) = (lengths.next(), lengths.next()) else {
        return;
    };
    let length = length.clone();
    headers.insert(CONTENT_LENGTH, length);
}

fn frame_ancestors(trusted: &[String]) -> Option<HeaderValue> {
    let listed = format!("frame-ancestors 'self' {}", trusted.join(" "));
    let value = HeaderValue::from_str(&listed).ok();
    value.filter(|_| !trusted.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_the_server_become_public_and_others_stay() {
        let headers = ResponseHeaders {
            cookies: Cookies::named("wfgen_token", "/wfgen"),
            public_origin: "https://workflow.example.com".into(),
            authorities: vec!["127.0.0.1:8081".into(), "workflow.example.com".into()],
            frame_ancestors: None,
        };
        let public = |text: &'static str| {
            headers
                .public_location(&HeaderValue::from_static(text))
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let expected = Some("https://workflow.example.com/wfgen/x?y#z".to_owned());
        for location in [
            "http://127.0.0.1:8081/wfgen/x?y#z",
            "http://workflow.example.com/wfgen/x?y#z",
            "http://workflow.example.com:80/wfgen/x?y#z",
            "HTTPS://Workflow.Example.com:443/wfgen/x?y#z",
        ] {
            assert_eq!(public(location), expected, "{location}");
        }
        for location in [
            "/wfgen/x",
            "https://elsewhere.example/x",
            "//elsewhere",
            "http://127.0.0.1:8082/",
            "ftp://127.0.0.1:8081/",
        ] {
            assert_eq!(public(location), None, "{location}");
        }
    }
}
