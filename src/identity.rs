//! The only maker of [`Outgoing`]: identity is stripped from every request before anything else looks
//! at it, and stamped last. `upstream` accepts nothing else, so no path forwards a header that a
//! client made up.

mod connection;
mod forwarded;
pub mod proxied;
mod strip;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, ORIGIN, RANGE, REFERER, UPGRADE, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use ipnet::IpNet;

use crate::bearer::{Bearer, Presented};
use crate::config::{self, Config, UpstreamHost};
use crate::environment::UnixSeconds;
use crate::session::{Cookies, Remembered, Session, pairs};

pub use connection::bound_scheme;
use connection::{belongs_to_connection, odd_framing, without_connection_fields};
pub use strip::StripList;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What `[upstream.identity]` and the forwarding headers say, compiled.
pub struct Identity {
    strip: StripList,
    cookies: Cookies,
    keep: StripList,
    trusted: Vec<IpNet>,
    forward_session_cookie: bool,
    forward_authorization: bool,
    host: Option<HeaderValue>,
    public_host: HeaderValue,
    public_scheme: HeaderValue,
    forwarded: forwarded::Public,
}

/// Who is at the other end of a connection: what is the same for all its requests.
#[derive(Debug, Clone)]
pub struct Peer {
    address: IpAddr,
    /// Forwarded and X-Forwarded-For, where the peer is the client.
    named: Option<(HeaderValue, HeaderValue)>,
    trusted: bool,
}

impl Peer {
    /// The peer's own address.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

/// A session as a request bore it.
#[derive(Debug, Clone, Copy)]
pub struct Borne<'s> {
    /// The session, with its headers ready made.
    pub session: &'s Remembered,
    /// Which of the request's session cookies was its token.
    pub cookie: usize,
    /// Whether the session's token has taken the place of that cookie's.
    pub is_newer: bool,
}

/// Why somebody may be connected to the application, and for how long.
pub trait Grant: std::fmt::Debug + Send + Sync {
    /// Whether it still holds.
    fn is_live(&self, now: UnixSeconds) -> bool;
}

impl Grant for Session {
    fn is_live(&self, now: UnixSeconds) -> bool {
        self.goes_on(now)
    }
}

impl Grant for Bearer {
    fn is_live(&self, now: UnixSeconds) -> bool {
        self.is_live(now)
    }
}

/// On whose behalf a request is forwarded.
#[derive(Clone, Copy)]
enum Behalf<'s> {
    Nobody,
    Session(Borne<'s>),
    Token(&'s Presented),
}

impl Behalf<'_> {
    /// The identity headers, ready made.
    fn stamp(&self) -> &[(HeaderName, HeaderValue)] {
        match self {
            Behalf::Nobody => &[],
            Behalf::Session(borne) => borne.session.stamp(),
            Behalf::Token(presented) => presented.stamp(),
        }
    }

    fn grant(&self) -> Option<Arc<dyn Grant>> {
        match self {
            Behalf::Nobody => None,
            Behalf::Session(borne) => Some(Arc::clone(borne.session.session()) as Arc<dyn Grant>),
            Behalf::Token(presented) => Some(Arc::clone(presented.bearer()) as Arc<dyn Grant>),
        }
    }

    fn session(&self) -> Option<Borne<'_>> {
        match self {
            Behalf::Session(borne) => Some(*borne),
            Behalf::Nobody | Behalf::Token(_) => None,
        }
    }
}

/// What a form's own request said of it.
#[derive(Debug)]
pub struct SentForm {
    /// Bytes of the body.
    pub length: u64,
    /// Content-Type.
    pub content_type: HeaderValue,
    /// Origin: the application's own.
    pub origin: HeaderValue,
    /// Referer.
    pub referer: Option<HeaderValue>,
}

/// A request whose inbound identity is gone: the only form in which it is looked at further. In a box,
/// since it is handed on many times.
#[derive(Debug)]
pub struct Stripped<B>(Box<Held<B>>);

#[derive(Debug)]
struct Held<B> {
    parts: Parts,
    body: B,
    set_aside: Vec<(HeaderName, HeaderValue)>,
    upgrade: Option<HeaderValue>,
    forwarded_host: Option<HeaderValue>,
    client: IpAddr,
    /// Forwarded and X-Forwarded-For as the application gets them; `None` for a client behind a trusted
    /// proxy.
    named: Option<(HeaderValue, HeaderValue)>,
    dropped: u64,
    odd_framing: bool,
}

