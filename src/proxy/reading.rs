//! Whether a request is well formed, by its method and header alone.

use http::header::{EXPECT, HOST};
use http::{HeaderValue, Method, Version};

use crate::identity::Stripped;
use crate::rejection::{Kind, Rejection};
use crate::upstream::Arriving;

/// Fields of a header section; hyper's own bound, which a request must not come close to.
const MOST_FIELDS: usize = 100;

/// What hyper lets through and no application should be asked: CONNECT and TRACE, targets that are no
/// path, methods in lower case, transfer codings beside `chunked`, expectations that nobody knows,
/// fields without end.
pub(super) fn well_formed(stripped: &Stripped<Arriving>) -> Result<(), Rejection> {
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
    if let Some(fault) = authority_fault(stripped) {
        return malformed(fault);
    }
    let mut expectations = stripped.headers().get_all(EXPECT).iter();
    if expectations.any(|it| !it.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Rejection::of(Kind::UnknownExpectation));
    }
    // HTTP/2 has no bound of hyper's, so what was dropped counts here.
    let fields = stripped.headers().len() + stripped.dropped() as usize;
    match fields > MOST_FIELDS {
        true => Err(Rejection::of(Kind::HeaderTooLarge)),
        false => Ok(()),
    }
}

/// What is wrong with a target in absolute-form (RFC 9112 3.2.2, RFC 9110 4.2). Over HTTP/2 every
/// target looks so, and needs no Host beside it.
fn authority_fault(stripped: &Stripped<Arriving>) -> Option<&'static str> {
    let uri = stripped.uri();
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return Some("found user information in the target");
    }
    match uri.scheme_str() {
        Some("http" | "https") | None => {}
        Some(_) => return Some("expected http or https in the target, found another scheme"),
    }
    if stripped.version() == Version::HTTP_2 {
        // RFC 9113 8.3.1: where both are there, they agree.
        let mut hosts = stripped.headers().get_all(HOST).iter();
        let agrees = |host: &HeaderValue| {
            host.as_bytes()
                .eq_ignore_ascii_case(authority.as_str().as_bytes())
        };
        let differs = !hosts.all(agrees);
        return differs.then_some("expected one host, found :authority and Host that differ");
    }
    let hosts = stripped.headers().get_all(HOST).iter().count();
    let needed = usize::from(stripped.version() == Version::HTTP_11);
    let odd = hosts > 1 || hosts < needed;
    odd.then_some("expected one Host beside the target's, found none or several")
}
