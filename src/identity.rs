//! The only maker of [`Outgoing`]: identity is stripped from every request before anything else looks
//! at it, and stamped last. `upstream` accepts nothing else, so no path forwards a header that a
//! client made up.

mod behalf;
mod connection;
mod forwarded;
mod own_cookies;
pub mod proxied;
mod strip;
mod stripped;

use std::net::IpAddr;

use http::header::{AUTHORIZATION, CONNECTION, FORWARDED, HOST, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use ipnet::IpNet;

use crate::bearer::Presented;
use crate::config::{self, Config, UpstreamHost};
use crate::session::Cookies;

use behalf::Behalf;
pub use behalf::{Borne, Grant};
pub use connection::bound_scheme;
use connection::{belongs_to_connection, odd_framing, without_connection_fields};
pub use strip::StripList;
use stripped::Held;
pub use stripped::{Outgoing, SentForm, Stripped};

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
        self.pass_cookies(headers, behalf.session());
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
}

#[cfg(test)]
mod tests;
