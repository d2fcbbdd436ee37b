//! Who looks at an answer, by the request's method and header alone. It decides what somebody without a
//! session gets: a sign-in belongs into a window, and into nothing else (Fetch Metadata, design: "a
//! request without a session").

use http::{HeaderMap, HeaderValue, Method};

/// Who looks at an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A person, in a window or tab.
    Window,
    /// A person, in a part of another page.
    Frame,
    /// Everything else: scripts, programs, forms that are sent.
    Program,
}

impl Audience {
    /// GET or HEAD with Sec-Fetch-Mode `navigate` and no X-Requested-With is a person's; from browsers
    /// without Fetch Metadata, one that takes HTML.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let field = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        let destination = field("sec-fetch-dest");
        let takes_html = || {
            let accept = headers.get(http::header::ACCEPT);
            let accept = accept.and_then(|accept| accept.to_str().ok());
            accept.is_some_and(|accept| accept.to_ascii_lowercase().contains("text/html"))
        };
        let navigates = matches!(*method, Method::GET | Method::HEAD)
            && !headers.contains_key("x-requested-with")
            && match field("sec-fetch-mode") {
                Some(mode) => mode == b"navigate",
                None => destination.is_none() && takes_html(),
            };
        match (navigates, destination) {
            (true, None | Some(b"document")) => Self::Window,
            (true, Some(b"iframe" | b"frame" | b"embed" | b"object")) => Self::Frame,
            _ => Self::Program,
        }
    }
}
