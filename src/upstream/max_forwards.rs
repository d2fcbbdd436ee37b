//! Max-Forwards (RFC 9110 7.6.2): OPTIONS with a count goes on with one less, and no further than
//! here with none left. TRACE, the other method that it is for, is refused before.

use http::header::MAX_FORWARDS;
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::body::Body;

/// Counts down; gives the answer where the request ends here.
pub(super) fn count_down<B>(request: &mut Request<B>) -> Option<Response<Body>> {
    if *request.method() != Method::OPTIONS {
        return None;
    }
    let field = request.headers_mut().get_mut(MAX_FORWARDS)?;
    let count = field.to_str().ok()?.parse::<u64>().ok()?;
    if let Some(left) = count.checked_sub(1) {
        *field = HeaderValue::from(left);
        return None;
    }
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Some(answer)
}
