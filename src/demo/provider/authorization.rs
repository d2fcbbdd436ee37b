//! The authorization endpoint (OpenID Connect Core 3.1.2): who asks, whether the request is sound, and
//! the response by redirect.

use http::StatusCode;
use http::header::{HeaderValue, SET_COOKIE};
use maud::html;
use url::Url;

use crate::environment::random_text;

use super::Shared;
use super::grant::{Grant, Person};
use super::login::{FIRST_USER_NAME, LoginForm};
use crate::demo::listener::{self, Answer, Parameters, Request};
use crate::demo::page::{Maker, page};

/// The provider's own session cookie.
pub(super) const SESSION_COOKIE: &str = "demo_provider_session";

/// A sound request of the registered client.
#[derive(Debug, Clone)]
pub(super) struct AuthorizationRequest {
    redirect_uri: Url,
    scope: String,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: String,
    prompt: Vec<String>,
    max_age: Option<i64>,
    login_hint: Option<String>,
    /// As they came, for the login form to bring back.
    parameters: Parameters,
}

/// A request that is not answered with a login form.
enum Fault {
    /// Not known to be from the client: a page, and no redirect to nobody knows where.
    Stranger(&'static str),
    /// For the client to hear (RFC 6749 4.1.2.1).
    Error {
        code: &'static str,
        description: &'static str,
    },
}

impl Shared {
    /// `/authorize`.
    pub(super) fn authorize(&self, request: &Request, parameters: Parameters) -> Answer {
        let authorization = match self.validate(parameters) {
            Ok(authorization) => authorization,
            Err(answer) => return *answer,
        };
        let now = self.clock.now();
        let person = self.signed_in(request).filter(|person| {
            let fresh = authorization
                .max_age
                .is_none_or(|age| now - person.signed_in_at <= age);
            fresh && !authorization.asks_for_the_form()
        });
        match person {
            Some(person) => self.grant(&authorization, person),
            None if authorization.prompts("none") => self.refuse(
                &authorization,
                "login_required",
                "nobody is signed in at the provider",
            ),
            None => self.login_form(&authorization).page(&authorization),
        }
    }

    fn login_form(&self, request: &AuthorizationRequest) -> LoginForm {
        match (&request.login_hint, self.grants().last()) {
            (Some(hint), _) => LoginForm::suggested(hint),
            (None, Some(person)) => LoginForm::again(person),
            (None, None) => LoginForm::suggested(FIRST_USER_NAME),
        }
    }

    /// Sends the person back with a code.
    pub(super) fn grant(&self, request: &AuthorizationRequest, person: Person) -> Answer {
        let code = random_text::<32>(self.random.as_ref());
        let grant = Grant {
            person,
            client_id: self.client.id.clone(),
            redirect_uri: request.redirect_uri.to_string(),
            code_challenge: request.code_challenge.clone(),
            nonce: request.nonce.clone(),
            scope: request.scope.clone(),
        };
        self.grants().open(code.clone(), grant, self.clock.now());
        self.respond(request, &[("code", &code)])
    }

    /// Sends the person back with an error.
    pub(super) fn refuse(
        &self,
        request: &AuthorizationRequest,
        code: &str,
        description: &str,
    ) -> Answer {
        let fields = [("error", code), ("error_description", description)];
        self.respond(request, &fields)
    }

    /// Who is signed in at the provider, by its own session cookie.
    pub(super) fn signed_in(&self, request: &Request) -> Option<Person> {
        let now = self.clock.now();
        let grants = self.grants();
        request
            .cookies(SESSION_COOKIE)
            .iter()
            .find_map(|id| grants.session(id, now).cloned())
    }

    /// Starts an own session: a cookie on `answer`.
    pub(super) fn remember(&self, person: Person, mut answer: Answer) -> Answer {
        let id = random_text::<32>(self.random.as_ref());
        let cookie = format!("{SESSION_COOKIE}={id}; Path=/; HttpOnly; SameSite=Lax");
        self.grants().begin_session(id, person, self.clock.now());
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().append(SET_COOKIE, value);
        }
        answer
    }

