//! What a request is, by its method and header alone: whether it is well formed, and whether somebody
//! is looking at what comes back.

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::body::Incoming;

use crate::identity::Stripped;
use crate::rejection::{Kind, Rejection};

/// Fields of a header section; hyper's own bound, which a request must not come close to.
const MOST_FIELDS: usize = 100;

/// What hyper lets through and no application should be asked: CONNECT and TRACE, targets that are no
/// path, methods in lower case, transfer codings beside `chunked`, fields without end.
pub(super) fn well_formed(stripped: &Stripped<Incoming>) -> Result<(), Rejection> {
    let malformed = |found: &str| Err(Rejection::because(Kind::BadRequest, found));
    let method = stripped.method();
    if *method == Method::CONNECT || *method == Method::TRACE {
        return malformed("expected a method that an application answers, found CONNECT or TRACE");
    }
    if method
        .as_str()
        .bytes()
        .any(|byte| byte.is_ascii_lowercase())
    {
        return malformed("expected a method in capitals");
    }
    if stripped.odd_framing() {
        return malformed(
            "expected one Transfer-Encoding: chunked, found another coding or several",
        );
    }
    if stripped
        .uri()
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return malformed("found user information in the target");
    }
    if stripped.version() == Version::HTTP_2 {
        sound_target(stripped)?;
    }
    // HTTP/2 has no bound of hyper's, so what was dropped counts here.
    let fields = stripped.headers().len() + stripped.dropped() as usize;
    match fields > MOST_FIELDS {
        true => Err(Rejection::of(Kind::HeaderTooLarge)),
        false => Ok(()),
    }
}

/// HTTP/2 names scheme and authority apart from Host: they must be HTTP's, and agree (RFC 9113 8.3.1).
fn sound_target(stripped: &Stripped<Incoming>) -> Result<(), Rejection> {
    let malformed = |found: &str| Err(Rejection::because(Kind::BadRequest, found));
    let (target, mut hosts) = (stripped.uri(), stripped.headers().get_all(HOST).iter());
    if !matches!(target.scheme_str(), Some("http" | "https")) {
        return malformed("expected :scheme http or https, found another or none");
    }
    let agrees = |host: &HeaderValue| {
        let authority = target
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        authority.is_none_or(|authority| authority.eq_ignore_ascii_case(host.as_bytes()))
    };
    match hosts.all(agrees) {
        true => Ok(()),
        false => malformed("expected one host, found :authority and Host that differ"),
    }
}

/// A navigation: GET or HEAD with Sec-Fetch-Mode `navigate` and no X-Requested-With; from browsers
/// without Fetch Metadata, one that takes HTML.
pub(super) fn is_navigation(stripped: &Stripped<Incoming>) -> bool {
    let headers = stripped.headers();
    let reads = matches!(*stripped.method(), Method::GET | Method::HEAD);
    let mode = headers.get("sec-fetch-mode").map(HeaderValue::as_bytes);
    let takes_html = || {
        let accept = headers
            .get(http::header::ACCEPT)
            .and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.to_ascii_lowercase().contains("text/html"))
    };
    reads
        && !headers.contains_key("x-requested-with")
        && match mode {
            Some(mode) => mode == b"navigate",
            None => destination_of(headers).is_none() && takes_html(),
        }
}

pub(super) fn destination_of(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get("sec-fetch-dest").map(HeaderValue::as_bytes)
}
