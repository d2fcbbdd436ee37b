//! A form that met an ended session: kept while its person signs in, and then sent in place of the navigation that
//! brings them back.

use std::sync::Arc;

use http::header::SET_COOKIE;
use http::{HeaderValue, Method};

use super::signed_in::Found;
use super::{Answer, Proxy, body, hidden};
use crate::config;
use crate::endpoint::{Asked, Audience, Delivery, KeptForm};
use crate::identity::{SentForm, Stripped};
use crate::rejection::{Kind, Rejection};
use crate::telemetry::RequestId;
use crate::telemetry::metrics::AccessLabel;
use crate::upstream::{Arriving, Body, Fault};

use super::reader::Reader;

impl Proxy {
    /// Keeps a form whose session has ended, where it is ours to keep, and sends its person to sign in.
    pub(super) async fn keep_form(
        &self,
        stripped: Stripped<Arriving>,
        route: Option<&config::Route>,
        id: RequestId,
    ) -> Answer {
        let asked = Asked::of(&stripped, id);
        let room = self
            .endpoints
            .form_room(stripped.uri().path(), stripped.headers());
        let (stripped, arriving) = stripped.replace_body(());
        let refuse = |why: &str| {
            let rejection = Rejection::because(Kind::FormNotKept, why);
            self.reject(rejection, &stripped, id, AccessLabel::Login, route)
        };
        let (limit, room) = match room {
            Ok(room) => room,
            Err(why) => return refuse(why),
        };
        let body = match body::read(arriving, limit).await {
            Ok(body) => body,
            Err(Kind::BodyTooLarge) => return refuse("it is larger than session.kept_form_size"),
            Err(kind) => {
                let rejection = Rejection::of(kind);
                return self.reject(rejection, &stripped, id, AccessLabel::Login, route);
            }
        };
        let (endpoints, asked) = (Arc::clone(&self.endpoints), asked.with(body));
        let kept = self
            .control
            .spawn(async move { (endpoints.keep_form(&asked).await, room).0 });
        match kept.await {
            Ok(response) => Answer {
                response: response.map(Body::own),
                access: AccessLabel::Login,
                hidden_path: hidden(route),
            },
            Err(_) => refuse("keeping it broke"),
        }
    }

    /// A signed-in person's browser brings a form back: where this is the address that it was sent to, it is sent
    /// now, once, and its answer is the answer.
    pub(super) async fn form_of(
        &self,
        form: &str,
        stripped: Stripped<Arriving>,
        found: &Found,
        route: Option<&config::Route>,
        reader: &Reader,
    ) -> Answer {
        let comes_back = stripped.method() == Method::GET
            && Audience::of(stripped.method(), stripped.headers()) == Audience::Window;
        let target = stripped
            .uri()
            .path_and_query()
            .map(|target| target.as_str().to_owned());
        // Nobody is asked for what is none of this address.
        let is_its_own = |target: &String| comes_back && self.endpoints.is_of_form(form, target);
        let Some(target) = target.filter(is_its_own) else {
            return self.forward_as(found, stripped, route, reader).await;
        };
        let (endpoints, session) = (
            Arc::clone(&self.endpoints),
            Arc::clone(found.remembered.session()),
        );
        let id = form.to_owned();
        let delivery = self
            .control
            .spawn(async move { endpoints.form_of(&id, &target, &session).await })
            .await;
        let broken = || Delivery::Rejected(Rejection::of(Kind::StoreDown));
        let expired = self.endpoints.sessions.cookies().expire_form();
        let mut answer = match delivery.unwrap_or_else(|_| broken()) {
            Delivery::Rejected(rejection) if rejection.kind == Kind::StoreDown => {
                return self.reject(rejection, &stripped, reader.id, AccessLabel::Login, route);
            }
            Delivery::Rejected(rejection) => {
                self.reject(rejection, &stripped, reader.id, AccessLabel::Login, route)
            }
            Delivery::Form(kept) => {
                // Its route is a POST's, whose rules may be others than those that let the GET come here.
                let path = stripped.uri().path().to_owned();
                let posted = self.endpoints.needs_session(&Method::POST, &path);
                let passes = |rule| found.remembered.session().passes(rule);
                let Some((route, _)) = posted.filter(|(_, rule)| rule.is_none_or(passes)) else {
                    self.endpoints.metrics.kept_form("refused");
                    let rejection = Rejection::of(Kind::RuleDenied);
                    let mut answer =
                        self.reject(rejection, &stripped, reader.id, AccessLabel::Login, route);
                    answer.response.headers_mut().append(SET_COOKIE, expired);
                    return answer;
                };
                let Some(sending) = self.sending(stripped, &kept) else {
                    return self.broken_form(reader);
                };
                match self.sent(sending, &kept, form, found, route, reader).await {
                    Ok(answer) => answer,
                    Err(answer) => return answer,
                }
            }
        };
        answer.response.headers_mut().append(SET_COOKIE, expired);
        answer
    }

    fn sending(&self, stripped: Stripped<Arriving>, kept: &KeptForm) -> Option<Stripped<Arriving>> {
        let referer = kept
            .referer
            .as_deref()
            .and_then(|text| HeaderValue::from_str(text).ok());
        let sent = SentForm {
            length: kept.body.len() as u64,
            content_type: HeaderValue::from_str(&kept.content_type).ok()?,
            origin: HeaderValue::from_str(&self.origin).ok()?,
            referer,
        };
        let body = stripped.body().replaced_by(kept.body.clone());
        Some(stripped.sending(sent, body))
    }

    /// The application's answer to the form; an error where it was not reached: then the form is kept on.
    async fn sent(
        &self,
        sending: Stripped<Arriving>,
        kept: &KeptForm,
        form: &str,
        found: &Found,
        route: Option<&config::Route>,
        reader: &Reader,
    ) -> Result<Answer, Answer> {
        tracing::info!(id = %reader.id, bytes = kept.body.len(), "a kept form is sent on");
        let outgoing = self.identity.of(sending, found.borne(), route);
        let answer = self.application.forward(outgoing, reader.started).await;
        let not_sent = matches!(answer, Err(Fault::Unreachable { .. }));
        let answer = self.answered(answer, found, route, reader);
        match not_sent {
            true => {
                let (endpoints, kept) = (Arc::clone(&self.endpoints), kept.clone());
                let id = form.to_owned();
                let again = self
                    .control
                    .spawn(async move { endpoints.keep_again(&kept, &id).await });
                // Whether it could be kept is in the log.
                let _ = again.await;
                Err(answer)
            }
            false => Ok(answer),
        }
    }

    fn broken_form(&self, reader: &Reader) -> Answer {
        self.forwarded(Err(Fault::BodyBroken), reader, AccessLabel::Login, None)
    }
}
