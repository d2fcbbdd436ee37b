//! The end-session endpoint (RP-Initiated Logout 1.0, section 2).

use http::StatusCode;
use http::header::{HeaderValue, SET_COOKIE};
use maud::html;

use super::Shared;
use super::authorization::SESSION_COOKIE;
use crate::demo::listener::{self, Answer, Parameters, Request};
use crate::demo::page::{Maker, page};

impl Shared {
    /// `/logout`: ends the provider's session, and goes on to the registered address for the client
    /// that says who it is.
    pub(super) fn end_session(&self, request: &Request, parameters: &Parameters) -> Answer {
        for id in request.cookies(SESSION_COOKIE) {
            self.grants().end_session(&id);
        }
        let mut answer = match self.is_from_the_client(parameters) {
            true => {
                let mut location = self.client.post_logout_redirect_uri.clone();
                if let Some(state) = parameters.get("state") {
                    location.query_pairs_mut().append_pair("state", state);
                }
                listener::see_other(&location)
            }
            false => signed_out(),
        };
        let expired = format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
        if let Ok(value) = HeaderValue::from_str(&expired) {
            answer.headers_mut().append(SET_COOKIE, value);
        }
        answer
    }

    fn is_from_the_client(&self, parameters: &Parameters) -> bool {
        let hinted = parameters.get("id_token_hint").map(|hint| {
            let opened = self.key.open_hint(hint, &self.issuer, &self.client.id);
            opened.is_some()
        });
        let named = parameters.get("client_id").map(|id| id == self.client.id);
        // Whatever is sent must fit, and something must be.
        parameters.repeated().is_none()
            && hinted != Some(false)
            && named != Some(false)
            && (hinted.is_some() || named.is_some())
            && parameters.get("post_logout_redirect_uri")
                == Some(self.client.post_logout_redirect_uri.as_str())
    }
}

fn signed_out() -> Answer {
    let body = html! {
        p { "The provider has forgotten you. The application may still know you until you sign out there as well." }
    };
    page(
        StatusCode::OK,
        Maker::Provider,
        "You are signed out of the provider",
        &body,
    )
}
