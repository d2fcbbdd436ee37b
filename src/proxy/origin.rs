//! Who may do more than look, where the session's cookie comes with requests of foreign sites (`same_site =
//! "none"`): unsafe methods (RFC 9110 9.2.1) and upgrades come from our own pages and those of
//! `session.trusted_origins`. Browsers say whose page it is in Origin (Fetch 3.1), or at least how far away, in
//! Sec-Fetch-Site; a request with neither is no browser's, and brings no cookie that it was not given.

use http::header::ORIGIN;
use http::{HeaderMap, Method};

use crate::config::Config;
use crate::identity::Stripped;
use crate::rejection::{Kind, Rejection};

/// The origins of a configuration; `None` where browsers keep the cookie to ourselves.
pub(super) struct Origins(Option<Vec<String>>);

impl Origins {
    pub(super) fn new(config: &Config) -> Self {
        let session = &config.session;
        let own = config.server.public_url.origin();
        let trusted = session.trusted_origins.iter().cloned();
        Self(
            session
                .same_site_none
                .then(|| std::iter::once(own).chain(trusted).collect()),
        )
    }

    /// Refuses what changes something, or opens a connection, for a foreign page.
    pub(super) fn judge<B>(&self, stripped: &Stripped<B>) -> Result<(), Rejection> {
        let safe = matches!(
            *stripped.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        );
        match &self.0 {
            Some(origins) if !safe || stripped.upgrades() => judge(origins, stripped.headers())
                .map_err(|found| {
                    let detail = format!(
                        "expected an origin of session.trusted_origins, or our own; {found}"
                    );
                    Rejection::because(Kind::ForeignOrigin, detail)
                }),
            _ => Ok(()),
        }
    }
}

fn judge(origins: &[String], headers: &HeaderMap) -> Result<(), &'static str> {
    let mut named = headers.get_all(ORIGIN).iter();
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    match (named.next(), named.next()) {
        (None, _) => match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err("found a request of another site without Origin"),
        },
        // A page of ours whose Referrer-Policy keeps it from saying so.
        (Some(origin), None) if origin == "null" && site == Some(b"same-origin") => Ok(()),
        (Some(origin), None) => {
            let known = |known: &String| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes());
            match origins.iter().any(known) {
                true => Ok(()),
                false => Err("found another"),
            }
        }
        (Some(_), Some(_)) => Err("found several"),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_foreign_page_is_told_from_our_own() {
        let origins = ["https://a.example", "https://portal.example"].map(str::to_owned);
        let judged = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let name = HeaderName::from_static(name);
                headers.append(name, HeaderValue::from_static(value));
            }
            judge(&origins, &headers).is_ok()
        };
        for good in [
            &[][..],
            &[("origin", "https://a.example")],
            &[
                ("origin", "https://portal.example"),
                ("sec-fetch-site", "cross-site"),
            ],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(judged(good), "{good:?}");
        }
        for bad in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "http://a.example")],
            &[("origin", "https://a.example.evil")],
            &[("origin", "https://a.example:8443")],
            &[("origin", "null")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[("origin", "")],
            &[
                ("origin", "https://a.example"),
                ("origin", "https://evil.example"),
            ],
            &[
                ("origin", "https://evil.example"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert!(!judged(bad), "{bad:?}");
        }
    }
}
