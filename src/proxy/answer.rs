//! What becomes of a request: the application's answer, or one of ours, with what the log and the metrics say of it.

use bytes::Bytes;
use http::header::{CONNECTION, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use super::Proxy;
use super::reader::Reader;
use crate::config;
use crate::identity::Stripped;
use crate::rejection::{Context, Kind, Rejection};
use crate::telemetry::RequestId;
use crate::telemetry::metrics::AccessLabel;
use crate::upstream::{Arriving, Body, Fault};

/// What becomes of a request, with the label under which it is counted.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) access: AccessLabel,
    /// The route's path, where the request's own must not be logged.
    pub(super) hidden_path: Option<String>,
}

impl Proxy {
    /// Refused before any route had a say.
    pub(super) fn turned_away(
        &self,
        rejection: Rejection,
        stripped: &Stripped<Arriving>,
        id: RequestId,
    ) -> Answer {
        let in_doubt = rejection.kind == Kind::BadRequest;
        let mut answer = self.reject(rejection, stripped, id, AccessLabel::None, None);
        if in_doubt {
            // Where one message ends is in doubt, so nothing that follows is read as another.
            let close = HeaderValue::from_static("close");
            answer.response.headers_mut().insert(CONNECTION, close);
        }
        answer
    }

    pub(super) fn forwarded(
        &self,
        answer: Result<Response<Body>, Fault>,
        reader: &Reader,
        access: AccessLabel,
        route: Option<&config::Route>,
    ) -> Answer {
        let response = answer.unwrap_or_else(|fault| {
            let kind = match fault {
                Fault::Unreachable { .. } | Fault::Broken { .. } => Kind::ApplicationUnreachable,
                Fault::BoundSignIn { .. } => Kind::ConnectionSignIn,
                Fault::Slow { .. } => Kind::ApplicationSlow,
                Fault::BodyTooLarge => Kind::BodyTooLarge,
                Fault::BodySlow { .. } => Kind::RequestTimeout,
                Fault::BodyBroken => Kind::BadRequest,
            };
            let path = route
                .filter(|route| !route.log_path)
                .map_or(reader.uri.path(), |route| &route.path);
            let context = Context {
                id: reader.id,
                client: reader.client,
                method: &reader.method,
                path,
                headers: &reader.headers(),
            };
            self.endpoints
                .write(
                    &Rejection::because(kind, fault),
                    &context,
                    reader.repeatable_address(),
                )
                .map(Body::own)
        });
        Answer {
            response,
            access,
            hidden_path: hidden(route),
        }
    }

    pub(super) fn reject<B>(
        &self,
        rejection: Rejection,
        stripped: &Stripped<B>,
        id: RequestId,
        access: AccessLabel,
        route: Option<&config::Route>,
    ) -> Answer {
        let path = route
            .filter(|route| !route.log_path)
            .map_or(stripped.uri().path(), |route| &route.path);
        let (method, headers) = (stripped.method(), stripped.headers());
        let context = Context {
            id,
            client: stripped.client(),
            method,
            path,
            headers,
        };
        let response = self
            .endpoints
            .write(&rejection, &context, None)
            .map(Body::own);
        Answer {
            response,
            access,
            hidden_path: hidden(route),
        }
    }
}

/// The path of a route whose requests are logged under it.
pub(super) fn hidden(route: Option<&config::Route>) -> Option<String> {
    route
        .filter(|route| !route.log_path)
        .map(|route| route.path.clone())
}

/// A redirect of ours.
pub(super) fn moved(status: StatusCode, path: &str, query: Option<&str>) -> Answer {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut response = Response::new(Body::own(Bytes::new()));
    *response.status_mut() = status;
    // A path with control characters was refused before; the front page is a safe second.
    let location = HeaderValue::from_bytes(target.as_bytes());
    let location = location.unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    Answer {
        response,
        access: AccessLabel::None,
        hidden_path: None,
    }
}
