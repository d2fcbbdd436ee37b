//! Who reads the answer, once the request itself has gone on to the application.

use std::net::IpAddr;

use http::header::{ACCEPT, ACCEPT_LANGUAGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokio::time::Instant;

use crate::identity::Stripped;
use crate::telemetry::RequestId;

/// The header fields that a page of ours is written by.
const READ: [HeaderName; 3] = [
    ACCEPT,
    ACCEPT_LANGUAGE,
    HeaderName::from_static("sec-fetch-mode"),
];

/// What a page and the access log say of a request.
pub(super) struct Reader {
    pub(super) id: RequestId,
    /// When the request was here.
    pub(super) started: Instant,
    pub(super) client: IpAddr,
    pub(super) method: Method,
    pub(super) uri: Uri,
    headers: [Option<HeaderValue>; 3],
}

impl Reader {
    pub(super) fn of<B>(stripped: &Stripped<B>, id: RequestId, started: Instant) -> Self {
        Self {
            id,
            started,
            client: stripped.client(),
            method: stripped.method().clone(),
            uri: stripped.uri().clone(),
            headers: READ.map(|name| stripped.headers().get(name).cloned()),
        }
    }

    /// What a page is written by.
    pub(super) fn headers(&self) -> HeaderMap {
        let named = READ.into_iter().zip(&self.headers);
        named
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }

    /// The address, if asking for it again repeats nothing.
    pub(super) fn repeatable_address(&self) -> Option<&str> {
        let target = self.uri.path_and_query().map(|target| target.as_str());
        target.filter(|_| matches!(self.method, Method::GET | Method::HEAD))
    }
}
