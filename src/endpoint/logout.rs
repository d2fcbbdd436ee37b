//! `logout` and `logout/return` (RP-Initiated Logout 2 and 3): ends the session for every copy of its
//! cookie, then the provider's. A request from another site asks the person first.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::{Asked, Endpoints, page, redirect};
use crate::config::Secret;
use crate::page::Language;
use crate::rejection::{Kind, Rejection, respond};
use crate::sealing::Purpose;

impl Endpoints {
    pub(super) async fn logout(&self, asked: &Asked) -> Response<Bytes> {
        if is_ahead_of_the_person(asked) {
            // Browsers use no such answer, and ask again once the person goes there.
            return nothing_yet();
        }
        let session = self.sid_of(asked).await;
        let done = format!("{}/logout/return", self.config.server.auth_prefix());
        let expired = self.sessions.cookies().expire_session();
        let Some(sid) = session else {
            return redirect(StatusCode::SEE_OTHER, &done, expired);
        };
        if !self.comes_from_here(asked) && !self.confirms(asked, &sid) {
            return self.ask_first(asked, &sid);
        }
        self.recurrence
            .forget(&sid, self.sessions.cookies().sign_in_value(&asked.headers));
        match self
            .sessions
            .end(&sid, &self.sealer, self.clock.now())
            .await
        {
            Ok(record) => {
                tracing::info!(id = %asked.id, "signed out");
                let (provider, hint) = record.unzip();
                let location = self
                    .provider_logout(provider.as_deref(), hint.flatten().as_ref())
                    .unwrap_or(done);
                redirect(StatusCode::SEE_OTHER, &location, expired)
            }
            Err(error) => {
                self.sessions.store_answers(Err(&error));
                let detail =
                    format!("the session ended here, but the store did not record it: {error}");
                let mut response =
                    self.reject(asked, &Rejection::because(Kind::StoreDown, detail), None);
                response
                    .headers_mut()
                    .extend(expired.into_iter().map(|cookie| (SET_COOKIE, cookie)));
                response
            }
        }
    }

    pub(super) async fn logout_return(&self, asked: &Asked) -> Response<Bytes> {
        match self.session_of(asked).await {
            // Nobody is told to be signed out who is not.
            Some(_) => redirect(
                StatusCode::SEE_OTHER,
                self.config.server.public_url.base_path(),
                [],
            ),
            None => {
                let sign_in = self.links(None).sign_in.unwrap_or_default();
                respond(
                    StatusCode::OK,
                    page::signed_out(Language::of_request(&asked.headers), &sign_in),
                )
            }
        }
    }

    fn provider_logout(&self, provider: Option<&str>, hint: Option<&Secret>) -> Option<String> {
        let party = self.parties.by_name(provider?)?;
        party.end_session_url(hint, &*self.random).map(String::from)
    }

    /// Whether the request was made by our own site or typed by the person (Fetch Metadata; for browsers
    /// without it, Origin and Referer).
    fn comes_from_here(&self, asked: &Asked) -> bool {
        let origin = self.config.server.public_url.origin();
        let named_here = |url: &str| {
            url::Url::parse(url).is_ok_and(|url| url.origin().ascii_serialization() == origin)
        };
        match (
            asked.header("sec-fetch-site"),
            asked.header("origin"),
            asked.header("referer"),
        ) {
            (Some(site), ..) => matches!(site, "same-origin" | "none"),
            (None, Some(origin), _) => named_here(origin),
            (None, None, Some(referer)) => named_here(referer),
            (None, None, None) => false,
        }
    }

    fn ask_first(&self, asked: &Asked, sid: &str) -> Response<Bytes> {
        let sealed = self
            .sealer
            .seal(Purpose::Form, sid.as_bytes(), b"logout", &*self.random);
        let action = format!(
            "{}/logout?confirm={}",
            self.config.server.auth_prefix(),
            URL_SAFE_NO_PAD.encode(sealed)
        );
        let stay = self.config.server.public_url.base_path();
        respond(
            StatusCode::OK,
            page::confirm_logout(Language::of_request(&asked.headers), &action, stay),
        )
    }

    /// Whether this is the form of [`Self::ask_first`], for this session.
    fn confirms(&self, asked: &Asked, sid: &str) -> bool {
        let sealed = asked
            .parameter("confirm")
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let opened = sealed.and_then(|sealed| {
            self.sealer
                .open(Purpose::Form, sid.as_bytes(), &sealed)
                .ok()
        });
        asked.method == Method::POST && opened.as_deref() == Some(b"logout")
    }
}

fn nothing_yet() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a browser fetches what the person may open next (`Sec-Purpose`, Fetch 3.8; `Purpose` before it): an address
/// that is typed is enough, and must not sign anybody out.
fn is_ahead_of_the_person(asked: &Asked) -> bool {
    ["sec-purpose", "purpose"].iter().any(|name| {
        let purpose = asked.header(name).unwrap_or_default();
        purpose.split([';', ',']).any(|it| it.trim() == "prefetch")
    })
}
