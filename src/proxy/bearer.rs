//! Routes for programs: a provider's access token in place of a session (RFC 6750 2.1, 3).

use std::rc::Rc;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN};
use http::{HeaderMap, Method};

use super::{Answer, Proxy};
use crate::bearer::{BearerFault, Denial, Presented};
use crate::config;
use crate::identity::Stripped;
use crate::oidc::AccessTokenFault;
use crate::proxy::reader::Reader;
use crate::rejection::{Kind, Rejection};
use crate::route::{Clarity, clarity};
use crate::telemetry::metrics::AccessLabel;
use crate::upstream::Arriving;

impl Proxy {
    /// A path that needs an access token: with a known one no I/O but the application's.
    pub(super) async fn bearer(
        &self,
        stripped: Stripped<Arriving>,
        route: Option<&config::Route>,
        rule: Option<usize>,
        reader: &Reader,
    ) -> Answer {
        if is_preflight(stripped.method(), stripped.headers())
            && matches!(
                clarity(stripped.uri().path()),
                Ok(Clarity::Plain | Clarity::Encoded { .. })
            )
        {
            let outgoing = self.identity.anonymous(stripped, route);
            let answer = self.application.forward(outgoing, reader.started).await;
            return self.forwarded(answer, reader, AccessLabel::Bearer, route);
        }
        let machine = route.is_some_and(|route| route.machine);
        let presented = match token_of(stripped.headers()) {
            Ok(token) => self.presented(token).await,
            Err(rejection) => Err(rejection),
        };
        let passing = presented.and_then(|presented| {
            let passes = presented.bearer().may_pass(machine, rule);
            passes.map_err(denied).map(|()| presented)
        });
        match passing {
            Ok(presented) => {
                let outgoing = self.identity.bearing(stripped, &presented, route);
                let answer = self.application.forward(outgoing, reader.started).await;
                self.forwarded(answer, reader, AccessLabel::Bearer, route)
            }
            Err(rejection) => {
                self.reject(rejection, &stripped, reader.id, AccessLabel::Bearer, route)
            }
        }
    }

    async fn presented(&self, token: &str) -> Result<Rc<Presented>, Rejection> {
        let now = self.endpoints.clock.now();
        if let Some(presented) = self.recent_bearers.find(token, now) {
            return Ok(presented);
        }
        let bearers = &self.endpoints.bearers;
        if let Some(bearer) = bearers.glance(token, now) {
            return Ok(self.recent_bearers.remember(token, bearer, now));
        }
        let (bearers, owned) = (Arc::clone(bearers), token.to_owned());
        let recognising = async move { bearers.recognise(&owned, now).await };
        // The store and the providers belong to the control runtime; a panic there lets nobody in.
        match self.control.spawn(recognising).await {
            Ok(Ok(bearer)) => Ok(self.recent_bearers.remember(token, bearer, now)),
            Ok(Err(fault)) => Err(refused(&fault)),
            Err(broken) => Err(Rejection::because(
                Kind::StoreDown,
                format!("looking at an access token broke: {broken}"),
            )),
        }
    }
}

fn denied(denial: Denial) -> Rejection {
    Rejection::because(Kind::AccessTokenInsufficient { denial }, denial.reason())
}

fn refused(fault: &BearerFault) -> Rejection {
    let kind = match fault {
        BearerFault::Token(AccessTokenFault::Down(down)) => Kind::ProviderDown {
            provider: down.provider.clone(),
        },
        BearerFault::Token(AccessTokenFault::Expired(_)) => {
            Kind::AccessTokenInvalid { expired: true }
        }
        BearerFault::Token(AccessTokenFault::Invalid(_)) => {
            Kind::AccessTokenInvalid { expired: false }
        }
        BearerFault::Store(_) => Kind::StoreDown,
    };
    Rejection::because(kind, fault)
}

/// The CORS protocol asks without credentials what a request that has them may do (Fetch 3.2.2): the application's
/// to answer.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && !headers.contains_key(AUTHORIZATION)
}

/// The method that a preflight asks about.
pub(super) fn asked_about(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if !is_preflight(method, headers) {
        return None;
    }
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

/// The token in the one Authorization field (RFC 6750 2.1; RFC 9110 11.1: schemes have no case). Other schemes are no
/// token: the client is told which is wanted.
fn token_of(headers: &HeaderMap) -> Result<&str, Rejection> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(match headers.contains_key(AUTHORIZATION) {
            true => malformed("expected one Authorization field, found several"),
            false => Rejection::of(Kind::AccessTokenNeeded),
        });
    };
    let field = field.as_bytes();
    let end = field.iter().position(|byte| *byte == b' ');
    let (scheme, token) = field.split_at(end.unwrap_or(field.len()));
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(Rejection::of(Kind::AccessTokenNeeded));
    }
    let token = token.trim_ascii();
    let b64token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    match std::str::from_utf8(token) {
        Ok(text) if !text.is_empty() && token.iter().all(b64token) => Ok(text),
        _ => Err(malformed(
            "expected an access token behind Bearer, found something else",
        )),
    }
}

fn malformed(detail: &str) -> Rejection {
    Rejection::because(Kind::AccessTokenMalformed, detail)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(fields: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_static(field));
        }
        headers
    }

    #[test]
    fn one_token_is_read_in_any_spelling_of_the_scheme() {
        for field in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(token_of(&of(&[field])), Ok("a.b.c"), "{field}");
        }
    }

    #[test]
    fn no_token_is_needed_and_a_broken_one_is_malformed() {
        let kind = |fields: &[&'static str]| token_of(&of(fields)).unwrap_err().kind;
        for none in [&[][..], &["Basic YTpi"], &["Bearerx a.b.c"]] {
            assert_eq!(kind(none), Kind::AccessTokenNeeded, "{none:?}");
        }
        for broken in [
            &["Bearer"][..],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer a,b"],
            &["Bearer a.b.c", "Bearer a.b.c"],
            &["Bearer a.b.c", "Basic YTpi"],
        ] {
            assert_eq!(kind(broken), Kind::AccessTokenMalformed, "{broken:?}");
        }
    }

    #[test]
    fn a_preflight_has_no_credentials() {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static("https://spa.example"));
        assert!(!is_preflight(&Method::OPTIONS, &headers));
        let post = HeaderValue::from_static("POST");
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, post);
        assert!(is_preflight(&Method::OPTIONS, &headers));
        assert_eq!(asked_about(&Method::OPTIONS, &headers), Some(Method::POST));
        assert!(!is_preflight(&Method::POST, &headers));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert!(!is_preflight(&Method::OPTIONS, &headers));
    }
}