/// A request to the application, with the identity of its user, or with none.
#[derive(Debug)]
pub struct Outgoing<B> {
    held: Box<Held<B>>,
    grant: Option<Arc<dyn Grant>>,
}

impl<B> Outgoing<B> {
    /// The request itself.
    pub fn into_request(self) -> Request<B> {
        let held = *self.held;
        Request::from_parts(held.parts, held.body)
    }

    /// What an upgrade is made for: what it opens must not outlive it.
    pub fn grant(&self) -> Option<&Arc<dyn Grant>> {
        self.grant.as_ref()
    }

    /// Whether the client asks for another protocol on this connection (RFC 9110 7.8).
    pub fn upgrades(&self) -> bool {
        self.held.upgrade.is_some()
    }
}

impl<B> Stripped<B> {
    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.0.parts.method
    }

    /// The request's target.
    pub fn uri(&self) -> &Uri {
        &self.0.parts.uri
    }

    /// What is left of its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.parts.headers
    }

    /// HTTP's version on this connection.
    pub fn version(&self) -> Version {
        self.0.parts.version
    }

    /// The body.
    pub fn body(&self) -> &B {
        &self.0.body
    }

    /// The same request sending a form that was kept, in place of the navigation that brought it back.
    pub fn sending(mut self, form: SentForm, body: B) -> Self {
        let parts = &mut self.0.parts;
        parts.method = Method::POST;
        // They are about the answer to a GET (RFC 9110 13.1, 14.2).
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
            parts.headers.remove(name);
        }
        parts.headers.insert(CONTENT_LENGTH, form.length.into());
        parts.headers.insert(CONTENT_TYPE, form.content_type);
        parts.headers.insert(ORIGIN, form.origin);
        match form.referer {
            Some(referer) => parts.headers.insert(REFERER, referer),
            None => parts.headers.remove(REFERER),
        };
        if parts.headers.contains_key(SEC_FETCH_SITE) {
            let same = HeaderValue::from_static("same-origin");
            parts.headers.insert(SEC_FETCH_SITE, same);
        }
        self.0.body = body;
        self
    }

    /// The body, taken out of the request.
    pub fn replace_body<C>(self, other: C) -> (Stripped<C>, B) {
        let held = *self.0;
        let emptied = Held {
            parts: held.parts,
            body: other,
            set_aside: held.set_aside,
            upgrade: held.upgrade,
            forwarded_host: held.forwarded_host,
            client: held.client,
            named: held.named,
            dropped: held.dropped,
            odd_framing: held.odd_framing,
        };
        (Stripped(Box::new(emptied)), held.body)
    }

    /// The address of the client: the peer's, or what a trusted peer says it is.
    pub fn client(&self) -> IpAddr {
        self.0.client
    }

    /// How many header fields were dropped as identity.
    pub fn dropped(&self) -> u64 {
        self.0.dropped
    }

    /// Whether the client asks for another protocol on this connection (RFC 9110 7.8).
    pub fn upgrades(&self) -> bool {
        self.0.upgrade.is_some()
    }

    /// Whether it came with another transfer coding than one `chunked` (RFC 9112 6.1).
    pub fn odd_framing(&self) -> bool {
        self.0.odd_framing
    }

    /// The host that the client asked for: what a trusted peer says of it, else the target's
    /// authority (RFC 9112 3.2.2), else Host. `None` when there is none, or more than one.
    pub fn host(&self) -> Option<&str> {
        if let Some(host) = &self.0.forwarded_host {
            return host.to_str().ok();
        }
        let mut hosts = self.0.parts.headers.get_all(HOST).iter();
        let host = hosts.next().map(|host| host.to_str().ok());
        match (self.0.parts.uri.authority(), host, hosts.next()) {
            (_, _, Some(_)) => None,
            (Some(target), _, None) => Some(target.as_str()),
            (None, host, None) => host.flatten(),
        }
    }
}

