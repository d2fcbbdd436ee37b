//! `session`: who am I, for pages of the application; `jwks`: the public keys of sessions and
//! assertions.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderValue, Response};
use serde_json::{Value, json};

use super::{Asked, Endpoints, no_store};
use crate::config::UserField;
use crate::environment::rfc3339;
use crate::rejection::{Kind, Rejection};

impl Endpoints {
    pub(super) async fn session(&self, asked: &Asked) -> Response<Bytes> {
        let Some(session) = self.session_of(asked).await else {
            return self.reject(asked, &Rejection::of(Kind::SignInNeeded), None);
        };
        let mut fields = serde_json::Map::new();
        // With the store down the name is known all the same: it is in the token.
        if let Ok(Some(user)) = self.store.user_by_name(session.username()).await {
            let set = UserField::ALL
                .iter()
                .filter_map(|field| Some((field.name().to_owned(), json!(user.field(*field)?))));
            fields.extend(set);
        }
        fields.insert("username".into(), json!(session.username()));
        fields.insert("expires_at".into(), json!(rfc3339(session.expires_at())));
        fields.insert(
            "expires_in".into(),
            json!((session.expires_at() - self.clock.now()).max(0)),
        );
        let body = Value::Object(fields);
        let mut response = json_response(&body);
        no_store(&mut response);
        response
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("Cookie"));
        response
    }

    pub(super) fn jwks(&self) -> Response<Bytes> {
        let of_assertions = self.assertions.iter().flat_map(|it| it.public_keys());
        // RFC 7517 5.
        let keys: Vec<_> = self
            .sessions
            .public_keys()
            .into_iter()
            .chain(of_assertions)
            .collect();
        let mut response = json_response(&json!({ "keys": keys }));
        response.headers_mut().insert(
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=300"),
        );
        response
    }
}

fn json_response(body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
