//! A request on its way through: stripped of inbound identity, then on somebody's behalf. Only the room above makes
//! either.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, ORIGIN, RANGE,
    REFERER,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::Grant;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

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
pub struct Stripped<B>(pub(super) Box<Held<B>>);

#[derive(Debug)]
pub(super) struct Held<B> {
    pub(super) parts: Parts,
    pub(super) body: B,
    pub(super) set_aside: Vec<(HeaderName, HeaderValue)>,
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) forwarded_host: Option<HeaderValue>,
    pub(super) client: IpAddr,
    /// Forwarded and X-Forwarded-For as the application gets them; `None` for a client behind a trusted
    /// proxy.
    pub(super) named: Option<(HeaderValue, HeaderValue)>,
    pub(super) dropped: u64,
    pub(super) odd_framing: bool,
}

/// A request to the application, with the identity of its user, or with none.
#[derive(Debug)]
pub struct Outgoing<B> {
    pub(super) held: Box<Held<B>>,
    pub(super) grant: Option<Arc<dyn Grant>>,
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