    /// Core 3.1.2.2; the answer to an unsound request otherwise.
    pub(super) fn validate(
        &self,
        parameters: Parameters,
    ) -> Result<AuthorizationRequest, Box<Answer>> {
        let state = parameters.get("state").map(str::to_owned);
        self.check(parameters).map_err(|fault| {
            Box::new(match fault {
                Fault::Stranger(what) => not_from_the_client(what),
                Fault::Error { code, description } => self.redirect(
                    &self.client.redirect_uri,
                    state.as_deref(),
                    &[("error", code), ("error_description", description)],
                ),
            })
        })
    }

    fn check(&self, parameters: Parameters) -> Result<AuthorizationRequest, Fault> {
        if parameters.get("client_id") != Some(&self.client.id) {
            return Err(Fault::Stranger("client_id is not the registered one"));
        }
        if parameters.get("redirect_uri") != Some(self.client.redirect_uri.as_str()) {
            return Err(Fault::Stranger("redirect_uri is not the registered one"));
        }
        let is = |name: &str, value: &str| parameters.get(name) == Some(value);
        let error = |code, description| Err(Fault::Error { code, description });
        if parameters.repeated().is_some() {
            return error("invalid_request", "a parameter comes more than once");
        }
        if parameters.get("request").is_some() {
            return error("request_not_supported", "request objects are not read");
        }
        if parameters.get("request_uri").is_some() {
            return error("request_uri_not_supported", "request objects are not read");
        }
        if !is("response_type", "code") {
            return error("unsupported_response_type", "expected response_type=code");
        }
        if parameters.get("response_mode").is_some() && !is("response_mode", "query") {
            return error("invalid_request", "expected response_mode=query or none");
        }
        let words = |name| -> Vec<String> {
            let value = parameters.get(name).unwrap_or_default();
            value.split_ascii_whitespace().map(str::to_owned).collect()
        };
        if !words("scope").iter().any(|scope| scope == "openid") {
            return error("invalid_scope", "expected openid among the scopes");
        }
        let Some(code_challenge) = parameters.get("code_challenge") else {
            return error("invalid_request", "expected a PKCE code_challenge");
        };
        if !is("code_challenge_method", "S256") {
            return error("invalid_request", "expected code_challenge_method=S256");
        }
        let prompt = words("prompt");
        if prompt.len() > 1 && prompt.iter().any(|word| word == "none") {
            return error("invalid_request", "prompt=none goes with no other prompt");
        }
        let max_age = match parameters.get("max_age").map(str::parse::<u32>) {
            None => None,
            Some(Ok(seconds)) => Some(i64::from(seconds)),
            Some(Err(_)) => return error("invalid_request", "max_age is a number of seconds"),
        };
        let text = |name| parameters.get(name).map(str::to_owned);
        Ok(AuthorizationRequest {
            redirect_uri: self.client.redirect_uri.clone(),
            scope: words("scope").join(" "),
            state: text("state"),
            nonce: text("nonce"),
            code_challenge: code_challenge.to_owned(),
            prompt,
            max_age,
            login_hint: text("login_hint"),
            parameters,
        })
    }

    fn respond(&self, request: &AuthorizationRequest, fields: &[(&str, &str)]) -> Answer {
        self.redirect(&request.redirect_uri, request.state.as_deref(), fields)
    }

    fn redirect(&self, to: &Url, state: Option<&str>, fields: &[(&str, &str)]) -> Answer {
        let mut location = to.clone();
        location
            .query_pairs_mut()
            .extend_pairs(fields)
            .extend_pairs(state.map(|state| ("state", state)))
            .append_pair("iss", &self.issuer);
        listener::see_other(&location)
    }
}

impl AuthorizationRequest {
    /// The parameters that the login form brings back: those of an authorization request, not its own.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.parameters.0.iter();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !LoginForm::FIELDS.contains(name))
    }

    fn prompts(&self, what: &str) -> bool {
        self.prompt.iter().any(|prompt| prompt == what)
    }

    fn asks_for_the_form(&self) -> bool {
        self.prompts("login") || self.prompts("select_account")
    }
}

fn not_from_the_client(what: &str) -> Answer {
    let body = html! {
        p { "This authorization request does not come from the demo's proxy: " (what) "." }
        p { "That happens when an address is left over from an earlier run of the demo. Start from the application again." }
    };
    page(
        StatusCode::BAD_REQUEST,
        Maker::Provider,
        "The provider does not know who asks",
        &body,
    )
}
