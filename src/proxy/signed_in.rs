//! Paths that need a signed-in user: whose session a request bears, and what becomes of it with one and without.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::reader::Reader;
use super::{Answer, Proxy, audience, hidden};
use crate::config;
use crate::endpoint::{Asked, Audience, is_form};
use crate::identity::{Borne, Stripped};
use crate::rejection::{Kind, Rejection};
use crate::session::{Glance, Remembered, Session};
use crate::telemetry::RequestId;
use crate::telemetry::metrics::AccessLabel;
use crate::upstream::{Arriving, Body, Fault};

/// The session of a request.
pub(super) struct Found {
    pub(super) remembered: Rc<Remembered>,
    /// Which of its session cookies named it.
    cookie: usize,
    /// Whether the browser is to be given its token.
    is_newer: bool,
}

impl Found {
    pub(super) fn borne(&self) -> Borne<'_> {
        Borne {
            session: &self.remembered,
            cookie: self.cookie,
            is_newer: self.is_newer,
        }
    }
}

impl Proxy {
    /// A path that needs a signed-in user: with a known session no I/O but the application's.
    pub(super) async fn login(
        &self,
        stripped: Stripped<Arriving>,
        route: Option<&config::Route>,
        rule: Option<usize>,
        reader: &Reader,
    ) -> Answer {
        if let Err(rejection) = self.origins.judge(&stripped) {
            return self.reject(rejection, &stripped, reader.id, AccessLabel::Login, route);
        }
        let found = match self.session_of(stripped.headers(), reader.id).await {
            Ok(Some(found)) => found,
            Ok(None) => return self.without_session(stripped, route, reader.id).await,
            Err(rejection) => {
                return self.reject(rejection, &stripped, reader.id, AccessLabel::Login, route);
            }
        };
        let session = found.remembered.session();
        if rule.is_some_and(|rule| !session.passes(rule)) {
            let rejection = Rejection::of(Kind::RuleDenied);
            return self.reject(rejection, &stripped, reader.id, AccessLabel::Login, route);
        }
        if let Some(form) = self.form_value(stripped.headers(), &found) {
            let form = form.to_owned();
            return Box::pin(self.form_of(&form, stripped, &found, route, reader)).await;
        }
        self.forward_as(&found, stripped, route, reader).await
    }

    /// The id of a kept form that a request's cookies name.
    fn form_value<'h>(&'h self, headers: &'h HeaderMap, found: &Found) -> Option<&'h str> {
        let only = headers
            .get(COOKIE)
            .filter(|_| headers.len() == headers.keys_len());
        match only.is_some_and(|only| found.remembered.has_passed(only)) {
            true => None,
            false => self.endpoints.sessions.cookies().form_value(headers),
        }
    }

    /// Forwards as the session's user.
    pub(super) async fn forward_as(
        &self,
        found: &Found,
        stripped: Stripped<Arriving>,
        route: Option<&config::Route>,
        reader: &Reader,
    ) -> Answer {
        if stripped.upgrades() {
            let session = found.remembered.session();
            self.endpoints.sessions.opens_connection(session);
        }
        let outgoing = self.identity.of(stripped, found.borne(), route);
        let answer = self.application.forward(outgoing, reader.started).await;
        self.answered(answer, found, route, reader)
    }

    /// What the application answered a signed-in person.
    pub(super) fn answered(
        &self,
        answer: Result<Response<Body>, Fault>,
        found: &Found,
        route: Option<&config::Route>,
        reader: &Reader,
    ) -> Answer {
        let mut answer = self.forwarded(answer, reader, AccessLabel::Login, route);
        self.watch_for_loops(&answer.response, found.remembered.session());
        if found.is_newer {
            self.hand_out(&mut answer.response, &found.remembered);
        }
        answer
    }

    /// Gives the browser the token that takes the place of the one it sent; no cache may keep it.
    fn hand_out(&self, response: &mut Response<Body>, remembered: &Remembered) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let token = String::from_utf8_lossy(remembered.token());
        let headers = response.headers_mut();
        for cookie in self.endpoints.sessions.cookies().set_session(&token) {
            headers.append(SET_COOKIE, cookie);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }

    /// The live session of a request, renewed where that is due.
    async fn session_of(
        &self,
        headers: &HeaderMap,
        id: RequestId,
    ) -> Result<Option<Found>, Rejection> {
        let (now, sessions) = (self.endpoints.clock.now(), &self.endpoints.sessions);
        let Some(first) = sessions.cookies().session_values(headers).next() else {
            return Ok(None);
        };
        let known = |remembered| Found {
            remembered,
            cookie: 0,
            is_newer: false,
        };
        if let Some(session) = self.recent.find(first, now) {
            return Ok(Some(known(session)));
        }
        match sessions.glance(headers, now) {
            Glance::Known(session) => Ok(Some(known(self.recent.remember(first, session, now)))),
            Glance::Nothing => Ok(None),
            Glance::Unseen(tokens) => {
                let endpoints = Arc::clone(&self.endpoints);
                // The store belongs to the control runtime; a panic there is no session here.
                let recognised = self
                    .control
                    .spawn(async move { endpoints.recognise(tokens, id).await })
                    .await;
                let Some(recognised) = recognised.unwrap_or(Ok(None))? else {
                    return Ok(None);
                };
                let (token, session) = (recognised.token.as_bytes(), recognised.session);
                Ok(Some(Found {
                    remembered: self.recent.remember(token, session, now),
                    cookie: recognised.which,
                    is_newer: recognised.is_newer,
                }))
            }
        }
    }

    /// No session: a form that a person sends is kept while they sign in.
    async fn without_session(
        &self,
        stripped: Stripped<Arriving>,
        route: Option<&config::Route>,
        id: RequestId,
    ) -> Answer {
        match is_form(stripped.method(), stripped.headers()) {
            // In a box: other requests need no room for what this one waits for.
            true => Box::pin(self.keep_form(stripped, route, id)).await,
            false => self.sign_in(&stripped, route, id),
        }
    }

    /// No session: a top-level navigation goes to the provider, one in a frame breaks out, anything
    /// else gets 401 and no cookie.
    fn sign_in(
        &self,
        stripped: &Stripped<Arriving>,
        route: Option<&config::Route>,
        id: RequestId,
    ) -> Answer {
        let asked = Asked::of(stripped, id);
        let response = match audience(stripped) {
            Audience::Window => self.endpoints.sign_in(&asked),
            Audience::Frame => self.endpoints.break_out(&asked),
            Audience::Program => {
                let rejection = Rejection::of(Kind::SignInNeeded);
                return self.reject(rejection, stripped, id, AccessLabel::Login, route);
            }
        };
        Answer {
            response: response.map(Body::own),
            access: AccessLabel::Login,
            hidden_path: hidden(route),
        }
    }

    /// The application sends somebody with a good session to our `login`: one round of a loop.
    fn watch_for_loops(&self, response: &Response<Body>, session: &Session) {
        if !response.status().is_redirection() {
            return;
        }
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .unwrap_or_default();
        let path = location.strip_prefix(&self.origin).unwrap_or(location);
        if path
            .split('?')
            .next()
            .is_some_and(|path| path.eq_ignore_ascii_case(&self.login))
        {
            self.endpoints
                .recurrence
                .sent_to_login(session.sid(), self.endpoints.clock.now());
        }
    }
}
