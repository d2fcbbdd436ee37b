//! Our cookies: reading them from a request, knowing their other spellings, and setting and expiring
//! them (RFC 6265).

use std::sync::LazyLock;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use memchr::memmem::Finder;
use percent_encoding::percent_decode;

use crate::config::Config;

/// In every field that may have a form's cookie.
static FORM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("_form="));

/// Names and attributes of our cookies.
#[derive(Debug, Clone)]
pub struct Cookies {
    session: String,
    sign_in: String,
    form: String,
    path: String,
    secure: bool,
    same_site_none: bool,
}

/// The cookie pairs of one `Cookie` field, as bytes, in order; `name` is `None` for a pair without `=`.
pub fn pairs(field: &[u8]) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
    let mut rest = Some(field);
    std::iter::from_fn(move || {
        let field = rest?;
        let end = memchr::memchr(b';', field);
        rest = end.map(|end| &field[end + 1..]);
        Some(pair(&field[..end.unwrap_or(field.len())]))
    })
}

fn pair(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    // A browser gives a cookie without a name back as its value alone: `=a=b` is `a=b` to everyone.
    let nameless = |byte: &u8| *byte == b'=' || byte.is_ascii_whitespace();
    let start = text.iter().position(|byte| !nameless(byte));
    let text = text[start.unwrap_or(text.len())..].trim_ascii_end();
    match memchr::memchr(b'=', text) {
        Some(at) => (
            Some(text[..at].trim_ascii_end()),
            text[at + 1..].trim_ascii_start(),
        ),
        None => (None, text),
    }
}

impl Cookies {
    /// Takes names and attributes from the configuration. The sign-in cookie is named after the session
    /// cookie, so that several instances on one host keep apart.
    pub fn new(config: &Config) -> Self {
        Self {
            session: config.session.cookie.clone(),
            sign_in: format!("{}_sign_in", config.session.cookie),
            form: format!("{}_form", config.session.cookie),
            path: config.server.public_url.base_path().to_owned(),
            secure: config.server.public_url.https,
            same_site_none: config.session.same_site_none,
        }
    }

    #[cfg(test)]
    pub(crate) fn named(session: &str, path: &str) -> Self {
        Self {
            session: session.into(),
            sign_in: format!("{session}_sign_in"),
            form: format!("{session}_form"),
            path: path.into(),
            secure: true,
            same_site_none: false,
        }
    }

    /// The session cookie's name.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The values of session cookies, spelled exactly, in the request's order.
    pub fn session_values<'h>(&'h self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h [u8]> {
        values(headers, &self.session)
    }

    /// The value of the sign-in cookie: 32 random bytes as base64url.
    pub fn sign_in_value<'h>(&'h self, headers: &'h HeaderMap) -> Option<&'h str> {
        random_value(headers, &self.sign_in)
    }

    /// The id of a form that is kept for this browser.
    pub fn form_value<'h>(&'h self, headers: &'h HeaderMap) -> Option<&'h str> {
        let mut fields = headers.get_all(COOKIE).iter();
        // Nearly every request has none: that is to be found out quickly.
        let named = |field: &HeaderValue| FORM.find(field.as_bytes()).is_some();
        fields
            .any(named)
            .then(|| random_value(headers, &self.form))?
    }

    /// `Set-Cookie` with the id of a form that is kept for so long.
    pub fn set_form(&self, id: &str, lifetime: std::time::Duration) -> HeaderValue {
        let lifetime = cookie::time::Duration::seconds(lifetime.as_secs() as i64);
        // Forms of windows are kept alone, so no frame's jar is meant.
        self.header(&self.form, id, &self.path, Some(lifetime), false)
    }

    /// Expires it.
    pub fn expire_form(&self) -> HeaderValue {
        self.header(
            &self.form,
            "",
            &self.path,
            Some(cookie::time::Duration::ZERO),
            false,
        )
    }

    /// Whether a cookie of this name is one of ours, in any case and with any escapes: such cookies
    /// never reach the application, and the application never sets them.
    pub fn is_ours(&self, name: &[u8]) -> bool {
        let named = |name: &[u8]| {
            [&self.session, &self.sign_in, &self.form]
                .iter()
                .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
        };
        named(name) || (name.contains(&b'%') && named(&percent_decode(name).collect::<Vec<_>>()))
    }

    /// `Set-Cookie` with a session token. It lasts as long as the browser's session; the token itself
    /// says when it ends.
    pub fn set_session(&self, token: &str) -> Vec<HeaderValue> {
        self.set(&self.session, token)
    }

    /// `Set-Cookie` with the value that sign-ins of this browser are bound to.
    pub fn set_sign_in(&self, binding: &str) -> Vec<HeaderValue> {
        self.set(&self.sign_in, binding)
    }

    /// Expires the session cookie at `/`, the base path and the base path with a slash, wherever an
    /// earlier configuration or the application itself may have put it.
    pub fn expire_session(&self) -> Vec<HeaderValue> {
        let mut paths = vec![
            "/".to_owned(),
            self.path.clone(),
            format!("{}/", self.path.trim_end_matches('/')),
        ];
        paths.dedup();
        paths
            .iter()
            .flat_map(|path| {
                self.fields(&self.session, "", path, Some(cookie::time::Duration::ZERO))
            })
            .collect()
    }