impl Identity {
    /// Compiles the configuration.
    pub fn new(config: &Config) -> Self {
        let public = &config.server.public_url;
        let keep = config
            .routes
            .iter()
            .flat_map(|route| route.keep_headers.iter().map(String::as_str));
        #[expect(
            clippy::expect_used,
            reason = "the configuration's URL is checked ASCII"
        )]
        let value = |text: &str| HeaderValue::from_str(text).expect("visible ASCII");
        Self {
            strip: StripList::of(&config.upstream.identity),
            cookies: Cookies::new(config),
            keep: StripList::new(keep),
            trusted: config.server.trusted_proxies.clone(),
            forward_session_cookie: config.upstream.identity.forward_session_cookie,
            forward_authorization: config.upstream.forward_authorization,
            host: (config.upstream.host == UpstreamHost::Public).then(|| value(&public.authority)),
            public_host: value(&public.authority),
            public_scheme: value(public.scheme()),
            forwarded: forwarded::Public::new(&public.authority, public.scheme()),
        }
    }

    /// The strip list, for trailers.
    pub fn strip_list(&self) -> &StripList {
        &self.strip
    }

    /// Looks at who is at the other end of a connection.
    pub fn peer(&self, address: IpAddr) -> Peer {
        Peer {
            address,
            named: self.forwarded.naming(address),
            trusted: self.trusts(address),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Takes out what belongs to the connection (RFC 9110 7.6.1), then every inbound identity header.
    /// The first thing that happens to a request, on every route.
    pub fn strip<B>(&self, request: Request<B>, peer: &Peer) -> Stripped<B> {
        let (mut parts, body) = request.into_parts();
        let headers = &mut parts.headers;
        // Most requests have none of these: one look at each name tells.
        let mut of_the_connection = false;
        for name in headers.keys() {
            of_the_connection |= belongs_to_connection(name.as_str());
        }
        let (odd_framing, upgrade) = match of_the_connection {
            true => (
                odd_framing(headers),
                without_connection_fields(&parts.method, headers),
            ),
            false => (false, None),
        };
        let (client, forwarded_host) = match peer.trusted {
            true => (
                proxied::client(headers, |address| self.trusts(address)).unwrap_or(peer.address),
                proxied::host(headers),
            ),
            false => (peer.address, None),
        };
        let (set_aside, dropped) = self.without_identity(headers);
        Stripped(Box::new(Held {
            parts,
            body,
            set_aside,
            upgrade,
            forwarded_host,
            named: peer.named.clone().filter(|_| client == peer.address),
            client,
            dropped,
            odd_framing,
        }))
    }

    /// Removes what is on the strip list: what a route may keep is given back, the rest is counted.
    fn without_identity(&self, headers: &mut HeaderMap) -> (Vec<(HeaderName, HeaderValue)>, u64) {
        let (mut set_aside, mut dropped) = (Vec::new(), 0);
        let doomed: Vec<_> = headers
            .keys()
            .filter(|name| self.strip.owns(name.as_str()))
            .cloned()
            .collect();
        for name in doomed {
            let kept = self.keep.owns(name.as_str());
            let values = match headers.entry(name.clone()) {
                http::header::Entry::Occupied(entry) => {
                    entry.remove_entry_mult().1.collect::<Vec<_>>()
                }
                http::header::Entry::Vacant(_) => continue,
            };
            match kept {
                true => set_aside.extend(values.into_iter().map(|value| (name.clone(), value))),
                false if !self.strip.is_forwarding(name.as_str()) => dropped += values.len() as u64,
                false => {}
            }
        }
        (set_aside, dropped)
    }

    /// Forwards without an identity: `open` routes.
    pub fn anonymous<B>(
        &self,
        stripped: Stripped<B>,
        route: Option<&config::Route>,
    ) -> Outgoing<B> {
        self.outgoing(stripped, route, Behalf::Nobody)
    }

    /// Forwards as the session's user, percent-encoded, last of all.
    pub fn of<B>(
        &self,
        mut stripped: Stripped<B>,
        borne: Borne<'_>,
        route: Option<&config::Route>,
    ) -> Outgoing<B> {
        if !self.forward_authorization {
            stripped.0.parts.headers.remove(AUTHORIZATION);
        }
        self.outgoing(stripped, route, Behalf::Session(borne))
    }

    /// Forwards as the user of an access token, or as nobody where it is a machine's. The application gets the
    /// token too, whatever becomes of that field elsewhere.
    pub fn bearing<B>(
        &self,
        stripped: Stripped<B>,
        presented: &Presented,
        route: Option<&config::Route>,
    ) -> Outgoing<B> {
        self.outgoing(stripped, route, Behalf::Token(presented))
    }

    fn outgoing<B>(
        &self,
        stripped: Stripped<B>,
        route: Option<&config::Route>,
        behalf: Behalf<'_>,
    ) -> Outgoing<B> {
        // RFC 9110 7.6.3: the protocol that the request came by.
        let Stripped(mut held) = stripped;
        let via = match held.parts.version {
            Version::HTTP_10 => "1.0 vestibule",
            Version::HTTP_2 => "2 vestibule",
            _ => "1.1 vestibule",
        };
        let headers = &mut held.parts.headers;
        let kept = behalf.session().filter(|_| self.forward_session_cookie);
        let newer = kept.filter(|borne| borne.is_newer);
        self.set_cookies(
            headers,
            kept.map(|borne| borne.cookie),
            newer.map(|borne| borne.session.token()),
        );
        // It would sign in the connection, which other people's requests share.
        let signs_in = |field: &HeaderValue| bound_scheme(field.as_bytes()).is_some();
        if headers.get_all(AUTHORIZATION).iter().any(signs_in) {
            headers.remove(AUTHORIZATION);
        }
        headers.insert(X_FORWARDED_HOST, self.public_host.clone());
        headers.insert(X_FORWARDED_PROTO, self.public_scheme.clone());
        headers.append(VIA, HeaderValue::from_static(via));
        let named = held.named.take();
        if let Some((forwarded, client)) = named.or_else(|| self.forwarded.naming(held.client)) {
            headers.insert(FORWARDED, forwarded);
            headers.insert(X_FORWARDED_FOR, client);
        }
        match &self.host {
            Some(host) => headers.insert(HOST, host.clone()),
            None => headers.remove(HOST),
        };
        for (name, value) in std::mem::take(&mut held.set_aside) {
            let kept = route.is_some_and(|route| {
                route
                    .keep_headers
                    .iter()
                    .any(|kept| strip::same(kept, name.as_str()))
            });
            if kept && !self.strip.is_identity(name.as_str()) {
                headers.append(name, value);
            }
        }
        if let Some(protocol) = &held.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        for (name, value) in behalf.stamp() {
            headers.insert(name, value.clone());
        }
        let upgrades = held.upgrade.is_some();
        Outgoing {
            held,
            grant: upgrades.then(|| behalf.grant()).flatten(),
        }
    }

    /// Removes our cookies in all their spellings; of the session cookies the one with this number
    /// stays, once, with the value of a newer token where there is one.
    fn set_cookies(&self, headers: &mut HeaderMap, keep: Option<usize>, newer: Option<&[u8]>) {
        let mut fields = headers.get_all(COOKIE).iter();
        match (fields.next(), fields.next()) {
            (None, _) => return,
            (Some(only), None) if newer.is_none() && self.passes_untouched(only, keep) => return,
            _ => {}
        }
        let fields: Vec<_> = match headers.entry(COOKIE) {
            http::header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
            http::header::Entry::Vacant(_) => Vec::new(),
        };
        let length = fields.iter().map(|field| field.len() + 2).sum();
        let mut line = Vec::with_capacity(length);
        let (mut sessions, mut kept) = (0.., None);
        for (name, value) in fields.iter().flat_map(|field| pairs(field.as_bytes())) {
            if name == Some(self.cookies.session().as_bytes()) && sessions.next() == keep {
                kept = Some((name, newer.unwrap_or(value)));
            }
            if !self.cookies.is_ours(name.unwrap_or(value)) {
                append_pair(&mut line, name, value);
            }
        }
        if let Some((name, value)) = kept {
            append_pair(&mut line, name, value);
        }
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(line))
            && !value.is_empty()
        {
            headers.insert(COOKIE, value);
        }
    }

    /// Whether a Cookie field has nothing of ours but the one session cookie that stays.
    fn passes_untouched(&self, field: &HeaderValue, keep: Option<usize>) -> bool {
        let mut ours = pairs(field.as_bytes())
            .map(|(name, value)| name.unwrap_or(value))
            .filter(|name| self.cookies.is_ours(name));
        match (ours.next(), keep) {
            (None, _) => true,
            (Some(name), Some(0)) => {
                name == self.cookies.session().as_bytes() && ours.next().is_none()
            }
            (Some(_), _) => false,
        }
    }
}

fn append_pair(line: &mut Vec<u8>, name: Option<&[u8]>, value: &[u8]) {
    if name.is_none() && value.is_empty() {
        return;
    }
    if !line.is_empty() {
        line.extend_from_slice(b"; ");
    }
    if let Some(name) = name {
        line.extend_from_slice(name);
        line.push(b'=');
    }
    line.extend_from_slice(value);
}

#[cfg(test)]
mod tests;
