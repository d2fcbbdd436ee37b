//! `login`, and every other start of a sign-in: a navigation without a session, a frame without one.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::page::{self, Choice};
use super::{Asked, Audience, Endpoints, redirect};
use crate::environment::random_text;
use crate::oidc::{AuthorizationRequest, RelyingParty};
use crate::page::{Language, Policy};
use crate::rejection::{Kind, Rejection, respond};

/// The parameter of `login` with which a sign-in stays in its frame.
const IN_FRAME: &str = "in_frame";

/// How a sign-in starts.
pub(super) struct Start<'a> {
    /// Checked local path and query.
    pub(super) return_to: &'a str,
    /// The person wants another account.
    pub(super) select_account: bool,
    /// How often it was started again because another answer's cookie had overtaken it.
    pub(super) restarts: u8,
}

impl Endpoints {
    pub(super) async fn login(&self, asked: &Asked) -> Response<Bytes> {
        let return_to = self.safe_return(asked.parameter("return_to").as_deref());
        if let Some(session) = self.session_of(asked).await {
            if was_driven(asked) {
                let now = self.clock.now();
                self.recurrence.sent_to_login(session.sid(), now);
            }
            if self
                .recurrence
                .came_back(session.sid(), &return_to, self.clock.now())
            {
                return self.reject(
                    asked,
                    &Rejection::of(Kind::LoopApplication),
                    Some(&return_to),
                );
            }
            return redirect(StatusCode::SEE_OTHER, &return_to, []);
        }
        match Audience::of(&asked.method, &asked.headers) {
            Audience::Window => {}
            Audience::Frame if self.stays_in_frame(asked) => {}
            Audience::Frame => {
                // This very address again, in a window: provider and account stay as they were picked.
                let here = asked.uri.path_and_query().map(|target| target.as_str());
                return self.framed(asked, here.unwrap_or_default(), &return_to);
            }
            Audience::Program => {
                let rejection = Rejection::of(Kind::SignInNeeded);
                return self.reject(asked, &rejection, Some(&return_to));
            }
        }
        let select_account = asked.parameter("prompt").as_deref() == Some("select_account");
        let start = Start {
            return_to: &return_to,
            select_account,
            restarts: 0,
        };
        let picked = match asked.parameter("provider") {
            Some(name) => self.parties.by_name(&name),
            None => self
                .parties
                .iter()
                .next()
                .filter(|_| self.parties.iter().len() == 1),
        };
        match picked {
            Some(party) => self.begin(asked, party, &start),
            None => self.choose(asked, &start),
        }
    }

    /// A navigation that needs a session and has none.
    pub fn sign_in(&self, asked: &Asked) -> Response<Bytes> {
        let address = asked.uri.path_and_query().map(|target| target.as_str());
        let return_to = self.safe_return(address);
        let start = Start {
            return_to: &return_to,
            select_account: false,
            restarts: 0,
        };
        let mut parties = self.parties.iter();
        match (parties.next(), parties.next()) {
            (Some(only), None) => self.begin(asked, only, &start),
            _ => redirect(
                StatusCode::FOUND,
                self.links(Some(&return_to))
                    .sign_in
                    .as_deref()
                    .unwrap_or("/"),
                [],
            ),
        }
    }

    /// The same inside a frame.
    pub fn break_out(&self, asked: &Asked) -> Response<Bytes> {
        let return_to = self.safe_return(asked.uri.path_and_query().map(|target| target.as_str()));
        let links = self.links(Some(&return_to));
        self.framed(asked, &links.sign_in.unwrap_or_default(), &return_to)
    }

    /// Providers refuse to be framed unless they were told otherwise, so the sign-in opens in the top window or in a
    /// new one; where sessions may live in frames, the person may try it here too.
    fn framed(&self, asked: &Asked, sign_in: &str, return_to: &str) -> Response<Bytes> {
        let in_frame = self.config.session.same_site_none.then(|| {
            let login = self.links(Some(return_to)).sign_in.unwrap_or_default();
            format!("{login}&{IN_FRAME}=1")
        });
        let language = Language::of_request(&asked.headers);
        let page = page::frame_breakout(language, sign_in, return_to, in_frame.as_deref());
        respond(StatusCode::UNAUTHORIZED, page)
    }

    /// The person chose to sign in inside of the frame.
    fn stays_in_frame(&self, asked: &Asked) -> bool {
        self.config.session.same_site_none && asked.parameter(IN_FRAME).as_deref() == Some("1")
    }

    fn choose(&self, asked: &Asked, start: &Start<'_>) -> Response<Bytes> {
        let links = self.links(Some(start.return_to));
        let login = match start.select_account {
            true => links.other_account,
            false => links.sign_in,
        };
        let login = login.unwrap_or_default();
        let (place, policy) = match self.stays_in_frame(asked) {
            true => (format!("&{IN_FRAME}=1"), Policy::Framed),
            false => (String::new(), Policy::Closed),
        };
        let choice = |party: &std::sync::Arc<RelyingParty>| Choice {
            label: party.name().to_owned(),
            href: format!("{login}&provider={}{place}", party.name()),
        };
        let choices: Vec<_> = self.parties.iter().map(choice).collect();
        respond(
            StatusCode::OK,
            page::chooser(Language::of_request(&asked.headers), &choices, policy),
        )
    }

    /// Sends the browser to the provider, bound to its sign-in cookie.
    pub(super) fn begin(
        &self,
        asked: &Asked,
        party: &RelyingParty,
        start: &Start<'_>,
    ) -> Response<Bytes> {
        let (cookies, now) = (self.sessions.cookies(), self.clock.now());
        let known = cookies.sign_in_value(&asked.headers).map(str::to_owned);
        if let Some(binding) = &known
            && self.recurrence.arrived(binding, start.return_to, now)
        {
            let mut response = self.reject(
                asked,
                &Rejection::of(Kind::LoopCookieLost),
                Some(start.return_to),
            );
            response.headers_mut().extend(
                cookies
                    .expire_session()
                    .into_iter()
                    .map(|c| (http::header::SET_COOKIE, c)),
            );
            return response;
        }
        let binding = known
            .clone()
            .unwrap_or_else(|| random_text::<32>(&*self.random));
        let request = AuthorizationRequest {
            return_to: start.return_to,
            select_account: start.select_account,
            binding: &binding,
            restarts: start.restarts,
        };
        match party.authorization_url(&request, &self.sealer, &*self.random, now) {
            Ok(url) => {
                let state = url.query_pairs().find(|(name, _)| name == "state");
                self.recurrence
                    .started(&state.map(|(_, state)| state).unwrap_or_default());
                let set = known.is_none().then(|| cookies.set_sign_in(&binding));
                redirect(StatusCode::FOUND, url.as_str(), set.into_iter().flatten())
            }
            Err(down) => {
                self.metrics.login(party.name(), "provider-down");
                let kind = Kind::ProviderDown {
                    provider: party.name().to_owned(),
                };
                self.reject(
                    asked,
                    &Rejection::because(kind, down),
                    Some(start.return_to),
                )
            }
        }
    }
}

/// A page of the application went on to `login` by itself: no person clicked (Fetch Metadata 2.4), and no redirect of
/// its server was seen.
fn was_driven(asked: &Asked) -> bool {
    asked.header("sec-fetch-site") == Some("same-origin")
        && asked.header("sec-fetch-mode") == Some("navigate")
        && asked.header("sec-fetch-user").is_none()
}