    fn set(&self, name: &str, value: &str) -> Vec<HeaderValue> {
        self.fields(name, value, &self.path, None)
    }

    /// In a foreign site's frame a browser takes a cookie into the jar of all sites, or where it keeps third
    /// parties out, a partitioned one into the frame's own (CHIPS). Which it does is not known here, and neither
    /// is seen by the other, so there are both.
    fn fields(
        &self,
        name: &str,
        value: &str,
        path: &str,
        max_age: Option<cookie::time::Duration>,
    ) -> Vec<HeaderValue> {
        let partitioned: &[bool] = if self.same_site_none {
            &[false, true]
        } else {
            &[false]
        };
        let field = |partitioned: &bool| self.header(name, value, path, max_age, *partitioned);
        partitioned.iter().map(field).collect()
    }

    fn header(
        &self,
        name: &str,
        value: &str,
        path: &str,
        max_age: Option<cookie::time::Duration>,
        partitioned: bool,
    ) -> HeaderValue {
        let same_site = match self.same_site_none {
            true => cookie::SameSite::None,
            false => cookie::SameSite::Lax,
        };
        let mut cookie = cookie::Cookie::build((name, value))
            .path(path)
            .http_only(true)
            .secure(self.secure)
            .partitioned(partitioned)
            .same_site(same_site);
        if let Some(max_age) = max_age {
            cookie = cookie.max_age(max_age);
            if max_age.is_zero() {
                cookie = cookie.expires(cookie::time::OffsetDateTime::UNIX_EPOCH);
            }
        }
        #[expect(
            clippy::expect_used,
            reason = "names are checked tokens, values base64url, paths checked ASCII"
        )]
        HeaderValue::from_str(&cookie.to_string()).expect("our cookies are visible ASCII")
    }
}

/// A value of 32 random bytes as base64url.
fn random_value<'h>(headers: &'h HeaderMap, name: &'h str) -> Option<&'h str> {
    let value = values(headers, name).find(|value| {
        value.len() == 43
            && value
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })?;
    std::str::from_utf8(value).ok()
}

fn values<'h>(headers: &'h HeaderMap, wanted: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|field| pairs(field.as_bytes()))
        .filter(|(name, _)| *name == Some(wanted.as_bytes()))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cookies() -> Cookies {
        Cookies::named("wfgen_token", "/wfgen")
    }

    #[test]
    fn other_spellings_of_our_names_are_ours_but_do_not_count() {
        let cookies = cookies();
        for name in [
            "wfgen_token",
            "WFGEN_TOKEN",
            "Wfgen_Token",
            "wfgen%5ftoken",
            "%57fgen_token",
            "WFGEN_token_SIGN_IN",
        ] {
            assert!(cookies.is_ours(name.as_bytes()), "{name}");
        }
        for field in ["=wfgen_token=x", " = =wfgen_token", "= wfgen_token = x"] {
            let (name, value) = pairs(field.as_bytes()).next().unwrap();
            assert!(cookies.is_ours(name.unwrap_or(value)), "{field}");
        }
        assert!(!cookies.is_ours(b"wfgen_tokens") && !cookies.is_ours(b"other"));
        let mut headers = HeaderMap::new();
        headers.append(
            COOKIE,
            HeaderValue::from_static("WFGEN_TOKEN=a; wfgen_token=b;wfgen_token = c"),
        );
        headers.append(COOKIE, HeaderValue::from_static("x=y;wfgen_token=d"));
        assert_eq!(
            cookies.session_values(&headers).collect::<Vec<_>>(),
            [b"b", b"c", b"d"]
        );
    }

    #[test]
    fn cookies_are_set_and_expired_with_the_attributes_of_the_design() {
        let cookies = cookies();
        assert_eq!(
            cookies.set_session("t"),
            ["wfgen_token=t; HttpOnly; SameSite=Lax; Secure; Path=/wfgen"]
        );
        let framed = Cookies {
            same_site_none: true,
            ..cookies.clone()
        };
        assert_eq!(
            framed.set_session("t"),
            [
                "wfgen_token=t; HttpOnly; SameSite=None; Secure; Path=/wfgen",
                "wfgen_token=t; HttpOnly; SameSite=None; Partitioned; Secure; Path=/wfgen"
            ]
        );
        assert_eq!(framed.expire_session().len(), 6);
        let expired: Vec<_> = cookies
            .expire_session()
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect();
        assert_eq!(expired.len(), 3);
        for (value, path) in expired
            .iter()
            .zip(["Path=/;", "Path=/wfgen;", "Path=/wfgen/;"])
        {
            assert!(
                value.starts_with("wfgen_token=;")
                    && value.contains(path)
                    && value.contains("Max-Age=0"),
                "{value}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_cookie_field_is_read_without_a_panic(field in proptest::collection::vec(any::<u8>(), 0..200)) {
            for (name, _) in pairs(&field) {
                cookies().is_ours(name.unwrap_or_default());
            }
        }
    }
}
